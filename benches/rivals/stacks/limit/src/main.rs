//! The machine itself: what two threads move over loopback when nothing but packets
//! and cryptography is in the way. No retransmission, no congestion control, no
//! streams; a sender that stays a bounded number of bytes ahead.
//!
//! Packets of 1,200 bytes, each its own AES-128-GCM record (aws-lc-rs) with its
//! number in front, sealed and opened in place; sent by UDP GSO and received by GRO
//! and `recvmmsg`. `--variant crc` has a CRC32C of every packet's plaintext on both
//! sides as well, as SCTP has.
//!
//! W3 is a UDP ping-pong between two tokio tasks: the round trip that no stack on
//! tokio undercuts.

use std::io::{ErrorKind, IoSliceMut};
use std::net::{Ipv4Addr, UdpSocket};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use clap::Parser as _;
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use rivals_kit::meter::{Mark, percentile};
use rivals_kit::{Failure, Options, Unsupported, Workload, finish};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

/// Bytes of a UDP datagram.
const PACKET: usize = 1200;
/// The packet's number, then (of the plaintext) its checksum, then what it carries.
const NUMBER: usize = 8;
const CHECKSUM: usize = 4;
const TAG: usize = 16;
/// Packets of one send: just below the 65,507 bytes that UDP carries.
const SEGMENTS: usize = 54;
/// How far the sender goes ahead; the receiver's socket buffer holds it.
const AHEAD: u64 = 1 << 20;
const SOCKET_BUFFER: usize = 4 << 20;
/// How long the sender rests when it is too far ahead.
const REST: Duration = Duration::from_micros(20);
const WARM_UP: Duration = Duration::from_millis(500);
const WARM_UP_ECHOES: u32 = 200;

fn main() -> ExitCode {
    let options = Options::parse();
    finish(match options.workload {
        Workload::W1 => bulk(&options),
        Workload::W3 => echo(&options),
        Workload::W2 | Workload::W4 | Workload::W5 | Workload::W6 | Workload::W7 => {
            Err(Unsupported("there is no stack").into())
        }
    })
}

/// What both threads know of each other.
#[derive(Default)]
struct Progress {
    /// Numbers above every packet that has arrived.
    arrived: AtomicU64,
    /// Bytes opened.
    bytes: AtomicU64,
    stop: AtomicBool,
}

fn bulk(options: &Options) -> Result<Value, Failure> {
    let crc = options.variant.as_deref() == Some("crc");
    let (from, to) = (socket()?, socket()?);
    let destination = to.local_addr()?;
    let progress = Arc::<Progress>::default();
    let sender = {
        let progress = progress.clone();
        thread::spawn(move || send(&from, destination, crc, &progress))
    };
    let receiver = {
        let progress = progress.clone();
        thread::spawn(move || receive(&to, crc, &progress))
    };
    thread::sleep(WARM_UP);
    let (mark, before) = (Mark::now(), progress.bytes.load(Ordering::Relaxed));
    thread::sleep(options.duration());
    let bytes = progress.bytes.load(Ordering::Relaxed) - before;
    let (seconds, cpu) = mark.elapsed();
    progress.stop.store(true, Ordering::Relaxed);
    for thread in [sender, receiver] {
        thread.join().map_err(|_| "a thread panicked")??;
    }
    Ok(json!({ "bytes": bytes, "seconds": seconds, "cpu": cpu }))
}

fn socket() -> Result<UdpSocket, Failure> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    // The kernel may give less; then the sender waits more often.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket2::SockRef::from(&socket).set_send_buffer_size(SOCKET_BUFFER);
    Ok(socket)
}

fn key() -> Result<LessSafeKey, Failure> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16])?))
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn send(
    socket: &UdpSocket,
    destination: std::net::SocketAddr,
    crc: bool,
    progress: &Progress,
) -> Result<(), Failure> {
    let state = UdpSocketState::new(socket.into())?;
    let key = key()?;
    let segments = state.max_gso_segments().min(SEGMENTS);
    let mut batch = vec![7; segments * PACKET];
    let mut next = 0;
    while !progress.stop.load(Ordering::Relaxed) {
        let ahead = next - progress.arrived.load(Ordering::Acquire);
        if ahead * PACKET as u64 > AHEAD {
            thread::sleep(REST);
            continue;
        }
        for packet in batch.chunks_mut(PACKET) {
            seal(&key, packet, next, crc)?;
            next += 1;
        }
        let transmit = Transmit {
            destination,
            ecn: None,
            contents: &batch,
            segment_size: Some(PACKET),
            src_ip: None,
        };
        while let Err(error) = state.try_send(socket.into(), &transmit) {
            if error.kind() != ErrorKind::WouldBlock {
                return Err(error.into());
            }
            thread::sleep(REST);
        }
    }
    Ok(())
}

/// What the packet carried before, the last round's ciphertext, is its plaintext now.
fn seal(key: &LessSafeKey, packet: &mut [u8], number: u64, crc: bool) -> Result<(), Failure> {
    let (head, rest) = packet.split_at_mut(NUMBER);
    head.copy_from_slice(&number.to_be_bytes());
    let (body, tag) = rest.split_at_mut(PACKET - NUMBER - TAG);
    if crc {
        let sum = crc32c::crc32c(&body[CHECKSUM..]);
        body[..CHECKSUM].copy_from_slice(&sum.to_be_bytes());
    }
    let sealed = key.seal_in_place_separate_tag(nonce(number), Aad::from(head), body)?;
    tag.copy_from_slice(sealed.as_ref());
    Ok(())
}

fn receive(socket: &UdpSocket, crc: bool, progress: &Progress) -> Result<(), Failure> {
    let state = UdpSocketState::new(socket.into())?;
    let key = key()?;
    let mut buffers = vec![[0; 65_535]; BATCH_SIZE];
    let limit = Timespec {
        tv_sec: 0,
        tv_nsec: 100_000_000,
    };
    while !progress.stop.load(Ordering::Relaxed) {
        let mut slices: Vec<_> = buffers
            .iter_mut()
            .map(|buffer| IoSliceMut::new(buffer))
            .collect();
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let count = match state.recv(socket.into(), &mut slices, &mut metas) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&limit))?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        for (meta, buffer) in metas.iter().zip(&mut buffers).take(count) {
            for packet in buffer[..meta.len].chunks_mut(meta.stride) {
                let (number, bytes) = open(&key, packet, crc)?;
                progress.arrived.fetch_max(number + 1, Ordering::Release);
                progress.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

/// The packet's number, and how much it carries.
fn open(key: &LessSafeKey, packet: &mut [u8], crc: bool) -> Result<(u64, usize), Failure> {
    let (head, body) = packet
        .split_first_chunk_mut::<NUMBER>()
        .ok_or("a short packet")?;
    let number = u64::from_be_bytes(*head);
    let plain = key.open_in_place(nonce(number), Aad::from(&head[..]), body)?;
    if crc {
        let (sum, rest) = plain
            .split_first_chunk::<CHECKSUM>()
            .ok_or("a short packet")?;
        if u32::from_be_bytes(*sum) != crc32c::crc32c(rest) {
            return Err("a checksum does not match".into());
        }
    }
    Ok((number, plain.len()))
}

fn echo(options: &Options) -> Result<Value, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let (size, duration) = (options.size, options.duration());
    runtime.block_on(async {
        tokio::spawn(ping_pong(size, duration))
            .await
            .map_err(Failure::from)?
    })
}

async fn ping_pong(size: usize, duration: Duration) -> Result<Value, Failure> {
    let near = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let far = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    near.connect(far.local_addr()?).await?;
    far.connect(near.local_addr()?).await?;
    tokio::spawn(async move {
        let mut packet = [0; PACKET];
        while let Ok(len) = far.recv(&mut packet).await {
            if far.send(&packet[..len]).await.is_err() {
                return;
            }
        }
    });
    let message = vec![7; size.min(PACKET)];
    let (mut packet, mut took) = ([0; PACKET], Vec::new());
    for _ in 0..WARM_UP_ECHOES {
        near.send(&message).await?;
        near.recv(&mut packet).await?;
    }
    let until = Instant::now() + duration;
    while Instant::now() < until {
        let from = Instant::now();
        near.send(&message).await?;
        near.recv(&mut packet).await?;
        took.push(from.elapsed().as_secs_f64() * 1e6);
    }
    Ok(json!({
        "p50": percentile(&mut took, 0.5),
        "p99": percentile(&mut took, 0.99),
        "count": took.len(),
    }))
}
