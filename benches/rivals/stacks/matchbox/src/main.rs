//! matchbox: a room of two sockets per connection, its message loops on tokio, as its
//! README has them; it runs webrtc 0.21 on smol inside. Signaling is passed on within
//! the process instead of over a WebSocket, which spares it a server.
//!
//! Its senders are unbounded and tell nothing of what is on the way, so this program
//! goes at most 1 MiB ahead of what has arrived. Where messages may be lost, what has
//! not arrived when nothing moves any more is given up.

mod signaling;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender};
use matchbox_socket::{
    ChannelConfig, Packet, PeerId, PeerState, RtcIceServerConfig, WebRtcSocket, WebRtcSocketBuilder,
};
use rivals_kit::{Bytes, Failure, Kind, Link, Options, Receive, Send, Stack, Via};
use tokio::sync::Notify;

use signaling::{Seat, room};

/// How far a sender goes ahead.
const AHEAD: u64 = 1 << 20;
/// When nothing has arrived for so long, what is on the way is lost.
const GIVE_UP: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    rivals_kit::main::<Matchbox>()
}

struct Matchbox {
    via: Option<Via>,
}

impl Stack for Matchbox {
    type Ends = (Seat, Seat);
    type Send = Sender;
    type Receive = Receiver;

    async fn create(options: &Options) -> Result<Self, Failure> {
        Ok(Self { via: options.via })
    }

    async fn ends(&self) -> Result<Self::Ends, Failure> {
        Ok(room(self.via))
    }

    async fn connect(&self, ends: Self::Ends, kind: Kind) -> Result<Link<Self>, Failure> {
        let (near, far) = (join(ends.0, kind), join(ends.1, kind));
        let ((near_socket, near, to_far), (far_socket, far, to_near)) =
            tokio::try_join!(near, far)?;
        let ahead = [Ahead::new(kind), Ahead::new(kind)];
        Ok(Link {
            near: (
                Sender(near.0, to_far, ahead[0].clone()),
                Receiver(near.1, ahead[1].clone()),
            ),
            far: (
                Sender(far.0, to_near, ahead[1].clone()),
                Receiver(far.1, ahead[0].clone()),
            ),
            keep: Box::new((near_socket, far_socket)),
        })
    }
}

type Halves = (
    UnboundedSender<(PeerId, Packet)>,
    UnboundedReceiver<(PeerId, Packet)>,
);

/// The socket, once the other one is connected, its channel, and who the other is.
async fn join(seat: Seat, kind: Kind) -> Result<(WebRtcSocket, Halves, PeerId), Failure> {
    let config = match kind {
        Kind::Reliable => ChannelConfig::reliable(),
        Kind::Datagrams => ChannelConfig::unreliable(),
    };
    let nobody = RtcIceServerConfig {
        urls: Vec::new(),
        username: None,
        credential: None,
    };
    let (mut socket, message_loop) = WebRtcSocketBuilder::new("room")
        .ice_server(nobody)
        .add_channel(config)
        .signaller_builder(Arc::new(seat))
        .build();
    // It ends with the socket.
    tokio::spawn(message_loop);
    loop {
        match socket.next().await.ok_or("the socket is gone")? {
            (peer, PeerState::Connected) => {
                let halves = socket.take_channel(0)?.split();
                return Ok((socket, halves, peer));
            }
            (_, PeerState::Disconnected) => return Err("the peer is gone".into()),
        }
    }
}

/// What is on the way in one direction.
struct Ahead {
    sent: AtomicU64,
    arrived: AtomicU64,
    moved: Notify,
    lossy: bool,
}

impl Ahead {
    fn new(kind: Kind) -> Arc<Self> {
        Arc::new(Self {
            sent: AtomicU64::new(0),
            arrived: AtomicU64::new(0),
            moved: Notify::new(),
            lossy: kind == Kind::Datagrams,
        })
    }

    /// Waits until there is room.
    async fn room(&self) {
        while self.sent.load(Ordering::Acquire) > self.arrived.load(Ordering::Acquire) + AHEAD {
            let moved = self.moved.notified();
            if !self.lossy {
                moved.await;
            } else if tokio::time::timeout(GIVE_UP, moved).await.is_err() {
                let sent = self.sent.load(Ordering::Acquire);
                self.arrived.store(sent, Ordering::Release);
            }
        }
    }
}

struct Sender(UnboundedSender<(PeerId, Packet)>, PeerId, Arc<Ahead>);

struct Receiver(UnboundedReceiver<(PeerId, Packet)>, Arc<Ahead>);

impl Send for Sender {
    async fn send(&mut self, message: Bytes) -> Result<(), Failure> {
        self.2.room().await;
        let bytes = message.len() as u64;
        self.2.sent.fetch_add(bytes, Ordering::AcqRel);
        Ok(self.0.unbounded_send((self.1, message))?)
    }
}

impl Receive for Receiver {
    async fn receive(&mut self) -> Result<usize, Failure> {
        let (_, message) = self.0.next().await.ok_or("the channel closed")?;
        self.1
            .arrived
            .fetch_add(message.len() as u64, Ordering::AcqRel);
        self.1.moved.notify_one();
        Ok(message.len())
    }
}
