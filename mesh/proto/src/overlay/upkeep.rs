//! What is done for ever, slowly: swapping contacts, mixing, drawing nearer,
//! looking after remembered peers.

use std::time::Duration;

use rand::seq::IteratorRandom as _;
use rand::{Rng, RngExt};

use super::config::Config;
use super::dialling::Purpose;
use super::io::Output;
use super::message::{Message, Named};
use super::peer::Peer;
use super::{Overlay, Turn};

/// How much faster a peer mixes and shuffles right after its start.
const HASTE: u32 = 8;
/// The same for shuffles.
const SHUFFLE_HASTE: u32 = 2;
/// Whoever finds nobody nearer looks this many times less often in the end.
const CONTENT: u32 = 16;
/// Candidates weighed against the farthest link.
const CANDIDATES: usize = 4;
/// With fewer contacts than this a new link is asked for some at once.
const FEW: usize = 8;
/// A neighbour's shuffles are answered this often at most, in milliseconds.
const ANSWER_EVERY: u64 = 200;

/// When what is due, in milliseconds.
#[derive(Debug)]
pub(super) struct Schedule {
    shuffle: u64,
    mix: u64,
    bias: u64,
    probe: u64,
    /// Not before this is anybody dialled for want of links, and the pause
    /// that grows while nobody is left to ask.
    pub(super) refill: u64,
    pub(super) pause: u64,
    /// Not before this is one more dialled that others may bring.
    pub(super) slow: u64,
    /// Not before this is a link given away to somebody in need.
    pub(super) evict: u64,
    /// How much slower nearer links are looked for, since none were found.
    content: u32,
    /// When lateness is forgiven a step.
    pub(super) forgive: u64,
    /// Not before this is a shuffle answered.
    answer: u64,
}

impl Schedule {
    pub(super) fn new(config: &Config, rng: &mut impl Rng) -> Self {
        let first = |every: Duration, rng: &mut _| jitter(every, rng);
        Schedule {
            shuffle: first(config.shuffle / SHUFFLE_HASTE, rng),
            mix: first(config.mix / HASTE, rng),
            bias: first(config.bias, rng),
            probe: first(config.probe, rng),
            refill: 0,
            pause: 0,
            slow: 0,
            evict: 0,
            content: 1,
            forgive: 0,
            answer: 0,
        }
    }

    pub(super) fn next(&self) -> u64 {
        let regular = self.shuffle.min(self.mix).min(self.bias).min(self.probe);
        // A pause is over once it has been waited for.
        if self.refill > 0 {
            regular.min(self.refill)
        } else {
            regular
        }
    }
}

/// `every`, give or take a quarter, so that peers do not march in step.
fn jitter(every: Duration, rng: &mut impl Rng) -> u64 {
    let every = u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(4);
    rng.random_range(every - every / 4..=every + every / 4)
}

impl<C: Peer> Overlay<C> {
    pub(super) fn upkeep<R: Rng>(&mut self, turn: &mut Turn<'_, R, C>) {
        let settling = u128::from(turn.now) < self.config.settling.as_millis();
        let haste = |fast| if settling { fast } else { 1 };
        if turn.now >= self.schedule.shuffle {
            let every = self.config.shuffle / haste(SHUFFLE_HASTE);
            self.schedule.shuffle = turn.now + jitter(every, turn.rng);
            self.shuffle(turn);
        }
        if turn.now >= self.schedule.mix {
            self.schedule.mix = turn.now + jitter(self.config.mix / haste(HASTE), turn.rng);
            self.mix(turn);
        }
        if turn.now >= self.schedule.bias {
            let every = self.config.bias * self.schedule.content;
            self.schedule.bias = turn.now + jitter(every, turn.rng);
            self.draw_nearer(turn);
        }
        if turn.now >= self.schedule.probe {
            self.schedule.probe = turn.now + jitter(self.config.probe, turn.rng);
            self.look_after(turn);
        }
        if turn.now >= self.schedule.refill {
            self.schedule.refill = 0;
        }
    }

    /// Gives up dials and guests whose time is over.
    pub(super) fn expire<R: Rng>(&mut self, turn: &mut Turn<'_, R, C>) {
        for index in (0..self.attempts.len()).rev() {
            let Some(attempt) = self.attempts.get(index) else {
                continue;
            };
            if attempt.until > turn.now {
                continue;
            }
            turn.out.push(match attempt.conn {
                Some(conn) => Output::Close { conn },
                None => Output::CancelDial { dial: attempt.dial },
            });
            self.fail(index, turn);
        }
        for guest in self.guests.extract_if(.., |guest| guest.until <= turn.now) {
            turn.out.push(Output::Close { conn: guest.conn });
        }
    }

    /// A new link is a new source of contacts, if they are few.
    pub(super) fn shuffle_soon(&mut self, now: u64) {
        if self.passive.len() < FEW {
            self.schedule.shuffle = self.schedule.shuffle.min(now + 1);
            self.wake_by(now + 1);
        }
    }

    fn shuffle<R: Rng>(&mut self, turn: &mut Turn<'_, R, C>) {
        let partner = (0..self.hot.len()).choose(turn.rng);
        let Some((hot, cold)) = partner.and_then(|i| self.hot.get(i).zip(self.cold.get(i))) else {
            return;
        };
        let (conn, peer) = (hot.conn, cold.contact.id());
        let contacts = self.sample(&peer, turn);
        let me = self.me;
        let message = Message::Shuffle(Box::new(Named { me, contacts }));
        turn.out.push(Output::Send { conn, message });
    }

    pub(super) fn on_shuffle<R: Rng>(
        &mut self,
        index: usize,
        named: &Named<C>,
        turn: &mut Turn<'_, R, C>,
    ) {
        if turn.now < self.schedule.answer {
            return;
        }
        self.schedule.answer = turn.now + ANSWER_EVERY;
        let Some(cold) = self.cold.get(index) else {
            return;
        };
        let mine = self.sample(&cold.contact.id(), turn);
        let Some(conn) = self.hot.get(index).map(|hot| hot.conn) else {
            return;
        };
        let message = Message::Shuffled(Box::new(Named {
            me: self.me,
            contacts: mine,
        }));
        turn.out.push(Output::Send { conn, message });
        self.on_shuffled(index, named, turn);
    }

    pub(super) fn on_shuffled<R: Rng>(
        &mut self,
        index: usize,
        named: &Named<C>,
        turn: &mut Turn<'_, R, C>,
    ) {
        let (Some(hot), Some(cold)) = (self.hot.get(index), self.cold.get_mut(index)) else {
            return;
        };
        cold.contact.set_coordinate(named.me.coordinate());
        let from = C::short(&cold.contact.id());
        if hot.rtt > 0 {
            let angle = turn.rng.next_u32();
            let mut mine = self.me.coordinate();
            mine.learn(&named.me.coordinate(), hot.rtt.into(), angle);
            self.me.set_coordinate(mine);
        }
        for contact in named.contacts.iter() {
            self.learn(*contact, from, turn);
        }
        self.refill(turn);
    }

    /// Replaces a random link, or gives one up where both ends have too many:
    /// whoever is short of links adds some, and nobody else takes any away.
    fn mix<R: Rng>(&mut self, turn: &mut Turn<'_, R, C>) {
        let degrees = *self.degrees();
        if self.degree() > degrees.target + 1 {
            let own = self.hot.len() - self.inbound() > usize::from(degrees.outbound);
            let may = |index: usize| {
                let link = self.hot.get(index);
                link.is_some_and(|link| link.degree > degrees.target && (own || !link.outbound))
            };
            if let Some(victim) = self.sparest(turn, may) {
                self.drop_link(victim, turn);
            }
            return;
        }
        if self.is_full()
            && self.is_idle()
            && let Some(contact) = self.candidate(turn)
        {
            self.dial(contact, Purpose::Mix, turn);
        }
    }

    /// Looks for somebody nearer than the farthest link.
    fn draw_nearer<R: Rng>(&mut self, turn: &mut Turn<'_, R, C>) {
        let Some(worst) = self.farthest().and_then(|index| self.hot.get(index)) else {
            return;
        };
        if !self.is_full() || !self.is_idle() || !self.me.coordinate().is_settled() {
            return;
        }
        let limit = f32::from(worst.rtt) * 0.9;
        let guess = |contact: &C| self.me.coordinate().predict(&contact.coordinate());
        let may = |c: &&C| c.coordinate().is_settled() && self.is_eligible(c);
        let candidates = self.passive.iter().filter(may);
        let candidates: Vec<&C> = candidates.sample(turn.rng, CANDIDATES);
        let best = candidates
            .into_iter()
            .min_by(|a, b| guess(a).total_cmp(&guess(b)));
        if let Some(best) = best.copied().filter(|best| guess(best) < limit) {
            self.dial(best, Purpose::Bias, turn);
        }
    }

    /// A candidate was nearer than the farthest link, or was not.
    pub(super) fn judge_nearness(&mut self, nearer: bool) {
        self.schedule.content = if nearer {
            1
        } else {
            (self.schedule.content * 2).min(CONTENT)
        };
    }

    /// The link with the longest round trip that latency may replace.
    pub(super) fn farthest(&self) -> Option<usize> {
        let links = self.hot.iter().enumerate();
        let replaceable = links.filter(|(_, link)| !link.random && link.rtt > 0);
        let farthest = replaceable.max_by_key(|(_, link)| link.rtt);
        farthest.map(|(index, _)| index)
    }

    /// Dials a remembered peer to see whether it is there.
    fn look_after<R: Rng>(&mut self, turn: &mut Turn<'_, R, C>) {
        let busy = self.attempts.iter().any(|a| a.purpose == Purpose::Probe);
        if busy {
            return;
        }
        if let Some(slot) = self.reserve.turn()
            && self.is_eligible(&slot.contact)
        {
            self.dial(slot.contact, Purpose::Probe, turn);
        }
    }

    /// Whether no dial is in flight.
    fn is_idle(&self) -> bool {
        self.attempts.is_empty()
    }
}
