//! Whether a negotiation is needed (webrtc-pc 4.7.3).

use std::collections::BTreeSet;

use crate::sdp::Msid;

use super::effect::Effect;
use super::session::{DataState, Session, SignalingState};
use super::transceiver::{Life, Transceiver};
use super::{SdpType, media_section};

impl Session {
    /// webrtc-pc 4.7.3, "update the negotiation-needed flag".
    pub(super) fn update_negotiation_needed(&mut self) {
        if self.state != SignalingState::Stable {
            return;
        }
        let needed = self.is_negotiation_needed();
        if needed && !self.negotiation_needed {
            self.emit(Effect::NegotiationNeeded);
        }
        self.negotiation_needed = needed;
    }

    /// webrtc-pc 4.7.3, "check if negotiation is needed".
    fn is_negotiation_needed(&self) -> bool {
        let wants_data = self.data == DataState::Wanted && self.current_data().is_none();
        !self.replace.is_empty()
            || wants_data
            || self.transceivers.iter().any(|t| self.needs(t))
            || self.has_orphan()
    }

    fn needs(&self, t: &Transceiver) -> bool {
        match t.life {
            Life::Stopping => true,
            Life::Stopped => t
                .mline_index()
                .is_some_and(|index| self.is_described(index)),
            Life::Active => match t.mline_index() {
                None => true,
                Some(index) => self.differs(t, index),
            },
        }
    }

    /// Whether the section at `index` is active in either current description.
    fn is_described(&self, index: usize) -> bool {
        let current = [&self.current_local, &self.current_remote];
        current.into_iter().flatten().any(|d| {
            let section = d.sdp.media.get(index);
            section.is_some_and(|section| d.sdp.is_active(section))
        })
    }

    /// Whether the section does not say what the transceiver wants.
    fn differs(&self, t: &Transceiver, index: usize) -> bool {
        let (Some(local), Some(remote)) = (&self.current_local, &self.current_remote) else {
            return true;
        };
        let (ours, theirs) = (local.sdp.media.get(index), remote.sdp.media.get(index));
        let (Some(ours), Some(theirs)) = (ours, theirs) else {
            return true;
        };
        let said: BTreeSet<&str> = ours.msids().map(|m| m.stream.as_str()).collect();
        let wanted: Vec<Msid> = media_section::msids(t).collect();
        let wanted: BTreeSet<&str> = wanted.iter().map(|m| m.stream.as_str()).collect();
        if t.direction.sends() && said != wanted {
            return true;
        }
        let ours = local.sdp.direction(ours);
        let theirs = remote.sdp.direction(theirs).reversed();
        match local.kind {
            SdpType::Offer => ours != t.direction && theirs != t.direction,
            SdpType::Answer | SdpType::PrAnswer | SdpType::Rollback => {
                ours != t.direction.and(theirs)
            }
        }
    }

    /// Whether a media section is in use here that belongs to no transceiver: the one it was
    /// offered for was stopped before the offer was set.
    fn has_orphan(&self) -> bool {
        let (Some(local), Some(remote)) = (&self.current_local, &self.current_remote) else {
            return false;
        };
        let mut sections = local.sdp.media.iter().zip(&remote.sdp.media).enumerate();
        sections.any(|(index, (ours, theirs))| {
            ours.media_kind().is_some()
                && local.sdp.is_active(ours)
                && remote.sdp.is_active(theirs)
                && !self.transceivers.iter().any(|t| t.is_at(index))
        })
    }
}
