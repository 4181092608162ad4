//! The handle to a room.

use std::sync::Arc;

use futures::Stream;
use peerloom_mesh_proto::PeerId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::WatchStream;

use crate::channel::Channel;
use crate::error::{ChannelError, JoinError};
use crate::node::{Joined, Request, Requests};
use crate::shared::{Member, RoomName, Roster, Shared};

/// Messages kept for an application that does not read a channel. Filled by
/// the node; when it is full further messages are dropped, counted and
/// reported ([`Event::InboxOverflow`](crate::Event::InboxOverflow)).
const INBOX: usize = 1024;

/// Tells the node, by being dropped, that nobody uses the room any more.
pub(crate) struct Membership {
    pub(crate) room: RoomName,
    pub(crate) requests: Requests,
}

impl Drop for Membership {
    fn drop(&mut self) {
        // A full queue loses this: the node then stays a member until it ends.
        drop(self.requests.try_send(Request::Leave(self.room.id)));
    }
}

/// A room this node is in. Clones are handles to the same membership.
#[derive(Clone)]
pub struct Room {
    requests: Requests,
    shared: Arc<Shared>,
    room: RoomName,
    roster: watch::Receiver<Roster>,
    membership: Arc<Membership>,
}

impl Room {
    pub(crate) fn new(requests: Requests, shared: Arc<Shared>, joined: Joined) -> Self {
        let Joined { room, roster } = joined;
        let membership = Membership {
            room: room.clone(),
            requests: requests.clone(),
        };
        let membership = Arc::new(membership);
        Self {
            requests,
            shared,
            room,
            roster,
            membership,
        }
    }

    /// The room's name.
    pub fn name(&self) -> &str {
        &self.room.name
    }

    /// This node.
    pub fn me(&self) -> PeerId {
        self.shared.me
    }

    /// The members known now, this node included, by peer id.
    pub fn roster(&self) -> Vec<Member> {
        self.roster.borrow().as_ref().clone()
    }

    /// The roster now and after each change (changes that follow each other
    /// closely are seen as one). Ends when the mesh is closed.
    pub fn members(&self) -> impl Stream<Item = Vec<Member>> + Send + Unpin + use<> {
        WatchStream::new(self.roster.clone()).map(|roster| roster.as_ref().clone())
    }

    /// Waits until the roster is as wanted, and hands it back.
    ///
    /// # Errors
    /// When the mesh is closed before that.
    pub async fn wait_for(
        &self,
        mut wanted: impl FnMut(&[Member]) -> bool,
    ) -> Result<Vec<Member>, JoinError> {
        let mut roster = self.roster.clone();
        let met = roster.wait_for(|roster| wanted(roster.as_ref())).await;
        met.map(|roster| roster.as_ref().clone())
            .map_err(|_| JoinError::Closed)
    }

    /// Opens a typed channel of this room. All handles of one name and room
    /// share one inbox per call: each call gets every message. Messages that
    /// arrived before the first call are handed over (the last 256).
    ///
    /// # Errors
    /// When the name is empty or too long, or the room was left.
    pub async fn channel<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Channel<T>, ChannelError> {
        let (inbox, messages) = mpsc::channel(INBOX);
        let (reply, answer) = oneshot::channel();
        let request = Request::OpenChannel {
            room: self.room.id,
            name: name.to_owned(),
            inbox,
            reply,
        };
        self.requests
            .send(request)
            .await
            .map_err(|_| ChannelError::Closed)?;
        answer.await.map_err(|_| ChannelError::Closed)??;
        Ok(Channel::new(
            self.requests.clone(),
            self.room.clone(),
            name.into(),
            messages,
            Arc::clone(&self.membership),
        ))
    }
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Room")
            .field("name", &self.room.name)
            .finish_non_exhaustive()
    }
}
