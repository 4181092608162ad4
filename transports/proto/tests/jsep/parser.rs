//! The parser against arbitrary input.

use peerloom_transports_proto::sdp::{
    Attribute, Capabilities, Error, ErrorKind, Line, MAX_LINE_LEN, MAX_MEDIA, MAX_SDP_LEN, Media,
    Origin, Sdp, Setup,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::fixtures;

const HEAD: &str = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n";

fn error(text: &str) -> Error {
    Sdp::parse(text).unwrap_err()
}

#[test]
fn errors_name_the_line() {
    let cases = [
        ("", 1, ErrorKind::Expected('v')),
        ("v=1\r\n", 1, ErrorKind::Malformed("version")),
        ("v=0\r\ns=-\r\n", 2, ErrorKind::Expected('o')),
        (
            "v=0\r\no=- x 1 IN IP4 0.0.0.0\r\n",
            2,
            ErrorKind::Malformed("origin"),
        ),
        (
            "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\n",
            4,
            ErrorKind::Expected('t'),
        ),
        (
            "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nc=IN\r\n",
            5,
            ErrorKind::Unexpected('c'),
        ),
    ];
    for (text, line, kind) in cases {
        assert_eq!(error(text), Error { line, kind }, "{text:?}");
    }
    let tails = [
        ("junk\r\n", ErrorKind::NotALine),
        ("A=x\r\n", ErrorKind::NotALine),
        ("a=\r\n", ErrorKind::Malformed("attribute name")),
        ("a=x\ry\r\n", ErrorKind::ControlCharacter),
        ("a=x\0\r\n", ErrorKind::ControlCharacter),
        ("a=sctp-port:65536\r\n", ErrorKind::Malformed("sctp-port")),
        ("a=sctp-port:+1\r\n", ErrorKind::Malformed("sctp-port")),
        ("a=setup:maybe\r\n", ErrorKind::Malformed("setup")),
        (
            "a=fingerprint:sha-256 00:11\r\n",
            ErrorKind::Malformed("fingerprint"),
        ),
        ("a=mid:\r\n", ErrorKind::Malformed("mid")),
        ("m=audio 9 X\r\n", ErrorKind::Malformed("media line")),
        ("m=audio 65536 X 0\r\n", ErrorKind::Malformed("media line")),
        ("v=0\r\n", ErrorKind::Unexpected('v')),
    ];
    for (tail, kind) in tails {
        assert_eq!(
            error(&format!("{HEAD}{tail}")),
            Error { line: 5, kind },
            "{tail:?}"
        );
    }
    assert_eq!(
        Sdp::from_bytes(b"v=0\n\xff"),
        Err(Error {
            line: 2,
            kind: ErrorKind::NotUtf8
        })
    );
}

#[test]
fn what_is_unknown_is_kept() {
    let tail = "a=tool:x y\r\na=recvonly\r\na=fingerprint:md2 00\r\na=x-peerloom:new kind\r\n\
                m=audio 9/2 RTP/AVP 0 8\r\nb=AS:1\r\na=x:\r\n";
    let text = format!("{HEAD}{tail}");
    assert_eq!(Sdp::parse(&text).unwrap().to_string(), text);
}

#[test]
fn sizes_are_bounded() {
    let too_large = |text: String| matches!(error(&text).kind, ErrorKind::TooLarge(_));
    assert!(too_large(format!(
        "{HEAD}{}",
        "a=x\r\n".repeat(MAX_SDP_LEN / 5)
    )));
    assert!(too_large(format!("{HEAD}{}", "a=x\r\n".repeat(10_000))));
    assert!(too_large(format!(
        "{HEAD}a={}\r\n",
        "x".repeat(MAX_LINE_LEN)
    )));
    assert!(too_large(format!(
        "{HEAD}{}",
        "m=a 9 X 0\r\n".repeat(MAX_MEDIA + 1)
    )));
}

fn text() -> impl Strategy<Value = String> {
    "[ -~äß→]{0,20}"
}

fn word() -> impl Strategy<Value = String> {
    "[!-~&&[^:]]{1,12}"
}

fn attribute() -> impl Strategy<Value = Attribute> {
    prop_oneof![
        (word(), vec(word(), 0..4))
            .prop_map(|(semantics, mids)| Attribute::Group { semantics, mids }),
        word().prop_map(Attribute::Mid),
        Just(Attribute::IceLite),
        vec(word(), 0..3).prop_map(Attribute::IceOptions),
        word().prop_map(Attribute::IceUfrag),
        word().prop_map(Attribute::IcePwd),
        text().prop_map(Attribute::Candidate),
        Just(Attribute::EndOfCandidates),
        prop_oneof![
            Just(Setup::Active),
            Just(Setup::Passive),
            Just(Setup::ActPass),
            Just(Setup::HoldConn)
        ]
        .prop_map(Attribute::Setup),
        any::<u16>().prop_map(Attribute::SctpPort),
        (any::<u16>(), word(), any::<Option<u32>>())
            .prop_map(|(port, app, streams)| Attribute::SctpMap { port, app, streams }),
        any::<u64>().prop_map(Attribute::MaxMessageSize),
        text().prop_map(Attribute::Identity),
        Just(Attribute::BundleOnly),
        vec("[a-z0-9-]{1,8}", 0..5).prop_map(|names| Attribute::Peerloom(
            names.iter().fold(Capabilities::none(), |c, n| c.with(n))
        )),
        ("z[a-z-]{0,8}", proptest::option::of(text()))
            .prop_map(|(name, value)| Attribute::Other { name, value }),
    ]
}

fn media() -> impl Strategy<Value = Media> {
    (
        (
            word(),
            any::<u16>(),
            any::<Option<u16>>(),
            word(),
            vec(word(), 1..4),
        ),
        (vec(text(), 0..2), vec(text(), 0..2), vec(attribute(), 0..8)),
    )
        .prop_map(
            |((kind, port, port_count, protocol, formats), (c, b, attributes))| {
                let connections = c.into_iter().map(|value| Line::new('c', value));
                let lines = connections
                    .chain(b.into_iter().map(|value| Line::new('b', value)))
                    .collect();
                Media {
                    kind,
                    port,
                    port_count,
                    protocol,
                    formats,
                    lines,
                    attributes,
                }
            },
        )
}

prop_compose! {
    fn sdp()(
        username in word(), session_id: u64, version: u64, address in "IN IP[46] [0-9a-f.:]{1,20}",
        name in text(), info in text(), attributes in vec(attribute(), 0..8),
        media in vec(media(), 0..4),
    ) -> Sdp {
        Sdp {
            origin: Origin { username, session_id, version, address },
            name,
            lines: vec![Line::new('i', info), Line::new('t', "0 0"), Line::new('r', "1 2 3")],
            attributes,
            media,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(sdp in sdp()) {
        let text = sdp.to_string();
        prop_assert_eq!(Sdp::parse(&text), Ok(sdp));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..2000)) {
        if let Ok(sdp) = Sdp::from_bytes(&bytes) {
            prop_assert_eq!(Sdp::parse(&sdp.to_string()), Ok(sdp));
        }
    }

    #[test]
    fn arbitrary_lines_never_panic(lines in vec(("[a-z]", text()), 0..30)) {
        let body = lines.iter().map(|(kind, value)| format!("{kind}={value}\r\n"));
        if let Ok(sdp) = Sdp::parse(&format!("{HEAD}{}", body.collect::<String>())) {
            prop_assert_eq!(Sdp::parse(&sdp.to_string()), Ok(sdp));
        }
    }

    #[test]
    fn altered_descriptions_never_panic(
        which in 0..fixtures::ALL.len(), cuts in vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..20),
    ) {
        let mut bytes = fixtures::text(fixtures::ALL[which].0).into_bytes();
        for (at, byte, how) in cuts {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => bytes.truncate(at + 1),
                _ => { bytes.remove(at); }
            }
            if bytes.is_empty() { break }
        }
        let length = bytes.len();
        if let Ok(sdp) = Sdp::from_bytes(&bytes) {
            prop_assert!(sdp.to_string().len() <= length + 1024, "printing does not blow up");
            prop_assert_eq!(Sdp::parse(&sdp.to_string()), Ok(sdp));
        }
    }
}
