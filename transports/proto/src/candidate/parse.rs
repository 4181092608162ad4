//! Reading and writing the candidate line.

use std::fmt;
use std::str::FromStr;

use super::{Address, Candidate, CandidateKind, Protocol, TcpType};

/// Longest line we read. Browsers write about 150 bytes; RFC 8839 names no limit.
pub const MAX_CANDIDATE_LEN: usize = 1024;

/// Most extension pairs we keep; longer lines are refused.
const MAX_EXTENSIONS: usize = 16;

/// Why a candidate or a pair of credentials was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CandidateError {
    /// Longer than [`MAX_CANDIDATE_LEN`] or with too many extensions.
    #[error("the candidate line is too long")]
    TooLong,
    /// A part is missing.
    #[error("the candidate line ends too early")]
    Incomplete,
    /// The part named here is malformed.
    #[error("the candidate's {0} is malformed")]
    Part(&'static str),
    /// Transports other than UDP and TCP.
    #[error("the candidate's transport is not known")]
    Protocol,
    /// A `typ` that RFC 8839 does not know.
    #[error("the candidate's type is not known")]
    Kind,
    /// A username fragment or password outside RFC 8839 §5.4.
    #[error("the ICE username fragment or password is malformed")]
    Credentials,
}

impl FromStr for Candidate {
    type Err = CandidateError;

    /// Accepts `candidate:…` as in `RTCIceCandidateInit`, `a=candidate:…` as in SDP, and the bare
    /// value.
    fn from_str(line: &str) -> Result<Self, CandidateError> {
        if line.len() > MAX_CANDIDATE_LEN {
            return Err(CandidateError::TooLong);
        }
        let line = line.trim();
        let line = line.strip_prefix("a=").unwrap_or(line);
        let line = line.strip_prefix("candidate:").unwrap_or(line);
        let mut words = line.split_ascii_whitespace();
        let mut candidate = fixed_part(&mut words)?;
        while let Some(name) = words.next() {
            let value = words.next().ok_or(CandidateError::Incomplete)?;
            extension(&mut candidate, name, value)?;
        }
        if let Some((Address::Name(_), _)) = &candidate.related {
            candidate.related = None; // a hidden base, of no use to us
        }
        Ok(candidate)
    }
}

fn fixed_part<'a>(words: &mut impl Iterator<Item = &'a str>) -> Result<Candidate, CandidateError> {
    let mut next = || words.next().ok_or(CandidateError::Incomplete);
    let foundation = next()?.to_owned();
    if foundation.len() > 32 || !foundation.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(CandidateError::Part("foundation"));
    }
    let component = number(next()?, "component")?;
    let protocol = parse_protocol(next()?)?;
    let priority = number(next()?, "priority")?;
    let address = parse_address(next()?)?;
    let port = number(next()?, "port")?;
    if next()? != "typ" {
        return Err(CandidateError::Part("typ"));
    }
    let kind = parse_kind(next()?)?;
    Ok(Candidate {
        foundation,
        component,
        protocol,
        priority,
        address,
        port,
        kind,
        related: None,
        tcp_type: None,
        base: None,
        url: None,
        extensions: Vec::new(),
    })
}

fn extension(candidate: &mut Candidate, name: &str, value: &str) -> Result<(), CandidateError> {
    match name {
        "raddr" => {
            let port = candidate.related.as_ref().map_or(0, |(_, port)| *port);
            candidate.related = Some((parse_address(value)?, port));
        }
        "rport" => {
            let port = number(value, "rport")?;
            let address = candidate.related.take().map(|(address, _)| address);
            candidate.related = Some((address.unwrap_or(Address::Name(String::new())), port));
        }
        "tcptype" => candidate.tcp_type = Some(parse_tcp_type(value)?),
        _ if candidate.extensions.len() == MAX_EXTENSIONS => return Err(CandidateError::TooLong),
        _ => candidate
            .extensions
            .push((name.to_owned(), value.to_owned())),
    }
    Ok(())
}

fn number<T: FromStr>(word: &str, part: &'static str) -> Result<T, CandidateError> {
    if !word.bytes().all(|b| b.is_ascii_digit()) {
        return Err(CandidateError::Part(part));
    }
    word.parse().map_err(|_| CandidateError::Part(part))
}

fn parse_protocol(word: &str) -> Result<Protocol, CandidateError> {
    match () {
        () if word.eq_ignore_ascii_case("udp") => Ok(Protocol::Udp),
        () if word.eq_ignore_ascii_case("tcp") => Ok(Protocol::Tcp),
        () => Err(CandidateError::Protocol),
    }
}

fn parse_address(word: &str) -> Result<Address, CandidateError> {
    if let Ok(ip) = word.parse() {
        return Ok(Address::Ip(ip));
    }
    let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_';
    if word.len() <= 255 && word.bytes().all(fine) {
        return Ok(Address::Name(word.to_ascii_lowercase()));
    }
    Err(CandidateError::Part("address"))
}

fn parse_kind(word: &str) -> Result<CandidateKind, CandidateError> {
    match word {
        "host" => Ok(CandidateKind::Host),
        "srflx" => Ok(CandidateKind::ServerReflexive),
        "prflx" => Ok(CandidateKind::PeerReflexive),
        "relay" => Ok(CandidateKind::Relayed),
        _ => Err(CandidateError::Kind),
    }
}

fn parse_tcp_type(word: &str) -> Result<TcpType, CandidateError> {
    match word {
        "active" => Ok(TcpType::Active),
        "passive" => Ok(TcpType::Passive),
        "so" => Ok(TcpType::SimultaneousOpen),
        _ => Err(CandidateError::Part("tcptype")),
    }
}

impl fmt::Display for Candidate {
    /// `candidate:…`, as in `RTCIceCandidateInit`; SDP puts `a=` before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Udp => "udp",
            Protocol::Tcp => "tcp",
        };
        write!(
            f,
            "candidate:{} {} {protocol}",
            self.foundation, self.component
        )?;
        write!(f, " {} {} {}", self.priority, self.address, self.port)?;
        write!(f, " typ {}", self.kind.name())?;
        if let Some((address, port)) = &self.related {
            write!(f, " raddr {address} rport {port}")?;
        }
        if let Some(tcp_type) = self.tcp_type {
            let word = match tcp_type {
                TcpType::Active => "active",
                TcpType::Passive => "passive",
                TcpType::SimultaneousOpen => "so",
            };
            write!(f, " tcptype {word}")?;
        }
        for (name, value) in &self.extensions {
            write!(f, " {name} {value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn address() -> impl Strategy<Value = Address> {
        prop_oneof![
            any::<IpAddr>().prop_map(Address::Ip),
            "[a-z][a-z0-9-]{0,30}\\.local".prop_map(Address::Name),
        ]
    }

    fn candidate() -> impl Strategy<Value = Candidate> {
        let kind = prop_oneof![
            Just(CandidateKind::Host),
            Just(CandidateKind::ServerReflexive),
            Just(CandidateKind::PeerReflexive),
            Just(CandidateKind::Relayed),
        ];
        let protocol = prop_oneof![
            Just((Protocol::Udp, None)),
            Just((Protocol::Tcp, Some(TcpType::Active))),
            Just((Protocol::Tcp, Some(TcpType::Passive))),
            Just((Protocol::Tcp, Some(TcpType::SimultaneousOpen))),
        ];
        let related = prop::option::of((any::<IpAddr>().prop_map(Address::Ip), any::<u16>()));
        let extension = ("x-[a-z]{1,8}", "[!-~]{1,8}");
        let extensions = prop::collection::vec(extension, 0..=MAX_EXTENSIONS);
        let numbers = (1_u16..=256, any::<u32>(), any::<u16>());
        (
            "[A-Za-z0-9+/]{1,32}",
            numbers,
            protocol,
            address(),
            kind,
            related,
            extensions,
        )
            .prop_map(
                |(
                    foundation,
                    (component, priority, port),
                    protocol,
                    address,
                    kind,
                    related,
                    extensions,
                )| {
                    let (protocol, tcp_type) = protocol;
                    Candidate {
                        foundation,
                        component,
                        protocol,
                        priority,
                        address,
                        port,
                        kind,
                        related,
                        tcp_type,
                        base: None,
                        url: None,
                        extensions,
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn a_candidate_survives_the_line(candidate in candidate()) {
            let line = candidate.to_string();
            prop_assert_eq!(line.parse(), Ok(candidate.clone()));
            let as_sdp = format!("a={line}");
            prop_assert_eq!(as_sdp.parse(), Ok(candidate));
        }

        #[test]
        fn any_line_is_read_or_refused(line in ".{0,200}") {
            drop(line.parse::<Candidate>());
        }

        #[test]
        fn a_damaged_line_that_is_read_prints_as_it_reads(
            candidate in candidate(), at in 0_usize..200, with in ".{0,3}", cut in 0_usize..6,
        ) {
            let mut line = candidate.to_string();
            let at = line.floor_char_boundary(at.min(line.len()));
            let end = line.floor_char_boundary((at + cut).min(line.len()));
            line.replace_range(at..end, &with);
            if let Ok(read) = line.parse::<Candidate>() {
                prop_assert_eq!(read.to_string().parse(), Ok(read));
            }
        }
    }

    const CHROMIUM: &str = "candidate:3885250869 1 udp 2122260223 192.168.1.7 55170 typ host \
        generation 0 ufrag 4ZcD network-id 1 network-cost 50";

    #[test]
    fn reads_what_chromium_writes() {
        let c: Candidate = CHROMIUM.parse().expect("candidate");
        assert_eq!(c.socket_addr(), "192.168.1.7:55170".parse().ok());
        assert_eq!(c.kind, CandidateKind::Host);
        assert_eq!(c.extension("ufrag"), Some("4ZcD"));
        assert_eq!(c.to_string(), CHROMIUM);
    }

    #[test]
    fn reads_mdns_tcp_and_related() {
        let mdns = "a=candidate:1 1 UDP 2113937151 AB-c.local 5000 typ host";
        let c: Candidate = mdns.parse().expect("mdns");
        assert_eq!(c.address, Address::Name("ab-c.local".into()));
        assert_eq!(c.socket_addr(), None);
        let tcp =
            "candidate:1 1 tcp 1 2001:db8::1 9 typ srflx raddr 10.0.0.1 rport 7 tcptype active";
        let c: Candidate = tcp.parse().expect("tcp");
        assert_eq!(c.tcp_type, Some(TcpType::Active));
        assert_eq!(c.related.as_ref().map(|r| r.1), Some(7));
        assert_eq!(c.to_string(), tcp);
    }

    #[test]
    fn refuses_what_is_wrong() {
        let bad = [
            ("", CandidateError::Incomplete),
            (
                "candidate:1 1 udp 1 1.2.3.4 5 typ",
                CandidateError::Incomplete,
            ),
            (
                "candidate:1 1 udp 1 1.2.3.4 5 type host",
                CandidateError::Part("typ"),
            ),
            (
                "candidate:1 1 sctp 1 1.2.3.4 5 typ host",
                CandidateError::Protocol,
            ),
            (
                "candidate:1 1 udp 1 1.2.3.4 5 typ nat",
                CandidateError::Kind,
            ),
            (
                "candidate:1 1 udp 1 1.2.3.4 65536 typ host",
                CandidateError::Part("port"),
            ),
            (
                "candidate:1 1 udp +1 1.2.3.4 6 typ host",
                CandidateError::Part("priority"),
            ),
            (
                "candidate:1 1 udp 1 1.2.3/4 6 typ host",
                CandidateError::Part("address"),
            ),
            (
                "candidate:1 1 udp 1 1.2.3.4 6 typ host ufrag",
                CandidateError::Incomplete,
            ),
        ];
        for (line, error) in bad {
            assert_eq!(line.parse::<Candidate>(), Err(error), "{line}");
        }
        let long = format!("{CHROMIUM} x {}", "y".repeat(MAX_CANDIDATE_LEN));
        assert_eq!(long.parse::<Candidate>(), Err(CandidateError::TooLong));
    }
}
