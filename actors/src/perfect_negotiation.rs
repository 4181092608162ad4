//! Perfect negotiation (W3C webrtc-pc section 10.7), ready made.

mod rules;

use std::fmt;

use futures::{Sink, SinkExt as _, Stream, StreamExt as _};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::feed::Feed;
use crate::peer_connection::{Event, IceConnectionState, PeerConnection};
use peerloom_transports::proto::jsep::{IceCandidateInit, SdpType, SessionDescription};
use rules::{Rules, Verdict};

/// Faults kept for listeners of [`PerfectNegotiation::faults`]. Filled by the negotiation;
/// a slower listener misses the oldest.
const FAULT_BACKLOG: usize = 16;

/// What two ends send each other, in order and without loss. As JSON it is what the example
/// of webrtc-pc section 10.7 sends: `{"description":{…}}` or `{"candidate":{…}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// An offer or answer.
    Description(SessionDescription),
    /// A candidate; an empty one ends those of its generation, `null` all.
    Candidate(Option<IceCandidateInit>),
}

/// The signaling channel took no more: the reason its sink gave.
#[derive(Debug, thiserror::Error)]
#[error("the signaling channel is gone (connect again and run once more): {0}")]
pub struct SignalingLost<E: fmt::Debug + fmt::Display>(pub E);

/// Negotiates for an application: makes an offer whenever one is needed, answers the peer's,
/// passes candidates on, and settles it when both offer at once. One of the two ends must be
/// *polite*, the other not; which one is for the applications to agree on.
///
/// The application uses everything else of the connection (channels, `restart_ice`, events),
/// and leaves descriptions and candidates alone.
///
/// ```
/// use futures::{SinkExt as _, channel::mpsc};
/// use peerloom_actors::{Configuration, DataChannelInit, Endpoint, EndpointConfig};
/// use peerloom_actors::{PeerConnection, PerfectNegotiation, Runtime, RuntimeConfig};
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let runtime = Runtime::start(RuntimeConfig::default())?;
/// let bind = vec!["127.0.0.1:0".parse()?];
/// let endpoint = Endpoint::bind(&runtime, EndpointConfig { bind }).await?;
/// let alice = PeerConnection::new(&endpoint, Configuration::default()).await?;
/// let bob = PeerConnection::new(&endpoint, Configuration::default()).await?;
///
/// // Stands for a WebSocket, a mailbox, pigeons: anything that keeps the order.
/// let (to_bob, from_alice) = mpsc::channel(16);
/// let (to_alice, from_bob) = mpsc::channel(16);
/// let polite = PerfectNegotiation::new(alice.clone(), true);
/// let impolite = PerfectNegotiation::new(bob.clone(), false);
/// tokio::spawn(async move { polite.run(to_bob, from_bob).await });
/// tokio::spawn(async move { impolite.run(to_alice, from_alice).await });
///
/// // Both begin at once, and it works.
/// let ours = alice.create_data_channel("from alice", DataChannelInit::default()).await?;
/// let theirs = bob.create_data_channel("from bob", DataChannelInit::default()).await?;
/// ours.opened().await?;
/// theirs.opened().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct PerfectNegotiation {
    connection: PeerConnection,
    rules: Rules,
    faults: Feed<Error>,
    /// From the beginning, so that nothing is missed before [`PerfectNegotiation::run`].
    events: Events,
}

struct Events(Box<dyn Stream<Item = Event> + Send + Unpin>);

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

impl PerfectNegotiation {
    /// For a connection on which nothing was negotiated yet.
    pub fn new(connection: PeerConnection, polite: bool) -> PerfectNegotiation {
        PerfectNegotiation {
            events: Events(Box::new(connection.events())),
            connection,
            rules: Rules::new(polite),
            faults: Feed::new(FAULT_BACKLOG),
        }
    }

    /// Descriptions and candidates of the peer that were refused, from now on. The negotiation
    /// goes on after each.
    pub fn faults(&self) -> impl Stream<Item = Error> + Send + Unpin + use<> {
        self.faults
            .listen()
            // What a slow listener misses is logged too.
            .filter_map(|fault| std::future::ready(fault.ok()))
    }

    /// Negotiates until the connection is closed or the peer's signals end. An error of the
    /// sink ends it too.
    pub async fn run<O, E, I>(
        mut self,
        mut outgoing: O,
        mut incoming: I,
    ) -> Result<(), SignalingLost<E>>
    where
        O: Sink<Signal, Error = E> + Unpin,
        E: fmt::Debug + fmt::Display,
        I: Stream<Item = Signal> + Unpin,
    {
        loop {
            let signals = tokio::select! {
                event = self.events.0.next() => match event {
                    Some(event) => self.event(event).await,
                    None => return Ok(()),
                },
                signal = incoming.next() => match signal {
                    Some(signal) => self.signal(signal).await,
                    None => return Ok(()),
                },
            };
            if let Some(signal) = signals {
                outgoing.send(signal).await.map_err(SignalingLost)?;
            }
        }
    }

    /// What the connection says; the signal that follows from it.
    async fn event(&mut self, event: Event) -> Option<Signal> {
        match event {
            Event::NegotiationNeeded | Event::Missed(_) => self.offer().await,
            Event::IceCandidate(candidate) => Some(Signal::Candidate(candidate.map(Into::into))),
            Event::IceConnectionStateChange(IceConnectionState::Failed) => {
                let restarted = self.connection.restart_ice().await;
                self.note("an ICE restart was refused", restarted);
                None
            }
            Event::IceConnectionStateChange(_)
            | Event::IceCandidateError { .. }
            | Event::NetworkChange { .. }
            | Event::SignalingStateChange(_)
            | Event::ConnectionStateChange { .. }
            | Event::IceGatheringStateChange(_)
            | Event::DataTransport(_)
            | Event::DataChannel(_)
            | Event::PeerIdentity(_)
            | Event::IdentityResult(_)
            | Event::IdpAssertionError { .. }
            | Event::IdpValidationError { .. }
            | Event::ActorDied { .. } => None,
        }
    }

    async fn offer(&mut self) -> Option<Signal> {
        if !self.rules.may_offer(self.connection.signaling_state()) {
            // Told again once the negotiation under way is over.
            return None;
        }
        let set = self.connection.set_local_description(None).await;
        self.note("no offer could be made", set)?;
        self.connection.local_description().map(Signal::Description)
    }

    /// What the peer says; the answer to it.
    async fn signal(&mut self, signal: Signal) -> Option<Signal> {
        match signal {
            Signal::Description(description) => self.description(description).await,
            Signal::Candidate(candidate) => {
                let added = self.connection.add_ice_candidate(candidate).await;
                if !self.rules.forgives_candidates() {
                    self.note("a candidate was refused", added)?;
                }
                None
            }
        }
    }

    async fn description(&mut self, description: SessionDescription) -> Option<Signal> {
        let kind = description.kind;
        match self.rules.judge(kind, self.connection.signaling_state()) {
            Verdict::Ignore => return None,
            Verdict::Take => {}
        }
        let set = self.connection.set_remote_description(description).await;
        let failed = set.is_err();
        let taken = self.note("a description was refused", set);
        if failed && self.rules.takes_back_after_failure(kind) {
            // The peer holds another opinion of our offer: make it anew.
            let rollback = SessionDescription::rollback();
            let back = self.connection.set_local_description(Some(rollback)).await;
            self.note("the offer could not be taken back", back);
        }
        taken?;
        self.rules.succeeded();
        if kind != SdpType::Offer {
            return None;
        }
        let set = self.connection.set_local_description(None).await;
        self.note("no answer could be made", set)?;
        self.connection.local_description().map(Signal::Description)
    }

    /// Tells listeners of a refusal.
    fn note<T>(&self, what: &str, result: Result<T, Error>) -> Option<T> {
        result
            .map_err(|error| {
                tracing::warn!(%error, "{what}");
                // Nobody has to listen.
                self.faults.send(error);
            })
            .ok()
    }
}
