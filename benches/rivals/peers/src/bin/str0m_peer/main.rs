//! A peer of str0m 0.25, on JSON lines. It answers the in-band requests of the
//! other side, and drives no checks.
//!
//! ```text
//! stdin ─▶ main ─▶ Peer: signal (descriptions, candidates)
//! socket ◀▶        │     respond (the other side's requests)
//! clock ─▶         └─▶ Channel ─▶ pattern (numbered messages, counters)
//! stdout ◀─ lines, from all of them
//! ```

mod channel;
mod lines;
#[path = "../webrtc_rs_peer/pattern.rs"]
mod pattern;
mod peer;
mod respond;
mod signal;

use std::time::Instant;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use lines::{Fallible, emit, log, result, text};
use peer::Peer;

/// The crate's version.
const VERSION: &str = "0.25";
/// What the other side may ask for beyond channels.
const FEATURES: [&str; 2] = ["trickle", "offer"];

/// One line; `Ok(false)` ends the process.
fn obey(peer: &mut Peer, line: &Value) -> Fallible<bool> {
    let id = &line["id"];
    match text(line, "cmd")? {
        "exit" => return Ok(false),
        "create" => result(id, Ok(json!({}))),
        "offer" => result(id, peer.offer(line["iceRestart"] == true)),
        "signal" => peer.signal(line)?,
        "stats" => result(id, Ok(peer.stats())),
        "close" => {
            peer.rtc.disconnect();
            result(id, Ok(json!({})));
        }
        other => result(id, Err(format!("unknown command {other}").into())),
    }
    Ok(true)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Fallible<()> {
    let mut peer = Peer::new().await?;
    emit(&json!({
        "ev": "ready",
        "impl": "str0m",
        "version": VERSION,
        "features": FEATURES,
        "checks": [],
    }));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        let at = peer.drain();
        tokio::select! {
            line = lines.next_line() => {
                let Some(text) = line? else { break };
                match serde_json::from_str(&text).map_err(Into::into).and_then(|line| obey(&mut peer, &line)) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => log(error),
                }
            }
            ready = peer.socket.readable() => {
                ready?;
                peer.receive();
            }
            () = tokio::time::sleep_until(at.into()) => peer.timeout(Instant::now()),
        }
    }
    // The thread that reads stdin would keep the process alive.
    std::process::exit(0)
}
