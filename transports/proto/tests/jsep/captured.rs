//! Every file in `tests/fixtures/sdp`, whoever wrote it: parsed, printed, answered.

use std::path::Path;

use peerloom_transports_proto::jsep::{BundlePolicy, SdpType, SessionDescription, SignalingState};
use peerloom_transports_proto::sdp::{Codec, Direction, MediaKind, RidDirection, Sdp};

use crate::util::{local_sdp, session, with_media};

/// A file of `tests/fixtures/sdp`.
pub(crate) struct Fixture {
    pub(crate) name: String,
    /// As it travels: lines end with CRLF.
    pub(crate) text: String,
    pub(crate) kind: SdpType,
}

impl Fixture {
    pub(crate) fn sdp(&self) -> Sdp {
        Sdp::parse(&self.text).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

/// All of them, by name.
pub(crate) fn all() -> Vec<Fixture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sdp");
    let mut found: Vec<Fixture> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let text = std::fs::read_to_string(&path)
                .unwrap()
                .replace('\n', "\r\n");
            let kind = if name.ends_with("-answer") {
                SdpType::Answer
            } else {
                SdpType::Offer
            };
            Fixture { name, text, kind }
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(
        found.len() >= 60,
        "fixtures are missing: only {}",
        found.len()
    );
    found
}

pub(crate) fn named(name: &str) -> Fixture {
    let found = all().into_iter().find(|fixture| fixture.name == name);
    found.unwrap_or_else(|| panic!("no fixture {name}"))
}

#[test]
fn each_prints_as_it_was_read() {
    for fixture in all() {
        let printed = fixture.sdp().to_string();
        assert_eq!(printed, fixture.text, "{}", fixture.name);
        assert_eq!(Sdp::parse(&printed), Ok(fixture.sdp()), "{}", fixture.name);
    }
}

#[test]
fn none_names_the_machine_it_was_captured_on() {
    for fixture in all().iter().filter(|f| f.name.contains("-15")) {
        for line in fixture.text.lines().filter(|l| l.contains("candidate:")) {
            let address = line.split(' ').nth(4).unwrap();
            let scrubbed = address.starts_with("192.0.2.") || address.starts_with("2001:db8:");
            assert!(scrubbed, "{}: {line}", fixture.name);
        }
    }
}

#[test]
fn without_media_each_offer_is_answered_and_its_media_refused() {
    for fixture in all().iter().filter(|f| f.kind == SdpType::Offer) {
        let mut bob = session(2);
        bob.set_remote(SessionDescription::offer(fixture.text.clone()))
            .unwrap_or_else(|error| panic!("{}: {error}", fixture.name));
        bob.set_local(None).unwrap();
        assert_eq!(bob.signaling_state(), SignalingState::Stable);
        let answer = Sdp::parse(&bob.local_description().unwrap().sdp).unwrap();
        let offered = fixture.sdp();
        assert_eq!(answer.media.len(), offered.media.len(), "{}", fixture.name);
        for (ours, theirs) in answer.media.iter().zip(&offered.media) {
            assert_eq!(ours.port != 0, theirs.is_data(), "{}", fixture.name);
            assert_eq!(ours.mid(), theirs.mid(), "{}", fixture.name);
        }
    }
}

#[test]
fn media_sections_say_what_their_writers_meant() {
    for browser in ["chromium-156", "firefox-153"] {
        let offer = named(&format!("{browser}-media-balanced-offer")).sdp();
        let kinds: Vec<_> = offer.media.iter().map(|m| m.media_kind()).collect();
        let (audio, video) = (Some(MediaKind::Audio), Some(MediaKind::Video));
        assert_eq!(kinds, [audio, video, video, None], "{browser}");
        let directions: Vec<_> = offer.media.iter().map(|m| offer.direction(m)).collect();
        assert_eq!(directions[0], Direction::SendRecv, "{browser}");
        assert_eq!(directions[2], Direction::RecvOnly, "{browser}");
        let opus = offer.media[0].codecs().into_iter().find(|c| c.is("OPUS"));
        let opus = opus.unwrap();
        assert_eq!((opus.clock_rate, opus.channels), (48_000, Some(2)));
        assert_eq!(opus.parameter("UseInbandFEC"), Some("1"), "{browser}");
        let video = offer.media[1].codecs();
        let vp8 = video.iter().find(|c| c.is("VP8")).unwrap();
        assert!(vp8.feedback.iter().any(|f| f == "nack pli"), "{browser}");
        let rtx = video.iter().find(|c| c.is("rtx")).unwrap();
        assert_eq!(rtx.repairs(), Some(vp8.payload_type), "{browser}");
        assert!(offer.media[..3].iter().all(|m| m.rtcp_mux()), "{browser}");
        let mid = "urn:ietf:params:rtp-hdrext:sdes:mid";
        assert!(offer.media[1].extensions().any(|e| e.uri == mid));
        assert_eq!(offer.media[1].msids().count(), 1, "{browser}");
        assert!(offer.media[1].msids().all(|m| m.track.is_some()));
    }
}

#[test]
fn simulcast_names_three_encodings() {
    for browser in ["chromium-156", "firefox-153"] {
        let offer = named(&format!("{browser}-simulcast-offer")).sdp();
        let video = &offer.media[0];
        let rids: Vec<_> = video.rids().map(|r| (r.id.as_str(), r.direction)).collect();
        let sent = |rid| (rid, RidDirection::Send);
        assert_eq!(rids, [sent("h"), sent("m"), sent("l")], "{browser}");
        let simulcast = video.simulcast().unwrap();
        assert_eq!(simulcast.list(RidDirection::Send).unwrap().len(), 3);
        assert_eq!(simulcast.list(RidDirection::Recv), None, "{browser}");
    }
}

#[test]
fn with_media_each_offer_is_answered_in_full() {
    for fixture in all().iter().filter(|f| f.kind == SdpType::Offer) {
        let name = &fixture.name;
        let mut bob = with_media(2, BundlePolicy::Balanced);
        bob.set_remote(SessionDescription::offer(fixture.text.clone()))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        bob.set_local(None).unwrap();
        assert_eq!(bob.signaling_state(), SignalingState::Stable);
        let (answer, offer) = (local_sdp(&bob), fixture.sdp());
        let bundled: Vec<_> = offer.bundles().flatten().collect();
        for (ours, theirs) in answer.media.iter().zip(&offer.media) {
            let together = offer.media.len() == 1
                || theirs
                    .mid()
                    .is_some_and(|mid| bundled.iter().any(|m| *m == mid));
            let wanted = offer.is_active(theirs) && (together || theirs.is_data());
            assert_eq!(ours.port != 0, wanted, "{name}: {:?}", theirs.mid());
            let offered = theirs.codecs();
            for codec in ours.codecs().iter().filter(|_| wanted) {
                let same = |c: &Codec| c.payload_type == codec.payload_type && c.is(&codec.name);
                assert!(offered.iter().any(same), "{name}: {codec:?}");
            }
        }
        let accepted = answer.media.iter().filter(|m| m.port != 0);
        let media = accepted.filter(|m| m.media_kind().is_some()).count();
        assert_eq!(bob.transceivers().count(), media, "{name}");
    }
}
