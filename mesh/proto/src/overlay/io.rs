//! What goes into an overlay and what comes out of it.

use std::net::IpAddr;

use super::contact::Contact;
use super::message::Message;
use super::peer::Peer;

/// A connection, named by the shell; one name for one connection, ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u32);

/// A dial, named by the overlay; results echo it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialId(pub u32);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input<C: Peer = Contact> {
    /// A dial was answered, by the peer that was meant.
    Dialled {
        /// The dial.
        dial: DialId,
        /// The connection it became.
        conn: ConnId,
    },
    /// A dial came to nothing.
    DialFailed {
        /// The dial.
        dial: DialId,
    },
    /// Somebody dialled this node.
    Accepted {
        /// The connection.
        conn: ConnId,
        /// Who it is; the transport has verified it.
        peer: C::Id,
        /// Where it comes from.
        ip: IpAddr,
    },
    /// A connection is gone, and not by [`Output::Close`].
    Closed {
        /// The connection.
        conn: ConnId,
    },
    /// A message arrived.
    Message {
        /// The connection.
        conn: ConnId,
        /// The message.
        message: Message<C>,
    },
}

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<C: Peer = Contact> {
    /// Connect. The answer is [`Input::Dialled`] or [`Input::DialFailed`].
    Dial {
        /// Names the dial.
        dial: DialId,
        /// Whom.
        contact: C,
    },
    /// Stop connecting; nothing is answered.
    CancelDial {
        /// The dial.
        dial: DialId,
    },
    /// Send.
    Send {
        /// Over this connection.
        conn: ConnId,
        /// What.
        message: Message<C>,
    },
    /// Close once everything sent is delivered; nothing is answered.
    Close {
        /// The connection.
        conn: ConnId,
    },
    /// A connection has become a link.
    LinkUp {
        /// The connection.
        conn: ConnId,
        /// With whom.
        peer: C::Id,
    },
    /// A link is one no longer.
    LinkDown {
        /// The connection.
        conn: ConnId,
        /// With whom.
        peer: C::Id,
    },
}

/// What the next deadline is for, so that a shell's trace can say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// The earliest of pings, dials and upkeep.
    Upkeep,
}

/// How often things happened, for tests and pages that show a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Links lost without a farewell.
    pub lost: u32,
    /// Dials begun.
    pub dials: u32,
    /// Dials that came to nothing.
    pub failed: u32,
    /// Links replaced to mix the graph.
    pub mixed: u32,
    /// Links replaced by nearer ones.
    pub biased: u32,
    /// Bridges: links to remembered peers that had been out of reach.
    pub bridged: u32,
    /// Links ended to make room for somebody with an urgent need.
    pub evicted: u32,
    /// Asks refused.
    pub refused: u32,
    /// Links kept because a neighbour vouched for the silent peer.
    pub vouched: u32,
    /// Times when a link was wanted and nobody was left to ask.
    pub exhausted: u32,
    /// Times when this node's own timers fired late.
    pub late: u32,
}
