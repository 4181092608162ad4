//! Dials of others: who gets a link.

use rand::{Rng, RngExt};

use super::io::{ConnId, Output};
use super::links::NewLink;
use super::message::{Contacts, MAX_CONTACTS, Message, Need};
use super::peer::{Peer, Subnet};
use super::{Overlay, Turn};
use crate::glare::{self, Glare};

/// Connections of others that have not said what they want. Whoever comes when
/// they are so many is named others at once: a crowd at the door must not keep
/// those inside from asking.
pub const MAX_GUESTS: usize = 64;
/// Somebody's link is given to another in need this often at most, in
/// milliseconds.
const EVICT_EVERY: u64 = 500;

/// A connection that somebody else opened and has not asked over yet.
#[derive(Debug)]
pub(super) struct Guest<I> {
    pub(super) conn: ConnId,
    peer: I,
    subnet: Option<Subnet>,
    pub(super) until: u64,
}

impl<C: Peer> Overlay<C> {
    pub(super) fn on_accepted<R: Rng>(
        &mut self,
        conn: ConnId,
        peer: C::Id,
        subnet: Option<Subnet>,
        turn: &mut Turn<'_, R, C>,
    ) {
        if self.guests.len() >= MAX_GUESTS {
            self.refuse(conn, &peer, turn);
            return;
        }
        let until = turn.now + self.patience();
        self.guests.push(Guest {
            conn,
            peer,
            subnet,
            until,
        });
        self.wake_by(until);
    }

    pub(super) fn on_ask<R: Rng>(
        &mut self,
        conn: ConnId,
        me: &C,
        need: Need,
        turn: &mut Turn<'_, R, C>,
    ) {
        let Some(index) = self.guests.iter().position(|guest| guest.conn == conn) else {
            return;
        };
        let guest = self.guests.remove(index);
        if me.id() != guest.peer || me.id() == self.me.id() {
            turn.out.push(Output::Close { conn });
            return;
        }
        if self.stands_against(&guest.peer, turn) {
            self.refuse(conn, &me.id(), turn);
        } else if self.make_room(guest.subnet, need, turn) {
            self.admit(conn, me, guest.subnet, turn);
        } else {
            self.refuse(conn, &me.id(), turn);
            self.reserve.met(*me, turn.now);
            self.remember(*me, turn);
        }
    }

    /// Whether an own dial to the same peer is to become the link instead.
    /// Whatever else connects the two is cleared away.
    fn stands_against<R: Rng>(&mut self, peer: &C::Id, turn: &mut Turn<'_, R, C>) -> bool {
        if let Some(index) = self.attempt_to(peer) {
            if glare::settle(&self.me.id(), peer) == Glare::Stand {
                return true;
            }
            self.cancel(index, turn);
        }
        if let Some(index) = self.link_to(peer) {
            // It has lost the link, or it would not ask.
            self.lose_link(index, true, turn);
        }
        false
    }

    /// Whether there is room for a link that somebody else dialled, perhaps
    /// because room was made.
    fn make_room<R: Rng>(
        &mut self,
        subnet: Option<Subnet>,
        need: Need,
        turn: &mut Turn<'_, R, C>,
    ) -> bool {
        if !self.subnet_has_room(subnet) {
            return false;
        }
        let full = self.degree() >= self.degrees().high;
        if !full && self.inbound() < usize::from(self.degrees().inbound()) {
            return true;
        }
        if need != Need::Urgent || turn.now < self.schedule.evict {
            return false;
        }
        let inbound = |index: usize| self.hot.get(index).is_some_and(|link| !link.outbound);
        let Some(victim) = self.sparest(turn, inbound) else {
            return false;
        };
        self.schedule.evict = turn.now + EVICT_EVERY;
        self.stats.evicted += 1;
        self.drop_link(victim, turn);
        true
    }

    fn admit<R: Rng>(
        &mut self,
        conn: ConnId,
        me: &C,
        subnet: Option<Subnet>,
        turn: &mut Turn<'_, R, C>,
    ) {
        let message = Message::Admit {
            me: Box::new(self.me),
        };
        turn.out.push(Output::Send { conn, message });
        self.add_link(
            NewLink {
                conn,
                contact: *me,
                subnet,
                outbound: false,
                random: true,
                took: None,
            },
            turn,
        );
    }

    /// No room; the asker closes the connection once it has read whom else to
    /// ask, or time does.
    fn refuse<R: Rng>(&mut self, conn: ConnId, asker: &C::Id, turn: &mut Turn<'_, R, C>) {
        self.stats.refused += 1;
        let others = Box::new(self.sample(asker, turn));
        let message = Message::Refuse { others };
        turn.out.push(Output::Send { conn, message });
        turn.out.push(Output::Close { conn });
    }

    /// A few of the peers this node knows, of all its views, for `peer`.
    pub(super) fn sample<R: Rng>(&self, peer: &C::Id, turn: &mut Turn<'_, R, C>) -> Contacts<C> {
        let mut sample: Vec<C> = Vec::with_capacity(MAX_CONTACTS);
        for _ in 0..2 * MAX_CONTACTS {
            let Some(contact) = self.any_contact(turn.rng) else {
                continue;
            };
            let known = sample.iter().any(|other| other.id() == contact.id());
            if !known && contact.id() != *peer && contact.is_dialable() {
                sample.push(contact);
            }
        }
        Contacts::truncated(sample)
    }

    /// A peer of any view, by a throw that may miss.
    fn any_contact(&self, rng: &mut impl Rng) -> Option<C> {
        let (links, passive) = (self.cold.len(), self.passive.len());
        let nth = rng.random_range(0..links + passive + self.reserve.len());
        if let Some(link) = self.cold.get(nth) {
            return Some(link.contact);
        }
        let rest = nth - links;
        match self.passive.get(rest) {
            Some(contact) => Some(*contact),
            None => self.reserve.get(rest - passive),
        }
    }
}
