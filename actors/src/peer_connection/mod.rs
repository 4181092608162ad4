//! Peer connections: the handle, and the actor behind it.

mod actor;
mod attributes;
mod chain;
mod channels;
mod configure;
mod data;
mod effects;
mod events;
mod identity;
pub(crate) mod messages;
mod parting;
mod past;
mod progress;
mod stats;
mod transports;
mod verdict;
mod wiring;

use std::sync::Arc;

use actix::Addr;
use futures::{Stream, StreamExt as _};
use peerloom_transports::proto::certificate::Certificate;
use peerloom_transports::proto::jsep::{
    IceCandidateInit, OfferOptions, SdpType, SessionDescription,
};
use tokio::sync::{oneshot, watch};

pub(crate) use actor::{PeerConnectionActor, Plan, Started};
pub use data::{DataTransportChoice, DataTransportKind, DataTransportReason};
pub use events::{ConnectionState, Event, IceConnectionState, IceGatheringState};
pub(crate) use events::{EVENT_BACKLOG, Identity, Snapshot};
pub use stats::{CandidatePairStats, CertificateStats, DataChannelStats, Stats, TransportStats};
pub use transports::{
    DtlsTransport, DtlsTransportEvent, DtlsTransportState, IceTransport, IceTransportEvent,
    QuicTransport, QuicTransportEvent, QuicTransportState, SctpTransport, SctpTransportEvent,
    SctpTransportState,
};
pub(crate) use transports::{TRANSPORT_BACKLOG, TransportEvent};

use crate::cause::Cause;
use crate::config::Configuration;
use crate::data_channel::{DataChannel, DataChannelInit};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::feed::{Missed, WeakFeed};
use crate::identity::IdentityError;
use crate::keygen::{self, KeygenAlgorithm};
use chain::Chain;
use messages::{
    AddCandidate, Close, Create, CreateChannel, GetStats, RestartIce, SetLocal, SetRemote,
};
use peerloom_transports::clock;

/// A peer connection (`RTCPeerConnection`). Clones share the connection. It closes when
/// the last handle, of it and of its channels, is dropped; [`PeerConnection::close`]
/// does so at once.
#[derive(Debug, Clone)]
pub struct PeerConnection {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    actor: Addr<PeerConnectionActor>,
    public: Public,
    certificate: Certificate,
    config: Arc<Configuration>,
    session_id: u64,
    /// The operations chain of webrtc-pc section 4.4.1.2: calls run in order, one at a
    /// time.
    chain: Arc<Chain>,
    /// Keeps the actor alive.
    _alive: Arc<Alive>,
    /// Keeps the sockets and threads alive.
    _endpoint: Endpoint,
}

/// The actor stops when the last of these is dropped.
#[derive(Debug)]
pub(crate) struct Alive {
    _token: oneshot::Sender<()>,
}

/// What handles see of the actor without asking it.
#[derive(Debug, Clone)]
pub(crate) struct Public {
    snapshot: watch::Receiver<Snapshot>,
    events: WeakFeed<Event>,
    transport_events: WeakFeed<TransportEvent>,
}

impl PeerConnection {
    /// Makes a connection on an endpoint, in any tokio runtime.
    pub async fn new(endpoint: &Endpoint, config: Configuration) -> Result<PeerConnection, Error> {
        config.check(clock::wall_clock())?;
        let certificate = match config.certificates.first() {
            Some(certificate) => certificate.clone(),
            None => keygen::generate(KeygenAlgorithm::default(), None)?,
        };
        let config = Arc::new(config);
        let (token, dropped) = oneshot::channel();
        let alive = Arc::new(Alive { _token: token });
        let chain = Arc::<Chain>::default();
        let plan = actor::Plan {
            chain: chain.clone(),
            config: config.clone(),
            certificate: certificate.clone(),
            udp: endpoint.udp().clone(),
            alive: Arc::downgrade(&alive),
            dropped,
        };
        let started = endpoint.runtime().start_connection(plan).await?;
        let handle = Handle {
            actor: started.actor,
            public: started.public,
            certificate,
            config,
            session_id: started.session_id,
            chain,
            _alive: alive,
            _endpoint: endpoint.clone(),
        };
        Ok(PeerConnection {
            handle: Arc::new(handle),
        })
    }

    /// `createOffer`.
    pub async fn create_offer(&self, options: OfferOptions) -> Result<SessionDescription, Error> {
        let _turn = self.handle.chain.enter().await;
        let identity = self.handle.assertion().await?;
        self.ask(Create::Offer { options, identity }).await
    }

    /// `createAnswer`.
    pub async fn create_answer(&self) -> Result<SessionDescription, Error> {
        let _turn = self.handle.chain.enter().await;
        let identity = self.handle.assertion().await?;
        self.ask(Create::Answer { identity }).await
    }

    /// `setLocalDescription`; `None` creates and sets what the state asks for.
    pub async fn set_local_description(
        &self,
        description: Option<SessionDescription>,
    ) -> Result<(), Error> {
        let _turn = self.handle.chain.enter().await;
        let implicit = description
            .as_ref()
            .is_none_or(|d| d.sdp.is_empty() && d.kind != SdpType::Rollback);
        let identity = if implicit {
            self.handle.assertion().await?
        } else {
            None
        };
        self.ask(SetLocal {
            description,
            identity,
        })
        .await
    }

    /// `setRemoteDescription`. With an identity provider it resolves after the peer's
    /// assertion was checked; a refusal fails the connection before any data flows.
    /// Cancel-safe: a dropped call is carried out all the same.
    pub async fn set_remote_description(
        &self,
        description: SessionDescription,
    ) -> Result<(), Error> {
        let turn = self.handle.chain.enter().await;
        // On the caller's runtime, and to its end even if the caller goes away: the
        // connection waits for the verdict from the moment it has the description.
        let handle = self.handle.clone();
        let set = tokio::spawn(async move {
            let _turn = turn;
            match handle.ask(SetRemote(description)).await? {
                Some(to_validate) => handle.validate(to_validate).await,
                None => Ok(()),
            }
        });
        set.await
            .unwrap_or(Err(Error::Identity(IdentityError::Aborted)))
    }

    /// `addIceCandidate`; `None` says that there are no more.
    pub async fn add_ice_candidate(
        &self,
        candidate: Option<IceCandidateInit>,
    ) -> Result<(), Error> {
        let _turn = self.handle.chain.enter().await;
        self.ask(AddCandidate(candidate)).await
    }

    /// `createDataChannel`.
    pub async fn create_data_channel(
        &self,
        label: &str,
        init: DataChannelInit,
    ) -> Result<DataChannel, Error> {
        self.ask(CreateChannel {
            label: label.to_owned(),
            init,
        })
        .await
    }

    /// `restartIce`: the next offer has new ICE credentials. Has no effect when closed, which is no
    /// error (webrtc-pc section 4.4.2).
    pub async fn restart_ice(&self) -> Result<(), Error> {
        let outcome = self.ask(RestartIce).await;
        if self.connection_state() == ConnectionState::Closed {
            return Ok(());
        }
        outcome
    }

    /// `close`: says goodbye to the peer, closes all channels and stops the actors.
    pub async fn close(&self) {
        if self.handle.actor.send(Close).await.is_err() {
            tracing::debug!("closed already");
        }
        // Both its senders are gone when the actor is and its warden knows.
        let mut snapshot = self.handle.public.snapshot.clone();
        while snapshot.changed().await.is_ok() {}
    }

    /// `getStats` (webrtc-pc section 8.2). Once closed it answers what was counted by then; an error
    /// says that the connection's actor died.
    pub async fn get_stats(&self) -> Result<Stats, Error> {
        let asked = self.ask(GetStats).await;
        let last = || self.read(|snapshot| snapshot.last_stats.as_deref().cloned());
        asked.or_else(|error| last().ok_or(error))
    }

    /// Our certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.handle.certificate
    }

    /// Our session id, as in the `o=` line of our descriptions.
    pub fn session_id(&self) -> u64 {
        self.handle.session_id
    }

    /// Everything that happens from now on. Ends when the connection is closed.
    pub fn events(&self) -> impl Stream<Item = Event> + Send + Unpin + use<> {
        stream_of(&self.handle.public.events, Event::Missed, Some)
    }

    /// `sctp`: the association that carries the channels; `None` before a description has
    /// negotiated one (webrtc-pc section 6.1).
    pub fn sctp(&self) -> Option<SctpTransport> {
        SctpTransport::of(&self.handle.public)
    }

    /// The QUIC transport that carries the channels in place of [`PeerConnection::sctp`]; `None` when it
    /// does not. Not of the W3C interface.
    pub fn quic(&self) -> Option<QuicTransport> {
        QuicTransport::of(&self.handle.public)
    }

    /// What carries the data channels, and why, once that is settled.
    pub fn data_transport(&self) -> Option<DataTransportChoice> {
        self.read(|snapshot| snapshot.data_transport.clone())
    }

    /// Puts a fault into one of the connection's actors; `false` when there is none of
    /// that kind.
    #[cfg(feature = "chaos")]
    pub async fn inject(&self, kind: crate::ActorKind, fault: crate::Fault) -> Result<bool, Error> {
        self.ask_plain(messages::InjectInto { kind, fault }).await
    }

    async fn ask<M, T>(&self, message: M) -> Result<T, Error>
    where
        M: actix::Message<Result = Result<T, Error>> + Send + 'static,
        T: Send + 'static,
        PeerConnectionActor: actix::Handler<M>,
    {
        self.handle.ask(message).await
    }

    #[cfg(feature = "chaos")]
    async fn ask_plain<M, T>(&self, message: M) -> Result<T, Error>
    where
        M: actix::Message<Result = T> + Send + 'static,
        T: Send + 'static,
        PeerConnectionActor: actix::Handler<M>,
    {
        self.handle
            .actor
            .send(message)
            .await
            .map_err(|_| self.handle.gone())
    }

    fn read<T>(&self, read: impl FnOnce(&Snapshot) -> T) -> T {
        read(&self.handle.public.snapshot.borrow())
    }
}

impl Handle {
    async fn ask<M, T>(&self, message: M) -> Result<T, Error>
    where
        M: actix::Message<Result = Result<T, Error>> + Send + 'static,
        T: Send + 'static,
        PeerConnectionActor: actix::Handler<M>,
    {
        self.actor
            .send(message)
            .await
            .unwrap_or_else(|_| Err(self.gone()))
    }

    /// The error of a call after the actor's end.
    fn gone(&self) -> Error {
        let cause = self.public.snapshot.borrow().cause.clone();
        Error::Closed {
            cause: cause.unwrap_or(Cause::EndpointGone),
        }
    }
}

/// What a sender's events are from now on, as far as `pick` wants them; over at once when the
/// sender is gone.
fn stream_of<T, E>(
    events: &WeakFeed<T>,
    missed: fn(u64) -> E,
    pick: fn(T) -> Option<E>,
) -> impl Stream<Item = E> + Send + Unpin + use<T, E>
where
    T: Clone + Send + 'static,
    E: Send + 'static,
{
    let all = futures::stream::iter(events.listen()).flatten();
    all.filter_map(move |event| {
        std::future::ready(match event {
            Ok(event) => pick(event),
            Err(Missed(count)) => Some(missed(count)),
        })
    })
}
