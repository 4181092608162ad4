//! Dials of this node: to whom, what for, and what becomes of them.

use rand::seq::IteratorRandom as _;
use rand::{Rng, RngExt};

use super::io::{ConnId, DialId, Output};
use super::links::NewLink;
use super::message::{Contacts, Message, Need};
use super::peer::Peer;
use super::reserve::tick;
use super::{Overlay, Turn};

/// The first pause after everybody was asked, and the longest, in milliseconds.
const PAUSE: u64 = 500;
const PAUSE_MAX: u64 = 4_000;
/// Pause between dials for links that others may bring as well.
const SLOWLY: u64 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Links are missing.
    Fill,
    /// To replace a random link.
    Mix,
    /// To replace a distant link, if it is nearer indeed.
    Bias,
    /// To see whether a remembered peer is there.
    Probe,
}

#[derive(Debug)]
pub(super) struct Attempt<C> {
    pub(super) dial: DialId,
    pub(super) contact: C,
    pub(super) purpose: Purpose,
    /// Once connected.
    pub(super) conn: Option<ConnId>,
    /// When it was dialled, then when it was asked.
    pub(super) began: u64,
    pub(super) until: u64,
}

impl<C: Peer> Overlay<C> {
    /// Links of this node's own choice that are missing. One more than it must
    /// have, and not all it could have: if newcomers took all their links from
    /// others, who have room for fewer, a crowd would find no room anywhere.
    fn missing_own(&self) -> usize {
        let outbound = self.hot.len() - self.inbound();
        usize::from(self.degrees().outbound + 1).saturating_sub(outbound)
    }

    /// Links to dial for now. What others do not bring in time is dialled as
    /// well, slowly. One link less than wanted is no reason: a replaced link
    /// would set off another somewhere else, for ever.
    fn missing(&self, now: u64) -> usize {
        let room = usize::from(self.degrees().high).saturating_sub(self.hot.len());
        let few = self.degree() <= self.degrees().low && now >= self.schedule.slow;
        self.missing_own().max(few.into()).min(room)
    }

    /// Whether there are as many links as there should be.
    pub(super) fn is_full(&self) -> bool {
        self.missing_own() == 0 && self.degree() > self.degrees().low
    }

    /// Dials until enough dials are in flight.
    pub(super) fn refill<R: Rng>(&mut self, turn: &mut Turn<'_, R, C>) {
        if turn.now < self.schedule.refill {
            return;
        }
        loop {
            let fills = self.attempts.iter().filter(|a| a.purpose == Purpose::Fill);
            let fills = fills.count();
            if fills >= self.missing(turn.now).min(self.config.dials.into()) {
                return;
            }
            let Some(contact) = self.candidate(turn) else {
                if fills == 0 {
                    self.stats.exhausted += 1;
                    self.pause(turn);
                }
                return;
            };
            if self.missing_own() == 0 {
                self.schedule.slow = turn.now + SLOWLY;
            }
            self.dial(contact, Purpose::Fill, turn);
        }
    }

    /// Nobody new is left to ask: the same ones again only after a while, and
    /// after twice as long the next time. A crowd that knows one contact would
    /// keep it from answering anybody.
    fn pause<R: Rng>(&mut self, turn: &mut Turn<'_, R, C>) {
        let pause = self.schedule.pause.clamp(PAUSE, PAUSE_MAX);
        self.schedule.pause = (pause * 2).min(PAUSE_MAX);
        self.schedule.refill = turn.now + turn.rng.random_range(pause / 2..=pause);
        self.wake_by(self.schedule.refill);
    }

    /// There is somebody new to ask.
    pub(super) fn encourage(&mut self) {
        self.schedule.refill = 0;
        self.schedule.pause = 0;
    }

    /// Whether `contact` may be dialled for a link.
    pub(super) fn is_eligible(&self, contact: &C) -> bool {
        let peer = &contact.id();
        contact.is_dialable()
            && *peer != self.me.id()
            && self.link_to(peer).is_none()
            && !self.attempts.iter().any(|a| a.contact.id() == *peer)
            && self.subnet_has_room(contact.subnet())
    }

    /// A random contact worth a dial: mostly of the passive view, now and then
    /// of the reserve, which nobody can flood; who was configured comes last.
    pub(super) fn candidate<R: Rng>(&self, turn: &mut Turn<'_, R, C>) -> Option<C> {
        let may = |contact: &&C| self.is_eligible(contact);
        let reserve_first = turn.rng.random_range(0..4_u8) == 0;
        let passive = |rng: &mut R| self.passive.iter().filter(may).choose(rng).copied();
        // Who did not answer lately comes after who may.
        let reserve = |rng: &mut R| {
            let able = || self.reserve.iter().filter(|slot| may(&&slot.contact));
            let least = able().map(|slot| slot.failed).min()?;
            let slots = able().filter(|slot| slot.failed == least);
            slots.choose(rng).map(|slot| slot.contact)
        };
        let found = if reserve_first {
            reserve(turn.rng).or_else(|| passive(turn.rng))
        } else {
            passive(turn.rng).or_else(|| reserve(turn.rng))
        };
        found.or_else(|| self.bootstrap.iter().filter(may).choose(turn.rng).copied())
    }

    pub(super) fn dial<R>(&mut self, contact: C, purpose: Purpose, turn: &mut Turn<'_, R, C>) {
        self.next_dial = self.next_dial.wrapping_add(1);
        let dial = DialId(self.next_dial);
        let until = turn.now + self.patience();
        self.attempts.push(Attempt {
            dial,
            contact,
            purpose,
            conn: None,
            began: turn.now,
            until,
        });
        self.wake_by(until);
        self.stats.dials += 1;
        turn.out.push(Output::Dial { dial, contact });
    }

    pub(super) fn patience(&self) -> u64 {
        let patience = u64::try_from(self.config.patience.as_millis()).unwrap_or(u64::MAX);
        patience.saturating_mul(1 + u64::from(self.lateness))
    }

    pub(super) fn on_dialled<R: Rng>(
        &mut self,
        dial: DialId,
        conn: ConnId,
        turn: &mut Turn<'_, R, C>,
    ) {
        let patience = self.patience();
        let Some(index) = self.attempts.iter().position(|a| a.dial == dial) else {
            // Given up in the meantime.
            turn.out.push(Output::Close { conn });
            return;
        };
        if let Some(attempt) = self.attempts.get_mut(index) {
            attempt.conn = Some(conn);
            attempt.began = turn.now;
            attempt.until = turn.now + patience;
        }
        if !self.wants_link(index) {
            let attempt = self.attempts.swap_remove(index);
            self.reserve.met(attempt.contact, turn.now);
            turn.out.push(Output::Close { conn });
            return;
        }
        self.wake_by(turn.now + patience);
        let need = self.need(index);
        let me = Box::new(self.me);
        let message = Message::Ask { me, need };
        turn.out.push(Output::Send { conn, message });
    }

    /// How much a link is needed that an attempt is to become: bridges must not
    /// fail because both sides have all the links they want.
    fn need(&self, index: usize) -> Need {
        let attempt = self.attempts.get(index);
        let bridge = attempt.is_some_and(|attempt| attempt.purpose == Purpose::Probe);
        if bridge || self.degree() <= self.degrees().low / 2 {
            Need::Urgent
        } else {
            Need::Welcome
        }
    }

    /// Whether a dial that was answered should become a link. A probe should
    /// if its peer had been out of reach: it stands for a part of the mesh
    /// that may be reachable again through it alone.
    fn wants_link(&self, index: usize) -> bool {
        let Some(attempt) = self.attempts.get(index) else {
            return false;
        };
        if attempt.purpose != Purpose::Probe {
            return true;
        }
        let peer = &attempt.contact.id();
        let mut slots = self.reserve.iter();
        let slot = slots.find(|slot| slot.contact.id() == *peer);
        slot.is_some_and(|slot| {
            slot.failed > 0 || self.shock_at.is_some_and(|shock| slot.met < tick(shock))
        })
    }

    pub(super) fn on_dial_failed<R: Rng>(&mut self, dial: DialId, turn: &mut Turn<'_, R, C>) {
        if let Some(index) = self.attempts.iter().position(|a| a.dial == dial) {
            self.fail(index, turn);
            self.refill(turn);
        }
    }

    /// A dial or a question stays without answer.
    pub(super) fn fail<R: Rng>(&mut self, index: usize, turn: &mut Turn<'_, R, C>) {
        let attempt = self.attempts.swap_remove(index);
        self.stats.failed += 1;
        self.passive.remove(&attempt.contact.id());
        self.reserve.missed(&attempt.contact.id(), turn.now);
        let untried = self.passive.len() > 0 || self.reserve.iter().any(|slot| slot.failed == 0);
        if self.hot.is_empty() && self.attempts.is_empty() && !untried {
            self.pause(turn);
        }
    }

    /// The connection of an attempt closed before it was answered.
    pub(super) fn attempt_closed<R: Rng>(&mut self, conn: ConnId, turn: &mut Turn<'_, R, C>) {
        if let Some(index) = self.attempts.iter().position(|a| a.conn == Some(conn)) {
            self.fail(index, turn);
        }
    }

    /// Stops an attempt, whatever its state.
    pub(super) fn cancel<R>(&mut self, index: usize, turn: &mut Turn<'_, R, C>) {
        let attempt = self.attempts.swap_remove(index);
        turn.out.push(match attempt.conn {
            Some(conn) => Output::Close { conn },
            None => Output::CancelDial { dial: attempt.dial },
        });
    }

    pub(super) fn attempt_to(&self, peer: &C::Id) -> Option<usize> {
        self.attempts.iter().position(|a| a.contact.id() == *peer)
    }

    pub(super) fn on_admit<R: Rng>(&mut self, conn: ConnId, me: &C, turn: &mut Turn<'_, R, C>) {
        let Some(index) = self.attempts.iter().position(|a| a.conn == Some(conn)) else {
            return;
        };
        let attempt = self.attempts.swap_remove(index);
        // Its word about itself counts for its coordinate only: the address
        // that was dialled is the one that works.
        let mut contact = attempt.contact;
        contact.update(me);
        self.encourage();
        let victim = self.victim(attempt.purpose, turn);
        self.add_link(
            NewLink {
                conn,
                contact,
                subnet: contact.subnet(),
                outbound: true,
                random: attempt.purpose != Purpose::Bias,
                took: Some(turn.now - attempt.began),
            },
            turn,
        );
        self.make_way(attempt.purpose, victim, turn);
        self.refill(turn);
    }

    /// Which link is to go for a new one, chosen before the new one is there.
    fn victim<R: Rng>(&self, purpose: Purpose, turn: &mut Turn<'_, R, C>) -> Option<usize> {
        match purpose {
            Purpose::Fill => None,
            Purpose::Mix => self.sparest(turn, |_| true),
            Purpose::Probe => self.sparest(turn, |index| {
                self.hot.get(index).is_some_and(|link| !link.random)
            }),
            Purpose::Bias => self.farthest(),
        }
    }

    fn make_way<R: Rng>(
        &mut self,
        purpose: Purpose,
        victim: Option<usize>,
        turn: &mut Turn<'_, R, C>,
    ) {
        let newest = self.hot.len() - 1;
        let over = self.hot.len() > usize::from(self.degrees().target);
        let rtt = |links: &[super::Hot], index: usize| links.get(index).map_or(0, |l| l.rtt);
        match (purpose, victim) {
            (Purpose::Bias, Some(victim)) => {
                let (old, new) = (rtt(&self.hot, victim), rtt(&self.hot, newest));
                let nearer = u32::from(new) * 10 < u32::from(old) * 9;
                self.stats.biased += u32::from(nearer);
                self.judge_nearness(nearer);
                self.drop_link(if nearer { victim } else { newest }, turn);
            }
            (Purpose::Mix, Some(victim)) if over => {
                self.stats.mixed += 1;
                self.drop_link(victim, turn);
            }
            (Purpose::Probe, victim) => {
                self.stats.bridged += 1;
                if let Some(victim) = victim.filter(|_| over) {
                    self.drop_link(victim, turn);
                }
            }
            (Purpose::Fill | Purpose::Mix | Purpose::Bias, _) => {
                if self.degree() > self.degrees().high {
                    self.drop_link(newest, turn);
                }
            }
        }
    }

    pub(super) fn on_refuse<R: Rng>(
        &mut self,
        conn: ConnId,
        others: &Contacts<C>,
        turn: &mut Turn<'_, R, C>,
    ) {
        let Some(index) = self.attempts.iter().position(|a| a.conn == Some(conn)) else {
            return;
        };
        let attempt = self.attempts.swap_remove(index);
        turn.out.push(Output::Close { conn });
        let peer = attempt.contact.id();
        // It lives, but has no room: somebody else may name it later.
        self.passive.remove(&peer);
        self.reserve.met(attempt.contact, turn.now);
        for contact in others.iter().filter(|contact| contact.id() != peer) {
            self.learn(*contact, C::short(&peer), turn);
        }
        self.refill(turn);
    }

    /// Takes a contact that somebody named into the passive view.
    pub(super) fn learn<R: Rng>(&mut self, contact: C, from: u32, turn: &mut Turn<'_, R, C>) {
        if contact.id() != self.me.id() && self.link_to(&contact.id()).is_none() {
            self.passive.add(contact, from, turn.rng);
            self.encourage();
        }
    }
}
