//! The DTLS transport's actor: decrypts what the sockets bring, encrypts what SCTP
//! sends, and writes it to the socket itself.

mod messages;
mod traffic;
mod way_out;

use std::time::Instant;

use actix::fut::{ActorFutureExt as _, wrap_future};
use actix::{Actor, ActorContext as _, Addr, AsyncContext as _, Context, Handler, Recipient};
use bytes::Bytes;
use peerloom_transports::proto::certificate::Certificate;
use peerloom_transports::proto::config::DtlsConfig;
use peerloom_transports::proto::dtls::{Error, Event, Transport};
use peerloom_transports::proto::jsep::StartDtls;
use peerloom_transports::udp::Datagrams;

use crate::backlog::Backlog;
use crate::outlet::Outlet;
use crate::peer_connection::messages::DtlsReport;
use crate::sctp_transport::{Packets, PacketsSent, PeerClosed, SctpTransportActor};
use crate::shell::{self, Alarm, Drained, Shell, turns};
use crate::supervisor::supervised;
pub(crate) use messages::{DtlsCommand, DtlsStats, GetDtlsStats, Outgoing, PathSelected, Records};
pub(crate) use traffic::{Carried, Traffic};
pub(crate) use way_out::WayOut;

/// Messages in the transport's mailbox: record batches from the sockets (dropped when
/// full), packet batches from SCTP (two at most), commands.
pub(crate) const MAILBOX: usize = 64;

/// Record batches kept until the handshake may begin. Filled by a peer that learnt of
/// the path first; beyond it the oldest is dropped, and its flight is sent again.
const EARLY_BATCHES: usize = 8;

/// Bytes of memory they may hold: a flight is a few thousand, unless somebody floods.
const EARLY_BYTES: usize = 128 * 1024;

/// Batches handed to the socket per turn.
const BATCHES_PER_TURN: usize = 64;

/// The shell around a DTLS engine.
pub(crate) struct DtlsTransportActor {
    config: DtlsConfig,
    certificate: Certificate,
    start: Option<StartDtls>,
    transport: Option<Transport>,
    way: WayOut,
    traffic: Traffic,
    early: Backlog<Datagrams>,
    plain: Vec<Bytes>,
    unanswered: usize,
    /// The connection was told that the peer has begun.
    told_knock: bool,
    closing: bool,
    sctp: Outlet<Packets>,
    credit: Outlet<PacketsSent>,
    end: Outlet<PeerClosed>,
    connection: Outlet<DtlsReport>,
    alarm: Alarm,
}

impl DtlsTransportActor {
    pub(crate) fn new(
        config: DtlsConfig,
        certificate: Certificate,
        sctp: &Addr<SctpTransportActor>,
        connection: Recipient<DtlsReport>,
    ) -> Self {
        DtlsTransportActor {
            config,
            certificate,
            start: None,
            transport: None,
            way: WayOut::default(),
            traffic: Traffic::default(),
            early: Backlog::new(EARLY_BATCHES, EARLY_BYTES),
            plain: Vec::new(),
            unanswered: 0,
            told_knock: false,
            closing: false,
            sctp: Outlet::dropping(sctp.clone().recipient()),
            credit: Outlet::keeping(sctp.clone().recipient()),
            end: Outlet::keeping(sctp.clone().recipient()),
            connection: Outlet::keeping(connection),
            alarm: Alarm::default(),
        }
    }

    fn command(&mut self, command: DtlsCommand, now: Instant) {
        match command {
            DtlsCommand::Start(start) => {
                self.start = Some(start);
                self.begin(now);
            }
            DtlsCommand::Close => {
                self.closing = true;
                if let Some(transport) = &mut self.transport {
                    transport.close(now);
                }
            }
        }
    }

    fn select(&mut self, selected: PathSelected, now: Instant) {
        self.way.select(selected);
        self.begin(now);
    }

    /// Begins the handshake once there is a path and somebody to expect.
    fn begin(&mut self, now: Instant) {
        if self.transport.is_some() || self.way.path().is_none() {
            return;
        }
        let Some(start) = &self.start else { return };
        let fingerprints = start.fingerprints.clone();
        match Transport::new(
            &self.config,
            &self.certificate,
            start.role,
            fingerprints,
            now,
        ) {
            Ok(transport) => {
                self.transport = Some(transport);
                self.report(DtlsReport::Connecting);
            }
            Err(error) => self.failed(error),
        }
        for batch in self.early.take() {
            self.decrypt(&batch, now);
        }
    }

    fn take_records(&mut self, records: Records, now: Instant) {
        if self.transport.is_some() {
            self.decrypt(&records.0, now);
            return;
        }
        if !std::mem::replace(&mut self.told_knock, true) {
            self.report(DtlsReport::Knocked);
        }
        let memory = records.0.memory();
        self.early.keep(records.0, memory);
    }

    fn decrypt(&mut self, batch: &Datagrams, now: Instant) {
        self.traffic.received(batch, now);
        for datagram in batch.runs().flat_map(|run| run.datagrams()) {
            if let Some(transport) = &mut self.transport {
                transport.handle_packet(datagram, now);
            }
            self.drain_events();
        }
    }

    fn encrypt(&mut self, outgoing: Outgoing, now: Instant) {
        self.unanswered += 1;
        let Some(transport) = &mut self.transport else {
            return;
        };
        for packet in &outgoing.0 {
            if let Err(error) = transport.send(packet, now) {
                // SCTP sends again what it still needs.
                tracing::trace!(%error, "SCTP packet not sent");
            }
        }
    }

    fn drain_events(&mut self) {
        while let Some(event) = self.transport.as_mut().and_then(Transport::poll_event) {
            match event {
                Event::Connected {
                    version,
                    peer_certificate: certificate,
                } => self.report(DtlsReport::Connected {
                    version,
                    certificate,
                }),
                Event::Data(data) => self.plain.push(data),
                Event::Closed => {
                    // Behind all that came before it.
                    self.hand_up();
                    self.end.post(PeerClosed);
                }
                Event::Failed(error) => self.failed(error),
            }
        }
    }

    /// Gives SCTP what was decrypted, as one batch.
    fn hand_up(&mut self) {
        if self.plain.is_empty() {
            return;
        }
        // A full mailbox is counted by the outlet; SCTP sends again what is lost.
        self.sctp.post(Packets(std::mem::take(&mut self.plain)));
    }

    /// Writes batches to the socket until it blocks. Whether the budget ran out.
    fn transmit(&mut self, now: Instant) -> Drained {
        let Some(path) = self.way.path() else {
            return Drained::Idle;
        };
        for _ in 0..BATCHES_PER_TURN {
            if self.way.is_blocked() {
                return Drained::Idle;
            }
            let Some(batch) = self.transport.as_mut().and_then(|t| t.poll_transmit(path)) else {
                return Drained::Idle;
            };
            self.traffic.sent(&batch, now);
            self.way.send(batch, &mut self.traffic);
        }
        Drained::More
    }

    /// Tells SCTP that it may send more, unless the socket is full.
    fn answer(&mut self) {
        if self.way.is_blocked() || self.unanswered == 0 {
            return;
        }
        let batches = std::mem::take(&mut self.unanswered);
        self.credit.post(PacketsSent { batches });
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

    fn failed(&mut self, error: Error) {
        let sent_alert = self.transport.as_ref().and_then(Transport::sent_alert);
        self.report(DtlsReport::Failed { error, sent_alert });
    }

    fn report(&mut self, report: DtlsReport) {
        // A connection that is gone takes this actor with it.
        self.connection.post(report);
    }
}

impl Shell for DtlsTransportActor {
    fn deadline(&mut self) -> Option<Instant> {
        self.transport
            .as_ref()
            .and_then(Transport::poll_timeout)
            .map(|deadline| deadline.at)
    }

    fn expire(&mut self, now: Instant) {
        if let Some(transport) = &mut self.transport {
            transport.handle_timeout(now);
        }
    }

    fn drain(&mut self, ctx: &mut Context<Self>, now: Instant) -> Drained {
        self.way.flush(&mut self.traffic);
        self.drain_events();
        self.hand_up();
        let drained = self.transmit(now);
        self.await_socket(ctx);
        self.answer();
        if self.closing && drained == Drained::Idle && !self.way.is_blocked() {
            ctx.stop();
        }
        drained
    }

    fn alarm(&mut self) -> &mut Alarm {
        &mut self.alarm
    }
}

impl Actor for DtlsTransportActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        shell::start(self, ctx);
    }
}

impl Handler<GetDtlsStats> for DtlsTransportActor {
    type Result = DtlsStats;

    fn handle(&mut self, _: GetDtlsStats, _: &mut Self::Context) -> DtlsStats {
        let transport = self.transport.as_ref();
        DtlsStats {
            role: transport.map(Transport::role),
            version: transport.and_then(Transport::version),
            suite: transport.and_then(Transport::cipher_suite),
            state: transport.map(Transport::state),
            peer_certificate: transport
                .and_then(Transport::peer_certificate)
                .map(Bytes::copy_from_slice),
            traffic: self.traffic.clone(),
            batches_dropped: self.early.dropped() + self.way.lost() + self.sctp.dropped(),
        }
    }
}

turns!(DtlsTransportActor {
    DtlsCommand => command,
    PathSelected => select,
    Records => take_records,
    Outgoing => encrypt,
});
supervised!(DtlsTransportActor, |actor| Some(actor.alarm.done()));
