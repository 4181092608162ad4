//! The names by which this node is addressed.

use super::digest::MAX_TAGS;
use crate::envelope::RouteTag;
use crate::id::{PeerId, RoomId};

const HOUR_MS: u64 = 3_600_000;
/// Tags of the next and the last hour count as well this close to its border:
/// clocks differ and envelopes take their time.
const BORDER_MS: u64 = 180_000;

/// This node's tags, in all its rooms.
#[derive(Debug, Default)]
pub(super) struct Tags {
    rooms: Vec<RoomId>,
    slot: Option<u64>,
    /// Of this hour and those beside it.
    mine: Vec<RouteTag>,
    /// What neighbours are told.
    told: Vec<RouteTag>,
}

impl Tags {
    pub(super) fn set_rooms(&mut self, rooms: impl IntoIterator<Item = RoomId>) {
        self.rooms = rooms.into_iter().take(MAX_TAGS / 2).collect();
        self.slot = None;
    }

    /// Follows the clock; whether neighbours have to be told something else.
    pub(super) fn update(&mut self, me: &PeerId, unix_ms: u64) -> bool {
        let slot = unix_ms / BORDER_MS;
        if self.slot == Some(slot) {
            return false;
        }
        self.slot = Some(slot);
        let at = |ms| {
            self.rooms
                .iter()
                .map(move |room| RouteTag::new(me, room, ms))
        };
        let (last, next) = (unix_ms.saturating_sub(HOUR_MS), unix_ms + HOUR_MS);
        let mine = at(last).chain(at(unix_ms)).chain(at(next)).collect();
        let (early, late) = (unix_ms.saturating_sub(BORDER_MS), unix_ms + BORDER_MS);
        let mut told: Vec<RouteTag> = at(early).chain(at(unix_ms)).chain(at(late)).collect();
        told.sort_unstable();
        told.dedup();
        let changed = told != self.told;
        (self.mine, self.told) = (mine, told);
        changed
    }

    /// Whether this is one of them. False until the first
    /// [`Tags::update`].
    pub(super) fn mine(&self, tag: &RouteTag) -> bool {
        self.mine.contains(tag)
    }

    pub(super) fn told(&self) -> &[RouteTag] {
        &self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_follow_the_clock() {
        let (me, room) = (PeerId::from_bytes([1; 32]), RoomId::new("m", "r"));
        let mut tags = Tags::default();
        tags.set_rooms([room]);
        let noon = 12 * HOUR_MS + HOUR_MS / 2;
        assert!(tags.update(&me, noon));
        assert!(!tags.update(&me, noon + 60_000));
        assert_eq!(tags.told(), [RouteTag::new(&me, &room, noon)]);
        assert!(tags.mine(&RouteTag::new(&me, &room, noon + HOUR_MS)));
        assert!(!tags.mine(&RouteTag::new(&me, &room, noon + 2 * HOUR_MS)));
        // Shortly before the hour ends, both are told.
        assert!(tags.update(&me, 13 * HOUR_MS - 60_000));
        assert_eq!(tags.told().len(), 2);
        let many = (0..100_u8).map(|n| RoomId::from_bytes([n; 16]));
        tags.set_rooms(many);
        tags.update(&me, 13 * HOUR_MS);
        assert_eq!(tags.told().len(), MAX_TAGS);
    }
}
