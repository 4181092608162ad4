//! By which addresses the packaged engine knows the peer's TCP candidates.
//!
//! It finds a peer's candidate by address alone, so that a peer with UDP and TCP on one port (as
//! servers have) would be taken for one candidate. So each TCP address gets a stand-in that no
//! packet of the internet can have: 240.0.0.0/4 (RFC 1112 §4), 100::/64 (RFC 6666).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::candidate::Protocol;

/// Stand-ins of one generation. Bounded by the peer's candidates
/// (`MAX_REMOTE_CANDIDATES`), which are counted before they come here.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    stand_ins: BTreeMap<SocketAddr, SocketAddr>,
    real: BTreeMap<SocketAddr, SocketAddr>,
    made: u32,
}

impl Aliases {
    /// What the engine calls this address.
    pub(super) fn of(&mut self, protocol: Protocol, addr: SocketAddr) -> SocketAddr {
        match protocol {
            Protocol::Udp => addr,
            Protocol::Tcp => match self.stand_ins.get(&addr) {
                Some(known) => *known,
                None => self.make(addr),
            },
        }
    }

    fn make(&mut self, addr: SocketAddr) -> SocketAddr {
        self.made += 1;
        let stand_in = match addr {
            SocketAddr::V4(_) => {
                let ip = Ipv4Addr::from_bits(0xf000_0000 | self.made & 0x0fff_ffff);
                SocketAddr::new(ip.into(), addr.port())
            }
            SocketAddr::V6(_) => {
                let ip = Ipv6Addr::from_bits(0x0100 << 112 | u128::from(self.made));
                SocketAddr::new(ip.into(), addr.port())
            }
        };
        self.stand_ins.insert(addr, stand_in);
        self.real.insert(stand_in, addr);
        stand_in
    }

    /// The address that the engine calls so.
    pub(super) fn behind(&self, stand_in: SocketAddr) -> SocketAddr {
        self.real.get(&stand_in).copied().unwrap_or(stand_in)
    }

    /// What was called after `old` is `new` from now on.
    pub(super) fn rename(&mut self, old: SocketAddr, new: SocketAddr) {
        if let Some(stand_in) = self.stand_ins.remove(&old) {
            self.stand_ins.insert(new, stand_in);
            self.real.insert(stand_in, new);
        }
    }
}
