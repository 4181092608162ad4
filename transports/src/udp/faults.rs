//! Fault injection for everything an endpoint's sockets carry. Without the
//! feature `chaos` both questions are constant and cost nothing.

use std::net::IpAddr;
#[cfg(feature = "chaos")]
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// What an impaired endpoint does to datagrams it sends.
#[cfg(feature = "chaos")]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Impairment {
    /// Share of datagrams lost, 0 to 1.
    pub loss: f64,
    /// Seed of the choice which ones.
    pub seed: u64,
}

/// The faults of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    #[cfg(feature = "chaos")]
    silent: AtomicBool,
    #[cfg(feature = "chaos")]
    impaired: AtomicBool,
    #[cfg(feature = "chaos")]
    loss: Mutex<Loss>,
    #[cfg(feature = "chaos")]
    moved: AtomicBool,
    #[cfg(feature = "chaos")]
    no_quic: AtomicBool,
    #[cfg(feature = "chaos")]
    addresses: Mutex<Vec<IpAddr>>,
}

#[cfg(feature = "chaos")]
#[derive(Debug, Default)]
struct Loss {
    threshold: u64,
    state: u64,
}

#[cfg(not(feature = "chaos"))]
impl Faults {
    pub(crate) fn addresses(&self) -> Option<Vec<IpAddr>> {
        None
    }

    pub(crate) fn hides(&self, _: IpAddr) -> bool {
        false
    }

    pub(crate) fn silent(&self) -> bool {
        false
    }

    pub(crate) fn impaired(&self) -> bool {
        false
    }

    pub(crate) fn blocks(&self, _: &[u8]) -> bool {
        false
    }

    pub(crate) fn loses_next(&self) -> bool {
        false
    }
}

#[cfg(feature = "chaos")]
impl Faults {
    /// The addresses the machine seems to have, when they are not its own.
    pub(crate) fn addresses(&self) -> Option<Vec<IpAddr>> {
        let moved = self.moved.load(Ordering::Relaxed);
        moved.then(|| self.pretended().clone())
    }

    /// Whether nothing may leave from or arrive at this address.
    pub(crate) fn hides(&self, ip: IpAddr) -> bool {
        self.moved.load(Ordering::Relaxed) && !self.pretended().contains(&ip)
    }

    pub(crate) fn pretend_addresses(&self, addresses: Vec<IpAddr>) {
        *self.pretended() = addresses;
        self.moved.store(true, Ordering::Relaxed);
    }

    fn pretended(&self) -> MutexGuard<'_, Vec<IpAddr>> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// Whether these datagrams may not leave.
    pub(crate) fn blocks(&self, datagrams: &[u8]) -> bool {
        let quic = || {
            let class = super::PacketClass::of(datagrams);
            matches!(
                class,
                super::PacketClass::Quic | super::PacketClass::TurnChannelOrQuic
            )
        };
        self.no_quic.load(Ordering::Relaxed) && quic()
    }

    pub(crate) fn block_quic(&self, block: bool) {
        self.no_quic.store(block, Ordering::Relaxed);
    }

    pub(crate) fn impaired(&self) -> bool {
        self.impaired.load(Ordering::Relaxed)
    }

    /// Whether the next datagram is lost. Asked only when impaired.
    pub(crate) fn loses_next(&self) -> bool {
        let mut loss = self.loss.lock().unwrap_or_else(PoisonError::into_inner);
        split_mix(&mut loss.state) < loss.threshold
    }

    pub(crate) fn set_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }

    pub(crate) fn impair(&self, impairment: Impairment) {
        let share = impairment.loss.clamp(0.0, 1.0);
        let mut loss = self.loss.lock().unwrap_or_else(PoisonError::into_inner);
        *loss = Loss {
            threshold: (share * u64::MAX as f64) as u64,
            state: impairment.seed,
        };
        self.impaired.store(share > 0.0, Ordering::Relaxed);
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough for choosing losses, repeatable.
#[cfg(feature = "chaos")]
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(all(test, feature = "chaos"))]
mod tests {
    use super::*;

    #[test]
    fn losses_repeat_with_their_seed_and_match_their_share() {
        let lost = |seed| -> Vec<bool> {
            let faults = Faults::default();
            faults.impair(Impairment { loss: 0.25, seed });
            (0..4000).map(|_| faults.loses_next()).collect()
        };
        let first = lost(7);
        assert_eq!(first, lost(7));
        assert_ne!(first, lost(8));
        let count = first.iter().filter(|lost| **lost).count();
        assert!((800..1200).contains(&count), "{count} of 4000");
    }
}
