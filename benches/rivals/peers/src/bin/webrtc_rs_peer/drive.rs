//! The checks this peer drives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;
use webrtc::peer_connection::peer_connection_state::RTCPeerConnectionState;

use crate::channel::{Channel, Role, send_patterned};
use crate::lines::{Fallible, number};
use crate::peer::Peer;

/// How long a connection, a channel or a reply may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
/// Between two questions about the same thing: the protocol has no way to be
/// told.
const PAUSE: Duration = Duration::from_millis(5);
/// Replies of the other side that have not been read yet.
const REPLIES: usize = 64;

/// What the checks share.
#[derive(Default)]
pub(crate) struct Driver {
    ctl: Option<(Arc<Channel>, mpsc::Receiver<Value>)>,
    rid: u64,
    serial: u64,
}

impl Peer {
    /// Runs one check.
    pub(crate) async fn check(self: &Arc<Self>, name: &str, args: &Value) -> Fallible<Value> {
        let mut driver = self.driver.lock().await;
        match name {
            "connect" => {
                let from = Instant::now();
                let reply = self.ask(&mut driver, json!({"op": "ping"})).await?;
                Ok(json!({"ms": from.elapsed().as_millis() as u64, "remote": {
                    "impl": reply["impl"], "version": reply["version"],
                }}))
            }
            "noConnect" => self.no_connect(args).await,
            "throughput" => self.throughput(&mut driver, args).await,
            other => Err(format!("cannot drive {other}").into()),
        }
    }

    async fn open(self: &Arc<Self>, label: &str, role: Role) -> Fallible<Arc<Channel>> {
        let dc = self.pc.create_data_channel(label, None).await?;
        let channel = self.adopt(dc, role);
        channel.opened_within(CONNECT_LIMIT).await?;
        Ok(channel)
    }

    async fn ask(self: &Arc<Self>, driver: &mut Driver, mut request: Value) -> Fallible<Value> {
        if driver.ctl.is_none() {
            let (replies, inbox) = mpsc::channel(REPLIES);
            driver.ctl = Some((self.open("ctl", Role::Replies(replies)).await?, inbox));
        }
        let Some((ctl, inbox)) = &mut driver.ctl else {
            return Err("no control channel".into());
        };
        driver.rid += 1;
        request["rid"] = driver.rid.into();
        ctl.raw()?
            .write_data_channel(&request.to_string().into(), true)
            .await?;
        loop {
            let reply = timeout(CONNECT_LIMIT, inbox.recv())
                .await?
                .ok_or("the control channel closed")?;
            if reply["rid"] == request["rid"] {
                return match reply["error"].as_str() {
                    Some(error) => Err(error.into()),
                    None => Ok(reply),
                };
            }
        }
    }

    /// Asks again and again until the answer is what was hoped for; the
    /// check's time limit ends it.
    async fn ask_until(
        self: &Arc<Self>,
        driver: &mut Driver,
        request: Value,
        hoped_for: impl Fn(&Value) -> bool,
    ) -> Fallible<Value> {
        let mut pause = tokio::time::interval(PAUSE);
        loop {
            pause.tick().await;
            let reply = self.ask(driver, request.clone()).await?;
            if hoped_for(&reply) {
                return Ok(reply);
            }
        }
    }

    /// The connection must not come up. Where the other side is the one to
    /// refuse, DTLS may be done here before its refusal arrives; then no
    /// channel must open.
    async fn no_connect(self: &Arc<Self>, args: &Value) -> Fallible<Value> {
        use RTCPeerConnectionState::{Closed, Connected, Failed};
        let dc = self.pc.create_data_channel("ctl", None).await?;
        let probe = self.adopt(dc, Role::Ignore);
        let tolerant = args["refuser"] == "other";
        let wait = Duration::from_millis(args["wait"].as_u64().unwrap_or(6000));
        let mut states = self.states.subscribe();
        let over = states.wait_for(|states| {
            (states.connection == Connected && !tolerant)
                || matches!(states.connection, Failed | Closed)
        });
        tokio::select! {
            states = over => {
                if states?.connection == Connected {
                    return Err("the connection came up".into());
                }
            }
            opened = probe.opened() => {
                opened?;
                return Err("a channel opened".into());
            }
            () = tokio::time::sleep(wait) => {}
        }
        let states = *self.states.borrow();
        Ok(json!({
            "iceConnected": states.ice_was_up,
            "connection": states.connection.to_string(),
        }))
    }

    async fn throughput(self: &Arc<Self>, driver: &mut Driver, args: &Value) -> Fallible<Value> {
        let size = args["size"].as_u64().unwrap_or(16_384) as usize;
        let bytes = args["bytes"].as_u64().unwrap_or(16 << 20) as usize;
        let up = args["dir"].as_str() != Some("down");
        let count = bytes.div_ceil(size) as u32;
        driver.serial += 1;
        let kind = if up { "sink" } else { "source" };
        let label = format!("{kind}:throughput-{}", driver.serial);
        let channel = self.open(&label, Role::Sink).await?;
        // A request that names the channel could otherwise overtake its
        // announcement, which travels on another stream.
        self.ask_until(driver, json!({"op": "channels"}), |reply| {
            let mut all = reply["channels"].as_array().into_iter().flatten();
            all.any(|entry| entry["label"] == label.as_str())
        })
        .await?;
        let from = Instant::now();
        let seen = if up {
            send_patterned(channel.raw()?, count, size).await?;
            let request = json!({"op": "sinkReport", "label": label});
            let all = |reply: &Value| reply["msgs"].as_u64() >= Some(count.into());
            self.ask_until(driver, request, all).await?
        } else {
            let request = json!({"op": "source", "label": label, "count": count, "size": size});
            self.ask(driver, request).await?;
            channel.counted(count.into()).await
        };
        let ms = from.elapsed().as_secs_f64() * 1e3;
        channel.raw()?.close().await?;
        judged(&seen, ms, if up { "up" } else { "down" })
    }
}

/// What was measured; an error when something was missing or wrong.
fn judged(seen: &Value, ms: f64, dir: &str) -> Fallible<Value> {
    let moved = number(seen, "bytes")? as f64;
    let bad = number(seen, "corrupt")? + number(seen, "dup")? + u64::from(seen["inOrder"] != true);
    let detail = json!({
        "dir": dir,
        "MB": moved / 1e6,
        "ms": ms,
        "MBps": moved / 1e3 / ms,
        "bad": bad,
        "gapMs": seen["gapMs"],
    });
    if bad > 0 {
        return Err(detail.to_string().into());
    }
    Ok(detail)
}
