//! `connect` and `noConnect`.

use std::time::{Duration, Instant};

use peerloom::webrtc::ConnectionState;
use serde_json::{Value, json};

use super::super::live::States;
use super::Check;

/// `connect` has this long (peer protocol).
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(20);

/// How long `noConnect` watches a connection that neither comes up nor fails,
/// unless `wait` (ms) says otherwise (guess: several times what a connection
/// needs).
const WATCH: u64 = 6_000;

/// Connected, and the other side answers on `ctl`.
pub(super) async fn connect(check: &Check<'_>) -> Result<Value, String> {
    let started = Instant::now();
    check.begin("connected");
    let states = check
        .wait_for(|states| is_decided(states.connection))
        .await?;
    if states.connection != ConnectionState::Connected {
        return Err(match states.cause {
            Some(cause) => format!("the connection is {}: {cause}", states.connection),
            None => format!("the connection is {}", states.connection),
        });
    }
    let connected = started.elapsed();
    check.begin("ping");
    let remote = check.ask("ping", Value::Null).await?;
    Ok(json!({
        "connectedMs": millis(connected),
        "ms": millis(started.elapsed()),
        "remote": remote,
    }))
}

/// The connection must not come up, however long one waits.
///
/// Where the other side is the one to refuse (`refuser: "other"`), DTLS may be
/// done here before its refusal arrives; then no channel must open.
pub(super) async fn no_connect(check: &Check<'_>) -> Result<Value, String> {
    let started = Instant::now();
    let other_refuses = check.args.get("refuser").and_then(Value::as_str) == Some("other");
    check.begin("not connected");
    let up = |states: &States| states.ever_connected && !other_refuses;
    let over = check.wait_for(|states| {
        up(states)
            || matches!(
                states.connection,
                ConnectionState::Failed | ConnectionState::Closed
            )
    });
    let watch = Duration::from_millis(check.number("wait", WATCH));
    let states = tokio::select! {
        states = over => states?,
        () = tokio::time::sleep(watch) => check.driver.states.borrow().clone(),
        () = probe(check) => return Err("a channel opened".into()),
    };
    if up(&states) {
        return Err("the connection came up".into());
    }
    Ok(json!({
        "connection": states.connection.to_string(),
        "ice": states.ice.to_string(),
        "iceConnected": states.ice_ups > 0,
        "cause": states.cause,
        "ms": millis(started.elapsed()),
    }))
}

/// Resolves only when a channel opens.
async fn probe(check: &Check<'_>) {
    let opened = check.open_plain("probe").await;
    if opened.is_err() {
        std::future::pending::<()>().await;
    }
}

fn is_decided(state: ConnectionState) -> bool {
    matches!(
        state,
        ConnectionState::Connected | ConnectionState::Failed | ConnectionState::Closed
    )
}

/// Milliseconds with a fraction.
pub(super) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
