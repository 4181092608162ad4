//! A wire between two peers that can be held up.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};

use super::LOOPBACK;

/// Longest datagram on loopback.
const MAX_DATAGRAM: usize = 65_536;

/// Carries datagrams between two peers that know only it.
pub(crate) struct Relay {
    /// Where the first peer finds the second, and the other way round.
    pub(crate) seen_by: [SocketAddr; 2],
    held: watch::Sender<bool>,
    /// The length of each datagram that the first peer has sent.
    pub(crate) sent: mpsc::UnboundedReceiver<usize>,
}

impl Relay {
    /// Between peers at these addresses.
    pub(crate) async fn between(peers: [SocketAddr; 2]) -> Relay {
        let bind = async || Arc::new(UdpSocket::bind(LOOPBACK).await.expect("a port"));
        let facing = [bind().await, bind().await];
        let seen_by = [0, 1].map(|end| facing[end].local_addr().expect("bound"));
        let held = watch::Sender::new(false);
        let (tell, sent) = mpsc::unbounded_channel();
        let way = (facing[0].clone(), facing[1].clone(), peers[1]);
        tokio::spawn(carry(way, held.subscribe(), Some(tell)));
        let way = (facing[1].clone(), facing[0].clone(), peers[0]);
        tokio::spawn(carry(way, watch::Sender::new(false).subscribe(), None));
        Relay {
            seen_by,
            held,
            sent,
        }
    }

    /// Keeps what the first peer sends from now on.
    pub(crate) fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Delivers it, in one go and in order.
    pub(crate) fn release(&self) {
        self.held.send_replace(false);
    }
}

async fn carry(
    (from, out_of, to): (Arc<UdpSocket>, Arc<UdpSocket>, SocketAddr),
    mut held: watch::Receiver<bool>,
    tell: Option<mpsc::UnboundedSender<usize>>,
) {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let len = tokio::select! {
            biased;
            Ok(()) = held.changed() => None,
            received = from.recv_from(&mut buffer) => Some(received.expect("loopback").0),
        };
        if let Some(len) = len {
            kept.push(buffer[..len].to_vec());
            if tell.as_ref().is_some_and(|tell| tell.send(len).is_err()) {
                return;
            }
        }
        if !*held.borrow() {
            out_of.writable().await.expect("loopback");
            for datagram in kept.drain(..) {
                // At once, so that all are there before the first is read. Nobody may be there
                // any more.
                drop(out_of.try_send_to(&datagram, to));
            }
        }
    }
}
