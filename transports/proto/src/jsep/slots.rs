//! Which section of an offer is for what (RFC 9429 5.2.1, 5.2.2), and which sections of the peer's
//! offer can be accepted.

use std::collections::BTreeSet;

use crate::sdp::{Media, MediaKind, Sdp};

use super::session::{DataState, Session, SignalingState};
use super::transceiver::{Life, Place, TransceiverId};
use super::{BundlePolicy, codecs, media_section, transport};

/// What a section of our offer is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Slot {
    /// Data channels, under that mid.
    Data(String),
    /// A transceiver, under that mid.
    Media(TransceiverId, MediaKind, String),
    /// Nothing: the section was refused or has ended, and keeps its place.
    Refused(usize),
}

impl Slot {
    pub(super) fn mid(&self) -> Option<&str> {
        match self {
            Self::Data(mid) | Self::Media(_, _, mid) => Some(mid),
            Self::Refused(_) => None,
        }
    }

    fn kind(&self) -> Option<Option<MediaKind>> {
        match self {
            Self::Data(_) => Some(None),
            Self::Media(_, kind, _) => Some(Some(*kind)),
            Self::Refused(_) => None,
        }
    }
}

/// The sections of an offer, and how they share a transport.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) slots: Vec<Slot>,
    /// The mids of the bundle; the first is tagged.
    pub(super) bundle: Vec<String>,
    /// The sections that do not stand alone.
    pub(super) bundle_only: BTreeSet<usize>,
}

impl Session {
    /// The description that an offer goes on from.
    pub(super) fn offer_base(&self) -> Option<&Sdp> {
        let pending = self.pending_local.as_ref();
        let pending = pending.filter(|_| self.state == SignalingState::HaveLocalOffer);
        let base = pending.or(self.current_local.as_ref());
        base.map(|description| &description.sdp)
    }

    pub(super) fn layout(&self) -> Layout {
        let mut mids = self.known_mids();
        let mut slots = Vec::new();
        let mut free = Vec::new();
        for (index, section) in self
            .offer_base()
            .iter()
            .flat_map(|sdp| &sdp.media)
            .enumerate()
        {
            let slot = self.slot_at(index, section, &mut mids);
            if matches!(slot, Slot::Refused(_)) && self.may_recycle(index) {
                free.push(index);
            }
            slots.push(slot);
        }
        let mut free = free.into_iter();
        for slot in self.new_slots(&slots, &mut mids) {
            match free.next() {
                Some(index) => slots[index] = slot, // RFC 9429 5.2.2: recycle first
                None => slots.push(slot),
            }
        }
        let bundle = self.bundle(&slots);
        let bundle_only = self.bundle_only(&slots, &bundle);
        Layout {
            slots,
            bundle,
            bundle_only,
        }
    }

    fn known_mids(&self) -> BTreeSet<String> {
        let all = [
            &self.current_local,
            &self.pending_local,
            &self.current_remote,
            &self.pending_remote,
        ];
        let sections = all.into_iter().flatten().flat_map(|d| &d.sdp.media);
        let described = sections.filter_map(|section| section.mid().map(str::to_owned));
        described.collect()
    }

    /// What a section that was described before is for now.
    fn slot_at(&self, index: usize, section: &Media, mids: &mut BTreeSet<String>) -> Slot {
        let mid = |mids| match section.mid() {
            Some(mid) => mid.to_owned(),
            None => unused(mids),
        };
        if self.offered_data() == Some(index) {
            return Slot::Data(mid(mids));
        }
        let mut here = self.transceivers.iter().filter(|t| t.is_at(index));
        match here.find(|t| t.life == Life::Active) {
            Some(t) => Slot::Media(t.id, t.kind, mid(mids)),
            None => Slot::Refused(index),
        }
    }

    /// The data section that goes on.
    fn offered_data(&self) -> Option<usize> {
        match (self.state, &self.pending_local) {
            (SignalingState::HaveLocalOffer, Some(offer)) => transport::active_data(&offer.sdp)
                .filter(|_| self.data == DataState::Wanted || self.current_data().is_some()),
            (_, _) => self.current_data(),
        }
    }

    /// Whether both ends know that the section is over (RFC 9429 5.2.2).
    fn may_recycle(&self, index: usize) -> bool {
        let refused = |sdp: &Sdp| sdp.media.get(index).is_none_or(|m| !sdp.is_active(m));
        let current = [&self.current_local, &self.current_remote];
        let over = current.into_iter().flatten().any(|d| refused(&d.sdp));
        over && !self.transceivers.iter().any(|t| t.is_at(index))
    }

    /// What has no section yet, in the order of making, data last.
    fn new_slots(&self, slots: &[Slot], mids: &mut BTreeSet<String>) -> Vec<Slot> {
        let mut new = Vec::new();
        for t in &self.transceivers {
            if t.life == Life::Active && t.now.place.is_none() {
                new.push(Slot::Media(t.id, t.kind, unused(mids)));
            }
        }
        let has_data = slots.iter().any(|slot| matches!(slot, Slot::Data(_)));
        if !has_data && self.data == DataState::Wanted {
            new.push(Slot::Data(unused(mids)));
        }
        new
    }

    /// All active sections; those that share the transport already come first, so that the
    /// tagged one is among them (RFC 9143 7.2).
    fn bundle(&self, slots: &[Slot]) -> Vec<String> {
        let active = || {
            slots
                .iter()
                .enumerate()
                .filter_map(|(i, s)| Some((i, s.mid()?)))
        };
        let (old, new): (Vec<_>, Vec<_>) = active().partition(|(i, _)| self.shares(*i));
        let tagged = self.running.as_ref().and_then(|r| r.mid.clone());
        let (first, rest): (Vec<_>, Vec<_>) = old
            .into_iter()
            .chain(new)
            .map(|(_, mid)| mid.to_owned())
            .partition(|mid| Some(mid) == tagged.as_ref());
        first.into_iter().chain(rest).collect()
    }

    /// Whether the section lies on the transport that runs.
    fn shares(&self, index: usize) -> bool {
        let active = |sdp: &Sdp| sdp.media.get(index).is_some_and(|m| sdp.is_active(m));
        let current = [&self.current_local, &self.current_remote];
        self.running.is_some()
            && current
                .into_iter()
                .all(|d| d.as_ref().is_some_and(|d| active(&d.sdp)))
            && !self.may_recycle(index)
    }

    fn bundle_only(&self, slots: &[Slot], bundle: &[String]) -> BTreeSet<usize> {
        let mut kinds = BTreeSet::new();
        let mut all = BTreeSet::new();
        for (index, slot) in slots.iter().enumerate() {
            let Some(kind) = slot.kind() else { continue };
            let first_of_kind = kinds.insert(kind);
            let tagged = slot.mid() == bundle.first().map(String::as_str);
            let alone = match self.config.bundle_policy {
                BundlePolicy::Balanced => first_of_kind,
                BundlePolicy::MaxCompat => true,
                BundlePolicy::MaxBundle => false,
            };
            if !(alone || tagged || self.shares(index)) {
                all.insert(index);
            }
        }
        all
    }

    /// Associates transceivers with the sections of an offer of ours that was set.
    pub(super) fn occupy(&mut self, slots: &[Slot]) {
        for (index, slot) in slots.iter().enumerate() {
            if let Slot::Media(id, _, mid) = slot
                && let Some(t) = self.transceivers.iter_mut().find(|t| t.id == *id)
            {
                let mid = Some(mid.clone());
                t.now.place = Some(Place { index, mid });
            }
        }
    }

    /// The sections of the peer's offer that can be accepted, all on one transport.
    pub(super) fn acceptable(&self, offer: &Sdp) -> BTreeSet<usize> {
        let data = transport::active_data(offer).filter(|_| self.data != DataState::Ended);
        let fits = |(index, section): (usize, &Media)| {
            let media = section.media_kind().is_some_and(|kind| {
                let capabilities = self.config.media.of(kind);
                media_section::may_be_accepted(offer, section)
                    && codecs::answered(capabilities, section).is_some()
                    && self.may_accept(index)
            });
            (media || data == Some(index)).then_some(index)
        };
        let fitting = offer.media.iter().enumerate().filter_map(fits).collect();
        let running = self.running.as_ref().map(|r| usize::from(r.mline_index));
        let anchor = running.filter(|index| self.shares(*index)).or(data);
        transport::on_one_transport(offer, fitting, anchor)
    }

    /// A transceiver that has ended accepts nothing.
    fn may_accept(&self, index: usize) -> bool {
        let mut here = self.transceivers.iter().filter(|t| t.is_at(index));
        here.all(|t| t.life != Life::Stopped)
    }
}

/// A mid that no section uses; it is in use from now on.
fn unused(mids: &mut BTreeSet<String>) -> String {
    let mut number = 0_u32;
    while mids.contains(&number.to_string()) {
        number += 1;
    }
    mids.insert(number.to_string());
    number.to_string()
}
