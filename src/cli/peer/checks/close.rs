//! `close`: closing on either side is seen on the other, an id can be used
//! again, other channels live on.

use peerloom::webrtc::{DataChannel, DataChannelInit, Message};
use serde_json::{Value, json};

use super::super::channels::init_of;
use super::super::wire::ChannelOptions;
use super::{Check, echoed};

/// Closes from here, from there, and reuses the ids.
pub(super) async fn close(check: &Check<'_>) -> Result<Value, String> {
    check.begin("open a channel that stays");
    let stays = check.open_plain("echo:stays").await?;
    let local = close_here(check).await?;
    let remote = close_there(check).await?;
    check.begin("open in band again");
    let again = check.open_plain("echo:again").await?;
    let hello = || Message::from("hello");
    echoed(&again, hello()).await?;
    let reused = again.id();
    again.close().await;
    check.gone(again.label()).await?;
    if let Some(id) = reused {
        reuse(check, id).await?;
    }
    check.begin("the channel that stays");
    echoed(&stays, hello()).await?;
    stays.close().await;
    Ok(json!({
        "localId": local,
        "remoteId": remote,
        "inBandId": reused,
        "inBandReused": reused.is_some() && (reused == local || reused == remote),
        "negotiatedReused": reused,
    }))
}

/// Closed here, seen there.
async fn close_here(check: &Check<'_>) -> Result<Option<u16>, String> {
    check.begin("close here");
    let channel = check.open_plain("echo:close-here").await?;
    echoed(&channel, Message::from("hello")).await?;
    let id = channel.id();
    channel.close().await;
    channel.closed().await;
    check.begin("close here, seen there");
    check.gone(channel.label()).await?;
    Ok(id)
}

/// Closed there, seen here.
async fn close_there(check: &Check<'_>) -> Result<Option<u16>, String> {
    check.begin("close there");
    let channel = check.open_plain("echo:close-there").await?;
    echoed(&channel, Message::from("hello")).await?;
    let id = channel.id();
    check
        .ask("close", json!({"label": channel.label()}))
        .await?;
    check.begin("close there, seen here");
    channel.closed().await;
    Ok(id)
}

/// The id of a closed channel carries a new one, twice.
async fn reuse(check: &Check<'_>, id: u16) -> Result<(), String> {
    for turn in 1..=2 {
        check.begin(format!("use id {id} again, turn {turn}"));
        let channel = negotiate(check, id).await?;
        echoed(&channel, Message::from("hello")).await?;
        channel.close().await;
        channel.closed().await;
        check.gone(channel.label()).await?;
    }
    Ok(())
}

async fn negotiate(check: &Check<'_>, id: u16) -> Result<DataChannel, String> {
    let label = check.label("echo:reuse");
    let options = ChannelOptions::default();
    let request = json!({"label": label, "id": id, "options": options});
    check.ask("negotiate", request).await?;
    let init: DataChannelInit = init_of(&options, Some(id));
    check.open(&label, init).await
}
