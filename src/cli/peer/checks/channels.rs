//! `channels`: every combination of properties, equal at both ends, and alive.

use std::time::Duration;

use peerloom::webrtc::{DataChannel, Message};
use serde_json::{Value, json};

use super::super::channels::{describe, init_of};
use super::super::wire::ChannelOptions;
use super::{Check, lists};
use crate::cli::failure::chain;

/// The properties that must be equal at both ends.
const PROPERTIES: [&str; 7] = [
    "label",
    "protocol",
    "ordered",
    "maxRetransmits",
    "maxPacketLifeTime",
    "negotiated",
    "id",
];

/// How long an echo on a channel that may lose messages is waited for before
/// the message is sent again (guess: many round trips).
const RESEND: Duration = Duration::from_millis(300);

/// How often it is sent before the channel counts as mute (guess: losses are
/// rare, and a busy machine takes its time).
const ATTEMPTS: usize = 30;

/// One channel of the check.
struct Combination {
    label: String,
    options: ChannelOptions,
    /// Negotiated, with this id.
    id: Option<u16>,
}

/// The eleven combinations of the peer protocol.
fn combinations() -> Vec<Combination> {
    let plain = ChannelOptions::default;
    let unordered = || ChannelOptions {
        ordered: false,
        ..plain()
    };
    let protocol = |protocol: &str| ChannelOptions {
        protocol: protocol.into(),
        ..plain()
    };
    let combination = |label: &str, options, id| Combination {
        label: format!("echo:{label}"),
        options,
        id,
    };
    vec![
        combination("default", plain(), None),
        combination("unordered", unordered(), None),
        combination(
            "unordered-retransmits-0",
            with_retransmits(unordered(), 0),
            None,
        ),
        combination("ordered-retransmits-3", with_retransmits(plain(), 3), None),
        combination("ordered-lifetime-500", with_lifetime(plain(), 500), None),
        combination("unordered-lifetime-0", with_lifetime(unordered(), 0), None),
        combination("protocol", protocol("peerloom.check"), None),
        combination("ünïcode-комната-部屋-🧶", protocol("протокол-🧵"), None),
        combination(&"x".repeat(1_000 - "echo:".len()), plain(), None),
        combination("negotiated-100", plain(), Some(100)),
        combination(
            "negotiated-1001",
            with_retransmits(unordered(), 2),
            Some(1_001),
        ),
    ]
}

fn with_retransmits(options: ChannelOptions, max: u16) -> ChannelOptions {
    ChannelOptions {
        max_retransmits: Some(max),
        ..options
    }
}

fn with_lifetime(options: ChannelOptions, max: u16) -> ChannelOptions {
    ChannelOptions {
        max_packet_life_time: Some(max),
        ..options
    }
}

/// Opens all of them, compares both ends' lists, and sends through each.
pub(super) async fn channels(check: &Check<'_>) -> Result<Value, String> {
    let combinations = combinations();
    let mut opened = Vec::new();
    for combination in &combinations {
        check.begin(format!("open {}", short(&combination.label)));
        opened.push(open(check, combination).await?);
    }
    check.begin("properties");
    let remote = remote_list(check, &combinations).await?;
    for channel in &opened {
        compare(&describe(channel), &remote)?;
    }
    let mut mute = Vec::new();
    for (combination, channel) in combinations.iter().zip(&opened) {
        check.begin(format!("echo {}", short(&combination.label)));
        if !echoes(channel, &combination.label).await? {
            mute.push(short(&combination.label));
        }
    }
    if !mute.is_empty() {
        return Err(format!("no echo on {}", mute.join(", ")));
    }
    for (combination, channel) in combinations.iter().zip(&opened) {
        check.begin(format!("close {}", short(&combination.label)));
        channel.close().await;
        check.gone(&combination.label).await?;
    }
    Ok(json!({"channels": combinations.len()}))
}

/// The other side gets its half of a negotiated channel first, so that
/// nothing sent from here can come too early.
async fn open(check: &Check<'_>, combination: &Combination) -> Result<DataChannel, String> {
    if let Some(id) = combination.id {
        let request = json!({
            "label": combination.label,
            "id": id,
            "options": combination.options,
        });
        check.ask("negotiate", request).await?;
    }
    let init = init_of(&combination.options, combination.id);
    check.open(&combination.label, init).await
}

/// The other side's list, once it has all of them.
async fn remote_list(check: &Check<'_>, wanted: &[Combination]) -> Result<Vec<Value>, String> {
    check
        .driver
        .ctl
        .ask_until("channels", Value::Null, |reply| {
            let all = wanted.iter().all(|one| lists(reply, &one.label));
            let list = reply.get("channels").and_then(Value::as_array);
            list.filter(|_| all).cloned()
        })
        .await
}

fn compare(here: &Value, there: &[Value]) -> Result<(), String> {
    let label = &here["label"];
    let open = |channel: &&Value| channel["label"] == *label && channel["state"] != "closed";
    let there = there
        .iter()
        .find(open)
        .ok_or_else(|| format!("the other side has no {label}"))?;
    for property in PROPERTIES {
        if here[property] != there[property] {
            return Err(format!(
                "{property} of {} is {} here and {} there",
                short(&label.to_string()),
                here[property],
                there[property]
            ));
        }
    }
    Ok(())
}

/// Sends until an echo comes: a channel that gives up on messages may lose the
/// first. Whether one came.
async fn echoes(channel: &DataChannel, label: &str) -> Result<bool, String> {
    let message = Message::from(format!("hello on {label}"));
    for _ in 0..ATTEMPTS {
        channel
            .send(message.clone())
            .await
            .map_err(|error| format!("cannot send: {}", chain(&error)))?;
        match tokio::time::timeout(RESEND, channel.recv()).await {
            Ok(Some(back)) if back == message => return Ok(true),
            Ok(Some(_)) => return Err("the echo differs from what was sent".into()),
            Ok(None) => return Err("the channel closed before the echo came".into()),
            Err(_) => {}
        }
    }
    Ok(false)
}

fn short(label: &str) -> String {
    label.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_eleven_and_all_are_echoes() {
        let all = combinations();
        assert_eq!(all.len(), 11);
        assert!(all.iter().all(|one| one.label.starts_with("echo:")));
        assert!(all.iter().any(|one| one.label.chars().count() == 1_000));
    }

    #[test]
    fn a_difference_is_named() {
        let channel = |id: u16| {
            json!({"label": "echo:a", "protocol": "", "ordered": true, "maxRetransmits": null,
                "maxPacketLifeTime": null, "negotiated": false, "id": id, "state": "open"})
        };
        assert_eq!(compare(&channel(1), &[channel(1)]), Ok(()));
        let why = compare(&channel(1), &[channel(3)]).expect_err("ids differ");
        assert!(why.starts_with("id of"), "{why}");
        assert!(compare(&channel(1), &[]).is_err());
    }
}
