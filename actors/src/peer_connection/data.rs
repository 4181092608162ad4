//! Which transport carries the data channels: SCTP over DTLS, or QUIC.
//!
//! Both descriptions say whether their peer speaks QUIC (`a=x-peerloom`), so both ends come to the same
//! conclusion. When they agree on QUIC its client, which is the DTLS client, begins; nobody begins DTLS.
//! The client decides what happens when QUIC does not come up in time: it begins DTLS instead, and the
//! server, which sees that, follows. A client whose handshake is done never begins DTLS, and a server's
//! handshake is done only after its client's: they cannot disagree.
//!
//! Channels made before that wait without a transport, and are attached when there is one.

use actix::{Addr, AsyncContext as _, Context, Handler, Recipient};
use bytes::Bytes;
use peerloom_transports::proto::dtls;
use peerloom_transports::proto::jsep::{StartDtls, StartSctp};
use peerloom_transports::proto::sdp::Capabilities;
use peerloom_transports::quic;

use super::actor::{ChildKey, PeerConnectionActor};
use super::events::Event;
use super::transports::QuicTransportState;
use crate::cause::{ActorKind, Cause};
use crate::config::DataTransport;
use crate::data_channel::{ChannelInput, ReadyState};
use crate::dtls_transport::DtlsCommand;
use crate::ice_agent::IceCommand;
use crate::outlet::{KEPT_MESSAGES, Outlet};
use crate::quic_transport::{
    self, Failure, QuicCommand, QuicPackets, QuicReport, QuicTransportActor, Settings,
};
use crate::sctp_transport::{
    ChannelKey, ChannelRequest, OpenChannel, SctpCommand, max_message_size,
};

/// The transport that carries data channels, and why it is this one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DataTransportChoice {
    /// Which one.
    pub kind: DataTransportKind,
    /// Why.
    pub reason: DataTransportReason,
}

/// A transport of data channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataTransportKind {
    /// SCTP over DTLS, as browsers have it.
    Sctp,
    /// QUIC, between Peerloom peers.
    Quic,
}

impl std::fmt::Display for DataTransportKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            DataTransportKind::Sctp => "sctp",
            DataTransportKind::Quic => "quic",
        })
    }
}

/// Why a transport was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataTransportReason {
    /// [`Configuration::data_transport`](crate::Configuration::data_transport) says so.
    Configured,
    /// The peer's description says nothing of QUIC.
    PeerSpeaksNoQuic,
    /// Both peers speak QUIC.
    Agreed,
    /// QUIC was tried, and could not be set up for this reason.
    FellBack(String),
}

impl std::fmt::Display for DataTransportReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DataTransportReason::Configured => f.write_str("configured"),
            DataTransportReason::PeerSpeaksNoQuic => f.write_str("the peer speaks no QUIC"),
            DataTransportReason::Agreed => f.write_str("both peers speak QUIC"),
            DataTransportReason::FellBack(why) => write!(f, "QUIC could not be set up: {why}"),
        }
    }
}

/// Where the choice stands.
#[derive(Debug, Default)]
pub(super) enum Data {
    /// No description has settled it.
    #[default]
    Undecided,
    /// QUIC's handshake is under way.
    Trying(QuicWires),
    Quic(QuicWires),
    Sctp,
}

/// The ways to the QUIC transport.
#[derive(Debug)]
pub(super) struct QuicWires {
    commands: Outlet<QuicCommand>,
    pub(super) addr: Addr<QuicTransportActor>,
}

impl PeerConnectionActor {
    /// Whether DTLS waits for what comes of QUIC.
    pub(super) fn holds_dtls_back(&self) -> bool {
        let data = self.session.negotiated().and_then(|it| it.sctp.as_ref());
        self.config.data_transport != DataTransport::Sctp && data.is_some_and(speaks_quic)
    }

    /// Data was negotiated: the transport for it is chosen.
    pub(super) fn choose_transport(&mut self, start: &StartSctp) {
        let held = self.progress.dtls_start.take();
        match (self.config.data_transport, speaks_quic(start), held) {
            (DataTransport::Sctp, ..) => self.use_sctp(DataTransportReason::Configured),
            (DataTransport::Auto, true, Some(dtls)) if self.progress.knocked => {
                self.progress.dtls_start = Some(dtls);
                self.use_sctp(DataTransportReason::FellBack(BEGAN_DTLS.into()));
            }
            (_, true, Some(dtls)) => self.try_quic(dtls),
            (DataTransport::Auto, ..) => self.use_sctp(DataTransportReason::PeerSpeaksNoQuic),
            (DataTransport::Quic, ..) => {
                self.fail(Cause::Quic("the peer speaks no QUIC".into()));
            }
        }
    }

    fn try_quic(&mut self, dtls: StartDtls) {
        let Some(wires) = &self.wires else { return };
        let Some(me) = wires.me.upgrade() else { return };
        let channels = self.config.channels.max_channels;
        let mut context = Context::new();
        context.set_mailbox_capacity(quic_transport::mailbox(channels));
        let addr: Addr<QuicTransportActor> = context.address();
        let packets: Recipient<QuicPackets> = addr.clone().recipient();
        let inlet = move |batch| packets.try_send(QuicPackets(batch)).is_ok();
        wires.quic_entry.open(std::sync::Arc::new(inlet));
        let mut quic = self.config.quic.clone();
        let longest = self.config.channels.local_max_message_size;
        quic.max_message_size = quic.max_message_size.max(longest);
        let settings = Settings {
            quic,
            channels: self.config.channels.clone(),
            certificate: self.certificate.clone(),
            start: dtls.clone(),
        };
        let actor = QuicTransportActor::new(settings, me.clone().recipient());
        self.children
            .start(ChildKey::Quic, context, actor, me.recipient());
        self.progress.dtls_start = Some(dtls);
        self.command_ice(IceCommand::AlsoTell(addr.clone().recipient()));
        self.data = Data::Trying(QuicWires {
            // All channels may be made before the transport has its first turn.
            commands: Outlet::keeping_up_to(addr.clone().recipient(), channels + KEPT_MESSAGES),
            addr,
        });
        self.publish_quic();
    }

    /// SCTP it is, and DTLS begins if it was held back.
    fn use_sctp(&mut self, reason: DataTransportReason) {
        self.data = Data::Sctp;
        self.update_transports(|transports| transports.quic = None);
        if let Some(start) = self.progress.sctp.clone() {
            self.negotiate_sctp(&start);
        }
        if let Some(start) = self.progress.dtls_start.take() {
            self.command_dtls(DtlsCommand::Start(start));
        }
        self.chosen(DataTransportKind::Sctp, reason);
    }

    fn chosen(&mut self, kind: DataTransportKind, reason: DataTransportReason) {
        tracing::debug!(%kind, %reason, "data transport chosen");
        let told = matches!(
            reason,
            DataTransportReason::Agreed | DataTransportReason::FellBack(_)
        );
        let choice = DataTransportChoice { kind, reason };
        let published = choice.clone();
        self.snapshot
            .send_modify(|snapshot| snapshot.data_transport = Some(published));
        if told {
            self.emit(Event::DataTransport(choice));
        }
        self.attach_channels();
    }

    /// The channels made so far have a transport now.
    fn attach_channels(&mut self) {
        let Some(transport) = self.channel_transport() else {
            return;
        };
        let mut opened = Vec::new();
        for (key, channel) in &mut self.channels {
            if channel.pipe.ready() == ReadyState::Closed {
                continue;
            }
            let attach = ChannelInput::Attach(transport.clone());
            if channel.actor.send(attach).is_ok() {
                opened.push(OpenChannel {
                    key: *key,
                    label: channel.pipe.label.clone(),
                    init: channel.pipe.init.clone(),
                    channel: channel.input.clone(),
                });
            }
        }
        for open in opened {
            self.open_at_transport(open);
        }
    }

    /// Where the channels' actors send to, once that is known.
    pub(super) fn channel_transport(&self) -> Option<Recipient<ChannelRequest>> {
        match &self.data {
            Data::Undecided | Data::Trying(_) => None,
            Data::Quic(wires) => Some(wires.addr.clone().recipient()),
            Data::Sctp => self
                .wires
                .as_ref()
                .map(|wires| wires.sctp_addr.clone().recipient()),
        }
    }

    pub(super) fn open_at_transport(&mut self, open: OpenChannel) {
        match &self.data {
            Data::Undecided | Data::Trying(_) => {}
            Data::Quic(_) => self.command_quic(QuicCommand::Open(open)),
            Data::Sctp => self.command_sctp(SctpCommand::Open(open)),
        }
    }

    pub(super) fn abandon_at_transport(&mut self, key: ChannelKey) {
        match &self.data {
            Data::Undecided | Data::Trying(_) => {}
            Data::Quic(_) => self.command_quic(QuicCommand::Abandon(key)),
            Data::Sctp => self.command_sctp(SctpCommand::Abandon(key)),
        }
    }

    /// The peer's limits changed.
    pub(super) fn update_data(&mut self, start: StartSctp) {
        self.progress.sctp = Some(start.clone());
        match &self.data {
            Data::Undecided => {}
            Data::Trying(_) => self.publish_quic(),
            Data::Quic(_) => {
                self.publish_quic();
                self.command_quic(QuicCommand::Update(start));
            }
            Data::Sctp => {
                self.negotiate_sctp(&start);
                self.command_sctp(SctpCommand::Update(start));
            }
        }
    }

    /// Data may flow.
    pub(super) fn start_data(&mut self, start: StartSctp) -> bool {
        let Some(role) = self.progress.dtls_role else {
            return false;
        };
        match &self.data {
            Data::Undecided | Data::Trying(_) => return false,
            Data::Quic(_) => self.command_quic(QuicCommand::Start(start)),
            Data::Sctp => self.command_sctp(SctpCommand::Start { start, role }),
        }
        true
    }

    /// The connection lets its transports go. Whether QUIC says the goodbye.
    pub(super) fn let_quic_go(&mut self) -> bool {
        match &mut self.data {
            Data::Undecided | Data::Sctp => false,
            Data::Trying(wires) | Data::Quic(wires) => {
                wires.commands.post(QuicCommand::Close);
                true
            }
        }
    }

    /// The QUIC transport, if there is one.
    pub(super) fn quic_addr(&self) -> Option<&Addr<QuicTransportActor>> {
        match &self.data {
            Data::Undecided | Data::Sctp => None,
            Data::Trying(wires) | Data::Quic(wires) => Some(&wires.addr),
        }
    }

    fn command_quic(&mut self, command: QuicCommand) {
        let sent = match &mut self.data {
            Data::Undecided | Data::Sctp => None,
            Data::Trying(wires) | Data::Quic(wires) => Some(wires.commands.send(command)),
        };
        self.check_overflow(sent, ActorKind::QuicTransport);
    }

    fn publish_quic(&self) {
        let start = self.progress.sctp.as_ref();
        let max = start.and_then(|start| max_message_size(&self.config.channels, start));
        self.update_transports(|transports| transports.negotiate_quic(max));
    }

    fn set_quic_state(&self, state: QuicTransportState, certificate: Option<Bytes>) {
        self.update_transports(|transports| {
            if let Some(quic) = &mut transports.quic {
                quic.state = state;
                quic.remote_certificates.extend(certificate);
            }
        });
    }

    fn quic_connected(&mut self, certificate: Bytes) {
        let Data::Trying(wires) = std::mem::take(&mut self.data) else {
            return;
        };
        self.data = Data::Quic(wires);
        // Never to begin: what comes for it is dropped.
        self.progress.dtls_start = None;
        self.children.remove(&ChildKey::Dtls);
        self.progress.dtls = Some(dtls::State::Connected);
        self.set_quic_state(QuicTransportState::Connected, Some(certificate));
        self.chosen(DataTransportKind::Quic, DataTransportReason::Agreed);
        self.advance();
    }

    fn quic_failed(&mut self, failure: Failure) {
        let trying = matches!(self.data, Data::Trying(_));
        let mismatch = failure == Failure::Engine(quic::Error::Fingerprint);
        if trying && !mismatch && self.config.data_transport == DataTransport::Auto {
            return self.fall_back(&failure.to_string());
        }
        // DTLS would find another certificate, too.
        let cause = if mismatch {
            Cause::Fingerprint { sent_alert: None }
        } else {
            Cause::Quic(failure.to_string())
        };
        self.progress.dtls = Some(dtls::State::Failed);
        self.set_quic_state(QuicTransportState::Failed, None);
        self.fail_with_quic(cause);
    }

    fn fall_back(&mut self, why: &str) {
        tracing::info!(why, "no QUIC; going on with DTLS and SCTP");
        self.children.remove(&ChildKey::Quic);
        self.use_sctp(DataTransportReason::FellBack(why.to_owned()));
        self.advance();
    }

    /// The peer has begun DTLS, though QUIC was agreed on: its QUIC did not come up.
    pub(super) fn dtls_knocked(&mut self) {
        self.progress.knocked = true;
        let may = self.config.data_transport == DataTransport::Auto;
        if may && matches!(self.data, Data::Trying(_)) {
            self.fall_back(BEGAN_DTLS);
        }
    }

    fn quic_report(&mut self, report: QuicReport, ctx: &mut Context<Self>) {
        match report {
            QuicReport::Connected { certificate } => self.quic_connected(certificate),
            QuicReport::Failed(failure) => self.quic_failed(failure),
            QuicReport::Up { max_channels } => {
                self.update_transports(|transports| {
                    if let Some(quic) = &mut transports.quic {
                        quic.max_channels = Some(max_channels);
                    }
                });
            }
            QuicReport::PeerClosed => self.closed_by_peer(),
            QuicReport::Incoming(incoming) => self.incoming(incoming, ctx),
        }
    }
}

/// What the server of a handshake that did not come up is told.
const BEGAN_DTLS: &str = "the peer began DTLS instead";

fn speaks_quic(start: &StartSctp) -> bool {
    let peer = start.peerloom.as_ref();
    peer.is_some_and(|peer| peer.has(Capabilities::QUIC))
}

impl Handler<QuicReport> for PeerConnectionActor {
    type Result = ();

    fn handle(&mut self, report: QuicReport, ctx: &mut Context<Self>) {
        if !self.is_parting() {
            self.quic_report(report, ctx);
        }
    }
}
