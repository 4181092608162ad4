//! Flows that share a bottleneck: one queue of so many bytes, drained at a rate, and the delay of the
//! way there and back.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use peerloom_transports_proto::config::SctpConfig;
use peerloom_transports_proto::id::{DtlsRole, StreamId};
use peerloom_transports_proto::sctp::{Association, Event, Message, Ppid, Reliability};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a packet has around it: DTLS 1.3, UDP, IPv4.
const AROUND: usize = 50;
const STREAM: StreamId = StreamId(0);
const MESSAGE: usize = 16 * 1024;

/// The path that all flows share.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// Bytes per second.
    pub rate: f64,
    /// Of both ways together, without the queue.
    pub round_trip: Duration,
    /// Bytes that wait at most; what comes on top is dropped.
    pub buffer: usize,
    /// Packets lost by chance, per mille.
    pub loss: u32,
    /// Longest packet of SCTP that gets through; longer ones vanish.
    pub longest: usize,
}

impl Path {
    pub fn new(megabits: f64, round_trip: Duration, buffer_in_bdp: f64) -> Self {
        let rate = megabits * 1e6 / 8.0;
        Self {
            rate,
            round_trip,
            buffer: (rate * round_trip.as_secs_f64() * buffer_in_bdp) as usize,
            loss: 0,
            longest: usize::MAX,
        }
    }
}

struct Waiting {
    flow: usize,
    packet: Bytes,
    at: Instant,
}

/// What became of a flow.
#[derive(Clone, Debug, Default)]
pub struct Got {
    /// Bytes of messages that arrived.
    pub bytes: u64,
    /// Time that its packets have waited in the queue: the sum, the longest, and how many.
    pub waited: (Duration, Duration, u32),
    pub dropped: u64,
    /// The longest packet that got through.
    pub longest: usize,
}

impl Got {
    pub fn mean_wait(&self) -> Duration {
        self.waited.0 / self.waited.2.max(1)
    }
}

/// The flows, each from its first end to its second.
pub struct Bottleneck {
    pub path: Path,
    pub now: Instant,
    pub cut: bool,
    pub flows: Vec<[Association; 2]>,
    /// When each begins to send.
    begins: Vec<Instant>,
    pub got: Vec<Got>,
    queue: VecDeque<Waiting>,
    queued: usize,
    free_at: Instant,
    /// What is beyond the queue: to which end of which flow.
    wire: BTreeMap<(Instant, u64), (usize, usize, Bytes)>,
    sent: u64,
    rng: ChaCha8Rng,
}

impl Bottleneck {
    pub fn new(path: Path, seed: u64, flows: &[(SctpConfig, Duration)]) -> Self {
        let now = Instant::now();
        let ends = |config: &SctpConfig| {
            [DtlsRole::Client, DtlsRole::Server]
                .map(|role| Association::new(config.clone(), role, now).expect("association"))
        };
        Self {
            path,
            now,
            cut: false,
            flows: flows.iter().map(|(config, _)| ends(config)).collect(),
            begins: flows.iter().map(|(_, after)| now + *after).collect(),
            got: vec![Got::default(); flows.len()],
            queue: VecDeque::new(),
            queued: 0,
            free_at: now,
            wire: BTreeMap::new(),
            sent: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// Runs for so long, and returns what each flow got in that time.
    pub fn run(&mut self, span: Duration) -> Vec<Got> {
        self.got.fill(Got::default());
        let end = self.now + span;
        let mut spinning = (self.now, 0);
        loop {
            (0..self.flows.len()).for_each(|flow| self.drain(flow));
            let Some(at) = self.next_at().filter(|at| *at <= end) else {
                self.now = end;
                return self.got.clone();
            };
            let again = at <= self.now;
            self.now = self.now.max(at);
            spinning = if again && spinning.0 == self.now {
                (self.now, spinning.1 + 1)
            } else {
                (self.now, 0)
            };
            assert!(spinning.1 < 10_000, "a timer asks to be run at once");
            self.deliver();
            for end in self.flows.iter_mut().flatten() {
                end.handle_timeout(self.now);
            }
        }
    }

    fn next_at(&self) -> Option<Instant> {
        let timers = self.flows.iter().flatten();
        let timers = timers.filter_map(|end| end.poll_timeout().map(|due| due.at));
        let wire = self.wire.keys().next().map(|(at, _)| *at);
        let queue = (!self.queue.is_empty()).then_some(self.free_at);
        let begins = self.begins.iter().copied().filter(|at| *at > self.now);
        timers.chain(wire).chain(queue).chain(begins).min()
    }

    fn drain(&mut self, flow: usize) {
        let now = self.now;
        if now >= self.begins[flow] && self.flows[flow][0].is_connected() {
            let [sender, _] = &mut self.flows[flow];
            while sender.buffered_total() + MESSAGE <= sender.send_buffer() {
                let message = Message {
                    ppid: Ppid::Binary,
                    data: vec![7; MESSAGE].into(),
                };
                sender
                    .write(STREAM, true, Reliability::Reliable, &message, now)
                    .expect("written");
            }
        }
        for index in 0..2 {
            let end = &mut self.flows[flow][index];
            while let Some(event) = end.poll_event() {
                match event {
                    Event::Readable(stream) => {
                        while let Some(message) = end.read(stream) {
                            self.got[flow].bytes += message.data.len() as u64;
                        }
                    }
                    Event::Closed(reason) => panic!("closed: {reason}"),
                    Event::Connected | Event::Released { .. } | Event::Reset(_) => {}
                }
            }
            while let Some(packet) = self.flows[flow][index].poll_transmit(now) {
                match index {
                    0 => self.enqueue(flow, packet),
                    _ => self.send(flow, 0, packet, now + self.path.round_trip / 2),
                }
            }
        }
    }

    fn enqueue(&mut self, flow: usize, packet: Bytes) {
        let len = packet.len() + AROUND;
        let unlucky = self.rng.random_range(0..1000) < self.path.loss;
        let full = self.queued + len > self.path.buffer.max(2 * len);
        if full || unlucky || self.cut || packet.len() > self.path.longest {
            self.got[flow].dropped += 1;
            return;
        }
        if self.queue.is_empty() {
            self.free_at = self.free_at.max(self.now) + self.takes(len);
        }
        self.queued += len;
        self.queue.push_back(Waiting {
            flow,
            packet,
            at: self.now,
        });
    }

    fn takes(&self, len: usize) -> Duration {
        Duration::from_secs_f64(len as f64 / self.path.rate)
    }

    fn send(&mut self, flow: usize, end: usize, packet: Bytes, at: Instant) {
        if self.cut {
            return;
        }
        self.sent += 1;
        self.wire.insert((at, self.sent), (flow, end, packet));
    }

    fn deliver(&mut self) {
        while self.free_at <= self.now
            && let Some(Waiting { flow, packet, at }) = self.queue.pop_front()
        {
            let len = packet.len() + AROUND;
            self.queued -= len;
            let wait = self.free_at - self.takes(len);
            let wait = wait.saturating_duration_since(at);
            let got = &mut self.got[flow];
            got.waited = (
                got.waited.0 + wait,
                got.waited.1.max(wait),
                got.waited.2 + 1,
            );
            got.longest = got.longest.max(packet.len());
            self.send(flow, 1, packet, self.free_at + self.path.round_trip / 2);
            if let Some(next) = self.queue.front() {
                self.free_at += self.takes(next.packet.len() + AROUND);
            }
        }
        while let Some(entry) = self.wire.first_entry().filter(|e| e.key().0 <= self.now) {
            let (flow, end, packet) = entry.remove();
            self.flows[flow][end].handle_packet(packet, self.now);
        }
    }
}
