//! The QUIC transport's actor: the QUIC engine, data channels on it, and its way to the socket.
//!
//! Stands where DTLS and SCTP transport stand together when both peers are Peerloom's and want it.
//! One turn takes what the sockets brought, moves the channels, and writes to the socket itself.

mod messages;

use std::time::{Duration, Instant};

use actix::fut::{ActorFutureExt as _, wrap_future};
use actix::{Actor, ActorContext as _, AsyncContext as _, Context, Handler, Recipient};
use bytes::Bytes;
use peerloom_transports::proto::certificate::Certificate;
use peerloom_transports::proto::config::{ChannelConfig, QuicConfig};
use peerloom_transports::proto::id::DtlsRole;
use peerloom_transports::proto::jsep::{StartDtls, StartSctp};
use peerloom_transports::proto::quic::{Mapping, Transport as _};
use peerloom_transports::quic::{Connection, Error, Event};

use crate::cause::Cause;
use crate::dtls_transport::{PathSelected, Traffic, WayOut};
use crate::outlet::{KEPT_MESSAGES, Outlet};
use crate::sctp_transport::{ChannelRequest, Links, Report, mailbox as sctp_mailbox};
use crate::shell::{self, Alarm, Drained, Shell, turns};
use crate::supervisor::supervised;
pub(crate) use messages::{Failure, GetQuicStats, QuicCommand, QuicPackets, QuicReport, QuicStats};

/// Batches handed to the socket per turn: 1 MB, about a millisecond.
const BATCHES_PER_TURN: usize = 16;

/// A server waits longer than a client, which decides: it sees what the client does.
const SERVER_PATIENCE: u32 = 2;

/// Messages in the mailbox of a transport with so many channels: packet batches from the sockets
/// (dropped when full), commands, and of each channel a write and a credit.
pub(crate) const fn mailbox(channels: usize) -> usize {
    sctp_mailbox(channels)
}

/// What a transport is made of.
pub(crate) struct Settings {
    pub(crate) quic: QuicConfig,
    pub(crate) channels: ChannelConfig,
    pub(crate) certificate: Certificate,
    pub(crate) start: StartDtls,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No path yet.
    Waiting,
    /// Until then the peer has to answer.
    Handshake(Instant),
    /// Connected; until then a client wants the peer's confirmation.
    Confirming(Instant),
    Connected,
    /// Over, and told so.
    Ended,
}

/// The shell around the QUIC and data channel engines.
pub(crate) struct QuicTransportActor {
    settings: Settings,
    mapping: Option<Mapping<Connection>>,
    stage: Stage,
    links: Links,
    way: WayOut,
    traffic: Traffic,
    peer_certificate: Option<Bytes>,
    /// The peer has closed, which the connection is still to be told.
    peer_closed: bool,
    closing: bool,
    told_up: bool,
    connection: Outlet<QuicReport>,
    alarm: Alarm,
}

impl QuicTransportActor {
    pub(crate) fn new(settings: Settings, connection: Recipient<QuicReport>) -> Self {
        // The peer may open all its channels at once.
        let reports = settings.channels.max_channels + KEPT_MESSAGES;
        QuicTransportActor {
            links: Links::new(settings.channels.clone(), Cause::Quic),
            settings,
            mapping: None,
            stage: Stage::Waiting,
            way: WayOut::default(),
            traffic: Traffic::default(),
            peer_certificate: None,
            peer_closed: false,
            closing: false,
            told_up: false,
            connection: Outlet::keeping_up_to(connection, reports),
            alarm: Alarm::default(),
        }
    }

    fn command(&mut self, command: QuicCommand, now: Instant) {
        match command {
            QuicCommand::Start(start) => self.start(&start),
            QuicCommand::Update(start) => self.links.set_remote(&start),
            QuicCommand::Open(open) => self.links.open(open),
            QuicCommand::Abandon(key) => self.links.abandon(key),
            QuicCommand::Close => {
                self.closing = true;
                if let Some(mapping) = &mut self.mapping {
                    mapping.transport_mut().close(now);
                }
            }
        }
    }

    fn start(&mut self, start: &StartSctp) {
        self.links.set_remote(start);
        self.links.start(self.settings.start.role);
        if let Some(mapping) = &mut self.mapping {
            mapping.start();
        }
    }

    fn select(&mut self, selected: PathSelected, now: Instant) {
        let changes = self.way.path().is_some_and(|path| path != selected.path);
        self.way.select(selected);
        if self.stage == Stage::Waiting {
            let patience = match self.settings.start.role {
                DtlsRole::Client => self.settings.quic.patience,
                DtlsRole::Server => self.settings.quic.patience * SERVER_PATIENCE,
            };
            self.stage = Stage::Handshake(now + patience);
            self.begin(now);
        } else if changes && let Some(mapping) = &mut self.mapping {
            mapping.transport_mut().path_changed(now);
        }
    }

    /// A client begins when there is a path, a server with the first packet if that is earlier.
    fn begin(&mut self, now: Instant) {
        if self.mapping.is_some() {
            return;
        }
        let Settings {
            quic,
            certificate,
            start,
            ..
        } = &self.settings;
        let fingerprints = start.fingerprints.clone();
        match Connection::new(quic, certificate, start.role, fingerprints, now) {
            Ok(connection) => self.mapping = Some(Mapping::new(connection, quic.clone())),
            Err(error) => self.fail(Failure::Engine(error)),
        }
    }

    fn take_packets(&mut self, packets: QuicPackets, now: Instant) {
        self.traffic.received(&packets.0, now);
        if self.settings.start.role == DtlsRole::Server {
            self.begin(now);
        }
        let Some(mapping) = &mut self.mapping else {
            return;
        };
        for run in packets.0.runs() {
            mapping.transport_mut().handle_run(run, now);
        }
    }

    fn request(&mut self, request: ChannelRequest, _: Instant) {
        self.links.request(request);
    }

    fn take_events(&mut self, now: Instant) {
        while let Some(event) = self
            .mapping
            .as_mut()
            .and_then(|mapping| mapping.transport_mut().poll_event())
        {
            match event {
                Event::Connected { peer_certificate } => self.connected(peer_certificate, now),
                Event::Closed => self.closed_by_peer(),
                Event::Failed(error) => self.fail(Failure::Engine(error)),
            }
        }
    }

    fn connected(&mut self, certificate: Bytes, now: Instant) {
        self.stage = match self.settings.start.role {
            DtlsRole::Client => Stage::Confirming(now + self.settings.quic.patience),
            // The handshake is over only when the client has confirmed it.
            DtlsRole::Server => Stage::Connected,
        };
        self.peer_certificate = Some(certificate.clone());
        self.report(QuicReport::Connected { certificate });
    }

    /// Whatever has arrived reaches its channels, credit or not: the peer was told that it did.
    fn closed_by_peer(&mut self) {
        if matches!(self.stage, Stage::Waiting | Stage::Handshake(_)) {
            let reason = "closed before the handshake was done".to_owned();
            return self.fail(Failure::Engine(Error::Refused(reason)));
        }
        if self.stage == Stage::Ended {
            return;
        }
        self.stage = Stage::Ended;
        self.peer_closed = true;
        self.links.grant_all();
    }

    fn fail(&mut self, failure: Failure) {
        if self.stage != Stage::Ended {
            self.stage = Stage::Ended;
            self.report(QuicReport::Failed(failure));
        }
    }

    /// Told after all that came before: when every channel has what has arrived.
    fn tell_end(&mut self) {
        if self.peer_closed && self.links.all_attached() {
            self.peer_closed = false;
            self.report(QuicReport::PeerClosed);
        }
    }

    /// Moves the engines on and tells channels and connection what has happened.
    fn deliver(&mut self, now: Instant) {
        let Some(mapping) = &mut self.mapping else {
            return;
        };
        if self.links.is_started() && !self.told_up {
            self.told_up = true;
            let max_channels = self.settings.quic.streams;
            self.connection.post(QuicReport::Up { max_channels });
        }
        self.links.pump(mapping, now);
        while let Some(report) = self.links.poll_report() {
            match report {
                Report::Incoming(incoming) => self.report(QuicReport::Incoming(incoming)),
                Report::Ended(reason) => tracing::debug!(%reason, "channels over QUIC ended"),
            }
        }
    }

    /// Writes batches to the socket until it blocks. Whether the budget ran out.
    fn transmit(&mut self, now: Instant) -> Drained {
        let (Some(path), Some(mapping)) = (self.way.path(), &mut self.mapping) else {
            return Drained::Idle;
        };
        for _ in 0..BATCHES_PER_TURN {
            if self.way.is_blocked() {
                return Drained::Idle;
            }
            let Some(batch) = mapping.transport_mut().poll_transmit(path, now) else {
                return Drained::Idle;
            };
            self.traffic.sent(&batch, now);
            self.way.send(batch, &mut self.traffic);
        }
        Drained::More
    }

    /// Comes back when the socket takes data again.
    fn await_socket(&mut self, ctx: &mut Context<Self>) {
        let Some(writable) = self.way.writable() else {
            return;
        };
        ctx.spawn(wrap_future::<_, Self>(writable).map(|(), actor, ctx| {
            actor.way.woken();
            shell::turn_aside(actor, ctx, |_, _| {});
        }));
    }

    fn report(&mut self, report: QuicReport) {
        // A connection that is gone takes this actor with it.
        self.connection.post(report);
    }

    fn is_confirmed(&self) -> bool {
        let transport = self.mapping.as_ref().map(Mapping::transport);
        transport.is_some_and(Connection::is_confirmed)
    }
}

impl Shell for QuicTransportActor {
    fn deadline(&mut self) -> Option<Instant> {
        let patience = match self.stage {
            Stage::Handshake(until) | Stage::Confirming(until) => Some(until),
            Stage::Waiting | Stage::Connected | Stage::Ended => None,
        };
        let links = self.links.deadline();
        let mapping = self.mapping.as_mut();
        let engines = mapping.map(|mapping| {
            let given_up = mapping.poll_timeout().map(|deadline| deadline.at);
            [mapping.transport_mut().poll_timeout(), given_up]
        });
        let engines = engines.into_iter().flatten().flatten();
        engines.chain(patience).chain(links).min()
    }

    fn expire(&mut self, now: Instant) {
        if let Some(mapping) = &mut self.mapping {
            if mapping
                .transport_mut()
                .poll_timeout()
                .is_some_and(|at| at <= now)
            {
                mapping.transport_mut().handle_timeout(now);
            }
            mapping.handle_timeout(now);
        }
        match self.stage {
            Stage::Handshake(until) if until <= now => self.fail(Failure::Unanswered),
            Stage::Confirming(_) if self.is_confirmed() => self.stage = Stage::Connected,
            Stage::Confirming(until) if until <= now => self.fail(Failure::Unconfirmed),
            Stage::Waiting
            | Stage::Handshake(_)
            | Stage::Confirming(_)
            | Stage::Connected
            | Stage::Ended => {}
        }
    }

    fn drain(&mut self, ctx: &mut Context<Self>, now: Instant) -> Drained {
        self.way.flush(&mut self.traffic);
        self.take_events(now);
        self.deliver(now);
        self.tell_end();
        let drained = self.transmit(now);
        self.await_socket(ctx);
        if self.closing && drained == Drained::Idle && !self.way.is_blocked() {
            ctx.stop();
        }
        drained
    }

    fn alarm(&mut self) -> &mut Alarm {
        &mut self.alarm
    }
}

impl Actor for QuicTransportActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        shell::start(self, ctx);
    }
}

impl Handler<GetQuicStats> for QuicTransportActor {
    type Result = QuicStats;

    fn handle(&mut self, _: GetQuicStats, _: &mut Self::Context) -> QuicStats {
        let transport = self.mapping.as_ref().map(Mapping::transport);
        let stats = transport.and_then(Connection::stats);
        let round_trip = transport
            .map(|transport| transport.round_trip())
            .filter(|it| *it > Duration::ZERO && self.peer_certificate.is_some());
        QuicStats {
            round_trip,
            traffic: self.traffic.clone(),
            peer_certificate: self.peer_certificate.clone(),
            packets_lost: stats.map_or(0, |stats| stats.packets_lost),
            mtu: stats.map_or(0, |stats| stats.mtu),
            batches_dropped: self.way.lost(),
        }
    }
}

turns!(QuicTransportActor {
    QuicCommand => command,
    PathSelected => select,
    QuicPackets => take_packets,
    ChannelRequest => request,
});
supervised!(QuicTransportActor, |actor| Some(actor.alarm.done()));
