//! All parsers: candidates, credentials, fingerprints, certificates, session descriptions and what
//! is negotiated from them, DCEP, parts of long messages.

use std::hint::black_box;

use peerloom_transports_proto::candidate::{Candidate, Credentials};
use peerloom_transports_proto::certificate::{self, Fingerprint};
use peerloom_transports_proto::channel::{
    ChannelInit, DcepMessage, Message, Open, Part, Reassembly,
};
use peerloom_transports_proto::ice;
use peerloom_transports_proto::jsep::{
    IceCandidateInit, OfferOptions, SdpType, Session, SessionConfig, SessionDescription,
};
use peerloom_transports_proto::sdp::Sdp;
use rand::RngExt;

use super::{Rng, Target, mutate};
use crate::support::pair;

/// As Chromium writes it, less its identifiers.
const CHROMIUM: &str = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
    a=group:BUNDLE 0\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n\
    m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n\
    a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=ice-options:trickle\r\n\
    a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:\
    66:77:88:99:AA:BB:CC:DD:EE:FF\r\na=setup:actpass\r\na=mid:0\r\na=sctp-port:5000\r\n\
    a=max-message-size:262144\r\n";

const CANDIDATE: &str = "candidate:3885250869 1 udp 2122260223 192.168.1.7 55170 typ srflx raddr \
    10.0.0.1 rport 9 tcptype active generation 0 ufrag 4ZcD network-id 1 network-cost 50";

pub(super) struct Parsers {
    certificate: certificate::Certificate,
    fingerprint: String,
    offer: String,
    open: Vec<u8>,
    parts: Vec<Vec<u8>>,
}

impl Parsers {
    pub(super) fn new() -> Self {
        let certificate = pair::certificate();
        let fingerprint = certificate.fingerprint().to_string();
        let offer = session(&certificate, [1; 32])
            .create_offer(OfferOptions::default())
            .expect("offer")
            .sdp;
        let init = ChannelInit {
            label: "label".into(),
            protocol: "p".into(),
            ..Default::default()
        };
        let open = DcepMessage::Open(Open::from_init(&init)).to_bytes();
        let message = Message::Text("x".repeat(300));
        let parts = Part::cut(&message, 100)
            .iter()
            .map(|p| p.to_bytes().to_vec())
            .collect();
        Self {
            certificate,
            fingerprint,
            offer,
            open,
            parts,
        }
    }
}

fn session(certificate: &certificate::Certificate, seed: [u8; 32]) -> Session {
    Session::new(SessionConfig {
        seed,
        fingerprints: vec![certificate.fingerprint().clone()],
        ..SessionConfig::default()
    })
}

fn mutated(text: &str, other: &str, rng: &mut Rng) -> String {
    let mut bytes = text.as_bytes().to_vec();
    mutate(&mut bytes, other.as_bytes(), rng);
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Parsers {
    fn negotiate(&self, rng: &mut Rng) {
        let text = if rng.random() { &self.offer } else { CHROMIUM };
        let sdp = mutated(text, &self.offer, rng);
        if let Ok(parsed) = sdp.parse::<Sdp>() {
            let printed = parsed.to_string();
            assert!(printed.parse::<Sdp>().is_ok(), "{printed:?}");
        }
        let mut session = session(&self.certificate, [2; 32]);
        let answer = rng.random_bool(0.3);
        if answer {
            let offer = session
                .create_offer(OfferOptions::default())
                .expect("offer");
            session.set_local(Some(offer)).expect("own offer");
        }
        let kind = if answer {
            SdpType::Answer
        } else {
            SdpType::Offer
        };
        if session
            .set_remote(SessionDescription::new(kind, sdp))
            .is_ok()
        {
            if !answer && let Ok(answer) = session.create_answer() {
                drop(session.set_local(Some(answer)));
            }
            let candidate = mutated(CANDIDATE, CHROMIUM, rng);
            let init = IceCandidateInit {
                candidate,
                ..IceCandidateInit::default()
            };
            drop(session.add_ice_candidate(Some(init)));
        }
        while session.poll_effect().is_some() {}
    }

    fn parts(&self, rng: &mut Rng) {
        let mut reassembly = Reassembly::default();
        for part in &self.parts {
            let mut part = part.clone();
            mutate(&mut part, &self.open, rng);
            if let Ok(part) = Part::parse(&part.into()) {
                drop(reassembly.push(part, 1000));
            }
            assert!(reassembly.held() <= 1000);
        }
    }
}

impl Target for Parsers {
    fn step(&mut self, rng: &mut Rng) {
        match rng.random_range(0..16_u8) {
            0..=3 => {
                if let Ok(candidate) = mutated(CANDIDATE, CHROMIUM, rng).parse::<Candidate>() {
                    let again = candidate.to_string().parse();
                    assert_eq!(again, Ok(candidate), "a candidate prints as it reads");
                }
            }
            4 => {
                let text = mutated(&self.fingerprint, CANDIDATE, rng);
                if let Ok(fingerprint) = Fingerprint::parse(&text) {
                    assert_eq!(
                        Fingerprint::parse(&fingerprint.to_string()),
                        Ok(fingerprint)
                    );
                }
            }
            5 => drop(Credentials::parse(
                &mutated("abcd", "efgh", rng),
                &mutated("abcdefghijklmnopqrstuvwx", CANDIDATE, rng),
            )),
            6 => {
                let mut der = self.certificate.der().to_vec();
                mutate(&mut der, &self.open, rng);
                black_box(certificate::verify(&der, b"message", &der[..der.len().min(70)]).is_ok());
            }
            7 | 8 => {
                let mut bytes = self.open.clone();
                mutate(&mut bytes, CANDIDATE.as_bytes(), rng);
                black_box(DcepMessage::parse(&bytes).is_ok());
                black_box(ice::username(&bytes));
            }
            9 => self.parts(rng),
            _ => self.negotiate(rng),
        }
    }

    fn faults(&self) -> usize {
        0
    }
}
