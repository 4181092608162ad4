//! A connection that carries datagrams.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use peerloom_transports_proto::engine::Transmit;
use peerloom_transports_proto::framing::{Framer, write_frame};
use peerloom_transports_proto::id::Path;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use crate::carrier::Tunnel;
use crate::clock;
use crate::udp::{Delivery, Endpoint, Ingress};

/// How long a connection may take to come up. Guess: three SYNs of Linux, at 0, 1 and 3 seconds, and
/// a slow path.
pub const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// Bytes that wait for the connection. Filled by batches; beyond it no more are taken from the
/// tunnel, so that one batch (60 KiB and its framing) may go over it.
const WRITE_BUFFER: usize = 256 * 1024;

/// Bytes read at once at most.
const READ_BUFFER: usize = 64 * 1024;

/// Free bytes below which the read buffer grows again.
const READ_LOW: usize = 4 * 1024;

/// Batches taken from the tunnel in one turn, then others may run.
const BATCHES_PER_TURN: usize = 8;

/// How long the peer may take nothing of what waits, then the connection counts as lost. 30 s: as
/// consent (RFC 7675 §5.1).
const STALL: Duration = Duration::from_secs(30);

/// How long what was sent may stay unacknowledged, then the connection counts as lost (RFC 5482):
/// a router may have forgotten it without a word. Consent checks keep something on its way, so
/// that it is noticed, and the connection opened anew, long before consent expires. Guess:
/// longer than ICE waits before it says `disconnected`, and three or four retransmissions.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNACKNOWLEDGED: Duration = Duration::from_secs(8);

/// How long the last bytes may take to leave once nobody wants the connection any more.
const GOODBYE: Duration = Duration::from_secs(2);

/// Opens a connection for `path`: from its local address, any port, to its remote one.
///
/// # Errors
///
/// What the system said, or that [`CONNECT_PATIENCE`] has passed.
pub async fn open(path: Path, udp: &Endpoint, ingress: &Ingress) -> io::Result<(Stream, Tunnel)> {
    let socket = match path.remote {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.bind(SocketAddr::new(path.local.ip(), 0))?;
    let late = || io::Error::new(io::ErrorKind::TimedOut, "the connection takes too long");
    let stream = timeout(CONNECT_PATIENCE, socket.connect(path.remote)).await;
    Stream::new(
        stream.map_err(|_| late())??,
        path,
        BytesMut::new(),
        udp,
        ingress,
    )
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn notice_silence(stream: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED))
}

/// Other systems give up after minutes: consent expires before.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn notice_silence(_: &TcpStream) -> io::Result<()> {
    Ok(())
}

/// A connection and what is on its way.
#[derive(Debug)]
pub struct Stream {
    path: Path,
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    framer: Framer,
    out: BytesMut,
    batches: mpsc::Receiver<Transmit>,
    delivery: Delivery,
    udp: Endpoint,
}

impl Stream {
    /// `received` was read before. What is sent into the tunnel goes out, as long as
    /// [`Stream::run`] does.
    pub(super) fn new(
        stream: TcpStream,
        path: Path,
        received: BytesMut,
        udp: &Endpoint,
        ingress: &Ingress,
    ) -> io::Result<(Self, Tunnel)> {
        stream.set_nodelay(true)?;
        if let Err(error) = notice_silence(&stream) {
            tracing::debug!(%error, "silence of a TCP connection is left to consent");
        }
        let (tunnel, batches) = Tunnel::tcp(path);
        let mut framer = Framer::default();
        *framer.buffer() = received;
        let (reader, writer) = stream.into_split();
        let stream = Self {
            path,
            reader,
            writer,
            framer,
            out: BytesMut::new(),
            batches,
            delivery: ingress.delivery(),
            udp: udp.clone(),
        };
        Ok((stream, tunnel))
    }

    /// Carries until the connection ends, or nobody wants it any more.
    ///
    /// # Errors
    ///
    /// The connection broke, or the peer closed it or does not frame. `Ok` when the last tunnel was
    /// dropped.
    pub async fn run(mut self) -> io::Result<()> {
        self.deliver()?;
        let mut progress = clock::now();
        loop {
            let buffer = self.framer.buffer();
            if buffer.capacity() - buffer.len() < READ_LOW {
                buffer.reserve(READ_BUFFER);
            }
            let waits = !self.out.is_empty();
            if !waits {
                progress = clock::now();
            }
            let blocked = self.out.len() >= WRITE_BUFFER;
            tokio::select! {
                count = self.reader.read_buf(buffer) => {
                    if count? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.deliver()?;
                }
                written = self.writer.write_buf(&mut self.out), if waits => {
                    if written? == 0 {
                        return Err(io::ErrorKind::WriteZero.into());
                    }
                    progress = clock::now();
                }
                () = sleep_until((progress + STALL).into()), if waits => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the peer reads nothing"));
                }
                batch = self.batches.recv(), if !blocked => match batch {
                    Some(batch) => self.take(&batch),
                    None => return self.leave().await,
                },
            }
            // Others on this thread come first again.
            tokio::task::yield_now().await;
        }
    }

    fn deliver(&mut self) -> io::Result<()> {
        let heard = !self.udp.is_cut(self.path.local.ip());
        while let Some(datagram) = self.framer.next_frame().map_err(io::Error::other)? {
            if heard {
                self.delivery.push(self.path, &datagram, true);
            }
        }
        self.delivery.flush();
        Ok(())
    }

    /// Frames a batch, and those that wait behind it.
    fn take(&mut self, batch: &Transmit) {
        self.frame(batch);
        for _ in 1..BATCHES_PER_TURN {
            if self.out.len() >= WRITE_BUFFER {
                return;
            }
            let Ok(batch) = self.batches.try_recv() else {
                return;
            };
            self.frame(&batch);
        }
    }

    fn frame(&mut self, batch: &Transmit) {
        if self.udp.is_cut(self.path.local.ip()) {
            return;
        }
        for datagram in batch.datagrams() {
            if !self.udp.loses_next() {
                write_frame(datagram, &mut self.out);
            }
        }
    }

    /// What was said last (that we close, for instance) still goes out.
    async fn leave(mut self) -> io::Result<()> {
        let last = async {
            self.writer.write_all(&self.out).await?;
            self.writer.shutdown().await
        };
        timeout(GOODBYE, last).await.unwrap_or(Ok(()))
    }
}
