//! Creating descriptions (RFC 9429 5.2, 5.3).

use crate::candidate::Credentials;
use crate::id::DtlsRole;
use crate::sdp::{Attribute, Media, Sdp, Setup};

use super::create::{self, Common};
use super::error::{invalid_state, operation};
use super::session::{DataState, Description, Prepared, Session, SignalingState};
use super::{Error, OfferOptions, SessionDescription, transport};

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
        let before = self.current_local.as_ref().map(|d| &d.sdp);
        let common = self.common(version);
        let (mut media, mut data_mid) = (Vec::new(), None);
        let data = self.current_data();
        for (index, section) in before.iter().flat_map(|sdp| &sdp.media).enumerate() {
            let goes_on = data == Some(index);
            let mid = section.mid().map(str::to_owned);
            if goes_on {
                media.push(common.offered_data(mid.as_deref().unwrap_or_default(), credentials));
                data_mid = Some(mid);
            } else {
                media.push(create::refused(section));
            }
        }
        if data_mid.is_none() && self.data == DataState::Wanted {
            let remote = self.current_remote.as_ref().map(|d| &d.sdp);
            let known: Vec<&Sdp> = before.into_iter().chain(remote).collect();
            let mid = create::unused_mid(&known);
            let section = common.offered_data(&mid, credentials);
            match media.iter_mut().find(|media| media.port == 0) {
                Some(free) => *free = section, // RFC 9429 5.2.2: recycle first
                None => media.push(section),
            }
            data_mid = Some(Some(mid));
        }
        let credentials = data_mid.is_some().then(|| credentials.clone());
        let sdp = common.description(media, data_mid.flatten());
        self.prepare(sdp, credentials)
    }

    fn build_answer(&mut self, offer: &Sdp) -> Result<Prepared, Error> {
        let index = transport::active_data(offer).filter(|_| self.data != DataState::Ended);
        let chosen = match index {
            Some(index) => Some((index, self.answer_transport(offer, index)?)),
            None => None,
        };
        let version = self.next_version();
        let common = self.common(version);
        let answer = |(at, section): (usize, &Media)| match &chosen {
            Some((index, (credentials, setup))) if at == *index => {
                common.answered_data(section, credentials, *setup)
            }
            _ => create::refused(section),
        };
        let media = offer.media.iter().enumerate().map(answer).collect();
        let mid = index.and_then(|index| offer.media[index].mid());
        let bundled = mid.filter(|mid| offer.bundles().any(|b| b.iter().any(|m| m == mid)));
        let sdp = common.description(media, bundled.map(str::to_owned));
        let credentials = chosen.map(|(_, (credentials, _))| credentials);
        Ok(self.prepare(sdp, credentials))
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
    fn prepare(&self, sdp: Sdp, credentials: Option<Credentials>) -> Prepared {
        let text = self.with_candidates(&sdp).to_string();
        Prepared {
            text,
            sdp,
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
            let section = sdp
                .media
                .iter_mut()
                .find(|media| media.attributes.contains(&ours));
            if let Some(section) = section {
                create::add_candidates(section, &generation.candidates, generation.complete);
                break;
            }
        }
        sdp
    }
}
