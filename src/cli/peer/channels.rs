//! The channels of the connection, and what is done on each of them.
//!
//! Channels the other side opened are served by label, as the peer protocol
//! says: `echo:*`, `sink:*`, `ctl`. Channels opened here belong to the check
//! that opened them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use peerloom::webrtc::{
    DataChannel, DataChannelInit, IceCandidateInit, Message, PeerConnection, ReadyState,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::control;
use super::live::make_offer;
use super::pattern::Generator;
use super::sink::Sink;
use super::wire::{ChannelOptions, Event};
use crate::cli::failure::chain;

/// Every channel of one peer connection. Clones share them.
///
/// The list is behind a lock because the session, the checks and the tasks
/// that serve channels all look things up in it; nobody waits while holding it.
#[derive(Clone)]
pub(crate) struct Channels {
    connection: PeerConnection,
    events: mpsc::Sender<Event>,
    entries: Arc<Mutex<Vec<Entry>>>,
    /// Held while an offer is made and told: its candidates come after it.
    offering: Arc<tokio::sync::Mutex<()>>,
}

struct Entry {
    channel: DataChannel,
    sink: Option<Arc<Mutex<Sink>>>,
}

impl Channels {
    /// The channels of a connection that has none yet.
    pub(crate) fn new(connection: PeerConnection, events: mpsc::Sender<Event>) -> Self {
        Self {
            connection,
            events,
            entries: Arc::default(),
            offering: Arc::default(),
        }
    }

    /// The connection they belong to.
    pub(crate) fn connection(&self) -> &PeerConnection {
        &self.connection
    }

    /// Opens a channel for a check; whoever opens it reads it.
    pub(crate) async fn open(
        &self,
        label: &str,
        init: DataChannelInit,
    ) -> Result<DataChannel, String> {
        let channel = self
            .connection
            .create_data_channel(label, init)
            .await
            .map_err(|error| format!("cannot create channel {label:?}: {}", chain(&error)))?;
        self.enter(channel.clone(), None);
        tokio::spawn(announce(channel.clone(), self.events.clone()));
        Ok(channel)
    }

    /// Serves a channel that the other side opened.
    pub(crate) fn accept(&self, channel: DataChannel) {
        let label = channel.label().to_owned();
        if label.starts_with("sink:") {
            let sink = Arc::new(Mutex::new(Sink::new()));
            self.enter(channel.clone(), Some(sink.clone()));
            tokio::spawn(drain(channel.clone(), sink));
        } else {
            self.enter(channel.clone(), None);
            if label.starts_with("echo:") {
                tokio::spawn(echo(channel.clone()));
            } else if label == control::LABEL {
                tokio::spawn(control::serve(channel.clone(), self.clone()));
            }
        }
        tokio::spawn(announce(channel, self.events.clone()));
    }

    /// Creates the other half of a negotiated channel; it echoes.
    pub(crate) async fn negotiate(
        &self,
        label: &str,
        id: u16,
        options: &ChannelOptions,
    ) -> Result<(), String> {
        let channel = self.open(label, init_of(options, Some(id))).await?;
        tokio::spawn(echo(channel));
        Ok(())
    }

    /// Closes the channel with this label.
    pub(crate) async fn close(&self, label: &str) -> Result<(), String> {
        let channel = self.find(label)?;
        channel.close().await;
        Ok(())
    }

    /// Makes, sets and signals an offer.
    pub(crate) async fn offer(&self, ice_restart: bool) -> Result<(), String> {
        let _told = self.offering.lock().await;
        let offer = make_offer(&self.connection, ice_restart).await?;
        drop(self.events.send(Event::Description(offer)).await);
        Ok(())
    }

    /// Signals a candidate, after the offer that is being made.
    pub(crate) async fn candidate(&self, candidate: Option<IceCandidateInit>) {
        let _told = self.offering.lock().await;
        drop(self.events.send(Event::Candidate(candidate)).await);
    }

    /// The counters of a sink.
    pub(crate) fn sink_report(&self, label: &str) -> Result<Value, String> {
        let entries = self.lock();
        let entry = entries
            .iter()
            .rev()
            .find(|entry| entry.channel.label() == label)
            .ok_or_else(|| format!("no channel labelled {label:?}"))?;
        let sink = entry
            .sink
            .as_ref()
            .ok_or_else(|| format!("channel {label:?} is no sink"))?;
        Ok(locked(sink).report())
    }

    /// Sends patterned messages on a channel, as fast as it takes them.
    pub(crate) fn source(&self, label: &str, count: u64, size: usize) -> Result<(), String> {
        let channel = self.find(label)?;
        let events = self.events.clone();
        tokio::spawn(async move {
            if let Err(error) = send_patterned(&channel, count, size).await {
                log(&events, format!("source on {}: {error}", channel.label())).await;
            }
        });
        Ok(())
    }

    /// The open channels, as `ctl` reports them.
    pub(crate) fn describe(&self) -> Vec<Value> {
        self.lock()
            .iter()
            .filter(|entry| entry.channel.ready_state() != ReadyState::Closed)
            .map(|entry| describe(&entry.channel))
            .collect()
    }

    fn find(&self, label: &str) -> Result<DataChannel, String> {
        self.lock()
            .iter()
            .rev()
            .find(|entry| entry.channel.label() == label)
            .map(|entry| entry.channel.clone())
            .ok_or_else(|| format!("no channel labelled {label:?}"))
    }

    /// Adds a channel and forgets the closed ones, except sinks: their
    /// counters may still be asked for.
    fn enter(&self, channel: DataChannel, sink: Option<Arc<Mutex<Sink>>>) {
        let mut entries = self.lock();
        entries.retain(|entry| {
            entry.sink.is_some() || entry.channel.ready_state() != ReadyState::Closed
        });
        entries.push(Entry { channel, sink });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        locked(&self.entries)
    }
}

/// Takes a lock whose holder cannot have left it half-changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A channel's properties, named as in `RTCDataChannel`.
pub(crate) fn describe(channel: &DataChannel) -> Value {
    json!({
        "label": channel.label(),
        "protocol": channel.protocol(),
        "ordered": channel.ordered(),
        "maxRetransmits": channel.max_retransmits(),
        "maxPacketLifeTime": channel.max_packet_life_time(),
        "negotiated": channel.negotiated(),
        "id": channel.id(),
        "state": channel.ready_state().to_string(),
    })
}

/// The parameters of a channel; with an id it is a negotiated one.
pub(crate) fn init_of(options: &ChannelOptions, id: Option<u16>) -> DataChannelInit {
    DataChannelInit {
        ordered: options.ordered,
        max_retransmits: options.max_retransmits,
        max_packet_life_time: options.max_packet_life_time,
        protocol: options.protocol.clone(),
        negotiated: id.is_some(),
        id,
        ..DataChannelInit::default()
    }
}

/// Sends `count` patterned messages, as fast as the channel takes them.
pub(crate) async fn send_patterned(
    channel: &DataChannel,
    count: u64,
    size: usize,
) -> Result<(), String> {
    let mut generator = Generator::new(size);
    for sent in 0..count {
        channel
            .send(generator.next_message())
            .await
            .map_err(|error| format!("after {sent} messages: {}", chain(&error)))?;
    }
    Ok(())
}

/// Sends every message back unchanged.
async fn echo(channel: DataChannel) {
    while let Some(message) = channel.recv().await {
        if channel.send(message).await.is_err() {
            return;
        }
    }
}

/// Counts every message.
async fn drain(channel: DataChannel, sink: Arc<Mutex<Sink>>) {
    while let Some(message) = channel.recv().await {
        let now = Instant::now();
        match message {
            Message::Binary(bytes) => locked(&sink).count(&bytes, now),
            Message::Text(text) => locked(&sink).count(text.as_bytes(), now),
        }
    }
}

/// Says that a channel opened, and later that it closed.
async fn announce(channel: DataChannel, events: mpsc::Sender<Event>) {
    if channel.opened().await.is_ok() {
        drop(events.send(Event::Channel(describe(&channel))).await);
    }
    channel.closed().await;
    let closed = Event::ChannelClosed(channel.label().to_owned());
    drop(events.send(closed).await);
}

/// Writes a line of free text.
pub(crate) async fn log(events: &mpsc::Sender<Event>, text: impl Into<String>) {
    drop(events.send(Event::Log(text.into())).await);
}
