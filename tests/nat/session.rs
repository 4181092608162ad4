//! One run of one case: a peer at each site, and what they signal carried
//! between them.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cases::{Case, Way};
use crate::internet::{Internet, SERVER};
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

/// Runs `case`; says how the two ends reached each other, or what went wrong.
pub(crate) fn run(internet: &Internet, case: &Case) -> Result<String, String> {
    let sites = [
        Site::new(internet, case.nats[0], case.strain)?,
        Site::new(internet, case.nats[1], case.strain)?,
    ];
    let mut session = Session::start(internet, &sites)?;
    let outcome = session.drive(case);
    outcome.map_err(|problem| format!("{problem}\n{}", session.story()))
}

struct Session {
    peers: [Peer; 2],
    lines: Receiver<(usize, Option<Value>)>,
    next_id: u64,
    told: Vec<String>,
}

impl Session {
    fn start(internet: &Internet, sites: &[Site; 2]) -> Result<Self, String> {
        let (sender, lines) = sync_channel(LINES);
        let peer = |side: usize| Peer::start(internet, &sites[side], side, sender.clone());
        Ok(Self {
            peers: [peer(0)?, peer(1)?],
            lines,
            next_id: 0,
            told: Vec::new(),
        })
    }

    fn drive(&mut self, case: &Case) -> Result<String, String> {
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
        self.check("ordered", json!({"count": MESSAGES, "size": SIZE}))?;
        let stats = self.request(0, json!({"cmd": "stats"}))?;
        way(&stats, expected)
    }

    fn check(&mut self, name: &str, args: Value) -> Result<Value, String> {
        self.request(0, json!({"cmd": "check", "name": name, "args": args}))
            .map_err(|problem| format!("{name}: {problem}"))
    }

    /// Sends a command and serves both peers until its result comes.
    fn request(&mut self, side: usize, mut command: Value) -> Result<Value, String> {
        self.next_id += 1;
        command["id"] = self.next_id.into();
        self.peers[side].send(&command)?;
        let end = Instant::now() + LIMIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let (from, line) = self
                .lines
                .recv_timeout(left)
                .map_err(|_| format!("nothing came after {command}"))?;
            let line = line.ok_or_else(|| format!("peer {from} ended by itself"))?;
            self.told.push(format!("{from}: {line}"));
            match line["ev"].as_str() {
                Some("signal") => self.carry(from, line)?,
                Some("result") if from == side && line["id"] == command["id"] => {
                    return if line["ok"] == true {
                        Ok(line["detail"].clone())
                    } else {
                        Err(line["detail"].to_string())
                    };
                }
                Some(_) | None => {}
            }
        }
    }

    fn carry(&mut self, from: usize, mut line: Value) -> Result<(), String> {
        if let Some(fields) = line.as_object_mut() {
            fields.remove("ev");
            fields.insert("cmd".to_owned(), "signal".into());
        }
        self.peers[1 - from].send(&line)
    }

    /// What was said, for the report of a failure.
    fn story(&mut self) -> String {
        for (side, peer) in self.peers.iter_mut().enumerate() {
            let errors = peer.end();
            self.told
                .extend(errors.lines().map(|line| format!("{side} stderr: {line}")));
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
struct Peer {
    child: Child,
    stdin: Option<ChildStdin>,
    errors: Option<thread::JoinHandle<String>>,
}

impl Peer {
    fn start(
        internet: &Internet,
        site: &Site,
        side: usize,
        lines: SyncSender<(usize, Option<Value>)>,
    ) -> Result<Self, String> {
        let mut child = site
            .host()
            .command(env!("CARGO_BIN_EXE_peerloom"))
            .arg("peer")
            .env("SSL_CERT_FILE", internet.authority())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        thread::spawn(move || read(stdout, side, &lines));
        let mut stderr = child.stderr.take().ok_or("no stderr")?;
        let errors = thread::spawn(move || {
            let mut text = String::new();
            drop(stderr.read_to_string(&mut text));
            text
        });
        Ok(Self {
            stdin: child.stdin.take(),
            child,
            errors: Some(errors),
        })
    }

    fn send(&mut self, line: &Value) -> Result<(), String> {
        let Some(stdin) = &mut self.stdin else {
            return Ok(());
        };
        writeln!(stdin, "{line}").map_err(|error| format!("a peer takes no line: {error}"))
    }

    /// Ends it; what it wrote on stderr.
    fn end(&mut self) -> String {
        drop(self.stdin.take());
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
        let errors = self.errors.take().map(thread::JoinHandle::join);
        errors.and_then(Result::ok).unwrap_or_default()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.end());
    }
}

fn read(stdout: impl Read, side: usize, lines: &SyncSender<(usize, Option<Value>)>) {
    let read = BufReader::new(stdout).lines().map_while(Result::ok);
    for line in read {
        let line = serde_json::from_str(&line).unwrap_or_else(|_| json!({"noise": line}));
        if lines.send((side, Some(line))).is_err() {
            return;
        }
    }
    drop(lines.send((side, None)));
}
