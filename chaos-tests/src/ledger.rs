//! The books of a run: what must be delivered to whom, and what was.

use std::collections::BTreeSet;
use std::time::Duration;

/// How many complaints are kept in words; later ones are only counted.
const COMPLAINTS_KEPT: usize = 20;

/// When a message was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Before anybody was killed.
    Formed,
    /// After the mesh healed.
    Healed,
}

/// How a message was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// To everybody in the room.
    Broadcast,
    /// To one peer.
    Direct,
}

#[derive(Debug)]
struct Entry {
    from: usize,
    kind: Kind,
    phase: Phase,
    owed: BTreeSet<usize>,
    paid: BTreeSet<usize>,
}

/// Deliveries of one phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Deliveries owed.
    pub expected: u64,
    /// Deliveries made, each counted once.
    pub delivered: u64,
}

/// Every message of a run, who is owed it and who has it.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: Vec<Entry>,
    formed: Tally,
    healed: Tally,
    /// Broadcasts sent.
    pub broadcasts: u64,
    /// Direct messages sent.
    pub directs: u64,
    /// Deliveries of something that had already been delivered.
    pub duplicates: u64,
    /// The longest way a message took, in links.
    pub hops_max: u32,
    /// Things that went wrong.
    pub errors: u64,
    complaints: Vec<String>,
}

impl Ledger {
    /// Enters a message before it is sent, and numbers it.
    pub fn expect(
        &mut self,
        kind: Kind,
        phase: Phase,
        from: usize,
        to: impl IntoIterator<Item = usize>,
    ) -> u64 {
        let owed: BTreeSet<usize> = to.into_iter().filter(|node| *node != from).collect();
        self.tally_mut(phase).expected += owed.len() as u64;
        match kind {
            Kind::Broadcast => self.broadcasts += 1,
            Kind::Direct => self.directs += 1,
        }
        self.entries.push(Entry {
            from,
            kind,
            phase,
            owed,
            paid: BTreeSet::new(),
        });
        self.entries.len() as u64 - 1
    }

    /// Enters a delivery to node `to` that says it is number `id` of `from`.
    pub fn deliver(&mut self, id: u64, from: usize, to: usize, direct: bool, hops: u32) {
        self.hops_max = self.hops_max.max(hops);
        let entry = usize::try_from(id)
            .ok()
            .and_then(|index| self.entries.get_mut(index))
            .filter(|entry| entry.from == from)
            .filter(|entry| direct == (entry.kind == Kind::Direct));
        let Some(entry) = entry else {
            self.complain(format!(
                "node {to} got a message nobody sent ({id} of {from})"
            ));
            return;
        };
        if entry.owed.remove(&to) {
            entry.paid.insert(to);
            let phase = entry.phase;
            self.tally_mut(phase).delivered += 1;
        } else if entry.paid.contains(&to) {
            self.duplicates += 1;
        } else {
            self.complain(format!("node {to} got message {id}, meant for others"));
        }
    }

    /// Notes that something went wrong.
    pub fn complain(&mut self, complaint: impl Into<String>) {
        self.errors += 1;
        if self.complaints.len() < COMPLAINTS_KEPT {
            self.complaints.push(complaint.into());
        }
    }

    /// What went wrong, in words.
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// Deliveries of one phase.
    pub fn tally(&self, phase: Phase) -> Tally {
        match phase {
            Phase::Formed => self.formed,
            Phase::Healed => self.healed,
        }
    }

    fn tally_mut(&mut self, phase: Phase) -> &mut Tally {
        match phase {
            Phase::Formed => &mut self.formed,
            Phase::Healed => &mut self.healed,
        }
    }

    /// Deliveries of both phases.
    pub fn total(&self) -> Tally {
        Tally {
            expected: self.formed.expected + self.healed.expected,
            delivered: self.formed.delivered + self.healed.delivered,
        }
    }

    /// Whether nothing is owed any more.
    pub fn is_settled(&self) -> bool {
        let total = self.total();
        total.expected == total.delivered
    }

    /// Whether everything arrived exactly once and nothing else went wrong.
    pub fn is_clean(&self) -> bool {
        self.is_settled() && self.duplicates == 0 && self.errors == 0
    }

    /// The first few deliveries still owed, in words.
    pub fn owed(&self, most: usize) -> Vec<String> {
        self.entries
            .iter()
            .enumerate()
            .flat_map(|(id, entry)| entry.owed.iter().map(move |to| (id, entry, to)))
            .take(most)
            .map(|(id, entry, to)| {
                let kind = match entry.kind {
                    Kind::Broadcast => "broadcast",
                    Kind::Direct => "direct message",
                };
                format!("{kind} {id} of node {} never reached node {to}", entry.from)
            })
            .collect()
    }
}

/// The median of some durations.
pub fn median(durations: &mut [Duration]) -> Option<Duration> {
    let middle = durations.len().checked_sub(1)? / 2;
    Some(*durations.select_nth_unstable(middle).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_once_is_clean() {
        let mut ledger = Ledger::default();
        let broadcast = ledger.expect(Kind::Broadcast, Phase::Formed, 0, 0..3);
        let direct = ledger.expect(Kind::Direct, Phase::Healed, 1, [2]);
        assert!(!ledger.is_settled());
        ledger.deliver(broadcast, 0, 1, false, 1);
        ledger.deliver(broadcast, 0, 2, false, 3);
        ledger.deliver(direct, 1, 2, true, 1);
        assert!(ledger.is_clean());
        assert_eq!(ledger.tally(Phase::Formed).expected, 2);
        assert_eq!(ledger.tally(Phase::Healed).delivered, 1);
        assert_eq!(ledger.total().expected, 3);
        assert_eq!((ledger.broadcasts, ledger.directs), (1, 1));
        assert_eq!(ledger.hops_max, 3);
    }

    #[test]
    fn a_second_delivery_is_a_duplicate() {
        let mut ledger = Ledger::default();
        let id = ledger.expect(Kind::Direct, Phase::Formed, 0, [1]);
        ledger.deliver(id, 0, 1, true, 1);
        ledger.deliver(id, 0, 1, true, 1);
        assert_eq!(ledger.duplicates, 1);
        assert_eq!(ledger.tally(Phase::Formed).delivered, 1);
        assert!(ledger.is_settled());
        assert!(!ledger.is_clean());
    }

    #[test]
    fn strays_are_errors_not_deliveries() {
        let mut ledger = Ledger::default();
        let id = ledger.expect(Kind::Direct, Phase::Formed, 0, [1]);
        ledger.deliver(id, 2, 1, true, 1);
        ledger.deliver(id, 0, 3, true, 1);
        ledger.deliver(id, 0, 1, false, 1);
        ledger.deliver(99, 0, 1, true, 1);
        assert_eq!(ledger.errors, 4);
        assert_eq!(ledger.total().delivered, 0);
        assert_eq!(ledger.complaints().len(), 4);
    }

    #[test]
    fn what_is_owed_is_named() {
        let mut ledger = Ledger::default();
        ledger.expect(Kind::Broadcast, Phase::Formed, 4, 0..9);
        assert_eq!(
            ledger.owed(1),
            ["broadcast 0 of node 4 never reached node 0"]
        );
        assert_eq!(ledger.owed(100).len(), 8);
    }

    #[test]
    fn complaints_are_bounded() {
        let mut ledger = Ledger::default();
        for _ in 0..1_000 {
            ledger.complain("no");
        }
        assert_eq!(ledger.errors, 1_000);
        assert_eq!(ledger.complaints().len(), COMPLAINTS_KEPT);
    }

    #[test]
    fn the_median_is_the_lower_middle() {
        let ms = Duration::from_millis;
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [ms(5)]), Some(ms(5)));
        assert_eq!(median(&mut [ms(9), ms(1), ms(5)]), Some(ms(5)));
        assert_eq!(median(&mut [ms(4), ms(1), ms(3), ms(2)]), Some(ms(2)));
    }
}
