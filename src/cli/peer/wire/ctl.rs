//! Requests on the `ctl` channel, and their answers.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A request on the `ctl` channel: a string `{"rid":n,"op":...}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "op", rename_all = "camelCase")]
pub(crate) enum Control {
    /// Who are you?
    Ping,
    /// Which channels do you have?
    Channels,
    /// Create a negotiated channel.
    Negotiate {
        /// Its label.
        label: String,
        /// Its id.
        id: u16,
        /// Its other properties.
        #[serde(default)]
        options: ChannelOptions,
    },
    /// Close a channel.
    Close {
        /// Its label.
        label: String,
    },
    /// Report a sink's counters.
    SinkReport {
        /// The sink's label.
        label: String,
    },
    /// Send patterned messages on a channel.
    Source {
        /// Its label.
        label: String,
        /// How many.
        count: u64,
        /// How long each.
        size: usize,
    },
    /// Report the connection's statistics.
    Stats,
    /// Make, set and signal an offer.
    Offer {
        /// Whether to restart ICE.
        #[serde(default, rename = "iceRestart")]
        ice_restart: bool,
    },
}

/// The `options` of `negotiate`, named as in `RTCDataChannelInit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ChannelOptions {
    /// Whether messages keep their order.
    pub(crate) ordered: bool,
    /// How often a message is retransmitted at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_retransmits: Option<u16>,
    /// For how many milliseconds a message is retransmitted at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_packet_life_time: Option<u16>,
    /// The sub-protocol.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) protocol: String,
}

impl Default for ChannelOptions {
    fn default() -> Self {
        Self {
            ordered: true,
            max_retransmits: None,
            max_packet_life_time: None,
            protocol: String::new(),
        }
    }
}

/// Splits a control request into its request id and the request itself.
pub(crate) fn parse_control(text: &str) -> (Value, Result<Control, String>) {
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => return (Value::Null, Err(format!("not JSON: {error}"))),
    };
    let rid = value.get("rid").cloned().unwrap_or(Value::Null);
    let control = serde_json::from_value(value).map_err(|error| format!("not a request: {error}"));
    (rid, control)
}

/// The string that answers a control request.
pub(crate) fn control_reply(rid: Value, reply: Result<Value, String>) -> String {
    let mut object = match reply {
        Ok(Value::Object(object)) => object,
        Ok(other) => Map::from_iter([("value".to_owned(), other)]),
        Err(error) => Map::from_iter([("error".to_owned(), error.into())]),
    };
    object.insert("rid".to_owned(), rid);
    Value::Object(object).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn control_requests_read_and_answer() {
        let (rid, control) = parse_control(
            r#"{"rid":4,"op":"negotiate","label":"echo:n","id":100,"options":{"ordered":false,"maxRetransmits":2}}"#,
        );
        assert_eq!(rid, json!(4));
        assert_eq!(
            control,
            Ok(Control::Negotiate {
                label: "echo:n".into(),
                id: 100,
                options: ChannelOptions {
                    ordered: false,
                    max_retransmits: Some(2),
                    ..ChannelOptions::default()
                },
            })
        );
        assert_eq!(
            parse_control(r#"{"rid":1,"op":"sinkReport","label":"sink:a"}"#).1,
            Ok(Control::SinkReport {
                label: "sink:a".into()
            })
        );
        assert_eq!(
            parse_control(r#"{"rid":2,"op":"offer","iceRestart":true}"#).1,
            Ok(Control::Offer { ice_restart: true })
        );
        let (rid, control) = parse_control(r#"{"rid":9,"op":"fly"}"#);
        assert!(control.is_err());
        let reply: Value =
            serde_json::from_str(&control_reply(rid, Err("no".into()))).expect("JSON");
        assert_eq!(reply, json!({"rid": 9, "error": "no"}));
        assert!(parse_control("nonsense").1.is_err());
    }
}
