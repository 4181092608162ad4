//! The handle to a node.

use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use peerloom_mesh_proto::{PeerId, Ticket};
use tokio::sync::oneshot;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_stream::wrappers::{BroadcastStream, WatchStream};

use crate::config::Config;
use crate::error::{Error, JoinError};
use crate::event::Event;
use crate::node::{self, Request, Requests};
use crate::room::Room;
use crate::shared::{LinkInfo, MeshStats, Shared};
use crate::store::{KnownIdentity, RememberedPeer};

/// A node of a mesh. Clones are handles to the same node; it ends, saying
/// goodbye, with [`Mesh::close`] or when the last handle (rooms and channels
/// included) is dropped.
#[derive(Clone)]
pub struct Mesh {
    requests: Requests,
    shared: Arc<Shared>,
}

impl Mesh {
    /// Starts a node: opens its store, creates its identity at the first
    /// start, listens, and dials its tickets and remembered peers.
    ///
    /// # Errors
    /// When the data directory is in use or not accessible, when no listener
    /// or socket could be opened, or when the settings cannot work.
    pub async fn open(config: Config) -> Result<Self, Error> {
        let (requests, shared) = node::start(config).await?;
        Ok(Self { requests, shared })
    }

    /// Who this node is: its Ed25519 public key.
    pub fn peer_id(&self) -> PeerId {
        self.shared.me
    }

    /// The name of the mesh.
    pub fn name(&self) -> &str {
        &self.shared.mesh
    }

    /// A ticket with which others can join through this node. Waits until the
    /// node listens, and no further address has come for a moment.
    pub async fn ticket(&self) -> Result<Ticket, Error> {
        self.ask(Request::Ticket).await?
    }

    /// Dials the peer of a ticket.
    pub async fn add_ticket(&self, ticket: Ticket) -> Result<(), Error> {
        self.ask(|reply| Request::AddTicket(ticket, reply)).await?
    }

    /// Changes what people call this node. Peers that know the new name with
    /// another key give up their links to this node.
    ///
    /// # Errors
    /// When the nick is empty or longer than 32 bytes, or the mesh was closed.
    pub async fn set_nick(&self, nick: Option<String>) -> Result<(), Error> {
        self.ask(|reply| Request::SetNick(nick, reply)).await?
    }

    /// Joins a room; joining one twice gives handles to the same membership.
    /// The node leaves it when the last handle is dropped.
    pub async fn join(&self, room: &str) -> Result<Room, JoinError> {
        let name = room.to_owned();
        let joined = self.ask(|reply| Request::Join(name, reply)).await;
        let joined = joined.map_err(|_| JoinError::Closed)??;
        Ok(Room::new(
            self.requests.clone(),
            Arc::clone(&self.shared),
            joined,
        ))
    }

    /// What happens from now on; the first caller also gets what the start
    /// brought to light ([`Event::KeyCreated`], [`Event::StoreRebuilt`],
    /// [`Event::RecordDropped`]). A reader that falls behind gets
    /// [`Event::Missed`].
    pub fn events(&self) -> impl Stream<Item = Event> + Send + Unpin + use<> {
        let later = BroadcastStream::new(self.shared.events.subscribe());
        let later = later.map(|item| match item {
            Ok(event) => event,
            Err(BroadcastStreamRecvError::Lagged(count)) => Event::Missed(count),
        });
        futures::stream::iter(self.shared.take_early()).chain(later)
    }

    /// The node's links as they are now.
    pub fn links(&self) -> Vec<LinkInfo> {
        self.shared.links.borrow().as_ref().clone()
    }

    /// The node's links now and after each change (changes that follow each
    /// other closely are seen as one). Ends when the mesh is closed.
    pub fn watch_links(&self) -> impl Stream<Item = Vec<LinkInfo>> + Send + Unpin + use<> {
        WatchStream::new(self.shared.links.subscribe()).map(|links| links.as_ref().clone())
    }

    /// Totals since the start.
    pub fn stats(&self) -> MeshStats {
        self.shared.stats()
    }

    /// Where the peer connections' sockets are bound; a wildcard address stays
    /// one.
    pub fn sockets(&self) -> Vec<std::net::SocketAddr> {
        self.shared.sockets.clone()
    }

    /// Where the gossip swarm listens now, the farthest-reaching first. All
    /// interfaces are known when [`Mesh::ticket`] has answered.
    pub async fn addresses(&self) -> Result<Vec<String>, Error> {
        self.ask(Request::Addresses).await
    }

    /// The identities this node has validated and remembers.
    pub async fn identities(&self) -> Result<Vec<KnownIdentity>, Error> {
        self.ask(Request::Identities).await?
    }

    /// Forgets a remembered identity; says whether it was known.
    pub async fn forget(&self, name: &str) -> Result<bool, Error> {
        let name = name.to_owned();
        self.ask(|reply| Request::Forget(name, reply)).await?
    }

    /// The peers this node would dial at its next start, best first.
    pub async fn remembered(&self) -> Result<Vec<RememberedPeer>, Error> {
        self.ask(Request::Remembered).await?
    }

    /// Leaves all rooms, says goodbye, closes every connection and the store.
    /// When this returns the data directory is free.
    pub async fn close(&self) {
        // An error means that the node is closed already.
        drop(self.ask(Request::Close).await);
    }

    /// From one instant the node's sockets neither send nor answer, and
    /// nothing is closed: no goodbye, no FIN. What a power failure looks like
    /// from outside. Only [`Mesh::close`] works afterwards. (Listeners on TCP
    /// excepted: the kernel still acknowledges what arrives there.)
    #[cfg(feature = "chaos")]
    pub async fn silence(&self) {
        drop(self.ask(Request::Silence).await);
    }

    /// Cuts all gossip of the node, or lets it flow again. Links stay.
    #[cfg(feature = "chaos")]
    pub async fn cut_gossip(&self, cut: bool) {
        drop(self.ask(|reply| Request::CutGossip(cut, reply)).await);
    }

    /// Loses some of the datagrams that links send, from now on; also while
    /// the node says goodbye.
    #[cfg(feature = "chaos")]
    pub async fn impair(&self, impairment: peerloom_actors::Impairment) {
        drop(self.ask(|reply| Request::Impair(impairment, reply)).await);
    }

    /// The database on disk is lost from this instant, as by damage. The next
    /// write finds out, and rebuilds it from memory.
    ///
    /// # Errors
    /// When the store is closed.
    #[cfg(feature = "chaos")]
    pub async fn lose_database(&self) -> Result<(), Error> {
        self.ask(Request::LoseDatabase).await?
    }

    /// Lets an actor of the link to `peer` suffer a fault; says whether there
    /// is such a link.
    #[cfg(feature = "chaos")]
    pub async fn inject(
        &self,
        peer: PeerId,
        kind: peerloom_actors::ActorKind,
        fault: peerloom_actors::Fault,
    ) -> bool {
        self.ask(|reply| Request::Inject {
            peer,
            kind,
            fault,
            reply,
        })
        .await
        .unwrap_or(false)
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(request(reply))
            .await
            .map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)
    }
}

impl std::fmt::Debug for Mesh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mesh")
            .field("peer", &self.shared.me)
            .field("mesh", &self.shared.mesh)
            .finish()
    }
}
