//! The memory over partitions: peers once linked with, for long.
//!
//! Each slot keeps the peer whose id minimises a keyed hash of its own, so the
//! slots are a uniform sample of all peers ever met (Brahms: Bortnikov et al.,
//! Computer Networks 2009). Somebody who turns up more often gets no more of
//! them, and nobody without the key can choose ids that win. Only peers that
//! this node has had a connection with are taken, so hearsay fills nothing.
//!
//! A failed dial does not remove a peer: half of the network may be out of
//! reach for an hour. Only after [`FORGOTTEN_AFTER`] its slot is free again.

use rand::{Rng, RngExt};

use super::peer::Peer;

/// A peer not met for so long is given up, in milliseconds: a week. Guess:
/// longer than any split that ends by itself.
const FORGOTTEN_AFTER: u64 = 7 * 24 * 3_600_000;

/// Milliseconds of a tick, in which meetings are told apart.
const TICK: u64 = 64;

/// Milliseconds as ticks; enough for eight years.
pub(crate) fn tick(now: u64) -> u32 {
    u32::try_from(now / TICK).unwrap_or(u32::MAX)
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot<C> {
    pub(crate) contact: C,
    /// The upper half of its hash.
    hash: u32,
    /// When it was last met, in [ticks](tick): there are many slots.
    pub(crate) met: u32,
    /// Dials that failed since.
    pub(crate) failed: u8,
}

#[derive(Debug)]
pub(crate) struct Reserve<C> {
    key: [u64; 2],
    slots: Box<[Option<Slot<C>>]>,
    next: u8,
}

impl<C: Peer> Reserve<C> {
    pub(crate) fn new(size: u8, rng: &mut impl Rng) -> Self {
        Reserve {
            key: [rng.next_u64(), rng.next_u64()],
            slots: vec![None; usize::from(size)].into(),
            next: rng.random_range(0..size.max(1)),
        }
    }

    /// Takes note of a peer that was met.
    pub(crate) fn met(&mut self, contact: C, now: u64) {
        let digest = C::digest(&contact.id(), self.key);
        for (index, slot) in (0_u64..).zip(self.slots.iter_mut()) {
            let hash = upper(mix(digest ^ mix(index + 1)));
            let wins = match slot {
                Some(held) if held.contact.id() == contact.id() => true,
                Some(held) => hash < held.hash,
                None => true,
            };
            if wins {
                *slot = Some(Slot {
                    contact,
                    hash,
                    met: tick(now),
                    failed: 0,
                });
            }
        }
    }

    /// Takes note of a dial that failed.
    pub(crate) fn missed(&mut self, peer: &C::Id, now: u64) {
        for slot in &mut self.slots {
            let Some(held) = slot else { continue };
            if held.contact.id() != *peer {
                continue;
            }
            held.failed = held.failed.saturating_add(1);
            if tick(now).saturating_sub(held.met) > tick(FORGOTTEN_AFTER) {
                *slot = None;
            }
        }
    }

    /// The next slot to look after, round and round.
    pub(crate) fn turn(&mut self) -> Option<Slot<C>> {
        for _ in 0..self.slots.len() {
            let slot = self.slots.get(usize::from(self.next)).copied().flatten();
            self.next = self.next.checked_add(1).unwrap_or(0);
            if usize::from(self.next) >= self.slots.len() {
                self.next = 0;
            }
            if slot.is_some() {
                return slot;
            }
        }
        None
    }

    /// Slots, taken or not; at least one.
    pub(crate) fn len(&self) -> usize {
        self.slots.len().max(1)
    }

    /// Who is in this slot.
    pub(crate) fn get(&self, index: usize) -> Option<C> {
        let slot = self.slots.get(index).copied().flatten();
        slot.map(|slot| slot.contact)
    }

    /// All of them, a peer possibly more than once.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot<C>> {
        self.slots.iter().flatten()
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the upper half")]
fn upper(hash: u64) -> u32 {
    (hash >> 32) as u32
}

fn mix(mut z: u64) -> u64 {
    // The finaliser of splitmix64 (Steele et al., OOPSLA 2014).
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// SipHash-1-3 (Aumasson and Bernstein, INDOCRYPT 2012) of an id. The standard
/// library has it too, and may change it from one version to the next.
pub(super) fn siphash([k0, k1]: [u64; 2], data: &[u8; 32]) -> u64 {
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let (words, _) = data.as_chunks::<8>();
    let length = 32_u64 << 56;
    for word in words.iter().map(|w| u64::from_le_bytes(*w)).chain([length]) {
        v[3] ^= word;
        sip_round(&mut v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    for _ in 0..3 {
        sip_round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn sip_round([a, b, c, d]: &mut [u64; 4]) {
    *a = a.wrapping_add(*b);
    *b = b.rotate_left(13) ^ *a;
    *a = a.rotate_left(32);
    *c = c.wrapping_add(*d);
    *d = d.rotate_left(16) ^ *c;
    *a = a.wrapping_add(*d);
    *d = d.rotate_left(21) ^ *a;
    *c = c.wrapping_add(*b);
    *b = b.rotate_left(17) ^ *c;
    *c = c.rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PeerId;
    use crate::overlay::{Class, Contact};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn contact(n: u32) -> Contact {
        let mut id = [0; 32];
        for (to, from) in id.iter_mut().zip(n.to_le_bytes()) {
            *to = from;
        }
        let address = ([192, 0, 2, 1], 1).into();
        Contact::new(PeerId::from_bytes(id), address, Class::Native)
    }

    fn reserve(seed: u64) -> Reserve<Contact> {
        Reserve::new(64, &mut ChaCha8Rng::seed_from_u64(seed))
    }

    #[test]
    fn the_hash_is_siphash_1_3() {
        // Computed with the reference implementation's SIP13 build; the first
        // published vectors are of 2-4, so this pins the algorithm only.
        let mut data = [0; 32];
        for (n, byte) in (0..).zip(data.iter_mut()) {
            *byte = n;
        }
        let mut std_hasher = siphash_of_std(&data);
        assert_eq!(siphash([0, 0], &data), std_hasher.next().unwrap());
    }

    /// The standard library's default hasher is SipHash-1-3 with a zero key.
    fn siphash_of_std(data: &[u8; 32]) -> impl Iterator<Item = u64> + use<> {
        use std::hash::Hasher;
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write(data);
        std::iter::once(hasher.finish())
    }

    #[test]
    fn talking_more_buys_no_slots() {
        let mut taken = 0;
        for seed in 0..20 {
            let mut reserve = reserve(seed);
            for n in 0..400 {
                reserve.met(contact(n), 0);
                // Every fifth peer turns up a hundred times.
                for _ in 0..100 {
                    reserve.met(contact(n - n % 5), 0);
                }
            }
            taken += reserve
                .iter()
                .filter(|slot| slot.contact.peer.as_bytes()[0].is_multiple_of(5))
                .count();
        }
        let share = taken * 100 / (20 * 64);
        assert!((12..30).contains(&share), "{share} %");
    }

    #[test]
    fn failures_are_counted_and_forgotten_only_after_a_week() {
        let mut reserve = reserve(1);
        reserve.met(contact(1), 0);
        for _ in 0..300 {
            reserve.missed(&contact(1).peer, FORGOTTEN_AFTER);
        }
        assert_eq!(reserve.iter().next().unwrap().failed, 255);
        reserve.missed(&contact(1).peer, FORGOTTEN_AFTER + TICK);
        assert_eq!(reserve.iter().count(), 0);
        assert!(reserve.turn().is_none());
    }

    #[test]
    fn turns_come_round() {
        let mut reserve = reserve(1);
        for n in 0..1_000 {
            reserve.met(contact(n), 0);
        }
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..64 {
            seen.insert(reserve.turn().unwrap().contact.peer);
        }
        let all: std::collections::BTreeSet<_> = reserve.iter().map(|s| s.contact.peer).collect();
        assert_eq!(seen, all);
    }
}
