//! Packets cut out of streams: frames of ICE over TCP (RFC 4571), and packets of a TURN client on a
//! stream. However a stream is cut, the same comes out of it, and no more is kept than one packet.

use bytes::{Bytes, BytesMut};
use peerloom_transports_proto::framing::{
    self, FrameError, MAX_FIRST_FRAME_LEN, MAX_FRAME_LEN, first_check, write_frame,
};
use peerloom_transports_proto::stun::message::{attribute, method};
use peerloom_transports_proto::stun::{Builder, Class};
use peerloom_transports_proto::turn;

use super::script::Reader;

/// Packets that one input is made of; the rest is not read.
const MAX_PACKETS: usize = 64;
/// Bytes of one packet, so that a STUN message can hold them.
const MAX_DATA: usize = 60_000;
/// What a TURN framer keeps: less than a STUN message of the greatest length.
const MAX_TURN_KEPT: usize = 20 + 65_536;

/// What came out of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    packets: Vec<Bytes>,
    refused: bool,
}

trait Framer: Default {
    /// Most bytes that are kept.
    const KEPT: usize;
    fn buffer(&mut self) -> &mut BytesMut;
    fn next(&mut self) -> Result<Option<Bytes>, ()>;
}

impl Framer for framing::Framer {
    const KEPT: usize = MAX_FRAME_LEN + 1;

    fn buffer(&mut self) -> &mut BytesMut {
        self.buffer()
    }

    fn next(&mut self) -> Result<Option<Bytes>, ()> {
        let frame = self.next_frame();
        if let Ok(Some(datagram)) = &frame {
            assert!((1..=MAX_FRAME_LEN).contains(&datagram.len()));
        }
        frame.map_err(|error| {
            assert!(matches!(error, FrameError::TooLong(len) if len > MAX_FRAME_LEN))
        })
    }
}

impl Framer for turn::Framer {
    const KEPT: usize = MAX_TURN_KEPT;

    fn buffer(&mut self) -> &mut BytesMut {
        self.buffer()
    }

    fn next(&mut self) -> Result<Option<Bytes>, ()> {
        self.next_packet().map_err(|_| ())
    }
}

/// Feeds the pieces one by one.
fn read<F: Framer>(pieces: &[&[u8]]) -> Outcome {
    let mut framer = F::default();
    let mut packets = Vec::new();
    for piece in pieces {
        framer.buffer().extend_from_slice(piece);
        loop {
            match framer.next() {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(()) => {
                    // There is no way on, and it stays so.
                    assert_eq!(framer.next(), Err(()));
                    return Outcome {
                        packets,
                        refused: true,
                    };
                }
            }
        }
        assert!(framer.buffer().len() <= F::KEPT);
    }
    Outcome {
        packets,
        refused: false,
    }
}

/// As whole, and cut as `cuts` say: each byte is a length, again and again.
fn compare<F: Framer>(stream: &[u8], cuts: &[u8]) -> Outcome {
    let whole = read::<F>(&[stream]);
    let mut pieces = Vec::new();
    let (mut rest, mut lengths) = (stream, cuts.iter().cycle());
    while !rest.is_empty() {
        let len = lengths.next().map_or(rest.len(), |n| usize::from(*n) + 1);
        let (piece, after) = rest.split_at(len.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    assert_eq!(read::<F>(&pieces), whole);
    whole
}

/// A first look at the stream says the same however much more of it is there already.
fn look(stream: &[u8]) {
    let most = stream.len().min(2 + MAX_FIRST_FRAME_LEN);
    let verdict = first_check(&stream[..most]);
    assert_eq!(first_check(stream), verdict);
    assert!(most < 2 + MAX_FIRST_FRAME_LEN || verdict != Ok(None));
    let Some(len) = stream.get(..2) else { return };
    let whole = 2 + usize::from(u16::from_be_bytes([len[0], len[1]]));
    for end in [1, 2, whole.saturating_sub(1), whole] {
        let early = first_check(&stream[..end.min(most)]);
        assert!(early == Ok(None) || early == verdict, "{early:?}");
    }
    if let Ok(Some(name)) = verdict {
        assert!(!name.is_empty() && !name.contains(':'));
    }
}

/// Packets as both ends write them: datagrams in frames.
fn framed(reader: &mut Reader<'_>, cuts: &[u8]) -> bool {
    let mut stream = BytesMut::new();
    let mut written = Vec::new();
    while let (Some(len), true) = (reader.word(), written.len() < MAX_PACKETS) {
        let datagram = reader.bytes(len.min(MAX_FRAME_LEN));
        write_frame(datagram, &mut stream);
        if !datagram.is_empty() {
            written.push(Bytes::copy_from_slice(datagram));
        }
    }
    let outcome = compare::<framing::Framer>(&stream, cuts);
    look(&stream);
    assert!(!outcome.refused);
    assert_eq!(outcome.packets, written);
    !written.is_empty()
}

/// STUN messages and ChannelData, which is padded, as a TURN server writes them.
fn relayed(reader: &mut Reader<'_>, cuts: &[u8]) -> bool {
    let mut stream = BytesMut::new();
    let mut written = Vec::new();
    while let (Some(kind), true) = (reader.byte(), written.len() < MAX_PACKETS) {
        let len = reader.word().unwrap_or_default();
        let data = reader.bytes(len.min(MAX_DATA));
        let packet = if kind & 1 == 0 {
            let message = Builder::new(Class::Indication, method::DATA, [kind; 12]);
            message.attribute(attribute::DATA, data).finish()
        } else {
            let [high, low] = u16::try_from(data.len()).unwrap_or_default().to_be_bytes();
            Bytes::from([&[0x40 | kind >> 4, kind, high, low], data].concat())
        };
        stream.extend_from_slice(&packet);
        stream.resize(stream.len().next_multiple_of(4), 0);
        written.push(packet);
    }
    let outcome = compare::<turn::Framer>(&stream, cuts);
    assert!(!outcome.refused);
    assert_eq!(outcome.packets, written);
    !written.is_empty()
}

/// A byte that says what the stream is (0 anything to ICE, 1 anything from a TURN server, 2 what
/// ends of ICE write, 3 what a TURN server writes), how many cuts, their lengths, the rest. Gets
/// anywhere if a packet comes out.
pub fn framing(data: &[u8]) -> bool {
    let mut reader = Reader(data);
    let kind = reader.byte().unwrap_or_default();
    let cuts = reader.byte().unwrap_or_default();
    let cuts = reader.bytes(usize::from(cuts));
    match kind % 4 {
        0 => {
            look(reader.0);
            !compare::<framing::Framer>(reader.0, cuts)
                .packets
                .is_empty()
        }
        1 => !compare::<turn::Framer>(reader.0, cuts).packets.is_empty(),
        2 => framed(&mut reader, cuts),
        _ => relayed(&mut reader, cuts),
    }
}

/// Streams of both kinds, as they are and as parts to be written, and streams of something else.
pub(crate) fn real() -> Vec<(Vec<u8>, bool)> {
    let check = Builder::new(Class::Request, method::BINDING, [7; 12])
        .attribute(attribute::USERNAME, b"here:there")
        .finish_with_integrity(b"a password");
    let mut ice = BytesMut::new();
    for datagram in [&check[..], b"", b"\x16data", &[0x80; 300]] {
        write_frame(datagram, &mut ice);
    }
    let message = Builder::new(Class::Indication, method::DATA, [1; 12]);
    let message = message.attribute(attribute::DATA, b"hello").finish();
    let turn = [&message[..], &[0x40, 1, 0, 5], b"hello\0\0\0", &message].concat();
    let parts = [0, 3, b'a', b'b', b'c', 0, 0, 0, 1, b'd'];
    let packets = [0, 0, 2, 1, 2, 0x31, 0, 3, 1, 2, 3, 0x11, 0, 0];
    let cuts = [3, 0, 1, 6];
    let input = |kind: u8, stream: &[u8]| [&[kind][..], &cuts, stream].concat();
    vec![
        (input(0, &ice), true),
        (input(1, &turn), true),
        (input(2, &parts), true),
        (input(3, &packets), true),
        (input(0, b"GET / HTTP/1.1\r\n\r\n"), false),
        (input(1, b"\x16\x03\x01\0\x05hello"), false),
    ]
}
