//! Data channels over QUIC, between two Peerloom peers: streams of messages that behave as those of
//! SCTP, so that the same [`Channels`](crate::channel::Channels) run on both.
//!
//! [`Mapping`] knows no QUIC library: whoever has one gives it as a [`Transport`]. It is driven by
//! plain calls, as an SCTP association is.
//!
//! # What goes where
//!
//! | messages of a channel | travel |
//! | --- | --- |
//! | DCEP, parts of long messages, all that is ordered and reliable, and what is sent before the peer has acknowledged the channel | on the channel's *main* stream, one in each direction, opened by its sender |
//! | unordered, reliable | each on a stream of its own |
//! | `max_retransmits: 0`, if they fit | in datagrams |
//! | every other unreliable one | each on a stream of its own, which is reset at its deadline |
//!
//! QUIC sends again until it has succeeded, and counts no attempts: `max_retransmits: n` becomes a
//! deadline ([`deadline`]).
//!
//! **Order** is kept by numbers. What is ordered and not on the main stream says how many frames of
//! the main stream and how many streams of messages came before it. A stream that was given up is
//! reset with a code that names it, and resets are reliable: nobody waits for what will not come. Only
//! datagrams vanish without a word; one that something later has overtaken is dropped. None is sent
//! while a message on a stream is under way.
//!
//! **Closing**: the sender ends its main stream when all that it sent before has arrived or was given
//! up; the other end reads what is left and ends its own. Then the id is free. Each use of an id has an
//! *epoch*, counted alike at both ends, so that stragglers are told from what comes next.
//!
//! Order of calls: [`Mapping::new`]; [`Mapping::start`] when the handshake is done and the peer is who
//! it has to be; after each input to the transport [`crate::channel::Channels::pump`]; then the transport's
//! packets; then arm [`Mapping::poll_timeout`].

mod given_up;
mod inbound;
mod lane;
mod mapping;
mod outbound;
#[cfg(test)]
pub(crate) mod tests;
mod wire;

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::sctp::Reliability;

pub use mapping::{Mapping, Stats};
pub use wire::{Datagram, Frame, Head, MAX_HEAD, Order, WireError, given_up, read_given_up};

/// Streams that the peer may have open at once beside the main ones: so many messages of unordered and
/// partially reliable channels may be under way.
pub const MESSAGE_STREAMS: u32 = 128;

/// Bytes of datagrams that wait for their channels to be read, each counted with
/// [`MESSAGE_OVERHEAD`](crate::channel::MESSAGE_OVERHEAD). Filled by the peer; what comes on top is lost, as
/// datagrams may be.
pub const MAX_DATAGRAM_BYTES: usize = 1024 * 1024;

/// Bytes of messages that have arrived in part, over all channels. Filled by the peer; beyond it the channel
/// with the largest part is closed.
pub const MAX_PARTIAL_BYTES: usize = 32 * 1024 * 1024;

/// A stream of QUIC in one direction, by the transport's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uni(pub u64);

/// What a read has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// As much as was asked for; there may be more.
    Full,
    /// All there is for now.
    Blocked,
    /// The end of the stream. It is gone.
    End,
    /// The peer has reset the stream, with this code. It is gone.
    Reset(u64),
}

/// What has happened to a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Notice {
    /// Streams wait for [`Transport::accept`].
    Opened,
    /// Something to read.
    Readable(Uni),
    /// The peer has everything, the end included.
    Finished(Uni),
    /// The peer does not want the stream.
    Stopped(Uni),
    /// Writes, new streams or datagrams that were refused may succeed now.
    Room,
    /// Datagrams wait for [`Transport::receive_datagram`].
    Datagrams,
}

/// A QUIC connection, as far as data channels need it.
pub trait Transport {
    /// What has happened since.
    fn poll_notice(&mut self) -> Option<Notice>;

    /// A new stream to the peer; `None` when the peer allows no more for now.
    fn open(&mut self) -> Option<Uni>;

    /// Takes as much off the front as the windows allow. `false` when the peer does not want it.
    fn write(&mut self, stream: Uni, data: &mut Bytes) -> bool;

    /// Ends a stream after what was written.
    fn finish(&mut self, stream: Uni);

    /// Gives a stream up.
    fn reset(&mut self, stream: Uni, code: u64);

    /// The next stream that the peer has opened.
    fn accept(&mut self) -> Option<Uni>;

    /// Appends what has arrived, at most so many bytes.
    fn read(&mut self, stream: Uni, max: usize, into: &mut BytesMut) -> Read;

    /// The rest of a stream is not wanted.
    fn stop(&mut self, stream: Uni);

    /// The peer may have so many streams open at once.
    fn allow(&mut self, streams: u32);

    /// Longest datagram for now; 0 when the peer takes none.
    fn max_datagram(&mut self) -> usize;

    /// Sends a datagram. `false` when there is no room for now.
    fn send_datagram(&mut self, datagram: Bytes) -> bool;

    /// The next datagram.
    fn receive_datagram(&mut self) -> Option<Bytes>;

    /// Smoothed round trip.
    fn round_trip(&self) -> Duration;
}

/// When a message is given up, from when it was written: its lifetime, or for `max_retransmits: n` about
/// as long as n retransmissions take, each after a probe timeout (RFC 9002 §6.2.1: the round trip and four
/// variations of it, here taken as twice the round trip, and the peer's delay of 25 ms).
pub fn deadline(reliability: Reliability, round_trip: Duration) -> Option<Duration> {
    match reliability {
        Reliability::Reliable => None,
        Reliability::MaxLifetime(millis) => Some(Duration::from_millis(u64::from(millis))),
        Reliability::MaxRetransmits(times) => {
            let attempt = 2 * round_trip + Duration::from_millis(25);
            Some(attempt * (u32::from(times) + 1))
        }
    }
}
