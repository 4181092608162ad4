//! Whether the peers of links are still there.

use rand::Rng;
use rand::seq::IteratorRandom as _;

use super::config::Class;
use super::io::{ConnId, Output};
use super::links::Hot;
use super::message::Message;
use super::peer::Peer;
use super::{Overlay, Turn};

/// Pings due within this many milliseconds go out with the first of them: one
/// wake instead of several.
const TOGETHER: u64 = 300;
/// A timer that fires this late says that this node is the slow one.
const LATE: u64 = 300;
/// Unless another one is late for so long, lateness is forgiven step by step.
const FORGIVE: u64 = 10_000;
/// How bad it can get: timeouts are multiplied by one more than this
/// (Lifeguard's S = 8).
const LATEST: u8 = 7;
/// Neighbours asked about a silent browser (SWIM's k; 2 is a guess).
const WITNESSES: usize = 2;
/// Questions about others that are being looked into; more are dropped.
const VOUCHING: usize = 8;

/// A neighbour wants to know whether another one answers.
#[derive(Debug)]
pub(super) struct Vouching<I> {
    asker: ConnId,
    peer: I,
    until: u64,
}

impl<C: Peer> Overlay<C> {
    pub(super) fn ping_millis(&self) -> u64 {
        u64::try_from(self.config.ping.as_millis()).unwrap_or(u64::MAX)
    }

    /// When the link is to be looked at next.
    pub(super) fn link_due(&self, link: &Hot) -> u64 {
        if link.asked == 0 {
            return link.heard + self.ping_millis();
        }
        let retry = u64::try_from(self.config.retry.as_millis()).unwrap_or(u64::MAX);
        let spread = u64::from(link.rtt) + 4 * u64::from(link.spread);
        link.pinged + retry.max(spread) * (1 + u64::from(self.lateness))
    }

    /// Notices when this node's own timers are late, and then blames nobody
    /// else: whoever was to be heard may be in the socket's buffer.
    pub(super) fn note_lateness(&mut self, now: u64) {
        let late = now.saturating_sub(self.wake) > LATE && self.wake > 0;
        if late {
            self.stats.late += 1;
            self.lateness = (self.lateness + 1).min(LATEST);
            self.schedule.forgive = now + FORGIVE;
            let recently = now.saturating_sub(self.ping_millis());
            for link in &mut self.hot {
                link.asked = 0;
                link.heard = link.heard.max(recently);
            }
            for attempt in &mut self.attempts {
                attempt.until = attempt.until.max(now + LATE);
            }
        } else if self.lateness > 0 && now >= self.schedule.forgive {
            self.lateness -= 1;
            self.schedule.forgive = now + FORGIVE;
        }
    }

    /// Pings who is silent, gives up who stays so.
    pub(super) fn check_links<R: Rng>(&mut self, turn: &mut Turn<'_, R, C>) {
        for index in (0..self.hot.len()).rev() {
            let Some(link) = self.hot.get(index) else {
                continue;
            };
            let due = self.link_due(link);
            let ahead = if link.asked == 0 { TOGETHER } else { 0 };
            if due > turn.now + ahead {
                continue;
            }
            if link.asked < self.config.misses {
                self.ping(index, turn);
            } else if !self.asks_witnesses(index, turn) {
                self.lose_link(index, true, turn);
            }
        }
        self.vouching.retain(|vouching| vouching.until > turn.now);
    }

    fn ping<R>(&mut self, index: usize, turn: &mut Turn<'_, R, C>) {
        let Some(link) = self.hot.get_mut(index) else {
            return;
        };
        link.n = link.n.wrapping_add(1);
        link.asked += 1;
        link.pinged = turn.now;
        turn.out.push(Output::Send {
            conn: link.conn,
            message: Message::Ping { n: link.n },
        });
    }

    /// Whether neighbours are asked before a link is given up: for browsers,
    /// whose timers may just be slow, once.
    fn asks_witnesses<R: Rng>(&mut self, index: usize, turn: &mut Turn<'_, R, C>) -> bool {
        let (Some(link), Some(cold)) = (self.hot.get(index), self.cold.get(index)) else {
            return false;
        };
        if cold.contact.class() != Class::Browser || link.vouch_asked {
            return false;
        }
        let peer = cold.contact.id();
        let sound = |link: &&Hot| link.asked == 0;
        let witnesses = self.hot.iter().filter(sound).map(|link| link.conn);
        for conn in witnesses.sample(turn.rng, WITNESSES) {
            let peer = Box::new(peer);
            let message = Message::Vouch { peer };
            turn.out.push(Output::Send { conn, message });
        }
        if let Some(link) = self.hot.get_mut(index) {
            link.vouch_asked = true;
            link.pinged = turn.now;
        }
        true
    }

    pub(super) fn on_ping<R>(&mut self, conn: ConnId, n: u16, turn: &mut Turn<'_, R, C>) {
        let degree = self.degree();
        let message = Message::Pong { n, degree };
        turn.out.push(Output::Send { conn, message });
    }

    pub(super) fn on_pong<R>(
        &mut self,
        index: usize,
        n: u16,
        degree: u8,
        turn: &mut Turn<'_, R, C>,
    ) {
        let Some(link) = self.hot.get_mut(index) else {
            return;
        };
        link.degree = degree;
        if n == link.n {
            link.measure(turn.now.saturating_sub(link.pinged));
        }
        if self.vouching.is_empty() {
            return;
        }
        let Some(peer) = self.cold.get(index).map(|cold| cold.contact.id()) else {
            return;
        };
        for vouching in self.vouching.extract_if(.., |v| v.peer == peer) {
            turn.out.push(vouches(vouching.asker, peer));
        }
    }

    /// A neighbour asks about another peer. Who has no link to it says nothing.
    pub(super) fn on_vouch<R>(&mut self, asker: ConnId, peer: &C::Id, turn: &mut Turn<'_, R, C>) {
        let Some(index) = self.link_to(peer) else {
            return;
        };
        let Some(link) = self.hot.get(index) else {
            return;
        };
        if link.conn == asker {
            return;
        }
        if link.asked == 0 && turn.now - link.heard < self.ping_millis() {
            turn.out.push(vouches(asker, *peer));
        } else if self.vouching.len() < VOUCHING {
            let until = turn.now + self.patience();
            self.vouching.push(Vouching {
                asker,
                peer: *peer,
                until,
            });
            self.ping(index, turn);
        }
    }

    pub(super) fn on_alive(&mut self, peer: &C::Id, now: u64) {
        let Some(index) = self.link_to(peer) else {
            return;
        };
        let Some(link) = self.hot.get_mut(index) else {
            return;
        };
        if link.vouch_asked {
            self.stats.vouched += 1;
            link.hear(now);
        }
    }
}

fn vouches<C: Peer>(conn: ConnId, peer: C::Id) -> Output<C> {
    let peer = Box::new(peer);
    Output::Send {
        conn,
        message: Message::Alive { peer },
    }
}
