//! The lines in and out, and what their fields mean to this crate.

use std::error::Error;
use std::io::Write as _;

use serde_json::{Value, json};
use webrtc::data_channel::data_channel_init::RTCDataChannelInit;
use webrtc::ice_transport::ice_server::RTCIceServer;
use webrtc::peer_connection::configuration::RTCConfiguration;
use webrtc::peer_connection::policy::ice_transport_policy::RTCIceTransportPolicy;

/// What is done here, or a sentence on why it was not.
pub(crate) type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

pub(crate) fn emit(line: &Value) {
    let mut out = std::io::stdout().lock();
    // A runner that has gone takes its pipe along; stdin ends next.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

pub(crate) fn log(message: impl std::fmt::Display) {
    emit(&json!({"ev": "log", "msg": message.to_string()}));
}

pub(crate) fn result(id: &Value, outcome: Fallible<Value>) {
    emit(&match outcome {
        Ok(detail) => json!({"ev": "result", "id": id, "ok": true, "detail": detail}),
        Err(error) => {
            json!({"ev": "result", "id": id, "ok": false, "detail": {"error": error.to_string()}})
        }
    });
}

pub(crate) fn text<'a>(value: &'a Value, key: &str) -> Fallible<&'a str> {
    value[key]
        .as_str()
        .ok_or_else(|| format!("no string {key:?}").into())
}

pub(crate) fn number(value: &Value, key: &str) -> Fallible<u64> {
    value[key]
        .as_u64()
        .ok_or_else(|| format!("no number {key:?}").into())
}

pub(crate) fn init(options: &Value) -> RTCDataChannelInit {
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

pub(crate) fn configuration(config: &Value) -> RTCConfiguration {
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
        ice_transport_policy: match config["iceTransportPolicy"].as_str() {
            Some("relay") => RTCIceTransportPolicy::Relay,
            Some(_) | None => RTCIceTransportPolicy::All,
        },
        ..Default::default()
    }
}
