//! The loop around one end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rivals_kit::Bytes;
use str0m::channel::ChannelId;
use str0m::net::{Protocol, Receive};
use str0m::{Event, Input, Output, Rtc};
use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc};

/// Packets taken before anything else has its turn.
const PACKETS_PER_TURN: usize = 64;

/// What the application of one end has to do with it.
#[derive(Default)]
pub(crate) struct Inbox {
    bytes: AtomicUsize,
    arrived: Notify,
    open: Notify,
}

impl Inbox {
    /// Waits for messages; their bytes.
    pub(crate) async fn taken(&self) -> usize {
        loop {
            match self.bytes.swap(0, Ordering::AcqRel) {
                0 => self.arrived.notified().await,
                bytes => return bytes,
            }
        }
    }

    /// Waits until the channel is open.
    pub(crate) async fn opened(&self) {
        self.open.notified().await;
    }
}

pub(crate) struct Driver {
    rtc: Rtc,
    socket: UdpSocket,
    local: SocketAddr,
    channel: Option<ChannelId>,
    outbox: mpsc::Receiver<Bytes>,
    /// The crate takes no more at present.
    waiting: Option<Bytes>,
    inbox: Arc<Inbox>,
}

impl Driver {
    pub(crate) fn new(
        rtc: Rtc,
        socket: UdpSocket,
        local: SocketAddr,
        outbox: mpsc::Receiver<Bytes>,
        inbox: Arc<Inbox>,
    ) -> Self {
        Self {
            rtc,
            socket,
            local,
            channel: None,
            outbox,
            waiting: None,
            inbox,
        }
    }

    pub(crate) async fn run(mut self) {
        while let Some(at) = self.drain() {
            tokio::select! {
                Some(message) = self.outbox.recv(), if self.open_and_empty() => {
                    self.waiting = Some(message);
                }
                ready = self.socket.readable() => match ready {
                    Ok(()) => self.receive(),
                    Err(_) => return,
                },
                () = tokio::time::sleep_until(at.into()) => {
                    self.input(Input::Timeout(Instant::now()));
                }
            }
        }
    }

    fn open_and_empty(&self) -> bool {
        self.channel.is_some() && self.waiting.is_none() && !self.outbox.is_closed()
    }

    /// Writes what there is room for, and takes all that the crate has to say;
    /// returns when it wants to be called, unless it is over.
    fn drain(&mut self) -> Option<Instant> {
        loop {
            self.flush();
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => return self.rtc.is_alive().then_some(at),
                Ok(Output::Transmit(packet)) => {
                    // A full socket buffer loses it, as a network might.
                    let _ = self
                        .socket
                        .try_send_to(&packet.contents, packet.destination);
                }
                Ok(Output::Event(event)) => self.take(event),
                Err(_) => return None,
            }
        }
    }

    fn flush(&mut self) {
        let Some(mut channel) = self.channel.and_then(|id| self.rtc.channel(id)) else {
            return;
        };
        while let Some(message) = self.waiting.take().or_else(|| self.outbox.try_recv().ok()) {
            if !matches!(channel.write(true, &message), Ok(true)) {
                self.waiting = Some(message);
                return;
            }
        }
    }

    fn receive(&mut self) {
        let mut packet = [0; 2000];
        for _ in 0..PACKETS_PER_TURN {
            let Ok((len, from)) = self.socket.try_recv_from(&mut packet) else {
                return;
            };
            let Ok(receive) = Receive::new(Protocol::Udp, from, self.local, &packet[..len]) else {
                continue;
            };
            self.input(Input::Receive(Instant::now(), receive));
            if self.drain().is_none() {
                return;
            }
        }
    }

    fn input(&mut self, input: Input<'_>) {
        if self.rtc.handle_input(input).is_err() {
            self.rtc.disconnect();
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::ChannelOpen(id, _) => {
                self.channel = Some(id);
                self.inbox.open.notify_one();
            }
            Event::ChannelData(data) => {
                let bytes = data.data.len();
                self.inbox.bytes.fetch_add(bytes, Ordering::AcqRel);
                self.inbox.arrived.notify_one();
            }
            _ => {}
        }
    }
}
