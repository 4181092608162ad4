//! The state cookie (RFC 9260 §5.1.3): what the peer's INIT said, authenticated, so that nothing
//! has to be kept until it comes back.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::hmac;

use super::handshake::{Endpoint, Features};
use super::wire::{be16, be32};

/// Valid.Cookie.Life (RFC 9260 §16).
const LIFE: Duration = Duration::from_secs(60);

const STATE: usize = 25;

/// Seals and opens the cookies of one association.
pub(super) struct Jar {
    key: hmac::Key,
}

impl fmt::Debug for Jar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Jar")
    }
}

impl Jar {
    /// With a key drawn at random.
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
        }
    }

    /// A cookie for a peer, `age` after the association began.
    pub(super) fn seal(&self, peer: &Endpoint, age: Duration) -> Vec<u8> {
        let mut cookie = Vec::with_capacity(STATE + 32);
        cookie.extend(peer.tag.to_be_bytes());
        cookie.extend(peer.window.to_be_bytes());
        cookie.extend(peer.outbound.to_be_bytes());
        cookie.extend(peer.inbound.to_be_bytes());
        cookie.extend(peer.first_tsn.to_be_bytes());
        cookie.push(peer.features.to_bits());
        cookie.extend(millis(age).to_be_bytes());
        let tag = hmac::sign(&self.key, &cookie);
        cookie.extend(tag.as_ref());
        cookie
    }

    /// The peer in a cookie of ours that is not too old.
    pub(super) fn open(&self, cookie: &[u8], age: Duration) -> Option<Endpoint> {
        let (state, tag) = cookie.split_at_checked(STATE)?;
        hmac::verify(&self.key, state, tag).ok()?;
        let made = u64::from_be_bytes(state.get(17..STATE)?.try_into().ok()?);
        if millis(age).saturating_sub(made) > millis(LIFE) {
            return None;
        }
        Some(Endpoint {
            tag: be32(state, 0)?,
            window: be32(state, 4)?,
            outbound: be16(state, 8)?,
            inbound: be16(state, 10)?,
            first_tsn: be32(state, 12)?,
            features: Features::from_bits(*state.get(16)?),
        })
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_cookies_open_and_not_for_ever() {
        let jar = Jar::new([7; 32]);
        let peer = Endpoint {
            tag: 1,
            window: 2,
            outbound: 3,
            inbound: 4,
            first_tsn: 5,
            features: Features::from_bits(5),
        };
        let begun = Duration::from_secs(3);
        let cookie = jar.seal(&peer, begun);
        assert_eq!(jar.open(&cookie, begun + LIFE), Some(peer));
        let late = begun + LIFE + Duration::from_millis(1);
        assert_eq!(jar.open(&cookie, late), None);
        assert_eq!(Jar::new([8; 32]).open(&cookie, begun), None);
        for at in 0..cookie.len() {
            let mut forged = cookie.clone();
            forged[at] ^= 1;
            assert_eq!(jar.open(&forged, begun), None, "byte {at}");
            assert_eq!(jar.open(&cookie[..at], begun), None);
        }
    }
}
