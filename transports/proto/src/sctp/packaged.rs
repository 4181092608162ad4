//! The packaged `rtc-sctp` engine, and what it needs around it.
//!
//! What this layer adds to that engine:
//!
//! * **a faster clock**: the engine's shortest retransmission timeout is one second and its
//!   acknowledgement delay 200 ms, as constants. It is given a clock that runs `clock_rate` times
//!   as fast, which scales these constants and leaves alone what it measures;
//! * **window updates**: the engine acknowledges only when packets arrive, so that a sender whose
//!   window was closed would wait for its timer after the application has read. A repeated
//!   DATA chunk that we put before the engine ourselves makes it acknowledge;
//! * **acknowledgements every few packets while something is missing**, for fast retransmission;
//! * **an INIT of the server's own** when the DTLS client does not send one: some peers go by ICE
//!   role;
//! * **pacing**: a full window does not leave in one burst;
//! * **a gate** before and behind the engine (`gate.rs`): what an honest peer never sends and the
//!   engine does not bound is dropped, repeated stream resets are answered without being
//!   performed again, acknowledgements are cut to the size of a packet;
//! * bounds on streams, unread chunks and queues. Unread messages stay in the engine and close the
//!   window; nothing is dropped after it was acknowledged.

mod association;
mod clock;
mod engine;
mod gate;
mod pacer;
pub(super) mod packet;

use super::{
    CloseReason, Error, ErrorCause, Event, MAX_PACKET, MAX_QUEUED_PACKETS, MAX_UNREAD_CHUNKS,
    Message, Ppid, Reliability, Stats, Timer,
};

pub(super) use association::Association;
pub use gate::{MAX_OPEN_RESETS, MAX_TSN_JUMP};
