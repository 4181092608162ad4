//! A QUIC that needs no packets: what one end does is told the other, each stream by itself.

mod hostile;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{MESSAGE_STREAMS, Mapping, Notice, Read, Transport, Uni};
use crate::config::QuicConfig;
use crate::sctp::CloseReason;

/// Bytes of a stream that the other end takes unread, as its window.
const WINDOW: usize = 1024 * 1024;

/// Bytes in one packet.
const PACKET: usize = 16 * 1024;

/// Bytes of all streams that may be under way and unread.
const SEND_WINDOW: usize = 256 * 1024;

/// One end.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    opened: u64,
    allowed: u64,
    out: BTreeMap<Uni, Out>,
    turn: u64,
    under_way: usize,
    incoming: VecDeque<Uni>,
    arrived: BTreeMap<Uni, In>,
    datagrams: VecDeque<Bytes>,
    notices: VecDeque<Notice>,
    packets: VecDeque<Bytes>,
    /// Streams that the peer has had and that are over.
    over: u64,
    granted: u64,
    closed: bool,
    blocked: bool,
}

#[derive(Debug, Default)]
struct Out {
    data: BytesMut,
    unread: usize,
    finished: bool,
}

#[derive(Debug, Default)]
struct In {
    data: BytesMut,
    finished: bool,
    reset: Option<u64>,
}

const DATA: u8 = 1;
const FIN: u8 = 2;
const RESET: u8 = 3;
const STOP: u8 = 4;
const CREDIT: u8 = 5;
const READ: u8 = 6;
const DATAGRAM: u8 = 7;
const DONE: u8 = 8;
const CLOSE: u8 = 9;

impl Fake {
    pub(crate) fn new() -> Self {
        Self {
            allowed: u64::from(MESSAGE_STREAMS),
            granted: u64::from(MESSAGE_STREAMS),
            ..Self::default()
        }
    }

    fn tell(&mut self, kind: u8, stream: Uni, rest: &[u8]) {
        let mut packet = BytesMut::with_capacity(9 + rest.len());
        packet.put_u8(kind);
        packet.put_u64(stream.0);
        packet.put_slice(rest);
        self.packets.push_back(packet.freeze());
    }

    /// The next packet: streams take turns, whatever else comes first.
    pub(crate) fn poll_transmit(&mut self) -> Option<Bytes> {
        if let Some(packet) = self.packets.pop_front() {
            return Some(packet);
        }
        let turn = Uni(self.turn);
        let ready = |(_, out): &(&Uni, &Out)| !out.data.is_empty() || out.finished;
        let next = self.out.range(turn..).find(ready).map(|(id, _)| *id);
        let stream = next.or_else(|| self.out.iter().find(ready).map(|(id, _)| *id))?;
        self.turn = stream.0 + 1;
        let out = self.out.get_mut(&stream)?;
        if out.data.is_empty() {
            self.out.remove(&stream);
            self.tell(FIN, stream, &[]);
        } else {
            let len = out.data.len().min(PACKET);
            let data = out.data.split_to(len);
            self.tell(DATA, stream, &data);
        }
        self.packets.pop_front()
    }

    pub(crate) fn close(&mut self) {
        // Behind all that can be sent.
        let mut all: VecDeque<Bytes> = std::iter::from_fn(|| self.poll_transmit()).collect();
        self.tell(CLOSE, Uni(0), &[]);
        all.append(&mut self.packets);
        self.packets = all;
    }

    /// Whether it was the peer's goodbye.
    pub(crate) fn handle_packet(&mut self, packet: &Bytes) -> bool {
        let stream = Uni(u64::from_be_bytes(
            packet[1..9].try_into().expect("8 bytes"),
        ));
        let rest = packet.slice(9..);
        match packet[0] {
            DATA | FIN | RESET => self.take_stream(packet[0], stream, &rest),
            STOP => {
                self.out.remove(&stream);
                self.notices.push_back(Notice::Stopped(stream));
            }
            CREDIT => {
                self.allowed = self.allowed.max(stream.0);
                self.notices.push_back(Notice::Room);
            }
            READ => {
                let bytes = u64::from_be_bytes(rest[..].try_into().expect("8 bytes")) as usize;
                self.under_way -= bytes;
                if let Some(out) = self.out.get_mut(&stream) {
                    out.unread -= bytes.min(out.unread);
                }
                self.notices.push_back(Notice::Room);
            }
            DATAGRAM => {
                self.datagrams.push_back(rest);
                self.notices.push_back(Notice::Datagrams);
            }
            DONE => self.notices.push_back(Notice::Finished(stream)),
            CLOSE => self.closed = true,
            other => panic!("packet {other}"),
        }
        self.closed
    }

    fn take_stream(&mut self, kind: u8, stream: Uni, rest: &[u8]) {
        if !self.arrived.contains_key(&stream) && stream.0 >= self.opened_by_peer() {
            self.arrived.insert(stream, In::default());
            self.incoming.push_back(stream);
            self.notices.push_back(Notice::Opened);
        }
        if kind == FIN {
            self.tell(DONE, stream, &[]);
        }
        let Some(incoming) = self.arrived.get_mut(&stream) else {
            // Nobody reads it: as good as read.
            return self.was_read(stream, rest.len());
        };
        match kind {
            DATA => incoming.data.extend_from_slice(rest),
            FIN => incoming.finished = true,
            _ => {
                let unread = incoming.data.len();
                incoming.data.clear();
                incoming.reset = Some(u64::from_be_bytes(rest.try_into().expect("8 bytes")));
                self.was_read(stream, unread);
            }
        }
        self.notices.push_back(Notice::Readable(stream));
    }

    fn opened_by_peer(&self) -> u64 {
        let known = self.arrived.keys().next_back().map_or(0, |it| it.0 + 1);
        known.max(self.over_up_to())
    }

    fn over_up_to(&self) -> u64 {
        // Streams are opened in order and packets keep theirs.
        self.over + self.arrived.len() as u64
    }

    fn was_read(&mut self, stream: Uni, bytes: usize) {
        if bytes > 0 {
            self.tell(READ, stream, &(bytes as u64).to_be_bytes());
        }
    }

    fn is_over(&mut self, stream: Uni) {
        self.arrived.remove(&stream);
        self.over += 1;
        self.granted += 1;
        self.tell(CREDIT, Uni(self.granted), &[]);
    }
}

impl Transport for Fake {
    fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    fn open(&mut self) -> Option<Uni> {
        if self.opened >= self.allowed {
            return None;
        }
        let stream = Uni(self.opened);
        self.opened += 1;
        self.out.insert(stream, Out::default());
        Some(stream)
    }

    fn write(&mut self, stream: Uni, data: &mut Bytes) -> bool {
        let Some(out) = self.out.get_mut(&stream) else {
            return false;
        };
        let room = (WINDOW - out.unread).min(SEND_WINDOW - self.under_way);
        let taken = data.split_to(room.min(data.len()));
        out.unread += taken.len();
        self.under_way += taken.len();
        out.data.extend_from_slice(&taken);
        true
    }

    fn finish(&mut self, stream: Uni) {
        if let Some(out) = self.out.get_mut(&stream) {
            out.finished = true;
        }
    }

    fn reset(&mut self, stream: Uni, code: u64) {
        if let Some(out) = self.out.remove(&stream) {
            self.under_way -= out.data.len();
        }
        self.tell(RESET, stream, &code.to_be_bytes());
    }

    fn accept(&mut self) -> Option<Uni> {
        self.incoming.pop_front()
    }

    fn read(&mut self, stream: Uni, max: usize, into: &mut BytesMut) -> Read {
        let Some(incoming) = self.arrived.get_mut(&stream) else {
            return Read::End;
        };
        if let Some(code) = incoming.reset {
            self.is_over(stream);
            return Read::Reset(code);
        }
        let len = incoming.data.len().min(max);
        into.extend_from_slice(&incoming.data.split_to(len));
        let (finished, empty) = (incoming.finished, incoming.data.is_empty());
        self.was_read(stream, len);
        match (finished && empty, len == max) {
            (_, true) => Read::Full,
            (true, false) => {
                self.is_over(stream);
                Read::End
            }
            (false, false) => Read::Blocked,
        }
    }

    fn stop(&mut self, stream: Uni) {
        if let Some(incoming) = self.arrived.get(&stream) {
            let unread = incoming.data.len();
            self.was_read(stream, unread);
            self.is_over(stream);
            self.tell(STOP, stream, &[]);
        }
    }

    fn allow(&mut self, streams: u32) {
        self.granted = self.granted.max(self.over + u64::from(streams));
        self.tell(CREDIT, Uni(self.granted), &[]);
    }

    fn max_datagram(&mut self) -> usize {
        1200
    }

    fn send_datagram(&mut self, datagram: Bytes) -> bool {
        if self.blocked {
            return false;
        }
        self.tell(DATAGRAM, Uni(0), &datagram);
        true
    }

    fn receive_datagram(&mut self) -> Option<Bytes> {
        self.datagrams.pop_front()
    }

    fn round_trip(&self) -> Duration {
        Duration::from_millis(4)
    }
}

/// A mapping on a connection that is up.
pub(crate) fn mapping() -> Mapping<Fake> {
    let mut mapping = Mapping::new(Fake::new(), QuicConfig::default());
    mapping.start();
    mapping
}

/// Takes a packet; whether the connection is over now.
pub(crate) fn handle_packet(mapping: &mut Mapping<Fake>, packet: &Bytes) {
    if mapping.transport_mut().handle_packet(packet) {
        mapping.end(CloseReason::Peer);
    }
}
