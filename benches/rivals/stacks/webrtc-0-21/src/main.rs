//! webrtc 0.21: a peer connection per end, on tokio, with ring.
//!
//! Sending waits in `send` while 1 MiB is on its way: the limit of
//! `with_data_channel_send_buffer_limit` has the value of its flow-control example.
//! A socket per end, bound to loopback as its own benchmark does.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use bytes::BytesMut;
use rivals_kit::{Bytes, Failure, Kind, Link, Options, Receive, Send, Stack, Via, readdress_sdp};
use tokio::sync::mpsc;
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelInit};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder,
    RTCIceGatheringState, RTCSessionDescription,
};
use webrtc::runtime::TokioRuntime;

const SEND_BUFFER: usize = 1 << 20;

fn main() -> ExitCode {
    rivals_kit::main::<Webrtc>()
}

struct Webrtc {
    via: Option<Via>,
}

/// Passes on what the connection tells.
struct Handler {
    gathered: mpsc::Sender<()>,
    channels: mpsc::Sender<Arc<dyn DataChannel>>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            // Once is enough.
            let _ = self.gathered.try_send(());
        }
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        // Whoever waits for it may have given up.
        let _ = self.channels.try_send(channel);
    }
}

struct End {
    connection: Arc<dyn PeerConnection>,
    gathered: mpsc::Receiver<()>,
    channels: mpsc::Receiver<Arc<dyn DataChannel>>,
}

async fn end() -> Result<End, Failure> {
    let (gathered, gathering) = mpsc::channel(1);
    let (channels, coming) = mpsc::channel(1);
    let connection = PeerConnectionBuilder::new()
        .with_configuration(RTCConfigurationBuilder::new().build())
        .with_handler(Arc::new(Handler { gathered, channels }))
        .with_runtime(Arc::new(TokioRuntime))
        .with_udp_addrs(vec!["127.0.0.1:0"])
        .with_data_channel_send_buffer_limit(SEND_BUFFER)
        .build()
        .await?;
    Ok(End {
        connection: Arc::new(connection),
        gathered: gathering,
        channels: coming,
    })
}

impl Stack for Webrtc {
    type Ends = (End, End);
    type Send = Sender;
    type Receive = Receiver;

    async fn create(options: &Options) -> Result<Self, Failure> {
        Ok(Self { via: options.via })
    }

    async fn ends(&self) -> Result<Self::Ends, Failure> {
        Ok((end().await?, end().await?))
    }

    async fn connect(&self, ends: Self::Ends, kind: Kind) -> Result<Link<Self>, Failure> {
        let (mut near, mut far) = ends;
        let init = match kind {
            Kind::Reliable => RTCDataChannelInit::default(),
            Kind::Datagrams => RTCDataChannelInit {
                ordered: false,
                max_retransmits: Some(0),
                ..RTCDataChannelInit::default()
            },
        };
        let sending = near
            .connection
            .create_data_channel("bench", Some(init))
            .await?;
        let offer = near.connection.create_offer(None).await?;
        let offer = described(&mut near, offer, self.via.map(|via| via.far)).await?;
        far.connection
            .set_remote_description(RTCSessionDescription::offer(offer)?)
            .await?;
        let answer = far.connection.create_answer(None).await?;
        let answer = described(&mut far, answer, self.via.map(|via| via.near)).await?;
        near.connection
            .set_remote_description(RTCSessionDescription::answer(answer)?)
            .await?;
        opened(&sending).await?;
        let receiving = far.channels.recv().await.ok_or("no channel came")?;
        Ok(Link {
            near: (Sender(sending.clone()), Receiver(sending)),
            far: (Sender(receiving.clone()), Receiver(receiving)),
            keep: Box::new((near, far)),
        })
    }
}

async fn opened(channel: &Arc<dyn DataChannel>) -> Result<(), Failure> {
    loop {
        match channel.poll().await {
            Some(DataChannelEvent::OnOpen) => return Ok(()),
            Some(_) => {}
            None => return Err("the channel closed before it was open".into()),
        }
    }
}

/// The description with all its candidates, behind the relay where there is one.
async fn described(
    end: &mut End,
    description: RTCSessionDescription,
    to: Option<SocketAddr>,
) -> Result<String, Failure> {
    end.connection.set_local_description(description).await?;
    end.gathered.recv().await.ok_or("the connection is gone")?;
    let description = end.connection.local_description().await;
    let sdp = description.ok_or("no description")?.sdp;
    Ok(match to {
        Some(to) => readdress_sdp(&sdp, to),
        None => sdp,
    })
}

struct Sender(Arc<dyn DataChannel>);

struct Receiver(Arc<dyn DataChannel>);

impl Send for Sender {
    async fn send(&mut self, message: Bytes) -> Result<(), Failure> {
        Ok(self.0.send(BytesMut::from(&message[..])).await?)
    }
}

impl Receive for Receiver {
    async fn receive(&mut self) -> Result<usize, Failure> {
        loop {
            match self.0.poll().await {
                Some(DataChannelEvent::OnMessage(message)) => return Ok(message.data.len()),
                Some(_) => {}
                None => return Err("the channel closed".into()),
            }
        }
    }
}
