//! The connection, its socket and its channels.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use str0m::change::SdpPendingOffer;
use str0m::channel::{ChannelData, ChannelId};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc};
use tokio::net::UdpSocket;

use crate::channel::{Channel, Role};
use crate::lines::{Fallible, emit, log};

/// Packets taken before anything else has its turn.
const PACKETS_PER_TURN: usize = 64;
/// When a connection that has ended is looked at again.
const IDLE: Duration = Duration::from_secs(3600);
/// Longest message that is taken and, counted over all channels, waits to be sent.
const MESSAGE_BYTES: u32 = 262_144;
const BUFFER_BYTES: usize = 1 << 20;

pub(crate) struct Peer {
    pub(crate) rtc: Rtc,
    pub(crate) socket: UdpSocket,
    local: SocketAddr,
    pub(crate) channels: Vec<Channel>,
    pub(crate) pending: Option<SdpPendingOffer>,
    /// Candidates that came before the description.
    pub(crate) early: Vec<Candidate>,
    pub(crate) described: bool,
    connection: &'static str,
    ice: &'static str,
    pub(crate) signaling: &'static str,
}

impl Peer {
    pub(crate) async fn new() -> Fallible<Self> {
        let socket = UdpSocket::bind((own_address()?, 0)).await?;
        let local = socket.local_addr()?;
        let crypto = str0m::crypto::from_feature_flags();
        let mut rtc = Rtc::builder()
            .set_crypto_provider(crypto.into())
            .set_sctp_max_message_size(MESSAGE_BYTES)
            .set_sctp_max_buffered_amount(BUFFER_BYTES)
            .build(Instant::now());
        rtc.add_local_candidate(Candidate::host(local, "udp")?);
        Ok(Self {
            rtc,
            socket,
            local,
            channels: Vec::new(),
            pending: None,
            early: Vec::new(),
            described: false,
            connection: "new",
            ice: "new",
            signaling: "stable",
        })
    }

    /// Takes all that the crate has to say; returns when it wants to be called.
    pub(crate) fn drain(&mut self) -> Instant {
        loop {
            if !self.rtc.is_alive() {
                self.connection_is("failed");
                return Instant::now() + IDLE;
            }
            for channel in &mut self.channels {
                channel.flush(&mut self.rtc);
            }
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => return at,
                Ok(Output::Transmit(packet)) => {
                    // A full socket buffer loses it, as a network might.
                    let _ = self
                        .socket
                        .try_send_to(&packet.contents, packet.destination);
                }
                Ok(Output::Event(event)) => self.take(event),
                Err(error) => {
                    log(error);
                    self.rtc.disconnect();
                }
            }
        }
    }

    /// Takes what has arrived.
    pub(crate) fn receive(&mut self) {
        let mut packet = [0; 2000];
        for _ in 0..PACKETS_PER_TURN {
            let Ok((len, from)) = self.socket.try_recv_from(&mut packet) else {
                return;
            };
            let Ok(receive) = Receive::new(Protocol::Udp, from, self.local, &packet[..len]) else {
                continue;
            };
            self.input(Input::Receive(Instant::now(), receive));
            self.drain();
        }
    }

    pub(crate) fn timeout(&mut self, now: Instant) {
        self.input(Input::Timeout(now));
    }

    fn input(&mut self, input: Input<'_>) {
        if let Err(error) = self.rtc.handle_input(input) {
            log(error);
            self.rtc.disconnect();
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Connected => self.connection_is("connected"),
            Event::IceConnectionStateChange(state) => {
                self.ice = match state {
                    IceConnectionState::New => "new",
                    IceConnectionState::Checking => "checking",
                    IceConnectionState::Connected => "connected",
                    IceConnectionState::Completed => "completed",
                    IceConnectionState::Disconnected => "disconnected",
                };
                self.tell_state();
            }
            Event::ChannelOpen(id, label) => self.opened(id, &label),
            Event::ChannelData(data) => self.data(data),
            Event::ChannelClose(id) => self.closed(id),
            _ => {}
        }
    }

    fn opened(&mut self, id: ChannelId, label: &str) {
        let stream = self.rtc.direct_api().sctp_stream_id_by_channel_id(id);
        let config = self
            .rtc
            .channel(id)
            .and_then(|channel| channel.config().cloned());
        if let Some(known) = self.channels.iter_mut().find(|channel| channel.id == id) {
            known.state = "open";
            known.stream = stream;
            return;
        }
        let mut channel = Channel::new(id, config.unwrap_or_default(), Role::of(label));
        channel.state = "open";
        channel.stream = stream;
        let mut line = channel.describe();
        line["ev"] = "channel".into();
        emit(&line);
        self.channels.push(channel);
    }

    fn data(&mut self, data: ChannelData) {
        let ChannelData { id, binary, data } = data;
        let Some(at) = self.channels.iter().position(|channel| channel.id == id) else {
            return;
        };
        match &mut self.channels[at].role {
            Role::Control => {
                let reply = self.answer(&data);
                self.channels[at].send(false, reply.to_string().into());
            }
            Role::Echo => self.channels[at].send(binary, data),
            Role::Sink(counters) => counters.count(&data),
            Role::Ignore => {}
        }
    }

    fn closed(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.iter_mut().find(|channel| channel.id == id) {
            channel.state = "closed";
            emit(&json!({"ev": "channelClosed", "label": channel.config.label}));
        }
    }

    fn connection_is(&mut self, state: &'static str) {
        if self.connection != state {
            self.connection = state;
            self.tell_state();
        }
    }

    pub(crate) fn tell_state(&self) {
        emit(&json!({
            "ev": "state",
            "connection": self.connection,
            "ice": self.ice,
            "gathering": "complete",
            "signaling": self.signaling,
        }));
    }

    pub(crate) fn stats(&self) -> Value {
        json!({"inbound": [], "transport": [{"dtlsState": self.connection}], "pair": null})
    }
}

/// The address packets to elsewhere would leave from; loopback where there is
/// no elsewhere.
fn own_address() -> Fallible<std::net::IpAddr> {
    let probe = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // Nothing is sent: this only looks up the route.
    match probe.connect((Ipv4Addr::new(198, 51, 100, 1), 9)) {
        Ok(()) => Ok(probe.local_addr()?.ip()),
        Err(_) => Ok(Ipv4Addr::LOCALHOST.into()),
    }
}
