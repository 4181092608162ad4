//! A peer of the `webrtc` 0.17 crate, on JSON lines.
//!
//! It answers the in-band requests of the other side, and drives `connect`,
//! `noConnect` and `throughput`. Channels are detached: the crate's own read
//! loop cuts messages at 65,535 bytes.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::time::timeout;
use webrtc::api::APIBuilder;
use webrtc::api::setting_engine::SettingEngine;
use webrtc::data::data_channel::DataChannel;
use webrtc::data_channel::RTCDataChannel;
use webrtc::data_channel::data_channel_init::RTCDataChannelInit;
use webrtc::ice::mdns::MulticastDnsMode;
use webrtc::ice_transport::ice_candidate::RTCIceCandidateInit;
use webrtc::ice_transport::ice_connection_state::RTCIceConnectionState;
use webrtc::ice_transport::ice_server::RTCIceServer;
use webrtc::peer_connection::RTCPeerConnection;
use webrtc::peer_connection::configuration::RTCConfiguration;
use webrtc::peer_connection::peer_connection_state::RTCPeerConnectionState;
use webrtc::peer_connection::sdp::sdp_type::RTCSdpType;
use webrtc::peer_connection::sdp::session_description::RTCSessionDescription;

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

const VERSION: &str = "0.17";
/// The largest message this peer takes; larger ones end the channel.
const READ_BUFFER: usize = 1 << 20;
/// Senders pause above this many buffered bytes and go on below a half of it.
const SEND_HIGH_WATER: usize = 1 << 20;
/// Messages above this size are checked by sequence number and last byte only.
const FULL_CHECK_BYTES: usize = 4096;
const CHECK_LIMIT: Duration = Duration::from_secs(60);
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
/// Replies of the other side that the driver has not read yet.
const REPLIES: usize = 64;

fn emit(line: &Value) {
    let mut out = std::io::stdout().lock();
    // A runner that has gone takes its pipe along; stdin ends next.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn log(message: impl std::fmt::Display) {
    emit(&json!({"ev": "log", "msg": message.to_string()}));
}

// ---- pattern ---------------------------------------------------------------

fn pattern(q: u32, size: usize) -> Bytes {
    let mut bytes = vec![0; size];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = pattern_byte(q, i);
    }
    bytes[..4].copy_from_slice(&q.to_be_bytes());
    bytes.into()
}

fn pattern_byte(q: u32, i: usize) -> u8 {
    (q.wrapping_mul(31)).wrapping_add((i as u32).wrapping_mul(7)) as u8
}

struct Counters {
    msgs: u64,
    bytes: u64,
    in_order: bool,
    dup: u64,
    corrupt: u64,
    min: Option<u32>,
    max: Option<u32>,
    last: i64,
    seen: BTreeSet<u32>,
    span: Option<(Instant, Instant)>,
    gap: Duration,
}

impl Counters {
    fn new() -> Self {
        Self {
            msgs: 0,
            bytes: 0,
            in_order: true,
            dup: 0,
            corrupt: 0,
            min: None,
            max: None,
            last: -1,
            seen: BTreeSet::new(),
            span: None,
            gap: Duration::ZERO,
        }
    }

    fn count(&mut self, data: &[u8]) {
        let now = Instant::now();
        if let Some((_, last)) = self.span {
            self.gap = self.gap.max(now - last);
        }
        self.span = Some((self.span.map_or(now, |(first, _)| first), now));
        self.msgs += 1;
        let Some(head) = data.first_chunk::<4>() else {
            self.corrupt += 1;
            return;
        };
        let q = u32::from_be_bytes(*head);
        self.bytes += data.len() as u64;
        // In order means unseen: only the rest is looked up.
        let next = i64::from(q) == self.last + 1;
        if !next {
            self.in_order = false;
        }
        if !self.seen.insert(q) {
            self.dup += 1;
        }
        self.last = i64::from(q);
        self.min = Some(self.min.map_or(q, |min| min.min(q)));
        self.max = Some(self.max.map_or(q, |max| max.max(q)));
        let from = if data.len() > FULL_CHECK_BYTES {
            data.len() - 1
        } else {
            4
        };
        if (from..data.len()).any(|i| data[i] != pattern_byte(q, i)) {
            self.corrupt += 1;
        }
    }

    fn report(&self) -> Value {
        json!({
            "msgs": self.msgs,
            "bytes": self.bytes,
            "inOrder": self.in_order,
            "dup": self.dup,
            "corrupt": self.corrupt,
            "min": self.min,
            "max": self.max,
            "last": self.last,
            "ms": self.span.map_or(0, |(first, last)| (last - first).as_millis() as u64),
            "gapMs": self.gap.as_secs_f64() * 1e3,
        })
    }
}

async fn send_patterned(raw: &DataChannel, count: u32, size: usize) -> Fallible<()> {
    let low = Arc::new(Notify::new());
    let fired = Arc::clone(&low);
    raw.set_buffered_amount_low_threshold(SEND_HIGH_WATER / 2);
    raw.on_buffered_amount_low(Box::new(move || {
        fired.notify_one();
        Box::pin(async {})
    }));
    for q in 0..count {
        while raw.buffered_amount() > SEND_HIGH_WATER {
            // The crate can miss a crossing: look again soon in any case.
            let _ = timeout(POLL, low.notified()).await;
        }
        raw.write_data_channel(&pattern(q, size), false).await?;
    }
    Ok(())
}

// ---- channels --------------------------------------------------------------

struct Channel {
    dc: Arc<RTCDataChannel>,
    raw: std::sync::OnceLock<Arc<DataChannel>>,
    open: Notify,
    closed: AtomicBool,
    sink: std::sync::Mutex<Counters>,
}

impl Channel {
    fn raw(&self) -> Fallible<&Arc<DataChannel>> {
        self.raw
            .get()
            .ok_or_else(|| format!("channel {} is not open", self.dc.label()).into())
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn sink(&self) -> std::sync::MutexGuard<'_, Counters> {
        self.sink
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn opened(&self, limit: Duration) -> Fallible<()> {
        let wait = async {
            while self.raw.get().is_none() {
                self.open.notified().await;
            }
        };
        timeout(limit, wait)
            .await
            .map_err(|_| format!("{}: not open within {limit:?}", self.dc.label()))?;
        Ok(())
    }

    fn describe(&self) -> Value {
        let dc = &self.dc;
        let id = self
            .raw
            .get()
            .map_or(dc.id(), |raw| raw.stream_identifier());
        json!({
            "label": dc.label(),
            "protocol": dc.protocol(),
            "ordered": dc.ordered(),
            "maxRetransmits": dc.max_retransmits(),
            "maxPacketLifeTime": dc.max_packet_lifetime(),
            "negotiated": dc.negotiated(),
            "id": id,
            "state": if self.is_closed() { "closed" } else { "open" },
        })
    }
}

/// What is done with a message of a channel.
#[derive(Clone)]
enum Role {
    Echo,
    Sink,
    Answer,
    Ignore,
    Replies(mpsc::Sender<Value>),
}

impl Role {
    fn of(label: &str) -> Self {
        match label {
            "ctl" => Self::Answer,
            _ if label.starts_with("echo:") => Self::Echo,
            _ if label.starts_with("sink:") => Self::Sink,
            _ => Self::Ignore,
        }
    }
}

struct Peer {
    pc: RTCPeerConnection,
    channels: Mutex<Vec<Arc<Channel>>>,
    early: Mutex<Vec<RTCIceCandidateInit>>,
    ice_connected: AtomicBool,
    driver: Mutex<Driver>,
}

#[derive(Default)]
struct Driver {
    ctl: Option<(Arc<Channel>, mpsc::Receiver<Value>)>,
    rid: u64,
    serial: u64,
}

impl Peer {
    async fn create(config: &Value) -> Fallible<Arc<Self>> {
        let mut settings = SettingEngine::default();
        settings.detach_data_channels();
        settings.set_ice_multicast_dns_mode(MulticastDnsMode::Disabled);
        let api = APIBuilder::new().with_setting_engine(settings).build();
        let pc = api.new_peer_connection(configuration(config)).await?;
        let peer = Arc::new(Self {
            pc,
            channels: Mutex::default(),
            early: Mutex::default(),
            ice_connected: AtomicBool::new(false),
            driver: Mutex::default(),
        });
        peer.listen();
        Ok(peer)
    }

    fn listen(self: &Arc<Self>) {
        self.pc.on_ice_candidate(Box::new(|candidate| {
            let line = match candidate.map(|candidate| candidate.to_json()).transpose() {
                Ok(init) => json!({"ev": "signal", "candidate": init}),
                Err(error) => json!({"ev": "log", "msg": error.to_string()}),
            };
            emit(&line);
            Box::pin(async {})
        }));
        let peer = Arc::downgrade(self);
        self.pc
            .on_ice_connection_state_change(Box::new(move |state| {
                if let Some(peer) = peer.upgrade() {
                    if matches!(
                        state,
                        RTCIceConnectionState::Connected | RTCIceConnectionState::Completed
                    ) {
                        peer.ice_connected.store(true, Ordering::SeqCst);
                    }
                    peer.emit_state();
                }
                Box::pin(async {})
            }));
        let peer = Arc::downgrade(self);
        self.pc.on_peer_connection_state_change(Box::new(move |_| {
            if let Some(peer) = peer.upgrade() {
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
                    peer.adopt(dc, role).await;
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

    async fn adopt(self: &Arc<Self>, dc: Arc<RTCDataChannel>, role: Role) -> Arc<Channel> {
        let channel = Arc::new(Channel {
            dc: Arc::clone(&dc),
            raw: std::sync::OnceLock::new(),
            open: Notify::new(),
            closed: AtomicBool::new(false),
            sink: std::sync::Mutex::new(Counters::new()),
        });
        self.channels.lock().await.push(Arc::clone(&channel));
        let peer = Arc::clone(self);
        let opening = Arc::clone(&channel);
        dc.on_open(Box::new(move || {
            Box::pin(async move {
                match opening.dc.detach().await {
                    Ok(raw) => peer.opened(opening, raw, role),
                    Err(error) => log(error),
                }
            })
        }));
        channel
    }

    fn opened(self: Arc<Self>, channel: Arc<Channel>, raw: Arc<DataChannel>, role: Role) {
        let _ = channel.raw.set(Arc::clone(&raw));
        channel.open.notify_waiters();
        channel.open.notify_one();
        let mut line = channel.describe();
        line["ev"] = "channel".into();
        emit(&line);
        tokio::spawn(async move {
            if let Err(error) = self.read(&channel, &raw, &role).await {
                log(format!("{}: {error}", channel.dc.label()));
            }
            channel.closed.store(true, Ordering::SeqCst);
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
                Role::Sink => channel.sink().count(data),
                Role::Answer => self.answer(raw, data).await?,
                Role::Ignore => {}
                Role::Replies(replies) => replies.send(serde_json::from_slice(data)?).await?,
            }
        }
    }

    // ---- signalling --------------------------------------------------------

    async fn offer(self: &Arc<Self>) -> Fallible<Value> {
        if self.pc.local_description().await.is_none() {
            let dc = self.pc.create_data_channel("boot", None).await?;
            self.adopt(dc, Role::Ignore).await;
        }
        let offer = self.pc.create_offer(None).await?;
        self.set_local(offer).await?;
        Ok(json!({}))
    }

    async fn set_local(&self, description: RTCSessionDescription) -> Fallible<()> {
        let line = json!({"ev": "signal", "description": {
            "type": description.sdp_type.to_string(),
            "sdp": description.sdp,
        }});
        // Candidates come as soon as the description is set: it goes first.
        emit(&line);
        self.pc.set_local_description(description).await?;
        Ok(())
    }

    async fn signal(&self, line: &Value) -> Fallible<()> {
        if let Some(description) = line.get("description").filter(|value| !value.is_null()) {
            let sdp = text(description, "sdp")?.to_owned();
            let description = match text(description, "type")? {
                "offer" => RTCSessionDescription::offer(sdp)?,
                "answer" => RTCSessionDescription::answer(sdp)?,
                other => return Err(format!("a description of type {other}").into()),
            };
            let is_offer = description.sdp_type == RTCSdpType::Offer;
            self.pc.set_remote_description(description).await?;
            for candidate in std::mem::take(&mut *self.early.lock().await) {
                self.pc.add_ice_candidate(candidate).await?;
            }
            if is_offer {
                let answer = self.pc.create_answer(None).await?;
                self.set_local(answer).await?;
            }
            return Ok(());
        }
        let Some(init) = line.get("candidate").filter(|value| !value.is_null()) else {
            return Ok(()); // the end of candidates is not told to this crate
        };
        let init: RTCIceCandidateInit = RTCIceCandidateInit {
            candidate: text(init, "candidate")?.to_owned(),
            sdp_mid: init["sdpMid"].as_str().map(str::to_owned),
            sdp_mline_index: init["sdpMLineIndex"]
                .as_u64()
                .and_then(|index| index.try_into().ok()),
            username_fragment: init["usernameFragment"].as_str().map(str::to_owned),
        };
        if self.pc.remote_description().await.is_none() {
            self.early.lock().await.push(init);
        } else if !init.candidate.is_empty() {
            self.pc.add_ice_candidate(init).await?;
        }
        Ok(())
    }

    // ---- responder ---------------------------------------------------------

    async fn answer(self: &Arc<Self>, raw: &Arc<DataChannel>, data: &[u8]) -> Fallible<()> {
        let request: Value = serde_json::from_slice(data)?;
        let mut reply = match self.operate(&request).await {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => Map::new(),
            Err(error) => Map::from_iter([("error".to_owned(), error.to_string().into())]),
        };
        reply.insert("rid".to_owned(), request["rid"].clone());
        raw.write_data_channel(&Value::Object(reply).to_string().into(), true)
            .await?;
        Ok(())
    }

    async fn operate(self: &Arc<Self>, request: &Value) -> Fallible<Value> {
        match text(request, "op")? {
            "ping" => Ok(json!({"impl": "webrtc-rs", "version": VERSION, "features": []})),
            "channels" => {
                let all = self.channels.lock().await;
                let live: Vec<_> = all
                    .iter()
                    .filter(|channel| !channel.is_closed())
                    .map(|channel| channel.describe())
                    .collect();
                Ok(json!({"channels": live}))
            }
            "negotiate" => {
                let id = request["id"]
                    .as_u64()
                    .and_then(|id| id.try_into().ok())
                    .ok_or("negotiate without an id")?;
                let init = RTCDataChannelInit {
                    negotiated: Some(id),
                    ..init(&request["options"])
                };
                let dc = self
                    .pc
                    .create_data_channel(text(request, "label")?, Some(init))
                    .await?;
                self.adopt(dc, Role::Echo).await;
                Ok(json!({"ok": true}))
            }
            "close" => {
                let channel = self.live(text(request, "label")?).await?;
                channel.raw()?.close().await?;
                Ok(json!({"ok": true}))
            }
            "sinkReport" => {
                let label = text(request, "label")?;
                let all = self.channels.lock().await;
                let found = all.iter().rev().find(|channel| channel.dc.label() == label);
                Ok(found
                    .ok_or_else(|| format!("no sink labelled {label}"))?
                    .sink()
                    .report())
            }
            "source" => {
                let channel = self.live(text(request, "label")?).await?;
                let raw = Arc::clone(channel.raw()?);
                let (count, size) = (
                    number(request, "count")? as u32,
                    number(request, "size")? as usize,
                );
                tokio::spawn(async move {
                    if let Err(error) = send_patterned(&raw, count, size).await {
                        log(format!("source: {error}"));
                    }
                });
                Ok(json!({"ok": true}))
            }
            "stats" => Ok(json!({"stats": self.stats().await})),
            other => Err(format!("unknown op {other}").into()),
        }
    }

    async fn live(&self, label: &str) -> Fallible<Arc<Channel>> {
        let all = self.channels.lock().await;
        let found = all
            .iter()
            .rev()
            .find(|channel| channel.dc.label() == label && !channel.is_closed());
        Ok(Arc::clone(
            found.ok_or_else(|| format!("no channel labelled {label}"))?,
        ))
    }

    async fn stats(&self) -> Value {
        let state = self.pc.dtls_transport().state().to_string();
        json!({"inbound": [], "transport": [{"dtlsState": state}], "pair": null})
    }

    // ---- driver ------------------------------------------------------------

    async fn open(self: &Arc<Self>, label: &str, role: Role) -> Fallible<Arc<Channel>> {
        let dc = self.pc.create_data_channel(label, None).await?;
        let channel = self.adopt(dc, role).await;
        channel.opened(CONNECT_LIMIT).await?;
        Ok(channel)
    }

    async fn ask(self: &Arc<Self>, driver: &mut Driver, mut request: Value) -> Fallible<Value> {
        if driver.ctl.is_none() {
            let (replies, inbox) = mpsc::channel(REPLIES);
            driver.ctl = Some((self.open("ctl", Role::Replies(replies)).await?, inbox));
        }
        let Some((ctl, inbox)) = &mut driver.ctl else {
            return Err("no control channel".into());
        };
        driver.rid += 1;
        request["rid"] = driver.rid.into();
        ctl.raw()?
            .write_data_channel(&request.to_string().into(), true)
            .await?;
        loop {
            let reply = timeout(CONNECT_LIMIT, inbox.recv())
                .await?
                .ok_or("the control channel closed")?;
            if reply["rid"] == request["rid"] {
                return match reply["error"].as_str() {
                    Some(error) => Err(error.into()),
                    None => Ok(reply),
                };
            }
        }
    }

    async fn check(self: &Arc<Self>, name: &str, args: &Value) -> Fallible<Value> {
        let mut driver = self.driver.lock().await;
        match name {
            "connect" => {
                let from = Instant::now();
                let reply = self.ask(&mut driver, json!({"op": "ping"})).await?;
                Ok(json!({"ms": from.elapsed().as_millis() as u64, "remote": {
                    "impl": reply["impl"], "version": reply["version"],
                }}))
            }
            "noConnect" => self.no_connect(args).await,
            "throughput" => self.throughput(&mut driver, args).await,
            other => Err(format!("cannot drive {other}").into()),
        }
    }

    async fn no_connect(self: &Arc<Self>, args: &Value) -> Fallible<Value> {
        let dc = self.pc.create_data_channel("ctl", None).await?;
        let probe = self.adopt(dc, Role::Ignore).await;
        // Where the other side is the one to refuse, DTLS may be done here
        // before its refusal arrives; then no channel must open.
        let tolerant = args["refuser"] == "other";
        let end = Instant::now() + Duration::from_millis(args["wait"].as_u64().unwrap_or(6000));
        while Instant::now() < end {
            let state = self.pc.connection_state();
            if (state == RTCPeerConnectionState::Connected && !tolerant)
                || probe.raw.get().is_some()
            {
                return Err("the connection came up".into());
            }
            if matches!(
                state,
                RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed
            ) {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(json!({
            "iceConnected": self.ice_connected.load(Ordering::SeqCst),
            "connection": self.pc.connection_state().to_string(),
        }))
    }

    async fn throughput(self: &Arc<Self>, driver: &mut Driver, args: &Value) -> Fallible<Value> {
        let size = args["size"].as_u64().unwrap_or(16_384) as usize;
        let bytes = args["bytes"].as_u64().unwrap_or(16 << 20) as usize;
        let up = args["dir"].as_str() != Some("down");
        let count = bytes.div_ceil(size) as u32;
        driver.serial += 1;
        let label = format!(
            "{}:throughput-{}",
            if up { "sink" } else { "source" },
            driver.serial
        );
        let channel = self.open(&label, Role::Sink).await?;
        // A request that names the channel could otherwise overtake its
        // announcement, which travels on another stream.
        loop {
            let reply = self.ask(driver, json!({"op": "channels"})).await?;
            let all = reply["channels"].as_array().into_iter().flatten();
            if all
                .into_iter()
                .any(|entry| entry["label"] == label.as_str())
            {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        let from = Instant::now();
        if up {
            send_patterned(channel.raw()?, count, size).await?;
        } else {
            self.ask(
                driver,
                json!({"op": "source", "label": label, "count": count, "size": size}),
            )
            .await?;
        }
        let seen = loop {
            let seen = if up {
                self.ask(driver, json!({"op": "sinkReport", "label": label}))
                    .await?
            } else {
                channel.sink().report()
            };
            if seen["msgs"].as_u64() >= Some(u64::from(count)) {
                break seen;
            }
            tokio::time::sleep(POLL).await;
        };
        let ms = from.elapsed().as_secs_f64() * 1e3;
        let moved = number(&seen, "bytes")? as f64;
        let bad =
            number(&seen, "corrupt")? + number(&seen, "dup")? + u64::from(seen["inOrder"] != true);
        channel.raw()?.close().await?;
        let detail = json!({
            "dir": if up { "up" } else { "down" },
            "MB": moved / 1e6,
            "ms": ms,
            "MBps": moved / 1e3 / ms,
            "bad": bad,
            "gapMs": seen["gapMs"],
        });
        if bad > 0 {
            Err(detail.to_string().into())
        } else {
            Ok(detail)
        }
    }
}

// ---- the outside -----------------------------------------------------------

fn text<'a>(value: &'a Value, key: &str) -> Fallible<&'a str> {
    value[key]
        .as_str()
        .ok_or_else(|| format!("no string {key:?}").into())
}

fn number(value: &Value, key: &str) -> Fallible<u64> {
    value[key]
        .as_u64()
        .ok_or_else(|| format!("no number {key:?}").into())
}

fn init(options: &Value) -> RTCDataChannelInit {
    let short = |key: &str| {
        options[key]
            .as_u64()
            .and_then(|value| value.try_into().ok())
    };
    RTCDataChannelInit {
        ordered: options["ordered"].as_bool(),
        max_packet_life_time: short("maxPacketLifeTime"),
        max_retransmits: short("maxRetransmits"),
        protocol: options["protocol"].as_str().map(str::to_owned),
        negotiated: None,
    }
}

fn configuration(config: &Value) -> RTCConfiguration {
    let servers = config["iceServers"].as_array().into_iter().flatten();
    let one = |server: &Value| {
        let urls = match &server["urls"] {
            Value::String(url) => vec![url.clone()],
            urls => urls
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|url| url.as_str().map(str::to_owned))
                .collect(),
        };
        let field = |key: &str| server[key].as_str().unwrap_or_default().to_owned();
        RTCIceServer {
            urls,
            username: field("username"),
            credential: field("credential"),
        }
    };
    RTCConfiguration {
        ice_servers: servers.map(one).collect(),
        ..Default::default()
    }
}

fn result(id: &Value, outcome: Fallible<Value>) {
    emit(&match outcome {
        Ok(detail) => json!({"ev": "result", "id": id, "ok": true, "detail": detail}),
        Err(error) => {
            json!({"ev": "result", "id": id, "ok": false, "detail": {"error": error.to_string()}})
        }
    });
}

/// One line; `Ok(false)` ends the process.
async fn obey(peer: &mut Option<Arc<Peer>>, line: &Value) -> Fallible<bool> {
    let id = &line["id"];
    let cmd = text(line, "cmd")?;
    match (cmd, peer.as_ref()) {
        ("exit", _) => return Ok(false),
        ("create", _) => match Peer::create(&line["config"]).await {
            Ok(made) => {
                *peer = Some(made);
                result(id, Ok(json!({})));
            }
            Err(error) => result(id, Err(error)),
        },
        (_, None) => result(id, Err(format!("{cmd} before create").into())),
        ("offer", Some(peer)) => result(id, peer.offer().await),
        ("signal", Some(peer)) => peer.signal(line).await?,
        ("stats", Some(peer)) => result(id, Ok(peer.stats().await)),
        ("close", Some(peer)) => result(
            id,
            peer.pc
                .close()
                .await
                .map(|()| json!({}))
                .map_err(Into::into),
        ),
        ("check", Some(peer)) => {
            let (peer, line) = (Arc::clone(peer), line.clone());
            tokio::spawn(async move {
                let limit = line["args"]["timeout"]
                    .as_u64()
                    .map_or(CHECK_LIMIT, Duration::from_millis);
                let name = line["name"].as_str().unwrap_or_default();
                let outcome = timeout(limit, peer.check(name, &line["args"])).await;
                result(
                    &line["id"],
                    outcome.unwrap_or_else(|_| Err(format!("{name}: not within {limit:?}").into())),
                );
            });
        }
        (other, Some(_)) => result(id, Err(format!("unknown command {other}").into())),
    }
    Ok(true)
}

#[tokio::main]
async fn main() -> Fallible<()> {
    emit(&json!({
        "ev": "ready",
        "impl": "webrtc-rs",
        "version": VERSION,
        "features": ["trickle"],
        "checks": ["connect", "noConnect", "throughput"],
    }));
    let mut peer = None;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(text) = lines.next_line().await? {
        if text.trim().is_empty() {
            continue;
        }
        match serde_json::from_str(&text) {
            Ok(line) => match obey(&mut peer, &line).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => log(error),
            },
            Err(error) => log(error),
        }
    }
    // Whatever still runs in this process ends with it.
    std::process::exit(0)
}
