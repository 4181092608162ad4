//! The SCTP transport's actor: the association and the data channel engine.
//!
//! Flow control on both sides, so that no mailbox between actors ever fills up:
//! a channel has one write batch under way and gets only what it has granted credit
//! for; DTLS has [`BATCHES_UNDER_WAY`] packet batches under way at most.

mod channels;
mod messages;

use std::time::Instant;

use actix::{Actor, Context, Handler, Recipient};
use bytes::Bytes;
use peerloom_transports::proto::config::{ChannelConfig, SctpConfig};
use peerloom_transports::proto::id::DtlsRole;
use peerloom_transports::proto::jsep::StartSctp;
use peerloom_transports::proto::sctp::{Association, CloseReason};

use crate::backlog::Backlog;
use crate::cause::Cause;
use crate::dtls_transport::Outgoing;
use crate::outlet::{KEPT_MESSAGES, Outlet};
use crate::peer_connection::messages::SctpReport;
use crate::shell::{self, Alarm, Drained, Shell, turns};
use crate::supervisor::supervised;
pub(crate) use channels::{Links, Report, max_message_size};
pub(crate) use messages::{
    ChannelKey, ChannelOutput, ChannelRequest, GetSctpStats, Incoming, OpenChannel, Packets,
    PacketsSent, PeerClosed, SctpCommand, SctpStats,
};

/// Messages in the transport's mailbox but those of channels: packet batches from DTLS
/// (dropped when full), commands.
const MAILBOX: usize = 256;

/// Messages in the mailbox of a transport with so many channels: each may have a write and
/// a credit there.
pub(crate) const fn mailbox(channels: usize) -> usize {
    MAILBOX + 2 * channels
}

/// Packets in one batch to DTLS: two full GSO sends.
const PACKETS_PER_BATCH: usize = 96;

/// Batches DTLS may have at a time: one being encrypted while the next is made.
const BATCHES_UNDER_WAY: usize = 2;

/// Packet batches kept until the association may begin. Filled by a peer whose DTLS is
/// up first, or while its identity is being checked; beyond it the oldest is dropped,
/// and its packets are sent again.
const EARLY_BATCHES: usize = 16;

/// Bytes in them: the peer has said no more than INIT by then, unless it floods.
const EARLY_BYTES: usize = 64 * 1024;

/// The shell around the SCTP and data channel engines.
pub(crate) struct SctpTransportActor {
    config: SctpConfig,
    association: Option<Association>,
    links: Links,
    early: Backlog<Packets>,
    under_way: usize,
    /// How it ended, which the connection is still to be told.
    end: Option<SctpReport>,
    /// The connection was told that the association is up.
    told_up: bool,
    dtls: Outlet<Outgoing>,
    connection: Outlet<SctpReport>,
    alarm: Alarm,
}

impl SctpTransportActor {
    pub(crate) fn new(
        settings: (SctpConfig, ChannelConfig),
        dtls: Recipient<Outgoing>,
        connection: Recipient<SctpReport>,
    ) -> Self {
        // The peer may open all its channels at once.
        let reports = settings.1.max_channels + KEPT_MESSAGES;
        SctpTransportActor {
            config: settings.0,
            association: None,
            links: Links::new(settings.1, Cause::Sctp),
            early: Backlog::new(EARLY_BATCHES, EARLY_BYTES),
            under_way: 0,
            end: None,
            told_up: false,
            dtls: Outlet::keeping(dtls),
            connection: Outlet::keeping_up_to(connection, reports),
            alarm: Alarm::default(),
        }
    }

    fn command(&mut self, command: SctpCommand, now: Instant) {
        match command {
            SctpCommand::Start { start, role } => self.start(&start, role, now),
            SctpCommand::Update(start) => self.links.set_remote(&start),
            SctpCommand::Open(open) => self.links.open(open),
            SctpCommand::Abandon(key) => self.links.abandon(key),
        }
    }

    fn start(&mut self, start: &StartSctp, role: DtlsRole, now: Instant) {
        self.links.set_remote(start);
        self.links.start(role);
        match Association::new(self.config.clone(), role, now) {
            Ok(association) => self.association = Some(association),
            Err(error) => self.report(SctpReport::Lost(Cause::Sctp(error.to_string()))),
        }
        for packets in self.early.take() {
            self.take_packets(packets, now);
        }
    }

    fn take_packets(&mut self, packets: Packets, now: Instant) {
        let Some(association) = &mut self.association else {
            let bytes = packets.0.iter().map(Bytes::len).sum();
            self.early.keep(packets, bytes);
            return;
        };
        for packet in packets.0 {
            association.handle_packet(packet, now);
        }
    }

    fn request(&mut self, request: ChannelRequest, _: Instant) {
        self.links.request(request);
    }

    fn sent(&mut self, sent: PacketsSent, _: Instant) {
        self.under_way = self.under_way.saturating_sub(sent.batches);
    }

    /// Whatever has arrived reaches its channels, credit or not: the peer was told that it
    /// did. An inbox may hold more than its credit then, by a receive window.
    fn peer_closed(&mut self, _: PeerClosed, _: Instant) {
        self.end = Some(SctpReport::PeerClosed);
        self.links.grant_all();
    }

    /// The end is told after all that came before: when every channel has what has arrived.
    fn tell_end(&mut self) {
        if self.links.all_attached()
            && let Some(end) = self.end.take()
        {
            self.report(end);
        }
    }

    /// Told before the channels are told that they are open (webrtc-pc section 6.1.1.3).
    fn tell_up(&mut self) {
        let up = self.association.as_ref().filter(|it| it.is_connected());
        if let Some(association) = up.filter(|_| !self.told_up) {
            self.told_up = true;
            let max_channels = association.streams();
            self.report(SctpReport::Connected { max_channels });
        }
    }

    /// Moves the engines on and tells channels and connection what has happened.
    fn deliver(&mut self, now: Instant) {
        self.tell_up();
        if let Some(association) = &mut self.association {
            self.links.pump(association, now);
        }
        while let Some(report) = self.links.poll_report() {
            match report {
                channels::Report::Incoming(incoming) => self.report(SctpReport::Incoming(incoming)),
                channels::Report::Ended(reason) => self.ended(reason),
            }
        }
    }

    /// Hands packets to DTLS as long as it keeps up.
    fn transmit(&mut self, now: Instant) {
        let Some(association) = &mut self.association else {
            return;
        };
        while self.under_way < BATCHES_UNDER_WAY {
            let packets: Vec<Bytes> = std::iter::from_fn(|| association.poll_transmit(now))
                .take(PACKETS_PER_BATCH)
                .collect();
            if packets.is_empty() {
                return;
            }
            self.under_way += 1;
            // A dead transport is reported by its death.
            self.dtls.post(Outgoing(packets));
        }
    }

    fn report(&mut self, report: SctpReport) {
        // A connection that is gone takes this actor with it.
        self.connection.post(report);
    }

    fn ended(&mut self, reason: CloseReason) {
        let lost = SctpReport::Lost(channels::cause_of(reason));
        self.end.get_or_insert(lost);
    }
}

impl Shell for SctpTransportActor {
    fn deadline(&mut self) -> Option<Instant> {
        let association = self.association.as_ref()?;
        // `PacketsSent` is the wake-up while DTLS has all it may have.
        let engine = if self.under_way < BATCHES_UNDER_WAY {
            association.poll_timeout()
        } else {
            association.poll_protocol_timeout()
        };
        let engine = engine.map(|deadline| deadline.at);
        [engine, self.links.deadline()].into_iter().flatten().min()
    }

    fn expire(&mut self, now: Instant) {
        if let Some(association) = &mut self.association {
            association.handle_timeout(now);
        }
    }

    fn drain(&mut self, _: &mut Context<Self>, now: Instant) -> Drained {
        self.deliver(now);
        self.tell_end();
        self.transmit(now);
        Drained::Idle
    }

    fn alarm(&mut self) -> &mut Alarm {
        &mut self.alarm
    }
}

impl Actor for SctpTransportActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        shell::start(self, ctx);
    }
}

impl Handler<GetSctpStats> for SctpTransportActor {
    type Result = SctpStats;

    fn handle(&mut self, _: GetSctpStats, _: &mut Self::Context) -> SctpStats {
        SctpStats {
            round_trip: self.association.as_ref().map(Association::round_trip),
            batches_dropped: self.early.dropped(),
            chunks_retransmitted: self
                .association
                .as_ref()
                .map_or(0, |association| association.stats().chunks_retransmitted),
        }
    }
}

turns!(SctpTransportActor {
    SctpCommand => command,
    ChannelRequest => request,
    Packets => take_packets,
    PacketsSent => sent,
    PeerClosed => peer_closed,
});
supervised!(SctpTransportActor, |actor| Some(actor.alarm.done()));
