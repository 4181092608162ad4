//! Tickets: everything a newcomer needs to reach a mesh, in one string.
//!
//! `peerloom1` followed by lower-case base32 (RFC 4648, without padding) of
//! `version ‖ MessagePack ‖ checksum`. Base32 survives every messenger, is
//! selected by a double click and may be typed in capitals. The checksum (the
//! first four bytes of SHA-256 over prefix and body) tells a typo from a
//! ticket of a newer version.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::id::{PeerId, tagged_hash};
use crate::wire::{self, BoundedString, BoundedVec, WireError};

/// What every ticket starts with.
pub const TICKET_PREFIX: &str = "peerloom1";
/// Longest ticket accepted, in characters.
pub const MAX_TICKET_LEN: usize = 2048;
/// Addresses a ticket may carry.
pub const MAX_TICKET_ADDRESSES: usize = 8;
/// Longest address, in bytes (a multiaddress with a DNS name).
pub const MAX_ADDRESS_LEN: usize = 128;
/// Longest mesh or room name, in bytes.
pub const MAX_NAME_LEN: usize = 64;
/// Longest invitation secret, in bytes.
pub const MAX_SECRET_LEN: usize = 64;

const VERSION: u8 = 1;
const CHECKSUM_LEN: usize = 4;

/// An invitation to a mesh: whom to ask, where, and what the mesh is called.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    peer: PeerId,
    addresses: Vec<String>,
    mesh: String,
    secret: Option<Zeroizing<Vec<u8>>>,
}

/// Why no ticket was made of a text or of parts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// Something else than a ticket.
    #[error("not a ticket: it does not start with {TICKET_PREFIX}")]
    Prefix,
    /// Longer than any ticket.
    #[error("not a ticket: longer than {MAX_TICKET_LEN} characters")]
    TooLong,
    /// A character that tickets do not use.
    #[error("character {position} ({found:?}) cannot occur in a ticket")]
    Character {
        /// Where, counted from one.
        position: usize,
        /// What stands there.
        found: char,
    },
    /// Cut off, or a wrong character.
    #[error("the ticket is damaged: a character is wrong or missing; copy it again")]
    Checksum,
    /// Written by a newer or older program.
    #[error("the ticket has version {0}, this program reads version {VERSION}")]
    Version(u8),
    /// Intact by its checksum, yet not a ticket.
    #[error("the ticket's contents are malformed")]
    Contents(#[source] WireError),
    /// More addresses than a ticket carries.
    #[error("a ticket carries at most {MAX_TICKET_ADDRESSES} addresses of {MAX_ADDRESS_LEN} bytes")]
    Addresses,
    /// Mesh name empty or too long.
    #[error("a mesh name has 1 to {MAX_NAME_LEN} bytes")]
    Mesh,
    /// Secret too long.
    #[error("a secret has at most {MAX_SECRET_LEN} bytes")]
    Secret,
}

#[derive(Serialize, Deserialize)]
struct Contents {
    peer: PeerId,
    addresses: BoundedVec<BoundedString<MAX_ADDRESS_LEN>, MAX_TICKET_ADDRESSES>,
    mesh: BoundedString<MAX_NAME_LEN>,
    #[serde(with = "serde_bytes")]
    secret: Option<Vec<u8>>,
}

impl Ticket {
    /// A ticket that names `peer` at `addresses` (multiaddresses as text).
    pub fn new(
        peer: PeerId,
        addresses: Vec<String>,
        mesh: impl Into<String>,
        secret: Option<Vec<u8>>,
    ) -> Result<Self, TicketError> {
        let mesh = mesh.into();
        let secret = secret.map(Zeroizing::new);
        if addresses.len() > MAX_TICKET_ADDRESSES
            || addresses.iter().any(|a| a.len() > MAX_ADDRESS_LEN)
        {
            return Err(TicketError::Addresses);
        }
        if mesh.is_empty() || mesh.len() > MAX_NAME_LEN {
            return Err(TicketError::Mesh);
        }
        if secret.as_ref().is_some_and(|s| s.len() > MAX_SECRET_LEN) {
            return Err(TicketError::Secret);
        }
        Ok(Ticket {
            peer,
            addresses,
            mesh,
            secret,
        })
    }

    /// Whom to ask.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Where that peer was reachable when the ticket was made.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The mesh's name.
    pub fn mesh(&self) -> &str {
        &self.mesh
    }

    /// The secret of a private mesh.
    pub fn secret(&self) -> Option<&[u8]> {
        self.secret.as_deref().map(Vec::as_slice)
    }

    fn encode(&self) -> Option<String> {
        let contents = Contents {
            peer: self.peer,
            addresses: BoundedVec::truncated(
                self.addresses
                    .iter()
                    .cloned()
                    .filter_map(BoundedString::new),
            ),
            mesh: BoundedString::new(self.mesh.clone())?,
            secret: self.secret.as_ref().map(|s| s.to_vec()),
        };
        let mut bytes = wire::encode(VERSION, MAX_TICKET_LEN, &contents)
            .ok()?
            .to_vec();
        bytes.extend(checksum(&bytes));
        Some(format!(
            "{TICKET_PREFIX}{}",
            BASE32_NOPAD.encode(&bytes).to_ascii_lowercase()
        ))
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.encode().ok_or(fmt::Error)?)
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("peer", &self.peer)
            .field("addresses", &self.addresses)
            .field("mesh", &self.mesh)
            .field("secret", &self.secret.as_ref().map(|_| "…"))
            .finish()
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.len() > MAX_TICKET_LEN {
            return Err(TicketError::TooLong);
        }
        let upper = text.to_ascii_uppercase();
        let body = upper
            .strip_prefix(&TICKET_PREFIX.to_ascii_uppercase())
            .ok_or(TicketError::Prefix)?;
        if let Some((at, found)) = body
            .chars()
            .enumerate()
            .find(|(_, c)| !matches!(c, 'A'..='Z' | '2'..='7'))
        {
            return Err(TicketError::Character {
                position: TICKET_PREFIX.len() + at + 1,
                found,
            });
        }
        let bytes = BASE32_NOPAD
            .decode(body.as_bytes())
            .map_err(|_| TicketError::Checksum)?;
        let split = bytes
            .len()
            .checked_sub(CHECKSUM_LEN)
            .ok_or(TicketError::Checksum)?;
        let (value, sum) = bytes.split_at(split);
        if checksum(value) != sum {
            return Err(TicketError::Checksum);
        }
        let contents: Contents = wire::decode(VERSION, MAX_TICKET_LEN, value).map_err(|error| {
            if let WireError::Version { found, .. } = error {
                return TicketError::Version(found);
            }
            TicketError::Contents(error)
        })?;
        let addresses = contents
            .addresses
            .into_vec()
            .into_iter()
            .map(BoundedString::into_string)
            .collect();
        Ticket::new(
            contents.peer,
            addresses,
            contents.mesh.into_string(),
            contents.secret,
        )
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    tagged_hash("peerloom/ticket/1", &[bytes])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Identity;
    use proptest::prelude::*;

    fn ticket() -> Ticket {
        let peer = Identity::from_seed([3; 32]).peer_id();
        let addresses = vec!["/ip4/192.0.2.7/udp/4001/quic-v1".to_owned()];
        Ticket::new(peer, addresses, "garden", Some(b"secret".to_vec())).unwrap()
    }

    #[test]
    fn a_ticket_is_one_string_in_either_case() {
        let text = ticket().to_string();
        assert!(text.starts_with("peerloom1"));
        assert_eq!(text.parse::<Ticket>().unwrap(), ticket());
        assert_eq!(text.to_uppercase().parse::<Ticket>().unwrap(), ticket());
        assert_eq!(format!("  {text}\n").parse::<Ticket>().unwrap(), ticket());
    }

    #[test]
    fn every_single_typo_is_noticed() {
        let text = ticket().to_string();
        for at in TICKET_PREFIX.len()..text.len() {
            let old = text.as_bytes()[at];
            let mut typo = text.clone().into_bytes();
            typo[at] = if old == b'a' { b'b' } else { b'a' };
            let typo = String::from_utf8(typo).unwrap();
            assert!(
                matches!(typo.parse::<Ticket>(), Err(TicketError::Checksum)),
                "{at}"
            );
        }
        let cut = &text[..text.len() - 1];
        assert!(matches!(cut.parse::<Ticket>(), Err(TicketError::Checksum)));
    }

    #[test]
    fn errors_name_what_is_wrong() {
        assert!(matches!(
            "hello".parse::<Ticket>(),
            Err(TicketError::Prefix)
        ));
        assert!(matches!(
            "peerloom1".parse::<Ticket>(),
            Err(TicketError::Checksum)
        ));
        let strange = "peerloom1abc!".parse::<Ticket>();
        assert!(matches!(
            strange,
            Err(TicketError::Character {
                position: 13,
                found: '!'
            })
        ));
        assert!(matches!(
            "x".repeat(5000).parse::<Ticket>(),
            Err(TicketError::TooLong)
        ));
        let mut bytes = vec![9u8, 1, 2];
        bytes.extend(checksum(&bytes));
        let newer = format!("peerloom1{}", BASE32_NOPAD.encode(&bytes));
        assert!(matches!(
            newer.parse::<Ticket>(),
            Err(TicketError::Version(9))
        ));
    }

    #[test]
    fn the_secret_is_not_printed_for_debugging() {
        assert!(!format!("{:?}", ticket()).contains("115"));
    }

    proptest! {
        #[test]
        fn tickets_round_trip(
            key in any::<[u8; 32]>(),
            addresses in proptest::collection::vec("/ip4/[0-9.]{1,20}/tcp/[0-9]{1,5}", 0..=MAX_TICKET_ADDRESSES),
            mesh in "[a-z0-9 ]{1,64}",
            secret in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..=MAX_SECRET_LEN)),
        ) {
            let ticket = Ticket::new(PeerId::from_bytes(key), addresses, mesh, secret).unwrap();
            prop_assert_eq!(ticket.to_string().parse::<Ticket>().unwrap(), ticket);
        }

        #[test]
        fn any_text_parses_or_fails(text in "\\PC{0,80}") {
            drop(text.parse::<Ticket>());
            drop(format!("peerloom1{text}").parse::<Ticket>());
        }
    }
}
