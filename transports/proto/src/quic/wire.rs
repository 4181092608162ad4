//! What is on the wire inside QUIC: heads of streams, frames of main streams, datagrams, reset codes.
//!
//! ```text
//! head of a stream, and of a datagram
//!   byte 0     1 main stream, 2 message, 3 ordered message
//!   byte 1..3  id of the data channel, big endian as all numbers
//!   byte 3..5  epoch of the id
//!   byte 5     what the message is (RFC 8831 §8: 50, 51, 53, 56, 57); 0 on a main stream
//!   ordered messages go on
//!   byte 6..10   how many streams of messages came before on this channel
//!   byte 10..14  how many frames of the main stream came before
//!   byte 14..18  in datagrams: how many datagrams came before
//! then the message
//!
//! frame of a main stream
//!   byte 0     what the message is; 128 added when a number follows the length
//!   byte 1..5  its length
//!   byte 5..9  how many streams of messages came before, if there were any
//!   then the message
//!
//! code of a reset: 16 bits id, the low 14 bits of the epoch, 32 bits of the stream's number
//! ```

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::id::StreamId;
use crate::sctp::Ppid;

const MAIN: u8 = 1;
const MESSAGE: u8 = 2;
const ORDERED: u8 = 3;
const NUMBERED: u8 = 0x80;
/// What every head has.
pub(super) const HEAD: usize = 6;
/// What an ordered one has on top.
const NUMBERS: usize = 8;
/// Longest head of a stream.
pub const MAX_HEAD: usize = HEAD + NUMBERS;

/// Why bytes were not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Shorter than its head.
    #[error("truncated")]
    Truncated,
    /// An unknown kind of stream or datagram.
    #[error("unknown kind {0}")]
    Kind(u8),
    /// An unknown kind of message.
    #[error("unknown kind of message {0}")]
    Ppid(u8),
}

/// The place of an ordered message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Streams of messages before it.
    pub streams: u32,
    /// Frames of the main stream before it.
    pub frames: u32,
}

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// The main stream of a channel.
    Main {
        /// The channel.
        id: StreamId,
        /// Which use of the id.
        epoch: u16,
    },
    /// One message.
    Message {
        /// The channel.
        id: StreamId,
        /// Which use of the id.
        epoch: u16,
        /// What it is.
        ppid: Ppid,
        /// Its place, on ordered channels.
        order: Option<Order>,
    },
}

impl Head {
    /// How many bytes a head has that begins like this; `None` when even that cannot be said.
    pub(super) fn len(begin: &[u8]) -> Option<usize> {
        begin
            .first()
            .map(|kind| HEAD + if *kind == ORDERED { NUMBERS } else { 0 })
    }

    /// Reads a whole head, and nothing else.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let (head, rest) = bytes
            .split_first_chunk::<HEAD>()
            .ok_or(WireError::Truncated)?;
        let id = StreamId(u16::from_be_bytes([head[1], head[2]]));
        let epoch = u16::from_be_bytes([head[3], head[4]]);
        match (head[0], rest) {
            (MAIN, []) if head[5] == 0 => Ok(Head::Main { id, epoch }),
            (MAIN, []) => Err(WireError::Ppid(head[5])),
            (MESSAGE, []) => {
                let (ppid, order) = (ppid(head[5])?, None);
                Ok(Head::Message {
                    id,
                    epoch,
                    ppid,
                    order,
                })
            }
            (ORDERED, rest) => {
                let (order, after) = read_order(rest).ok_or(WireError::Truncated)?;
                if !after.is_empty() {
                    return Err(WireError::Truncated);
                }
                let (ppid, order) = (ppid(head[5])?, Some(order));
                Ok(Head::Message {
                    id,
                    epoch,
                    ppid,
                    order,
                })
            }
            (MAIN | MESSAGE, _) => Err(WireError::Truncated),
            (kind, _) => Err(WireError::Kind(kind)),
        }
    }

    /// Writes it.
    pub fn write(&self, out: &mut BytesMut) {
        match *self {
            Head::Main { id, epoch } => put_head(out, MAIN, id, epoch, 0),
            Head::Message {
                id,
                epoch,
                ppid,
                order,
            } => put_message(out, id, epoch, ppid, order),
        }
    }
}

/// A message in a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The channel.
    pub id: StreamId,
    /// Which use of the id.
    pub epoch: u16,
    /// What it is.
    pub ppid: Ppid,
    /// On ordered channels: its place, and how many datagrams came before.
    pub order: Option<(Order, u32)>,
    /// The message.
    pub data: Bytes,
}

impl Datagram {
    /// Longest head.
    pub(super) const HEAD: usize = MAX_HEAD + 4;

    /// Reads one.
    pub fn parse(bytes: &Bytes) -> Result<Self, WireError> {
        let (head, rest) = bytes
            .split_first_chunk::<HEAD>()
            .ok_or(WireError::Truncated)?;
        let order = match head[0] {
            MESSAGE => None,
            ORDERED => {
                let (order, rest) = read_order(rest).ok_or(WireError::Truncated)?;
                let number = rest.first_chunk::<4>().ok_or(WireError::Truncated)?;
                Some((order, u32::from_be_bytes(*number)))
            }
            kind => return Err(WireError::Kind(kind)),
        };
        let len = if order.is_some() { Self::HEAD } else { HEAD };
        Ok(Self {
            id: StreamId(u16::from_be_bytes([head[1], head[2]])),
            epoch: u16::from_be_bytes([head[3], head[4]]),
            ppid: ppid(head[5])?,
            order,
            data: bytes.slice(len..),
        })
    }

    /// Writes it.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(Self::HEAD + self.data.len());
        let order = self.order.map(|(order, _)| order);
        put_message(&mut out, self.id, self.epoch, self.ppid, order);
        if let Some((_, number)) = self.order {
            out.put_u32(number);
        }
        out.put_slice(&self.data);
        out.freeze()
    }
}

/// The head of a message on a main stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub ppid: Ppid,
    /// Length of the message.
    pub len: u32,
    /// Streams of messages before it.
    pub streams: u32,
}

impl Frame {
    /// How many bytes the head has that begins like this.
    pub(super) fn len(begin: &[u8]) -> Option<usize> {
        let numbered = |first: &u8| if first & NUMBERED != 0 { 4 } else { 0 };
        begin.first().map(|first| 5 + numbered(first))
    }

    /// Reads a whole head, and nothing else.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let (head, rest) = bytes.split_first_chunk::<5>().ok_or(WireError::Truncated)?;
        let numbered = head[0] & NUMBERED != 0;
        let streams = match (numbered, rest) {
            (false, []) => 0,
            (true, &[a, b, c, d]) => u32::from_be_bytes([a, b, c, d]),
            _ => return Err(WireError::Truncated),
        };
        Ok(Self {
            ppid: ppid(head[0] & !NUMBERED)?,
            len: u32::from_be_bytes([head[1], head[2], head[3], head[4]]),
            streams,
        })
    }

    /// Writes it.
    pub fn write(&self, out: &mut BytesMut) {
        let flag = if self.streams > 0 { NUMBERED } else { 0 };
        out.put_u8(number(self.ppid) | flag);
        out.put_u32(self.len);
        if self.streams > 0 {
            out.put_u32(self.streams);
        }
    }
}

/// The code with which a stream is reset that carried a message.
pub fn given_up(id: StreamId, epoch: u16, stream: u32) -> u64 {
    u64::from(id.0) << 46 | u64::from(epoch & 0x3fff) << 32 | u64::from(stream)
}

/// What such a code says: the channel, the low 14 bits of the epoch, and the stream's number.
pub fn read_given_up(code: u64) -> (StreamId, u16, u32) {
    let id = (code >> 46) as u16;
    let epoch = (code >> 32) as u16 & 0x3fff;
    (StreamId(id), epoch, code as u32)
}

/// Whether `a` comes before `b`, as numbers that begin again at 0.
pub(super) fn is_before(a: u32, b: u32) -> bool {
    a != b && b.wrapping_sub(a) <= u32::MAX / 2
}

fn put_head(out: &mut BytesMut, kind: u8, id: StreamId, epoch: u16, ppid: u8) {
    out.put_u8(kind);
    out.put_u16(id.0);
    out.put_u16(epoch);
    out.put_u8(ppid);
}

fn put_message(out: &mut BytesMut, id: StreamId, epoch: u16, ppid: Ppid, order: Option<Order>) {
    let kind = if order.is_some() { ORDERED } else { MESSAGE };
    put_head(out, kind, id, epoch, number(ppid));
    if let Some(order) = order {
        out.put_u32(order.streams);
        out.put_u32(order.frames);
    }
}

fn read_order(bytes: &[u8]) -> Option<(Order, &[u8])> {
    let (&[a, b, c, d, e, f, g, h], rest) = bytes.split_first_chunk::<NUMBERS>()?;
    let order = Order {
        streams: u32::from_be_bytes([a, b, c, d]),
        frames: u32::from_be_bytes([e, f, g, h]),
    };
    Some((order, rest))
}

fn number(ppid: Ppid) -> u8 {
    // All are below 128.
    ppid.number() as u8
}

fn ppid(number: u8) -> Result<Ppid, WireError> {
    match Ppid::from_number(u32::from(number)) {
        Ppid::Other => Err(WireError::Ppid(number)),
        known @ (Ppid::Dcep | Ppid::Text | Ppid::Binary | Ppid::TextEmpty | Ppid::BinaryEmpty) => {
            Ok(known)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_ppid() -> impl Strategy<Value = Ppid> {
        prop::sample::select(vec![
            Ppid::Dcep,
            Ppid::Text,
            Ppid::Binary,
            Ppid::TextEmpty,
            Ppid::BinaryEmpty,
        ])
    }

    fn any_order() -> impl Strategy<Value = Option<Order>> {
        let order = any::<(u32, u32)>().prop_map(|(streams, frames)| Order { streams, frames });
        prop::option::of(order)
    }

    proptest! {
        #[test]
        fn heads_survive_the_wire(id: u16, epoch: u16, ppid in any_ppid(), order in any_order()) {
            let id = StreamId(id);
            for head in [Head::Main { id, epoch }, Head::Message { id, epoch, ppid, order }] {
                let mut bytes = BytesMut::new();
                head.write(&mut bytes);
                prop_assert_eq!(Head::len(&bytes), Some(bytes.len()));
                prop_assert_eq!(Head::parse(&bytes), Ok(head));
            }
        }

        #[test]
        fn frames_and_datagrams_survive_the_wire(
            id: u16, epoch: u16, ppid in any_ppid(), order in any_order(), number: u32,
            data in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let frame = Frame { ppid, len: number, streams: u32::from(epoch) };
            let mut bytes = BytesMut::new();
            frame.write(&mut bytes);
            prop_assert_eq!(Frame::len(&bytes), Some(bytes.len()));
            prop_assert_eq!(Frame::parse(&bytes), Ok(frame));
            let order = order.map(|order| (order, number));
            let datagram = Datagram { id: StreamId(id), epoch, ppid, order, data: data.into() };
            prop_assert_eq!(Datagram::parse(&datagram.to_bytes()), Ok(datagram));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(head) = Head::parse(&bytes) {
                let mut again = BytesMut::new();
                head.write(&mut again);
                prop_assert_eq!(&again[..], &bytes[..]);
            }
            if let Ok(frame) = Frame::parse(&bytes) {
                let mut again = BytesMut::new();
                frame.write(&mut again);
                prop_assert_eq!(Frame::parse(&again), Ok(frame));
            }
            let bytes = Bytes::from(bytes);
            if let Ok(datagram) = Datagram::parse(&bytes) {
                prop_assert_eq!(datagram.to_bytes(), bytes);
            }
        }

        #[test]
        fn codes_name_their_stream_and_fit_into_62_bits(id: u16, epoch: u16, stream: u32) {
            let code = given_up(StreamId(id), epoch, stream);
            prop_assert!(code < 1 << 62);
            prop_assert_eq!(read_given_up(code), (StreamId(id), epoch & 0x3fff, stream));
        }
    }
}
