//! The lines of the JSON peer protocol (`docs/peer-protocol.md`): commands on
//! stdin here, events on stdout and requests on the `ctl` channel below.

mod ctl;
mod event;

use peerloom::webrtc::{IceCandidateInit, SessionDescription};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

pub(super) use ctl::{ChannelOptions, Control, control_reply, parse_control};
pub(super) use event::Event;

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
    /// Tell names in place of our addresses.
    pub(crate) obfuscate_host_addresses: bool,
    /// `sctp`, `quic`, or `auto`.
    pub(crate) data_transport: Option<String>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
}
