//! Where a STUN or TURN server is: `stun:` and `stuns:` (RFC 7064), `turn:` and `turns:`
//! (RFC 7065), as in `RTCIceServer.urls` (webrtc-pc §4.2.2).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use zeroize::Zeroizing;

/// Longest URL we read: a name of 255 bytes and what stands around it.
pub const MAX_URL_LEN: usize = 512;

/// Port of `stun:` and `turn:` (RFC 7064 §3.2, RFC 7065 §3.2).
pub const DEFAULT_PORT: u16 = 3478;

/// Port of `stuns:` and `turns:` (RFC 7064 §3.2, RFC 7065 §3.2).
pub const DEFAULT_TLS_PORT: u16 = 5349;

/// What the server is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerKind {
    /// What our address looks like from outside (`stun:`, `stuns:`).
    Stun,
    /// To relay for us (`turn:`, `turns:`).
    Turn,
}

/// How the server is reached (RFC 7065 §3.1, table 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerTransport {
    /// UDP: the default of `stun:` and `turn:`.
    Udp,
    /// TCP: `turn:…?transport=tcp`.
    Tcp,
    /// TLS over TCP: the default of `stuns:` and `turns:`.
    Tls,
    /// DTLS over UDP: `turns:…?transport=udp`. Understood, not supported.
    Dtls,
}

impl ServerTransport {
    /// `udp`, `tcp`, `tls` or `dtls`; the first three are the words of
    /// `RTCIceServerTransportProtocol` (webrtc-pc §4.8.1.5).
    pub fn name(self) -> &'static str {
        match self {
            ServerTransport::Udp => "udp",
            ServerTransport::Tcp => "tcp",
            ServerTransport::Tls => "tls",
            ServerTransport::Dtls => "dtls",
        }
    }
}

/// The host of a server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// An address; IPv6 stands in brackets in a URL.
    Ip(IpAddr),
    /// A name to resolve, in lower case.
    Name(String),
}

impl fmt::Display for Host {
    /// Without brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Ip(ip) => ip.fmt(f),
            Host::Name(name) => f.write_str(name),
        }
    }
}

/// A parsed URL. [`fmt::Display`] writes it in full, port and transport included.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerUrl {
    /// What the server is asked for.
    pub kind: ServerKind,
    /// Where it is.
    pub host: Host,
    /// Its port, never 0.
    pub port: u16,
    /// How it is reached.
    pub transport: ServerTransport,
}

/// Why a URL was refused. In W3C terms each is a `SyntaxError` (webrtc-pc §4.4.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Neither `stun:`, `stuns:`, `turn:` nor `turns:`.
    #[error("the scheme is none of stun, stuns, turn, turns")]
    Scheme,
    /// Empty, or with characters that no host has. `//` and user names belong here.
    #[error("the host is malformed")]
    Host,
    /// Not a number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// A query on `stun:`, or one other than `?transport=udp` and `?transport=tcp` on `turn:`.
    #[error("the query is not ?transport=udp or ?transport=tcp of a turn URL")]
    Query,
    /// Longer than [`MAX_URL_LEN`].
    #[error("the URL is too long")]
    TooLong,
}

impl FromStr for ServerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.len() > MAX_URL_LEN {
            return Err(UrlError::TooLong);
        }
        let (scheme, rest) = text.split_once(':').ok_or(UrlError::Scheme)?;
        let (kind, secure) = parse_scheme(scheme)?;
        let (authority, query) = match rest.split_once('?') {
            Some((authority, query)) => (authority, Some(query)),
            None => (rest, None),
        };
        let (host, port) = parse_authority(authority)?;
        let default = if secure {
            DEFAULT_TLS_PORT
        } else {
            DEFAULT_PORT
        };
        Ok(Self {
            kind,
            host,
            port: port.unwrap_or(default),
            transport: parse_transport(kind, secure, query)?,
        })
    }
}

fn parse_scheme(scheme: &str) -> Result<(ServerKind, bool), UrlError> {
    match scheme.to_ascii_lowercase().as_str() {
        "stun" => Ok((ServerKind::Stun, false)),
        "stuns" => Ok((ServerKind::Stun, true)),
        "turn" => Ok((ServerKind::Turn, false)),
        "turns" => Ok((ServerKind::Turn, true)),
        _ => Err(UrlError::Scheme),
    }
}

fn parse_authority(text: &str) -> Result<(Host, Option<u16>), UrlError> {
    if let Some(rest) = text.strip_prefix('[') {
        let (ip, rest) = rest.split_once(']').ok_or(UrlError::Host)?;
        let ip = ip.parse().map_err(|_| UrlError::Host)?;
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(parse_port(port)?),
            None if rest.is_empty() => None,
            None => return Err(UrlError::Host),
        };
        return Ok((Host::Ip(IpAddr::V6(ip)), port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(parse_port(port)?)),
        None => (text, None),
    };
    if let Ok(ip) = host.parse() {
        return Ok((Host::Ip(IpAddr::V4(ip)), port));
    }
    // A number that is no address would be resolved as one by some resolvers.
    let digits = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if host.is_empty() || host.len() > 255 || digits || !host.bytes().all(fine) {
        return Err(UrlError::Host);
    }
    Ok((Host::Name(host.to_ascii_lowercase()), port))
}

fn parse_port(text: &str) -> Result<u16, UrlError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ => Err(UrlError::Port),
    }
}

fn parse_transport(
    kind: ServerKind,
    secure: bool,
    query: Option<&str>,
) -> Result<ServerTransport, UrlError> {
    let default = if secure {
        ServerTransport::Tls
    } else {
        ServerTransport::Udp
    };
    let Some(query) = query else {
        return Ok(default);
    };
    let (name, value) = query.split_once('=').ok_or(UrlError::Query)?;
    if kind == ServerKind::Stun || !name.eq_ignore_ascii_case("transport") {
        return Err(UrlError::Query);
    }
    match (value.to_ascii_lowercase().as_str(), secure) {
        ("udp", false) => Ok(ServerTransport::Udp),
        ("udp", true) => Ok(ServerTransport::Dtls),
        ("tcp", false) => Ok(ServerTransport::Tcp),
        ("tcp", true) => Ok(ServerTransport::Tls),
        _ => Err(UrlError::Query),
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secure = matches!(self.transport, ServerTransport::Tls | ServerTransport::Dtls);
        let scheme = match (self.kind, secure) {
            (ServerKind::Stun, false) => "stun",
            (ServerKind::Stun, true) => "stuns",
            (ServerKind::Turn, false) => "turn",
            (ServerKind::Turn, true) => "turns",
        };
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "{scheme}:[{ip}]:{}", self.port)?,
            host @ (Host::Ip(_) | Host::Name(_)) => write!(f, "{scheme}:{host}:{}", self.port)?,
        }
        match (self.kind, self.transport) {
            (ServerKind::Stun, _) => Ok(()),
            (ServerKind::Turn, ServerTransport::Udp | ServerTransport::Dtls) => {
                f.write_str("?transport=udp")
            }
            (ServerKind::Turn, ServerTransport::Tcp | ServerTransport::Tls) => {
                f.write_str("?transport=tcp")
            }
        }
    }
}

/// A server to use: one URL of an `RTCIceServer` with the credentials that go with it.
#[derive(Clone, PartialEq, Eq)]
pub struct IceServer {
    /// Where it is.
    pub url: ServerUrl,
    /// The URL as the application wrote it: what `icecandidateerror` and candidates name.
    pub text: String,
    /// User name and password of a TURN server (RFC 8489 §9.2); empty for STUN.
    pub username: String,
    /// The password; wiped from memory when dropped, never shown.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceServer")
            .field("url", &self.text)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<ServerUrl, UrlError> {
        text.parse()
    }

    #[test]
    fn the_table_of_rfc_7065() {
        let all = [
            ("turn:example.org", ServerTransport::Udp, 3478),
            ("turns:example.org", ServerTransport::Tls, 5349),
            ("turn:example.org:8000", ServerTransport::Udp, 8000),
            ("turn:example.org?transport=udp", ServerTransport::Udp, 3478),
            ("turn:example.org?transport=tcp", ServerTransport::Tcp, 3478),
            (
                "turns:example.org?transport=tcp",
                ServerTransport::Tls,
                5349,
            ),
            (
                "turns:example.org:1?transport=udp",
                ServerTransport::Dtls,
                1,
            ),
            ("STUN:example.org", ServerTransport::Udp, 3478),
            ("stuns:[2001:db8::1]:7", ServerTransport::Tls, 7),
        ];
        for (text, transport, port) in all {
            let url = parse(text).expect(text);
            assert_eq!((url.transport, url.port), (transport, port), "{text}");
        }
        let ip = parse("stun:[2001:db8::1]").expect("IPv6").host;
        assert_eq!(ip, Host::Ip("2001:db8::1".parse().expect("an address")));
    }

    #[test]
    fn what_is_no_server_is_refused_with_its_reason() {
        for (text, error) in [
            ("http://example.org", UrlError::Scheme),
            ("example.org", UrlError::Scheme),
            ("stun:", UrlError::Host),
            ("stun://example.org", UrlError::Host),
            ("turn:user@example.org", UrlError::Host),
            ("stun:2001:db8::1", UrlError::Port),
            ("stun:[2001:db8::1", UrlError::Host),
            ("stun:1.2.3.4.5", UrlError::Host),
            ("stun:example.org:", UrlError::Port),
            ("stun:example.org:0", UrlError::Port),
            ("stun:example.org:65536", UrlError::Port),
            ("stun:example.org:+1", UrlError::Port),
            ("stun:example.org?transport=udp", UrlError::Query),
            ("turn:example.org?transport=sctp", UrlError::Query),
            ("turn:example.org?other=udp", UrlError::Query),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
        let long = format!("stun:{}", "a".repeat(MAX_URL_LEN));
        assert_eq!(parse(&long), Err(UrlError::TooLong));
    }

    #[test]
    fn a_password_is_never_shown() {
        let server = IceServer {
            url: parse("turn:example.org").expect("a URL"),
            text: "turn:example.org".into(),
            username: "ada".into(),
            password: Zeroizing::new("hunter2".into()),
        };
        assert!(!format!("{server:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            kind in prop_oneof![Just("stun"), Just("stuns"), Just("turn"), Just("turns")],
            host in "[a-z][a-z0-9-]{0,20}(\\.[a-z][a-z0-9]{0,9}){0,3}",
            port in 1u16..,
            query in prop_oneof![Just(""), Just("?transport=udp"), Just("?transport=tcp")],
        ) {
            let query = if kind.starts_with("turn") { query } else { "" };
            let url = parse(&format!("{kind}:{host}:{port}{query}")).expect("well-formed");
            prop_assert_eq!(url.port, port);
            prop_assert_eq!(parse(&url.to_string()), Ok(url));
        }

        #[test]
        fn any_text_is_refused_or_read_alike_again(text in "(stun|turn)s?:[ -~]{0,40}") {
            if let Ok(url) = parse(&text) {
                prop_assert_eq!(parse(&url.to_string()), Ok(url));
            }
        }
    }
}
