//! str0m: sans I/O, so the loop around it is ours, as its README shows it: a task
//! per end, a UDP socket each, one system call per packet.
//!
//! `set_sctp_max_buffered_amount` is its default, 128 KiB, which moves most over
//! loopback (256 KiB a half of it, 1 MiB a quarter), and 1 MiB through the relay: its
//! documentation says to raise it where rate times round trip exceed it. Socket
//! buffers are 2 MiB, cryptography is aws-lc-rs, packets are what it makes by default.

mod driver;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use rivals_kit::{Bytes, Failure, Kind, Link, Options, Receive, Send, Stack, Via, readdress_sdp};
use str0m::change::{SdpAnswer, SdpOffer};
use str0m::channel::{ChannelConfig, Reliability};
use str0m::{Candidate, Rtc};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use driver::{Driver, Inbox};

const BUFFERED: usize = 128 * 1024;
const BUFFERED_FAR: usize = 1 << 20;
const SOCKET_BUFFER: usize = 2 << 20;
/// Messages between the sending task and the one that drives the connection.
const OUTBOX: usize = 64;

fn main() -> ExitCode {
    rivals_kit::main::<Str0m>()
}

struct Str0m {
    via: Option<Via>,
}

struct End {
    rtc: Rtc,
    socket: UdpSocket,
    local: SocketAddr,
}

async fn end(buffered: usize) -> Result<End, Failure> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    // The kernel may give less.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket2::SockRef::from(&socket).set_send_buffer_size(SOCKET_BUFFER);
    let local = socket.local_addr()?;
    let crypto = str0m::crypto::from_feature_flags();
    let mut rtc = Rtc::builder()
        .set_crypto_provider(crypto.into())
        .set_sctp_max_buffered_amount(buffered)
        .build(Instant::now());
    rtc.add_local_candidate(Candidate::host(local, "udp")?);
    Ok(End { rtc, socket, local })
}

impl Stack for Str0m {
    type Ends = (End, End);
    type Send = Sender;
    type Receive = Receiver;

    async fn create(options: &Options) -> Result<Self, Failure> {
        Ok(Self { via: options.via })
    }

    async fn ends(&self) -> Result<Self::Ends, Failure> {
        let buffered = match self.via {
            None => BUFFERED,
            Some(_) => BUFFERED_FAR,
        };
        Ok((end(buffered).await?, end(buffered).await?))
    }

    async fn connect(&self, ends: Self::Ends, kind: Kind) -> Result<Link<Self>, Failure> {
        let (mut near, mut far) = ends;
        // The controlled end says nothing before the controlling one has reached it.
        if let Some(via) = &self.via {
            via.far_is_at(far.local)?;
        }
        let reliability = match kind {
            Kind::Reliable => Reliability::Reliable,
            Kind::Datagrams => Reliability::MaxRetransmits { retransmits: 0 },
        };
        let mut changes = near.rtc.sdp_api();
        changes.add_channel_with_config(ChannelConfig {
            label: "bench".to_owned(),
            ordered: kind == Kind::Reliable,
            reliability,
            ..ChannelConfig::default()
        });
        let (offer, pending) = changes.apply().ok_or("nothing to offer")?;
        let through = |sdp: String, to: Option<SocketAddr>| match to {
            Some(to) => readdress_sdp(&sdp, to),
            None => sdp,
        };
        let offer = through(offer.to_sdp_string(), self.via.map(|via| via.far));
        let offer = SdpOffer::from_sdp_string(&offer)?;
        let answer = far.rtc.sdp_api().accept_offer(offer)?;
        let answer = through(answer.to_sdp_string(), self.via.map(|via| via.near));
        let answer = SdpAnswer::from_sdp_string(&answer)?;
        near.rtc.sdp_api().accept_answer(pending, answer)?;
        let (near, far) = (start(near), start(far));
        near.1.0.opened().await;
        far.1.0.opened().await;
        Ok(Link {
            near,
            far,
            keep: Box::new(()),
        })
    }
}

fn start(end: End) -> (Sender, Receiver) {
    let (sender, outbox) = mpsc::channel(OUTBOX);
    let inbox = Arc::<Inbox>::default();
    let driver = Driver::new(end.rtc, end.socket, end.local, outbox, inbox.clone());
    // It ends with the last sender.
    tokio::spawn(driver.run());
    (Sender(sender), Receiver(inbox))
}

struct Sender(mpsc::Sender<Bytes>);

struct Receiver(Arc<Inbox>);

impl Send for Sender {
    async fn send(&mut self, message: Bytes) -> Result<(), Failure> {
        Ok(self.0.send(message).await?)
    }
}

impl Receive for Receiver {
    async fn receive(&mut self) -> Result<usize, Failure> {
        Ok(self.0.taken().await)
    }
}
