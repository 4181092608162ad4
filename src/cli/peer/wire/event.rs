//! One line of stdout.

use peerloom::webrtc::{IceCandidateInit, SessionDescription};
use serde_json::{Value, json};

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
