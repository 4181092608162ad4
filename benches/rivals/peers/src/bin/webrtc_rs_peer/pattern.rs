//! Numbered messages, and the counters of those that arrive.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};

/// Messages above this size are checked by sequence number and last byte only.
const FULL_CHECK_BYTES: usize = 4096;

/// Message number `q`.
pub(crate) fn pattern(q: u32, size: usize) -> Bytes {
    let mut bytes = vec![0; size];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = pattern_byte(q, i);
    }
    bytes[..4].copy_from_slice(&q.to_be_bytes());
    bytes.into()
}

fn pattern_byte(q: u32, i: usize) -> u8 {
    (q.wrapping_mul(31)).wrapping_add((i as u32).wrapping_mul(7)) as u8
}

/// What arrived on a sink.
pub(crate) struct Counters {
    pub(crate) msgs: u64,
    bytes: u64,
    in_order: bool,
    dup: u64,
    corrupt: u64,
    min: Option<u32>,
    max: Option<u32>,
    last: i64,
    seen: BTreeSet<u32>,
    span: Option<(Instant, Instant)>,
    gap: Duration,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            msgs: 0,
            bytes: 0,
            in_order: true,
            dup: 0,
            corrupt: 0,
            min: None,
            max: None,
            last: -1,
            seen: BTreeSet::new(),
            span: None,
            gap: Duration::ZERO,
        }
    }

    pub(crate) fn count(&mut self, data: &[u8]) {
        let now = Instant::now();
        if let Some((_, last)) = self.span {
            self.gap = self.gap.max(now - last);
        }
        self.span = Some((self.span.map_or(now, |(first, _)| first), now));
        self.msgs += 1;
        let Some(head) = data.first_chunk::<4>() else {
            self.corrupt += 1;
            return;
        };
        let q = u32::from_be_bytes(*head);
        self.bytes += data.len() as u64;
        // In order means unseen: only the rest is looked up.
        let next = i64::from(q) == self.last + 1;
        if !next {
            self.in_order = false;
        }
        if !self.seen.insert(q) {
            self.dup += 1;
        }
        self.last = i64::from(q);
        self.min = Some(self.min.map_or(q, |min| min.min(q)));
        self.max = Some(self.max.map_or(q, |max| max.max(q)));
        let from = if data.len() > FULL_CHECK_BYTES {
            data.len() - 1
        } else {
            4
        };
        if (from..data.len()).any(|i| data[i] != pattern_byte(q, i)) {
            self.corrupt += 1;
        }
    }

    pub(crate) fn report(&self) -> Value {
        json!({
            "msgs": self.msgs,
            "bytes": self.bytes,
            "inOrder": self.in_order,
            "dup": self.dup,
            "corrupt": self.corrupt,
            "min": self.min,
            "max": self.max,
            "last": self.last,
            "ms": self.span.map_or(0, |(first, last)| (last - first).as_millis() as u64),
            "gapMs": self.gap.as_secs_f64() * 1e3,
        })
    }
}
