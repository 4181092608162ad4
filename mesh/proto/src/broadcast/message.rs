//! What is said over the links.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::id::{MessageId, tagged_hash};
use crate::wire::{self, BoundedVec, WireError};

const VERSION: u8 = 1;
/// Bytes of one broadcast.
pub const MAX_PAYLOAD: usize = 16 * 1024;
/// Announcements in one message.
pub const MAX_ANNOUNCED: usize = 64;
const MAX: usize = MAX_PAYLOAD + 64;

/// A message that the sender has, and how far it is from the author there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// The message.
    pub id: MessageId,
    /// Links it would have travelled over by way of the sender.
    pub hops: u8,
}

/// One message between neighbours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// A broadcast.
    Push {
        /// Its bytes.
        #[serde(with = "wire::bin")]
        payload: Bytes,
        /// Links it has travelled over, this one included. Anybody on the way
        /// can falsify it: it shapes the tree and proves nothing.
        hops: u8,
    },
    /// Broadcasts that can be had.
    Announce(Box<BoundedVec<Announced, MAX_ANNOUNCED>>),
    /// Push to me from now on, and this one at once.
    Graft {
        /// The broadcast that is missing.
        id: Option<MessageId>,
    },
    /// Announce to me from now on.
    Prune,
}

impl Message {
    pub(super) fn announce(news: impl IntoIterator<Item = Announced>) -> Self {
        Message::Announce(Box::new(BoundedVec::truncated(news)))
    }

    /// The bytes on the wire.
    pub fn encode(&self) -> Result<Bytes, WireError> {
        wire::encode(VERSION, MAX, self)
    }

    /// The message in these bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        wire::decode(VERSION, MAX, bytes)
    }
}

/// The id of a broadcast: a hash of its bytes.
pub fn message_id(payload: &[u8]) -> MessageId {
    MessageId::from_bytes(tagged_hash("peerloom/tree/1", &[payload]))
}
