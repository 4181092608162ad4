//! `iceRestart` and `renegotiate`: a new offer, from here and from there, and
//! the channels live on.

use std::time::{Duration, Instant};

use peerloom::webrtc::{DataChannel, Message, SessionDescription};
use serde_json::{Value, json};

use super::super::live::is_up;
use super::connect::millis;
use super::{Check, attribute, echoed};

/// The pause before the other side is asked again for its pair: nothing tells of a change.
const PAUSE: Duration = Duration::from_millis(20);

/// What a peer says in `features` when it has the `offer` request.
const OFFERS: &str = "offer";

/// New credentials at both ends.
pub(super) async fn ice_restart(check: &Check<'_>) -> Result<Value, String> {
    negotiate(check, true).await
}

/// The same credentials at both ends.
pub(super) async fn renegotiate(check: &Check<'_>) -> Result<Value, String> {
    negotiate(check, false).await
}

/// Negotiates again, from here and from there (`by` asks for one of the two:
/// `self` or `other`); whoever runs the peers carries the signals.
async fn negotiate(check: &Check<'_>, restart: bool) -> Result<Value, String> {
    let by = check.args.get("by").and_then(Value::as_str);
    check.begin("open");
    let channel = check.open_plain("echo:negotiate").await?;
    echoed(&channel, Message::from("before")).await?;
    let started = Instant::now();
    if by != Some("other") {
        our_turn(check, &channel, restart).await?;
    }
    let theirs = by != Some("self") && their_turn(check, &channel, restart).await?;
    if by == Some("other") && !theirs {
        return Err("the other side cannot be asked to offer".into());
    }
    channel.close().await;
    Ok(json!({"ms": millis(started.elapsed()), "theirs": theirs}))
}

/// This side offers.
async fn our_turn(check: &Check<'_>, channel: &DataChannel, restart: bool) -> Result<(), String> {
    check.begin("offer");
    let before = Before::of(check, restart).await?;
    check.driver.channels.offer(restart).await?;
    settle(check, channel, &before).await
}

/// The other side offers; false where it cannot be asked to.
async fn their_turn(
    check: &Check<'_>,
    channel: &DataChannel,
    restart: bool,
) -> Result<bool, String> {
    check.begin("what the other side can do");
    let features = check.ask("ping", Value::Null).await?["features"].clone();
    let features = features.as_array().into_iter().flatten();
    if !features.into_iter().any(|feature| feature == OFFERS) {
        return Ok(false);
    }
    check.begin("their offer");
    let before = Before::of(check, restart).await?;
    check.ask(OFFERS, json!({"iceRestart": restart})).await?;
    settle(check, channel, &before).await?;
    Ok(true)
}

/// Waits for the answer, compares the descriptions with those before, and uses
/// the channel.
async fn settle(check: &Check<'_>, channel: &DataChannel, before: &Before) -> Result<(), String> {
    let step = check.step();
    check.begin(format!("{step}: answered"));
    check
        .wait_for(|states| states.negotiations > before.negotiations)
        .await?;
    check.begin(format!("{step}: descriptions"));
    let after = Descriptions::of(check);
    let restart = before.restart;
    compare("here", &before.descriptions.local, &after.local, restart)?;
    compare("there", &before.descriptions.remote, &after.remote, restart)?;
    check.begin(format!("{step}: connected"));
    // What a restart replaces stays up until it begins, and carries on until it is over.
    let ups = before.ice_ups + u64::from(restart);
    check
        .wait_for(|states| is_up(states.ice) && states.ice_ups >= ups)
        .await?;
    if before.pair_shown {
        check.begin(format!("{step}: over at the other side"));
        moved(check).await?;
    }
    check.begin(format!("{step}: the channel lives on"));
    echoed(channel, Message::from("after")).await?;
    check.begin(format!("{step}: a new channel opens"));
    let another = check.open_plain("echo:negotiated").await?;
    echoed(&another, Message::from("new")).await?;
    another.close().await;
    Ok(())
}

/// Waits until the other side sends from a candidate of its new description, as after a restart that is
/// over there. It need not be the pair in use here: where every check nominates, each end may keep
/// another one.
async fn moved(check: &Check<'_>) -> Result<(), String> {
    loop {
        let theirs = ports(&check.ask("stats", Value::Null).await?["stats"]);
        let description = check.driver.channels.connection().remote_description();
        let told = candidate_ports(&description.map(|it| it.sdp).unwrap_or_default());
        if theirs.is_some_and(|[local, _]| told.contains(&local)) {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The ports of the candidates in a description (RFC 8839, section 5.1).
fn candidate_ports(sdp: &str) -> Vec<u64> {
    let candidates = sdp
        .lines()
        .filter_map(|line| line.strip_prefix("a=candidate:"));
    let port = |line: &str| line.split(' ').nth(5)?.parse().ok();
    candidates.filter_map(port).collect()
}

/// The ports of the pair in use, its own first, in statistics as `peerloom peer` writes them or as the
/// other peers do. Addresses may be hidden.
fn ports(stats: &Value) -> Option<[u64; 2]> {
    let port = |end: &Value| match end.as_str() {
        Some(address) => address.rsplit_once(':')?.1.parse().ok(),
        None => end["port"].as_u64(),
    };
    Some([
        port(&stats["pair"]["local"])?,
        port(&stats["pair"]["remote"])?,
    ])
}

/// How things were before an offer.
struct Before {
    restart: bool,
    descriptions: Descriptions,
    negotiations: u64,
    ice_ups: u64,
    /// Whether the other side shows which pair it uses, so that the end of a restart can be seen there.
    pair_shown: bool,
}

impl Before {
    async fn of(check: &Check<'_>, restart: bool) -> Result<Self, String> {
        let stats = check.ask("stats", Value::Null).await?;
        let states = check.driver.states.borrow();
        Ok(Self {
            restart,
            descriptions: Descriptions::of(check),
            negotiations: states.negotiations,
            ice_ups: states.ice_ups,
            pair_shown: restart && ports(&stats["stats"]).is_some(),
        })
    }
}

/// What a restart changes in a description, and what nothing may change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Parameters {
    /// RFC 8839, section 5.4.
    ufrag: Option<String>,
    /// RFC 8839, section 5.4.
    password: Option<String>,
    /// RFC 8122, section 5.
    fingerprint: Option<String>,
}

impl Parameters {
    fn of(description: Option<SessionDescription>) -> Self {
        let sdp = description.map(|description| description.sdp);
        let value = |name| attribute(sdp.as_deref().unwrap_or_default(), name).map(str::to_owned);
        Self {
            ufrag: value("ice-ufrag"),
            password: value("ice-pwd"),
            fingerprint: value("fingerprint"),
        }
    }
}

/// Of both ends.
struct Descriptions {
    local: Parameters,
    remote: Parameters,
}

impl Descriptions {
    fn of(check: &Check<'_>) -> Self {
        let connection = check.driver.channels.connection();
        Self {
            local: Parameters::of(connection.local_description()),
            remote: Parameters::of(connection.remote_description()),
        }
    }
}

/// A restart needs a new user name fragment and password (RFC 8839, section
/// 4.4.1.1.1); without one they stay. The fingerprint stays.
fn compare(
    end: &str,
    before: &Parameters,
    after: &Parameters,
    restart: bool,
) -> Result<(), String> {
    if before.fingerprint != after.fingerprint {
        return Err(format!("another fingerprint {end}"));
    }
    let changed = before.ufrag != after.ufrag && before.password != after.password;
    let kept = before.ufrag == after.ufrag && before.password == after.password;
    match restart {
        true if !changed => Err(format!("the old credentials {end} after a restart")),
        false if !kept => Err(format!("new credentials {end} without a restart")),
        true | false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(ufrag: &str, password: &str) -> Parameters {
        Parameters {
            ufrag: Some(ufrag.into()),
            password: Some(password.into()),
            fingerprint: Some("sha-256 AA".into()),
        }
    }

    #[test]
    fn a_restart_changes_both_credentials_and_nothing_else() {
        let old = parameters("a", "b");
        assert_eq!(compare("here", &old, &parameters("c", "d"), true), Ok(()));
        for half in [parameters("c", "b"), parameters("a", "d"), old.clone()] {
            assert!(compare("here", &old, &half, true).is_err());
        }
        let other = Parameters {
            fingerprint: Some("sha-256 BB".into()),
            ..parameters("c", "d")
        };
        assert!(compare("here", &old, &other, true).is_err());
    }

    #[test]
    fn the_pair_is_found_in_both_ways_of_writing_it() {
        let ours = json!({"pair": {"local": "[fd00::2]:1000", "remote": "192.0.2.2:2000"}});
        assert_eq!(ports(&ours), Some([1000, 2000]));
        let page = json!({"pair": {"local": {"port": 2000}, "remote": {"port": 1000}}});
        assert_eq!(ports(&page), Some([2000, 1000]));
        for none in [
            json!({"pair": null}),
            json!({"pair": {"local": {"port": 1}}}),
        ] {
            assert_eq!(ports(&none), None);
        }
    }

    #[test]
    fn the_ports_of_candidates_are_found() {
        let sdp = "a=mid:0\r\na=candidate:1 1 udp 21 192.0.2.2 3000 typ host\r\na=candidate:x\r\n";
        assert_eq!(candidate_ports(sdp), [3000]);
    }

    #[test]
    fn a_negotiation_without_a_restart_keeps_all() {
        let old = parameters("a", "b");
        assert_eq!(compare("here", &old, &old, false), Ok(()));
        for new in [parameters("c", "b"), parameters("a", "d")] {
            assert!(compare("here", &old, &new, false).is_err());
        }
    }
}
