//! One run of one case: starts both peers, carries what they signal, and has
//! the driver run the checks.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::candidates::Candidates;
use crate::cases::{Case, Tamper, Way};
use crate::process::{Input, Process};
use crate::relay::Relay;

/// Lines of the two peers that the runner has not looked at yet; a full queue
/// makes the peers' pipes wait.
const LINES: usize = 256;
/// A browser on a busy machine takes its time.
const START_LIMIT: Duration = Duration::from_secs(60);
const SETUP_LIMIT: Duration = Duration::from_secs(30);
/// Each check is given a limit of its own; this one catches a driver that hangs.
const CHECK_LIMIT: Duration = Duration::from_secs(200);
/// How long ICE may take to be up at both ends, once one has refused DTLS.
const REFUSAL_LIMIT: Duration = Duration::from_secs(5);
/// Lines of each session kept for the report of a failure.
const HISTORY: usize = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Driver,
    Responder,
}

impl Side {
    const BOTH: [Self; 2] = [Self::Driver, Self::Responder];

    fn other(self) -> Self {
        match self {
            Self::Driver => Self::Responder,
            Self::Responder => Self::Driver,
        }
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Driver => 0,
            Self::Responder => 1,
        }
    }
}

/// Stands for the checks of a session that did not start.
pub(crate) const START: &str = "start";

/// How one check went.
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    /// The name, and the direction where there are two.
    pub(crate) check: String,
    pub(crate) took: Duration,
    /// The driver's detail, or what went wrong.
    pub(crate) result: Result<Value, String>,
}

/// Runs `case` once; one outcome per check, the first failure of the session
/// itself standing for the checks it kept from running.
pub(crate) fn run(case: &Case, relay: Option<&Relay>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let from = Instant::now();
    let mut session = match Session::start(case, relay) {
        Ok(session) => session,
        Err(problem) => {
            outcomes.push(Outcome {
                name: START,
                check: START.to_owned(),
                took: from.elapsed(),
                result: Err(problem),
            });
            return outcomes;
        }
    };
    for check in &case.checks {
        let from = Instant::now();
        let result = session.check(check.name, &check.args);
        let stop = result.is_err() && std::env::var_os("PEERLOOM_INTEROP_KEEP_GOING").is_none();
        let label = match check.args["dir"].as_str() {
            Some(dir) => format!("{} {dir}", check.name),
            None => check.name.to_owned(),
        };
        let result = result.map_err(|problem| format!("{problem}\n{}", session.story()));
        outcomes.push(Outcome {
            name: check.name,
            check: label,
            took: from.elapsed(),
            result,
        });
        if stop {
            break;
        }
    }
    outcomes
}

struct Session<'a> {
    case: &'a Case,
    peers: [Process; 2],
    inputs: Receiver<(Side, Input)>,
    next_id: u64,
    ready: [bool; 2],
    /// Whether a side has said that its ICE is connected.
    ice: [bool; 2],
    /// Whether a side has said that its connection is up.
    connected: [bool; 2],
    candidates: Candidates,
    history: std::collections::VecDeque<String>,
}

/// What both peers are made with.
fn config(way: Way, relay: Option<&Relay>) -> Value {
    match (way, relay) {
        (Way::Mdns, _) => json!({"obfuscateHostAddresses": true}),
        (_, Some(relay)) => relay.config(way),
        (_, None) => json!({}),
    }
}

impl<'a> Session<'a> {
    fn start(case: &'a Case, relay: Option<&Relay>) -> Result<Self, String> {
        let (sender, inputs) = sync_channel(LINES);
        let start = |side| {
            let kind = case.kind(side);
            let to = sender.clone();
            let deliver = move |input| to.send((side, input)).is_ok();
            Process::start(kind.command(case.way, relay), deliver)
                .map_err(|error| format!("cannot start {kind}: {error}"))
        };
        let peers = [start(Side::Driver)?, start(Side::Responder)?];
        let mut session = Self {
            case,
            peers,
            inputs,
            next_id: 0,
            ready: [false; 2],
            ice: [false; 2],
            connected: [false; 2],
            candidates: Candidates::default(),
            history: std::collections::VecDeque::new(),
        };
        session
            .set_up(&config(case.way, relay))
            .map_err(|problem| format!("{problem}\n{}", session.story()))?;
        Ok(session)
    }

    fn set_up(&mut self, config: &Value) -> Result<(), String> {
        let end = Instant::now() + START_LIMIT;
        while self.ready != [true; 2] {
            self.step(end, "both peers ready")?;
        }
        for side in Side::BOTH {
            self.request(
                side,
                json!({"cmd": "create", "config": config}),
                SETUP_LIMIT,
            )?;
        }
        // A non-trickle peer answers only when it has gathered; the offer's
        // result may therefore come after its signal line.
        self.request(
            self.case.offerer,
            json!({"cmd": "offer", "iceRestart": false}),
            SETUP_LIMIT,
        )?;
        Ok(())
    }

    fn check(&mut self, name: &str, args: &Value) -> Result<Value, String> {
        let command = json!({"cmd": "check", "name": name, "args": args});
        let detail = self.request(Side::Driver, command, CHECK_LIMIT)?;
        if let Tamper::FingerprintTo(lied_to) = self.case.tamper {
            self.refused(lied_to)?;
        }
        self.candidates.judge(self.case, name == "connect")?;
        Ok(detail)
    }

    /// A wrong fingerprint shows in DTLS only, and to the side that was lied to.
    fn refused(&mut self, lied_to: Side) -> Result<(), String> {
        // A side that refuses at once may be done before the other has said
        // that its ICE is up.
        let end = Instant::now() + REFUSAL_LIMIT;
        while self.ice != [true; 2] && self.step(end, "ICE at both ends").is_ok() {}
        for side in Side::BOTH {
            self.ice[side.index()] |= !self.ice[side.index()] && self.began_dtls(side);
        }
        let kind = self.case.kind(lied_to);
        if self.ice != [true; 2] {
            return Err(format!(
                "ICE did not connect at both ends (driver, responder: {:?}), so nothing was proved",
                self.ice
            ));
        }
        if self.connected[lied_to.index()] {
            return Err(format!("{kind} was told a wrong fingerprint and connected"));
        }
        Ok(())
    }

    /// Whether a side that did not say that its ICE is up got as far as DTLS all the same, which runs on the pair that
    /// ICE has chosen: wrtc tells no more states once DTLS has failed.
    fn began_dtls(&mut self, side: Side) -> bool {
        let stats = self.request(side, json!({"cmd": "stats"}), REFUSAL_LIMIT);
        stats.is_ok_and(|stats| {
            let failed = stats["transport"][0]["dtlsState"] == "failed";
            failed && !stats["pair"].is_null()
        })
    }

    /// Sends a command and serves both peers until its result comes.
    fn request(
        &mut self,
        side: Side,
        mut command: Value,
        limit: Duration,
    ) -> Result<Value, String> {
        self.next_id += 1;
        let id = self.next_id;
        command["id"] = id.into();
        self.send(side, &command)?;
        let what = format!("the result of {}", command["cmd"]);
        let end = Instant::now() + limit;
        loop {
            if let Some((from, result)) = self.step(end, &what)?
                && from == side
                && result["id"] == id
            {
                let detail = result["detail"].clone();
                return if result["ok"] == true {
                    Ok(detail)
                } else {
                    Err(detail.to_string())
                };
            }
        }
    }

    fn send(&mut self, side: Side, line: &Value) -> Result<(), String> {
        let kind = self.case.kind(side);
        self.peers[side.index()]
            .send(line)
            .map_err(|error| format!("{kind} takes no line: {error}"))
    }

    /// Takes one input; a result is handed to the caller, a signal carried over.
    fn step(&mut self, end: Instant, what: &str) -> Result<Option<(Side, Value)>, String> {
        let left = end.saturating_duration_since(Instant::now());
        let (side, input) = match self.inputs.recv_timeout(left) {
            Ok(input) => input,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                return Err(format!("{what}: nothing came"));
            }
        };
        let kind = self.case.kind(side);
        let line = match input {
            Input::Line(line) => line,
            Input::Noise(text) => {
                return Err(format!("{kind} printed something that is not JSON: {text}"));
            }
            Input::End => {
                let last = self.peers[side.index()].last_words();
                return Err(format!(
                    "{kind} ended on its own while waiting for {what}: {last}"
                ));
            }
        };
        self.remember(format!("{kind}: {line}"));
        match line["ev"].as_str() {
            Some("ready") => self.ready[side.index()] = true,
            Some("result") => return Ok(Some((side, line))),
            Some("signal") => self.carry(side, line)?,
            Some("state") => {
                let up = matches!(line["ice"].as_str(), Some("connected" | "completed"));
                self.ice[side.index()] |= up;
                self.connected[side.index()] |= line["connection"] == "connected";
            }
            Some(_) | None => {}
        }
        Ok(None)
    }

    fn carry(&mut self, from: Side, mut line: Value) -> Result<(), String> {
        self.candidates.note(from, &line);
        let to = from.other();
        if self.case.tamper == Tamper::FingerprintTo(to)
            && let Some(sdp) = line["description"]["sdp"].as_str()
        {
            line["description"]["sdp"] = with_wrong_fingerprint(sdp)?.into();
        }
        if self.case.way == Way::Tcp {
            if let Some(sdp) = line["description"]["sdp"].as_str() {
                line["description"]["sdp"] = without_udp(sdp).into();
            }
            if line["candidate"]["candidate"].as_str().is_some_and(is_udp) {
                return Ok(());
            }
        }
        if let Some(fields) = line.as_object_mut() {
            fields.remove("ev");
            fields.insert("cmd".to_owned(), "signal".into());
        }
        self.send(to, &line)
    }

    fn remember(&mut self, line: String) {
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(line);
    }

    /// What happened last, for the report of a failure.
    fn story(&self) -> String {
        let mut story: Vec<String> = self.history.iter().cloned().collect();
        for side in Side::BOTH {
            let kind = self.case.kind(side);
            story.extend(
                self.peers[side.index()]
                    .stderr()
                    .iter()
                    .map(|line| format!("{kind} stderr: {line}")),
            );
        }
        story.join("\n")
    }
}

/// Whether this is a candidate over UDP.
fn is_udp(line: &str) -> bool {
    let candidate = line.strip_prefix("a=").unwrap_or(line);
    let mut words = candidate.split(' ');
    let first = words.next().unwrap_or_default();
    let transport = words.nth(1).unwrap_or_default();
    first.starts_with("candidate:") && transport.eq_ignore_ascii_case("udp")
}

/// A description without candidates over UDP.
fn without_udp(sdp: &str) -> String {
    let lines = sdp.split_inclusive('\n');
    lines.filter(|line| !is_udp(line)).collect()
}

/// Changes one digit of every fingerprint, so that it stays well-formed.
fn with_wrong_fingerprint(sdp: &str) -> Result<String, String> {
    let mut found = false;
    let lines = sdp.split_inclusive('\n').map(|line| {
        let Some((head, value)) = line
            .strip_prefix("a=fingerprint:")
            .and_then(|rest| rest.split_once(' '))
        else {
            return line.to_owned();
        };
        found = true;
        let changed = if value.starts_with('0') { "1" } else { "0" };
        format!("a=fingerprint:{head} {changed}{}", &value[1..])
    });
    let sdp: String = lines.collect();
    found
        .then_some(sdp)
        .ok_or_else(|| "a description without a fingerprint".to_owned())
}
