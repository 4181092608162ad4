//! ICE candidates as text (RFC 8839 §5.1) and the credentials that go with them (§5.4).

mod parse;
mod tcp;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rand::CryptoRng;

use crate::ice_server::{ServerTransport, ServerUrl};

pub use parse::{CandidateError, MAX_CANDIDATE_LEN};
pub use tcp::ACTIVE_PORT;

/// A username fragment and password (RFC 8445 §5.3, RFC 8839 §5.4).
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// 4 to 256 characters, sent in the clear in every check.
    pub ufrag: String,
    /// 22 to 256 characters, the key of `MESSAGE-INTEGRITY`.
    pub pwd: String,
}

/// `ice-char` of RFC 8839 §5.4: 64 characters, six bits each.
const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// 48 bits, twice what RFC 8445 §5.3 asks for: peers of one socket are told apart by it.
const UFRAG_LEN: usize = 8;
/// 144 bits; RFC 8445 §5.3 asks for 128.
const PWD_LEN: usize = 24;

impl Credentials {
    /// Fresh ones, drawn from `rng`.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self {
            ufrag: ice_chars(rng, UFRAG_LEN),
            pwd: ice_chars(rng, PWD_LEN),
        }
    }

    /// Checks what a remote description said.
    pub fn parse(ufrag: &str, pwd: &str) -> Result<Self, CandidateError> {
        let fine = |s: &str, min: usize| {
            (min..=256).contains(&s.len()) && s.bytes().all(|b| ICE_CHARS.contains(&b))
        };
        if !fine(ufrag, 4) || !fine(pwd, 22) {
            return Err(CandidateError::Credentials);
        }
        Ok(Self {
            ufrag: ufrag.to_owned(),
            pwd: pwd.to_owned(),
        })
    }
}

fn ice_chars(rng: &mut impl CryptoRng, len: usize) -> String {
    let mut bytes = vec![0; len];
    rng.fill_bytes(&mut bytes);
    bytes
        .into_iter()
        .map(|b| char::from(ICE_CHARS[usize::from(b % 64)]))
        .collect()
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("ufrag", &self.ufrag)
            .finish_non_exhaustive()
    }
}

/// Transport of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// UDP (RFC 8445).
    Udp,
    /// TCP (RFC 6544).
    Tcp,
}

/// Where a candidate came from (RFC 8445 §5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CandidateKind {
    /// An own interface.
    Host,
    /// Our address as a STUN server saw it.
    ServerReflexive,
    /// Our address as the peer saw it.
    PeerReflexive,
    /// An address of a TURN server.
    Relayed,
}

impl CandidateKind {
    /// The word after `typ`.
    pub fn name(self) -> &'static str {
        match self {
            CandidateKind::Host => "host",
            CandidateKind::ServerReflexive => "srflx",
            CandidateKind::PeerReflexive => "prflx",
            CandidateKind::Relayed => "relay",
        }
    }

    /// Type preference recommended by RFC 8445 §5.1.2.2.
    pub fn preference(self) -> u32 {
        match self {
            CandidateKind::Host => 126,
            CandidateKind::PeerReflexive => 110,
            CandidateKind::ServerReflexive => 100,
            CandidateKind::Relayed => 0,
        }
    }
}

/// `tcptype` of RFC 6544 §4.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TcpType {
    /// Opens connections.
    Active,
    /// Accepts connections.
    Passive,
    /// Does both at once.
    SimultaneousOpen,
}

/// A candidate's address: usually an IP address, sometimes an mDNS name
/// (draft-ietf-mmusic-mdns-ice-candidates) or another name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// An IP address.
    Ip(IpAddr),
    /// A name, which somebody has to resolve first.
    Name(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(ip) => ip.fmt(f),
            Address::Name(name) => f.write_str(name),
        }
    }
}

/// One candidate line (RFC 8839 §5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Same for candidates of the same kind, base and server: 1 to 32 ice-chars.
    pub foundation: String,
    /// 1 for everything since `rtcp-mux` and data channels.
    pub component: u16,
    /// Transport.
    pub protocol: Protocol,
    /// Higher is better (RFC 8445 §5.1.2).
    pub priority: u32,
    /// Address.
    pub address: Address,
    /// Port.
    pub port: u16,
    /// Kind.
    pub kind: CandidateKind,
    /// `raddr` and `rport`: the base, when it is told.
    pub related: Option<(Address, u16)>,
    /// `tcptype`, for TCP.
    pub tcp_type: Option<TcpType>,
    /// Where the packets of a candidate of ours leave from (RFC 8445 §5.1.1). Not on the line.
    pub base: Option<SocketAddr>,
    /// The URL of the server that gave it to us. Not on the line: the peer has no use for it.
    pub url: Option<String>,
    /// What else was on the line, as pairs: `ufrag`, `generation`, `network-cost`, …
    pub extensions: Vec<(String, String)>,
}

impl Candidate {
    /// A UDP host candidate for the socket at `addr`. `local_preference` ranks our own addresses
    /// (RFC 8445 §5.1.2.1): 65535 for the best one.
    pub fn host(addr: SocketAddr, local_preference: u16) -> Self {
        let kind = CandidateKind::Host;
        Self {
            foundation: foundation(kind, Protocol::Udp, addr.ip()),
            component: 1,
            protocol: Protocol::Udp,
            priority: priority(kind, local_preference, 1),
            address: Address::Ip(addr.ip()),
            port: addr.port(),
            kind,
            related: None,
            tcp_type: None,
            base: None,
            url: None,
            extensions: Vec::new(),
        }
    }

    /// A peer-reflexive candidate at `addr`, as learnt from a check with this `priority`.
    pub fn peer_reflexive(protocol: Protocol, addr: SocketAddr, priority: u32) -> Self {
        let kind = CandidateKind::PeerReflexive;
        Self {
            foundation: foundation(kind, protocol, addr.ip()),
            kind,
            protocol,
            priority,
            ..Self::host(addr, u16::MAX)
        }
    }

    /// A UDP candidate at `mapped`, which a STUN server told us about our own address `base`
    /// (RFC 8445 §5.1.1.2). `local_preference` is the base's; `server` is the URL.
    pub fn server_reflexive(
        mapped: SocketAddr,
        base: SocketAddr,
        local_preference: u16,
        server: &str,
    ) -> Self {
        let kind = CandidateKind::ServerReflexive;
        Self {
            foundation: foundation_of(kind, Protocol::Udp, &base.ip().to_string(), server),
            kind,
            priority: priority(kind, local_preference, 1),
            related: Some((Address::Ip(base.ip()), base.port())),
            url: Some(server.to_owned()),
            ..Self::host(mapped, local_preference)
        }
    }

    /// A UDP candidate at `relayed`, where a TURN server receives for us (RFC 8445 §5.1.1.2).
    /// `mapped` is what our own address looks like to that server, `server` its URL.
    pub fn relayed(
        relayed: SocketAddr,
        mapped: SocketAddr,
        local_preference: u16,
        server: &str,
    ) -> Self {
        let kind = CandidateKind::Relayed;
        Self {
            foundation: foundation_of(kind, Protocol::Udp, &relayed.ip().to_string(), server),
            kind,
            priority: priority(kind, local_preference, 1),
            related: Some((Address::Ip(mapped.ip()), mapped.port())),
            url: Some(server.to_owned()),
            ..Self::host(relayed, local_preference)
        }
    }

    /// What others may know of it: `name` stands for the host address it is based on
    /// (draft-ietf-mmusic-mdns-ice-candidates §3.1).
    #[must_use]
    pub fn hidden(mut self, name: &str) -> Self {
        let server = self.url.as_deref().unwrap_or_default();
        match self.kind {
            CandidateKind::Host => self.address = Address::Name(name.to_owned()),
            CandidateKind::ServerReflexive
            | CandidateKind::PeerReflexive
            | CandidateKind::Relayed => {}
        }
        // It is made of addresses, of which there are few enough to try them all.
        self.foundation = foundation_of(self.kind, self.protocol, name, server);
        let any: IpAddr = match &self.related {
            Some((Address::Ip(IpAddr::V6(_)), _)) => Ipv6Addr::UNSPECIFIED.into(),
            Some(_) | None => Ipv4Addr::UNSPECIFIED.into(),
        };
        self.related = self.related.map(|_| (Address::Ip(any), 9));
        self
    }

    /// The address to send to, when it is known and not a name.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match &self.address {
            Address::Ip(ip) => Some(SocketAddr::new(*ip, self.port)),
            Address::Name(_) => None,
        }
    }

    /// How we reach the server that relays (`RTCIceServerTransportProtocol`).
    pub fn relay_protocol(&self) -> Option<ServerTransport> {
        let url = self
            .url
            .as_ref()
            .filter(|_| self.kind == CandidateKind::Relayed)?;
        let server: ServerUrl = url.parse().ok()?;
        Some(server.transport)
    }

    /// The value of an extension, for instance `ufrag`.
    pub fn extension(&self, name: &str) -> Option<&str> {
        self.extensions
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// Adds `ufrag`, which ties a trickled candidate to its generation (RFC 9429 §3.5.2.1).
    pub fn with_ufrag(mut self, ufrag: &str) -> Self {
        self.extensions.retain(|(name, _)| name != "ufrag");
        self.extensions.push(("ufrag".to_owned(), ufrag.to_owned()));
        self
    }
}

/// RFC 8445 §5.1.2.1.
pub fn priority(kind: CandidateKind, local_preference: u16, component: u16) -> u32 {
    let component = u32::from(component.min(256));
    (kind.preference() << 24) | (u32::from(local_preference) << 8) | (256 - component).min(255)
}

/// Same kind, protocol, base address and server: same foundation (RFC 8445 §5.1.1.3). FNV-1a keeps it
/// short and the same in every process.
fn foundation(kind: CandidateKind, protocol: Protocol, base: IpAddr) -> String {
    foundation_of(kind, protocol, &base.to_string(), "")
}

fn foundation_of(kind: CandidateKind, protocol: Protocol, base: &str, server: &str) -> String {
    let text = format!("{}/{protocol:?}/{base}/{server}", kind.name());
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash.to_string()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_hidden_candidate_tells_no_address_of_the_host() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let (host, mapped) = (at("192.0.2.1:5000"), at("203.0.113.5:6000"));
        let hidden = |candidate: Candidate| candidate.hidden("x.local").to_string();
        let line = hidden(Candidate::host(host, 1));
        assert!(line.contains(" x.local 5000 typ host"), "{line}");
        let reflexive = |base| Candidate::server_reflexive(mapped, base, 1, "stun:example.net");
        let line = hidden(reflexive(host));
        assert!(
            line.contains(" 203.0.113.5 6000 typ srflx raddr 0.0.0.0 rport 9"),
            "{line}"
        );
        // Not by its foundation either.
        assert_eq!(line, hidden(reflexive(at("192.0.2.77:5000"))));
        let line = hidden(reflexive(at("[2001:db8::1]:5000")));
        assert!(line.contains(" raddr :: rport 9"), "{line}");
    }

    #[test]
    fn credentials_are_long_enough_and_unlike() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let a = Credentials::generate(&mut rng);
        let b = Credentials::generate(&mut rng);
        assert_ne!(a, b);
        assert_eq!(Credentials::parse(&a.ufrag, &a.pwd), Ok(a.clone()));
        assert!(
            !format!("{a:?}").contains(&a.pwd),
            "the password is never shown"
        );
        assert!(Credentials::parse("abc", &a.pwd).is_err());
        assert!(Credentials::parse(&a.ufrag, "short").is_err());
        assert!(Credentials::parse("ab:d", &a.pwd).is_err());
    }

    #[test]
    fn host_candidates_rank_by_local_preference() {
        let addr: SocketAddr = "192.0.2.1:4000".parse().expect("address");
        let best = Candidate::host(addr, 65535);
        assert_eq!(best.priority, 2_130_706_431, "the value everybody knows");
        assert!(best.priority > Candidate::host(addr, 65534).priority);
    }
}
