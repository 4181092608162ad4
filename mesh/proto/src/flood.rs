//! Broadcasts: to everyone in the room, each exactly once.
//!
//! An author numbers its broadcasts and signs them. Whoever receives one for
//! the first time delivers it and sends it on over all its other links. "For
//! the first time" is exact and bounded: one [`Window`](crate::replay::Window)
//! per author and life, rather than a cache of ids that forgets. A number is
//! marked as seen only after its signature was verified, so nobody can use up
//! numbers of others.
//!
//! Windows of members are kept; a stranger's makes room when they are too
//! many. Broadcasts of strangers are received and passed on nevertheless: news
//! of a member that has just joined may arrive after what it says. The node
//! holds them back from the application until then.
//!
//! Known limit: a member that joins later can be shown an old broadcast by a
//! member that kept it. The author is still who it says.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::frame::{BroadcastFrame, ChannelName, MAX_FRAME, MAX_PAYLOAD, TTL};
use crate::id::{Identity, Incarnation, PeerId, RoomId};
use crate::replay::Streams;
use crate::wire::{self, SignedBytes, WireError};

const VERSION: u8 = 1;
const CONTEXT: &str = "peerloom/broadcast/1";
/// Authors remembered: twice a full roster, for those that come and go.
const AUTHORS: usize = 8192;

/// The signed part of a broadcast.
#[derive(Debug, Serialize, Deserialize)]
struct Broadcast {
    room: RoomId,
    incarnation: Incarnation,
    n: u64,
    channel: ChannelName,
    #[serde(with = "wire::bin")]
    payload: Bytes,
}

/// The broadcasts of one room.
#[derive(Debug)]
pub struct Flood {
    room: RoomId,
    incarnation: Incarnation,
    next: u64,
    seen: Streams,
}

/// A broadcast received for the first time.
#[derive(Debug, PartialEq, Eq)]
pub struct Received {
    /// Its author.
    pub from: PeerId,
    /// The application's channel.
    pub channel: String,
    /// The application's bytes.
    pub payload: Bytes,
    /// Links it travelled over.
    pub hops: u8,
    /// What to send on, if it may travel further.
    pub onward: Option<BroadcastFrame>,
}

/// Why a broadcast is not delivered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FloodError {
    /// Delivered before.
    #[error("seen before")]
    Duplicate,
    /// Of another room: somebody mixed up links.
    #[error("broadcast of another room")]
    OtherRoom,
    /// Malformed or badly signed.
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl Flood {
    /// The broadcasts of `room`, of which this node writes the first one next.
    pub fn new(room: RoomId, incarnation: Incarnation) -> Self {
        Flood {
            room,
            incarnation,
            next: 0,
            seen: Streams::new(AUTHORS),
        }
    }

    /// Goes on in a later life of this node.
    pub fn set_incarnation(&mut self, incarnation: Incarnation) {
        if self.incarnation < incarnation {
            self.incarnation = incarnation;
            self.next = 0;
        }
    }

    /// Makes the frame that carries a new broadcast to all neighbours.
    /// `is_member` tells whose windows are kept, here and below.
    pub fn send(
        &mut self,
        identity: &Identity,
        channel: ChannelName,
        payload: Bytes,
        is_member: impl Fn(&PeerId) -> bool,
    ) -> Result<BroadcastFrame, WireError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(WireError::TooLarge {
                len: payload.len(),
                max: MAX_PAYLOAD,
            });
        }
        let broadcast = Broadcast {
            room: self.room,
            incarnation: self.incarnation,
            n: self.next,
            channel,
            payload,
        };
        let body = SignedBytes::sign(
            identity,
            CONTEXT,
            wire::encode(VERSION, MAX_FRAME, &broadcast)?,
        );
        self.next += 1;
        let (me, life, n) = (identity.peer_id(), broadcast.incarnation, broadcast.n);
        self.seen
            .insert(me, life, n, |peer| *peer == me || is_member(peer));
        Ok(BroadcastFrame {
            hops: 0,
            ttl: TTL,
            body,
        })
    }

    /// Takes in a broadcast from a neighbour.
    pub fn receive(
        &mut self,
        frame: &BroadcastFrame,
        is_member: impl Fn(&PeerId) -> bool,
    ) -> Result<Received, FloodError> {
        let broadcast: Broadcast = wire::decode(VERSION, MAX_FRAME, frame.body.payload())?;
        if broadcast.room != self.room {
            return Err(FloodError::OtherRoom);
        }
        let from = frame.body.signer();
        if self
            .seen
            .contains(&from, broadcast.incarnation, broadcast.n)
        {
            return Err(FloodError::Duplicate);
        }
        frame.body.verify(CONTEXT)?;
        if !self
            .seen
            .insert(from, broadcast.incarnation, broadcast.n, is_member)
        {
            return Err(FloodError::Duplicate);
        }
        let hops = frame.hops.saturating_add(1);
        let onward = frame.ttl.checked_sub(1).map(|ttl| BroadcastFrame {
            hops,
            ttl,
            body: frame.body.clone(),
        });
        Ok(Received {
            from,
            channel: broadcast.channel.into_string(),
            payload: broadcast.payload,
            hops,
            onward,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Frame;

    fn all(_: &PeerId) -> bool {
        true
    }

    fn room() -> RoomId {
        RoomId::new("m", "r")
    }

    fn sent(n: u64, payload: &[u8]) -> BroadcastFrame {
        let mut flood = Flood::new(room(), Incarnation(1));
        flood.next = n;
        flood
            .send(
                &Identity::from_seed([1; 32]),
                ChannelName::new("c").unwrap(),
                Bytes::copy_from_slice(payload),
                all,
            )
            .unwrap()
    }

    #[test]
    fn a_broadcast_is_delivered_once_however_often_it_arrives() {
        let mut flood = Flood::new(room(), Incarnation(1));
        let first = flood.receive(&sent(0, b"x"), all).unwrap();
        assert_eq!(
            (first.hops, first.payload.as_ref(), first.channel.as_str()),
            (1, &b"x"[..], "c")
        );
        let onward = first.onward.unwrap();
        assert_eq!((onward.hops, onward.ttl), (1, TTL - 1));
        assert!(matches!(
            flood.receive(&onward, all),
            Err(FloodError::Duplicate)
        ));
        assert!(flood.receive(&sent(2, b"z"), all).is_ok());
        assert!(flood.receive(&sent(1, b"y"), all).is_ok());
    }

    #[test]
    fn a_forgery_is_refused_and_uses_up_no_number() {
        let mut flood = Flood::new(room(), Incarnation(1));
        let good = sent(0, b"x");
        let forged = SignedBytes::sign(
            &Identity::from_seed([1; 32]),
            "other",
            good.body.payload().clone(),
        );
        let bad = BroadcastFrame {
            body: forged,
            ..good.clone()
        };
        assert!(matches!(
            flood.receive(&bad, all),
            Err(FloodError::Wire(WireError::BadSignature))
        ));
        assert!(flood.receive(&good, all).is_ok());
    }

    #[test]
    fn strangers_cannot_make_a_broadcast_of_a_member_new_again() {
        let identity = |n: u64| {
            let mut seed = [2; 32];
            seed[..8].copy_from_slice(&n.to_be_bytes());
            Identity::from_seed(seed)
        };
        let mut strangers: Vec<Identity> = (0..=AUTHORS as u64 + 1).map(identity).collect();
        strangers.sort_by_key(Identity::peer_id);
        let honest = strangers.remove(0);
        let broadcast = |author: &Identity| {
            let channel = ChannelName::new("c").unwrap();
            Flood::new(room(), Incarnation(1))
                .send(author, channel, Bytes::new(), all)
                .unwrap()
        };
        let is_member = |peer: &PeerId| *peer == honest.peer_id();
        let mut flood = Flood::new(room(), Incarnation(1));
        let said = broadcast(&honest);
        assert!(flood.receive(&said, is_member).is_ok());
        for stranger in &strangers {
            assert!(flood.receive(&broadcast(stranger), is_member).is_ok());
        }
        assert!(matches!(
            flood.receive(&said, is_member),
            Err(FloodError::Duplicate)
        ));
    }

    #[test]
    fn the_last_hop_sends_nothing_on_and_other_rooms_are_refused() {
        let last = BroadcastFrame {
            ttl: 0,
            ..sent(0, b"x")
        };
        assert_eq!(
            Flood::new(room(), Incarnation(1))
                .receive(&last, all)
                .unwrap()
                .onward,
            None
        );
        let mut elsewhere = Flood::new(RoomId::new("m", "s"), Incarnation(1));
        assert!(matches!(
            elsewhere.receive(&last, all),
            Err(FloodError::OtherRoom)
        ));
    }

    #[test]
    fn the_largest_payload_fits_its_frame() {
        let frame = sent(0, &vec![7; MAX_PAYLOAD]);
        let bytes = Frame::Broadcast(BroadcastFrame {
            hops: 255,
            ttl: 255,
            ..frame
        })
        .encode()
        .unwrap();
        assert!(bytes.len() <= MAX_FRAME);
        assert!(Frame::decode(&bytes).is_ok());
    }
}
