//! The links themselves: how one begins and ends.

use rand::Rng;
use rand::seq::IteratorRandom as _;

use super::config::Degrees;
use super::io::{ConnId, Output};
use super::message::Message;
use super::peer::{Peer, Subnet};
use super::{Overlay, Turn};

/// Links lost within this many milliseconds count as lost together.
const SHOCK_SPAN: u64 = 10_000;

/// What every message and ping touches of a link.
#[derive(Debug)]
pub(super) struct Hot {
    pub(super) conn: ConnId,
    /// Pings sent since something was heard.
    pub(super) asked: u8,
    /// Links the peer has, by its last word.
    pub(super) degree: u8,
    pub(super) outbound: bool,
    /// Chosen by chance: latency does not replace it.
    pub(super) random: bool,
    pub(super) heard: u64,
    pub(super) pinged: u64,
    /// Smoothed round trip in milliseconds, 0 if unknown, and its spread (RFC
    /// 6298).
    pub(super) rtt: u16,
    pub(super) spread: u16,
    /// Names the last ping.
    pub(super) n: u16,
    /// Neighbours were asked about it.
    pub(super) vouch_asked: bool,
}

impl Hot {
    pub(super) fn hear(&mut self, now: u64) {
        self.heard = now;
        self.asked = 0;
        self.vouch_asked = false;
    }

    /// Learns from a round trip (RFC 6298, section 2).
    pub(super) fn measure(&mut self, took: u64) {
        let took = u16::try_from(took).unwrap_or(u16::MAX).max(1);
        if self.rtt == 0 {
            self.rtt = took;
            self.spread = took / 2;
            return;
        }
        let off = self.rtt.abs_diff(took);
        self.spread = self.spread - self.spread / 4 + off / 4;
        self.rtt = (self.rtt - self.rtt / 8).saturating_add(took / 8).max(1);
    }
}

/// The rest of a link.
#[derive(Debug)]
pub(super) struct Cold<C> {
    pub(super) contact: C,
    pub(super) subnet: Option<Subnet>,
    pub(super) outbound: bool,
    pub(super) since: u64,
}

/// A link about to be.
pub(super) struct NewLink<C> {
    pub(super) conn: ConnId,
    pub(super) contact: C,
    pub(super) subnet: Option<Subnet>,
    pub(super) outbound: bool,
    pub(super) random: bool,
    /// The round trip that its making took, if this node measured it.
    pub(super) took: Option<u64>,
}

impl<C: Peer> Overlay<C> {
    pub(super) fn degrees(&self) -> &Degrees {
        &self.config.degrees
    }

    pub(super) fn degree(&self) -> u8 {
        u8::try_from(self.hot.len()).unwrap_or(u8::MAX)
    }

    pub(super) fn inbound(&self) -> usize {
        self.hot.iter().filter(|link| !link.outbound).count()
    }

    pub(super) fn link_to(&self, peer: &C::Id) -> Option<usize> {
        self.cold.iter().position(|link| link.contact.id() == *peer)
    }

    /// Whether one more link into `subnet` is allowed.
    pub(super) fn subnet_has_room(&self, subnet: Option<Subnet>) -> bool {
        let Some(subnet) = subnet else { return true };
        let same = self.cold.iter().filter(|link| link.subnet == Some(subnet));
        same.count() < usize::from(self.config.per_subnet)
    }

    pub(super) fn add_link<R>(&mut self, new: NewLink<C>, turn: &mut Turn<'_, R, C>) {
        let mut hot = Hot {
            conn: new.conn,
            asked: 0,
            degree: 0,
            outbound: new.outbound,
            random: new.random,
            heard: turn.now,
            pinged: turn.now,
            rtt: 0,
            spread: 0,
            n: 0,
            vouch_asked: false,
        };
        if let Some(took) = new.took {
            hot.measure(took);
        }
        self.hot.push(hot);
        self.cold.push(Cold {
            contact: new.contact,
            subnet: new.subnet,
            outbound: new.outbound,
            since: turn.now,
        });
        self.limit_random();
        self.passive.remove(&new.contact.id());
        self.reserve.met(new.contact, turn.now);
        self.wake_by(turn.now + self.ping_millis());
        turn.out.push(Output::LinkUp {
            conn: new.conn,
            peer: new.contact.id(),
        });
        self.shuffle_soon(turn.now);
    }

    /// Only the newest few are protected as chosen by chance.
    fn limit_random(&mut self) {
        let limit = usize::from(self.degrees().random);
        let random = self.hot.iter().filter(|link| link.random).count();
        let oldest = self.hot.iter_mut().filter(|link| link.random);
        for link in oldest.take(random.saturating_sub(limit)) {
            link.random = false;
        }
    }

    fn remove_link<R>(&mut self, index: usize, turn: &mut Turn<'_, R, C>) -> (Hot, Cold<C>) {
        // Order is age: `limit_random` and `anchors` rest on it.
        let (hot, cold) = (self.hot.remove(index), self.cold.remove(index));
        turn.out.push(Output::LinkDown {
            conn: hot.conn,
            peer: cold.contact.id(),
        });
        self.wake_by(turn.now + 1);
        (hot, cold)
    }

    /// Ends a link whose peer lives; it stays a contact.
    pub(super) fn drop_link<R: Rng>(&mut self, index: usize, turn: &mut Turn<'_, R, C>) {
        let (hot, cold) = self.remove_link(index, turn);
        turn.out.push(Output::Send {
            conn: hot.conn,
            message: Message::Leave,
        });
        turn.out.push(Output::Close { conn: hot.conn });
        self.remember(cold.contact, turn);
    }

    /// The peer has ended the link, and lives.
    pub(super) fn on_leave<R: Rng>(&mut self, index: usize, turn: &mut Turn<'_, R, C>) {
        let (hot, cold) = self.remove_link(index, turn);
        turn.out.push(Output::Close { conn: hot.conn });
        self.remember(cold.contact, turn);
    }

    /// The link is dead, and so may the peer be.
    pub(super) fn lose_link<R: Rng>(
        &mut self,
        index: usize,
        close: bool,
        turn: &mut Turn<'_, R, C>,
    ) {
        let (hot, cold) = self.remove_link(index, turn);
        if close {
            turn.out.push(Output::Close { conn: hot.conn });
        }
        self.reserve.missed(&cold.contact.id(), turn.now);
        self.stats.lost += 1;
        if turn.now.saturating_sub(self.lost_at) > SHOCK_SPAN {
            self.losses = 0;
            self.lost_at = turn.now;
        }
        self.losses = self.losses.saturating_add(1);
        if self.losses > self.degrees().target / 4 {
            self.shock_at = Some(turn.now);
        }
    }

    pub(super) fn on_closed<R: Rng>(&mut self, conn: ConnId, turn: &mut Turn<'_, R, C>) {
        self.guests.retain(|guest| guest.conn != conn);
        if let Some(index) = self.hot.iter().position(|link| link.conn == conn) {
            self.lose_link(index, false, turn);
        }
        self.attempt_closed(conn, turn);
        self.refill(turn);
    }

    /// A peer that lives is a contact of its own naming.
    pub(super) fn remember<R: Rng>(&mut self, contact: C, turn: &mut Turn<'_, R, C>) {
        let source = C::short(&contact.id());
        self.passive.add(contact, source, turn.rng);
    }

    /// Of the links that `may` go, the one whose peer can best spare it.
    pub(super) fn sparest<R: Rng>(
        &self,
        turn: &mut Turn<'_, R, C>,
        may: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let degree = |index: &usize| self.hot.get(*index).map_or(0, |link| link.degree);
        let able = || (0..self.hot.len()).filter(|index| may(*index));
        let most = able().map(|index| degree(&index)).max()?;
        able()
            .filter(|index| degree(index) == most)
            .choose(turn.rng)
    }
}
