//! A TURN server over UDP.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use peerloom_transports_proto::engine::{Batch, Transmit};
use peerloom_transports_proto::id::Path;
use peerloom_transports_proto::turn::Client;
use quinn_udp::RecvMeta;

use crate::udp::{Sender, Sent, Socket};

/// Bytes of a receive buffer: a whole GRO batch.
const BUFFER_BYTES: usize = 64 * 1024;

/// Receive buffers: what one system call may fill.
const BUFFERS: usize = 4;

/// A socket of its own, and what is on its way.
pub(super) struct DatagramLine {
    socket: Socket,
    sender: Sender,
    path: Path,
    buffers: Vec<Vec<u8>>,
    meta: [RecvMeta; BUFFERS],
    filled: usize,
    scratch: BytesMut,
}

impl DatagramLine {
    pub(super) fn new(socket: Socket, server: SocketAddr) -> Self {
        Self {
            path: Path::new(socket.local_addr(), server),
            sender: Sender::new(vec![socket.clone()]),
            socket,
            buffers: vec![vec![0; BUFFER_BYTES]; BUFFERS],
            meta: [RecvMeta::default(); BUFFERS],
            filled: 0,
            scratch: BytesMut::new(),
        }
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.path.local
    }

    pub(super) fn send(&mut self, packet: Bytes) {
        self.transmit(Transmit::single(self.path, packet));
    }

    fn transmit(&mut self, transmit: Transmit) {
        match self.sender.send(transmit) {
            // What is lost is repeated by who sent it.
            Sent::Done | Sent::Kept | Sent::Lost(_) => {}
        }
    }

    pub(super) fn carry(&mut self, batch: &Transmit, client: &mut Client, now: Instant) {
        let mut out = Batch::default();
        for datagram in batch.datagrams() {
            self.scratch.clear();
            if !client.wrap(batch.path.remote, datagram, &mut self.scratch, now) {
                continue;
            }
            if !out.push(&self.scratch) {
                self.flush(&mut out);
                let pushed = out.push(&self.scratch);
                debug_assert!(pushed, "an empty batch takes any datagram");
            }
        }
        self.flush(&mut out);
    }

    fn flush(&mut self, batch: &mut Batch) {
        if let Some((contents, segment_size)) = batch.take() {
            self.transmit(Transmit {
                path: self.path,
                contents,
                segment_size,
            });
        }
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.sender.is_blocked()
    }

    pub(super) async fn work(&mut self) -> io::Result<()> {
        if self.filled > 0 {
            return Ok(());
        }
        tokio::select! {
            ready = self.socket.readable() => {
                ready?;
                let mut slices: Vec<_> = self.buffers.iter_mut().map(|b| IoSliceMut::new(b)).collect();
                self.filled = self.socket.try_receive(&mut slices, &mut self.meta)?;
                if self.socket.silent() {
                    self.filled = 0;
                }
            }
            ready = self.socket.writable(), if self.sender.is_blocked() => {
                ready?;
                self.sender.flush(|_, _| {});
            }
        }
        Ok(())
    }

    pub(super) fn received(&mut self, take: &mut impl FnMut(&[u8])) {
        for (meta, buffer) in self.meta.iter().zip(&self.buffers).take(self.filled) {
            if meta.addr == self.path.remote {
                let whole = &buffer[..meta.len.min(BUFFER_BYTES)];
                whole.chunks(meta.stride.max(1)).for_each(&mut *take);
            }
        }
        self.filled = 0;
    }
}
