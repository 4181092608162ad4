//! `throughput {bytes, size, dir}`.

use std::time::{Duration, Instant};

use peerloom::webrtc::{DataChannel, Message};
use serde_json::{Value, json};

use super::super::channels::send_patterned;
use super::super::sink::Sink;
use super::Check;
use super::connect::millis;

/// Bytes sent unless `bytes` says otherwise (guess: a fraction of a second).
const BYTES: u64 = 64 * 1_024 * 1_024;

/// Size of a message unless `size` says otherwise.
const SIZE: u64 = 16 * 1_024;

/// Sends, or has the other side send, and waits until all has been counted.
pub(super) async fn throughput(check: &Check<'_>) -> Result<Value, String> {
    let size = check.number("size", SIZE).max(4);
    let count = check.number("bytes", BYTES).div_ceil(size).max(1);
    let dir = match check.args.get("dir").and_then(Value::as_str) {
        None | Some("up") => "up",
        Some("down") => "down",
        Some(other) => return Err(format!("dir is up or down, not {other:?}")),
    };
    check.begin("open");
    let channel = check.open_plain("sink:throughput").await?;
    let measured = if dir == "up" {
        up(check, &channel, count, size).await?
    } else {
        down(check, &channel, count, size).await?
    };
    channel.close().await;
    let megabytes = (count * size) as f64 / 1e6;
    Ok(json!({
        "dir": dir,
        "MB": megabytes,
        "ms": millis(measured.took),
        "MBps": (megabytes / measured.took.as_secs_f64() * 10.0).round() / 10.0,
        "bad": measured.bad,
        "gapMs": measured.gap,
    }))
}

struct Measured {
    took: Duration,
    bad: u64,
    /// The longest silence at the receiver, where it says so.
    gap: Option<u64>,
}

async fn up(
    check: &Check<'_>,
    channel: &DataChannel,
    count: u64,
    size: u64,
) -> Result<Measured, String> {
    check.begin("send");
    let started = Instant::now();
    let size = usize::try_from(size).map_err(|error| error.to_string())?;
    send_patterned(channel, count, size).await?;
    check.begin("count");
    let report = check.counted(channel.label(), count).await?;
    let took = started.elapsed();
    let reply = check
        .ask("sinkReport", json!({"label": channel.label()}))
        .await?;
    Ok(Measured {
        took,
        bad: report.corrupt + report.dup + u64::from(!report.in_order),
        gap: reply.get("gapMs").and_then(Value::as_u64),
    })
}

async fn down(
    check: &Check<'_>,
    channel: &DataChannel,
    count: u64,
    size: u64,
) -> Result<Measured, String> {
    check.begin("source");
    let started = Instant::now();
    let request = json!({"label": channel.label(), "count": count, "size": size});
    check.ask("source", request).await?;
    check.begin("receive");
    let mut sink = Sink::new();
    while sink.msgs() < count {
        match channel.recv().await {
            Some(Message::Binary(bytes)) => sink.count(&bytes, Instant::now()),
            Some(Message::Text(text)) => sink.count(text.as_bytes(), Instant::now()),
            None => return Err(format!("the channel closed after {} messages", sink.msgs())),
        }
    }
    Ok(Measured {
        took: started.elapsed(),
        bad: sink.bad(),
        gap: u64::try_from(sink.gap().as_millis()).ok(),
    })
}
