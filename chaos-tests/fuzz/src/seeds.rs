//! Real inputs to begin with: what two honest ends say, and small changes of it.

use peerloom_actors::identity::contents;
use peerloom_transports_proto::channel::{ChannelInit, DcepMessage, Message, Open, Part};
use peerloom_transports_proto::jsep::OfferOptions;

use super::sdp::{CERTIFICATE, session};
use super::{
    assertion, dtls, envelope, framing, hop, ice, mdns, oidc, quic, sctp_seeds, stun, turn,
};

/// One input.
pub struct Seed {
    /// Its target, as in [`super::TARGETS`].
    pub target: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Whether the target has to get anywhere with it.
    pub real: bool,
}

pub(super) const PASS: u8 = 0;
pub(super) const LOSE: u8 = 1;
pub(super) const WAIT: u8 = 2;
pub(super) const INJECT: u8 = 3;
pub(super) const PATCH: u8 = 4;
pub(super) const CUT: u8 = 5;
pub(super) const AGAIN: u8 = 6;
pub(super) const ACT: u8 = 7;
pub(super) const TO_SECOND: u8 = 1 << 3;
pub(super) const FLAG: u8 = 1 << 4;
/// Packets of a script of which changes are made.
const CHANGED: usize = 24;

/// What a peer may tell of itself.
const CANDIDATES: [&str; 6] = [
    "candidate:1 1 udp 2113937151 6b0b3f3e-0000-4000-8000-000000000001.local 5000 typ host",
    "candidate:2 1 tcp 1518280447 10.0.0.2 9 typ host tcptype active generation 0",
    "candidate:3 1 TCP 1518149375 10.0.0.7 443 typ host tcptype passive ufrag abcd",
    "candidate:4 1 tcp 1518083839 2001:db8::1 443 typ host tcptype so",
    "candidate:5 1 udp 1677729535 198.51.100.7 6000 typ srflx raddr 0.0.0.0 rport 9",
    "candidate:6 2 udp 16785407 203.0.113.9 7000 typ relay raddr 198.51.100.7 rport 6000",
];

/// All of them.
pub fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    scripts(&mut seeds);
    let mut add = |target, real, bytes| {
        seeds.push(Seed {
            target,
            bytes,
            real,
        })
    };
    let offer = session().create_offer(OfferOptions::default());
    let offer = offer.expect("offer").sdp;
    add("sdp", true, [&[0], offer.as_bytes()].concat());
    let answer = offer.replace("actpass", "active");
    add("sdp", true, [&[1], answer.as_bytes()].concat());
    add("sdp", true, [&[2], answer.as_bytes()].concat());
    add(
        "sdp",
        true,
        [&[3], offer.as_bytes(), &[0], offer.as_bytes()].concat(),
    );
    for (kind, bytes) in envelope::real() {
        let half = [&[kind], &bytes[..bytes.len() / 2]].concat();
        add("envelope", false, half);
        add("envelope", true, [vec![kind], bytes].concat());
    }
    for setup in [0, 1, 2, 3, 0x0f, 0x33] {
        add("dcep", true, [&[setup], &dcep_messages()[..]].concat());
    }
    // An open without its labels.
    add("dcep", false, vec![0, 0, 0, 0, 1, 3]);
    for (bytes, real) in stun::real() {
        add("stun", real, bytes);
    }
    for (bytes, real) in turn::real() {
        add("turn", real, bytes);
    }
    for bytes in hop::real() {
        add("hop", false, bytes[..bytes.len() / 2].to_vec());
        add("hop", true, bytes);
    }
    for (bytes, real) in framing::real() {
        add("framing", real, bytes);
    }
    for (bytes, real) in quic::real() {
        add("quic", real, bytes);
    }
    for bytes in oidc::real() {
        add("oidc", false, bytes[..bytes.len() / 2].to_vec());
        add("oidc", true, bytes);
    }
    assertions(&mut seeds);
    seeds
}

fn assertions(seeds: &mut Vec<Seed>) {
    let (claims, text) = assertion::real();
    let idp =
        format!("{{\"idp\":{{\"domain\":\"a\",\"protocol\":\"b\"}},\"assertion\":\"{text}\"}}");
    let attribute = data_encoding::BASE64.encode(idp.as_bytes());
    let contents = contents(&[CERTIFICATE.fingerprint().clone()]);
    let inputs = [
        (0, attribute.into_bytes(), true),
        // The certificate is another one in every run.
        (1, contents.into_bytes(), true),
        (2, text.into_bytes(), true),
        (4, claims, false),
    ];
    for (kind, bytes, real) in inputs {
        let bytes = [vec![kind], bytes].concat();
        seeds.push(Seed {
            target: "assertion",
            bytes,
            real,
        });
    }
}

fn dcep_messages() -> Vec<u8> {
    let init = ChannelInit {
        label: "label".into(),
        protocol: "p".into(),
        ..ChannelInit::default()
    };
    let open = DcepMessage::Open(Open::from_init(&init)).to_bytes();
    let parts = Part::cut(&Message::Text("x".repeat(30)), 10);
    let mut messages = vec![(0, 0, open.clone()), (0, 1, b"text".to_vec())];
    messages.extend(parts.iter().map(|part| (0, 0, part.to_bytes().to_vec())));
    messages.extend([
        (1, 0, DcepMessage::Ack.to_bytes()),
        (2, 0, open),
        (0, 3, vec![0]),
    ]);
    let mut bytes = Vec::new();
    for (stream, kind, message) in messages {
        bytes.extend([stream, kind]);
        bytes.extend(length(message.len()));
        bytes.extend(message);
    }
    bytes
}

pub(super) fn length(len: usize) -> [u8; 2] {
    u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes()
}

/// What is sent by two ends.
pub(super) type Sent = Vec<(usize, Vec<u8>)>;

fn scripts(seeds: &mut Vec<Seed>) {
    let mut connect = vec![0];
    for _ in 0..8 {
        connect.extend([WAIT, 20, PASS, PASS]);
    }
    changes(seeds, "ice", &connect, ice::packets);
    for restart in [ACT, ACT | TO_SECOND] {
        let bytes = [&connect[..], &[restart, 2, WAIT, 20, PASS]].concat();
        seeds.push(Seed {
            target: "ice",
            bytes,
            real: true,
        });
    }
    let tcp = [
        &[ice::TCP | ice::NO_UDP][..],
        &[WAIT | FLAG, 5, PASS, PASS],
        &connect[1..],
    ]
    .concat();
    changes(seeds, "ice", &tcp, ice::packets);
    for line in CANDIDATES {
        let told = [&[INJECT][..], &length(line.len()), line.as_bytes()].concat();
        let bytes = [&[ice::TCP][..], &told, &tcp[1..], &[ACT, 6, WAIT | FLAG, 9]].concat();
        seeds.push(Seed {
            target: "ice",
            bytes,
            real: true,
        });
    }
    // Each asks for a name of the other's, then for one that nobody has.
    let ask = [ACT, 0, ACT | TO_SECOND, 16, PASS, PASS];
    let give_up = [ACT, 34, WAIT | FLAG, 20, PASS, WAIT | FLAG, 60, PASS];
    let script = [&[0][..], &ask, &give_up].concat();
    changes(seeds, "mdns", &script, mdns::packets);
    // Both versions, 1.2 only, 1.3 only; bits for each end.
    for setup in [0, 5, 10] {
        let mut script = vec![setup];
        script.extend([PASS; 8]);
        script.extend([
            ACT,
            30,
            ACT | TO_SECOND,
            200,
            PASS,
            ACT,
            3,
            PASS,
            WAIT | FLAG,
            9,
        ]);
        changes(seeds, "dtls", &script, dtls::packets);
    }
    keys_change(seeds);
    sctp_seeds::scripts(seeds);
}

/// Conversations in DTLS 1.3 that are long enough for keys to change, over each pair of record
/// layers. Then an old record comes again, cut and changed.
fn keys_change(seeds: &mut Vec<Seed>) {
    for records in [0, dtls::PACKAGED, dtls::PACKAGED << 1, 3 * dtls::PACKAGED] {
        let mut script = vec![dtls::ONLY_13 | records];
        script.extend([PASS; 8]);
        for message in (0..12).map(|count| 4 * count) {
            script.extend([ACT, 4 + message, ACT | TO_SECOND, 8 + message, PASS]);
        }
        for which in (8..32).step_by(6) {
            let again = [AGAIN, which, AGAIN | TO_SECOND, which, CUT, which, 0, 20];
            let changed = [
                PATCH, which, 0, 9, 2, 0xff, 0xff, PATCH, which, 0, 0, 1, 0x2f,
            ];
            seeds.push(Seed {
                target: "dtls",
                bytes: [&script[..], &again, &changed, &[PASS]].concat(),
                real: true,
            });
        }
    }
}

/// A script, and others in which its packets are told by strangers, changed, cut or repeated.
pub(super) fn changes(
    seeds: &mut Vec<Seed>,
    target: &'static str,
    script: &[u8],
    packets: fn(&[u8]) -> Sent,
) {
    seeds.push(Seed {
        target,
        bytes: script.to_vec(),
        real: true,
    });
    for (index, (to, packet)) in packets(script).into_iter().enumerate().take(CHANGED) {
        let end = u8::try_from(to).unwrap_or_default() * TO_SECOND;
        let which = u8::try_from(index).unwrap_or_default();
        let mut add = |before: &[u8], change: &[u8], rest: &[u8]| {
            let bytes = [before, change, rest].concat();
            seeds.push(Seed {
                target,
                bytes,
                real: false,
            });
        };
        let told = [&[INJECT | end | FLAG][..], &length(packet.len()), &packet].concat();
        add(&script[..1], &told, &[WAIT, 20]);
        let at = length(packet.len() / 2);
        let patch = [&[PATCH | FLAG, which][..], &at, &[2, 0xff, 0xff]].concat();
        add(script, &patch, &[PASS]);
        let cut = [&[CUT | FLAG, which][..], &at].concat();
        add(script, &cut, &[PASS]);
        add(script, &[AGAIN, which], &[PASS, AGAIN | TO_SECOND, which]);
    }
}
