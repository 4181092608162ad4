//! Who is around: what a node tells its neighbours, and what it makes of
//! what they tell.
//!
//! Presence says *that* a peer is there; a digest says *where*, for a
//! thousandth of the bytes: the tags of the sender, fingerprints of those one
//! and two links away from it, and a Bloom filter of those three links away.
//! So each node knows which of its links lead to whom within four links,
//! which is a third of 10,000 peers at a degree of eight.
//!
//! Tags change with the hour and say nothing to who does not know peer and
//! room. Digests are hearsay: a liar attracts what it then drops. Senders
//! notice, and avoid it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::envelope::RouteTag;
use crate::wire::{self, BoundedVec};

/// Tags of one peer: one a room, and those of the next or last hour.
pub(super) const MAX_TAGS: usize = 32;
/// Fingerprints of one list. A super-peer has 48 links of 8 each.
pub(super) const MAX_PRINTS: usize = 512;
/// Bytes of the filter. At ten links a peer 870 are three links away: one wrong
/// answer in seventy. With half of it one in ten, on each of ten links, and
/// envelopes take ways that are a third longer (measured).
const FILTER: usize = 1_024;
const FILTER_BITS: u64 = FILTER as u64 * 8;
/// Bits a peer sets.
const PROBES: u32 = 4;

/// What a node tells its neighbours of its surroundings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Its own tags.
    pub(super) tags: BoundedVec<RouteTag, MAX_TAGS>,
    /// Fingerprints of its neighbours, four bytes each.
    #[serde(with = "wire::bin")]
    near: Bytes,
    /// Those after them; without it what was told before holds.
    more: Option<More>,
}

/// Who is further away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct More {
    /// Fingerprints of those two links away.
    #[serde(with = "wire::bin")]
    next: Bytes,
    /// A filter of those three links away.
    #[serde(with = "wire::bin")]
    far: Bytes,
}

/// No list and no filter.
static NOTHING: Bytes = Bytes::new();

/// A fingerprint: the beginning of a tag, which is a hash.
pub(super) fn print(tag: &RouteTag) -> u32 {
    let [a, b, c, d, ..] = *tag.as_bytes();
    u32::from_be_bytes([a, b, c, d])
}

fn to_bytes(prints: &[u32]) -> Bytes {
    let prints = prints.iter().take(MAX_PRINTS);
    prints.flat_map(|print| print.to_be_bytes()).collect()
}

fn prints(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let (chunks, _) = bytes.as_chunks::<4>();
    let chunks = chunks.iter().take(MAX_PRINTS);
    chunks.map(|chunk| u32::from_be_bytes(*chunk))
}

/// Where a fingerprint is in the filter (the finaliser of splitmix64 spreads
/// it).
fn bits(print: u32) -> impl Iterator<Item = (usize, u8)> {
    let mut z = u64::from(print).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    (0..PROBES).map(move |n| {
        let bit = (z >> (16 * n)) % FILTER_BITS;
        (usize::try_from(bit / 8).unwrap_or(0), 1 << (bit % 8))
    })
}

impl Digest {
    /// What a node with these tags tells, given what its neighbours told.
    pub(super) fn new<'a>(
        tags: &[RouteTag],
        neighbours: impl Iterator<Item = &'a Digest> + Clone,
    ) -> Self {
        let own: Vec<u32> = tags.iter().map(print).collect();
        let sorted = |mut list: Vec<u32>| {
            list.sort_unstable();
            list.dedup();
            list
        };
        let near = neighbours.clone().flat_map(|d| d.tags.iter().map(print));
        let near = sorted(near.collect());
        let next = neighbours.clone().flat_map(|d| prints(&d.near));
        let fresh = |print: &u32| !own.contains(print) && near.binary_search(print).is_err();
        let next = sorted(next.filter(fresh).collect());
        let mut far = vec![0; FILTER];
        let mut any = false;
        for print in neighbours.flat_map(Digest::next) {
            any = true;
            for (byte, mask) in bits(print) {
                if let Some(byte) = far.get_mut(byte) {
                    *byte |= mask;
                }
            }
        }
        if !any {
            far.clear();
        }
        Digest {
            tags: BoundedVec::truncated(tags.iter().copied()),
            near: to_bytes(&near),
            more: Some(More {
                next: to_bytes(&next),
                far: far.into(),
            }),
        }
        .modest()
    }

    /// The same without those further away.
    pub(super) fn brief(&self) -> Self {
        Digest {
            more: None,
            ..self.clone()
        }
    }

    /// What is known after this was told before, and `later` now.
    pub(super) fn then(self, later: Digest) -> Self {
        let more = later.more.or(self.more);
        Digest { more, ..later }
    }

    fn more(&self) -> (&Bytes, &Bytes) {
        let more = self.more.as_ref();
        more.map_or((&NOTHING, &NOTHING), |more| (&more.next, &more.far))
    }

    /// Whether lists and filter have sizes that an honest node's have.
    pub(super) fn is_sound(&self) -> bool {
        let (next, far) = self.more();
        let lists = [&self.near, next];
        lists
            .iter()
            .all(|list| list.len() <= 4 * MAX_PRINTS && list.len().is_multiple_of(4))
            && (far.is_empty() || far.len() == FILTER)
    }

    /// The same without a filter that has most bits set: it says nothing, or
    /// boasts.
    pub(super) fn modest(mut self) -> Self {
        let (_, far) = self.more();
        let set: u32 = far.iter().map(|byte| byte.count_ones()).sum();
        if u64::from(set) * 4 > FILTER_BITS * 3
            && let Some(more) = &mut self.more
        {
            more.far = Bytes::new();
        }
        self
    }

    /// Fingerprints of the teller's neighbours.
    pub(super) fn near(&self) -> impl Iterator<Item = u32> {
        prints(&self.near)
    }

    /// Of those two links from it.
    pub(super) fn next(&self) -> impl Iterator<Item = u32> {
        prints(self.more().0)
    }

    /// How many links from the one who told it a peer is, if it is near.
    pub(super) fn distance(&self, tag: &RouteTag) -> Option<u8> {
        if self.tags.contains(tag) {
            return Some(0);
        }
        let print = print(tag);
        if prints(&self.near).any(|other| other == print) {
            return Some(1);
        }
        if self.next().any(|other| other == print) {
            return Some(2);
        }
        let (_, far) = self.more();
        let set = |(byte, mask): (usize, u8)| far.get(byte).is_some_and(|b| b & mask != 0);
        (!far.is_empty() && bits(print).all(set)).then_some(3)
    }

    /// How near to `tag`, as numbers go, it leads: to the one who told it, or
    /// to somebody that is named.
    pub(super) fn nearness(&self, tag: &RouteTag) -> u32 {
        let aim = print(tag);
        let own = self.tags.iter().map(print);
        let all = own.chain(self.near()).chain(self.next());
        all.map(|other| other ^ aim).min().unwrap_or(u32::MAX)
    }

    /// Bytes on the wire, give or take a few.
    pub(super) fn len(&self) -> usize {
        let (next, far) = self.more();
        40 + 18 * self.tags.len() + self.near.len() + next.len() + far.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{PeerId, RoomId};
    use proptest::prelude::*;

    fn tag(n: u32) -> RouteTag {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        RouteTag::new(&PeerId::from_bytes(key), &RoomId::new("m", "r"), 0)
    }

    fn with(next: Bytes, far: Bytes) -> Digest {
        let more = Some(More { next, far });
        Digest {
            more,
            ..Digest::default()
        }
    }

    #[test]
    fn what_is_not_told_again_holds() {
        let first = Digest::new(
            &[tag(1)],
            [&Digest::new(&[tag(2)], [].into_iter())].into_iter(),
        );
        let around = Digest::new(&[tag(3)], std::iter::once(&first));
        assert_eq!(around.distance(&tag(2)), Some(2));
        let later = Digest::new(&[tag(3)], std::iter::empty());
        let known = around.clone().then(later.brief());
        assert_eq!(
            (known.distance(&tag(1)), known.distance(&tag(2))),
            (None, Some(2))
        );
        assert_eq!(around.then(later).distance(&tag(2)), None);
    }

    #[test]
    fn distances_grow_with_each_telling() {
        let mut told = Digest::new(&[tag(0)], std::iter::empty());
        assert_eq!(told.distance(&tag(0)), Some(0));
        for n in 1..4 {
            told = Digest::new(&[tag(n)], std::iter::once(&told));
            assert_eq!(told.distance(&tag(0)), Some(n as u8));
            assert!(told.is_sound());
        }
        told = Digest::new(&[tag(4)], std::iter::once(&told));
        assert_eq!(told.distance(&tag(0)), None, "too far to be told");
        assert_eq!(told.nearness(&tag(4)), 0);
    }

    #[test]
    fn filters_are_seldom_wrong() {
        let near: Vec<Digest> = (0..7)
            .map(|n| {
                let tags: Vec<RouteTag> = (56 * n..56 * n + 56).map(tag).collect();
                with(
                    to_bytes(&tags.iter().map(print).collect::<Vec<_>>()),
                    Bytes::new(),
                )
            })
            .collect();
        let told = Digest::new(&[], near.iter());
        assert!((0..392).all(|n| told.distance(&tag(n)) == Some(3)));
        let wrong = (1_000..11_000).filter(|n| told.distance(&tag(*n)).is_some());
        let wrong = wrong.count();
        assert!(wrong < 200, "{wrong} of 10,000");
        assert!(told.is_sound());
    }

    #[test]
    fn whoever_claims_to_know_everybody_is_not_believed() {
        let boast = with(Bytes::new(), vec![0xff; FILTER].into());
        assert_eq!(boast.distance(&tag(1)), Some(3));
        assert_eq!(boast.modest().distance(&tag(1)), None);
        let long = Digest {
            near: vec![0; 4 * MAX_PRINTS + 4].into(),
            ..Digest::default()
        };
        assert!(!long.is_sound());
    }

    proptest! {
        #[test]
        fn any_sizes_are_survived(near in proptest::collection::vec(any::<u8>(), 0..80), far in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut odd = with(near.clone().into(), far.into());
            odd.near = near.into();
            let _unused = (odd.distance(&tag(1)), odd.nearness(&tag(1)), odd.is_sound());
            let told = Digest::new(&[tag(1)], [&odd, &odd].into_iter());
            prop_assert!(told.is_sound());
        }
    }
}
