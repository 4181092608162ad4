//! Offer and answer for data sessions (RFC 9429, W3C webrtc-pc 4.4), as a pure state machine.
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
//! Deliberately absent: media. Audio and video sections of a remote offer are understood and
//! refused with port 0, and take their place in every later description. The operations
//! chain, events and promises of webrtc-pc belong to the actor around this.

pub(crate) mod create;
mod description;
mod effect;
mod error;
mod negotiate;
mod prepare;
mod session;
mod transport;
mod trickle;
mod validate;

pub use description::{IceCandidateInit, SdpType, SessionDescription};
pub use effect::{
    DataStop, Effect, GatherIce, Negotiated, RemoteIdentity, StartDtls, StartIce, StartSctp,
};
pub use error::Error;
pub use session::{OfferOptions, Session, SessionConfig, SignalingState};
pub use trickle::MAX_REMOTE_CANDIDATES;
