//! The lines of the JSON peer protocol: one object per line in each direction.

use peerloom::webrtc::{IceCandidateInit, SessionDescription};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

/// The longest line taken from stdin; a longer one is refused.
pub(crate) const MAX_LINE: usize = 1024 * 1024;

/// One line of stdin.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "cmd", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum Command {
    /// Make the peer connection.
    Create {
        /// Echoed in the result.
        id: Option<Value>,
        /// ICE servers and policy.
        #[serde(default)]
        config: CreateConfig,
        /// Kinds of local media to send.
        #[serde(default)]
        media: Vec<String>,
    },
    /// Make, set and emit an offer.
    Offer {
        /// Echoed in the result.
        id: Option<Value>,
        /// Whether to restart ICE.
        #[serde(default)]
        ice_restart: bool,
    },
    /// A description or a candidate of the other side.
    Signal {
        /// Echoed in the result, when there is one.
        id: Option<Value>,
        /// A session description.
        description: Option<SessionDescription>,
        /// A candidate; an inner `None` says that there are no more.
        #[serde(default, deserialize_with = "present")]
        candidate: Option<Option<IceCandidateInit>>,
    },
    /// Run a check against the other side.
    Check {
        /// Echoed in the result.
        id: Option<Value>,
        /// Which check.
        name: String,
        /// Its arguments.
        #[serde(default)]
        args: Map<String, Value>,
    },
    /// Report the connection's statistics.
    Stats {
        /// Echoed in the result.
        id: Option<Value>,
    },
    /// Add media after the fact.
    AddMedia {
        /// Echoed in the result.
        id: Option<Value>,
        /// Which kinds.
        #[serde(default)]
        kinds: Vec<String>,
    },
    /// Close the peer connection.
    Close {
        /// Echoed in the result.
        id: Option<Value>,
    },
    /// End the process.
    Exit,
}

/// The `config` of `create`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CreateConfig {
    /// STUN and TURN servers.
    pub(crate) ice_servers: Vec<IceServer>,
    /// `all` or `relay`.
    pub(crate) ice_transport_policy: Option<String>,
}

/// One STUN or TURN server.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct IceServer {
    /// One URL or several.
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) urls: Vec<String>,
    /// TURN user name.
    pub(crate) username: Option<String>,
    /// TURN password.
    pub(crate) credential: Option<String>,
}

/// Tells an explicit `null` (`Some(None)`) from an absent field (`None`).
fn present<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Option<IceCandidateInit>>, D::Error> {
    Option::<IceCandidateInit>::deserialize(from).map(Some)
}

fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Urls {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Urls::deserialize(from)? {
        Urls::One(url) => vec![url],
        Urls::Many(urls) => urls,
    })
}

/// Why a line is not a command, and the id to answer under if it has one.
#[derive(Debug, PartialEq)]
pub(crate) struct BadLine {
    /// The line's id.
    pub(crate) id: Option<Value>,
    /// What is wrong with it.
    pub(crate) why: String,
}

/// Reads one line.
pub(crate) fn parse(line: &str) -> Result<Command, BadLine> {
    let value: Value = serde_json::from_str(line).map_err(|error| BadLine {
        id: None,
        why: format!("not JSON: {error}"),
    })?;
    let id = value.get("id").cloned();
    serde_json::from_value(value).map_err(|error| BadLine {
        id,
        why: format!("not a command: {error}"),
    })
}

/// One line of stdout.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// The process is ready for commands.
    Ready {
        /// What this side can do.
        features: Vec<&'static str>,
        /// Which checks it can drive.
        checks: Vec<&'static str>,
    },
    /// The outcome of a command.
    Result {
        /// The command's id.
        id: Value,
        /// Its outcome: detail of a success or of a failure.
        outcome: Result<Value, Value>,
    },
    /// A description for the other side.
    Description(SessionDescription),
    /// A candidate for the other side; `None` says that there are no more.
    Candidate(Option<IceCandidateInit>),
    /// The connection's states.
    State {
        /// `RTCPeerConnectionState`.
        connection: String,
        /// `RTCIceConnectionState`.
        ice: String,
        /// `RTCIceGatheringState`.
        gathering: String,
        /// `RTCSignalingState`.
        signaling: String,
    },
    /// A channel opened.
    Channel(Value),
    /// A channel closed.
    ChannelClosed(String),
    /// Free text.
    Log(String),
}

impl Event {
    /// The object to print.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Ready { features, checks } => json!({
                "ev": "ready",
                "impl": "peerloom",
                "version": env!("CARGO_PKG_VERSION"),
                "features": features,
                "checks": checks,
            }),
            Self::Result { id, outcome } => {
                let (ok, detail) = match outcome {
                    Ok(detail) => (true, detail),
                    Err(detail) => (false, detail),
                };
                json!({"ev": "result", "id": id, "ok": ok, "detail": detail})
            }
            Self::Description(description) => json!({"ev": "signal", "description": description}),
            Self::Candidate(candidate) => json!({"ev": "signal", "candidate": candidate}),
            Self::State {
                connection,
                ice,
                gathering,
                signaling,
            } => json!({
                "ev": "state",
                "connection": connection,
                "ice": ice,
                "gathering": gathering,
                "signaling": signaling,
            }),
            Self::Channel(properties) => {
                let mut line = properties.clone();
                if let Some(line) = line.as_object_mut() {
                    line.insert("ev".into(), "channel".into());
                }
                line
            }
            Self::ChannelClosed(label) => json!({"ev": "channelClosed", "label": label}),
            Self::Log(text) => json!({"ev": "log", "msg": text}),
        }
    }
}

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

    #[test]
    fn a_full_create_line_reads() {
        let line = r#"{"cmd":"create","id":1,"config":{"iceServers":[{"urls":["turn:a","turn:b"],
            "username":"u","credential":"c"},{"urls":"stun:c"}],"iceTransportPolicy":"relay"},
            "media":["audio"]}"#;
        let Ok(Command::Create { id, config, media }) = parse(line) else {
            panic!("not a create");
        };
        assert_eq!(id, Some(json!(1)));
        assert_eq!(config.ice_servers[0].urls, ["turn:a", "turn:b"]);
        assert_eq!(config.ice_servers[1].urls, ["stun:c"]);
        assert_eq!(config.ice_transport_policy.as_deref(), Some("relay"));
        assert_eq!(media, ["audio"]);
    }

    #[test]
    fn short_lines_take_defaults() {
        assert_eq!(
            parse(r#"{"cmd":"offer","id":"x"}"#),
            Ok(Command::Offer {
                id: Some(json!("x")),
                ice_restart: false
            })
        );
        assert_eq!(parse(r#"{"cmd":"exit"}"#), Ok(Command::Exit));
        let Ok(Command::Create { config, .. }) = parse(r#"{"cmd":"create","id":1}"#) else {
            panic!("not a create");
        };
        assert_eq!(config, CreateConfig::default());
    }

    #[test]
    fn a_null_candidate_is_not_an_absent_one() {
        let signal = |line: &str| match parse(line) {
            Ok(Command::Signal { candidate, .. }) => candidate,
            other => panic!("{other:?}"),
        };
        assert_eq!(signal(r#"{"cmd":"signal","candidate":null}"#), Some(None));
        assert_eq!(
            signal(r#"{"cmd":"signal","description":{"type":"offer","sdp":"v=0"}}"#),
            None
        );
        let full = signal(
            r#"{"cmd":"signal","candidate":{"candidate":"candidate:1","sdpMid":"0",
                "sdpMLineIndex":0,"usernameFragment":null}}"#,
        );
        assert_eq!(
            full,
            Some(Some(IceCandidateInit {
                candidate: "candidate:1".into(),
                sdp_mid: Some("0".into()),
                sdp_mline_index: Some(0),
                username_fragment: None,
            }))
        );
    }

    #[test]
    fn bad_lines_keep_their_id() {
        let bad = parse(r#"{"cmd":"dance","id":7}"#).expect_err("no such command");
        assert_eq!(bad.id, Some(json!(7)));
        assert_eq!(parse("{").expect_err("not JSON").id, None);
        assert_eq!(parse("[]").expect_err("not an object").id, None);
    }

    #[test]
    fn events_print_as_the_protocol_says() {
        let candidate = Event::Candidate(Some(IceCandidateInit {
            candidate: "candidate:1".into(),
            sdp_mid: Some("0".into()),
            sdp_mline_index: Some(0),
            username_fragment: Some("u".into()),
        }));
        assert_eq!(
            candidate.to_json(),
            json!({"ev": "signal", "candidate": {"candidate": "candidate:1", "sdpMid": "0",
                "sdpMLineIndex": 0, "usernameFragment": "u"}})
        );
        assert_eq!(
            Event::Candidate(None).to_json(),
            json!({"ev": "signal", "candidate": null})
        );
        let result = Event::Result {
            id: json!(3),
            outcome: Err(json!({"step": "connect"})),
        };
        assert_eq!(
            result.to_json(),
            json!({"ev": "result", "id": 3, "ok": false, "detail": {"step": "connect"}})
        );
        assert_eq!(
            Event::Channel(json!({"label": "boot"})).to_json(),
            json!({"ev": "channel", "label": "boot"})
        );
    }

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
        let (rid, control) = parse_control(r#"{"rid":9,"op":"fly"}"#);
        assert!(control.is_err());
        let reply: Value =
            serde_json::from_str(&control_reply(rid, Err("no".into()))).expect("JSON");
        assert_eq!(reply, json!({"rid": 9, "error": "no"}));
        assert!(parse_control("nonsense").1.is_err());
    }
}
