//! DCEP: whole messages, as a peer can put them on any stream of an association.

use bytes::Bytes;
use peerloom_transports_proto::channel::{DcepMessage, Part, Reassembly};
use peerloom_transports_proto::id::StreamId;
use peerloom_transports_proto::sctp::{Message, Ppid, Reliability};

use super::script::{Ends, Reader};
use super::sctp::{Associations, FEW_STREAMS, SMALL};

/// Messages of one input; the rest is not read.
const MAX_MESSAGES: usize = 64;
/// What parts of one long message may add up to here.
const MAX_HELD: usize = 1000;

const PPIDS: [Ppid; 6] = [
    Ppid::Dcep,
    Ppid::Text,
    Ppid::Binary,
    Ppid::TextEmpty,
    Ppid::BinaryEmpty,
    Ppid::Other,
];

/// A byte of setup (which engine, as of `sctp`), then messages: stream, kind, length, bytes. Gets
/// anywhere if one is read as DCEP and opens a channel.
pub fn dcep(data: &[u8]) -> bool {
    let mut reader = Reader(data);
    let setup = reader.byte().unwrap_or_default() & !(SMALL | FEW_STREAMS);
    let mut ends = Associations::new(setup);
    let mut reassembly = Reassembly::default();
    carry(&mut ends, 4);
    assert!(ends.connected());
    for _ in 0..MAX_MESSAGES {
        let Some((stream, message)) = message(&mut reader) else {
            break;
        };
        parse(&message.data, &mut reassembly);
        let (ordered, how) = (true, Reliability::Reliable);
        let writer = &mut ends.ends[0].association;
        // A stream that is being reset takes nothing.
        drop(writer.write(StreamId(stream), ordered, how, &message, ends.now));
    }
    carry(&mut ends, 8);
    ends.accepted > 0
}

fn message(reader: &mut Reader<'_>) -> Option<(u16, Message)> {
    let stream = u16::from(reader.byte()?) * 5;
    let ppid = PPIDS[usize::from(reader.byte()?) % PPIDS.len()];
    let len = reader.word()?;
    let data = Bytes::copy_from_slice(reader.bytes(len));
    Some((stream, Message { ppid, data }))
}

/// What is read prints as something that reads the same.
fn parse(data: &Bytes, reassembly: &mut Reassembly) {
    if let Ok(message) = DcepMessage::parse(data) {
        let again = DcepMessage::parse(&message.to_bytes());
        assert_eq!(again.as_ref(), Ok(&message));
    }
    if Part::is_part(data)
        && let Ok(part) = Part::parse(data)
    {
        // Parts that do not belong together are refused.
        drop(reassembly.push(part, MAX_HELD));
    }
    assert!(reassembly.held() <= MAX_HELD);
}

/// Carries packets to and fro.
fn carry(ends: &mut Associations, rounds: usize) {
    for _ in 0..rounds {
        let mut sent = Vec::new();
        ends.drain(&mut sent);
        for (to, packet) in sent {
            ends.feed(to, &packet);
        }
        ends.wait(std::time::Duration::from_millis(1));
    }
}
