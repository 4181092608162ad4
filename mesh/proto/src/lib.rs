//! Pure mesh logic of Peerloom: who is there, whom to link with, how words
//! reach everyone exactly once. No sockets, no clock, no tasks: time and
//! randomness are arguments, so a simulator runs this very code.
//!
//! [`Node`] composes the parts and is all that a shell needs: feed it
//! [`Input`]s, carry out its [`Output`]s, call it again at its deadline.

pub mod assertion;
pub mod envelope;
pub mod flood;
pub mod forward;
pub mod frame;
pub mod glare;
pub mod id;
pub mod limit;
pub mod links;
pub mod liveness;
pub mod node;
pub mod obituary;
pub mod presence;
pub mod replay;
pub mod roster;
pub mod safety_words;
pub mod seal;
pub mod ticket;
pub mod time;
pub mod wire;

pub use id::{Identity, Incarnation, MeshTag, MessageId, PeerId, RoomId, Seq, SessionId};
pub use node::io::{
    CloseCause, DownCause, Event, HopId, Input, Lane, LinkEnd, LinkId, Message, Output, PcSignal,
    SendError, Timer, Topic, Undelivered, Verdict,
};
pub use node::{Config, LinkInfo, Node, Stats};
pub use ticket::Ticket;
pub use time::{Deadline, Time};
