//! Offer and answer (RFC 9429, W3C webrtc-pc 4.4), as a pure state machine.
//!
//! A [`Session`] is fed with the calls an application makes on a peer connection and says
//! through [`Effect`]s what has to happen to the transports. It holds no socket, clock or
//! task; everything is decided at once within the call:
//!
//! ```
//! use peerloom_transports_proto::jsep::{OfferOptions, Session, SessionConfig, SignalingState};
//!
//! # fn main() -> Result<(), peerloom_transports_proto::jsep::Error> {
//! # use peerloom_transports_proto::certificate::{Fingerprint, HashFunction};
//! # let config = |seed, der: &[u8]| SessionConfig {
//! #     seed: [seed; 32],
//! #     fingerprints: vec![Fingerprint::of(HashFunction::Sha256, der)],
//! #     ..SessionConfig::default()
//! # };
//! let mut alice = Session::new(config(1, b"certificate in DER"));
//! let mut bob = Session::new(config(2, b"another"));
//! alice.request_data()?; // the first create_data_channel
//! let offer = alice.create_offer(OfferOptions::default())?;
//! alice.set_local(Some(offer.clone()))?;
//! bob.set_remote(offer)?;
//! bob.set_local(None)?; // creates the answer and sets it
//! alice.set_remote(bob.local_description().expect("just set"))?;
//! assert_eq!(alice.signaling_state(), SignalingState::Stable);
//! while let Some(effect) = alice.poll_effect() {
//!     // Gather, StartIce, AddRemoteCandidate, StartDtls, StartSctp, ...
//! #   let _ = effect;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Media
//!
//! What media is possible says [`SessionConfig::media`]. Empty, as by default, every audio and
//! video section of a remote offer is refused with port 0, and keeps its place in every later
//! description. Otherwise sections belong to [`Transceiver`]s, made by the application
//! ([`Session::add_transceiver`], [`Session::add_track`]) or by a remote offer. Data flows one way:
//!
//! ```text
//!  capabilities + transceivers + (current, pending) descriptions ──> create_offer, create_answer
//!  a description that is set ──> transceivers' sections, directions, streams ──> effects
//! ```
//!
//! Creating changes nothing but the memory of what was created last. Which section belongs to
//! which transceiver is decided once: for our offers when they are created (`slots`), for the
//! peer's when they are set (`apply`).
//!
//! Deliberately absent: more than one transport. Sections that are not bundled with the rest are
//! refused. The operations chain, events and promises of webrtc-pc, media itself (SRTP, RTP, tracks)
//! belong to the actors around this.

mod apply;
mod codecs;
pub(crate) mod create;
mod description;
mod effect;
mod error;
mod media;
mod media_section;
mod needed;
mod negotiate;
mod prepare;
mod session;
mod slots;
mod transceiver;
mod transport;
mod trickle;
mod validate;

pub use description::{IceCandidateInit, SdpType, SessionDescription};
pub use effect::{
    DataStop, Effect, GatherIce, Negotiated, NegotiatedMedia, RemoteIdentity, StartDtls, StartIce,
    StartSctp,
};
pub use error::Error;
pub use media::{BundlePolicy, CodecCapability, KindCapabilities, MediaCapabilities, extension};
pub use session::{OfferOptions, Session, SessionConfig, SignalingState};
pub use transceiver::{
    Encoding, MAX_ENCODINGS, MAX_STREAMS, MAX_TRANSCEIVERS, Transceiver, TransceiverId,
    TransceiverInit,
};
pub use trickle::MAX_REMOTE_CANDIDATES;
