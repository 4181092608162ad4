//! The transports, senders and receivers of one side: they do what effects say, and object when
//! that makes no sense.

use std::collections::BTreeMap;

use peerloom_transports_proto::candidate::{Candidate, Credentials};
use peerloom_transports_proto::id::DtlsRole;
use peerloom_transports_proto::jsep::{Effect, NegotiatedMedia, StartIce, TransceiverId};
use peerloom_transports_proto::sdp::Codec;

#[derive(Debug, Default)]
pub(super) struct Obedient {
    pub(super) ice: Option<StartIce>,
    pub(super) dtls: Option<DtlsRole>,
    pub(super) sctp: bool,
    gathering: Vec<Credentials>,
    remote: Vec<Candidate>,
    /// Transceivers that were told of, and whether the peer sends there.
    pub(super) receiving: BTreeMap<TransceiverId, bool>,
    ended: Vec<TransceiverId>,
    media: BTreeMap<TransceiverId, NegotiatedMedia>,
}

impl Obedient {
    pub(super) fn obey(&mut self, effect: &Effect) {
        match effect {
            Effect::Gather(_) | Effect::DiscardGeneration { .. } => self.gather(effect),
            Effect::StartIce(start) => {
                assert!(self.ice.is_none(), "ICE starts once");
                assert!(
                    self.gathering.contains(&start.local),
                    "under announced credentials"
                );
                self.ice = Some(start.clone());
            }
            Effect::RestartIce(start) => {
                let before = self.ice.replace(start.clone());
                let before = before.expect("a restart needs a start");
                assert_eq!(before.role, start.role, "a restart keeps the role");
                assert!(self.gathering.contains(&start.local));
                self.remote.clear();
            }
            Effect::AddRemoteCandidate { candidate } => {
                assert!(self.ice.is_some(), "candidates come after the start");
                assert!(!self.remote.contains(candidate), "and once");
                self.remote.push(candidate.clone());
            }
            Effect::RemoteCandidatesComplete => assert!(self.ice.is_some()),
            Effect::StartDtls(start) => {
                assert!(self.ice.is_some() && self.dtls.is_none());
                self.dtls = Some(start.role);
            }
            Effect::StartSctp(_) => {
                assert!(self.dtls.is_some() && !self.sctp);
                self.sctp = true;
            }
            Effect::StopTransport => {
                assert!(self.dtls.take().is_some() && !self.sctp);
                self.ice = None;
                self.remote.clear();
            }
            Effect::UpdateSctp(_) | Effect::StopData(_) => panic!("nobody asked for {effect:?}"),
            Effect::TransceiverAdded { .. }
            | Effect::TransceiverRemoved { .. }
            | Effect::TransceiverStopped { .. }
            | Effect::RemoteTrack { .. }
            | Effect::RemoteTrackEnded { .. }
            | Effect::MediaNegotiated(_) => self.transceive(effect),
            Effect::SignalingStateChange(_)
            | Effect::NegotiationNeeded
            | Effect::RemoteIdentity(_) => {}
        }
    }

    fn gather(&mut self, effect: &Effect) {
        match effect {
            Effect::Gather(gather) => self.gathering.push(gather.credentials.clone()),
            Effect::DiscardGeneration { ufrag } => {
                let before = self.gathering.len();
                self.gathering.retain(|c| &c.ufrag != ufrag);
                let after = self.gathering.len();
                assert_eq!(after + 1, before, "only what was gathered is discarded");
            }
            _ => {}
        }
    }

    /// The application made it, or took it from a rolled back offer.
    pub(super) fn made(&mut self, id: TransceiverId) {
        self.receiving.entry(id).or_insert(false);
    }

    fn transceive(&mut self, effect: &Effect) {
        match effect {
            Effect::TransceiverAdded { transceiver, .. } => {
                let known = self.receiving.insert(*transceiver, false);
                assert!(known.is_none() && !self.ended.contains(transceiver));
            }
            Effect::TransceiverRemoved { transceiver }
            | Effect::TransceiverStopped { transceiver } => {
                let receiving = self.receiving.remove(transceiver);
                assert_eq!(receiving, Some(false), "the track ends first, all end once");
                self.ended.push(*transceiver);
            }
            Effect::RemoteTrack { transceiver, .. } => {
                let known = self.receiving.insert(*transceiver, true);
                assert!(known.is_some(), "{transceiver:?} is gone");
            }
            Effect::RemoteTrackEnded { transceiver } => {
                let before = self.receiving.insert(*transceiver, false);
                assert_eq!(before, Some(true), "only what was sent ends");
            }
            Effect::MediaNegotiated(negotiated) => {
                assert!(self.receiving.contains_key(&negotiated.transceiver));
                assert!(!negotiated.send.is_empty() && !negotiated.receive.is_empty());
                let id = negotiated.transceiver;
                if let Some(before) = self.media.insert(id, (**negotiated).clone()) {
                    check_numbers_stay(&before, negotiated);
                }
            }
            _ => {}
        }
    }
}

/// What was negotiated keeps its number (RFC 3264 8.3.2).
fn check_numbers_stay(before: &NegotiatedMedia, after: &NegotiatedMedia) {
    for old in &before.receive {
        let same = |new: &&Codec| new.is(&old.name) && new.parameters == old.parameters;
        let numbers: Vec<u8> = after
            .receive
            .iter()
            .filter(same)
            .map(|c| c.payload_type)
            .collect();
        let stays = numbers.is_empty() || numbers.contains(&old.payload_type);
        assert!(
            stays,
            "{} was {} and is {numbers:?}",
            old.name, old.payload_type
        );
    }
}
