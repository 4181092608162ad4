//! What two sessions must have in common once nothing is left to negotiate.

use std::collections::{BTreeMap, BTreeSet};

use peerloom_transports_proto::id::IceRole;
use peerloom_transports_proto::jsep::{Session, SignalingState, Transceiver};
use peerloom_transports_proto::sdp::{Codec, Sdp};

use super::peer::Peer;

pub(super) fn check(peers: &[Peer; 2]) {
    for peer in peers {
        assert_eq!(peer.session.signaling_state(), SignalingState::Stable);
        assert!(!peer.session.negotiation_needed());
        let running = peer.session.negotiated();
        assert_eq!(peer.transports.ice.as_ref(), running.map(|r| &r.ice));
    }
    let [a, b] = peers;
    check_transport(&a.session, &b.session);
    let descriptions = [&a.session, &b.session].map(descriptions);
    let [Some((ours, theirs)), Some((bs, bs_view))] = descriptions else {
        assert!(
            a.session
                .transceivers()
                .chain(b.session.transceivers())
                .count()
                == 0
        );
        return;
    };
    assert_eq!(theirs.to_string(), without_late_candidates(&bs, &theirs));
    assert_eq!(ours.media.len(), bs.media.len());
    check_numbers(&ours);
    check_numbers(&bs);
    assert_eq!(bundle(&ours), bundle(&bs), "the same bundle");
    assert_eq!(bundle(&bs_view), bundle(&ours));
    for (index, (one, other)) in ours.media.iter().zip(&bs.media).enumerate() {
        assert_eq!((&one.kind, one.mid()), (&other.kind, other.mid()));
        let active = ours.is_active(one) && bs.is_active(other);
        let (left, right) = (at(&a.session, index), at(&b.session, index));
        if one.media_kind().is_none() || !active {
            assert!(
                left.is_none() && right.is_none(),
                "m-line {index} is nobody's"
            );
            continue;
        }
        let (left, right) = (left.expect("a transceiver"), right.expect("another"));
        assert_eq!(left.kind(), right.kind());
        assert_eq!((left.mid(), right.mid()), (one.mid(), one.mid()));
        check_media(left, right);
        check_media(right, left);
    }
    let placed = |s: &Session| s.transceivers().all(|t| t.mline_index().is_some());
    assert!(
        placed(&a.session) && placed(&b.session),
        "none is left over"
    );
}

fn check_transport(a: &Session, b: &Session) {
    let (Some(a), Some(b)) = (a.negotiated(), b.negotiated()) else {
        assert_eq!(a.negotiated(), b.negotiated(), "both or none");
        return;
    };
    assert_eq!((&a.ice.local, &a.ice.remote), (&b.ice.remote, &b.ice.local));
    assert_eq!(a.dtls.role, b.dtls.role.other());
    let controlling = [a, b].map(|n| n.ice.role == IceRole::Controlling);
    assert_ne!(controlling[0], controlling[1]);
    assert_eq!((a.mline_index, &a.mid), (b.mline_index, &b.mid));
    assert_eq!(a.sctp.is_some(), b.sctp.is_some());
}

/// In a bundle a number means the same everywhere (RFC 9143 9).
fn check_numbers(sdp: &Sdp) {
    let mut codecs = BTreeMap::new();
    let mut extensions = BTreeMap::new();
    for section in sdp.media.iter().filter(|m| sdp.is_active(m)) {
        for codec in section.codecs() {
            let meaning = (codec.name, codec.parameters);
            let before = codecs.insert(codec.payload_type, meaning.clone());
            assert!(before.is_none_or(|before| before == meaning), "{meaning:?}");
        }
        for map in section.extensions() {
            let before = extensions.insert(map.id, &map.uri);
            assert!(before.is_none_or(|before| *before == map.uri), "{map}");
        }
    }
}

/// Directions are mirrored, numbers agree, encodings and streams arrive as they are sent.
fn check_media(sender: &Transceiver, receiver: &Transceiver) {
    let (sent, received) = (sender.current_direction(), receiver.current_direction());
    assert_eq!(sent, received.map(|d| d.reversed()));
    let (out, arriving) = (sender.negotiated().unwrap(), receiver.negotiated().unwrap());
    let numbers = |codecs: &[Codec]| -> BTreeSet<(u8, String)> {
        codecs
            .iter()
            .map(|c| (c.payload_type, c.name.to_ascii_lowercase()))
            .collect()
    };
    assert_eq!(numbers(&out.send), numbers(&arriving.receive));
    assert_eq!(
        numbers(&out.send),
        numbers(&out.receive),
        "one number for both ways"
    );
    let ids = |all: &[peerloom_transports_proto::sdp::ExtMap]| -> BTreeSet<(u16, String)> {
        all.iter().map(|e| (e.id, e.uri.clone())).collect()
    };
    assert_eq!(ids(&out.extensions), ids(&arriving.extensions));
    assert_eq!(out.send_rids, arriving.receive_rids);
    let sends = sent.is_some_and(|d| d.sends());
    if sends {
        let named = sender.encodings().iter().filter_map(|e| e.rid.clone());
        assert_eq!(named.collect::<Vec<_>>(), out.send_rids, "none but those");
    }
    let streams = receiver.remote_streams();
    assert_eq!(sends, streams.is_some());
    let streams = streams
        .unwrap_or_default()
        .iter()
        .map(|m| m.stream.as_str());
    let wanted = sender.streams().iter().filter(|_| sends);
    assert!(streams.eq(wanted.map(String::as_str)));
}

fn descriptions(session: &Session) -> Option<(Sdp, Sdp)> {
    let parse = |text: String| Sdp::parse(&text).unwrap();
    let local = parse(session.current_local_description()?.sdp);
    Some((local, parse(session.current_remote_description()?.sdp)))
}

/// The peer's view may lack candidates that were lost.
fn without_late_candidates(local: &Sdp, seen: &Sdp) -> String {
    let mut local = local.clone();
    for (ours, theirs) in local.media.iter_mut().zip(&seen.media) {
        ours.lines.clone_from(&theirs.lines);
        ours.port = theirs.port;
        ours.attributes
            .retain(|a| !a.to_string().starts_with("candidate"));
        let candidates = theirs.attributes.iter();
        let candidates = candidates.filter(|a| is_trickled(a));
        ours.attributes.extend(candidates.cloned());
    }
    local.to_string()
}

fn is_trickled(attribute: &peerloom_transports_proto::sdp::Attribute) -> bool {
    let text = attribute.to_string();
    text.starts_with("candidate") || text == "end-of-candidates"
}

fn bundle(sdp: &Sdp) -> BTreeSet<String> {
    sdp.bundles().flatten().cloned().collect()
}

fn at(session: &Session, index: usize) -> Option<&Transceiver> {
    session
        .transceivers()
        .find(|t| t.mline_index() == Some(index))
}
