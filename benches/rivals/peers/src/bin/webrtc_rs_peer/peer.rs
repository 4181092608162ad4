//! The peer connection, its channels and its states.

use std::sync::{Arc, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};
use webrtc::api::APIBuilder;
use webrtc::api::setting_engine::SettingEngine;
use webrtc::data::data_channel::DataChannel;
use webrtc::data_channel::RTCDataChannel;
use webrtc::ice::mdns::MulticastDnsMode;
use webrtc::ice_transport::ice_candidate::RTCIceCandidateInit;
use webrtc::ice_transport::ice_connection_state::RTCIceConnectionState;
use webrtc::peer_connection::RTCPeerConnection;
use webrtc::peer_connection::peer_connection_state::RTCPeerConnectionState;

use crate::channel::{Channel, Role};
use crate::drive::Driver;
use crate::lines::{Fallible, configuration, emit, log};

/// The largest message this peer takes; larger ones end the channel.
const READ_BUFFER: usize = 1 << 20;

/// The crate leaves the name of the section empty, which is the name of none.
fn named(init: RTCIceCandidateInit) -> RTCIceCandidateInit {
    RTCIceCandidateInit {
        sdp_mid: init.sdp_mid.filter(|mid| !mid.is_empty()),
        ..init
    }
}

/// What the driver waits on.
#[derive(Clone, Copy, Default)]
pub(crate) struct States {
    pub(crate) connection: RTCPeerConnectionState,
    /// Whether ICE has ever been connected.
    pub(crate) ice_was_up: bool,
}

/// One peer connection.
pub(crate) struct Peer {
    pub(crate) pc: RTCPeerConnection,
    channels: std::sync::Mutex<Vec<Arc<Channel>>>,
    /// Candidates that came before their description.
    pub(crate) early: Mutex<Vec<RTCIceCandidateInit>>,
    pub(crate) states: watch::Sender<States>,
    pub(crate) driver: Mutex<Driver>,
}

impl Peer {
    pub(crate) async fn create(config: &Value) -> Fallible<Arc<Self>> {
        let mut settings = SettingEngine::default();
        settings.detach_data_channels();
        settings.set_ice_multicast_dns_mode(MulticastDnsMode::Disabled);
        let api = APIBuilder::new().with_setting_engine(settings).build();
        let pc = api.new_peer_connection(configuration(config)).await?;
        let peer = Arc::new(Self {
            pc,
            channels: std::sync::Mutex::default(),
            early: Mutex::default(),
            states: watch::Sender::new(States::default()),
            driver: Mutex::default(),
        });
        peer.listen();
        Ok(peer)
    }

    fn listen(self: &Arc<Self>) {
        self.pc.on_ice_candidate(Box::new(|candidate| {
            let line = match candidate.map(|candidate| candidate.to_json()).transpose() {
                Ok(init) => json!({"ev": "signal", "candidate": init.map(named)}),
                Err(error) => json!({"ev": "log", "msg": error.to_string()}),
            };
            emit(&line);
            Box::pin(async {})
        }));
        let peer = Arc::downgrade(self);
        self.pc
            .on_ice_connection_state_change(Box::new(move |state| {
                if let Some(peer) = peer.upgrade() {
                    use RTCIceConnectionState::{Completed, Connected};
                    let up = matches!(state, Connected | Completed);
                    peer.states.send_modify(|states| states.ice_was_up |= up);
                    peer.emit_state();
                }
                Box::pin(async {})
            }));
        let peer = Arc::downgrade(self);
        self.pc
            .on_peer_connection_state_change(Box::new(move |state| {
                if let Some(peer) = peer.upgrade() {
                    peer.states.send_modify(|states| states.connection = state);
                    peer.emit_state();
                }
                Box::pin(async {})
            }));
        let peer = Arc::downgrade(self);
        self.pc.on_data_channel(Box::new(move |dc| {
            let peer = peer.upgrade();
            Box::pin(async move {
                if let Some(peer) = peer {
                    let role = Role::of(dc.label());
                    peer.adopt(dc, role);
                }
            })
        }));
    }

    fn emit_state(&self) {
        emit(&json!({
            "ev": "state",
            "connection": self.pc.connection_state().to_string(),
            "ice": self.pc.ice_connection_state().to_string(),
            "gathering": self.pc.ice_gathering_state().to_string(),
            "signaling": self.pc.signaling_state().to_string(),
        }));
    }

    /// Every channel there was, the latest last.
    pub(crate) fn channels(&self) -> MutexGuard<'_, Vec<Arc<Channel>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The latest channel with this label, unless it is closed.
    pub(crate) fn live(&self, label: &str) -> Fallible<Arc<Channel>> {
        let all = self.channels();
        let found = all
            .iter()
            .rev()
            .find(|channel| channel.dc.label() == label && !channel.is_closed());
        Ok(Arc::clone(
            found.ok_or_else(|| format!("no channel labelled {label}"))?,
        ))
    }

    /// Serves a channel from its opening to its end.
    pub(crate) fn adopt(self: &Arc<Self>, dc: Arc<RTCDataChannel>, role: Role) -> Arc<Channel> {
        let channel = Arc::new(Channel::new(Arc::clone(&dc)));
        self.channels().push(Arc::clone(&channel));
        let peer = Arc::clone(self);
        let opening = Arc::clone(&channel);
        dc.on_open(Box::new(move || {
            Box::pin(async move {
                match opening.dc.detach().await {
                    Ok(raw) => peer.serve(opening, raw, role),
                    Err(error) => log(error),
                }
            })
        }));
        channel
    }

    fn serve(self: Arc<Self>, channel: Arc<Channel>, raw: Arc<DataChannel>, role: Role) {
        channel.open(Arc::clone(&raw));
        let mut line = channel.describe();
        line["ev"] = "channel".into();
        emit(&line);
        tokio::spawn(async move {
            if let Err(error) = self.read(&channel, &raw, &role).await {
                log(format!("{}: {error}", channel.dc.label()));
            }
            channel.close();
            emit(&json!({"ev": "channelClosed", "label": channel.dc.label()}));
        });
    }

    async fn read(
        self: &Arc<Self>,
        channel: &Arc<Channel>,
        raw: &Arc<DataChannel>,
        role: &Role,
    ) -> Fallible<()> {
        let mut buffer = vec![0; READ_BUFFER];
        loop {
            let before = raw.messages_received();
            let (length, is_string) = raw.read_data_channel(&mut buffer).await?;
            if length == 0 && raw.messages_received() == before {
                raw.close().await?; // the other side's reset is answered with ours
                return Ok(());
            }
            let data = &buffer[..length];
            match role {
                Role::Echo => drop(
                    raw.write_data_channel(&Bytes::copy_from_slice(data), is_string)
                        .await?,
                ),
                Role::Sink => channel.count(data),
                Role::Answer => self.answer(raw, data).await?,
                Role::Ignore => {}
                Role::Replies(replies) => replies.send(serde_json::from_slice(data)?).await?,
            }
        }
    }
}
