//! STUN as spoken to servers (RFC 8489): messages, retransmission, and asking servers what our
//! addresses look like from outside. Connectivity checks between peers are [`crate::ice`]'s.

pub mod message;
pub mod reflexive;
pub mod transaction;

pub use message::{Builder, Class, Message, TransactionId};
pub use reflexive::{Asked, Reflexive, ServerId};
pub use transaction::{Transaction, TransactionIds};

/// Code of `icecandidateerror` for a server that cannot be reached or does not answer
/// (webrtc-pc §4.8.3); not a code of STUN itself.
pub const UNREACHABLE: u16 = 701;
