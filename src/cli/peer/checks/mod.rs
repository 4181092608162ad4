//! The checks this peer can drive against the other side, of whichever
//! implementation it is.
//!
//! A check is a sequence of named steps. It ends with numbers, or with the
//! step that failed and why; it never hangs, because a time limit ends it.

mod buffered;
mod channels;
mod close;
mod connect;
mod identity;
mod negotiate;
mod sizes;
mod sound;
mod throughput;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use peerloom::webrtc::{DataChannel, DataChannelInit, Message};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::channels::Channels;
use super::control::Client;
use super::live::States;
use crate::cli::failure::chain;

/// The checks by name, in the order they are announced.
pub(crate) const NAMES: &[&str] = &[
    "connect",
    "noConnect",
    "channels",
    "sizes",
    "empty",
    "bufferedAmount",
    "ordered",
    "unreliable",
    "close",
    "throughput",
    "iceRestart",
    "renegotiate",
    "identity",
];

/// How long a check may take unless its arguments say otherwise (peer
/// protocol).
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// What a description that names no largest message stands for (RFC 8841,
/// section 6.1).
const UNSAID_SIZE: usize = 64 * 1024;

/// What we take ourselves: nothing larger could be echoed.
const OWN_SIZE: usize = 256 * 1024;

/// What checks share: the connection and the way to ask its other side.
pub(crate) struct Driver {
    channels: Channels,
    states: watch::Receiver<States>,
    ctl: Client,
    labels: AtomicU64,
}

impl Driver {
    /// A driver of checks over these channels.
    pub(crate) fn new(channels: Channels, states: watch::Receiver<States>) -> Self {
        Self {
            ctl: Client::new(channels.clone()),
            channels,
            states,
            labels: AtomicU64::new(0),
        }
    }
}

/// Runs one check within its time limit.
pub(crate) async fn run(
    driver: Arc<Driver>,
    name: &str,
    args: Map<String, Value>,
) -> Result<Value, Value> {
    let check = Check {
        driver: &driver,
        args: &args,
        step: Mutex::default(),
    };
    let limit = check.limit(default_limit(name));
    let outcome = tokio::time::timeout(limit, check.dispatch(name)).await;
    outcome
        .unwrap_or_else(|_| Err(format!("not done after {} ms", limit.as_millis())))
        .map_err(|why| json!({"check": name, "step": check.step(), "error": why}))
}

fn default_limit(name: &str) -> Duration {
    if name == "connect" {
        connect::TIME_LIMIT
    } else {
        TIME_LIMIT
    }
}

/// One check under way.
struct Check<'a> {
    driver: &'a Driver,
    args: &'a Map<String, Value>,
    step: Mutex<String>,
}

impl Check<'_> {
    async fn dispatch(&self, name: &str) -> Result<Value, String> {
        match name {
            "connect" => connect::connect(self).await,
            "noConnect" => connect::no_connect(self).await,
            "channels" => channels::channels(self).await,
            "sizes" => sizes::sizes(self).await,
            "empty" => sizes::empty(self).await,
            "bufferedAmount" => buffered::buffered_amount(self).await,
            "ordered" => sound::ordered(self).await,
            "unreliable" => sound::unreliable(self).await,
            "close" => close::close(self).await,
            "throughput" => throughput::throughput(self).await,
            "iceRestart" => negotiate::ice_restart(self).await,
            "renegotiate" => negotiate::renegotiate(self).await,
            "identity" => identity::identity(self).await,
            other => Err(format!(
                "no check named {other:?}; there are {}",
                NAMES.join(", ")
            )),
        }
    }

    /// Names the step that follows.
    fn begin(&self, step: impl Into<String>) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = step.into();
    }

    fn step(&self) -> String {
        self.step
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A whole number among the arguments.
    fn number(&self, name: &str, default: u64) -> u64 {
        self.args
            .get(name)
            .and_then(Value::as_u64)
            .unwrap_or(default)
    }

    fn limit(&self, default: Duration) -> Duration {
        match self.args.get("timeout").and_then(Value::as_u64) {
            Some(ms) => Duration::from_millis(ms),
            None => default,
        }
    }

    /// Asks the other side.
    async fn ask(&self, op: &str, fields: Value) -> Result<Value, String> {
        self.driver.ctl.ask(op, fields).await
    }

    /// A label nobody has used on this connection.
    fn label(&self, prefix: &str) -> String {
        let serial = self.driver.labels.fetch_add(1, Ordering::Relaxed);
        format!("{prefix}-{serial}")
    }

    /// Opens a channel and waits until it is open at both ends. A request on
    /// `ctl` that names it could otherwise overtake the announcement, which
    /// travels on another stream.
    async fn open(&self, label: &str, init: DataChannelInit) -> Result<DataChannel, String> {
        let channel = self.driver.channels.open(label, init).await?;
        channel
            .opened()
            .await
            .map_err(|error| format!("{label:?} did not open: {}", chain(&error)))?;
        self.driver
            .ctl
            .ask_until("channels", Value::Null, |reply| {
                lists(reply, label).then_some(())
            })
            .await?;
        Ok(channel)
    }

    /// Opens an ordinary channel with a label of its own.
    async fn open_plain(&self, prefix: &str) -> Result<DataChannel, String> {
        self.open(&self.label(prefix), DataChannelInit::default())
            .await
    }

    /// The longest message that the other side takes, by its description
    /// (RFC 8841, section 6): 64 KiB when it does not say, anything when it
    /// says 0.
    fn message_limit(&self) -> usize {
        let description = self.driver.channels.connection().remote_description();
        let sdp = description.map(|description| description.sdp);
        match attribute(sdp.as_deref().unwrap_or_default(), "max-message-size") {
            Some("0") => usize::MAX,
            Some(size) => size.parse().unwrap_or(UNSAID_SIZE),
            None => UNSAID_SIZE,
        }
    }

    /// The longest message that the other side takes and can send back.
    fn largest_message(&self) -> usize {
        self.message_limit().min(OWN_SIZE)
    }

    /// Waits until the states are as wanted.
    async fn wait_for(&self, wanted: impl FnMut(&States) -> bool) -> Result<States, String> {
        let mut states = self.driver.states.clone();
        let state = states
            .wait_for(wanted)
            .await
            .map_err(|_| "the connection was closed".to_owned())?;
        Ok(state.clone())
    }

    /// Waits until the other side no longer lists a channel.
    async fn gone(&self, label: &str) -> Result<(), String> {
        self.driver
            .ctl
            .ask_until("channels", Value::Null, |reply| {
                (!lists(reply, label)).then_some(())
            })
            .await
    }
}

/// The value of an SDP attribute.
fn attribute<'a>(sdp: &'a str, name: &str) -> Option<&'a str> {
    sdp.lines()
        .filter_map(|line| line.strip_prefix("a=")?.split_once(':'))
        .find_map(|(found, value)| (found == name).then_some(value.trim()))
}

/// Whether an answer to `channels` lists an open channel with this label.
fn lists(reply: &Value, label: &str) -> bool {
    let channels = reply.get("channels").and_then(Value::as_array);
    channels.into_iter().flatten().any(|channel| {
        channel.get("label").and_then(Value::as_str) == Some(label)
            && channel.get("state").and_then(Value::as_str) != Some("closed")
    })
}

/// Sends a message to an echo and compares what comes back.
async fn echoed(channel: &DataChannel, message: Message) -> Result<(), String> {
    channel
        .send(message.clone())
        .await
        .map_err(|error| format!("cannot send: {}", chain(&error)))?;
    match channel.recv().await {
        None => Err("the channel closed before the echo came".into()),
        Some(back) if back == message => Ok(()),
        Some(back) => Err(format!(
            "sent {}, got {}",
            in_words(&message),
            in_words(&back)
        )),
    }
}

fn in_words(message: &Message) -> String {
    match message {
        Message::Text(text) => format!("a string of {} bytes", text.len()),
        Message::Binary(bytes) => format!("a binary of {} bytes", bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_by_their_whole_name() {
        let sdp = "v=0\r\na=max-message-size-x:1\r\na=max-message-size:262144\r\n";
        assert_eq!(attribute(sdp, "max-message-size"), Some("262144"));
        assert_eq!(attribute(sdp, "ice-ufrag"), None);
    }

    #[test]
    fn closed_and_absent_channels_are_not_listed() {
        let reply = json!({"channels": [
            {"label": "a", "state": "open"},
            {"label": "b", "state": "closed"},
            {"label": "c"},
        ]});
        assert!(lists(&reply, "a"));
        assert!(!lists(&reply, "b"));
        assert!(lists(&reply, "c"));
        assert!(!lists(&reply, "d"));
        assert!(!lists(&Value::Null, "a"));
    }
}
