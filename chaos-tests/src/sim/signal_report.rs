//! What came of sessions.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

use super::goals::{AGE, ratio};
use super::schedule::Act;
use super::signal::{Session, Signal};
use super::tally::Counters;
use super::trace::seconds;
use super::world::World;
use crate::scenario::Sometimes;

/// Sessions and envelopes of a whole run.
#[derive(Debug, Clone, Serialize)]
pub struct SignalReport {
    /// Sessions begun.
    pub sessions: usize,
    /// Of these, those whose parties were honest, had lived for five seconds,
    /// live still and were on one side.
    pub owed: usize,
    /// Of these, those of which every letter was opened.
    pub done: usize,
    /// Seconds from the offer's sending to its opening: half of them within,
    /// and 99 of 100.
    pub offer: [f64; 2],
    /// The same for all letters of a session.
    pub whole: [f64; 2],
    /// Links that an envelope travelled over, on average.
    pub hops: f64,
    /// Bytes of one session in the whole network.
    pub bytes_per_session: f64,
    /// Bytes a second that a node sends to tell who is around.
    pub digest_bytes_per_node_second: f64,
    /// Envelopes delivered by each strategy: direct, trail, greedy, relay,
    /// mailbox, flood.
    pub by_strategy: [u64; 6],
    /// Envelopes that nobody took.
    pub nacked: u64,
    /// Envelopes whose time ran out.
    pub expired: u64,
}

impl fmt::Display for SignalReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SignalReport {
            sessions,
            owed,
            done,
            offer: [p50, p99],
            whole: [whole_p50, whole_p99],
            hops,
            bytes_per_session: bytes,
            digest_bytes_per_node_second: digests,
            by_strategy: by,
            nacked,
            expired,
        } = self;
        writeln!(
            f,
            "{sessions} sessions, {done} of {owed} owed done; {bytes:.0} bytes each, {hops:.2} links; {digests:.0} B/s of digests a node"
        )?;
        write!(
            f,
            "  offers {p50:.2} s, p99 {p99:.2} s; sessions {whole_p50:.2} s, p99 {whole_p99:.2} s; by strategy {by:?}, {nacked} nacked, {expired} expired"
        )
    }
}

impl Signal {
    /// What the engine has done at least once.
    pub(super) fn deeds(&self) -> [(bool, Sometimes); 5] {
        let stats = self.hop.stats();
        let [_, _, greedy, _, _, flood] = stats.attempts;
        [
            (stats.blind > 0, Sometimes::Wander),
            (stats.loops > 0, Sometimes::Circle),
            (greedy > 0, Sometimes::SecondTry),
            (stats.kept > 0, Sometimes::Mail),
            (flood > 0, Sometimes::Flood),
        ]
    }
}

impl World {
    fn is_owed(&self, session: &Session) -> bool {
        let party = |(index, life): (u32, u32)| {
            let slot = usize::try_from(index).ok().and_then(|n| self.slots.get(n));
            slot.is_some_and(|slot| {
                let old = |node: &super::node::Node| node.started + AGE <= session.at;
                slot.act == Act::Honest && slot.life == life && slot.node.as_ref().is_some_and(old)
            })
        };
        !session.cut && session.parties.into_iter().all(party)
    }

    fn sessions(&self, begun: Range<u64>) -> impl Iterator<Item = &Session> {
        let all = self.signaling.iter().flat_map(|s| &s.sessions);
        all.filter(move |session| begun.contains(&session.at))
    }

    pub(super) fn sessions_begun(&self, begun: Range<u64>) -> u64 {
        self.sessions(begun).count() as u64
    }

    /// The part of the sessions owed that were done in time.
    pub(super) fn sessions_done(&self, begun: Range<u64>, within: u64) -> Option<f64> {
        let (mut owed, mut done) = (0, 0);
        for session in self.sessions(begun).filter(|s| self.is_owed(s)) {
            owed += 1;
            done += u64::from(session.done.is_some_and(|at| at <= session.at + within));
        }
        (owed > 0).then(|| ratio(done, owed))
    }

    /// How long offers took, in order.
    pub(super) fn offer_times(&self, begun: Range<u64>) -> Vec<u64> {
        let times = self.sessions(begun).filter_map(|s| Some(s.offered? - s.at));
        let mut times: Vec<u64> = times.collect();
        times.sort_unstable();
        times
    }

    pub(super) fn signal_report(&self, counters: &Counters) -> Option<SignalReport> {
        let signaling = self.signaling.as_ref()?;
        let sessions = signaling.sessions.len();
        let owed: Vec<&Session> = self
            .sessions(0..u64::MAX)
            .filter(|s| self.is_owed(s))
            .collect();
        let mut whole: Vec<u64> = owed.iter().filter_map(|s| Some(s.done? - s.at)).collect();
        whole.sort_unstable();
        let parts = |times: &[u64]| {
            let at = |hundredth| times.get(times.len() * hundredth / 100);
            [50, 99].map(|hundredth| at(hundredth).copied().map_or(0.0, seconds))
        };
        Some(SignalReport {
            sessions,
            owed: owed.len(),
            done: whole.len(),
            offer: parts(&self.offer_times(0..u64::MAX)),
            whole: parts(&whole),
            hops: ratio(signaling.hops, signaling.arrived.max(1)),
            bytes_per_session: ratio(counters.signal, sessions.max(1) as u64),
            digest_bytes_per_node_second: ratio(counters.digests, counters.lived.max(1)) * 1_000.0,
            by_strategy: signaling.by_strategy,
            nacked: signaling.nacked,
            expired: signaling.expired,
        })
    }
}
