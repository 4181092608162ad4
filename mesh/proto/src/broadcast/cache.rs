//! What was delivered: ids against second deliveries, bytes for those who ask.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::id::MessageId;
use crate::overlay::ConnId;

/// What is known of a delivered message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) hops: u8,
    /// Who brought it; `None` for own ones.
    pub(super) parent: Option<ConnId>,
}

#[derive(Debug)]
struct Kept {
    id: MessageId,
    payload: Bytes,
    at: u64,
}

#[derive(Debug)]
pub(super) struct Cache {
    kept_max: usize,
    remembered_max: usize,
    memory: u64,
    seen: BTreeMap<MessageId, Seen>,
    /// Oldest first. The first `order.len() - kept_max` have lost their bytes.
    order: VecDeque<Kept>,
}

impl Cache {
    pub(super) fn new(kept: usize, remembered: usize, memory: Duration) -> Self {
        Cache {
            kept_max: kept,
            remembered_max: remembered.max(kept).max(1),
            memory: u64::try_from(memory.as_millis()).unwrap_or(u64::MAX),
            seen: BTreeMap::new(),
            order: VecDeque::new(),
        }
    }

    pub(super) fn get(&self, id: &MessageId) -> Option<&Seen> {
        self.seen.get(id)
    }

    pub(super) fn insert(
        &mut self,
        id: MessageId,
        payload: Bytes,
        hops: u8,
        parent: Option<ConnId>,
        now: u64,
    ) {
        self.forget(now);
        self.seen.insert(id, Seen { hops, parent });
        self.order.push_back(Kept {
            id,
            payload,
            at: now,
        });
        let bare = self.order.len().checked_sub(self.kept_max + 1);
        if let Some(kept) = bare.and_then(|index| self.order.get_mut(index)) {
            kept.payload = Bytes::new();
        }
    }

    fn forget(&mut self, now: u64) {
        while let Some(oldest) = self.order.front() {
            let old = now.saturating_sub(oldest.at) > self.memory;
            if !old && self.order.len() < self.remembered_max {
                return;
            }
            self.seen.remove(&oldest.id);
            self.order.pop_front();
        }
    }

    /// Somebody else is the parent now.
    pub(super) fn adopt(&mut self, id: &MessageId, parent: ConnId, hops: u8) {
        if let Some(seen) = self.seen.get_mut(id) {
            seen.parent = Some(parent);
            seen.hops = hops;
        }
    }

    /// The bytes, if they are still kept, and the hops they came over.
    pub(super) fn payload(&self, id: &MessageId) -> Option<(Bytes, u8)> {
        let seen = self.seen.get(id)?;
        let recent = self.order.iter().rev().take(self.kept_max);
        let kept = recent.into_iter().find(|kept| kept.id == *id)?;
        Some((kept.payload.clone(), seen.hops))
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.order.len() <= self.remembered_max && self.seen.len() == self.order.len()
    }
}
