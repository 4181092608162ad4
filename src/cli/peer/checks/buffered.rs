//! `bufferedAmount`: rises on send, falls to zero, and the low event fires
//! once per crossing.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use peerloom::webrtc::{DataChannel, DataChannelEvent};
use serde_json::{Value, json};

use super::Check;
use crate::cli::failure::chain;

/// Crossings made. Each sends one message, so that the amount rises once and
/// falls once.
const ROUNDS: usize = 5;

/// The size of the message, or the largest the other side takes if that is
/// less.
const SIZE: usize = 200 * 1_024;

/// The low-water marks, taken in turn.
const THRESHOLDS: [usize; 3] = [0, 1, 64 * 1_024];

/// Fills and drains the buffer a few times, counting the low events.
pub(super) async fn buffered_amount(check: &Check<'_>) -> Result<Value, String> {
    check.begin("open");
    let channel = check.open_plain("sink:buffered").await?;
    let mut events = channel.events();
    let size = SIZE.min(check.largest_message());
    let mut highest = 0;
    for round in 0..ROUNDS {
        let threshold = THRESHOLDS[round % THRESHOLDS.len()].min(size / 2);
        highest = highest.max(cross(check, &channel, &mut events, round, threshold, size).await?);
    }
    check.begin("no more low events");
    channel.close().await;
    let late = low_events_until_closed(&mut events).await;
    if late > 0 {
        return Err(format!("{late} low events beyond one per crossing"));
    }
    Ok(json!({"crossings": ROUNDS, "highest": highest, "lowEvents": ROUNDS}))
}

type Events = dyn Stream<Item = DataChannelEvent> + Send + Unpin;

/// One crossing: up by one message, down below the mark, down to zero.
async fn cross(
    check: &Check<'_>,
    channel: &DataChannel,
    events: &mut Events,
    round: usize,
    threshold: usize,
    size: usize,
) -> Result<usize, String> {
    check.begin(format!("round {round}: rise"));
    channel.set_buffered_amount_low_threshold(threshold);
    let before = channel.buffered_amount();
    if before != 0 {
        return Err(format!("{before} bytes buffered before anything was sent"));
    }
    channel
        .try_send(Bytes::from(vec![0; size]))
        .map_err(|error| chain(&error))?;
    let risen = channel.buffered_amount();
    check.begin(format!("round {round}: low event"));
    low_event(events).await?;
    check.begin(format!("round {round}: fall to zero"));
    // A round trip per look: whatever is still buffered needs one to leave.
    while channel.buffered_amount() > 0 {
        check.ask("ping", Value::Null).await?;
    }
    Ok(risen)
}

async fn low_event(events: &mut Events) -> Result<(), String> {
    while let Some(event) = events.next().await {
        if matches!(event, DataChannelEvent::BufferedAmountLow) {
            return Ok(());
        }
    }
    Err("the channel closed".into())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "only these two are counted")]
async fn low_events_until_closed(events: &mut Events) -> usize {
    let mut late = 0;
    while let Some(event) = events.next().await {
        match event {
            DataChannelEvent::BufferedAmountLow => late += 1,
            DataChannelEvent::Close => break,
            _ => {}
        }
    }
    late
}
