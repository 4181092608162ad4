//! ICE over TCP (RFC 6544): framed datagrams (RFC 4571) on connections that we accept or open.
//!
//! * [`Listener`] accepts for all connections of an [`Endpoint`](crate::udp::Endpoint). The first frame
//!   on a new connection has to be a connectivity check; the username fragment in it says whose it
//!   is, and its [`StreamInlet`] takes it. Until then a connection costs a buffer of
//!   two kilobytes, at most [`MAX_WAITING`] of them are kept, and none longer than
//!   [`FIRST_FRAME_PATIENCE`].
//! * [`open`] makes a connection to the peer's passive candidate.
//! * A [`Stream`] carries: what its [`Tunnel`] is given goes out, what comes in goes to an
//!   [`Ingress`](crate::udp::Ingress). It ends when the connection does, or once the last
//!   tunnel is dropped and what was given has been sent.
//!
//! Datagrams on a connection are as unreliable as on a wire: what finds a queue full is lost.
//!
//! [`Tunnel`]: crate::carrier::Tunnel

mod listen;
mod stream;

pub use listen::{Accepted, FIRST_FRAME_PATIENCE, Listener, MAX_WAITING, StreamInlet};
pub use stream::{CONNECT_PATIENCE, Stream, open};
