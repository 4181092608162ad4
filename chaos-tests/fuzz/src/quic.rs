//! Data channels over QUIC: what a peer can put on streams and into datagrams, to one end.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use peerloom_transports_proto::channel::{
    Channels, DcepMessage, Event, MESSAGE_OVERHEAD, Message, Open,
};
use peerloom_transports_proto::config::{ChannelConfig, QuicConfig};
use peerloom_transports_proto::id::{DtlsRole, StreamId};
use peerloom_transports_proto::quic::{
    Datagram, Frame, Head, MAX_DATAGRAM_BYTES, MAX_PARTIAL_BYTES, Mapping, Notice, Order, Read,
    Transport, Uni, given_up,
};
use peerloom_transports_proto::sctp::{Ppid, Reliability};

use super::script::Reader;

/// Steps of one input; the rest is not read.
const MAX_STEPS: usize = 400;

/// What the peer has done with a stream.
#[derive(Default)]
struct Stream {
    data: BytesMut,
    finished: bool,
    reset: Option<u64>,
}

/// A QUIC connection whose peer the input is.
#[derive(Default)]
struct Scripted {
    streams: BTreeMap<Uni, Stream>,
    waiting: VecDeque<Uni>,
    datagrams: VecDeque<Bytes>,
    notices: VecDeque<Notice>,
    opened: u64,
    ours: u64,
    allowed: u64,
}

impl Transport for Scripted {
    fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    fn open(&mut self) -> Option<Uni> {
        self.ours += 1;
        Some(Uni(self.ours))
    }

    fn write(&mut self, _: Uni, data: &mut Bytes) -> bool {
        data.clear();
        true
    }

    fn finish(&mut self, stream: Uni) {
        self.notices.push_back(Notice::Finished(stream));
    }

    fn reset(&mut self, _: Uni, code: u64) {
        assert!(code < 1 << 62, "QUIC has 62 bits for a code");
    }

    fn accept(&mut self) -> Option<Uni> {
        self.waiting.pop_front()
    }

    fn read(&mut self, stream: Uni, max: usize, into: &mut BytesMut) -> Read {
        let Some(from) = self.streams.get_mut(&stream) else {
            return Read::End;
        };
        if let Some(code) = from.reset {
            self.streams.remove(&stream);
            return Read::Reset(code);
        }
        let len = from.data.len().min(max);
        into.extend_from_slice(&from.data.split_to(len));
        if len == max {
            return Read::Full;
        }
        if from.finished {
            self.streams.remove(&stream);
            return Read::End;
        }
        Read::Blocked
    }

    fn stop(&mut self, stream: Uni) {
        self.streams.remove(&stream);
    }

    fn allow(&mut self, streams: u32) {
        self.allowed = u64::from(streams);
    }

    fn max_datagram(&mut self) -> usize {
        1200
    }

    fn send_datagram(&mut self, _: Bytes) -> bool {
        true
    }

    fn receive_datagram(&mut self) -> Option<Bytes> {
        self.datagrams.pop_front()
    }

    fn round_trip(&self) -> Duration {
        Duration::from_millis(10)
    }
}

/// Steps: 0 opens a stream, 1 writes on one (which, length, bytes), 2 ends one, 3 resets one (8 bytes), 4
/// sends a datagram (length, bytes), 5 lets time pass, 6 answers and reads, 7 closes a channel here. Gets
/// anywhere if a channel is opened.
pub fn quic(data: &[u8]) -> bool {
    let mut reader = Reader(data);
    let mut now = Instant::now();
    let mut mapping = Mapping::new(Scripted::default(), QuicConfig::default());
    let mut channels = Channels::new(ChannelConfig {
        peerloom_peer: true,
        ..ChannelConfig::default()
    });
    channels.start(DtlsRole::Server);
    mapping.start();
    let mut accepted = 0;
    for _ in 0..MAX_STEPS {
        let Some(what) = reader.byte() else { break };
        let mut reads = true;
        match what & 7 {
            5 => {
                now += Duration::from_millis(50);
                mapping.handle_timeout(now);
            }
            6 => reads = false,
            7 => {
                let first = channels.ids().next();
                first.into_iter().for_each(|id| channels.close(id));
            }
            step => peer(mapping.transport_mut(), step, &mut reader),
        }
        channels.pump(&mut mapping, now);
        while let Some(event) = channels.poll_event() {
            match event {
                Event::Accepted(id) => {
                    accepted += 1;
                    // It may have been closed again since.
                    drop(channels.send(id, Message::from("hello")));
                }
                Event::Messages { channel, messages } if reads => {
                    let cost = messages.iter().map(Message::cost).sum();
                    channels.grant(channel, cost);
                }
                Event::Messages { .. }
                | Event::Opened(_)
                | Event::BufferedAmountLow(_)
                | Event::Writable(_)
                | Event::Closing(_)
                | Event::Closed { .. }
                | Event::AssociationClosed(_) => {}
            }
        }
        let most = MAX_PARTIAL_BYTES + MAX_DATAGRAM_BYTES + 512 * 1024 + MESSAGE_OVERHEAD;
        assert!(mapping.held() <= most, "{} bytes held", mapping.held());
    }
    accepted > 0
}

fn peer(scripted: &mut Scripted, step: u8, reader: &mut Reader<'_>) {
    if step == 0 {
        let stream = Uni(scripted.opened);
        scripted.opened += 1;
        scripted.streams.insert(stream, Stream::default());
        scripted.waiting.push_back(stream);
        return scripted.notices.push_back(Notice::Opened);
    }
    if step == 4 {
        let len = reader.word().unwrap_or_default();
        let datagram = Bytes::copy_from_slice(reader.bytes(len));
        scripted.datagrams.push_back(datagram);
        return scripted.notices.push_back(Notice::Datagrams);
    }
    let stream = Uni(u64::from(reader.byte().unwrap_or_default()));
    let Some(to) = scripted.streams.get_mut(&stream) else {
        return;
    };
    match step {
        1 => {
            let len = reader.word().unwrap_or_default();
            if !to.finished {
                to.data.extend_from_slice(reader.bytes(len));
            }
        }
        2 => to.finished = true,
        _ => {
            let mut code = [0; 8];
            let bytes = reader.bytes(8);
            code[..bytes.len()].copy_from_slice(bytes);
            to.reset = Some(u64::from_be_bytes(code) >> 2);
        }
    }
    scripted.notices.push_back(Notice::Readable(stream));
}

fn write(stream: u8, bytes: &[u8]) -> Vec<u8> {
    [&[1, stream], &super::seeds::length(bytes.len())[..], bytes].concat()
}

/// What an honest peer says, and that with changes.
pub(super) fn real() -> Vec<(Vec<u8>, bool)> {
    let (id, epoch) = (StreamId(0), 0);
    let mut all = vec![(vec![4, 0, 3, 1, 2, 3], false)];
    for reliability in [Reliability::Reliable, Reliability::MaxRetransmits(0)] {
        let open = DcepMessage::Open(Open {
            label: "label".into(),
            protocol: "p".into(),
            ordered: true,
            reliability,
            priority: 256,
        });
        let open = open.to_bytes();
        let mut main = BytesMut::new();
        Head::Main { id, epoch }.write(&mut main);
        for (ppid, data, streams) in [(Ppid::Dcep, &open[..], 0), (Ppid::Text, &b"text"[..], 1)] {
            let len = data.len() as u32;
            Frame { ppid, len, streams }.write(&mut main);
            main.extend_from_slice(data);
        }
        let order = Order {
            streams: 0,
            frames: 1,
        };
        let mut message = BytesMut::new();
        let (ppid, place) = (Ppid::Binary, Some(order));
        Head::Message {
            id,
            epoch,
            ppid,
            order: place,
        }
        .write(&mut message);
        message.extend_from_slice(b"binary");
        let later = Order {
            streams: 2,
            frames: 2,
        };
        let datagram = Datagram {
            id,
            epoch,
            ppid,
            order: Some((later, 0)),
            data: Bytes::from_static(b"fast"),
        };
        let datagram = datagram.to_bytes();
        let code = given_up(id, epoch, 1) << 2;
        let whole = [
            vec![0],
            write(0, &main),
            vec![0],
            write(1, &message),
            vec![2, 1, 0, 3, 2],
            code.to_be_bytes().to_vec(),
            [&[4][..], &super::seeds::length(datagram.len()), &datagram].concat(),
            vec![5, 2, 0, 6, 5],
        ]
        .concat();
        all.push((whole.clone(), true));
        all.push((whole[..9].to_vec(), false));
    }
    all
}
