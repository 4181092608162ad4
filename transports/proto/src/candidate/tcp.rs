//! TCP candidates (RFC 6544).

use std::net::{IpAddr, SocketAddr};

use super::{Candidate, CandidateKind, Protocol, TcpType, foundation, priority};

/// The port of candidates that accept nothing (RFC 6544 §4.5): that of the discard service.
pub const ACTIVE_PORT: u16 = 9;

/// Addresses that can be told apart by preference (RFC 6544 §4.2: 13 bits).
const MAX_OTHER: u16 = (1 << 13) - 1;

impl Candidate {
    /// A host candidate at which connections are accepted (`tcptype passive`). `rank` orders our own
    /// addresses, 0 for the best one.
    pub fn tcp_passive(addr: SocketAddr, rank: u16) -> Self {
        Self::tcp_host(addr, TcpType::Passive, rank)
    }

    /// A host candidate from which connections are opened (`tcptype active`), each from a port of
    /// its own. `rank` orders our own addresses, 0 for the best one.
    pub fn tcp_active(ip: IpAddr, rank: u16) -> Self {
        Self::tcp_host(SocketAddr::new(ip, ACTIVE_PORT), TcpType::Active, rank)
    }

    fn tcp_host(addr: SocketAddr, tcp_type: TcpType, rank: u16) -> Self {
        let kind = CandidateKind::Host;
        Self {
            foundation: foundation(kind, Protocol::Tcp, addr.ip()),
            protocol: Protocol::Tcp,
            priority: tcp_priority(kind, tcp_type, rank),
            tcp_type: Some(tcp_type),
            ..Self::host(addr, u16::MAX)
        }
    }
}

/// RFC 6544 §4.2: the direction counts first, then the address; the type preference is below that
/// of any UDP candidate but a relayed one (90 and 80, as libwebrtc's).
fn tcp_priority(kind: CandidateKind, tcp_type: TcpType, rank: u16) -> u32 {
    let direction = match (kind, tcp_type) {
        (CandidateKind::Host | CandidateKind::Relayed, TcpType::Active) => 6,
        (CandidateKind::Host | CandidateKind::Relayed, TcpType::Passive) => 4,
        (CandidateKind::Host | CandidateKind::Relayed, TcpType::SimultaneousOpen) => 2,
        (_, TcpType::SimultaneousOpen) => 6,
        (_, TcpType::Active) => 4,
        (_, TcpType::Passive) => 2,
    };
    let local_preference = (direction << 13) + (MAX_OTHER - rank.min(MAX_OTHER));
    let udp = priority(kind, local_preference, 1) & 0x00ff_ffff;
    let preference: u32 = match kind {
        CandidateKind::Host => 90,
        CandidateKind::PeerReflexive => 80,
        CandidateKind::ServerReflexive => 70,
        CandidateKind::Relayed => 0,
    };
    (preference << 24) | udp
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_written_and_read_as_rfc_6544_has_them() {
        let passive = Candidate::tcp_passive("192.0.2.1:443".parse().expect("address"), 0);
        let active = Candidate::tcp_active("2001:db8::1".parse().expect("address"), 1);
        let text = passive.to_string();
        assert!(text.contains(" tcp "), "{text}");
        assert!(
            text.contains("192.0.2.1 443 typ host tcptype passive"),
            "{text}"
        );
        let text = active.to_string();
        assert!(
            text.contains("2001:db8::1 9 typ host tcptype active"),
            "{text}"
        );
        for candidate in [passive, active] {
            assert_eq!(candidate.to_string().parse(), Ok(candidate));
        }
    }

    #[test]
    fn udp_comes_before_tcp_and_active_before_passive() {
        let addr: SocketAddr = "192.0.2.1:443".parse().expect("address");
        let reflexive = Candidate::server_reflexive(addr, addr, 0, "");
        let passive = |rank| Candidate::tcp_passive(addr, rank).priority;
        let active = |rank| Candidate::tcp_active(addr.ip(), rank).priority;
        assert!(reflexive.priority > active(0));
        assert!(active(0) > active(1));
        assert!(active(9) > passive(0));
        assert!(passive(0) > passive(u16::MAX));
        assert!(passive(u16::MAX) > Candidate::relayed(addr, addr, u16::MAX, "").priority);
    }
}
