//! Which local addresses a bound port can be reached at.

use std::net::{IpAddr, SocketAddr};

/// Addresses considered per socket: more would square into connectivity checks.
pub const MAX_HOST_ADDRESSES: usize = 16;

/// The host candidates' addresses for a port bound to `bound` (RFC 8445 section
/// 5.1.1.1): the address itself, or every usable interface address of the family
/// when bound to the wildcard. Loopback only when nothing else is there: it can
/// reach nobody but this machine.
pub fn host_addresses(bound: SocketAddr) -> Vec<IpAddr> {
    if !bound.ip().is_unspecified() {
        return vec![bound.ip()];
    }
    let all = match if_addrs::get_if_addrs() {
        Ok(all) => all,
        Err(error) => {
            tracing::warn!(%error, "cannot list network interfaces; host candidates are missing");
            Vec::new()
        }
    };
    let of_family = all
        .iter()
        .map(if_addrs::Interface::ip)
        .filter(|ip| ip.is_ipv4() == bound.is_ipv4());
    let (loopback, mut usable): (Vec<IpAddr>, Vec<IpAddr>) = of_family
        .filter(|ip| is_usable(*ip))
        .partition(IpAddr::is_loopback);
    if usable.is_empty() {
        usable = loopback;
    }
    usable.truncate(MAX_HOST_ADDRESSES);
    usable
}

/// RFC 8445 section 5.1.1.1 and RFC 8421: no link-local, IPv4-mapped or deprecated
/// site-local addresses.
fn is_usable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_link_local() && !ip.is_unspecified(),
        IpAddr::V6(ip) => {
            let first = ip.segments()[0];
            !ip.is_unspecified()
                && ip.to_ipv4_mapped().is_none()
                && first & 0xffc0 != 0xfe80
                && first & 0xffc0 != 0xfec0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_address_is_its_own_candidate() {
        let bound: SocketAddr = "127.0.0.1:5".parse().expect("an address");
        assert_eq!(host_addresses(bound), vec![bound.ip()]);
    }

    #[test]
    fn a_wildcard_yields_addresses_of_its_family_only() {
        let found = host_addresses("0.0.0.0:5".parse().expect("an address"));
        assert!(found.iter().all(|ip| ip.is_ipv4() && !ip.is_unspecified()));
        let loopback = found.iter().filter(|ip| ip.is_loopback()).count();
        assert!(loopback == 0 || loopback == found.len());
    }

    #[test]
    fn link_local_and_mapped_addresses_are_left_out() {
        for ip in [
            "fe80::1",
            "fec0::1",
            "::ffff:1.2.3.4",
            "169.254.1.1",
            "0.0.0.0",
        ] {
            assert!(!is_usable(ip.parse().expect("an address")), "{ip}");
        }
        assert!(is_usable("2001:db8::1".parse().expect("an address")));
    }
}
