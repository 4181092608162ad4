//! What was delivered: ids against second deliveries, bytes for those who ask.
//!
//! Most of what arrives is about the newest messages, so ids are looked for
//! from the newest on, in a row of short prefixes: that beats a tree in memory
//! and time for as many messages as are remembered.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::id::MessageId;
use crate::overlay::ConnId;

/// What is known of a delivered message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    id: MessageId,
    at: u64,
    /// Who brought it; `None` for own ones.
    pub(super) parent: Option<ConnId>,
    pub(super) hops: u8,
}

#[derive(Debug)]
pub(super) struct Cache {
    kept_max: usize,
    remembered_max: usize,
    memory: u64,
    /// Oldest first, as in the next two.
    prefixes: VecDeque<u64>,
    seen: VecDeque<Seen>,
    /// Of the newest only.
    payloads: VecDeque<Bytes>,
}

fn prefix(id: &MessageId) -> u64 {
    let (first, _) = id
        .as_bytes()
        .split_first_chunk::<8>()
        .unwrap_or((&[0; 8], &[]));
    u64::from_le_bytes(*first)
}

impl Cache {
    pub(super) fn new(kept: usize, remembered: usize, memory: Duration) -> Self {
        Cache {
            kept_max: kept,
            remembered_max: remembered.max(kept).max(1),
            memory: u64::try_from(memory.as_millis()).unwrap_or(u64::MAX),
            prefixes: VecDeque::new(),
            seen: VecDeque::new(),
            payloads: VecDeque::new(),
        }
    }

    fn find(&self, id: &MessageId) -> Option<usize> {
        let wanted = prefix(id);
        let same = |index: &usize| self.seen.get(*index).is_some_and(|seen| seen.id == *id);
        let newest_first = self.prefixes.iter().enumerate().rev();
        let mut found = newest_first.filter(|(_, prefix)| **prefix == wanted);
        found.find_map(|(index, _)| Some(index).filter(same))
    }

    pub(super) fn get(&self, id: &MessageId) -> Option<&Seen> {
        self.find(id).and_then(|index| self.seen.get(index))
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
        self.prefixes.push_back(prefix(&id));
        self.seen.push_back(Seen {
            id,
            at: now,
            parent,
            hops,
        });
        self.payloads.push_back(payload);
        if self.payloads.len() > self.kept_max {
            self.payloads.pop_front();
        }
    }

    fn forget(&mut self, now: u64) {
        while let Some(oldest) = self.seen.front() {
            let old = now.saturating_sub(oldest.at) > self.memory;
            if !old && self.seen.len() < self.remembered_max {
                return;
            }
            self.seen.pop_front();
            self.prefixes.pop_front();
            if self.payloads.len() > self.seen.len() {
                self.payloads.pop_front();
            }
        }
    }

    /// Somebody else is the parent now.
    pub(super) fn adopt(&mut self, id: &MessageId, parent: ConnId, hops: u8) {
        if let Some(seen) = self.find(id).and_then(|index| self.seen.get_mut(index)) {
            seen.parent = Some(parent);
            seen.hops = hops;
        }
    }

    /// The bytes, if they are still kept, and the hops they came over.
    pub(super) fn payload(&self, id: &MessageId) -> Option<(Bytes, u8)> {
        let index = self.find(id)?;
        let lost = self.seen.len() - self.payloads.len();
        let payload = self.payloads.get(index.checked_sub(lost)?)?;
        Some((payload.clone(), self.seen.get(index)?.hops))
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.seen.len() <= self.remembered_max
            && self.prefixes.len() == self.seen.len()
            && self.payloads.len() <= self.kept_max.min(self.seen.len())
    }
}
