//! Stream reset and more streams (RFC 6525), as data channels use them (RFC 8831 §6.7): each side
//! resets what it sends on, and answers the peer's reset with one of its own.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::serial::{ahead, is_after};
use super::wire::{self, be16, be32};

/// Parameters of RE-CONFIG (RFC 6525 §4).
mod parameter {
    pub(super) const OUTGOING_RESET: u16 = 13;
    pub(super) const INCOMING_RESET: u16 = 14;
    pub(super) const TSN_RESET: u16 = 15;
    pub(super) const RESPONSE: u16 = 16;
    pub(super) const ADD_OUTGOING: u16 = 17;
    pub(super) const ADD_INCOMING: u16 = 18;
}

/// Results of a request (RFC 6525 §4.4).
mod result {
    pub(super) const PERFORMED: u32 = 1;
    pub(super) const DENIED: u32 = 2;
    pub(super) const ALREADY_IN_PROGRESS: u32 = 4;
    pub(super) const IN_PROGRESS: u32 = 6;
}

/// Streams named in one request of ours: what fits into a packet.
const MAX_STREAMS: usize = 512;

/// Resets of the peer's that wait for data. Filled by the peer; more are not answered until there
/// are fewer, and it asks again.
const MAX_WAITING: usize = 256;

/// Requests of the peer's that were answered, with the answers, for when it asks again.
const MAX_ANSWERED: usize = 1024;

/// How far from the last one the number of a request may be: what lies within is remembered.
const MAX_DISTANCE: u32 = 512;

/// Some peers reset a stream once more in answer to ours, when it is settled already. A reset that
/// comes so soon after another, with nothing sent between them, is taken for that.
const ONCE_MORE: Duration = Duration::from_secs(2);

/// Answers that wait to be sent. Filled by the peer; beyond it, it has to ask again.
const MAX_ANSWERS: usize = 64;

/// Our direction of a stream that is being reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Outgoing {
    #[default]
    Open,
    /// As soon as all was sent.
    Wanted,
    /// The peer was asked.
    Asked,
    Done,
}

#[derive(Clone, Copy, Debug, Default)]
struct Side {
    outgoing: Outgoing,
    /// The peer has reset its direction.
    incoming: bool,
}

/// A request of the peer's that waits for data up to a TSN.
#[derive(Clone, Debug)]
struct Waiting {
    number: u32,
    last_tsn: u32,
    streams: Vec<u16>,
}

/// A request of ours without an answer.
#[derive(Clone, Debug)]
struct Request {
    number: u32,
    streams: Vec<u16>,
    value: Vec<u8>,
    sent_at: Option<Instant>,
    attempts: u32,
}

/// What a RE-CONFIG of the peer's asks the association to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The peer has reset its direction of the stream.
    Restart(u16),
    /// Both directions are reset.
    Renew(u16),
    /// It wants to send on so many more streams; the answer goes to [`Reconfig::answer`].
    More { number: u32, count: u16 },
}

#[derive(Debug)]
pub(super) struct Reconfig {
    /// Streams of the association; what is said of others is ignored.
    streams: u16,
    sides: BTreeMap<u16, Side>,
    next_number: u32,
    request: Option<Request>,
    /// The highest number of the peer's that was answered.
    last_answered: u32,
    waiting: Vec<Waiting>,
    /// The last TSN before the peer's last reset of each stream, and when that was.
    performed: BTreeMap<u16, (u32, Instant)>,
    answered: VecDeque<(u32, u32)>,
    answers: VecDeque<(u32, u32)>,
}

impl Reconfig {
    /// `first` is our first TSN, and `peer` the peer's, where the numbers begin (RFC 6525 §4.1).
    pub(super) fn new(first: u32, peer: u32, streams: u16) -> Self {
        Self {
            streams,
            sides: BTreeMap::new(),
            next_number: first,
            request: None,
            last_answered: peer.wrapping_sub(1),
            waiting: Vec::new(),
            performed: BTreeMap::new(),
            answered: VecDeque::new(),
            answers: VecDeque::new(),
        }
    }

    /// Resets our direction of a stream, as soon as all was sent on it.
    pub(super) fn reset(&mut self, stream: u16) {
        let side = self.sides.entry(stream).or_default();
        if side.outgoing == Outgoing::Open {
            side.outgoing = Outgoing::Wanted;
        }
    }

    /// Whether nothing may be written to the stream.
    pub(super) fn is_closing(&self, stream: u16) -> bool {
        self.sides
            .get(&stream)
            .is_some_and(|side| side.outgoing != Outgoing::Open || side.incoming)
    }

    /// Whether the peer has reset its direction and ours is open: it is to be reset when all is read.
    pub(super) fn owes_reset(&self, stream: u16) -> bool {
        self.sides
            .get(&stream)
            .is_some_and(|side| side.outgoing == Outgoing::Open && side.incoming)
    }

    /// Whether a reset of ours waits for its answer or to be asked for.
    pub(super) fn is_open(&self) -> bool {
        let open = |side: &Side| matches!(side.outgoing, Outgoing::Wanted | Outgoing::Asked);
        self.request.is_some() || self.sides.values().any(open)
    }

    /// Takes the value of a RE-CONFIG chunk. `cumulative` is what has arrived.
    pub(super) fn handle(&mut self, value: &[u8], cumulative: u32, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (kind, value) in wire::parameters(value) {
            let Some(number) = be32(value, 0) else {
                continue;
            };
            match kind {
                parameter::RESPONSE => self.take_response(number, be32(value, 4), &mut effects),
                parameter::OUTGOING_RESET => {
                    self.take_reset(number, value, (cumulative, now), &mut effects);
                }
                parameter::INCOMING_RESET => self.take_reset_of_ours(number, value),
                parameter::TSN_RESET | parameter::ADD_INCOMING => self.deny(number),
                parameter::ADD_OUTGOING => {
                    if let Some(count) = be16(value, 4).filter(|_| self.is_new(number)) {
                        effects.push(Effect::More { number, count });
                    }
                }
                _ => {}
            }
        }
        effects
    }

    /// Whether a request was not answered before; if it was, the answer is repeated.
    fn is_new(&mut self, number: u32) -> bool {
        let known = self.answered.iter().find(|(known, _)| *known == number);
        if let Some((_, result)) = known.copied() {
            self.queue_answer(number, result);
            return false;
        }
        let distance =
            ahead(self.last_answered, number).or_else(|| ahead(number, self.last_answered));
        distance.is_some_and(|n| n <= MAX_DISTANCE)
    }

    fn queue_answer(&mut self, number: u32, result: u32) {
        if self.answers.len() < MAX_ANSWERS {
            self.answers.push_back((number, result));
        }
    }

    fn answer(&mut self, number: u32, result: u32) {
        self.queue_answer(number, result);
        if is_after(number, self.last_answered) {
            self.last_answered = number;
        }
        self.answered.push_back((number, result));
        if self.answered.len() > MAX_ANSWERED {
            self.answered.pop_front();
        }
    }

    fn deny(&mut self, number: u32) {
        if self.is_new(number) {
            self.answer(number, result::DENIED);
        }
    }

    /// Answers [`Effect::More`].
    pub(super) fn answer_more(&mut self, number: u32, granted: bool) {
        let result = if granted {
            result::PERFORMED
        } else {
            result::DENIED
        };
        self.answer(number, result);
    }

    fn take_reset(
        &mut self,
        number: u32,
        value: &[u8],
        (cumulative, now): (u32, Instant),
        effects: &mut Vec<Effect>,
    ) {
        let Some(last_tsn) = be32(value, 8) else {
            return;
        };
        let known = self.waiting.iter().any(|waiting| waiting.number == number);
        if !self.is_new(number) || known || self.waiting.len() >= MAX_WAITING {
            return;
        }
        let streams = self.streams(value.get(12..).unwrap_or_default());
        if streams.is_empty() {
            return self.answer(number, result::DENIED); // all of them: no peer of ours asks for it
        }
        self.waiting.push(Waiting {
            number,
            last_tsn,
            streams,
        });
        self.arrived(cumulative, now, effects);
    }

    /// Performs the resets of the peer's whose data has arrived (RFC 6525 §5.2.2).
    pub(super) fn arrived(&mut self, cumulative: u32, now: Instant, effects: &mut Vec<Effect>) {
        let (ready, waiting): (Vec<Waiting>, Vec<Waiting>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|waiting| !is_after(waiting.last_tsn, cumulative));
        self.waiting = waiting;
        for reset in ready {
            for stream in reset.streams {
                if !self.is_once_more(stream, reset.last_tsn, now) {
                    self.performed.insert(stream, (reset.last_tsn, now));
                    self.restart(stream, effects);
                }
            }
            self.answer(reset.number, result::PERFORMED);
        }
    }

    fn is_once_more(&self, stream: u16, last_tsn: u32, now: Instant) -> bool {
        let recent = |(known, at): &(u32, Instant)| {
            *known == last_tsn && now.saturating_duration_since(*at) < ONCE_MORE
        };
        !self.sides.contains_key(&stream) && self.performed.get(&stream).is_some_and(recent)
    }

    /// Whether [`Reconfig::arrived`] would do anything at all.
    pub(super) fn waits_for_data(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn restart(&mut self, stream: u16, effects: &mut Vec<Effect>) {
        let side = self.sides.entry(stream).or_default();
        if !std::mem::replace(&mut side.incoming, true) {
            effects.push(Effect::Restart(stream));
            self.settle(stream, effects);
        }
    }

    fn settle(&mut self, stream: u16, effects: &mut Vec<Effect>) {
        let done = self
            .sides
            .get(&stream)
            .is_some_and(|side| side.incoming && side.outgoing == Outgoing::Done);
        if done {
            self.sides.remove(&stream);
            effects.push(Effect::Renew(stream));
        }
    }

    /// The peer wants us to reset our direction (RFC 6525 §5.2.3).
    fn take_reset_of_ours(&mut self, number: u32, value: &[u8]) {
        if !self.is_new(number) {
            return;
        }
        for stream in self.streams(value.get(4..).unwrap_or_default()) {
            self.reset(stream);
        }
        self.answer(number, result::PERFORMED);
    }

    fn take_response(&mut self, number: u32, result: Option<u32>, effects: &mut Vec<Effect>) {
        let ours = self.request.take_if(|request| request.number == number);
        let Some(mut request) = ours else {
            return;
        };
        if matches!(
            result,
            None | Some(result::IN_PROGRESS | result::ALREADY_IN_PROGRESS)
        ) {
            request.attempts = 0; // it is alive, and to be asked again
            self.request = Some(request);
            return;
        }
        // A peer that refuses has no better idea either: the stream is taken for reset.
        for stream in request.streams {
            if let Some(side) = self.sides.get_mut(&stream) {
                side.outgoing = Outgoing::Done;
            }
            self.settle(stream, effects);
        }
    }

    /// The value of the next RE-CONFIG chunk to leave. `ready` tells whether all was sent on a
    /// stream, `last_tsn` what the last of it was.
    pub(super) fn poll_transmit(
        &mut self,
        ready: impl Fn(u16) -> bool,
        last_tsn: u32,
        now: Instant,
    ) -> Option<Vec<u8>> {
        if let Some((number, result)) = self.answers.pop_front() {
            let mut value = number.to_be_bytes().to_vec();
            value.extend(result.to_be_bytes());
            let mut out = Vec::with_capacity(12);
            wire::put_parameter(&mut out, parameter::RESPONSE, &value);
            return Some(out);
        }
        if self.request.is_none() {
            self.request = self.next_request(ready, last_tsn);
        }
        let request = self.request.as_mut()?;
        if request.sent_at.is_some() {
            return None;
        }
        request.sent_at = Some(now);
        request.attempts = request.attempts.saturating_add(1);
        Some(request.value.clone())
    }

    fn next_request(&mut self, ready: impl Fn(u16) -> bool, last_tsn: u32) -> Option<Request> {
        let wanted = self
            .sides
            .iter_mut()
            .filter(|(stream, side)| side.outgoing == Outgoing::Wanted && ready(**stream));
        let mut streams = Vec::new();
        for (stream, side) in wanted.take(MAX_STREAMS) {
            side.outgoing = Outgoing::Asked;
            streams.push(*stream);
        }
        if streams.is_empty() {
            return None;
        }
        let number = self.next_number;
        self.next_number = number.wrapping_add(1);
        let mut value = number.to_be_bytes().to_vec();
        value.extend(self.last_answered.to_be_bytes());
        value.extend(last_tsn.to_be_bytes());
        value.extend(streams.iter().flat_map(|stream| stream.to_be_bytes()));
        let mut out = Vec::with_capacity(value.len() + 8);
        wire::put_parameter(&mut out, parameter::OUTGOING_RESET, &value);
        Some(Request {
            number,
            streams,
            value: out,
            sent_at: None,
            attempts: 0,
        })
    }

    fn streams(&self, list: &[u8]) -> Vec<u16> {
        let numbers = list.chunks_exact(2).filter_map(|at| be16(at, 0));
        numbers.filter(|stream| *stream < self.streams).collect()
    }

    /// When the request of ours is to be repeated, `timeout` being the retransmission timeout.
    pub(super) fn poll_timeout(&self, timeout: Duration, most: Duration) -> Option<Instant> {
        let request = self.request.as_ref()?;
        let attempts = request.attempts.clamp(1, 8) - 1;
        Some(request.sent_at? + (timeout * (1 << attempts)).min(most))
    }

    /// Repeats the request of ours if it is due.
    pub(super) fn handle_timeout(&mut self, timeout: Duration, most: Duration, now: Instant) {
        let due = self.poll_timeout(timeout, most).is_some_and(|at| at <= now);
        if let Some(request) = self.request.as_mut().filter(|_| due) {
            request.sent_at = None;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::disallowed_methods,
        reason = "a test has to begin at some instant"
    )]

    use super::*;

    fn ends() -> [Reconfig; 2] {
        [Reconfig::new(10, 90, 8), Reconfig::new(90, 10, 8)]
    }

    fn transmit(end: &mut Reconfig, now: Instant) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| end.poll_transmit(|_| true, 50, now)).collect()
    }

    #[test]
    fn both_directions_and_then_the_stream_is_free() {
        let now = Instant::now();
        let [mut a, mut b] = ends();
        a.reset(4);
        assert!(a.is_open() && a.is_closing(4));
        let asked = transmit(&mut a, now);
        assert_eq!(b.handle(&asked[0], 49, now), [], "data is missing");
        let mut effects = Vec::new();
        b.arrived(50, now, &mut effects);
        assert_eq!(effects, [Effect::Restart(4)]);
        assert!(b.owes_reset(4));
        b.reset(4);
        let answers = transmit(&mut b, now);
        assert_eq!(answers.len(), 2, "an answer and a request");
        assert_eq!(a.handle(&answers[0], 50, now), []);
        let effects = a.handle(&answers[1], 50, now);
        assert_eq!(effects, [Effect::Restart(4), Effect::Renew(4)]);
        assert!(!a.is_open() && !a.is_closing(4));
        for answer in transmit(&mut a, now) {
            assert_eq!(b.handle(&answer, 50, now), [Effect::Renew(4)]);
        }
        assert!(!b.is_open());
        // A repetition is answered, and resets nothing.
        assert_eq!(b.handle(&asked[0], 50, now), []);
        assert_eq!(transmit(&mut b, now), [answers[0].clone()]);
    }

    #[test]
    fn a_request_is_repeated_until_it_is_answered() {
        let now = Instant::now();
        let [mut a, _] = ends();
        let (timeout, most) = (Duration::from_millis(100), Duration::from_secs(1));
        a.reset(1);
        let first = transmit(&mut a, now);
        let due = a.poll_timeout(timeout, most).expect("a timer");
        assert_eq!(due, now + timeout);
        a.handle_timeout(timeout, most, now);
        assert_eq!(transmit(&mut a, now).len(), 0);
        a.handle_timeout(timeout, most, due);
        assert_eq!(transmit(&mut a, due), first);
        assert_eq!(a.poll_timeout(timeout, most), Some(due + timeout * 2));
    }

    #[test]
    fn resets_that_wait_are_bounded() {
        let now = Instant::now();
        let [mut a, _] = ends();
        for n in 0..2 * MAX_DISTANCE {
            let mut value = (90 + n).to_be_bytes().to_vec();
            value.extend([0; 4]);
            value.extend(1000_u32.to_be_bytes());
            value.extend([0, 1]);
            let mut chunk = Vec::new();
            wire::put_parameter(&mut chunk, parameter::OUTGOING_RESET, &value);
            assert_eq!(a.handle(&chunk, 0, now), []);
        }
        assert_eq!(a.waiting.len(), MAX_WAITING);
    }
}
