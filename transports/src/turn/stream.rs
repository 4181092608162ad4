//! A TURN server over TCP or TLS.

use std::future::{Future as _, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Buf as _, BufMut as _, BytesMut};
use peerloom_transports_proto::engine::Transmit;
use peerloom_transports_proto::turn::{Client, Framer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

/// Bytes that wait for the connection. Filled by batches; beyond it no more are taken from the
/// tunnel, so that one batch (60 KiB and its framing) may go over it.
const WRITE_BUFFER: usize = 256 * 1024;

/// Bytes read at once, and kept unread at most besides an unfinished packet.
const READ_BUFFER: usize = 64 * 1024;

trait Io: AsyncRead + AsyncWrite {}
impl<T: AsyncRead + AsyncWrite> Io for T {}

/// A connection and what is on its way.
pub(super) struct StreamLine {
    io: Pin<Box<dyn Io + Send>>,
    local: SocketAddr,
    out: BytesMut,
    framer: Framer,
    /// Reading waits until what was read has been taken.
    unread: bool,
}

impl StreamLine {
    pub(super) fn new(io: impl AsyncRead + AsyncWrite + Send + 'static, local: SocketAddr) -> Self {
        Self {
            io: Box::pin(io),
            local,
            out: BytesMut::new(),
            framer: Framer::default(),
            unread: false,
        }
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(super) fn send(&mut self, packet: &[u8]) {
        self.out.extend_from_slice(packet);
    }

    pub(super) fn carry(&mut self, batch: &Transmit, client: &mut Client, now: Instant) {
        for datagram in batch.datagrams() {
            client.wrap(batch.path.remote, datagram, &mut self.out, now);
        }
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.out.len() >= WRITE_BUFFER
    }

    pub(super) async fn work(&mut self) -> io::Result<()> {
        poll_fn(|task| self.poll(task)).await
    }

    fn poll(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = self.poll_write(task)?;
        let read = self.poll_read(task)?;
        if written || read {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    fn poll_write(&mut self, task: &mut Context<'_>) -> io::Result<bool> {
        let mut progress = false;
        while !self.out.is_empty() {
            match self.io.as_mut().poll_write(task, &self.out) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => self.out.advance(count),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(progress),
            }
            progress = true;
        }
        match self.io.as_mut().poll_flush(task) {
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(progress),
        }
    }

    fn poll_read(&mut self, task: &mut Context<'_>) -> io::Result<bool> {
        if self.unread {
            return Ok(true);
        }
        let buffer = self.framer.buffer();
        buffer.reserve(READ_BUFFER); // what was read before has been taken: the same memory
        let mut free = buffer.limit(READ_BUFFER);
        let result = pin!(self.io.read_buf(&mut free)).poll(task);
        match result {
            Poll::Ready(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Poll::Ready(Ok(_)) => {
                self.unread = true;
                Ok(true)
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(false),
        }
    }

    pub(super) fn received(&mut self, take: &mut impl FnMut(&[u8])) -> io::Result<()> {
        self.unread = false;
        while let Some(packet) = self.framer.next_packet().map_err(io::Error::other)? {
            take(&packet);
        }
        Ok(())
    }
}
