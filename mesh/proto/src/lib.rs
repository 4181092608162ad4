//! Pure mesh logic of Peerloom: who is there, whom to link with, how words
//! reach everyone exactly once. No sockets, no clock, no tasks: time and
//! randomness are arguments, so a simulator runs this very code.
//!
//! [`Node`] composes the parts and is all that a shell needs: feed it
//! [`Input`]s, carry out its [`Output`]s, call it again at its deadline.
//!
//! # Map
//!
//! | | |
//! | --- | --- |
//! | names and strings | [`id`], [`ticket`], [`safety_words`] |
//! | how anything is written, signed, sealed | [`wire`], [`seal`] |
//! | who is there | [`presence`], [`obituary`], [`roster`] |
//! | signaling | [`envelope`], [`hop`] (its way to one peer), [`glare`], [`assertion`] |
//! | links | [`links`] (whom), [`liveness`] (still there?), [`frame`] (what they carry) |
//! | messages | [`flood`] (to everyone), [`forward`] (to one) |
//! | large meshes | [`overlay`] (whom to be connected with), [`broadcast`] (trees over it) |
//! | bounds | [`limit`], [`replay`] |
//! | all of it together | [`node`] |
//!
//! Read [`node`] first, then [`links`] and [`roster`] with their tests.
//!
//! # Invariants
//!
//! * Bytes from the network are checked for size before they are decoded, and
//!   for newness before their signature is paid for. They never cause a panic.
//! * Signatures are verified over the bytes that arrived, and those bytes are
//!   what is passed on.
//! * Every table has a named bound.
//! * With one seed and the same inputs at the same times a node does the same.
//!
//! # Absent on purpose
//!
//! Partial rosters: the wire format has their fields, the logic is to come.
//! [`node`] does not use [`overlay`], [`broadcast`] and [`hop`] yet; the
//! simulator of `chaos-tests` does. Sender anonymity: the
//! gossip's authors are visible. History: who joins later gets what is said
//! later.

pub mod assertion;
pub mod broadcast;
pub mod envelope;
pub mod flood;
pub mod forward;
pub mod frame;
pub mod glare;
pub mod hop;
pub mod id;
pub mod limit;
pub mod links;
pub mod liveness;
pub mod node;
pub mod obituary;
pub mod overlay;
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
