//! `RTCIceCandidate`: the constructor and what is read from the line.

use peerloom_actors::{
    CandidateKind, IceCandidate, IceCandidateInit, IceComponent, Protocol, TcpType,
};

const REFLEXIVE: &str = "candidate:1905690388 1 udp 2113937151 192.0.2.7 58041 typ srflx \
                         raddr 10.0.0.1 rport 9 generation 0 ufrag thC8 network-cost 50";
const ACTIVE: &str = "candidate:435653019 2 tcp 1845501695 2001:db8::1 9 typ host tcptype active";

fn init(candidate: &str) -> IceCandidateInit {
    IceCandidateInit {
        candidate: candidate.into(),
        sdp_mid: Some("audio1".into()),
        sdp_mline_index: Some(3),
        username_fragment: Some("test".into()),
    }
}

#[test]
fn one_of_mid_and_index_is_required() {
    let neither = IceCandidateInit {
        sdp_mid: None,
        sdp_mline_index: None,
        ..init(REFLEXIVE)
    };
    let made = IceCandidate::new(neither.clone());
    assert_eq!(made.err().map(|e| e.name()), Some("TypeError"));
    let index_only = IceCandidateInit {
        sdp_mline_index: Some(0),
        ..neither
    };
    let made = IceCandidate::try_from(index_only).expect("an index is enough");
    assert_eq!((made.sdp_mid(), made.sdp_mline_index()), (None, Some(0)));
}

#[test]
fn what_was_signaled_is_kept() {
    let made = IceCandidate::new(init(REFLEXIVE)).expect("a candidate");
    assert_eq!(made.candidate(), REFLEXIVE);
    assert_eq!(made.sdp_mid(), Some("audio1"));
    assert_eq!(made.sdp_mline_index(), Some(3));
    assert_eq!(made.username_fragment(), Some("test"));
    assert_eq!(made.to_init(), init(REFLEXIVE));
    let json = serde_json::to_value(made.to_init()).expect("JSON");
    assert_eq!(json["candidate"], REFLEXIVE);
    assert_eq!(json["sdpMid"], "audio1");
    assert_eq!(json["sdpMLineIndex"], 3);
    assert_eq!(json["usernameFragment"], "test");
}

#[test]
fn a_line_is_read_in_full() {
    let made = IceCandidate::new(init(REFLEXIVE)).expect("a candidate");
    assert_eq!(made.foundation(), Some("1905690388"));
    assert_eq!(made.component(), Some(IceComponent::Rtp));
    assert_eq!(made.priority(), Some(2_113_937_151));
    assert_eq!(made.address().as_deref(), Some("192.0.2.7"));
    assert_eq!(made.protocol(), Some(Protocol::Udp));
    assert_eq!(made.port(), Some(58_041));
    assert_eq!(made.kind(), Some(CandidateKind::ServerReflexive));
    assert_eq!(made.tcp_type(), None);
    assert_eq!(made.related_address().as_deref(), Some("10.0.0.1"));
    assert_eq!(made.related_port(), Some(9));

    let tcp = IceCandidate::new(init(ACTIVE)).expect("a candidate");
    assert_eq!(tcp.component(), Some(IceComponent::Rtcp));
    assert_eq!(tcp.protocol(), Some(Protocol::Tcp));
    assert_eq!(tcp.tcp_type(), Some(TcpType::Active));
    assert_eq!(tcp.address().as_deref(), Some("2001:db8::1"));
    assert_eq!(tcp.kind(), Some(CandidateKind::Host));
    assert_eq!((tcp.related_address(), tcp.related_port()), (None, None));
}

#[test]
fn an_unreadable_line_is_no_error_and_says_nothing() {
    for line in [
        "",
        "arbitrary string[0]$%^&*()",
        "candidate:1 1 udp x 192.0.2.7 1 typ host",
    ] {
        let made = IceCandidate::new(init(line)).expect("the line is not judged here");
        assert_eq!(made.candidate(), line);
        assert_eq!(made.foundation(), None);
        assert_eq!(made.component(), None);
        assert_eq!(made.priority(), None);
        assert_eq!(made.address(), None);
        assert_eq!(made.protocol(), None);
        assert_eq!(made.port(), None);
        assert_eq!(made.kind(), None);
    }
}
