//! Where this node listens: when that is known, and what of it to tell others.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// A listener on all interfaces reports one address after the other; when none
/// has come for so long they are taken to be all.
const QUIET: Duration = Duration::from_millis(200);

/// How far an address reaches. The order is that of telling others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// From anywhere, or nobody knows (names, the memory transport).
    Global,
    /// From the same site: RFC 1918, RFC 6598, RFC 4193.
    Private,
    /// From the same link: RFC 3927, RFC 4291 section 2.5.6.
    Link,
    /// From the same machine.
    Loopback,
}

/// The addresses the swarm listens on.
#[derive(Debug)]
pub(super) struct Addresses {
    known: BTreeSet<String>,
    /// How many there will be, where that can be told from the settings.
    expected: Option<usize>,
    quiet: Option<Instant>,
}

impl Addresses {
    /// None yet, of listeners on these multiaddrs.
    pub(super) fn new(listen: &[String]) -> Self {
        let specific = listen.iter().all(|address| !is_wildcard(address));
        Self {
            known: BTreeSet::new(),
            expected: specific.then_some(listen.len()),
            quiet: None,
        }
    }

    /// The swarm listens there from now on.
    pub(super) fn add(&mut self, address: String, now: Instant) {
        self.known.insert(address);
        self.quiet = Some(now + QUIET);
    }

    /// It no longer does.
    pub(super) fn remove(&mut self, address: &str, now: Instant) {
        self.known.remove(address);
        self.quiet = Some(now + QUIET);
    }

    /// Whether these are all, as far as anybody can tell.
    pub(super) fn are_settled(&self, now: Instant) -> bool {
        let complete = self.expected.is_some_and(|count| self.known.len() >= count);
        !self.known.is_empty() && (complete || self.quiet.is_none_or(|until| until <= now))
    }

    /// When they are settled at the latest, if nothing changes; `None` while
    /// there are none.
    pub(super) fn settle_at(&self) -> Option<Instant> {
        self.quiet.filter(|_| !self.known.is_empty())
    }

    /// All of them, the farthest-reaching first.
    pub(super) fn all(&self) -> Vec<String> {
        let mut all: Vec<String> = self.known.iter().cloned().collect();
        all.sort_by_cached_key(|address| (reach(address), !address.contains("/quic")));
        all
    }

    /// What to tell others: the same without loopback addresses, unless there
    /// are no others.
    pub(super) fn told(&self) -> Vec<String> {
        let mut told = self.all();
        if told.iter().any(|address| reach(address) != Reach::Loopback) {
            told.retain(|address| reach(address) != Reach::Loopback);
        }
        told
    }
}

fn is_wildcard(address: &str) -> bool {
    ip(address).is_some_and(|ip| ip.is_unspecified())
}

/// The first IP address in a multiaddr.
fn ip(address: &str) -> Option<IpAddr> {
    let mut parts = address.split('/');
    parts.find(|part| matches!(*part, "ip4" | "ip6"))?;
    parts.next()?.parse().ok()
}

fn reach(address: &str) -> Reach {
    match ip(address) {
        None => Reach::Global,
        Some(IpAddr::V4(ip)) => reach_v4(ip),
        Some(IpAddr::V6(ip)) => ip.to_ipv4_mapped().map_or_else(|| reach_v6(ip), reach_v4),
    }
}

fn reach_v4(ip: Ipv4Addr) -> Reach {
    let [first, second, ..] = ip.octets();
    match () {
        () if ip.is_loopback() => Reach::Loopback,
        () if ip.is_link_local() => Reach::Link,
        () if ip.is_private() || (first == 100 && second & 0xc0 == 64) => Reach::Private,
        () => Reach::Global,
    }
}

fn reach_v6(ip: Ipv6Addr) -> Reach {
    match () {
        () if ip.is_loopback() => Reach::Loopback,
        () if ip.is_unicast_link_local() => Reach::Link,
        () if ip.is_unique_local() => Reach::Private,
        () => Reach::Global,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(on: &[&str], found: &[&str], now: Instant) -> Addresses {
        let on: Vec<String> = on.iter().map(|text| (*text).to_owned()).collect();
        let mut addresses = Addresses::new(&on);
        for address in found {
            addresses.add((*address).to_owned(), now);
        }
        addresses
    }

    #[test]
    fn the_farthest_reaching_come_first_and_loopback_goes_where_others_are() {
        let addresses = listening(
            &["/ip4/0.0.0.0/udp/0/quic-v1"],
            &[
                "/ip4/127.0.0.1/udp/1/quic-v1",
                "/ip6/::1/udp/1/quic-v1",
                "/ip4/169.254.3.4/udp/1/quic-v1",
                "/ip6/fe80::1/tcp/1",
                "/ip4/100.64.0.9/tcp/1",
                "/ip4/192.168.1.7/tcp/1",
                "/ip4/192.168.1.7/udp/1/quic-v1",
                "/ip6/fd00::7/udp/1/quic-v1",
                "/ip6/2a00::7/tcp/1",
                "/ip4/93.184.216.34/udp/1/quic-v1",
            ],
            Instant::now(),
        );
        let told = addresses.told();
        assert_eq!(
            told,
            [
                "/ip4/93.184.216.34/udp/1/quic-v1",
                "/ip6/2a00::7/tcp/1",
                "/ip4/192.168.1.7/udp/1/quic-v1",
                "/ip6/fd00::7/udp/1/quic-v1",
                "/ip4/100.64.0.9/tcp/1",
                "/ip4/192.168.1.7/tcp/1",
                "/ip4/169.254.3.4/udp/1/quic-v1",
                "/ip6/fe80::1/tcp/1",
            ]
        );
        assert_eq!(addresses.all().len(), told.len() + 2);
    }

    #[test]
    fn loopback_is_told_where_there_is_nothing_else() {
        let only = ["/ip4/127.0.0.1/udp/1/quic-v1"];
        let addresses = listening(&only, &only, Instant::now());
        assert_eq!(addresses.told(), only);
    }

    #[test]
    fn all_interfaces_are_settled_once_they_are_quiet() {
        let now = Instant::now();
        let wildcard = ["/ip4/0.0.0.0/udp/0/quic-v1", "/ip6/::/tcp/0"];
        let mut addresses = listening(&wildcard, &[], now);
        assert!(!addresses.are_settled(now + QUIET) && addresses.settle_at().is_none());
        addresses.add("/ip4/127.0.0.1/udp/1/quic-v1".to_owned(), now);
        assert!(!addresses.are_settled(now));
        let later = now + QUIET / 2;
        addresses.add("/ip4/10.0.0.1/udp/1/quic-v1".to_owned(), later);
        assert!(!addresses.are_settled(now + QUIET));
        assert_eq!(addresses.settle_at(), Some(later + QUIET));
        assert!(addresses.are_settled(later + QUIET));
    }

    #[test]
    fn given_addresses_are_settled_once_they_are_there_or_quiet() {
        let now = Instant::now();
        let two = ["/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.2/tcp/0"];
        let mut addresses = listening(&two, &["/ip4/127.0.0.1/udp/1/quic-v1"], now);
        assert!(!addresses.are_settled(now));
        assert!(addresses.are_settled(now + QUIET), "one may have failed");
        addresses.add("/ip4/127.0.0.2/tcp/1".to_owned(), now);
        assert!(addresses.are_settled(now));
        addresses.remove("/ip4/127.0.0.2/tcp/1", now);
        assert!(!addresses.are_settled(now));
    }
}
