//! Whom to dial when nobody is there: tickets first, then remembered peers.
//!
//! Nothing is dialled while there is a gossip neighbour; presence and the
//! overlay see to the rest. When the last neighbour is gone (or none ever
//! came) the list is tried again from the start, a few at a time, with
//! backoff.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use peerloom_mesh_proto::PeerId;

/// Peers dialled at once.
const AT_ONCE: usize = 4;
/// Peers on the list: tickets, the 32 remembered, those met by multicast.
const LIST: usize = 128;
/// First wait before the list is tried again; doubled up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LAST_WAIT: Duration = Duration::from_secs(30);

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
    wait: Duration,
    due: Option<Instant>,
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
            wait: FIRST_WAIT,
            due: Some(now),
        };
        for contact in contacts {
            list.keep(contact);
        }
        list
    }

    /// Adds somebody to try first, at once when there is no neighbour.
    pub(super) fn add(&mut self, contact: Contact, now: Instant) {
        if contact.peer == self.me {
            return;
        }
        self.contacts.retain(|known| known.peer != contact.peer);
        self.contacts.truncate(LIST - 1);
        self.contacts.push_front(contact);
        self.dialled = 0;
        if self.neighbours == 0 {
            self.due = Some(now);
        }
    }

    /// Adds somebody to try last.
    fn keep(&mut self, contact: Contact) {
        let known = self.contacts.iter().any(|known| known.peer == contact.peer);
        if !known && contact.peer != self.me && self.contacts.len() < LIST {
            self.contacts.push_back(contact);
        }
    }

    /// A gossip neighbour came.
    pub(super) fn up(&mut self) {
        self.neighbours += 1;
        self.wait = FIRST_WAIT;
        self.due = None;
    }

    /// A gossip neighbour went.
    pub(super) fn down(&mut self, now: Instant) {
        self.neighbours = self.neighbours.saturating_sub(1);
        if self.neighbours == 0 {
            self.dialled = 0;
            self.due = Some(now);
        }
    }

    /// Whether any gossip neighbour is there.
    pub(super) fn alone(&self) -> bool {
        self.neighbours == 0
    }

    /// When to call [`Bootstrap::take`].
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| !self.contacts.is_empty())
    }

    /// The next few to dial; schedules the next call.
    pub(super) fn take(&mut self, now: Instant) -> Vec<Contact> {
        if self.neighbours > 0 || self.contacts.is_empty() {
            self.due = None;
            return Vec::new();
        }
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
        self.due = Some(now + self.wait);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(number: u8) -> Contact {
        Contact {
            peer: PeerId::from_bytes([number; 32]),
            addresses: Vec::new(),
        }
    }

    fn numbers(contacts: &[Contact]) -> Vec<u8> {
        contacts
            .iter()
            .map(|contact| contact.peer.as_bytes()[0])
            .collect()
    }

    #[test]
    fn the_list_is_walked_and_begun_again_with_backoff() {
        let now = Instant::now();
        let mut list = Bootstrap::new(PeerId::from_bytes([0; 32]), (0..=6).map(contact), now);
        assert_eq!(list.due(), Some(now));
        assert_eq!(numbers(&list.take(now)), [1, 2, 3, 4]);
        assert_eq!(list.due(), Some(now + FIRST_WAIT));
        assert_eq!(numbers(&list.take(now)), [5, 6]);
        assert_eq!(numbers(&list.take(now)), [1, 2, 3, 4]);
        assert_eq!(list.due(), Some(now + FIRST_WAIT * 2));
    }

    #[test]
    fn nothing_is_dialled_while_somebody_is_there() {
        let now = Instant::now();
        let mut list = Bootstrap::new(PeerId::from_bytes([0; 32]), [contact(1)], now);
        list.up();
        assert!(list.due().is_none() && !list.alone() && list.take(now).is_empty());
        list.add(contact(2), now);
        assert!(list.due().is_none());
        list.down(now);
        assert_eq!(numbers(&list.take(now)), [2, 1]);
    }
}
