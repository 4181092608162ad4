//! The DTLS transport's actor: decrypts what the sockets bring, encrypts what SCTP
//! sends, and writes it to the socket itself.

use std::collections::VecDeque;
use std::time::Instant;

use actix::fut::{ActorFutureExt as _, wrap_future};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, Recipient};
use bytes::Bytes;
use peerloom_transports::proto::certificate::Certificate;
use peerloom_transports::proto::config::DtlsConfig;
use peerloom_transports::proto::dtls::{self, Event, Transport};
use peerloom_transports::proto::id::{DtlsRole, Path};
use peerloom_transports::proto::jsep::StartDtls;
use peerloom_transports::udp::{Datagrams, Sender, Sent, Socket};

use crate::outlet::Outlet;
use crate::peer_connection::messages::DtlsReport;
use crate::sctp_transport::{Packets, PacketsSent};
use crate::shell::{self, Alarm, Drained, Shell};
use crate::supervisor::supervised;

/// Messages in the transport's mailbox: record batches from the sockets (dropped when
/// full), packet batches from SCTP (two at most), commands.
pub(crate) const MAILBOX: usize = 64;

/// Record batches kept until the handshake may begin. Filled by a peer that learnt of
/// the path first; beyond it the oldest is dropped, and its flight is sent again.
const EARLY_BATCHES: usize = 8;

/// Batches handed to the socket per turn.
const BATCHES_PER_TURN: usize = 64;

/// From the connection to its DTLS transport.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum DtlsCommand {
    /// Role and fingerprints are known.
    Start(StartDtls),
    /// Say goodbye and stop.
    Close,
}

/// From the ICE agent: data goes this way from now on.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct PathSelected {
    pub(crate) path: Path,
    pub(crate) socket: Socket,
}

/// DTLS records for this connection.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Records(pub(crate) Datagrams);

/// SCTP packets to encrypt and send. Answered by [`PacketsSent`].
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Outgoing(pub(crate) Vec<Bytes>);

/// What `getStats` asks of the transport.
#[derive(Debug, Message)]
#[rtype(result = "DtlsStats")]
pub(crate) struct GetDtlsStats;

/// Its answer.
#[derive(Debug, Clone, Default, actix::MessageResponse)]
pub(crate) struct DtlsStats {
    pub(crate) role: Option<DtlsRole>,
    pub(crate) version: Option<dtls::Version>,
    pub(crate) state: Option<dtls::State>,
    pub(crate) peer_certificate: Option<Bytes>,
    pub(crate) packets_sent: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) packets_received: u64,
    pub(crate) bytes_received: u64,
    pub(crate) batches_dropped: u64,
}

/// The shell around a DTLS engine.
pub(crate) struct DtlsTransportActor {
    config: DtlsConfig,
    certificate: Certificate,
    start: Option<StartDtls>,
    transport: Option<Transport>,
    path: Option<Path>,
    sender: Sender,
    early: VecDeque<Datagrams>,
    plain: Vec<Bytes>,
    unanswered: usize,
    waiting_for_socket: bool,
    closing: bool,
    sctp: Outlet<Packets>,
    credit: Outlet<PacketsSent>,
    connection: Outlet<DtlsReport>,
    stats: DtlsStats,
    alarm: Alarm,
}

impl DtlsTransportActor {
    pub(crate) fn new(
        config: DtlsConfig,
        certificate: Certificate,
        sctp: Recipient<Packets>,
        credit: Recipient<PacketsSent>,
        connection: Recipient<DtlsReport>,
    ) -> Self {
        DtlsTransportActor {
            config,
            certificate,
            start: None,
            transport: None,
            path: None,
            sender: Sender::default(),
            early: VecDeque::new(),
            plain: Vec::new(),
            unanswered: 0,
            waiting_for_socket: false,
            closing: false,
            sctp: Outlet::dropping(sctp),
            credit: Outlet::keeping(credit),
            connection: Outlet::keeping(connection),
            stats: DtlsStats::default(),
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
        self.path = Some(selected.path);
        if self.sender.socket_for(selected.path.local).is_none() {
            self.sender.add_socket(selected.socket);
        }
        self.begin(now);
    }

    /// Begins the handshake once there is a path and somebody to expect.
    fn begin(&mut self, now: Instant) {
        if self.transport.is_some() || self.path.is_none() {
            return;
        }
        let Some(start) = &self.start else { return };
        let fingerprints = start.fingerprints.clone();
        match Transport::new(&self.config, &self.certificate, start.role, fingerprints, now) {
            Ok(transport) => self.transport = Some(transport),
            Err(error) => self.report(DtlsReport::Failed(error)),
        }
        for batch in std::mem::take(&mut self.early) {
            self.decrypt(&batch, now);
        }
    }

    fn take_records(&mut self, batch: Datagrams, now: Instant) {
        if self.transport.is_some() {
            self.decrypt(&batch, now);
            return;
        }
        if self.early.len() >= EARLY_BATCHES {
            self.early.pop_front();
            self.stats.batches_dropped += 1;
        }
        self.early.push_back(batch);
    }

    fn decrypt(&mut self, batch: &Datagrams, now: Instant) {
        for datagram in batch.runs().iter().flat_map(|run| run.datagrams()) {
            self.stats.packets_received += 1;
            self.stats.bytes_received += datagram.len() as u64;
            if let Some(transport) = &mut self.transport {
                transport.handle_packet(datagram, now);
            }
            self.drain_events();
        }
    }

    fn encrypt(&mut self, packets: &[Bytes], now: Instant) {
        self.unanswered += 1;
        let Some(transport) = &mut self.transport else { return };
        for packet in packets {
            if let Err(error) = transport.send(packet, now) {
                // SCTP sends again what it still needs.
                tracing::trace!(%error, "SCTP packet not sent");
            }
        }
    }

    fn drain_events(&mut self) {
        while let Some(event) = self.transport.as_mut().and_then(Transport::poll_event) {
            match event {
                Event::Connected { version, .. } => self.report(DtlsReport::Connected { version }),
                Event::Data(data) => self.plain.push(data),
                Event::Closed => self.report(DtlsReport::Closed),
                Event::Failed(error) => self.report(DtlsReport::Failed(error)),
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
    fn transmit(&mut self) -> Drained {
        let Some(path) = self.path else { return Drained::Idle };
        for _ in 0..BATCHES_PER_TURN {
            if self.sender.is_blocked() {
                return Drained::Idle;
            }
            let Some(batch) = self.transport.as_mut().and_then(|t| t.poll_transmit(path)) else {
                return Drained::Idle;
            };
            self.stats.packets_sent += batch.datagram_count() as u64;
            self.stats.bytes_sent += batch.contents.len() as u64;
            match self.sender.send(batch) {
                Sent::Done | Sent::Kept => {}
                Sent::Lost => self.stats.batches_dropped += 1,
            }
        }
        Drained::More
    }

    /// Tells SCTP that it may send more, unless the socket is full.
    fn answer(&mut self) {
        if self.sender.is_blocked() || self.unanswered == 0 {
            return;
        }
        let batches = std::mem::take(&mut self.unanswered);
        self.credit.post(PacketsSent { batches });
    }

    /// Comes back when the socket takes data again.
    fn await_socket(&mut self, ctx: &mut Context<Self>) {
        if self.waiting_for_socket {
            return;
        }
        let Some(socket) = self.sender.blocked_on() else { return };
        self.waiting_for_socket = true;
        let writable = wrap_future::<_, Self>(async move { socket.writable().await });
        ctx.spawn(writable.map(|result, actor, ctx| {
            if let Err(error) = result {
                tracing::error!(%error, "a socket is gone");
            }
            actor.waiting_for_socket = false;
            shell::turn(actor, ctx, |_, _| {});
        }));
    }

    fn report(&mut self, report: DtlsReport) {
        // A connection that is gone takes this actor with it.
        self.connection.post(report);
    }
}

impl Shell for DtlsTransportActor {
    fn deadline(&mut self) -> Option<Instant> {
        self.transport.as_ref().and_then(Transport::poll_timeout).map(|deadline| deadline.at)
    }

    fn expire(&mut self, now: Instant) {
        if let Some(transport) = &mut self.transport {
            transport.handle_timeout(now);
        }
    }

    fn drain(&mut self, ctx: &mut Context<Self>, _: Instant) -> Drained {
        self.connection.flush();
        self.credit.flush();
        self.sender.flush();
        self.drain_events();
        self.hand_up();
        let drained = self.transmit();
        self.await_socket(ctx);
        self.answer();
        if self.closing && drained == Drained::Idle {
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

impl Handler<DtlsCommand> for DtlsTransportActor {
    type Result = ();

    fn handle(&mut self, command: DtlsCommand, ctx: &mut Self::Context) {
        shell::turn(self, ctx, |actor, now| actor.command(command, now));
    }
}

impl Handler<PathSelected> for DtlsTransportActor {
    type Result = ();

    fn handle(&mut self, selected: PathSelected, ctx: &mut Self::Context) {
        shell::turn(self, ctx, |actor, now| actor.select(selected, now));
    }
}

impl Handler<Records> for DtlsTransportActor {
    type Result = ();

    fn handle(&mut self, records: Records, ctx: &mut Self::Context) {
        shell::turn(self, ctx, |actor, now| actor.take_records(records.0, now));
    }
}

impl Handler<Outgoing> for DtlsTransportActor {
    type Result = ();

    fn handle(&mut self, outgoing: Outgoing, ctx: &mut Self::Context) {
        shell::turn(self, ctx, |actor, now| actor.encrypt(&outgoing.0, now));
    }
}

impl Handler<GetDtlsStats> for DtlsTransportActor {
    type Result = DtlsStats;

    fn handle(&mut self, _: GetDtlsStats, _: &mut Self::Context) -> DtlsStats {
        let transport = self.transport.as_ref();
        DtlsStats {
            role: transport.map(Transport::role),
            version: transport.and_then(Transport::version),
            state: transport.map(Transport::state),
            peer_certificate: transport
                .and_then(Transport::peer_certificate)
                .map(Bytes::copy_from_slice),
            batches_dropped: self.stats.batches_dropped + self.sctp.dropped(),
            ..self.stats.clone()
        }
    }
}

supervised!(DtlsTransportActor);
