//! Who the other side of a link is: assertions made, checked, remembered.
//!
//! [`KeyProvider`] is the built-in identity provider: it speaks for the node's
//! Ed25519 key. What an assertion says and when it holds is decided by
//! `mesh/proto`; this module brings the certificate's key, the clock and the
//! memory of names together, and tells the application.
//!
//! Names are trusted on first use: the first key that proves itself under a
//! name is remembered, another one under the same name is refused (or
//! accepted, where the configuration says so) and reported either way. A peer
//! that changes its name while it is linked is held against it again.

mod known;
#[cfg(feature = "oidc")]
pub(crate) mod oidc;
mod provider;
#[cfg(test)]
mod tests;

pub(crate) use known::{KnownNames, known_identity, name_of};
pub(crate) use provider::{Assertions, Occasion, provider};
