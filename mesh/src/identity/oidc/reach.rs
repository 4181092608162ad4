//! Where addresses lie: metadata of a provider on the internet must not send us into our own
//! network. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// From near to far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// This machine.
    Loopback,
    /// Addresses that are not routed on the internet (RFC 6890).
    Private,
    /// All others.
    Public,
}

impl Reach {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(ip) if ip.is_loopback() || ip.is_unspecified() => Reach::Loopback,
            IpAddr::V6(ip) if ip.is_loopback() || ip.is_unspecified() => Reach::Loopback,
            IpAddr::V4(ip) if is_private_v4(ip) => Reach::Private,
            IpAddr::V6(ip) if is_private_v6(ip) => Reach::Private,
            IpAddr::V4(_) | IpAddr::V6(_) => Reach::Public,
        }
    }
}

fn is_private_v4(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    let shared = first == 100 && (64..128).contains(&second); // RFC 6598
    let here = first == 0; // RFC 791 section 3.2
    let never = ip.is_broadcast() || ip.is_multicast() || first >= 240;
    ip.is_private() || ip.is_link_local() || shared || here || never
}

fn is_private_v6(ip: Ipv6Addr) -> bool {
    ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lie_where_they_are_routed() {
        for (reach, addresses) in [
            (
                Reach::Loopback,
                &[
                    "127.0.0.1",
                    "127.9.9.9",
                    "::1",
                    "0.0.0.0",
                    "::",
                    "::ffff:127.0.0.1",
                ][..],
            ),
            (
                Reach::Private,
                &[
                    "10.1.2.3",
                    "172.16.0.1",
                    "192.168.1.1",
                    "169.254.169.254",
                    "100.64.0.1",
                    "0.1.2.3",
                    "255.255.255.255",
                    "fc00::1",
                    "fe80::1",
                    "ff02::1",
                    "::ffff:10.0.0.1",
                ],
            ),
            (
                Reach::Public,
                &["8.8.8.8", "100.128.0.1", "172.32.0.1", "2606:4700::1"],
            ),
        ] {
            for address in addresses {
                let parsed: IpAddr = address.parse().unwrap();
                assert_eq!(Reach::of(parsed), reach, "{address}");
            }
        }
    }
}
