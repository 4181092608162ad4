//! `RTCIceServer` (webrtc-pc section 4.2.2) and the URLs in it (RFC 7064, RFC 7065).

use peerloom_transports::proto::ice_server::{ServerKind, ServerUrl};

use super::argument;
use crate::error::Error;

/// Longest TURN user name, in bytes, as in libwebrtc; RFC 8489 section 14.3 has one less.
const MAX_USERNAME: usize = 509;

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
        let parsed: ServerUrl = url.parse().map_err(|error| {
            let cause = format!("{url:?}: {error}");
            let hint = "write stun:host:port or turn:host:port?transport=tcp";
            argument("SyntaxError", cause, hint)
        })?;
        let incomplete = self.username.is_none() || self.credential.is_none();
        if parsed.kind == ServerKind::Turn && incomplete {
            let cause = format!("{url:?} needs a username and a credential");
            let hint = "set both, RFC 8489 section 9.2";
            return Err(argument("InvalidAccessError", cause, hint));
        }
        let length = self.username.as_ref().map_or(0, String::len);
        if parsed.kind == ServerKind::Turn && length > MAX_USERNAME {
            let cause = format!("a username of {length} bytes for {url:?}");
            let hint = "use at most 509 bytes";
            return Err(argument("InvalidAccessError", cause, hint));
        }
        Ok(())
    }
}
