//! A path between two ends of this machine: everything sent to one of its sockets
//! leaves from the other, later by the delay, unless the dice lose it.
//!
//! ```text
//! near ──▶ near's socket ──(dice, delay)──▶ far's socket ──▶ far
//!      ◀──               ◀──(dice, delay)──               ◀──
//! ```
//!
//! One thread per direction. Packets travel in the batches in which they came (GRO
//! in, GSO out), so that it moves more than any stack under test: how much it moves
//! is never the limit, and [`Report`] tells if it was.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use quinn_udp::{BATCH_SIZE, EcnCodepoint, RecvMeta, Transmit, UdpSocketState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::options::tell;
use crate::stack::Failure;

/// Bytes on the way in one direction; what comes on top is dropped and counted.
const MAX_ON_THE_WAY: usize = 64 << 20;
/// What one receive may bring, per message of the batch.
const RECEIVE_BYTES: usize = 65_535;
/// Asked of the kernel for both sockets; it may give less.
const SOCKET_BUFFER: usize = 4 << 20;
/// Segments of one send, and its bytes: what the kernel takes.
const MAX_SEGMENTS: usize = 64;
const MAX_SEND_BYTES: usize = 64_000;
/// How long the socket is left alone when it takes no more.
const FULL: Duration = Duration::from_micros(200);
/// Longest wait for a packet.
const NOTHING: Duration = Duration::from_millis(100);

/// What the path does to packets.
#[derive(Debug, Clone, Copy)]
pub struct Path {
    /// In each direction.
    pub delay: Duration,
    /// Share of packets, each by itself, in each direction.
    pub loss: f64,
    /// The same seed loses the same packets.
    pub seed: u64,
}

/// What became of the packets of both directions.
#[derive(Debug, Default)]
pub struct Report {
    /// Sent on.
    pub forwarded: AtomicU64,
    /// By the dice.
    pub lost: AtomicU64,
    /// Too many were on the way.
    pub overflowed: AtomicU64,
}

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    /// For the near end to send to.
    pub near: SocketAddr,
    /// For the far end to send to.
    pub far: SocketAddr,
    /// Takes the far end's address as text, and echoes it.
    pub control: SocketAddr,
    /// What has happened so far.
    pub report: Arc<Report>,
}

impl Relay {
    /// Opens the sockets and starts the threads, which end with the process.
    pub fn start(path: Path) -> Result<Self, Failure> {
        Self::between(Ipv4Addr::LOCALHOST.into(), path)
    }

    /// The same with another address for the near end. Ends of which one speaks IPv6
    /// and the other IPv4 find no way around a relay between them.
    pub fn between(near: IpAddr, path: Path) -> Result<Self, Failure> {
        let (near, far) = (Side::new(near)?, Side::new(Ipv4Addr::LOCALHOST.into())?);
        let control = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let report = Arc::<Report>::default();
        let relay = Self {
            near: near.socket.local_addr()?,
            far: far.socket.local_addr()?,
            control: control.local_addr()?,
            report: report.clone(),
        };
        let ways = [(&near, &far, path.seed), (&far, &near, !path.seed)];
        for (from, to, seed) in ways {
            let way = Direction {
                from: from.clone(),
                to: to.clone(),
                path: Path { seed, ..path },
                on_the_way: VecDeque::new(),
                bytes: 0,
                report: report.clone(),
            };
            thread::spawn(move || way.run());
        }
        thread::spawn(move || obey(&control, &far));
        Ok(relay)
    }

    /// Tells it where the far end is.
    pub fn far_is_at(&self, address: SocketAddr) -> Result<(), Failure> {
        tell(self.control, address)
    }

    /// Packets that the kernel dropped because the relay did not fetch them in time.
    pub fn overrun(&self) -> u64 {
        let table = std::fs::read_to_string("/proc/net/udp").unwrap_or_default();
        let ports = [self.near, self.far].map(|address| format!(":{:04X}", address.port()));
        let drops = table.lines().filter_map(|line| {
            let mut fields = line.split_whitespace();
            let local = fields.nth(1)?;
            let ours = ports.iter().any(|port| local.ends_with(port.as_str()));
            ours.then(|| fields.last()?.parse::<u64>().ok()).flatten()
        });
        drops.sum()
    }
}

/// Sets the far end's address to what arrives.
fn obey(control: &UdpSocket, far: &Side) {
    let mut text = [0; 64];
    while let Ok((len, from)) = control.recv_from(&mut text) {
        let address = std::str::from_utf8(&text[..len]).map(str::parse);
        if let Ok(Ok(address)) = address {
            far.learn(address);
            // Whoever asked gives up by itself if this is lost.
            let _ = control.send_to(&text[..len], from);
        }
    }
}

/// One socket, and who is behind it.
#[derive(Debug, Clone)]
struct Side {
    socket: Arc<UdpSocket>,
    state: Arc<UdpSocketState>,
    /// Whoever sent last, or was told to be there.
    peer: Arc<Mutex<Option<SocketAddr>>>,
}

impl Side {
    fn new(address: IpAddr) -> Result<Self, Failure> {
        let socket = UdpSocket::bind((address, 0))?;
        let state = UdpSocketState::new((&socket).into())?;
        // Smaller buffers are no reason to give up: `overrun` tells.
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER);
        let _ = socket2::SockRef::from(&socket).set_send_buffer_size(SOCKET_BUFFER);
        Ok(Self {
            socket: Arc::new(socket),
            state: Arc::new(state),
            peer: Arc::default(),
        })
    }

    fn learn(&self, address: SocketAddr) {
        *self.peer.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
    }

    fn peer(&self) -> Option<SocketAddr> {
        *self.peer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Packets of one length but for the last, as they came.
struct Batch {
    due: Instant,
    contents: Vec<u8>,
    stride: usize,
    ecn: Option<EcnCodepoint>,
}

/// From one socket to the other.
struct Direction {
    from: Side,
    to: Side,
    path: Path,
    on_the_way: VecDeque<Batch>,
    bytes: usize,
    report: Arc<Report>,
}

impl Direction {
    fn run(mut self) {
        let mut buffers = vec![[0; RECEIVE_BYTES]; BATCH_SIZE];
        let mut wait = NOTHING;
        loop {
            let mut ready = [PollFd::new(&*self.from.socket, PollFlags::IN)];
            let limit = Timespec {
                tv_sec: 0,
                tv_nsec: wait.subsec_nanos().into(),
            };
            // An interrupted wait is a short one.
            let _ = poll(&mut ready, Some(&limit));
            self.receive(&mut buffers);
            wait = self.deliver();
        }
    }

    /// Fetches all that has arrived.
    fn receive(&mut self, buffers: &mut [[u8; RECEIVE_BYTES]]) {
        loop {
            let mut slices: Vec<_> = buffers
                .iter_mut()
                .map(|buffer| IoSliceMut::new(buffer))
                .collect();
            let mut metas = [RecvMeta::default(); BATCH_SIZE];
            let socket = (&*self.from.socket).into();
            let Ok(count) = self.from.state.recv(socket, &mut slices, &mut metas) else {
                return;
            };
            for (meta, buffer) in metas.iter().zip(buffers.iter()).take(count) {
                self.take(meta, &buffer[..meta.len]);
            }
        }
    }

    /// Casts the dice for each packet of a batch and keeps the others.
    fn take(&mut self, meta: &RecvMeta, contents: &[u8]) {
        self.from.learn(meta.addr);
        let packets = contents.len().div_ceil(meta.stride.max(1)) as u64;
        if self.bytes + contents.len() > MAX_ON_THE_WAY {
            self.report.overflowed.fetch_add(packets, Ordering::Relaxed);
            return;
        }
        let mut kept = Vec::with_capacity(contents.len());
        for packet in contents.chunks(meta.stride.max(1)) {
            if unit(&mut self.path.seed) < self.path.loss {
                self.report.lost.fetch_add(1, Ordering::Relaxed);
            } else {
                kept.extend_from_slice(packet);
            }
        }
        if kept.is_empty() {
            return;
        }
        self.bytes += kept.len();
        self.on_the_way.push_back(Batch {
            due: Instant::now() + self.path.delay,
            contents: kept,
            stride: meta.stride,
            ecn: meta.ecn,
        });
    }

    /// Sends what is due; returns how long to wait.
    fn deliver(&mut self) -> Duration {
        while let Some(batch) = self.on_the_way.front_mut() {
            let now = Instant::now();
            if batch.due > now {
                return (batch.due - now).min(NOTHING);
            }
            let segments = (MAX_SEND_BYTES / batch.stride).clamp(1, MAX_SEGMENTS);
            let len = batch.contents.len().min(segments * batch.stride);
            // Nobody there yet: lost, as on any path to nowhere.
            if let Some(destination) = self.to.peer() {
                let transmit = Transmit {
                    destination,
                    ecn: batch.ecn,
                    contents: &batch.contents[..len],
                    segment_size: (len > batch.stride).then_some(batch.stride),
                    src_ip: None,
                };
                let socket = (&*self.to.socket).into();
                match self.to.state.try_send(socket, &transmit) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return FULL,
                    // Whoever has gone leaves an error behind.
                    Ok(()) | Err(_) => {}
                }
                let packets = len.div_ceil(batch.stride) as u64;
                self.report.forwarded.fetch_add(packets, Ordering::Relaxed);
            }
            batch.contents.drain(..len);
            self.bytes -= len;
            if batch.contents.is_empty() {
                self.on_the_way.pop_front();
            }
        }
        NOTHING
    }
}

/// The next number of a SplitMix64 sequence, from 0 to 1.
fn unit(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Option<Duration> = Some(Duration::from_secs(5));

    fn end() -> UdpSocket {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        socket.set_read_timeout(PATIENCE).expect("a timeout");
        socket
    }

    #[test]
    fn packets_arrive_late_and_in_both_directions() {
        let (loss, seed) = (0.0, 1);
        let delay = Duration::from_millis(30);
        let relay = Relay::start(Path { delay, loss, seed }).expect("a relay");
        let (near, far) = (end(), end());
        relay
            .far_is_at(far.local_addr().expect("an address"))
            .expect("understood");

        let (from, mut packet) = (Instant::now(), [0; 16]);
        near.send_to(b"there", relay.near).expect("sent");
        assert_eq!(far.recv(&mut packet).expect("arrives"), 5);
        far.send_to(b"and back", relay.far).expect("sent");
        assert_eq!(near.recv(&mut packet).expect("arrives"), 8);
        assert!(from.elapsed() >= 2 * delay);
        assert_eq!(relay.report.forwarded.load(Ordering::Relaxed), 2);
        assert_eq!(relay.overrun(), 0);
    }

    #[test]
    fn the_dice_lose_the_share_that_was_asked_for() {
        let mut state = 7;
        let lost = (0..100_000).filter(|_| unit(&mut state) < 0.01).count();
        assert!((900..1100).contains(&lost), "{lost}");
    }
}
