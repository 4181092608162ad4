//! Contacts to fall back on: heard of, not linked with, perhaps gone.

use rand::{Rng, RngExt};

use super::peer::Peer;

/// Of a full view one neighbour may have named a fifth at most.
const SHARE: usize = 5;

#[derive(Clone, Copy, Debug)]
struct Entry<C> {
    contact: C,
    /// Short hash of whoever named it.
    source: u32,
}

#[derive(Debug)]
pub(crate) struct Passive<C> {
    size: u8,
    entries: Vec<Entry<C>>,
}

impl<C: Peer> Passive<C> {
    pub(crate) fn new(size: u8) -> Self {
        Passive {
            size,
            entries: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes a contact that `source` named. A full view loses a random one for
    /// it; a source that has named its share already, one of its own.
    pub(crate) fn add(&mut self, contact: C, source: u32, rng: &mut impl Rng) {
        if !contact.is_dialable() {
            return;
        }
        let entry = Entry { contact, source };
        if let Some(known) = self.find(&contact.id()) {
            known.contact = contact;
            return;
        }
        let size = usize::from(self.size);
        let own = self.entries.iter().filter(|e| e.source == source).count();
        if own >= size.div_ceil(SHARE) {
            let nth = rng.random_range(0..own);
            let mut named = self.entries.iter_mut().filter(|e| e.source == source);
            if let Some(old) = named.nth(nth) {
                *old = entry;
            }
        } else if self.entries.len() < size {
            if self.entries.is_empty() {
                self.entries.reserve_exact(size);
            }
            self.entries.push(entry);
        } else if let Some(old) = pick_mut(&mut self.entries, rng) {
            *old = entry;
        }
    }

    fn find(&mut self, peer: &C::Id) -> Option<&mut Entry<C>> {
        self.entries.iter_mut().find(|e| e.contact.id() == *peer)
    }

    pub(crate) fn remove(&mut self, peer: &C::Id) {
        self.entries.retain(|entry| entry.contact.id() != *peer);
    }

    pub(crate) fn get(&self, index: usize) -> Option<&C> {
        self.entries.get(index).map(|entry| &entry.contact)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &C> {
        self.entries.iter().map(|entry| &entry.contact)
    }
}

fn pick_mut<'a, T>(items: &'a mut [T], rng: &mut impl Rng) -> Option<&'a mut T> {
    if items.is_empty() {
        return None;
    }
    let index = rng.random_range(0..items.len());
    items.get_mut(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PeerId;
    use crate::overlay::{Class, Contact};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn contact(n: u16) -> Contact {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&n.to_le_bytes());
        let address = ([192, 0, 2, 1], 1).into();
        Contact::new(PeerId::from_bytes(id), address, Class::Native)
    }

    #[test]
    fn nobody_names_more_than_a_fifth() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut view = Passive::new(48);
        for n in 0..38 {
            view.add(contact(n), u32::from(n), &mut rng);
        }
        for n in 100..10_000 {
            view.add(contact(n), 77, &mut rng);
        }
        assert_eq!(view.len(), 48);
        let flooded = view.entries.iter().filter(|e| e.source == 77).count();
        assert_eq!(flooded, 10);
    }

    #[test]
    fn a_contact_is_there_once_and_only_if_it_can_be_dialled() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut view = Passive::new(48);
        view.add(contact(1), 1, &mut rng);
        view.add(contact(1), 2, &mut rng);
        assert_eq!(view.len(), 1);
        let nowhere = Contact::new(
            PeerId::from_bytes([9; 32]),
            ([192, 0, 2, 1], 0).into(),
            Class::Browser,
        );
        view.add(nowhere, 1, &mut rng);
        assert_eq!(view.len(), 1);
        view.remove(&contact(1).peer);
        assert_eq!(view.len(), 0);
    }
}
