//! Session descriptions: read, printed, and answered by a JSEP session.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use peerloom_transports_proto::candidate::Candidate;
use peerloom_transports_proto::certificate::Certificate;
use peerloom_transports_proto::jsep::{
    IceCandidateInit, OfferOptions, SdpType, Session, SessionConfig, SessionDescription,
};
use peerloom_transports_proto::sdp::Sdp;

use super::script::Reader;

/// One for all inputs: a new key for each would be most of the work.
pub(crate) static CERTIFICATE: LazyLock<Certificate> = LazyLock::new(|| {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    Certificate::generate(now).expect("certificate")
});

pub(crate) fn session() -> Session {
    Session::new(SessionConfig {
        seed: [7; 32],
        fingerprints: vec![CERTIFICATE.fingerprint().clone()],
        ..SessionConfig::default()
    })
}

/// The first byte says what the description is (0 an offer, 1 an answer, 2 a provisional answer, 3
/// two offers, the second after the first was answered); the rest is its text. Two descriptions are
/// parted by a zero byte. Gets anywhere if a description is accepted.
pub fn sdp(data: &[u8]) -> bool {
    let mut reader = Reader(data);
    let kind = reader.byte().unwrap_or_default();
    let text = String::from_utf8_lossy(reader.0);
    print(&text);
    let mut session = session();
    let taken = match kind % 4 {
        1 => reply(&mut session, SdpType::Answer, &text),
        2 => reply(&mut session, SdpType::PrAnswer, &text),
        3 => {
            text.split('\0')
                .filter(|text| answer(&mut session, text))
                .count()
                > 1
        }
        _ => answer(&mut session, &text),
    };
    for line in text.lines().filter(|line| line.contains("candidate")) {
        candidate(&mut session, line);
    }
    while session.poll_effect().is_some() {}
    taken
}

/// What is read prints as something that reads the same.
fn print(text: &str) {
    if let Ok(parsed) = text.parse::<Sdp>() {
        let printed = parsed.to_string();
        let again = printed.parse::<Sdp>();
        assert_eq!(again.as_ref(), Ok(&parsed), "{printed:?}");
    }
}

fn answer(session: &mut Session, text: &str) -> bool {
    if session.set_remote(SessionDescription::offer(text)).is_err() {
        return false;
    }
    let answer = session.create_answer();
    let answered = answer.is_ok_and(|answer| {
        print(&answer.sdp);
        session.set_local(Some(answer)).is_ok()
    });
    if answered {
        assert!(session.remote_description().is_some());
        if let Ok(offer) = session.create_offer(OfferOptions { ice_restart: true }) {
            print(&offer.sdp);
        }
    }
    answered
}

fn reply(session: &mut Session, kind: SdpType, text: &str) -> bool {
    let offer = session.create_offer(OfferOptions::default());
    session
        .set_local(Some(offer.expect("offer")))
        .expect("own offer");
    let taken = session
        .set_remote(SessionDescription::new(kind, text))
        .is_ok();
    let rolled_back = session.set_remote(SessionDescription::rollback()).is_ok();
    assert!(!(taken && kind == SdpType::Answer && rolled_back));
    taken
}

fn candidate(session: &mut Session, line: &str) {
    let text = line.strip_prefix("a=").unwrap_or(line);
    if let Ok(candidate) = text.parse::<Candidate>() {
        assert_eq!(candidate.to_string().parse(), Ok(candidate));
    }
    let init = IceCandidateInit {
        candidate: text.to_owned(),
        sdp_mline_index: Some(0),
        ..IceCandidateInit::default()
    };
    // Refused or taken: both are answers.
    drop(session.add_ice_candidate(Some(init)));
}
