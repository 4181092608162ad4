//! A peer of the `webrtc` 0.17 crate, on JSON lines.
//!
//! It answers the in-band requests of the other side, and drives `connect`,
//! `noConnect` and `throughput`. Channels are detached: the crate's own read
//! loop cuts messages at 65,535 bytes.

//!
//! ```text
//! stdin ─▶ main ─▶ Peer: signal (descriptions, candidates)
//!                   │    respond (the other side's requests)
//!                   │    drive (our checks)
//!                   └─▶ Channel ─▶ pattern (numbered messages, counters)
//! stdout ◀─ lines, from all of them
//! ```

mod channel;
mod drive;
mod lines;
mod pattern;
mod peer;
mod respond;
mod signal;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::timeout;

use lines::{Fallible, emit, log, result, text};
use peer::Peer;

/// The crate's version.
const VERSION: &str = "0.17";
/// What the other side may ask for beyond channels.
const FEATURES: [&str; 2] = ["trickle", "offer"];
/// How long a check may take unless it says otherwise.
const CHECK_LIMIT: Duration = Duration::from_secs(60);

/// One line; `Ok(false)` ends the process.
async fn obey(peer: &mut Option<Arc<Peer>>, line: &Value) -> Fallible<bool> {
    let id = &line["id"];
    let cmd = text(line, "cmd")?;
    match (cmd, peer.as_ref()) {
        ("exit", _) => return Ok(false),
        ("create", _) => match Peer::create(&line["config"]).await {
            Ok(made) => {
                *peer = Some(made);
                result(id, Ok(json!({})));
            }
            Err(error) => result(id, Err(error)),
        },
        (_, None) => result(id, Err(format!("{cmd} before create").into())),
        ("offer", Some(peer)) => result(id, peer.offer(line["iceRestart"] == true).await),
        ("signal", Some(peer)) => peer.signal(line).await?,
        ("stats", Some(peer)) => result(id, Ok(peer.stats().await)),
        ("close", Some(peer)) => result(
            id,
            peer.pc
                .close()
                .await
                .map(|()| json!({}))
                .map_err(Into::into),
        ),
        ("check", Some(peer)) => {
            let (peer, line) = (Arc::clone(peer), line.clone());
            tokio::spawn(async move {
                let limit = line["args"]["timeout"]
                    .as_u64()
                    .map_or(CHECK_LIMIT, Duration::from_millis);
                let name = line["name"].as_str().unwrap_or_default();
                let outcome = timeout(limit, peer.check(name, &line["args"])).await;
                result(
                    &line["id"],
                    outcome.unwrap_or_else(|_| Err(format!("{name}: not within {limit:?}").into())),
                );
            });
        }
        (other, Some(_)) => result(id, Err(format!("unknown command {other}").into())),
    }
    Ok(true)
}

#[tokio::main]
async fn main() -> Fallible<()> {
    emit(&json!({
        "ev": "ready",
        "impl": "webrtc-rs",
        "version": VERSION,
        "features": FEATURES,
        "checks": ["connect", "noConnect", "throughput"],
    }));
    let mut peer = None;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(text) = lines.next_line().await? {
        if text.trim().is_empty() {
            continue;
        }
        match serde_json::from_str(&text) {
            Ok(line) => match obey(&mut peer, &line).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => log(error),
            },
            Err(error) => log(error),
        }
    }
    // Whatever still runs in this process ends with it.
    std::process::exit(0)
}
