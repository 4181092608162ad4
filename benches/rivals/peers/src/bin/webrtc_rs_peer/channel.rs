//! One channel, and what is done with its messages.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;
use webrtc::data::data_channel::DataChannel;
use webrtc::data_channel::RTCDataChannel;

use crate::lines::Fallible;
use crate::pattern::{Counters, pattern};

/// Senders pause above this many buffered bytes and go on below a half of it.
const SEND_HIGH_WATER: usize = 1 << 20;

/// How far a channel has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Connecting,
    Open,
    Closed,
}

/// What is done with a message of a channel.
#[derive(Clone)]
pub(crate) enum Role {
    Echo,
    Sink,
    Answer,
    Ignore,
    Replies(mpsc::Sender<Value>),
}

impl Role {
    /// What the label of a channel that the other side opened asks for.
    pub(crate) fn of(label: &str) -> Self {
        match label {
            "ctl" => Self::Answer,
            _ if label.starts_with("echo:") => Self::Echo,
            _ if label.starts_with("sink:") => Self::Sink,
            _ => Self::Ignore,
        }
    }
}

/// A channel of either side's.
pub(crate) struct Channel {
    pub(crate) dc: Arc<RTCDataChannel>,
    raw: OnceLock<Arc<DataChannel>>,
    state: watch::Sender<State>,
    sink: Mutex<Counters>,
    counted: Notify,
}

impl Channel {
    pub(crate) fn new(dc: Arc<RTCDataChannel>) -> Self {
        Self {
            dc,
            raw: OnceLock::new(),
            state: watch::Sender::new(State::Connecting),
            sink: Mutex::new(Counters::new()),
            counted: Notify::new(),
        }
    }

    /// The channel is open, and this is what to read and write.
    pub(crate) fn open(&self, raw: Arc<DataChannel>) {
        // A channel opens once.
        let _ = self.raw.set(raw);
        self.state.send_replace(State::Open);
    }

    /// The channel is closed.
    pub(crate) fn close(&self) {
        self.state.send_replace(State::Closed);
    }

    pub(crate) fn raw(&self) -> Fallible<&Arc<DataChannel>> {
        self.raw
            .get()
            .ok_or_else(|| format!("channel {} is not open", self.dc.label()).into())
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.state.borrow() == State::Closed
    }

    /// Resolves once it is open.
    pub(crate) async fn opened(&self) -> Fallible<()> {
        let mut state = self.state.subscribe();
        state.wait_for(|state| *state != State::Connecting).await?;
        Ok(())
    }

    /// The same, within a limit.
    pub(crate) async fn opened_within(&self, limit: Duration) -> Fallible<()> {
        timeout(limit, self.opened())
            .await
            .map_err(|_| format!("{}: not open within {limit:?}", self.dc.label()))?
    }

    /// Counts a message.
    pub(crate) fn count(&self, message: &[u8]) {
        self.sink().count(message);
        self.counted.notify_one();
    }

    /// The counters.
    pub(crate) fn sink(&self) -> MutexGuard<'_, Counters> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counters once so many messages have been counted.
    pub(crate) async fn counted(&self, msgs: u64) -> Value {
        loop {
            {
                let sink = self.sink();
                if sink.msgs >= msgs {
                    return sink.report();
                }
            }
            self.counted.notified().await;
        }
    }

    pub(crate) fn describe(&self) -> Value {
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

/// Sends numbered messages as fast as they leave.
///
/// Nothing is sent while it waits, so the amount can only fall, and the crate
/// tells when it falls below the threshold.
pub(crate) async fn send_patterned(raw: &DataChannel, count: u32, size: usize) -> Fallible<()> {
    let low = Arc::new(Notify::new());
    let fired = Arc::clone(&low);
    raw.set_buffered_amount_low_threshold(SEND_HIGH_WATER / 2);
    raw.on_buffered_amount_low(Box::new(move || {
        fired.notify_one();
        Box::pin(async {})
    }));
    for q in 0..count {
        while raw.buffered_amount() > SEND_HIGH_WATER {
            low.notified().await;
        }
        raw.write_data_channel(&pattern(q, size), false).await?;
    }
    Ok(())
}
