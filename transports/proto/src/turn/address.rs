//! Addresses that a server names: where it may send us on to, and where it may relay.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// How far packets to an address get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    /// This machine.
    Loopback,
    /// This link (RFC 3927, RFC 4291 §2.5.6).
    Link,
    /// This site (RFC 1918, RFC 4193).
    Private,
    /// Everywhere.
    Global,
}

/// `None` for what is no host's address.
fn scope(ip: IpAddr) -> Option<Scope> {
    let ip = ip.to_canonical();
    if ip.is_unspecified() || ip.is_multicast() {
        return None;
    }
    let (link, private) = match ip {
        IpAddr::V4(ip) if ip.is_broadcast() => return None,
        IpAddr::V4(ip) => (ip.is_link_local(), ip.is_private()),
        IpAddr::V6(ip) => (starts(ip, 10, 0xfe80), starts(ip, 7, 0xfc00)),
    };
    Some(match (ip.is_loopback(), link, private) {
        (true, _, _) => Scope::Loopback,
        (false, true, _) => Scope::Link,
        (false, false, true) => Scope::Private,
        (false, false, false) => Scope::Global,
    })
}

fn starts(ip: Ipv6Addr, bits: u32, prefix: u16) -> bool {
    let shift = 16 - bits;
    ip.segments()[0] >> shift == prefix >> shift
}

/// Whether the server at `from` may send us on to `to` (RFC 8489 §10, §14.15): to one of the same
/// family, and never nearer to us than itself. Else a server on the Internet could have us speak
/// to what only we can reach.
pub(super) fn may_redirect(from: SocketAddr, to: SocketAddr) -> bool {
    let (Some(near), Some(far)) = (scope(from.ip()), scope(to.ip())) else {
        return false;
    };
    let loopback = (near == Scope::Loopback) == (far == Scope::Loopback);
    to.port() != 0 && to != from && from.is_ipv4() == to.is_ipv4() && loopback && far >= near
}

/// Whether the server at `server` may relay at `relayed`: on an address that a host can have, and
/// not on one where our peers would find themselves, unless we ourselves are there.
pub(super) fn may_relay(server: SocketAddr, relayed: SocketAddr) -> bool {
    match scope(relayed.ip()) {
        None => false,
        Some(Scope::Loopback) => relayed.port() != 0 && server.ip().to_canonical().is_loopback(),
        Some(Scope::Link | Scope::Private | Scope::Global) => relayed.port() != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_server_sends_us_on_to_its_like_only() {
        let allowed = [
            ("192.0.2.1:3478", "198.51.100.1:80"),
            ("192.0.2.1:3478", "192.0.2.1:3479"),
            ("10.0.0.1:3478", "192.0.2.1:3478"),
            ("10.0.0.1:3478", "192.168.0.1:3478"),
            ("127.0.0.1:3478", "127.0.0.2:3478"),
            ("[2001:db8::1]:3478", "[2001:db8::2]:3478"),
            ("[fd00::1]:3478", "[2001:db8::2]:3478"),
        ];
        let refused = [
            ("192.0.2.1:3478", "192.0.2.1:3478"),
            ("192.0.2.1:3478", "192.0.2.2:0"),
            ("192.0.2.1:3478", "10.0.0.1:3478"),
            ("192.0.2.1:3478", "169.254.169.254:80"),
            ("192.0.2.1:3478", "127.0.0.1:3478"),
            ("192.0.2.1:3478", "0.0.0.0:3478"),
            ("192.0.2.1:3478", "224.0.0.1:3478"),
            ("192.0.2.1:3478", "255.255.255.255:3478"),
            ("192.0.2.1:3478", "[2001:db8::2]:3478"),
            ("127.0.0.1:3478", "192.0.2.1:3478"),
            ("[2001:db8::1]:3478", "[fe80::1]:3478"),
            ("[2001:db8::1]:3478", "[fd00::1]:3478"),
            ("[2001:db8::1]:3478", "[::1]:3478"),
            ("[2001:db8::1]:3478", "[::ffff:127.0.0.1]:3478"),
        ];
        for (from, to) in allowed {
            assert!(may_redirect(addr(from), addr(to)), "{from} {to}");
        }
        for (from, to) in refused {
            assert!(!may_redirect(addr(from), addr(to)), "{from} {to}");
        }
    }

    #[test]
    fn nobody_relays_where_no_host_is() {
        let server = addr("192.0.2.1:3478");
        for relayed in [
            "0.0.0.0:1",
            "127.0.0.1:1",
            "224.0.0.1:1",
            "192.0.2.1:0",
            "[::1]:1",
        ] {
            assert!(!may_relay(server, addr(relayed)), "{relayed}");
        }
        for relayed in ["192.0.2.1:1", "10.0.0.1:1", "[2001:db8::1]:1"] {
            assert!(may_relay(server, addr(relayed)), "{relayed}");
        }
        assert!(may_relay(addr("127.0.0.1:3478"), addr("127.0.0.1:1")));
    }
}
