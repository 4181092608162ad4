//! The actor of a peer connection: parent of its transports and channels.
//!
//! It decides nothing about protocols. The offer/answer state machine says what has
//! to happen (`effects.rs`), children report what did, and the actor publishes the
//! states that follow.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use actix::fut::{ActorFutureExt as _, wrap_future};
use actix::{Actor, ActorContext, Addr, AsyncContext, Context};
use peerloom_transports::proto::certificate::Certificate;
use peerloom_transports::proto::dtls;
use peerloom_transports::proto::jsep::{Session, SessionConfig};
use peerloom_transports::proto::sdp::Capabilities;
use peerloom_transports::udp;
use tokio::sync::{oneshot, watch};

use super::chain::{Chain, WhenEmpty};
use super::channels::Channel;
use super::data::Data;
use super::events::{ConnectionState, Event, IceConnectionState, Identity, Snapshot};
use super::parting::Parting;
use super::past::Past;
use super::progress::Progress;
use super::transports::{DtlsTransportState, SctpTransportState, TransportEvent, Transports};
use super::wiring::Wires;
use super::{Alive, Public};
use crate::cause::{ActorKind, Cause};
use crate::config::{Configuration, DataTransport};
use crate::error::Error;
use crate::feed::Feed;
use crate::identity::ValidatedIdentity;
use crate::sctp_transport::ChannelKey;
use crate::supervisor::{self, Children, Death, Died, supervised};

/// Messages in a connection's mailbox: commands, which wait in their callers, and
/// reports of children, which keep what does not fit.
const MAILBOX: usize = 256;

/// Everything a connection's actor is made of.
pub(crate) struct Plan {
    pub(crate) chain: Arc<Chain>,
    pub(crate) config: Arc<Configuration>,
    pub(crate) certificate: Certificate,
    pub(crate) udp: udp::Endpoint,
    pub(crate) alive: Weak<Alive>,
    pub(crate) dropped: oneshot::Receiver<()>,
}

/// A connection that runs.
pub(crate) struct Started {
    pub(crate) actor: Addr<PeerConnectionActor>,
    pub(crate) public: Public,
    pub(crate) session_id: u64,
}

/// A child of a peer connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ChildKey {
    Ice,
    Dtls,
    Sctp,
    Quic,
    Channel(ChannelKey),
}

/// Where the connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Running,
    /// Over; only `close` means something.
    Failed,
    /// Waiting for the goodbye to leave.
    Closing,
}

/// The actor of a peer connection.
pub(crate) struct PeerConnectionActor {
    pub(super) config: Arc<Configuration>,
    pub(super) certificate: Certificate,
    pub(super) udp: udp::Endpoint,
    pub(super) session: Session,
    pub(super) chain: Arc<Chain>,
    /// `negotiationneeded` waits for the chain to be empty.
    pub(super) untold_negotiation: bool,
    pub(super) alive: Weak<Alive>,
    dropped: Option<oneshot::Receiver<()>>,
    pub(super) snapshot: watch::Sender<Snapshot>,
    pub(super) events: Feed<Event>,
    transport_events: Feed<TransportEvent>,
    pub(super) children: Children<ChildKey>,
    pub(super) wires: Option<Wires>,
    pub(super) data: Data,
    pub(super) channels: BTreeMap<ChannelKey, Channel>,
    pub(super) next_channel: u64,
    pub(super) past: Past,
    pub(super) progress: Progress,
    /// `setLocalDescription` has succeeded before.
    pub(super) local_was_set: bool,
    pub(super) identity_round: u64,
    /// The peer's identity, once proved: it cannot change any more.
    pub(super) proved: Option<ValidatedIdentity>,
    pub(super) parting: Parting,
    /// `close` ends a connection that lives.
    pub(super) says_goodbye: bool,
    life: Life,
}

impl std::fmt::Debug for PeerConnectionActor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerConnectionActor")
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

impl Plan {
    /// Starts the actor as a child of `start`'s owner.
    pub(crate) fn start(
        self,
        snapshot: watch::Sender<Snapshot>,
        events: Feed<Event>,
        transport_events: Feed<TransportEvent>,
        start: impl FnOnce(
            Context<PeerConnectionActor>,
            PeerConnectionActor,
        ) -> Addr<PeerConnectionActor>,
    ) -> Started {
        let public = Public {
            snapshot: snapshot.subscribe(),
            events: events.downgrade(),
            transport_events: transport_events.downgrade(),
        };
        let session = Session::new(SessionConfig {
            seed: rand::random(),
            fingerprints: vec![self.certificate.fingerprint().clone()],
            bundle_policy: self.config.bundle_policy,
            max_message_size: u64::from(self.config.channels.local_max_message_size),
            peerloom: Some(capabilities(self.config.data_transport)),
            ..SessionConfig::default()
        });
        let session_id = session.session_id();
        let actor = PeerConnectionActor {
            config: self.config,
            certificate: self.certificate,
            udp: self.udp,
            session,
            chain: self.chain,
            untold_negotiation: false,
            alive: self.alive,
            dropped: Some(self.dropped),
            snapshot,
            events,
            transport_events,
            children: Children::default(),
            wires: None,
            data: Data::default(),
            channels: BTreeMap::new(),
            next_channel: 0,
            past: Past::default(),
            progress: Progress::default(),
            local_was_set: false,
            identity_round: 0,
            proved: None,
            parting: Parting::No,
            says_goodbye: false,
            life: Life::Running,
        };
        let mut context = Context::new();
        context.set_mailbox_capacity(MAILBOX);
        Started {
            actor: start(context, actor),
            public,
            session_id,
        }
    }
}

impl PeerConnectionActor {
    /// Refuses calls on a connection that is over.
    pub(super) fn check_open(&self) -> Result<(), Error> {
        match self.life {
            Life::Running => Ok(()),
            Life::Failed | Life::Closing => Err(Error::Closed {
                cause: self.cause(),
            }),
        }
    }

    /// Whether `close` was called.
    pub(super) fn is_closing(&self) -> bool {
        self.life == Life::Closing
    }

    fn cause(&self) -> Cause {
        self.snapshot
            .borrow()
            .cause
            .clone()
            .unwrap_or(Cause::ClosedLocally)
    }

    /// Tells listeners; nobody has to listen.
    pub(super) fn emit(&self, event: Event) {
        self.events.send(event);
    }

    /// Changes what is published about the transports, and tells what has changed.
    pub(super) fn update_transports(&self, change: impl FnOnce(&mut Transports)) {
        let before = self.snapshot.borrow().transports.clone();
        self.snapshot
            .send_modify(|snapshot| change(&mut snapshot.transports));
        for event in before.changes(&self.snapshot.borrow().transports) {
            // Nobody has to listen.
            self.transport_events.send(event);
        }
    }

    /// The connection cannot go on: says why, once, and lets its transports go.
    pub(super) fn fail(&mut self, cause: Cause) {
        if self.life != Life::Running {
            return;
        }
        self.part();
        self.update_transports(|transports| transports.dtls.state = DtlsTransportState::Closed);
        self.give_up(cause);
    }

    /// The same when DTLS has failed. ICE goes on until `close`, in a state of its own
    /// (webrtc-pc section 4.3.3), and so does the DTLS actor, for what it still has to tell
    /// the peer.
    pub(super) fn fail_above_ice(&mut self, cause: Cause) {
        if self.life != Life::Running {
            return;
        }
        self.children.remove(&ChildKey::Sctp);
        self.update_transports(|transports| {
            transports.dtls.state = DtlsTransportState::Failed;
            transports.dtls.error = Some(cause.clone());
        });
        self.give_up(cause);
    }

    /// The same when QUIC has failed.
    pub(super) fn fail_with_quic(&mut self, cause: Cause) {
        if self.life == Life::Running {
            self.give_up(cause);
        }
    }

    fn give_up(&mut self, cause: Cause) {
        self.life = Life::Failed;
        tracing::info!(%cause, code = cause.code(), "peer connection failed");
        self.update_transports(|transports| {
            if let Some(sctp) = &mut transports.sctp {
                sctp.state = SctpTransportState::Closed;
            }
            transports.end_quic();
        });
        self.snapshot.send_modify(|snapshot| {
            snapshot.connection = ConnectionState::Failed;
            snapshot.cause = Some(cause.clone());
        });
        self.end_channels(&cause);
        self.emit(Event::ConnectionStateChange {
            state: ConnectionState::Failed,
            cause: Some(cause),
        });
    }

    /// `close` (webrtc-pc section 4.4.2): no events but the end of the stream.
    pub(super) fn close(&mut self, ctx: &mut Context<Self>) {
        if self.life == Life::Closing {
            return;
        }
        self.says_goodbye = self.life == Life::Running;
        self.life = Life::Closing;
        self.session.close();
        while self.session.poll_effect().is_some() {}
        self.snapshot.send_modify(|snapshot| {
            snapshot.connection = ConnectionState::Closed;
            snapshot.ice = IceConnectionState::Closed;
            snapshot.signaling = self.session.signaling_state();
            snapshot.cause.get_or_insert(Cause::ClosedLocally);
        });
        self.snapshot
            .send_modify(|snapshot| snapshot.transports.close());
        self.close_channels(&Cause::ClosedLocally);
        self.part();
        self.finish(ctx);
    }

    /// A child is dead: reported always, and acted upon as its kind demands.
    fn bury(&mut self, key: ChildKey, death: Death, ctx: &mut Context<Self>) {
        if !self.children.remove(&key) {
            return;
        }
        let parted = matches!(self.parting, Parting::Over(_));
        let says_goodbye = matches!(key, ChildKey::Dtls | ChildKey::Quic);
        if self.life == Life::Closing && parted && says_goodbye {
            ctx.stop();
            return;
        }
        let kind = match key {
            ChildKey::Ice => ActorKind::IceAgent,
            ChildKey::Dtls => ActorKind::DtlsTransport,
            ChildKey::Sctp => ActorKind::SctpTransport,
            ChildKey::Quic => ActorKind::QuicTransport,
            ChildKey::Channel(key) => {
                self.bury_channel(key, death);
                return;
            }
        };
        if self.life != Life::Running {
            return;
        }
        tracing::error!(%kind, %death, "an actor died");
        self.emit(Event::ActorDied {
            kind: kind.clone(),
            cause: death.clone(),
        });
        self.fail(Cause::ActorDied { kind, death });
    }

    /// Publishes the states that follow from the transports' (webrtc-pc sections 4.3.3
    /// and 4.3.4), and starts SCTP when its time has come.
    pub(super) fn advance(&mut self) {
        match self.life {
            Life::Running => self.advance_all(),
            Life::Failed => self.advance_ice(),
            Life::Closing => {}
        }
    }

    fn advance_ice(&mut self) {
        let ice = self.progress.ice_connection_state();
        self.update_transports(|transports| transports.ice.state = ice);
        let changed = self
            .snapshot
            .send_if_modified(|snapshot| std::mem::replace(&mut snapshot.ice, ice) != ice);
        if changed {
            self.emit(Event::IceConnectionStateChange(ice));
        }
    }

    fn advance_all(&mut self) {
        let before = self.snapshot.borrow().clone();
        let ice = self.progress.ice_connection_state();
        let connection = self.progress.connection_state(self.may_flow());
        // Not the end: an ICE restart may bring it back.
        let cause = (ice == IceConnectionState::Failed).then(|| self.progress.ice_failure());
        self.advance_ice();
        self.snapshot.send_if_modified(|snapshot| {
            snapshot.connection = connection;
            snapshot.cause = cause.clone();
            before.connection != connection
        });
        if before.connection != connection {
            self.emit(Event::ConnectionStateChange {
                state: connection,
                cause,
            });
        }
        self.start_data_if_ready();
    }

    /// Whether the peer is who it has to be.
    pub(super) fn may_flow(&self) -> bool {
        matches!(
            self.snapshot.borrow().identity,
            Identity::Absent | Identity::Valid(_) | Identity::Unproved(_)
        )
    }

    /// No data flows before the peer has shown its certificate and the identity was accepted.
    fn start_data_if_ready(&mut self) {
        let ready = self.progress.dtls == Some(dtls::State::Connected) && self.may_flow();
        if self.progress.data_started || !ready {
            return;
        }
        if let Some(start) = self.progress.sctp.clone() {
            self.progress.data_started = self.start_data(start);
        }
    }
}

/// What our descriptions say of us.
fn capabilities(transport: DataTransport) -> Capabilities {
    match transport {
        DataTransport::Sctp => Capabilities::default(),
        DataTransport::Auto | DataTransport::Quic => {
            Capabilities::default().with(Capabilities::QUIC)
        }
    }
}

impl Actor for PeerConnectionActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.wire(ctx);
        ctx.spawn(WhenEmpty);
        supervisor::watch(ctx, self.children.patrol(), |actor, ctx| {
            for key in actor.children.wedged() {
                actor.bury(key, Death::Wedged, ctx);
            }
        });
        if let Some(dropped) = self.dropped.take() {
            // Resolves, with an error, when the last handle is dropped.
            ctx.spawn(wrap_future::<_, Self>(dropped).map(|_, actor, ctx| actor.close(ctx)));
        }
    }
}

impl Drop for PeerConnectionActor {
    fn drop(&mut self) {
        // However the actor ended, nobody waits for its channels for ever. The warden has
        // published the cause.
        let cause = self.snapshot.borrow().cause.clone();
        self.close_channels(&cause.unwrap_or(Cause::EndpointGone));
    }
}

impl actix::Handler<Died<ChildKey>> for PeerConnectionActor {
    type Result = ();

    fn handle(&mut self, died: Died<ChildKey>, ctx: &mut Self::Context) {
        self.bury(died.key, died.death, ctx);
    }
}

supervised!(PeerConnectionActor);
