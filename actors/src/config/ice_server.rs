//! `RTCIceServer` (webrtc-pc section 4.2.2) and the URLs in it (RFC 7064, RFC 7065).

use super::argument;
use crate::error::Error;

/// A STUN or TURN server (`RTCIceServer`).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:host:port`, `turn:host:port?transport=udp`, `turns:…`.
    pub urls: Vec<String>,
    /// The TURN user.
    pub username: Option<String>,
    /// The TURN password.
    pub credential: Option<String>,
}

impl std::fmt::Debug for IceServer {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceServer")
            .field("urls", &self.urls)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl IceServer {
    /// "Validate an ICE server" of webrtc-pc section 4.4.1.6.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.urls.is_empty() {
            let hint = "give stun: or turn: URLs";
            return Err(argument("SyntaxError", "an ICE server without a URL", hint));
        }
        self.urls.iter().try_for_each(|url| self.check_url(url))
    }

    fn check_url(&self, url: &str) -> Result<(), Error> {
        let Some(turn) = is_turn(url) else {
            let cause = format!("{url:?} is not a STUN or TURN URL");
            let hint = "write stun:host:port or turn:host:port?transport=tcp";
            return Err(argument("SyntaxError", cause, hint));
        };
        if turn && (self.username.is_none() || self.credential.is_none()) {
            let cause = format!("{url:?} needs a username and a credential");
            let hint = "set both, RFC 8489 section 9.2";
            return Err(argument("InvalidAccessError", cause, hint));
        }
        Ok(())
    }
}

/// Whether the URL names a TURN server; `None` when it is no URL of either kind.
fn is_turn(url: &str) -> Option<bool> {
    let (scheme, rest) = url.split_once(':')?;
    let turn = match scheme.to_ascii_lowercase().as_str() {
        "stun" | "stuns" => false,
        "turn" | "turns" => true,
        _ => return None,
    };
    let (authority, query) = match rest.split_once('?') {
        Some((authority, query)) => (authority, Some(query)),
        None => (rest, None),
    };
    let query_fits = match query {
        None => true,
        Some("transport=udp" | "transport=tcp") => turn,
        Some(_) => false,
    };
    (query_fits && is_authority(authority)).then_some(turn)
}

/// `host [ ":" port ]` of RFC 7064 section 3.1: an IPv6 address stands in brackets.
fn is_authority(text: &str) -> bool {
    let (host_fits, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((host, port)) = rest.split_once(']') else {
            return false;
        };
        (host.parse::<std::net::Ipv6Addr>().is_ok(), port)
    } else {
        let end = text.find(':').unwrap_or(text.len());
        let (host, port) = text.split_at(end);
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        (!host.is_empty() && host.bytes().all(fits), port)
    };
    let port_fits = match port.strip_prefix(':') {
        None => port.is_empty(),
        // An empty port is the default one, RFC 3986 section 3.2.3.
        Some("") => true,
        Some(digits) => {
            digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok()
        }
    };
    host_fits && port_fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_follow_their_grammar() {
        for (url, turn) in [
            ("stun:example.org", false),
            ("stuns:example.org:5349", false),
            ("STUN:192.0.2.1:", false),
            ("stun:[2001:db8::1]:3478", false),
            ("turn:example.org?transport=udp", true),
            ("turns:example.org:443?transport=tcp", true),
        ] {
            assert_eq!(is_turn(url), Some(turn), "{url}");
        }
        for url in [
            "",
            "example.org",
            "http://example.org",
            "stun:",
            "stun://example.org",
            "turn://example.org/foo?x=y",
            "stun:example.org?transport=udp",
            "turn:example.org?transport=sctp",
            "turn:example.org?",
            "stun:example.org:65536",
            "stun:example.org:b",
            "stun:example.org:+1",
            "stun:example.org#foo",
            "stun:user@example.org",
            "stun:[2001:db8::1",
            "stun:[example.org]",
            "stun:[::1]3478",
            "stun::3478",
        ] {
            assert_eq!(is_turn(url), None, "{url}");
        }
    }
}
