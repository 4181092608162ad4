//! One UDP socket with batched, offloaded sends and receives.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use peerloom_transports_proto::{engine::Transmit, id::Path};
use quinn_udp::{RecvMeta, UdpSocketState};
use socket2::{Domain, Protocol, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::faults::Faults;

/// Kernel buffer asked for in each direction. A default buffer of 212 KB overruns
/// when a full congestion window leaves at once (measured: 19 of 50 slots silent).
pub const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// What the kernel granted. Linux caps at `net.core.{r,w}mem_max` without saying so
/// and reports twice the usable size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferSizes {
    /// Receive buffer in bytes, as reported.
    pub receive: usize,
    /// Send buffer in bytes, as reported.
    pub send: usize,
}

/// A bound UDP socket. Cheap to clone; any thread may send on it.
#[derive(Debug, Clone)]
pub struct Socket {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    io: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    buffers: BufferSizes,
    faults: Arc<Faults>,
    bytes_sent: AtomicU64,
    send_errors: AtomicU64,
}

impl Socket {
    /// Binds within the current tokio runtime, whose driver then serves the socket.
    pub(crate) fn bind(addr: SocketAddr, faults: Arc<Faults>) -> io::Result<Socket> {
        let socket =
            socket2::Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        // Best effort: what the kernel gave is read back and reported.
        if let Err(error) = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES) {
            tracing::debug!(%error, "receive buffer size refused");
        }
        if let Err(error) = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES) {
            tracing::debug!(%error, "send buffer size refused");
        }
        socket.bind(&addr.into())?;
        let buffers = BufferSizes {
            receive: socket.recv_buffer_size()?,
            send: socket.send_buffer_size()?,
        };
        let io = UdpSocket::from_std(socket.into())?;
        let state = UdpSocketState::new((&io).into())?;
        let local = io.local_addr()?;
        tracing::debug!(%local, ?buffers, gso = state.max_gso_segments(), gro = state.gro_segments(), "bound");
        let inner = Inner {
            io,
            state,
            local,
            buffers,
            faults,
            bytes_sent: AtomicU64::new(0),
            send_errors: AtomicU64::new(0),
        };
        Ok(Socket {
            inner: Arc::new(inner),
        })
    }

    /// The bound address; a wildcard stays a wildcard.
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.local
    }

    /// The kernel buffers granted.
    pub fn buffers(&self) -> BufferSizes {
        self.inner.buffers
    }

    /// Datagrams one [`Transmit`] may carry here; 1 without GSO.
    pub fn max_segments(&self) -> usize {
        self.inner.state.max_gso_segments()
    }

    /// Bytes handed to the kernel so far.
    pub fn bytes_sent(&self) -> u64 {
        self.inner.bytes_sent.load(Ordering::Relaxed)
    }

    /// Sends the kernel refused for another reason than a full buffer (no route, a
    /// packet over the MTU). Such a datagram counts as lost, like any other.
    pub fn send_errors(&self) -> u64 {
        self.inner.send_errors.load(Ordering::Relaxed)
    }

    /// Whether datagrams with this local address leave through this socket.
    pub fn serves(&self, local: SocketAddr) -> bool {
        let bound = self.inner.local;
        bound.port() == local.port()
            && bound.is_ipv4() == local.is_ipv4()
            && (bound.ip().is_unspecified() || bound.ip() == local.ip())
    }

    /// Waits until a blocked send may be tried again.
    pub async fn writable(&self) -> io::Result<()> {
        self.inner.io.writable().await
    }

    /// Waits until there may be something to receive.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.inner.io.readable().await
    }

    /// Sends one batch, and tells what the kernel refused. `Err` only for a full socket buffer.
    pub(crate) fn try_send(&self, transmit: &Transmit) -> Result<Discarded, Blocked> {
        let faults = &self.inner.faults;
        let cut = faults.silent() || faults.hides(transmit.path.local.ip());
        if cut || faults.blocks(&transmit.contents) {
            return Ok(Discarded::default());
        }
        if self.inner.faults.impaired() {
            return self.send_impaired(transmit);
        }
        self.send_batch(transmit.path, &transmit.contents, transmit.segment_size)
    }

    /// One datagram at a time, without those that fault injection loses.
    fn send_impaired(&self, transmit: &Transmit) -> Result<Discarded, Blocked> {
        let mut discarded = Discarded::default();
        for datagram in transmit.contents.chunks(transmit.segment_size.max(1)) {
            if !self.inner.faults.loses_next() {
                // A full buffer under injected loss is one more loss.
                let sent = self.send_batch(transmit.path, datagram, datagram.len());
                discarded += sent.unwrap_or_default();
            }
        }
        Ok(discarded)
    }

    fn send_batch(
        &self,
        path: Path,
        contents: &[u8],
        segment: usize,
    ) -> Result<Discarded, Blocked> {
        let mut discarded = Discarded::default();
        let per_call = segment.max(1) * self.max_segments();
        for chunk in contents.chunks(per_call) {
            let out = quinn_udp::Transmit {
                destination: path.remote,
                ecn: None,
                contents: chunk,
                segment_size: (chunk.len() > segment).then_some(segment),
                src_ip: self.source(path.local.ip()),
            };
            if !self.send_one(&out)? {
                discarded += Discarded::of(chunk.len(), segment);
            }
        }
        Ok(discarded)
    }

    /// Whether the kernel took it.
    fn send_one(&self, out: &quinn_udp::Transmit<'_>) -> Result<bool, Blocked> {
        let inner = &*self.inner;
        let attempt = || inner.state.try_send((&inner.io).into(), out);
        let result = match attempt() {
            // Once more under the readiness guard, so that the wake-up is not lost.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                inner.io.try_io(Interest::WRITABLE, attempt)
            }
            other => other,
        };
        match result {
            Ok(()) => {
                inner
                    .bytes_sent
                    .fetch_add(out.contents.len() as u64, Ordering::Relaxed);
                Ok(true)
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(Blocked),
            Err(error) => {
                inner.send_errors.fetch_add(1, Ordering::Relaxed);
                tracing::trace!(%error, "datagram not sent");
                Ok(false)
            }
        }
    }

    fn source(&self, ip: IpAddr) -> Option<IpAddr> {
        self.inner.local.ip().is_unspecified().then_some(ip)
    }

    /// Receives into `buffers`; `Ok(0)` when there is nothing.
    pub(crate) fn try_receive(
        &self,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> io::Result<usize> {
        let inner = &*self.inner;
        let attempt = || inner.state.recv((&inner.io).into(), buffers, meta);
        match inner.io.try_io(Interest::READABLE, attempt) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(0),
            other => other,
        }
    }

    /// Whether this address of ours seems to be gone.
    pub(crate) fn hides(&self, ip: IpAddr) -> bool {
        self.inner.faults.hides(ip)
    }

    /// Whether received datagrams are to be thrown away.
    pub(crate) fn silent(&self) -> bool {
        self.inner.faults.silent()
    }
}

/// Datagrams that were given away and never left this machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Discarded {
    /// How many.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Discarded {
    /// All of a batch.
    pub(crate) fn batch(transmit: &Transmit) -> Self {
        Self::of(transmit.contents.len(), transmit.segment_size)
    }

    fn of(len: usize, segment: usize) -> Self {
        Self {
            packets: len.div_ceil(segment.max(1)) as u64,
            bytes: len as u64,
        }
    }
}

impl std::ops::AddAssign for Discarded {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// The socket buffer is full; wait for [`Socket::writable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blocked;
