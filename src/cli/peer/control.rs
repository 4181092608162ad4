//! The `ctl` channel: requests as strings, each answered with a string.

use std::time::Duration;

use peerloom::webrtc::{DataChannel, Message};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use super::channels::{Channels, init_of};
use super::session::FEATURES;
use super::stats::stats;
use super::wire::{ChannelOptions, Control, control_reply, parse_control};
use crate::cli::failure::chain;

/// The label of the channel.
pub(crate) const LABEL: &str = "ctl";

/// Answers the other side's requests until it closes the channel.
pub(crate) async fn serve(channel: DataChannel, channels: Channels) {
    while let Some(message) = channel.recv().await {
        let Message::Text(text) = message else {
            continue;
        };
        let (rid, request) = parse_control(&text);
        let reply = match request {
            Ok(request) => answer(request, &channels).await,
            Err(error) => Err(error),
        };
        if channel.send(control_reply(rid, reply)).await.is_err() {
            return;
        }
    }
}

async fn answer(request: Control, channels: &Channels) -> Result<Value, String> {
    let done = |()| json!({"ok": true});
    match request {
        Control::Ping => Ok(json!({
            "impl": "peerloom",
            "version": env!("CARGO_PKG_VERSION"),
            "features": FEATURES,
        })),
        Control::Channels => Ok(json!({"channels": channels.describe()})),
        Control::Negotiate { label, id, options } => {
            channels.negotiate(&label, id, &options).await.map(done)
        }
        Control::Close { label } => channels.close(&label).await.map(done),
        Control::SinkReport { label } => channels.sink_report(&label),
        Control::Source { label, count, size } => channels.source(&label, count, size).map(done),
        Control::Stats => Ok(json!({"stats": stats(channels.connection()).await?})),
        Control::Offer { ice_restart } => channels.offer(ice_restart).await.map(done),
    }
}

/// The asking side. One request is under way at a time.
pub(crate) struct Client {
    channels: Channels,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    channel: Option<DataChannel>,
    rid: u64,
}

impl Client {
    /// A client that opens its channel with the first request.
    pub(crate) fn new(channels: Channels) -> Self {
        Self {
            channels,
            open: Mutex::default(),
        }
    }

    /// Asks the other side and waits for its answer.
    pub(crate) async fn ask(&self, op: &str, fields: Value) -> Result<Value, String> {
        let mut open = self.open.lock().await;
        open.rid += 1;
        let rid = open.rid;
        let channel = match &open.channel {
            Some(channel) => channel.clone(),
            None => {
                let channel = self
                    .channels
                    .open(LABEL, init_of(&ChannelOptions::default(), None))
                    .await?;
                channel
                    .opened()
                    .await
                    .map_err(|error| format!("ctl did not open: {}", chain(&error)))?;
                open.channel.insert(channel).clone()
            }
        };
        let outcome = exchange(&channel, rid, op, fields).await;
        if matches!(outcome, Err(Lost::Channel(_))) {
            open.channel = None;
        }
        outcome.map_err(|lost| match lost {
            Lost::Channel(why) | Lost::Refused(why) => format!("ctl {op}: {why}"),
        })
    }

    /// Asks again and again until the answer is what was hoped for, with a
    /// short pause between; the caller's time limit ends it.
    pub(crate) async fn ask_until<T>(
        &self,
        op: &str,
        fields: Value,
        mut accept: impl FnMut(&Value) -> Option<T>,
    ) -> Result<T, String> {
        let mut pause = tokio::time::interval(PAUSE);
        loop {
            pause.tick().await;
            if let Some(done) = accept(&self.ask(op, fields.clone()).await?) {
                return Ok(done);
            }
        }
    }
}

/// Between two questions about the same thing: the protocol has no way to be
/// told.
const PAUSE: Duration = Duration::from_millis(5);

enum Lost {
    Channel(String),
    Refused(String),
}

async fn exchange(channel: &DataChannel, rid: u64, op: &str, fields: Value) -> Result<Value, Lost> {
    let mut request = match fields {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    };
    request.insert("rid".into(), rid.into());
    request.insert("op".into(), op.into());
    channel
        .send(Value::Object(request).to_string())
        .await
        .map_err(|error| Lost::Channel(chain(&error)))?;
    loop {
        let message = channel.recv().await;
        let Some(message) = message else {
            return Err(Lost::Channel("the channel closed".into()));
        };
        let Message::Text(text) = message else {
            continue;
        };
        let reply: Value = serde_json::from_str(&text)
            .map_err(|error| Lost::Refused(format!("answer is not JSON: {error}")))?;
        // An answer to a request that was given up on is passed over.
        if reply.get("rid") != Some(&rid.into()) {
            continue;
        }
        return match reply.get("error") {
            Some(error) => Err(Lost::Refused(error.to_string())),
            None => Ok(reply),
        };
    }
}
