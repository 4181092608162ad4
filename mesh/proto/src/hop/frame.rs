//! What neighbours say to each other; on the wire inside of
//! [`HopFrame`](crate::envelope::HopFrame).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::config::MAX_RELAYS;
use super::digest::Digest;
use crate::envelope::{Envelope, MAX_ENVELOPE, Proof, Refusal, RouteTag};
use crate::id::MessageId;
use crate::wire::{self, BoundedVec, WireError};

/// What may stand around an envelope: relays, the way it follows, framing.
const AROUND: usize = 128;
/// Largest [`Frame::Route`].
pub(crate) const MAX_ROUTE: usize = MAX_ENVELOPE + AROUND;
/// Largest other frame: the digest of a super-peer in many rooms.
pub(crate) const MAX_FRAME: usize = 8 * 1024;

/// How an envelope is brought to its addressee, in the order in which its
/// sender tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Strategy {
    /// Over the link that sender and addressee have.
    #[serde(rename = "d")]
    Direct,
    /// Where news of the addressee came from: presence, acknowledgements,
    /// digests. Where nobody knows it, one step anywhere.
    #[serde(rename = "t")]
    Trail,
    /// Nearer and nearer to the addressee's tag, whatever tables say: they may
    /// be wrong, or lies.
    #[serde(rename = "g")]
    Greedy,
    /// To a relay that the addressee named, and from there to the addressee.
    #[serde(rename = "r")]
    Relay,
    /// To wait at a relay, or where the way ends, until there is one.
    #[serde(rename = "m")]
    Mailbox,
    /// To everybody in the room, by the shell.
    #[serde(rename = "f")]
    Flood,
}

/// An envelope on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Which attempt of its sender.
    pub attempt: u8,
    /// How.
    pub strategy: Strategy,
    /// Whether a table of the one who sends it on says that this is the way.
    /// Whoever knows better gives it back.
    pub sure: bool,
    /// Follow the way of this earlier envelope, in either direction.
    pub along: Option<MessageId>,
    /// Tags of the addressee's relays.
    pub relays: BoundedVec<RouteTag, MAX_RELAYS>,
    /// The envelope. Its `ttl` is what the attempt may still cost.
    pub envelope: Envelope,
}

/// One frame between neighbours. `name` is the
/// [`digest`](Envelope::digest) of an envelope: an altered copy is another one
/// and does not get into its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame {
    /// Bring this on.
    #[serde(rename = "o")]
    Route(Box<Route>),
    /// The addressee has opened it.
    #[serde(rename = "k")]
    Ack {
        /// The envelope.
        name: MessageId,
        /// The attempt that arrived.
        attempt: u8,
        /// Only who could open the envelope knows it.
        proof: Proof,
        /// The sender, if the envelope came as a flood and left no way back.
        to: Option<RouteTag>,
        /// Links that it has travelled over; of a flood's, those that it may
        /// still travel over.
        links: u8,
    },
    /// Not this way.
    #[serde(rename = "x")]
    Nack {
        /// The envelope.
        name: MessageId,
        /// The attempt.
        attempt: u8,
        /// Why.
        why: Refusal,
        /// What the attempt may still cost.
        left: u8,
    },
    /// It waits here until the addressee can be reached.
    #[serde(rename = "w")]
    Kept {
        /// The envelope.
        name: MessageId,
        /// The attempt.
        attempt: u8,
    },
    /// Who is around the sender.
    #[serde(rename = "d")]
    Digest(Box<Digest>),
}

const VERSION: u8 = crate::envelope::VERSION;

impl Frame {
    /// The largest encoding of this kind of frame.
    fn limit(&self) -> usize {
        match self {
            Frame::Route(_) => MAX_ROUTE,
            Frame::Ack { .. } | Frame::Nack { .. } | Frame::Kept { .. } | Frame::Digest(_) => {
                MAX_FRAME
            }
        }
    }

    /// Checks the length of what this frame was decoded from.
    pub(crate) fn check(&self, len: usize) -> Result<(), WireError> {
        let max = self.limit();
        if len > max {
            return Err(WireError::TooLarge { len, max });
        }
        Ok(())
    }

    /// The bytes on the wire, as a [`HopFrame`](crate::envelope::HopFrame).
    pub fn encode(&self) -> Result<Bytes, WireError> {
        // What `HopFrame::Hop` is written as, without taking the frame.
        #[derive(Serialize)]
        enum Outer<'a> {
            #[serde(rename = "h")]
            Hop(&'a Frame),
        }
        wire::encode(VERSION, self.limit(), &Outer::Hop(self))
    }
}
