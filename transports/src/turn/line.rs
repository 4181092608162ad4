//! The connection to a TURN server, of either kind.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use peerloom_transports_proto::engine::Transmit;
use peerloom_transports_proto::turn::Client;

use super::datagrams::DatagramLine;
use super::stream::StreamLine;

/// Datagrams or a stream.
pub(super) enum Line {
    Datagrams(Box<DatagramLine>),
    Stream(StreamLine),
}

impl Line {
    /// Our own address.
    pub(super) fn local(&self) -> SocketAddr {
        match self {
            Line::Datagrams(line) => line.local(),
            Line::Stream(line) => line.local(),
        }
    }

    /// Sends a packet of the client itself.
    pub(super) fn send(&mut self, packet: Bytes) {
        match self {
            Line::Datagrams(line) => line.send(packet),
            Line::Stream(line) => line.send(&packet),
        }
    }

    /// Sends a batch to a peer.
    pub(super) fn carry(&mut self, batch: &Transmit, client: &mut Client, now: Instant) {
        match self {
            Line::Datagrams(line) => line.carry(batch, client, now),
            Line::Stream(line) => line.carry(batch, client, now),
        }
    }

    /// Whether no more should be put in.
    pub(super) fn is_blocked(&self) -> bool {
        match self {
            Line::Datagrams(line) => line.is_blocked(),
            Line::Stream(line) => line.is_blocked(),
        }
    }

    /// Waits until something has arrived or left. Nothing is lost when this is dropped.
    pub(super) async fn work(&mut self) -> io::Result<()> {
        match self {
            Line::Datagrams(line) => line.work().await,
            Line::Stream(line) => line.work().await,
        }
    }

    /// Hands over what has arrived, packet by packet.
    pub(super) fn received(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        match self {
            Line::Datagrams(line) => {
                line.received(&mut take);
                Ok(())
            }
            Line::Stream(line) => line.received(&mut take),
        }
    }
}
