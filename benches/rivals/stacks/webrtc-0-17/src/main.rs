//! webrtc 0.17: a peer connection per end.
//!
//! Detached channels, as its examples recommend for throughput
//! (`data-channels-detach`), and sending that waits above 1 MiB of buffered bytes
//! and goes on below a half of it (`data-channels-flow-control`). Candidates are
//! loopback addresses only.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use rivals_kit::{Bytes, Failure, Kind, Link, Options, Receive, Send, Stack, Via, readdress_sdp};
use tokio::sync::{Notify, mpsc};
use webrtc::api::APIBuilder;
use webrtc::api::setting_engine::SettingEngine;
use webrtc::data::data_channel::DataChannel;
use webrtc::data_channel::RTCDataChannel;
use webrtc::data_channel::data_channel_init::RTCDataChannelInit;
use webrtc::ice::mdns::MulticastDnsMode;
use webrtc::ice::network_type::NetworkType;
use webrtc::peer_connection::RTCPeerConnection;
use webrtc::peer_connection::configuration::RTCConfiguration;
use webrtc::peer_connection::sdp::session_description::RTCSessionDescription;

const HIGH_WATER: usize = 1 << 20;
/// More than any message under test.
const READ_BUFFER: usize = 1 << 17;

fn main() -> ExitCode {
    rivals_kit::main::<Webrtc>()
}

struct Webrtc {
    via: Option<Via>,
}

async fn end() -> Result<RTCPeerConnection, Failure> {
    let mut settings = SettingEngine::default();
    settings.detach_data_channels();
    settings.set_ice_multicast_dns_mode(MulticastDnsMode::Disabled);
    settings.set_include_loopback_candidate(true);
    settings.set_ip_filter(Box::new(|ip| ip.is_loopback()));
    settings.set_network_types(vec![NetworkType::Udp4]);
    let api = APIBuilder::new().with_setting_engine(settings).build();
    let configuration = RTCConfiguration::default();
    Ok(api.new_peer_connection(configuration).await?)
}

impl Stack for Webrtc {
    type Ends = (RTCPeerConnection, RTCPeerConnection);
    type Send = Sender;
    type Receive = Receiver;

    async fn create(options: &Options) -> Result<Self, Failure> {
        Ok(Self { via: options.via })
    }

    async fn ends(&self) -> Result<Self::Ends, Failure> {
        Ok((end().await?, end().await?))
    }

    async fn connect(&self, ends: Self::Ends, kind: Kind) -> Result<Link<Self>, Failure> {
        let (near, far) = ends;
        let init = match kind {
            Kind::Reliable => RTCDataChannelInit::default(),
            Kind::Datagrams => RTCDataChannelInit {
                ordered: Some(false),
                max_retransmits: Some(0),
                ..RTCDataChannelInit::default()
            },
        };
        let (opened, mut opening) = mpsc::channel(1);
        let channel = near.create_data_channel("bench", Some(init)).await?;
        tell(&channel, opened);
        let (accepted, mut accepting) = mpsc::channel(1);
        far.on_data_channel(Box::new(move |channel| {
            tell(&channel, accepted.clone());
            Box::pin(async {})
        }));

        let offer = near.create_offer(None).await?;
        let offer = described(&near, offer, self.via.map(|via| via.far)).await?;
        far.set_remote_description(RTCSessionDescription::offer(offer)?)
            .await?;
        let answer = far.create_answer(None).await?;
        let answer = described(&far, answer, self.via.map(|via| via.near)).await?;
        near.set_remote_description(RTCSessionDescription::answer(answer)?)
            .await?;

        let sending = opening.recv().await.ok_or("the channel did not open")?;
        let receiving = accepting.recv().await.ok_or("no channel came")?;
        Ok(Link {
            near: (Sender::new(sending.clone()), Receiver::new(sending)),
            far: (Sender::new(receiving.clone()), Receiver::new(receiving)),
            keep: Box::new((near, far)),
        })
    }
}

/// Sends the detached channel as soon as it is open.
fn tell(channel: &Arc<RTCDataChannel>, to: mpsc::Sender<Arc<DataChannel>>) {
    let open = channel.clone();
    channel.on_open(Box::new(move || {
        Box::pin(async move {
            if let Ok(raw) = open.detach().await {
                // Whoever waits for it may have given up.
                let _ = to.send(raw).await;
            }
        })
    }));
}

/// The description with all its candidates, behind the relay where there is one.
async fn described(
    connection: &RTCPeerConnection,
    description: RTCSessionDescription,
    to: Option<SocketAddr>,
) -> Result<String, Failure> {
    let mut gathered = connection.gathering_complete_promise().await;
    connection.set_local_description(description).await?;
    gathered.recv().await;
    let description = connection.local_description().await;
    let sdp = description.ok_or("no description")?.sdp;
    Ok(match to {
        Some(to) => readdress_sdp(&sdp, to),
        None => sdp,
    })
}

struct Sender {
    raw: Arc<DataChannel>,
    low: Arc<Notify>,
}

impl Sender {
    fn new(raw: Arc<DataChannel>) -> Self {
        let low = Arc::<Notify>::default();
        let fired = low.clone();
        raw.set_buffered_amount_low_threshold(HIGH_WATER / 2);
        raw.on_buffered_amount_low(Box::new(move || {
            fired.notify_one();
            Box::pin(async {})
        }));
        Self { raw, low }
    }
}

impl Send for Sender {
    /// Nothing is sent while it waits, so the amount can only fall, and the crate
    /// tells when it falls below the threshold.
    async fn send(&mut self, message: Bytes) -> Result<(), Failure> {
        while self.raw.buffered_amount() > HIGH_WATER {
            self.low.notified().await;
        }
        self.raw.write(&message).await?;
        Ok(())
    }
}

struct Receiver {
    raw: Arc<DataChannel>,
    buffer: Vec<u8>,
}

impl Receiver {
    fn new(raw: Arc<DataChannel>) -> Self {
        Self {
            raw,
            buffer: Vec::new(),
        }
    }
}

impl Receive for Receiver {
    async fn receive(&mut self) -> Result<usize, Failure> {
        if self.buffer.is_empty() {
            self.buffer = vec![0; READ_BUFFER];
        }
        match self.raw.read(&mut self.buffer).await? {
            0 => Err("the channel closed".into()),
            bytes => Ok(bytes),
        }
    }
}
