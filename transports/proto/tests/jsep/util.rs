//! Sessions to test with.

use peerloom_transports_proto::candidate::Candidate;
use peerloom_transports_proto::certificate::{Fingerprint, HashFunction};
use peerloom_transports_proto::jsep::{
    BundlePolicy, Effect, Error, MediaCapabilities, OfferOptions, Session, SessionConfig,
};
use peerloom_transports_proto::sdp::Sdp;

pub(crate) fn config(seed: u8) -> SessionConfig {
    SessionConfig {
        seed: [seed; 32],
        fingerprints: vec![Fingerprint::of(HashFunction::Sha256, &[seed])],
        ..SessionConfig::default()
    }
}

pub(crate) fn session(seed: u8) -> Session {
    Session::new(config(seed))
}

pub(crate) fn effects(session: &mut Session) -> Vec<Effect> {
    std::iter::from_fn(|| session.poll_effect()).collect()
}

pub(crate) fn host(port: u16) -> Candidate {
    Candidate::host(([192, 0, 2, 1], port).into(), 65535)
}

pub(crate) fn name(error: &Error) -> &'static str {
    assert!(!error.cause().is_empty() && !error.hint().is_empty());
    assert!(error.to_string().starts_with(error.name()), "{error}");
    error.name()
}

/// One whole negotiation.
pub(crate) fn connect(offerer: &mut Session, answerer: &mut Session, options: OfferOptions) {
    let offer = offerer.create_offer(options).unwrap();
    offerer.set_local(Some(offer)).unwrap();
    answerer
        .set_remote(offerer.local_description().unwrap())
        .unwrap();
    answerer.set_local(None).unwrap();
    offerer
        .set_remote(answerer.local_description().unwrap())
        .unwrap();
}

/// Two sessions with a data section, the first being the offerer, and no effects left.
pub(crate) fn connected() -> (Session, Session) {
    let (mut alice, mut bob) = (session(1), session(2));
    alice.request_data().unwrap();
    connect(&mut alice, &mut bob, OfferOptions::default());
    effects(&mut alice);
    effects(&mut bob);
    (alice, bob)
}

/// A session that can do the usual media.
pub(crate) fn with_media(seed: u8, policy: BundlePolicy) -> Session {
    Session::new(SessionConfig {
        media: MediaCapabilities::standard(),
        bundle_policy: policy,
        ..config(seed)
    })
}

/// Two of them.
pub(crate) fn media_pair() -> (Session, Session) {
    let one = |seed| with_media(seed, BundlePolicy::Balanced);
    (one(1), one(2))
}

pub(crate) fn local_sdp(session: &Session) -> Sdp {
    Sdp::parse(&session.local_description().unwrap().sdp).unwrap()
}
