//! What the two ends of a link say to each other on its data channel.
//!
//! One frame is one data-channel message: version byte, then the frame. All
//! frames of a link are authenticated by the link itself (DTLS, with the
//! identity assertion checked before it came up); those that travel further
//! carry signatures of their authors as well.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::envelope::{Envelope, MAX_ENVELOPE};
use crate::id::{Incarnation, MessageId, PeerId};
use crate::presence::Records;
use crate::seal::Encapsulated;
use crate::wire::{self, BoundedString, SignedBytes, WireError};

/// Largest frame: the largest message Chromium takes on a data channel.
pub const MAX_FRAME: usize = 256 * 1024;
/// Largest application payload: a frame less signatures, seal and framing.
pub const MAX_PAYLOAD: usize = MAX_FRAME - 1024;
/// Longest name of an application's channel, in bytes.
pub const MAX_CHANNEL: usize = 64;
/// Links a broadcast or direct message may travel. The overlay's diameter is
/// a few hops; while it heals, a bare ring of 128 members is still crossed.
pub const TTL: u8 = 64;

const VERSION: u8 = 1;

/// The name of an application's channel.
pub type ChannelName = BoundedString<MAX_CHANNEL>;

/// A frame on a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame {
    /// First on every link, from both ends.
    #[serde(rename = "h")]
    Hello {
        /// The sender's life.
        incarnation: Incarnation,
        /// Links the sender has in this room.
        degree: u8,
    },
    /// Are you there?
    #[serde(rename = "q")]
    Ping {
        /// Returned in the answer.
        nonce: u64,
        /// Links the sender has in this room.
        degree: u8,
    },
    /// Yes.
    #[serde(rename = "p")]
    Pong {
        /// From the ping.
        nonce: u64,
        /// Links the sender has in this room.
        degree: u8,
    },
    /// A message to everyone in the room.
    #[serde(rename = "b")]
    Broadcast(BroadcastFrame),
    /// A message to one member.
    #[serde(rename = "d")]
    Direct(DirectFrame),
    /// The addressee's receipt for a direct message, on its way back.
    #[serde(rename = "a")]
    Ack(AckFrame),
    /// Presences, leaves and obituaries.
    #[serde(rename = "r")]
    Records(Records),
    /// Signaling for one member that found no way over the gossip overlay.
    #[serde(rename = "e")]
    Envelope(Envelope),
    /// Nothing more will be sent on this link.
    #[serde(rename = "z")]
    Bye,
}

/// A broadcast on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BroadcastFrame {
    /// Links travelled before this one.
    pub hops: u8,
    /// Links it may still travel after this one.
    pub ttl: u8,
    /// The author's message, as signed.
    pub body: SignedBytes,
}

/// A direct message on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectFrame {
    /// The message.
    pub id: MessageId,
    /// Which attempt of its author to deliver it.
    pub attempt: u8,
    /// Whom it is for.
    pub to: PeerId,
    /// Links travelled before this one.
    pub hops: u8,
    /// Links it may still travel after this one.
    pub ttl: u8,
    /// Send it to every neighbour instead of the best one.
    pub flood: bool,
    /// The message itself.
    pub body: DirectBody,
}

/// A direct message, open or sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirectBody {
    /// For the other end of this very link, which authenticates its author.
    #[serde(rename = "o")]
    Open(#[serde(with = "wire::bin")] Bytes),
    /// For somebody further away.
    #[serde(rename = "s")]
    Sealed {
        /// Which of the addressee's prekeys opens it.
        prekey: u16,
        /// The encapsulated key.
        enc: Encapsulated,
        /// The sealed message.
        #[serde(with = "wire::bin")]
        sealed: Bytes,
    },
}

/// A receipt. Only who could read the message knows the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckFrame {
    /// The message.
    pub id: MessageId,
    /// The attempt that arrived first.
    pub attempt: u8,
    /// Proof that the message was read.
    #[serde(with = "serde_bytes")]
    pub token: [u8; 16],
}

impl Frame {
    /// Encodes the frame.
    pub fn encode(&self) -> Result<Bytes, WireError> {
        wire::encode(VERSION, MAX_FRAME, self)
    }

    /// Decodes a frame, an envelope within its own limit.
    pub fn decode(bytes: &[u8]) -> Result<Frame, WireError> {
        let frame: Frame = wire::decode(VERSION, MAX_FRAME, bytes)?;
        if matches!(frame, Frame::Envelope(_)) && bytes.len() > MAX_ENVELOPE {
            return Err(WireError::TooLarge {
                len: bytes.len(),
                max: MAX_ENVELOPE,
            });
        }
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Identity;
    use proptest::prelude::*;

    fn any_frame() -> impl Strategy<Value = Frame> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..200);
        (0..9, any::<[u8; 32]>(), any::<u64>(), any::<u8>(), bytes).prop_map(
            |(kind, key, nonce, small, bytes)| {
                let id = MessageId::from_bytes([small; 16]);
                let bytes = Bytes::from(bytes);
                let direct = |body| {
                    let to = PeerId::from_bytes(key);
                    Frame::Direct(DirectFrame {
                        id,
                        attempt: small,
                        to,
                        hops: small,
                        ttl: small,
                        flood: small > 9,
                        body,
                    })
                };
                match kind {
                    0 => Frame::Hello {
                        incarnation: Incarnation(nonce as u32),
                        degree: small,
                    },
                    1 => Frame::Ping {
                        nonce,
                        degree: small,
                    },
                    2 => Frame::Pong {
                        nonce,
                        degree: small,
                    },
                    3 => {
                        let body = SignedBytes::sign(&Identity::from_seed([1; 32]), "test", bytes);
                        Frame::Broadcast(BroadcastFrame {
                            hops: small,
                            ttl: small,
                            body,
                        })
                    }
                    4 => direct(DirectBody::Open(bytes)),
                    5 => direct(DirectBody::Sealed {
                        prekey: nonce as u16,
                        enc: Encapsulated(key),
                        sealed: bytes,
                    }),
                    6 => Frame::Ack(AckFrame {
                        id,
                        attempt: small,
                        token: [small; 16],
                    }),
                    7 => Frame::Records(Records::truncated([SignedBytes::sign(
                        &Identity::from_seed([1; 32]),
                        "test",
                        bytes,
                    )])),
                    _ => Frame::Bye,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn frames_round_trip(frame in any_frame()) {
            prop_assert_eq!(Frame::decode(&frame.encode().unwrap()).unwrap(), frame);
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 1..300)) {
            bytes[0] = VERSION;
            drop(Frame::decode(&bytes));
        }

        #[test]
        fn damaged_frames_never_panic(frame in any_frame(), at in any::<prop::sample::Index>(), with in any::<u8>()) {
            let mut bytes = frame.encode().unwrap().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = with;
            drop(Frame::decode(&bytes));
            drop(Frame::decode(&bytes[..at]));
        }
    }

    #[test]
    fn a_frame_beyond_the_limit_is_neither_written_nor_read() {
        let body = DirectBody::Open(vec![0; MAX_FRAME].into());
        let id = MessageId::from_bytes([0; 16]);
        let to = PeerId::from_bytes([0; 32]);
        let frame = Frame::Direct(DirectFrame {
            id,
            attempt: 0,
            to,
            hops: 0,
            ttl: 0,
            flood: false,
            body,
        });
        assert!(matches!(frame.encode(), Err(WireError::TooLarge { .. })));
        assert!(matches!(
            Frame::decode(&vec![1; MAX_FRAME + 1]),
            Err(WireError::TooLarge { .. })
        ));
    }
}
