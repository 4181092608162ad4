//! One run of one case: a peer at each site, and what they signal carried
//! between them.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cases::{Case, Strain, Way};
use crate::internet::{Internet, SERVER};
use crate::process::{Input, Process};
use crate::site::Site;

/// Lines of the peers that were not looked at yet; a full queue makes their
/// pipes wait.
const LINES: usize = 256;
/// How long a peer may take for one command; the checks end sooner by themselves.
const LIMIT: Duration = Duration::from_secs(90);
/// How long a connection that must not come up is watched: longer than a
/// relayed pair takes, which is the slowest.
const WATCH_MS: u32 = 10_000;
/// Messages sent in order over what was set up.
const MESSAGES: u32 = 500;
/// Bytes of each.
const SIZE: u32 = 1024;
/// Bytes sent while an address changes.
const BYTES: u64 = 16 * 1024 * 1024;
/// How long nothing may arrive while it does.
const SILENCE_LIMIT_MS: f64 = 2_000.0;

/// Runs `case`; says how the two ends reached each other, or what went wrong.
pub(crate) fn run(internet: &Internet, case: &Case) -> Result<String, String> {
    let sites = [
        Site::new(internet, case.nats[0], case.strain)?,
        Site::new(internet, case.nats[1], case.strain)?,
    ];
    let mut session = Session::start(internet, &sites)?;
    let outcome = session.drive(case, &sites[0]);
    outcome.map_err(|problem| format!("{problem}\n{}", session.story()))
}

struct Session {
    peers: [Process; 2],
    lines: Receiver<(usize, Input)>,
    next_id: u64,
    /// Results that nobody has asked for yet.
    results: BTreeMap<(usize, u64), Value>,
    /// Whether a peer that needs to negotiate is told to.
    renegotiates: bool,
    told: Vec<String>,
    began: Instant,
}

impl Session {
    fn start(internet: &Internet, sites: &[Site; 2]) -> Result<Self, String> {
        let (sender, lines) = sync_channel(LINES);
        let peer = |side: usize| {
            let to = sender.clone();
            let deliver = move |input| to.send((side, input)).is_ok();
            peer(internet, &sites[side], deliver)
        };
        Ok(Self {
            peers: [peer(0)?, peer(1)?],
            lines,
            next_id: 0,
            results: BTreeMap::new(),
            renegotiates: false,
            told: Vec::new(),
            began: Instant::now(),
        })
    }

    fn drive(&mut self, case: &Case, mover: &Site) -> Result<String, String> {
        let config = json!({"iceServers": case.servers.config()});
        for side in [0, 1] {
            self.request(side, json!({"cmd": "create", "config": config}))?;
        }
        self.request(0, json!({"cmd": "offer"}))?;
        let expected = case.expected();
        if expected == Way::Impossible {
            self.check("noConnect", json!({"wait": WATCH_MS}))?;
            return Ok(expected.to_string());
        }
        self.check("connect", json!({}))?;
        let found = match case.strain {
            Strain::None | Strain::Loss | Strain::Delay => {
                self.check("ordered", json!({"count": MESSAGES, "size": SIZE}))?;
                String::new()
            }
            Strain::Move => self.sent_while_moving(mover)?,
        };
        let stats = self.request(0, json!({"cmd": "stats"}))?;
        Ok(format!("{}{found}", way(&stats, expected)?))
    }

    /// The sender's address changes in the midst of many messages; all must arrive.
    fn sent_while_moving(&mut self, mover: &Site) -> Result<String, String> {
        self.renegotiates = true;
        let args = json!({"bytes": BYTES, "size": SIZE});
        let sending = self.command(
            0,
            json!({"cmd": "check", "name": "throughput", "args": args}),
        )?;
        let mut received = 0;
        while received < BYTES / 16 && !self.results.contains_key(&(0, sending)) {
            let stats = self.request(1, json!({"cmd": "stats"}))?;
            let bytes = &stats["stats"]["transport"][0]["bytesReceived"];
            received = bytes.as_u64().unwrap_or_default();
        }
        if self.results.contains_key(&(0, sending)) {
            return Err("everything had arrived before the address changed".to_owned());
        }
        mover.move_host()?;
        let detail = self.result(0, sending)?;
        if detail["bad"] != 0 {
            return Err(format!("messages were lost, doubled or damaged: {detail}"));
        }
        Ok(format!(
            ", {} MB, none lost, {}",
            detail["MB"],
            silence(detail["gapMs"].as_f64())?
        ))
    }

    fn check(&mut self, name: &str, args: Value) -> Result<Value, String> {
        self.request(0, json!({"cmd": "check", "name": name, "args": args}))
            .map_err(|problem| format!("{name}: {problem}"))
    }

    /// Sends a command and waits for its result.
    fn request(&mut self, side: usize, command: Value) -> Result<Value, String> {
        let id = self.command(side, command)?;
        self.result(side, id)
    }

    /// Sends a command; its number.
    fn command(&mut self, side: usize, mut command: Value) -> Result<u64, String> {
        self.next_id += 1;
        command["id"] = self.next_id.into();
        self.tell(side, &command)?;
        Ok(self.next_id)
    }

    fn tell(&mut self, side: usize, line: &Value) -> Result<(), String> {
        let told = self.peers[side].send(line);
        told.map_err(|error| format!("a peer takes no line: {error}"))
    }

    /// Serves both peers until the result of a command is there.
    fn result(&mut self, side: usize, id: u64) -> Result<Value, String> {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(result) = self.results.remove(&(side, id)) {
                let detail = result["detail"].clone();
                return if result["ok"] == true {
                    Ok(detail)
                } else {
                    Err(detail.to_string())
                };
            }
            self.step(end)
                .map_err(|problem| format!("waiting for peer {side}: {problem}"))?;
        }
    }

    /// Takes one line of a peer.
    fn step(&mut self, end: Instant) -> Result<(), String> {
        let left = end.saturating_duration_since(Instant::now());
        let (from, line) = self
            .lines
            .recv_timeout(left)
            .map_err(|_| "nothing came".to_owned())?;
        let line = match line {
            Input::Line(line) => line,
            Input::Noise(text) => json!({ "noise": text }),
            Input::End => return Err(format!("peer {from} ended by itself")),
        };
        let at = self.began.elapsed().as_secs_f64();
        self.told.push(format!("{at:.3} s, {from}: {line}"));
        match line["ev"].as_str() {
            Some("signal") => self.carry(from, line)?,
            Some("result") => {
                if let Some(id) = line["id"].as_u64() {
                    self.results.insert((from, id), line);
                }
            }
            Some("log") if self.renegotiates && line["msg"] == "NegotiationNeeded" => {
                self.command(from, json!({"cmd": "offer"}))?;
            }
            Some(_) | None => {}
        }
        Ok(())
    }

    fn carry(&mut self, from: usize, mut line: Value) -> Result<(), String> {
        if let Some(fields) = line.as_object_mut() {
            fields.remove("ev");
            fields.insert("cmd".to_owned(), "signal".into());
        }
        self.tell(1 - from, &line)
    }

    /// What was said, for the report of a failure.
    fn story(&mut self) -> String {
        for (side, peer) in self.peers.iter().enumerate() {
            let errors = peer.stderr();
            let errors = errors.iter().map(|line| format!("{side} stderr: {line}"));
            self.told.extend(errors);
        }
        self.told.join("\n")
    }
}

/// Whether the path in use is of the expected kind: relayed candidates have the
/// server's address, and nothing else has.
fn way(stats: &Value, expected: Way) -> Result<String, String> {
    let pair = &stats["stats"]["pair"];
    let end = |end: &str| pair[end].as_str().unwrap_or_default().to_owned();
    let (local, remote) = (end("local"), end("remote"));
    let relayed = |address: &str| address.starts_with(&format!("{SERVER}:"));
    let found = match (relayed(&local), relayed(&remote)) {
        (false, false) => Way::Direct,
        (true, false) | (false, true) | (true, true) => Way::Relayed,
    };
    if found == expected {
        Ok(format!("{found}, {local} to {remote}"))
    } else {
        Err(format!(
            "expected {expected}, but it is {found}, {local} to {remote}"
        ))
    }
}

/// A `peerloom peer` at a site.
fn peer(
    internet: &Internet,
    site: &Site,
    deliver: impl FnMut(Input) -> bool + Send + 'static,
) -> Result<Process, String> {
    let mut command = site.host().command(env!("CARGO_BIN_EXE_peerloom"));
    command
        .arg("peer")
        .args(site.accepts().then_some("--listen-tcp=0.0.0.0:443"))
        .env("SSL_CERT_FILE", internet.authority());
    Process::start(command, deliver).map_err(|error| error.to_string())
}

/// How a silence compares with the limit. A machine that is busy may miss it, which is no failure but has to be seen.
fn silence(ms: Option<f64>) -> Result<String, String> {
    let ms = ms.ok_or("the silence was not measured")?;
    Ok(if ms > SILENCE_LIMIT_MS {
        format!("MISSED: silent for {ms} ms, longer than {SILENCE_LIMIT_MS}")
    } else {
        format!("longest silence {ms} ms of {SILENCE_LIMIT_MS}")
    })
}
