//! The state of a session, and the calls that read it or prepare a description.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

use crate::candidate::{Candidate, Credentials};
use crate::certificate::Fingerprint;
use crate::sdp::{Capabilities, Media, Sdp};

use super::effect::{Effect, Negotiated};
use super::error::invalid_state;
use super::slots::Slot;
use super::transceiver::Transceiver;
use super::{BundlePolicy, Error, MediaCapabilities, SdpType, SessionDescription, transport};

/// Longest identity assertion taken: what fits a line of SDP.
const MAX_IDENTITY_LEN: usize = 12 * 1024;

/// How a session presents itself.
#[derive(Clone)]
pub struct SessionConfig {
    /// Where session id and ICE credentials come from: 32 random bytes, used once.
    pub seed: [u8; 32],
    /// The fingerprints of our certificate, strongest first. At least one.
    pub fingerprints: Vec<Fingerprint>,
    /// The longest message we take (`a=max-message-size`); 0 takes any. 256 KiB, as Chromium:
    /// each channel may hold one such message that is half received.
    pub max_message_size: u64,
    /// What to announce to other Peerloom peers; `None` keeps silent about it.
    pub peerloom: Option<Capabilities>,
    /// What audio and video can be negotiated; none by default.
    pub media: MediaCapabilities,
    /// Which sections of our offers insist on being bundled.
    pub bundle_policy: BundlePolicy,
}

impl fmt::Debug for SessionConfig {
    /// Without the seed, from which our ICE passwords follow.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionConfig")
            .field("fingerprints", &self.fingerprints)
            .field("max_message_size", &self.max_message_size)
            .field("peerloom", &self.peerloom)
            .field("media", &self.media)
            .field("bundle_policy", &self.bundle_policy)
            .finish_non_exhaustive()
    }
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            seed: [0; 32],
            fingerprints: Vec::new(),
            max_message_size: 256 * 1024,
            peerloom: Some(Capabilities::default()),
            media: MediaCapabilities::none(),
            bundle_policy: BundlePolicy::default(),
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

impl fmt::Display for SignalingState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// W3C webrtc-pc 4.2.6 `RTCOfferOptions`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OfferOptions {
    /// New ICE credentials, although the old ones still serve.
    pub ice_restart: bool,
}

/// One side of an offer/answer session. See the [module](super).
///
/// Order of use: call, then drain [`poll_effect`](Self::poll_effect) until `None`. A call that
/// fails changes nothing, except that the rollback which a remote offer implies stands.
pub struct Session {
    pub(super) config: SessionConfig,
    pub(super) rng: ChaCha20Rng,
    pub(super) session_id: u64,
    pub(super) version: u64,
    pub(super) state: SignalingState,
    /// Filled by each call, drained by the shell after it. A call adds at most one entry per
    /// candidate it carries, five per transceiver, and ten more.
    pub(super) effects: VecDeque<Effect>,
    pub(super) identity: Option<String>,
    pub(super) data: DataState,
    /// In the order of making. Filled by the application, up to `MAX_TRANSCEIVERS`, and by remote
    /// offers, one per section; emptied of those that both ends know to be over.
    pub(super) transceivers: Vec<Transceiver>,
    pub(super) next_transceiver: u64,
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
    pub(super) running: Option<Negotiated>,
    /// Whether the peer has shown that it knows what was agreed on.
    pub(super) heard: bool,
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
    /// What each section of an offer is for; empty for an answer.
    pub(super) slots: Vec<Slot>,
    /// The credentials of its transport, if it has one.
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

impl fmt::Debug for Session {
    /// Without descriptions, which hold ICE passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("session_id", &self.session_id)
            .field("state", &self.state)
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
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
            transceivers: Vec::new(),
            next_transceiver: 0,
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
            running: None,
            heard: true,
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
        let trickles = |media: &Media| sdp.has_ice_option("trickle", media);
        let mut active = sdp.media.iter().filter(|m| sdp.is_active(m)).peekable();
        Some(match active.peek() {
            Some(_) => active.any(trickles),
            None => sdp.media.first().is_some_and(trickles),
        })
    }

    /// What both ends agreed on last, once transports were started.
    pub fn negotiated(&self) -> Option<&Negotiated> {
        self.running.as_ref()
    }

    /// Whether anything has come over the transports that were started last. It is assumed of them
    /// until this says otherwise. A peer that was never heard may have lost our answer: one that
    /// takes our own DTLS role in an answer of its own has, and is followed.
    pub fn set_heard(&mut self, heard: bool) {
        self.heard = heard;
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

    /// W3C `restartIce` (webrtc-pc 4.4.2): the next offer has new ICE credentials.
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

    /// The data section that both current descriptions have.
    pub(super) fn current_data(&self) -> Option<usize> {
        let (local, remote) = (self.current_local.as_ref()?, self.current_remote.as_ref()?);
        let index = transport::active_data(&local.sdp)?;
        let theirs = remote.sdp.media.get(index)?;
        (theirs.is_data() && remote.sdp.is_active(theirs)).then_some(index)
    }
}

impl Description {
    fn render(&self) -> SessionDescription {
        SessionDescription::new(self.kind, self.sdp.to_string())
    }
}
