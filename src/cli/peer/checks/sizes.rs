//! `sizes`: strings and binaries from one byte to the largest the other side
//! takes, and one byte more. `empty`: those of no bytes.

use std::time::Duration;

use bytes::Bytes;
use peerloom::webrtc::{DataChannel, Message};
use serde_json::{Value, json};

use super::{Check, echoed};
use crate::cli::failure::chain;

/// Sizes besides the negotiated largest one (peer protocol).
const SIZES: [usize; 3] = [1, 1_024, 64 * 1_024];

/// How long the echo of an empty message may take: some stacks never send one
/// (guess: many round trips on a busy machine).
const EMPTY_ECHO: Duration = Duration::from_secs(10);

/// A limit up to here is overstepped by one byte; Firefox's, of a GiB, is not
/// (guess: what any machine has to spare).
const LARGEST_TRIED: usize = 1024 * 1024;

/// Every size comes back unchanged; one byte too many fails here and now, and
/// the channel lives on.
pub(super) async fn sizes(check: &Check<'_>) -> Result<Value, String> {
    check.begin("open");
    let channel = check.open_plain("echo:sizes").await?;
    let largest = check.largest_message();
    let mut tested = Vec::new();
    for size in SIZES
        .into_iter()
        .filter(|size| *size < largest)
        .chain([largest])
    {
        for message in [string(size), binary(size)] {
            check.begin(format!("echo {}", super::in_words(&message)));
            echoed(&channel, message).await?;
        }
        tested.push(size);
    }
    let limit = check.message_limit();
    let refusal = match limit {
        ..=LARGEST_TRIED => too_large(check, &channel, limit + 1).await?,
        _ => "the limit is too far to try".to_owned(),
    };
    check.begin("echo after the refusal");
    echoed(&channel, string(10)).await?;
    channel.close().await;
    Ok(json!({"sizes": tested, "maxMessageSize": limit, "tooLarge": refusal}))
}

/// An empty string and an empty binary come back as such.
pub(super) async fn empty(check: &Check<'_>) -> Result<Value, String> {
    check.begin("open");
    let channel = check.open_plain("echo:empty").await?;
    for message in [string(0), binary(0)] {
        let words = super::in_words(&message);
        check.begin(format!("echo {words}"));
        tokio::time::timeout(EMPTY_ECHO, echoed(&channel, message))
            .await
            .map_err(|_| format!("no echo of {words}"))??;
    }
    channel.close().await;
    Ok(json!({}))
}

/// One byte too many is an error. Two Peerloom peers may cut it into pieces
/// instead; then it must come back whole.
async fn too_large(
    check: &Check<'_>,
    channel: &DataChannel,
    size: usize,
) -> Result<String, String> {
    check.begin(format!("refuse {size} bytes"));
    match channel.send(binary(size)).await {
        Err(error) => Ok(chain(&error)),
        Ok(()) => {
            let remote = check.ask("ping", Value::Null).await?;
            if remote.get("impl").and_then(Value::as_str) != Some("peerloom") {
                return Err(format!("{size} bytes were accepted"));
            }
            match channel.recv().await {
                Some(back) if back == binary(size) => Ok("sent in pieces".into()),
                _ => Err(format!(
                    "{size} bytes were accepted and came back different"
                )),
            }
        }
    }
}

fn string(size: usize) -> Message {
    let text: String = ('a'..='z').cycle().take(size).collect();
    Message::from(text)
}

fn binary(size: usize) -> Message {
    let bytes: Vec<u8> = (0..size).map(|i| (i * 7 % 251) as u8).collect();
    Message::from(Bytes::from(bytes))
}
