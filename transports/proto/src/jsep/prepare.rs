//! Creating descriptions (RFC 9429 5.2, 5.3).

use crate::candidate::Credentials;
use crate::id::DtlsRole;
use crate::sdp::{Attribute, Media, Sdp, Setup};

use super::codecs::{self, Formats, Numbers};
use super::create::{self, Common};
use super::error::{invalid_state, operation};
use super::media_section::{self, Content};
use super::session::{Description, Prepared, Session, SignalingState};
use super::slots::Slot;
use super::{Encoding, Error, OfferOptions, SessionDescription, TransceiverId, transport};

impl Session {
    /// W3C `createOffer` (RFC 9429 5.2).
    pub fn create_offer(&mut self, options: OfferOptions) -> Result<SessionDescription, Error> {
        self.check_open()?;
        if !matches!(
            self.state,
            SignalingState::Stable | SignalingState::HaveLocalOffer
        ) {
            let cause = format!("create_offer in {}", self.state);
            return Err(invalid_state(
                cause,
                "answer the peer's offer or roll it back first",
            ));
        }
        self.check_certificate()?;
        let credentials = self.offer_credentials(options.ice_restart);
        let prepared = self.build_offer(&credentials);
        let description = SessionDescription::offer(prepared.text.clone());
        self.last_offer = Some(prepared);
        Ok(description)
    }

    /// W3C `createAnswer` (RFC 9429 5.3).
    pub fn create_answer(&mut self) -> Result<SessionDescription, Error> {
        self.check_open()?;
        let answering = matches!(
            self.state,
            SignalingState::HaveRemoteOffer | SignalingState::HaveLocalPranswer
        );
        let Some(offer) = self.pending_remote.as_ref().filter(|_| answering) else {
            let cause = format!("create_answer in {}", self.state);
            return Err(invalid_state(cause, "set the peer's offer first"));
        };
        let offer = offer.sdp.clone();
        self.check_certificate()?;
        let prepared = self.build_answer(&offer)?;
        let description = SessionDescription::answer(prepared.text.clone());
        self.last_answer = Some(prepared);
        Ok(description)
    }

    fn check_certificate(&self) -> Result<(), Error> {
        if self.config.fingerprints.is_empty() {
            let hint = "configure a certificate";
            return Err(operation("there is no certificate to announce", hint));
        }
        Ok(())
    }

    fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// The credentials for an offer: those in use, or new ones for a restart.
    fn offer_credentials(&mut self, restart: bool) -> Credentials {
        let base = self
            .pending_generation
            .as_ref()
            .or(self.current_generation.as_ref());
        match base {
            Some(base) if !restart && !self.replace.contains(&base.credentials.ufrag) => {
                base.credentials.clone()
            }
            Some(_) | None => Credentials::generate(&mut self.rng),
        }
    }

    fn build_offer(&mut self, credentials: &Credentials) -> Prepared {
        let version = self.next_version();
        let layout = self.layout();
        let common = self.common(version);
        let current = [&self.current_local, &self.current_remote];
        let numbers = Numbers::of(current.into_iter().flatten().map(|d| &d.sdp));
        let formats = codecs::offered(&self.config.media, numbers);
        let sections = layout.slots.iter().enumerate().map(|(index, slot)| {
            let section = match slot {
                Slot::Data(mid) => common.offered_data(mid, credentials),
                Slot::Media(id, kind, mid) => {
                    let formats = formats.get(kind);
                    self.offered_media(&common, *id, mid, formats, credentials)
                }
                Slot::Refused(index) => self.refused_again(*index),
            };
            if layout.bundle_only.contains(&index) {
                create::only_bundled(section)
            } else {
                section
            }
        });
        let media = sections.collect();
        let credentials = (!layout.bundle.is_empty()).then(|| credentials.clone());
        let sdp = common.description(media, layout.bundle);
        self.prepare(sdp, credentials, layout.slots)
    }

    fn offered_media(
        &self,
        common: &Common<'_>,
        id: TransceiverId,
        mid: &str,
        formats: Option<&Formats>,
        credentials: &Credentials,
    ) -> Media {
        let found = self.transceivers.iter().find(|t| t.id == id);
        let (transceiver, formats) = found
            .zip(formats)
            .expect("slots name transceivers that exist, of kinds that are enabled");
        let direction = transceiver.direction;
        let encodings = transceiver.now.encodings.iter();
        // What arrives goes on arriving (RFC 8853 5.3.4), or the peer would end its simulcast.
        let negotiated = transceiver.negotiated.iter();
        let received = negotiated
            .flat_map(|n| &n.receive_rids)
            .filter(|_| direction.receives());
        let content = Content {
            mid: Some(mid),
            protocol: media_section::PROTOCOL,
            direction,
            transceiver,
            formats,
            send: encodings.filter(|_| direction.sends()).cloned().collect(),
            receive: received.cloned().map(Encoding::named).collect(),
        };
        common.media_section(&content, (credentials, Setup::ActPass))
    }

    fn refused_again(&self, index: usize) -> Media {
        let section = self.offer_base().and_then(|sdp| sdp.media.get(index));
        create::refused(section.expect("a slot is refused where a section was before"))
    }

    fn build_answer(&mut self, offer: &Sdp) -> Result<Prepared, Error> {
        let accepted = self.acceptable(offer);
        let chosen = match transport::carrier(offer, &accepted) {
            Some(carrier) => Some(self.answer_transport(offer, carrier)?),
            None => None,
        };
        let version = self.next_version();
        let common = self.common(version);
        let answer = |(index, section): (usize, &Media)| {
            let transport = chosen.as_ref().filter(|_| accepted.contains(&index));
            match (transport, section.media_kind()) {
                (Some((credentials, setup)), None) => {
                    common.answered_data(section, credentials, *setup)
                }
                (Some((credentials, setup)), Some(_)) => {
                    let written = self.answered_media(&common, offer, index, (credentials, *setup));
                    written.unwrap_or_else(|| create::refused(section))
                }
                (None, _) => create::refused(section),
            }
        };
        let media: Vec<Media> = offer.media.iter().enumerate().map(answer).collect();
        let is_answered = |mid: &&String| {
            let mut answered = media.iter().filter(|m| m.port != 0);
            answered.any(|m| m.mid() == Some(mid.as_str()))
        };
        let bundled = offer.bundles().flatten().filter(is_answered).cloned();
        let sdp = common.description(media.clone(), bundled.collect());
        let credentials = chosen.map(|(credentials, _)| credentials);
        Ok(self.prepare(sdp, credentials, Vec::new()))
    }

    /// The answer to the offered section of a transceiver.
    fn answered_media(
        &self,
        common: &Common<'_>,
        offer: &Sdp,
        index: usize,
        (credentials, setup): (&Credentials, Setup),
    ) -> Option<Media> {
        let section = &offer.media[index];
        let transceiver = self.transceivers.iter().find(|t| t.is_at(index))?;
        let formats = codecs::answered(self.config.media.of(transceiver.kind), section)?;
        let direction = offer
            .direction(section)
            .reversed()
            .and(transceiver.direction);
        let receive_simulcast = self.config.media.receive_simulcast;
        let (send, receive) =
            media_section::answered_simulcast(section, transceiver, direction, receive_simulcast);
        let content = Content {
            mid: section.mid(),
            protocol: &section.protocol,
            direction,
            transceiver,
            formats: &formats,
            send,
            receive,
        };
        Some(common.media_section(&content, (credentials, setup)))
    }

    /// Credentials and DTLS role for an answer.
    fn answer_transport(
        &mut self,
        offer: &Sdp,
        index: usize,
    ) -> Result<(Credentials, Setup), Error> {
        let theirs = transport::params(offer, index)?;
        let role = match (&self.running, theirs.setup) {
            (Some(running), _) => running.dtls.role,
            (None, Some(Setup::Active)) => DtlsRole::Server,
            (None, _) => DtlsRole::Client, // RFC 8842 5.3: active saves a round trip
        };
        let restarts = self
            .running
            .as_ref()
            .is_none_or(|r| r.ice.remote != theirs.credentials);
        let base = match (&self.pending_generation, &self.current_generation) {
            (Some(pending), _) => Some(pending),
            (None, current) => current.as_ref().filter(|_| !restarts),
        };
        let credentials = match base {
            Some(base) => base.credentials.clone(),
            None => Credentials::generate(&mut self.rng),
        };
        Ok((credentials, Setup::for_role(role)))
    }

    fn common(&self, version: u64) -> Common<'_> {
        Common {
            config: &self.config,
            session_id: self.session_id,
            version,
            identity: self.identity.as_deref(),
        }
    }

    /// What was built, as text: with the candidates its generation has already.
    fn prepare(&self, sdp: Sdp, credentials: Option<Credentials>, slots: Vec<Slot>) -> Prepared {
        let text = self.with_candidates(&sdp).to_string();
        Prepared {
            text,
            sdp,
            slots,
            credentials,
            stale: false,
        }
    }

    pub(super) fn render_local(&self, description: &Description) -> SessionDescription {
        SessionDescription::new(
            description.kind,
            self.with_candidates(&description.sdp).to_string(),
        )
    }

    fn with_candidates(&self, sdp: &Sdp) -> Sdp {
        let mut sdp = sdp.clone();
        let generations = [&self.pending_generation, &self.current_generation];
        for generation in generations.into_iter().flatten() {
            let ours = Attribute::IceUfrag(generation.credentials.ufrag.clone());
            let sections = sdp.media.iter().enumerate();
            let of_generation = sections.filter(|(_, media)| media.attributes.contains(&ours));
            let all = of_generation.map(|(index, _)| index).collect();
            if let Some(index) = transport::carrier(&sdp, &all) {
                let section = &mut sdp.media[index];
                create::add_candidates(section, &generation.candidates, generation.complete);
                break;
            }
        }
        sdp
    }
}
