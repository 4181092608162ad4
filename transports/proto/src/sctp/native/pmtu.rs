//! Packets longer than the base, where the path carries them: path MTU discovery by probes
//! (DPLPMTUD, RFC 8899 §5, §6.2). A probe is a HEARTBEAT padded by a PAD chunk (RFC 4820). Peers
//! should pass over a chunk of a kind that they do not know (RFC 9260 §3.2), and some end at it, so
//! only those are probed that list PAD among their extensions (RFC 5061 §4.2.7). Sockets do not let
//! packets be fragmented, so that a probe that is too long vanishes.
//!
//! No chunk of data is longer than the base holds, since a chunk cannot be cut once it has its TSN:
//! a longer packet carries more of them, and what is sent again always fits.

use std::time::{Duration, Instant};

use super::super::MAX_PACKET;
use super::wire::{self, be32};

/// Times that a size is tried (MAX_PROBES, RFC 8899 §5.1.2).
const ATTEMPTS: u32 = 3;
/// Sizes nearer to each other than this are the same.
const STEP: usize = 16;
/// How long until a larger one is looked for again (PMTU_RAISE_TIMER, RFC 8899 §5.1.1).
const RAISE: Duration = Duration::from_secs(600);
/// How long until it is looked for again after long packets have vanished; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Shortest wait for the answer to a probe.
const PATIENCE: Duration = Duration::from_millis(500);
/// Long packets lost in a row, none arriving between, that make a black hole (RFC 8899 §4.3).
const BLACK_HOLE: u32 = 3;
/// The parameter of a HEARTBEAT (RFC 9260 §3.3.5), and the bytes in ours: number and size.
const HEARTBEAT_INFO: u16 = 1;
const INFO: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Probe {
    number: u32,
    size: usize,
    due: Instant,
}

#[derive(Debug)]
pub(super) struct PathMtu {
    /// Longest packet that arrives.
    size: usize,
    ceiling: usize,
    /// The least size that did not arrive.
    failed: usize,
    attempts: u32,
    probe: Option<Probe>,
    number: u32,
    /// When the next probe leaves; `None` before there was need.
    next_at: Option<Instant>,
    /// Its time has come: it waits to be taken, and for no timer.
    ready: bool,
    pause: Duration,
    lost_in_a_row: u32,
}

impl PathMtu {
    /// Looks for sizes up to `ceiling`.
    pub(super) fn new(ceiling: usize) -> Self {
        let ceiling = ceiling.max(MAX_PACKET);
        Self {
            size: MAX_PACKET,
            ceiling,
            failed: ceiling + 1,
            attempts: 0,
            probe: None,
            number: 0,
            next_at: None,
            ready: false,
            pause: FIRST_PAUSE,
            lost_in_a_row: 0,
        }
    }

    /// Longest packet that may leave.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// There is enough to send that longer packets would help.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.size < self.ceiling {
            self.next_at.get_or_insert(now);
        }
    }

    /// The size to be tried next: the largest first, then halfway between what arrives and what
    /// does not.
    fn candidate(&self) -> Option<usize> {
        if self.size >= self.ceiling {
            return None;
        }
        let size = if self.failed > self.ceiling {
            self.ceiling
        } else {
            self.size.midpoint(self.failed)
        };
        let last = size == self.ceiling;
        let size = size & !3;
        (size > self.size && (last || size >= self.size + STEP)).then_some(size)
    }

    /// The value of a HEARTBEAT that is due as a probe, and the bytes of padding after it.
    /// `timeout` is the retransmission timeout.
    pub(super) fn poll_probe(
        &mut self,
        timeout: Duration,
        now: Instant,
    ) -> Option<(Vec<u8>, usize)> {
        if self.probe.is_some() || self.next_at.is_none_or(|at| at > now) {
            return None;
        }
        self.ready = false;
        let Some(size) = self.candidate() else {
            // The search is over; later it begins anew.
            self.failed = self.ceiling + 1;
            self.next_at = Some(now + RAISE);
            return None;
        };
        self.number = self.number.wrapping_add(1);
        self.probe = Some(Probe {
            number: self.number,
            size,
            due: now + (timeout * 2).max(PATIENCE),
        });
        let mut info = self.number.to_be_bytes().to_vec();
        info.extend(u32::try_from(size).unwrap_or_default().to_be_bytes());
        let mut value = Vec::with_capacity(INFO + wire::CHUNK_HEADER);
        wire::put_parameter(&mut value, HEARTBEAT_INFO, &info);
        let around = wire::HEADER + 2 * wire::CHUNK_HEADER + value.len();
        Some((value, size - around))
    }

    /// The peer answers a HEARTBEAT.
    pub(super) fn on_answer(&mut self, value: &[u8], now: Instant) {
        let info = wire::parameters(value).find(|(kind, _)| *kind == HEARTBEAT_INFO);
        let number = info.and_then(|(_, info)| be32(info, 0));
        let Some(probe) = self.probe.take_if(|probe| Some(probe.number) == number) else {
            return;
        };
        self.size = probe.size;
        self.attempts = 0;
        self.next_at = (self.size < self.ceiling).then_some(now);
    }

    /// A probe that was not answered in time is tried again, then taken for too long.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some(probe) = self.probe.take_if(|probe| probe.due <= now) {
            self.attempts += 1;
            self.next_at = Some(now);
            if self.attempts >= ATTEMPTS {
                self.attempts = 0;
                self.failed = probe.size;
            }
        }
        self.ready = self.probe.is_none() && self.next_at.is_some_and(|at| at <= now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let next = self.next_at.filter(|_| !self.ready);
        self.probe.map(|probe| probe.due).or(next)
    }

    /// So many chunks arrived, or were lost, that made their packets longer than the base. If all
    /// are lost, the path has changed: back to the base (RFC 8899 §4.3).
    pub(super) fn note(&mut self, arrived: u32, lost: u32, now: Instant) {
        if arrived > 0 {
            self.lost_in_a_row = 0;
        }
        self.lost_in_a_row += lost;
        if self.lost_in_a_row >= BLACK_HOLE && self.size > MAX_PACKET {
            *self = Self {
                number: self.number,
                next_at: Some(now + self.pause),
                pause: (self.pause * 2).min(RAISE),
                ..Self::new(self.ceiling)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(
        clippy::disallowed_methods,
        reason = "a test has to begin at some instant"
    )]
    fn begin() -> Instant {
        Instant::now()
    }

    /// Runs the search over a path that carries packets up to `longest`; returns how many probes
    /// it took.
    fn search(mtu: &mut PathMtu, longest: usize, now: &mut Instant) -> usize {
        let mut probes = 0;
        mtu.begin(*now);
        while let Some((value, padding)) = mtu.poll_probe(Duration::from_millis(100), *now) {
            probes += 1;
            let size = wire::HEADER + 2 * wire::CHUNK_HEADER + value.len() + padding;
            assert_eq!(mtu.probe.map(|probe| probe.size), Some(size));
            if size <= longest {
                mtu.on_answer(&value, *now);
            } else {
                *now += PATIENCE;
                mtu.handle_timeout(*now);
            }
        }
        probes
    }

    #[test]
    fn the_largest_is_tried_first_and_then_halves() {
        let mut now = begin();
        let mut mtu = PathMtu::new(1412);
        assert_eq!(search(&mut mtu, 2000, &mut now), 1);
        assert_eq!((mtu.size(), mtu.poll_timeout()), (1412, None));
        for longest in [1191, 1200, 1250, 1300, 1400, 1411] {
            let mut mtu = PathMtu::new(1412);
            let probes = search(&mut mtu, longest, &mut now);
            let size = mtu.size();
            assert!(
                size <= longest && size + 2 * STEP + 4 > longest,
                "{size} of {longest}"
            );
            assert!(probes <= 13, "{probes}");
            assert_eq!(mtu.poll_timeout(), Some(now + RAISE));
        }
    }

    #[test]
    fn every_ceiling_is_reached_and_the_search_ends() {
        let mut now = begin();
        for ceiling in MAX_PACKET..=1412 {
            let mut mtu = PathMtu::new(ceiling);
            let probes = search(&mut mtu, 2000, &mut now);
            assert!(probes <= 2, "{probes} for {ceiling}");
            assert!(mtu.size() + 3 >= ceiling, "{} of {ceiling}", mtu.size());
        }
    }

    #[test]
    fn a_probe_that_waits_to_be_taken_wants_no_timer() {
        let now = begin();
        let mut mtu = PathMtu::new(1412);
        mtu.begin(now);
        assert_eq!(mtu.poll_timeout(), Some(now));
        mtu.handle_timeout(now);
        assert_eq!(mtu.poll_timeout(), None);
        assert!(mtu.poll_probe(PATIENCE, now).is_some());
        let due = mtu.poll_timeout().expect("an answer is waited for");
        mtu.handle_timeout(due);
        assert_eq!(mtu.poll_timeout(), None);
        assert!(mtu.poll_probe(PATIENCE, due).is_some());
    }

    #[test]
    fn nothing_is_probed_without_need_or_when_answers_are_not_ours() {
        let now = begin();
        let mut mtu = PathMtu::new(1412);
        assert_eq!(mtu.poll_probe(PATIENCE, now), None);
        mtu.begin(now);
        assert!(mtu.poll_probe(PATIENCE, now).is_some());
        for answer in [
            &[][..],
            &[0, 1, 0, 12, 0, 0, 0, 9, 0, 0, 0, 0],
            &[0, 1, 0, 4],
        ] {
            mtu.on_answer(answer, now);
        }
        assert_eq!(mtu.size(), MAX_PACKET);
        assert!(mtu.poll_probe(PATIENCE, now).is_none(), "one at a time");
        let mut off = PathMtu::new(MAX_PACKET);
        off.begin(now);
        assert_eq!(off.poll_probe(PATIENCE, now), None);
    }

    #[test]
    fn long_packets_that_vanish_lead_back_to_the_base_and_to_another_search() {
        let mut now = begin();
        let mut mtu = PathMtu::new(1412);
        search(&mut mtu, 2000, &mut now);
        mtu.note(0, 2, now);
        mtu.note(1, 0, now);
        mtu.note(0, 2, now);
        assert_eq!(mtu.size(), 1412, "some arrive");
        mtu.note(0, 1, now);
        assert_eq!(mtu.size(), MAX_PACKET);
        assert_eq!(mtu.poll_timeout(), Some(now + FIRST_PAUSE));
        now += FIRST_PAUSE;
        search(&mut mtu, 1300, &mut now);
        assert!((1280..=1300).contains(&mtu.size()));
    }
}
