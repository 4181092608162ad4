//! The counters of a `sink:` channel.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::pattern::Checker;

/// Sequence numbers beyond this are counted as corrupt: it bounds the memory
/// (8 MiB) a remote can make a sink use, and lies above what any check sends.
const MAX_TRACKED: u32 = 1 << 26;

/// What arrived on one `sink:` channel.
pub(crate) struct Sink {
    checker: Checker,
    seen: Vec<u64>,
    msgs: u64,
    bytes: u64,
    in_order: bool,
    dup: u64,
    corrupt: u64,
    min: Option<u32>,
    max: Option<u32>,
    last: Option<u32>,
    first_at: Option<Instant>,
    last_at: Option<Instant>,
    gap: Duration,
}

impl Sink {
    /// A sink that has seen nothing.
    pub(crate) fn new() -> Self {
        Self {
            checker: Checker::new(),
            seen: Vec::new(),
            msgs: 0,
            bytes: 0,
            in_order: true,
            dup: 0,
            corrupt: 0,
            min: None,
            max: None,
            last: None,
            first_at: None,
            last_at: None,
            gap: Duration::ZERO,
        }
    }

    /// Counts one message.
    pub(crate) fn count(&mut self, message: &[u8], now: Instant) {
        self.msgs += 1;
        self.bytes += message.len() as u64;
        self.first_at.get_or_insert(now);
        let last = self.last_at.replace(now).unwrap_or(now);
        self.gap = self.gap.max(now.duration_since(last));
        match self.checker.check(message).filter(|q| *q < MAX_TRACKED) {
            Some(q) => self.note(q),
            None => self.corrupt += 1,
        }
    }

    fn note(&mut self, q: u32) {
        if !self.mark(q) {
            self.dup += 1;
        }
        self.in_order &= q == self.last.map_or(0, |last| last + 1);
        self.last = Some(q);
        self.min = Some(self.min.map_or(q, |min| min.min(q)));
        self.max = Some(self.max.map_or(q, |max| max.max(q)));
    }

    /// Marks a number as seen; false when it already was.
    fn mark(&mut self, q: u32) -> bool {
        let (word, bit) = ((q / 64) as usize, 1u64 << (q % 64));
        if word >= self.seen.len() {
            self.seen.resize(word + 1, 0);
        }
        let fresh = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        fresh
    }

    /// How long it took from the first message to the last.
    pub(crate) fn elapsed(&self) -> Duration {
        match (self.first_at, self.last_at) {
            (Some(first), Some(last)) => last.duration_since(first),
            _ => Duration::ZERO,
        }
    }

    /// The longest time between two messages.
    pub(crate) fn gap(&self) -> Duration {
        self.gap
    }

    /// Messages counted.
    pub(crate) fn msgs(&self) -> u64 {
        self.msgs
    }

    /// Messages that were wrong: corrupt, repeated, or the whole run when it
    /// came out of order.
    pub(crate) fn bad(&self) -> u64 {
        self.corrupt + self.dup + u64::from(!self.in_order)
    }

    /// The counters as the peer protocol reports them, and the longest gap.
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
            "ms": self.elapsed().as_millis() as u64,
            "gapMs": self.gap.as_millis() as u64,
        })
    }
}

/// A report as read from the other side, whichever implementation wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// Messages counted, corrupt ones and duplicates included.
    pub(crate) msgs: u64,
    /// Bytes counted.
    pub(crate) bytes: u64,
    /// Whether every number was its predecessor plus one.
    pub(crate) in_order: bool,
    /// Messages whose number had been seen before.
    pub(crate) dup: u64,
    /// Messages that did not match the pattern.
    pub(crate) corrupt: u64,
}

impl Report {
    /// Reads a report. `inOrder` may be a flag or a count of messages that
    /// followed their predecessor.
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let number = |key: &str| value.get(key).and_then(Value::as_u64);
        let msgs = number("msgs")?;
        let in_order = match value.get("inOrder")? {
            Value::Bool(flag) => *flag,
            Value::Number(count) => count.as_u64()? + 1 >= msgs,
            Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => return None,
        };
        Some(Self {
            msgs,
            bytes: number("bytes")?,
            in_order,
            dup: number("dup")?,
            corrupt: number("corrupt")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::pattern::Generator;
    use super::*;

    fn messages(count: usize) -> Vec<bytes::Bytes> {
        let mut generator = Generator::new(100);
        (0..count).map(|_| generator.next_message()).collect()
    }

    fn fed<'a>(messages: impl IntoIterator<Item = &'a bytes::Bytes>) -> Value {
        let mut sink = Sink::new();
        let now = Instant::now();
        for message in messages {
            sink.count(message, now);
        }
        sink.report()
    }

    #[test]
    fn an_ordered_run_is_in_order() {
        let report = fed(&messages(10));
        assert_eq!(report["msgs"], 10);
        assert_eq!(report["bytes"], 1_000);
        assert_eq!(report["inOrder"], true);
        assert_eq!(report["dup"], 0);
        assert_eq!(report["corrupt"], 0);
        assert_eq!(report["min"], 0);
        assert_eq!(report["max"], 9);
        assert_eq!(report["last"], 9);
    }

    #[test]
    fn a_gap_a_swap_and_a_late_start_are_out_of_order() {
        let all = messages(5);
        for order in [&[0usize, 2][..], &[1, 0], &[1, 2, 3]] {
            let report = fed(order.iter().map(|i| &all[*i]));
            assert_eq!(report["inOrder"], false, "{order:?}");
            assert_eq!(report["dup"], 0);
        }
    }

    #[test]
    fn duplicates_and_corruption_are_counted_apart() {
        let all = messages(3);
        let mut bad = all[2].to_vec();
        bad[50] ^= 1;
        let bad = bytes::Bytes::from(bad);
        let report = fed([&all[0], &all[1], &all[1], &bad]);
        assert_eq!(report["msgs"], 4);
        assert_eq!(report["dup"], 1);
        assert_eq!(report["corrupt"], 1);
        assert_eq!(report["max"], 1);
    }

    #[test]
    fn an_empty_sink_reports_nothing_wrong() {
        let report = fed(&[]);
        assert_eq!(report["inOrder"], true);
        assert_eq!(report["last"], Value::Null);
        let read = Report::read(&report).expect("own report reads");
        assert_eq!(read.msgs, 0);
    }

    #[test]
    fn a_hostile_number_costs_no_memory() {
        let mut sink = Sink::new();
        sink.count(&[0xff, 0xff, 0xff, 0xff], Instant::now());
        assert_eq!(sink.report()["corrupt"], 1);
        assert!(sink.seen.is_empty());
    }

    #[test]
    fn reports_of_others_may_count_in_order_messages() {
        let value = json!({"msgs": 10, "bytes": 40, "inOrder": 10, "dup": 0, "corrupt": 0});
        assert!(Report::read(&value).expect("reads").in_order);
        let value = json!({"msgs": 10, "bytes": 40, "inOrder": 7, "dup": 0, "corrupt": 0});
        assert!(!Report::read(&value).expect("reads").in_order);
        assert_eq!(Report::read(&json!({"msgs": 1})), None);
    }
}
