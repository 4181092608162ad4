//! Typed channels of a room.

use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use peerloom_mesh_proto::PeerId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

use crate::error::SendError;
use crate::node::{Outgoing, Requests};
use crate::room::Membership;
use crate::shared::RoomName;

/// A message as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received<T> {
    /// Who wrote it, authenticated.
    pub from: PeerId,
    /// What it wrote.
    pub value: T,
    /// Links it travelled over.
    pub hops: u8,
    /// Sent to this node alone.
    pub direct: bool,
}

/// A message on its way from the node to a channel.
#[derive(Debug, Clone)]
pub(crate) struct Incoming {
    pub(crate) from: PeerId,
    pub(crate) payload: Bytes,
    pub(crate) hops: u8,
    pub(crate) direct: bool,
}

/// A named channel of a room for values of one type, encoded as MessagePack
/// (rmp-serde with field names, so that fields may be added). Values that do
/// not decode as `T` are dropped.
pub struct Channel<T> {
    sender: Sender<T>,
    messages: mpsc::Receiver<Incoming>,
}

/// The sending half of a channel; clones freely.
pub struct Sender<T> {
    requests: Requests,
    room: RoomName,
    name: Arc<str>,
    _membership: Arc<Membership>,
    _type: PhantomData<fn(T) -> T>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self {
            requests: self.requests.clone(),
            room: self.room.clone(),
            name: Arc::clone(&self.name),
            _membership: Arc::clone(&self._membership),
            _type: PhantomData,
        }
    }
}

impl<T: Serialize> Sender<T> {
    /// Sends to every other member of the room. Returns when the node has
    /// handed it to its links; waits while they are congested.
    ///
    /// # Errors
    /// When the value does not encode or is too large, or the room was left.
    pub async fn broadcast(&self, value: &T) -> Result<(), SendError> {
        self.send_to(None, value).await
    }

    /// Sends to one member, over other members when there is no link to it,
    /// sealed so that only the addressee can read it. Returns when the
    /// addressee's node has acknowledged it.
    ///
    /// # Errors
    /// When the value does not encode or is too large, when `peer` is not a
    /// member, or when no acknowledgement came.
    pub async fn send(&self, peer: PeerId, value: &T) -> Result<(), SendError> {
        self.send_to(Some(peer), value).await
    }

    async fn send_to(&self, to: Option<PeerId>, value: &T) -> Result<(), SendError> {
        let payload = Bytes::from(rmp_serde::to_vec_named(value)?);
        let (reply, answer) = oneshot::channel();
        let outgoing = Outgoing {
            room: self.room.id,
            channel: Arc::clone(&self.name),
            to,
            payload,
            reply,
        };
        self.requests
            .send_message(outgoing)
            .await
            .map_err(|_| SendError::Closed)?;
        answer.await.map_err(|_| SendError::Closed)?
    }
}

impl<T: Serialize + DeserializeOwned> Channel<T> {
    pub(crate) fn new(
        requests: Requests,
        room: RoomName,
        name: Arc<str>,
        messages: mpsc::Receiver<Incoming>,
        membership: Arc<Membership>,
    ) -> Self {
        let sender = Sender {
            requests,
            room,
            name,
            _membership: membership,
            _type: PhantomData,
        };
        Self { sender, messages }
    }

    /// The channel's name.
    pub fn name(&self) -> &str {
        &self.sender.name
    }

    /// A sending half that lives on its own.
    pub fn sender(&self) -> Sender<T> {
        self.sender.clone()
    }

    /// See [`Sender::broadcast`].
    ///
    /// # Errors
    /// As there.
    pub async fn broadcast(&self, value: &T) -> Result<(), SendError> {
        self.sender.broadcast(value).await
    }

    /// See [`Sender::send`].
    ///
    /// # Errors
    /// As there.
    pub async fn send(&self, peer: PeerId, value: &T) -> Result<(), SendError> {
        self.sender.send(peer, value).await
    }

    /// The next message and who wrote it; `None` when the mesh is closed.
    pub async fn next(&mut self) -> Option<(PeerId, T)> {
        self.recv()
            .await
            .map(|received| (received.from, received.value))
    }

    /// The next message with how it came; `None` when the mesh is closed.
    pub async fn recv(&mut self) -> Option<Received<T>> {
        loop {
            let Incoming {
                from,
                payload,
                hops,
                direct,
            } = self.messages.recv().await?;
            match rmp_serde::from_slice(&payload) {
                Ok(value) => {
                    return Some(Received {
                        from,
                        value,
                        hops,
                        direct,
                    });
                }
                Err(error) => {
                    tracing::debug!(%from, channel = %self.sender.name, %error, "message does not decode");
                }
            }
        }
    }
}

impl<T> std::fmt::Debug for Channel<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel")
            .field("name", &self.sender.name)
            .finish_non_exhaustive()
    }
}

impl<T> std::fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
