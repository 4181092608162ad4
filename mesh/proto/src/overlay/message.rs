//! What neighbours say to each other.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::contact::Contact;
use super::peer::Peer;
use crate::wire::{self, BoundedVec, WireError};

const VERSION: u8 = 1;
/// A full list of contacts and what stands around it.
const MAX: usize = 64 * (MAX_CONTACTS + 1) + 32;
/// Contacts in one message.
pub const MAX_CONTACTS: usize = 7;

/// Contacts of a message.
pub type Contacts<C = Contact> = BoundedVec<C, MAX_CONTACTS>;

/// Who swaps contacts, and the contacts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named<C = Contact> {
    /// The one who names them, with its present coordinate.
    pub me: C,
    /// Some peers it knows.
    pub contacts: Contacts<C>,
}

/// How much the asker needs the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Need {
    /// It has few links or none: somebody else's place is given to it, now
    /// and then.
    Urgent,
    /// It could do with one more.
    Welcome,
}

/// One message of the overlay, over one connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(
    serialize = "C: Serialize, C::Id: Serialize",
    deserialize = "C: Deserialize<'de>, C::Id: Deserialize<'de>"
))]
pub enum Message<C: Peer = Contact> {
    /// First words of whoever has dialled: may this become a link?
    Ask {
        /// The asker, by its own word; the connection proves its identity.
        me: Box<C>,
        /// How much it needs the link.
        need: Need,
    },
    /// It may, and is one from now on.
    Admit {
        /// Who says so.
        me: Box<C>,
    },
    /// It may not; ask these.
    Refuse {
        /// Others that may have room.
        others: Box<Contacts<C>>,
    },
    /// The link ends; its peer lives.
    Leave,
    /// Are you there?
    Ping {
        /// Names the answer.
        n: u16,
    },
    /// I am.
    Pong {
        /// Of the ping.
        n: u16,
        /// Links the answerer has.
        degree: u8,
    },
    /// Some peers I know; which do you?
    Shuffle(Box<Named<C>>),
    /// These.
    Shuffled(Box<Named<C>>),
    /// Does this peer, silent towards me, answer you?
    Vouch {
        /// The one in doubt.
        peer: Box<C::Id>,
    },
    /// It does.
    Alive {
        /// The one asked about.
        peer: Box<C::Id>,
    },
}

impl Message {
    /// The bytes on the wire.
    pub fn encode(&self) -> Result<Bytes, WireError> {
        wire::encode(VERSION, MAX, self)
    }

    /// The message in these bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        wire::decode(VERSION, MAX, bytes)
    }
}
