//! Whom to dial: tickets first, then remembered peers, then those met.
//!
//! While there is no gossip neighbour the list is tried from the start, a few
//! at a time, with backoff. Where there are neighbours, presence and the
//! overlay see to the rest, but for one thing: nobody tells of those on the far
//! side of a network that was split for long enough that each side took the
//! other for dead. So somebody of the list who is not present is dialled now
//! and then, for ever.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use peerloom_mesh_proto::PeerId;

/// Peers dialled at once.
const AT_ONCE: usize = 4;
/// Peers on the list: tickets, the 32 remembered, those met since. Whoever was
/// met last pushes out whoever was longest ago.
const LIST: usize = 128;
/// First wait before the list is tried again; doubled up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LAST_WAIT: Duration = Duration::from_secs(30);
/// Between two dials of who is not present (the overlay's reserve has the same,
/// `ReserveConfig`). A split of two halves of `n` nodes is bridged by one of `n` dials.
const RETURN: Duration = Duration::from_secs(15);

/// Somebody to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contact {
    pub(super) peer: PeerId,
    pub(super) addresses: Vec<String>,
}

/// The list and when it is due.
#[derive(Debug)]
pub(super) struct Bootstrap {
    me: PeerId,
    contacts: VecDeque<Contact>,
    neighbours: usize,
    /// How many have been dialled since the list was begun.
    dialled: usize,
    /// Whose turn it is to be dialled if not present.
    turn: usize,
    wait: Duration,
    due: Instant,
}

impl Bootstrap {
    /// The list, due at once.
    pub(super) fn new(
        me: PeerId,
        contacts: impl IntoIterator<Item = Contact>,
        now: Instant,
    ) -> Self {
        let mut list = Self {
            me,
            contacts: VecDeque::new(),
            neighbours: 0,
            dialled: 0,
            turn: 0,
            wait: FIRST_WAIT,
            due: now,
        };
        for contact in contacts {
            list.keep(contact);
        }
        list
    }

    /// Adds somebody to try first, at once when there is no neighbour.
    pub(super) fn add(&mut self, contact: Contact, now: Instant) {
        if !self.put_first(contact) {
            return;
        }
        self.dialled = 0;
        if self.alone() {
            self.due = now;
        }
    }

    /// Somebody is linked with this node: worth being found again.
    pub(super) fn met(&mut self, contact: Contact) {
        if !contact.addresses.is_empty() {
            self.put_first(contact);
        }
    }

    fn put_first(&mut self, contact: Contact) -> bool {
        if contact.peer == self.me {
            return false;
        }
        self.contacts.retain(|known| known.peer != contact.peer);
        self.contacts.truncate(LIST - 1);
        self.contacts.push_front(contact);
        true
    }

    /// Adds somebody to try last.
    fn keep(&mut self, contact: Contact) {
        let known = self.contacts.iter().any(|known| known.peer == contact.peer);
        if !known && contact.peer != self.me && self.contacts.len() < LIST {
            self.contacts.push_back(contact);
        }
    }

    /// A gossip neighbour came.
    pub(super) fn up(&mut self, now: Instant) {
        if self.alone() {
            self.due = now + RETURN;
        }
        self.neighbours += 1;
        self.wait = FIRST_WAIT;
    }

    /// A gossip neighbour went.
    pub(super) fn down(&mut self, now: Instant) {
        self.neighbours = self.neighbours.saturating_sub(1);
        if self.alone() {
            self.dialled = 0;
            self.due = now;
        }
    }

    /// Whether no gossip neighbour is there.
    pub(super) fn alone(&self) -> bool {
        self.neighbours == 0
    }

    /// When to call [`Bootstrap::take`].
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.contacts.is_empty()).then_some(self.due)
    }

    /// The next few to dial, if it is time; schedules the next call. `present` says who
    /// is known to live.
    pub(super) fn take(&mut self, now: Instant, present: impl Fn(&PeerId) -> bool) -> Vec<Contact> {
        if now < self.due || self.contacts.is_empty() {
            return Vec::new();
        }
        if self.alone() {
            return self.next(now);
        }
        self.due = now + RETURN;
        self.missing(present).into_iter().collect()
    }

    /// Whoever comes next on the list.
    fn next(&mut self, now: Instant) -> Vec<Contact> {
        if self.dialled >= self.contacts.len() {
            self.dialled = 0;
            self.wait = (self.wait * 2).min(LAST_WAIT);
        }
        let next: Vec<_> = self
            .contacts
            .iter()
            .skip(self.dialled)
            .take(AT_ONCE)
            .cloned()
            .collect();
        self.dialled += next.len();
        self.due = now + self.wait;
        next
    }

    /// Somebody who is not present; all have their turn.
    fn missing(&mut self, present: impl Fn(&PeerId) -> bool) -> Option<Contact> {
        let count = self.contacts.len();
        let mut places = (0..count).map(|step| (self.turn + step) % count);
        let place = places.find(|place| !present(&self.contacts[*place].peer))?;
        self.turn = place + 1;
        Some(self.contacts[place].clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(number: u8) -> Contact {
        Contact {
            peer: PeerId::from_bytes([number; 32]),
            addresses: vec![format!("/ip4/192.0.2.{number}/udp/4001/quic-v1")],
        }
    }

    fn numbers(contacts: &[Contact]) -> Vec<u8> {
        contacts
            .iter()
            .map(|contact| contact.peer.as_bytes()[0])
            .collect()
    }

    fn list_of(peers: std::ops::RangeInclusive<u8>, now: Instant) -> Bootstrap {
        Bootstrap::new(PeerId::from_bytes([0; 32]), peers.map(contact), now)
    }

    /// What is dialled when it is due, where these are present.
    fn dialled(list: &mut Bootstrap, present: &[u8]) -> Vec<u8> {
        let due = list.due().expect("somebody to dial");
        numbers(&list.take(due, |peer| present.contains(&peer.as_bytes()[0])))
    }

    #[test]
    fn the_list_is_walked_and_begun_again_with_backoff() {
        let now = Instant::now();
        let mut list = list_of(0..=6, now);
        assert_eq!(list.due(), Some(now));
        assert_eq!(dialled(&mut list, &[]), [1, 2, 3, 4]);
        assert_eq!(list.due(), Some(now + FIRST_WAIT));
        assert_eq!(dialled(&mut list, &[]), [5, 6]);
        assert_eq!(list.due(), Some(now + FIRST_WAIT * 2));
        assert_eq!(dialled(&mut list, &[]), [1, 2, 3, 4]);
        assert_eq!(list.due(), Some(now + FIRST_WAIT * 4));
    }

    #[test]
    fn nothing_is_dialled_before_it_is_due() {
        let now = Instant::now();
        let mut list = list_of(1..=2, now);
        assert_eq!(dialled(&mut list, &[]), [1, 2]);
        assert!(list.take(now, |_| false).is_empty());
        list.add(contact(3), now);
        assert_eq!(dialled(&mut list, &[]), [3, 1, 2]);
    }

    #[test]
    fn who_is_not_present_is_dialled_in_turn_while_somebody_is_there() {
        let now = Instant::now();
        let mut list = list_of(1..=4, now);
        list.up(now);
        assert_eq!(list.due(), Some(now + RETURN));
        assert!(!list.alone() && list.take(now, |_| false).is_empty());
        let rounds = [(); 4].map(|()| dialled(&mut list, &[1, 3]));
        assert_eq!(rounds, [[2], [4], [2], [4]]);
        assert!(dialled(&mut list, &[1, 2, 3, 4]).is_empty());
        list.up(now);
        assert_eq!(
            list.due(),
            Some(now + RETURN * 6),
            "another neighbour changes nothing"
        );
        list.down(now);
        assert!(!list.alone());
        list.down(now);
        assert_eq!(list.due(), Some(now), "alone");
        assert_eq!(dialled(&mut list, &[1]), [1, 2, 3, 4]);
    }

    #[test]
    fn whoever_was_met_last_pushes_out_whoever_was_longest_ago() {
        let now = Instant::now();
        let mut list = list_of(1..=128, now);
        list.met(contact(1));
        assert_eq!(list.contacts.len(), LIST);
        list.met(contact(200));
        assert_eq!(list.contacts.len(), LIST);
        assert_eq!(numbers(&list.take(now, |_| false)), [200, 1, 2, 3]);
        assert!(!list.contacts.contains(&contact(128)));
        let nowhere = Contact {
            addresses: Vec::new(),
            ..contact(201)
        };
        list.met(nowhere);
        list.met(contact(0));
        assert_eq!(list.contacts[0], contact(200));
    }
}
