//! The decisions of perfect negotiation, without a connection.

use peerloom_transports::proto::jsep::{SdpType, SignalingState};

/// Answers in a row that could not be taken, until the offer is no longer made anew. Guess: a
/// signaling channel that mends itself does so at once.
const MAX_FAILURES: u32 = 3;

/// What to do with a description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Set it.
    Take,
    /// Leave it: the peer takes it back when it sees our offer.
    Ignore,
}

/// What one end remembers.
#[derive(Debug)]
pub(super) struct Rules {
    polite: bool,
    /// The peer's last offer was ignored, and so are its candidates.
    ignored: bool,
    failures: u32,
}

impl Rules {
    pub(super) fn new(polite: bool) -> Rules {
        Rules {
            polite,
            ignored: false,
            failures: 0,
        }
    }

    /// Whether to make an offer now.
    pub(super) fn may_offer(&self, state: SignalingState) -> bool {
        state == SignalingState::Stable
    }

    /// On a description of the peer. Calls are made one after the other, so that our own offer
    /// is never half made here: `makingOffer` of the specification's example is the state.
    pub(super) fn judge(&mut self, kind: SdpType, state: SignalingState) -> Verdict {
        let collision = kind == SdpType::Offer && state != SignalingState::Stable;
        // An answer to an offer that we have taken back meanwhile.
        let late = matches!(kind, SdpType::Answer | SdpType::PrAnswer)
            && !matches!(
                state,
                SignalingState::HaveLocalOffer | SignalingState::HaveRemotePranswer
            );
        self.ignored = collision && !self.polite;
        if self.ignored || late {
            Verdict::Ignore
        } else {
            Verdict::Take
        }
    }

    /// Whether a candidate that fits nothing is what has to be expected.
    pub(super) fn forgives_candidates(&self) -> bool {
        self.ignored
    }

    /// A description could not be set. Whether to take our offer back and make it anew.
    pub(super) fn takes_back_after_failure(&mut self, kind: SdpType) -> bool {
        self.failures += 1;
        matches!(kind, SdpType::Answer | SdpType::PrAnswer) && self.failures <= MAX_FAILURES
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use peerloom_transports::proto::certificate::{Fingerprint, HashFunction};
    use peerloom_transports::proto::jsep::{
        Effect, IceCandidateInit, Session, SessionConfig, SessionDescription,
    };
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    enum Sent {
        Description(SessionDescription),
        Candidate(IceCandidateInit),
    }

    /// One end: the real offer/answer state machine under these rules.
    struct End {
        rules: Rules,
        session: Session,
        inbox: VecDeque<Sent>,
        needed: bool,
    }

    impl End {
        fn new(polite: bool, seed: u64) -> End {
            let mut bytes = [u8::from(polite); 32];
            bytes[..8].copy_from_slice(&seed.to_le_bytes());
            End {
                rules: Rules::new(polite),
                session: Session::new(SessionConfig {
                    seed: bytes,
                    fingerprints: vec![Fingerprint::of(HashFunction::Sha256, &bytes)],
                    ..SessionConfig::default()
                }),
                inbox: VecDeque::new(),
                needed: false,
            }
        }

        /// Sends a candidate for each gathering.
        fn effects(&mut self, out: &mut VecDeque<Sent>) {
            while let Some(effect) = self.session.poll_effect() {
                if effect == Effect::NegotiationNeeded {
                    self.needed = true;
                } else if let Effect::Gather(gather) = effect {
                    let line = "candidate:1 1 udp 1 192.0.2.1 9 typ host";
                    let ufrag = &gather.credentials.ufrag;
                    let candidate = line.parse().expect("a candidate");
                    let init = self.session.add_local_candidate(ufrag, candidate);
                    out.extend(init.map(Sent::Candidate));
                }
            }
        }

        fn offer(&mut self, out: &mut VecDeque<Sent>) {
            if !std::mem::take(&mut self.needed)
                || !self.session.negotiation_needed()
                || !self.rules.may_offer(self.session.signaling_state())
            {
                return;
            }
            self.set_local(out);
        }

        fn set_local(&mut self, out: &mut VecDeque<Sent>) {
            self.session.set_local(None).expect("allowed here");
            let description = self.session.local_description().expect("just set");
            out.push_back(Sent::Description(description));
            self.effects(out);
        }

        fn take(&mut self, sent: Sent, out: &mut VecDeque<Sent>) {
            match sent {
                Sent::Candidate(candidate) => {
                    let added = self.session.add_ice_candidate(Some(candidate));
                    let fine = added.is_ok() || self.rules.forgives_candidates();
                    assert!(fine, "{added:?}");
                }
                Sent::Description(description) => {
                    let kind = description.kind;
                    let state = self.session.signaling_state();
                    if self.rules.judge(kind, state) == Verdict::Ignore {
                        return;
                    }
                    let set = self.session.set_remote(description);
                    set.expect("every description that is not ignored fits");
                    self.effects(out);
                    if kind == SdpType::Offer {
                        self.set_local(out);
                    }
                }
            }
            self.effects(out);
        }
    }

    fn step(rng: &mut StdRng, ends: &mut [End; 2], wild: bool) {
        let at = rng.random_range(0..2);
        let mut out = VecDeque::new();
        let end = &mut ends[at];
        match rng.random_range(0..if wild { 4 } else { 2 }) {
            0 => {
                if let Some(sent) = end.inbox.pop_front() {
                    end.take(sent, &mut out);
                }
            }
            1 => end.offer(&mut out),
            2 => end.session.request_data().expect("open"),
            _ => end.session.restart_ice(),
        }
        ends[at].effects(&mut out);
        ends[1 - at].inbox.extend(out);
    }

    #[test]
    fn whatever_both_do_at_once_they_end_stable_and_agreed() {
        for seed in 0..200 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut ends = [End::new(true, seed), End::new(false, seed)];
            for _ in 0..60 {
                step(&mut rng, &mut ends, true);
            }
            ends[0].session.request_data().expect("open");
            let mut none = VecDeque::new();
            ends[0].effects(&mut none);
            for _ in 0..2_000 {
                step(&mut rng, &mut ends, false);
            }
            let [a, b] = &ends;
            for end in &ends {
                let state = end.session.signaling_state();
                assert_eq!(state, SignalingState::Stable, "seed {seed}");
                assert!(!end.session.negotiation_needed(), "seed {seed}");
            }
            let (ours, theirs) = (a.session.negotiated(), b.session.negotiated());
            let (ours, theirs) = (ours.expect("agreed"), theirs.expect("agreed"));
            assert_eq!(ours.ice.local, theirs.ice.remote, "seed {seed}");
            assert_eq!(ours.ice.remote, theirs.ice.local, "seed {seed}");
            assert_eq!(ours.dtls.role, theirs.dtls.role.other(), "seed {seed}");
        }
    }

    #[test]
    fn only_the_impolite_end_ignores_an_offer_that_meets_its_own() {
        for (polite, expected) in [(true, Verdict::Take), (false, Verdict::Ignore)] {
            let mut rules = Rules::new(polite);
            let state = SignalingState::HaveLocalOffer;
            assert_eq!(rules.judge(SdpType::Offer, state), expected);
            assert_eq!(rules.forgives_candidates(), !polite);
            let answer = rules.judge(SdpType::Answer, state);
            assert_eq!(answer, Verdict::Take);
            assert!(!rules.forgives_candidates());
        }
    }
}
