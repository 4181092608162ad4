//! What descriptions that are set mean for transceivers (RFC 9429 5.9 to 5.11, webrtc-pc 4.4.1.5).

use crate::sdp::{Direction, Media, MediaKind, Msid, RidDirection, Sdp};

use super::effect::{Effect, NegotiatedMedia};
use super::session::Session;
use super::transceiver::{Encoding, Life, Negotiable, Place, Transceiver, TransceiverId};
use super::{SdpType, codecs, media_section};

impl Session {
    /// A remote offer: each section gets the transceiver that was there before, one that waits for
    /// a section, or a new one (RFC 9429 5.10).
    pub(super) fn associate_remote_offer(&mut self) {
        let Some(offer) = self.pending_remote.as_ref().map(|d| d.sdp.clone()) else {
            return;
        };
        self.forget_replaced_offer(&offer);
        for (index, section) in offer.media.iter().enumerate() {
            let Some(kind) = section.media_kind().filter(|k| self.config.media.has(*k)) else {
                continue;
            };
            let known = self.transceiver_of(index, section, kind);
            match known {
                Some(id) if !offer.is_active(section) => self.end(id),
                None if !offer.is_active(section) || self.has_ended(index) => {}
                _ => {
                    let direction = offer.direction(section).reversed();
                    let id = known
                        .or_else(|| self.waiting(kind, direction))
                        .unwrap_or_else(|| self.make_for_peer(kind));
                    self.place(id, index, section);
                    self.receive(id, direction, section);
                }
            }
        }
    }

    /// The offer before this one was replaced before it was answered: what it alone had asked for
    /// is taken back.
    fn forget_replaced_offer(&mut self, offer: &Sdp) {
        let gone = |t: &Transceiver| {
            let place = t.now.place.as_ref().filter(|_| t.stable.place.is_none());
            place.is_some_and(|place| {
                let section = offer.media.get(place.index);
                section.is_none_or(|section| !fits(place, section, t.kind))
            })
        };
        let ids: Vec<_> = self
            .transceivers
            .iter()
            .filter(|t| gone(t))
            .map(|t| t.id)
            .collect();
        for id in ids {
            self.take_back(id);
        }
    }

    fn transceiver_of(
        &self,
        index: usize,
        section: &Media,
        kind: MediaKind,
    ) -> Option<TransceiverId> {
        let here = |t: &&Transceiver| {
            let place = t.now.place.as_ref();
            t.life != Life::Stopped
                && place.is_some_and(|p| p.index == index && fits(p, section, kind))
        };
        let found = self.transceivers.iter().find(here)?;
        (found.kind == kind).then_some(found.id)
    }

    /// A transceiver that ended holds the section until both ends know.
    fn has_ended(&self, index: usize) -> bool {
        let mut here = self.transceivers.iter().filter(|t| t.is_at(index));
        here.any(|t| t.life == Life::Stopped)
    }

    /// One made by `add_track` that has no section yet, for a peer that receives.
    fn waiting(&self, kind: MediaKind, ours: Direction) -> Option<TransceiverId> {
        let fits = |t: &&Transceiver| {
            let free = t.life == Life::Active && t.now.place.is_none();
            t.kind == kind && t.by_track && free && ours.sends()
        };
        self.transceivers.iter().find(fits).map(|t| t.id)
    }

    fn make_for_peer(&mut self, kind: MediaKind) -> TransceiverId {
        let transceiver = self.make(kind, Direction::RecvOnly);
        if let Some(made) = self.transceivers.last_mut() {
            made.by_pending_offer = true;
        }
        self.emit(Effect::TransceiverAdded { transceiver, kind });
        transceiver
    }

    fn place(&mut self, id: TransceiverId, index: usize, section: &Media) {
        let Some(t) = self.transceivers.iter_mut().find(|t| t.id == id) else {
            return;
        };
        let mid = section.mid().map(str::to_owned);
        t.now.place = Some(Place { index, mid });
        // webrtc-pc 4.4.1.5: the peer names the encodings, if the application did not.
        let wanted = media_section::simulcast(section, RidDirection::Recv);
        if t.stable.place.is_none() && t.now.encodings.len() <= 1 && wanted.len() > 1 {
            t.now.encodings = wanted;
        }
    }

    /// webrtc-pc 5.4 and 4.4.1.5, "process the addition" and "the removal of a remote track".
    fn receive(&mut self, id: TransceiverId, direction: Direction, section: &Media) {
        let streams = section.msids().filter(|m| m.stream != Msid::NO_STREAM);
        let received = direction.receives().then(|| streams.cloned().collect());
        self.set_receiving(id, received);
    }

    fn set_receiving(&mut self, id: TransceiverId, to: Option<Vec<Msid>>) {
        let Some(t) = self.transceivers.iter_mut().find(|t| t.id == id) else {
            return;
        };
        // A stopped one receives nothing, whatever the peer says.
        let to = to.filter(|_| t.life == Life::Active);
        if t.now.receiving == to {
            return;
        }
        t.now.receiving.clone_from(&to);
        let transceiver = id;
        self.emit(match to {
            Some(streams) => Effect::RemoteTrack {
                transceiver,
                streams,
            },
            None => Effect::RemoteTrackEnded { transceiver },
        });
    }

    /// An offer is rolled back (RFC 9429 5.7): all is as it was in `stable`, and what the peer's
    /// offer alone had asked for is gone.
    pub(super) fn roll_transceivers_back(&mut self) {
        let ids: Vec<_> = self.transceivers.iter().map(|t| t.id).collect();
        for id in ids {
            self.take_back(id);
        }
    }

    fn take_back(&mut self, id: TransceiverId) {
        let Some(t) = self.transceivers.iter_mut().find(|t| t.id == id) else {
            return;
        };
        let Negotiable {
            place,
            encodings,
            receiving,
        } = t.stable.clone();
        let unplaced = place.is_none();
        t.now.place = place;
        t.now.encodings = encodings;
        let (removed, life) = (t.by_pending_offer, t.life);
        self.set_receiving(id, receiving);
        if removed {
            self.transceivers.retain(|t| t.id != id);
            self.emit(Effect::TransceiverRemoved { transceiver: id });
        } else if unplaced && life != Life::Active {
            self.end(id);
            self.transceivers.retain(|t| t.id != id);
        }
    }

    /// An answer, ours or the peer's: directions, codecs and encodings are settled.
    pub(super) fn apply_answer(&mut self, kind: SdpType) {
        let descriptions = self.local_sdp().cloned().zip(self.remote_sdp().cloned());
        let Some((local, remote)) = descriptions else {
            return;
        };
        for (index, (ours, theirs)) in local.media.iter().zip(&remote.media).enumerate() {
            let Some(id) = self
                .transceivers
                .iter()
                .find(|t| t.is_at(index))
                .map(|t| t.id)
            else {
                continue;
            };
            if local.is_active(ours) && remote.is_active(theirs) {
                let sent = remote.direction(theirs).reversed();
                let direction = local.direction(ours).and(sent);
                self.receive(id, direction, theirs);
                self.settle_media(id, direction, (index, ours, theirs));
            } else if kind == SdpType::Answer {
                self.end(id);
            }
        }
        if kind == SdpType::Answer {
            self.remember_stable();
        }
    }

    fn settle_media(
        &mut self,
        id: TransceiverId,
        direction: Direction,
        (index, ours, theirs): (usize, &Media, &Media),
    ) {
        let Some(t) = self.transceivers.iter_mut().find(|t| t.id == id) else {
            return;
        };
        if t.life == Life::Stopped {
            return;
        }
        let send = both(ours, theirs, RidDirection::Send);
        if t.now.encodings.len() > 1 && direction.sends() {
            settle_encodings(&mut t.now.encodings, &send);
        }
        t.current_direction = Some(direction);
        t.has_sent |= direction.sends();
        let (send_codecs, receive_codecs, extensions) = codecs::agreed(ours, theirs);
        let negotiated = NegotiatedMedia {
            transceiver: id,
            kind: t.kind,
            mid: t.mid().map(str::to_owned),
            mline_index: u16::try_from(index).unwrap_or(u16::MAX),
            direction,
            send: send_codecs,
            receive: receive_codecs,
            extensions,
            send_rids: send,
            receive_rids: both(ours, theirs, RidDirection::Recv),
        };
        if t.negotiated.as_ref() != Some(&negotiated) {
            t.negotiated = Some(negotiated.clone());
            self.emit(Effect::MediaNegotiated(Box::new(negotiated)));
        }
    }

    /// The state is `stable`: a later rollback comes back to this. What both ends know to be over
    /// is forgotten.
    fn remember_stable(&mut self) {
        self.transceivers.retain(|t| t.life != Life::Stopped);
        for t in &mut self.transceivers {
            t.stable = t.now.clone();
            t.by_pending_offer = false;
        }
    }
}

/// Whether the section is the one that the place means.
fn fits(place: &Place, section: &Media, kind: MediaKind) -> bool {
    let same_mid = section.mid().is_none() || section.mid() == place.mid.as_deref();
    same_mid && section.media_kind() == Some(kind)
}

/// The encodings in our direction that both descriptions name.
fn both(ours: &Media, theirs: &Media, direction: RidDirection) -> Vec<String> {
    let contrary = match direction {
        RidDirection::Send => RidDirection::Recv,
        RidDirection::Recv => RidDirection::Send,
    };
    let theirs = media_section::simulcast(theirs, contrary);
    let ours = media_section::simulcast(ours, direction).into_iter();
    let known = ours.filter(|e| theirs.iter().any(|t| t.rid == e.rid));
    known.filter_map(|e| e.rid).collect()
}

/// webrtc-pc 4.4.1.5: encodings that the answer leaves out are gone; without any, the first goes
/// on without a name.
fn settle_encodings(encodings: &mut Vec<Encoding>, agreed: &[String]) {
    let kept = |e: &Encoding| e.rid.as_ref().is_some_and(|rid| agreed.contains(rid));
    if agreed.len() > 1 {
        encodings.retain(kept);
    } else {
        encodings.truncate(1);
        encodings.iter_mut().for_each(|e| e.rid = None);
    }
}
