//! `iceRestart`: new credentials at both ends, and the channels live on.

use std::time::Instant;

use peerloom::webrtc::{IceConnectionState, Message, SessionDescription, SignalingState};
use serde_json::{Value, json};

use super::super::live::{States, make_offer};
use super::super::wire::Event;
use super::connect::millis;
use super::{Check, attribute, echoed};

/// Restarts ICE; whoever runs the peers carries the signals.
pub(super) async fn ice_restart(check: &Check<'_>) -> Result<Value, String> {
    let connection = check.driver.channels.connection();
    check.begin("open");
    let channel = check.open_plain("echo:restart").await?;
    echoed(&channel, Message::from("before")).await?;
    let local = ufrag(connection.local_description());
    let remote = ufrag(connection.remote_description());
    let started = Instant::now();
    check.begin("offer");
    let offer = make_offer(connection, true).await?;
    drop(check.driver.out.send(Event::Description(offer)).await);
    check.begin("answer");
    let answered = |_: &States| {
        connection.signaling_state() == SignalingState::Stable
            && ufrag(connection.remote_description()) != remote
    };
    check.wait_for(answered).await?;
    let new = ufrag(connection.local_description());
    if new == local {
        return Err("the offer kept the old credentials".into());
    }
    check.begin("connected again");
    check.wait_for(|states| is_up(states.ice)).await?;
    check.begin("the channel lives on");
    echoed(&channel, Message::from("after")).await?;
    channel.close().await;
    Ok(json!({"ms": millis(started.elapsed()), "before": local, "after": new}))
}

fn is_up(state: IceConnectionState) -> bool {
    matches!(
        state,
        IceConnectionState::Connected | IceConnectionState::Completed
    )
}

/// The ICE user name fragment of a description (RFC 8839, section 5.4).
fn ufrag(description: Option<SessionDescription>) -> Option<String> {
    attribute(&description?.sdp, "ice-ufrag").map(str::to_owned)
}
