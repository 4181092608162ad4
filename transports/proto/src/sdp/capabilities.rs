//! `a=x-peerloom`: what a peer can do beyond WebRTC.

use std::collections::BTreeSet;
use std::fmt;

/// The name of the attribute.
pub(super) const NAME: &str = "x-peerloom";
/// The version this code writes. A later version only adds; what breaks gets a new name.
const VERSION: u16 = 1;
/// Most capabilities kept; a guess, and plenty.
const MAX_CAPABILITIES: usize = 16;
/// Longest capability kept.
const MAX_CAPABILITY_LEN: usize = 32;

/// The session-level attribute `a=x-peerloom:1 chunk`, by which two Peerloom peers know each
/// other. Everybody else ignores it, as RFC 8866 5.13 demands of unknown attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    version: u16,
    names: BTreeSet<String>,
}

impl Capabilities {
    /// Messages longer than the peer's max-message-size may be sent in chunks.
    pub const CHUNK: &'static str = "chunk";
    /// Data channels may run over QUIC on the ICE path.
    pub const QUIC: &'static str = "quic";

    /// A peer with no more than the attribute itself.
    pub fn none() -> Self {
        Self {
            version: VERSION,
            names: BTreeSet::new(),
        }
    }

    /// Adds a capability. Names that do not fit the grammar (32 characters of `a-z`, `0-9`
    /// and `-`, 16 of them) are left out.
    #[must_use]
    pub fn with(mut self, name: &str) -> Self {
        if is_name(name) && self.names.len() < MAX_CAPABILITIES {
            self.names.insert(name.to_owned());
        }
        self
    }

    /// Whether the peer has this capability.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// The version of the attribute.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// All capabilities, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// What the attribute's value says; `None` when it is not understood.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let version = words.next()?;
        if !version.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let none = Self {
            version: version.parse().ok()?,
            names: BTreeSet::new(),
        };
        Some(words.fold(none, Self::with))
    }

    /// As [`Capabilities::none`], but of another version: what a compact form said.
    pub(super) fn of_version(version: u16) -> Self {
        Self {
            version,
            names: BTreeSet::new(),
        }
    }
}

impl Default for Capabilities {
    /// What this release can do.
    fn default() -> Self {
        Self::none().with(Self::CHUNK)
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.version)?;
        self.names.iter().try_for_each(|name| write!(f, " {name}"))
    }
}

fn is_name(name: &str) -> bool {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty() && name.len() <= MAX_CAPABILITY_LEN && name.bytes().all(fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_ignores_what_does_not_fit() {
        let ours = Capabilities::default().with(Capabilities::QUIC);
        assert_eq!(ours.to_string(), "1 chunk quic");
        assert_eq!(Capabilities::parse("1 quic chunk"), Some(ours));
        let later = Capabilities::parse("7 chunk NOT-ok also:not").expect("a later version");
        assert_eq!(
            (later.version(), later.iter().collect::<Vec<_>>()),
            (7, vec!["chunk"])
        );
        assert_eq!(Capabilities::parse(""), None);
        assert_eq!(Capabilities::parse("+1"), None);
        assert_eq!(Capabilities::parse("99999999"), None);
    }

    #[test]
    fn is_bounded() {
        let many = (0..100).fold("1".to_owned(), |s, n| format!("{s} c{n}"));
        assert_eq!(
            Capabilities::parse(&many).expect("bounded").iter().count(),
            MAX_CAPABILITIES
        );
    }
}
