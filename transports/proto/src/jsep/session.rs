//! The state of a session, and the calls that read it or prepare a description.

use std::collections::{BTreeSet, VecDeque};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::candidate::{Candidate, Credentials};
use crate::certificate::Fingerprint;
use crate::id::DtlsRole;
use crate::sdp::{Attribute, Capabilities, Media, Sdp, Setup};

use super::create::{self, Common};
use super::effect::{Effect, Negotiated};
use super::error::{invalid_state, operation};
use super::{Error, SdpType, SessionDescription, transport};

/// Longest identity assertion taken: what fits a line of SDP.
const MAX_IDENTITY_LEN: usize = 12 * 1024;

/// How a session presents itself.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// Where session id and ICE credentials come from: 32 random bytes, used once.
    pub seed: [u8; 32],
    /// The fingerprints of our certificate, strongest first. At least one.
    pub fingerprints: Vec<Fingerprint>,
    /// Our `a=sctp-port`. 5000, as everybody (RFC 8841 5.2).
    pub sctp_port: u16,
    /// The longest message we take (`a=max-message-size`); 0 takes any. 256 KiB, as Chromium:
    /// each channel may hold one such message that is half received.
    pub max_message_size: u64,
    /// What to announce to other Peerloom peers; `None` keeps silent about it.
    pub peerloom: Option<Capabilities>,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            seed: [0; 32],
            fingerprints: Vec::new(),
            sctp_port: 5000,
            max_message_size: 256 * 1024,
            peerloom: Some(Capabilities::default()),
        }
    }
}

/// W3C webrtc-pc 4.3.1 `RTCSignalingState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SignalingState {
    /// Nothing is being negotiated.
    Stable,
    /// Our offer waits for an answer.
    HaveLocalOffer,
    /// The peer's offer waits for our answer.
    HaveRemoteOffer,
    /// We answered provisionally.
    HaveLocalPranswer,
    /// The peer answered provisionally.
    HaveRemotePranswer,
    /// The session is over.
    Closed,
}

impl SignalingState {
    /// The W3C name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::HaveLocalOffer => "have-local-offer",
            Self::HaveRemoteOffer => "have-remote-offer",
            Self::HaveLocalPranswer => "have-local-pranswer",
            Self::HaveRemotePranswer => "have-remote-pranswer",
            Self::Closed => "closed",
        }
    }
}

impl std::fmt::Display for SignalingState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// W3C webrtc-pc 4.2.5 `RTCOfferOptions`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OfferOptions {
    /// New ICE credentials, although the old ones still serve.
    pub ice_restart: bool,
}

/// One side of an offer/answer session. See the [module](super).
///
/// Order of use: call, then drain [`poll_effect`](Self::poll_effect) until `None`. A call that
/// fails changes nothing, except that the rollback which a remote offer implies stands.
#[derive(Debug)]
pub struct Session {
    pub(super) config: SessionConfig,
    pub(super) rng: ChaCha20Rng,
    pub(super) session_id: u64,
    pub(super) version: u64,
    pub(super) state: SignalingState,
    /// Filled by each call, drained by the shell after it. A call adds at most one entry per
    /// candidate it carries and ten more.
    pub(super) effects: VecDeque<Effect>,
    pub(super) identity: Option<String>,
    pub(super) data: DataState,
    pub(super) negotiation_needed: bool,
    /// `[[LocalIceCredentialsToReplace]]` of webrtc-pc 4.4.1.
    pub(super) replace: BTreeSet<String>,
    /// `[[LastCreatedOffer]]` and `[[LastCreatedAnswer]]` of webrtc-pc 4.4.1.
    pub(super) last_offer: Option<Prepared>,
    pub(super) last_answer: Option<Prepared>,
    pub(super) current_local: Option<Description>,
    pub(super) pending_local: Option<Description>,
    pub(super) current_remote: Option<Description>,
    pub(super) pending_remote: Option<Description>,
    pub(super) current_generation: Option<Generation>,
    pub(super) pending_generation: Option<Generation>,
    /// Whether we made the first offer that was answered; settles the ICE role.
    pub(super) initial_offerer: Option<bool>,
    pub(super) running: Option<Negotiated>,
    /// Candidates of the peer's current generation that were passed on.
    pub(super) delivered: BTreeSet<String>,
}

/// Where the data section stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DataState {
    /// Nobody asked for one here.
    Unwanted,
    /// The application made a channel.
    Wanted,
    /// The peer refused it; it may still offer one itself.
    Refused,
    /// It ran and was ended. Final: the transport is gone.
    Ended,
}

/// A description that was set.
#[derive(Debug, Clone)]
pub(super) struct Description {
    pub(super) kind: SdpType,
    pub(super) sdp: Sdp,
}

/// A description that was created and may be set.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub(super) text: String,
    pub(super) sdp: Sdp,
    /// The credentials in its data section, if it has one.
    pub(super) credentials: Option<Credentials>,
    /// Something changed since: the implicit form makes a new one.
    pub(super) stale: bool,
}

/// The local half of an ICE generation.
#[derive(Debug, Clone)]
pub(super) struct Generation {
    pub(super) credentials: Credentials,
    pub(super) candidates: Vec<Candidate>,
    pub(super) complete: bool,
}

impl Session {
    /// A session in `stable` that nothing is known about yet.
    pub fn new(config: SessionConfig) -> Self {
        let mut rng = ChaCha20Rng::from_seed(config.seed);
        // RFC 9429 5.2.1: 64 bits of which the highest is zero.
        let session_id = rng.next_u64() >> 1;
        Self {
            config,
            rng,
            session_id,
            version: 0,
            state: SignalingState::Stable,
            effects: VecDeque::new(),
            identity: None,
            data: DataState::Unwanted,
            negotiation_needed: false,
            replace: BTreeSet::new(),
            last_offer: None,
            last_answer: None,
            current_local: None,
            pending_local: None,
            current_remote: None,
            pending_remote: None,
            current_generation: None,
            pending_generation: None,
            initial_offerer: None,
            running: None,
            delivered: BTreeSet::new(),
        }
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// W3C `signalingState`.
    pub fn signaling_state(&self) -> SignalingState {
        self.state
    }

    /// Our session id, as in the `o=` line of all our descriptions.
    pub fn session_id(&self) -> u64 {
        self.session_id
    }

    /// The flag `[[NegotiationNeeded]]` (webrtc-pc 4.7.3).
    pub fn negotiation_needed(&self) -> bool {
        self.negotiation_needed
    }

    /// W3C `localDescription`: pending, else current, with the candidates gathered so far.
    pub fn local_description(&self) -> Option<SessionDescription> {
        self.pending_local_description()
            .or_else(|| self.current_local_description())
    }

    /// W3C `currentLocalDescription`.
    pub fn current_local_description(&self) -> Option<SessionDescription> {
        self.current_local
            .as_ref()
            .map(|description| self.render_local(description))
    }

    /// W3C `pendingLocalDescription`.
    pub fn pending_local_description(&self) -> Option<SessionDescription> {
        self.pending_local
            .as_ref()
            .map(|description| self.render_local(description))
    }

    /// W3C `remoteDescription`: pending, else current, with the candidates added so far.
    pub fn remote_description(&self) -> Option<SessionDescription> {
        self.pending_remote_description()
            .or_else(|| self.current_remote_description())
    }

    /// W3C `currentRemoteDescription`.
    pub fn current_remote_description(&self) -> Option<SessionDescription> {
        self.current_remote.as_ref().map(Description::render)
    }

    /// W3C `pendingRemoteDescription`.
    pub fn pending_remote_description(&self) -> Option<SessionDescription> {
        self.pending_remote.as_ref().map(Description::render)
    }

    /// W3C `canTrickleIceCandidates`: unknown before there is a remote description.
    pub fn can_trickle(&self) -> Option<bool> {
        let sdp = self.remote_sdp()?;
        let section = transport::active_data(sdp).and_then(|index| sdp.media.get(index));
        let none = || {
            sdp.media
                .first()
                .is_some_and(|media| sdp.has_ice_option("trickle", media))
        };
        Some(section.map_or_else(none, |section| sdp.has_ice_option("trickle", section)))
    }

    /// What both ends agreed on last, once transports were started.
    pub fn negotiated(&self) -> Option<&Negotiated> {
        self.running.as_ref()
    }

    /// What `set_local(None)` would set.
    pub fn implicit_type(&self) -> SdpType {
        match self.state {
            SignalingState::HaveRemoteOffer | SignalingState::HaveLocalPranswer => SdpType::Answer,
            SignalingState::Stable
            | SignalingState::HaveLocalOffer
            | SignalingState::HaveRemotePranswer
            | SignalingState::Closed => SdpType::Offer,
        }
    }

    /// The identity assertion to put into descriptions created from now on (RFC 8827 5).
    pub fn set_identity(&mut self, assertion: Option<String>) -> Result<(), Error> {
        let fits =
            |a: &String| a.len() <= MAX_IDENTITY_LEN && a.bytes().all(|b| b.is_ascii_graphic());
        if assertion.as_ref().is_some_and(|a| a.is_empty() || !fits(a)) {
            return Err(Error::Syntax {
                cause: "the identity assertion does not fit a line of SDP".to_owned(),
                hint: "encode it in base64, at most 12 KiB",
            });
        }
        self.identity = assertion;
        self.mark_stale();
        Ok(())
    }

    /// The application wants data channels: the next offer has a data section.
    pub fn request_data(&mut self) -> Result<(), Error> {
        self.check_open()?;
        match self.data {
            DataState::Ended => {
                let hint = "make a new peer connection";
                return Err(invalid_state(
                    "the data section was ended by the peer",
                    hint,
                ));
            }
            DataState::Wanted => return Ok(()),
            DataState::Unwanted | DataState::Refused => self.data = DataState::Wanted,
        }
        self.mark_stale();
        self.update_negotiation_needed();
        Ok(())
    }

    /// W3C `restartIce` (webrtc-pc 4.4.1.9): the next offer has new ICE credentials.
    pub fn restart_ice(&mut self) {
        if self.state == SignalingState::Closed {
            return;
        }
        let generations = [&self.current_generation, &self.pending_generation];
        let ufrags = generations
            .into_iter()
            .flatten()
            .map(|g| g.credentials.ufrag.clone());
        self.replace = ufrags.collect();
        self.mark_stale();
        self.update_negotiation_needed();
    }

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

    /// W3C `close`: every later call fails, and no effect follows.
    pub fn close(&mut self) {
        self.state = SignalingState::Closed;
        self.effects.clear();
        self.negotiation_needed = false;
    }

    pub(super) fn check_open(&self) -> Result<(), Error> {
        if self.state == SignalingState::Closed {
            return Err(invalid_state(
                "the peer connection is closed",
                "make a new one",
            ));
        }
        Ok(())
    }

    fn check_certificate(&self) -> Result<(), Error> {
        if self.config.fingerprints.is_empty() {
            let hint = "configure a certificate";
            return Err(operation("there is no certificate to announce", hint));
        }
        Ok(())
    }

    pub(super) fn local_sdp(&self) -> Option<&Sdp> {
        self.pending_local
            .as_ref()
            .or(self.current_local.as_ref())
            .map(|d| &d.sdp)
    }

    pub(super) fn remote_sdp(&self) -> Option<&Sdp> {
        self.pending_remote
            .as_ref()
            .or(self.current_remote.as_ref())
            .map(|d| &d.sdp)
    }

    pub(super) fn emit(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub(super) fn mark_stale(&mut self) {
        for prepared in [&mut self.last_offer, &mut self.last_answer]
            .into_iter()
            .flatten()
        {
            prepared.stale = true;
        }
    }

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

    fn is_negotiation_needed(&self) -> bool {
        let has_data = || {
            self.current_local
                .as_ref()
                .is_some_and(|d| transport::active_data(&d.sdp).is_some())
        };
        !self.replace.is_empty() || self.data == DataState::Wanted && !has_data()
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
        for section in before.iter().flat_map(|sdp| &sdp.media) {
            let goes_on = section.is_data() && section.port != 0 && data_mid.is_none();
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

    fn render_local(&self, description: &Description) -> SessionDescription {
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

impl Description {
    fn render(&self) -> SessionDescription {
        SessionDescription::new(self.kind, self.sdp.to_string())
    }
}
