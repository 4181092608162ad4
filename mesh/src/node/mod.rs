//! The node: its root actor, and how handles reach it.
//!
//! The actor owns the pure core ([`peerloom_mesh_proto::Node`]), the links and
//! the gossip handle. It turns what arrives into inputs, carries out what the
//! core asks, and decides nothing itself. Handles reach it through two bounded
//! queues: requests, and application messages, which it takes only while its
//! links have room. That is the backpressure of `broadcast().await`.

mod actor;
mod addresses;
mod bootstrap;
mod carry;
mod close;
mod happen;
mod names;
mod requests;
mod rooms;
mod start;

use std::sync::Arc;

use bytes::Bytes;
use peerloom_mesh_proto::{PeerId, RoomId, Ticket};
use tokio::sync::{mpsc, oneshot, watch};

use crate::channel::Incoming;
use crate::error::{ChannelError, Error, JoinError, SendError};
use crate::shared::{RoomName, Roster};
use crate::store::{KnownIdentity, RememberedPeer};
pub(crate) use start::start;

/// Requests waiting for the node, filled by handles, which wait when it is
/// full.
const REQUESTS: usize = 64;
/// Application messages waiting for the node, filled by channels, which wait
/// when it is full.
const MESSAGES: usize = 64;
/// Reports of links waiting for the node, filled by their tasks, which wait
/// when it is full: the other side's messages then stay in SCTP.
const REPORTS: usize = 256;

type Reply<T> = oneshot::Sender<T>;

/// What a handle asks of the node.
pub(crate) enum Request {
    /// A ticket to this node.
    Ticket(Reply<Result<Ticket, Error>>),
    /// Dial this ticket's peer.
    AddTicket(Ticket, Reply<Result<(), Error>>),
    /// Join a room, or hold it once more.
    Join(String, Reply<Result<Joined, JoinError>>),
    /// Let go of a room.
    Leave(RoomId),
    /// Open a channel.
    OpenChannel {
        room: RoomId,
        name: String,
        inbox: mpsc::Sender<Incoming>,
        reply: Reply<Result<(), ChannelError>>,
    },
    /// Take another nick.
    SetNick(Option<String>, Reply<Result<(), Error>>),
    /// Where gossip listens.
    Addresses(Reply<Vec<String>>),
    /// Known identities.
    Identities(Reply<Result<Vec<KnownIdentity>, Error>>),
    /// Forget an identity.
    Forget(String, Reply<Result<bool, Error>>),
    /// Remembered peers.
    Remembered(Reply<Result<Vec<RememberedPeer>, Error>>),
    /// Leave, say goodbye, end.
    Close(Reply<()>),
    /// Go silent from one instant.
    #[cfg(feature = "chaos")]
    Silence(Reply<()>),
    /// Cut gossip, or let it flow.
    #[cfg(feature = "chaos")]
    CutGossip(bool, Reply<()>),
    /// Lose datagrams of the links from now on.
    #[cfg(feature = "chaos")]
    Impair(peerloom_actors::Impairment, Reply<()>),
    /// Lose the database.
    #[cfg(feature = "chaos")]
    LoseDatabase(Reply<Result<(), Error>>),
    /// Let an actor of a link suffer.
    #[cfg(feature = "chaos")]
    Inject {
        peer: PeerId,
        kind: peerloom_actors::ActorKind,
        fault: peerloom_actors::Fault,
        reply: Reply<bool>,
    },
}

/// A joined room, as the node hands it over.
pub(crate) struct Joined {
    pub(crate) room: RoomName,
    pub(crate) roster: watch::Receiver<Roster>,
}

/// An application message for the room (`to` is `None`) or one member.
pub(crate) struct Outgoing {
    pub(crate) room: RoomId,
    pub(crate) channel: Arc<str>,
    pub(crate) to: Option<PeerId>,
    pub(crate) payload: Bytes,
    pub(crate) reply: Reply<Result<(), SendError>>,
}

/// The node has ended.
#[derive(Debug)]
pub(crate) struct Ended;

/// The handles' ends of the queues. The node ends when the last is dropped.
#[derive(Clone)]
pub(crate) struct Requests {
    queue: mpsc::Sender<Request>,
    messages: mpsc::Sender<Outgoing>,
}

impl Requests {
    pub(crate) async fn send(&self, request: Request) -> Result<(), Ended> {
        self.queue.send(request).await.map_err(|_| Ended)
    }

    /// Without waiting; for what must not wait (dropping a handle).
    pub(crate) fn try_send(&self, request: Request) -> Result<(), Ended> {
        self.queue.try_send(request).map_err(|_| Ended)
    }

    pub(crate) async fn send_message(&self, message: Outgoing) -> Result<(), Ended> {
        self.messages.send(message).await.map_err(|_| Ended)
    }
}
