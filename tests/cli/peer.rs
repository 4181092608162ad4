//! Two `peerloom peer` processes; the test carries the signals.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::peerloom;

/// Fails a test that would hang; never waited out in a passing run.
const PATIENCE: Duration = Duration::from_secs(120);

/// One peer process. Its lines come tagged with its number.
struct Peer {
    child: Child,
    input: ChildStdin,
}

/// Two of them and everything they say.
struct Pair {
    peers: [Peer; 2],
    lines: Receiver<(usize, Value)>,
    next_id: u64,
    tamper: fn(&mut Value),
}

impl Pair {
    fn start() -> Self {
        let (tagged, lines) = channel();
        let peers = [0, 1].map(|index| {
            let mut child = peerloom()
                .args(["peer", "--bind", "127.0.0.1:0"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("a peer starts");
            let input = child.stdin.take().expect("piped");
            let output = BufReader::new(child.stdout.take().expect("piped"));
            let tagged = tagged.clone();
            thread::spawn(move || {
                for line in output.lines() {
                    let line = line.expect("text");
                    let value = serde_json::from_str(&line).expect("JSON");
                    if tagged.send((index, value)).is_err() {
                        return;
                    }
                }
            });
            Peer { child, input }
        });
        Self {
            peers,
            lines,
            next_id: 0,
            tamper: |_| {},
        }
    }

    /// Two peers with a connection under way, offered by peer 0.
    fn connecting(tamper: fn(&mut Value)) -> Self {
        let mut pair = Self::start();
        pair.tamper = tamper;
        for peer in [0, 1] {
            assert_ok(&pair.ask(peer, json!({"cmd": "create"})));
        }
        assert_ok(&pair.ask(0, json!({"cmd": "offer"})));
        pair
    }

    fn connected() -> Self {
        let mut pair = Self::connecting(|_| {});
        assert_ok(&pair.check(0, "connect", json!({})));
        pair
    }

    fn send(&mut self, peer: usize, line: &Value) {
        writeln!(self.peers[peer].input, "{line}").expect("the peer reads");
    }

    /// Sends a command and returns its result; signals are carried meanwhile.
    fn ask(&mut self, peer: usize, mut command: Value) -> Value {
        self.next_id += 1;
        command["id"] = self.next_id.into();
        self.send(peer, &command);
        let id = json!(self.next_id);
        self.wait_for(peer, |line| line["ev"] == "result" && line["id"] == id)
    }

    fn check(&mut self, peer: usize, name: &str, args: Value) -> Value {
        self.ask(peer, json!({"cmd": "check", "name": name, "args": args}))
    }

    fn next_line(&self) -> (usize, Value) {
        self.lines.recv_timeout(PATIENCE).expect("both peers run")
    }

    /// The next line of a peer that is wanted; signals are carried meanwhile.
    fn wait_for(&mut self, peer: usize, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let (from, line) = self.next_line();
            if line["ev"] == "signal" {
                self.carry(from, line);
            } else if from == peer && wanted(&line) {
                return line;
            }
        }
    }

    fn carry(&mut self, from: usize, mut line: Value) {
        (self.tamper)(&mut line);
        line["cmd"] = "signal".into();
        self.send(1 - from, &line);
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for peer in &mut self.peers {
            drop(peer.child.kill());
            drop(peer.child.wait());
        }
    }
}

fn assert_ok(result: &Value) {
    assert_eq!(result["ok"], true, "{result}");
}

#[test]
fn a_peer_says_what_it_is_and_leaves_on_exit() {
    let mut pair = Pair::start();
    for _ in [0, 1] {
        // In whichever order they come up.
        let (_, ready) = pair.next_line();
        assert_eq!(ready["ev"], "ready");
        assert_eq!(ready["impl"], "peerloom");
        assert!(ready["checks"].as_array().is_some_and(|all| all.len() >= 9));
    }
    pair.send(0, &json!({"cmd": "exit"}));
    assert!(pair.peers[0].child.wait().expect("ends").success());
}

#[test]
fn the_end_of_stdin_ends_a_peer() {
    let output = peerloom()
        .arg("peer")
        .stdin(Stdio::null())
        .output()
        .expect("runs");
    assert!(output.status.success());
    assert_eq!(crate::json_lines(&output)[0]["ev"], "ready");
}

#[test]
fn wrong_lines_are_answered_and_survived() {
    let mut pair = Pair::start();
    let result = pair.ask(0, json!({"cmd": "dance"}));
    assert_eq!(result["ok"], false);
    let result = pair.ask(0, json!({"cmd": "offer"}));
    assert_eq!(result["ok"], false);
    writeln!(pair.peers[0].input, "no JSON at all").expect("the peer reads");
    pair.wait_for(0, |line| line["ev"] == "log");
    assert_ok(&pair.ask(0, json!({"cmd": "create"})));
    let result = pair.ask(0, json!({"cmd": "create"}));
    assert_eq!(result["ok"], false);
    let result = pair.check(0, "levitate", json!({}));
    assert_eq!(result["ok"], false);
    let media = pair.ask(1, json!({"cmd": "create", "media": ["audio"]}));
    assert_eq!(media["ok"], false);
}

/// Every check, driven from the given side of one connection.
fn every_check(driver: usize) {
    let mut pair = Pair::connected();
    assert_ok(&pair.check(driver, "connect", json!({})));
    let channels = pair.check(driver, "channels", json!({}));
    assert_ok(&channels);
    assert_eq!(channels["detail"]["channels"], 11);
    assert_ok(&pair.check(driver, "sizes", json!({})));
    assert_ok(&pair.check(driver, "bufferedAmount", json!({})));
    assert_ok(&pair.check(driver, "ordered", json!({"count": 10_000})));
    assert_ok(&pair.check(driver, "unreliable", json!({"count": 1_000})));
    assert_ok(&pair.check(driver, "close", json!({})));
    for dir in ["up", "down"] {
        let args = json!({"bytes": 4_000_000, "size": 16_384, "dir": dir});
        let result = pair.check(driver, "throughput", args);
        assert_ok(&result);
        assert_eq!(result["detail"]["bad"], 0, "{result}");
    }
    assert_ok(&pair.check(driver, "iceRestart", json!({})));
    assert_ok(&pair.check(driver, "identity", json!({})));
    // The channels are where the first round left them: the ids are free.
    assert_ok(&pair.check(driver, "channels", json!({})));
    assert_ok(&pair.ask(driver, json!({"cmd": "stats"})));
    assert_ok(&pair.ask(driver, json!({"cmd": "close"})));
}

#[test]
fn the_offerer_drives_every_check() {
    every_check(0);
}

#[test]
fn the_answerer_drives_every_check() {
    every_check(1);
}

#[test]
fn a_wrong_fingerprint_does_not_connect() {
    let mut pair = Pair::connecting(|line| {
        // Looking for it in a candidate's line would add it there.
        if let Some(sdp) = line.pointer_mut("/description/sdp") {
            *sdp = flip_fingerprint(sdp.as_str().expect("text")).into();
        }
    });
    for peer in [0, 1] {
        let result = pair.check(peer, "noConnect", json!({}));
        assert_ok(&result);
        let seen = &result["detail"];
        assert_eq!(seen["connection"], "failed", "{result}");
        assert_eq!(seen["iceConnected"], true, "{result}");
        assert!(
            ["connected", "completed"]
                .map(Value::from)
                .contains(&seen["ice"]),
            "{result}"
        );
        let cause = seen["cause"].as_str().expect("a cause");
        assert!(cause.contains("fingerprint"), "{cause}");
    }
    let result = pair.check(0, "connect", json!({"timeout": 500}));
    assert_eq!(result["ok"], false);
    assert_eq!(result["detail"]["step"], "connected");
}

#[test]
fn a_connection_that_comes_up_fails_no_connect() {
    let mut pair = Pair::connected();
    assert_eq!(pair.check(0, "noConnect", json!({}))["ok"], false);
}

/// The same description with another fingerprint of the same length.
fn flip_fingerprint(sdp: &str) -> String {
    let flip = |line: &str| match line.strip_prefix("a=fingerprint:sha-256 ") {
        Some(hex) => {
            let flipped: String = hex
                .chars()
                .map(|c| match c {
                    '0' => '1',
                    '1'..='9' | 'A'..='F' => '0',
                    other => other,
                })
                .collect();
            format!("a=fingerprint:sha-256 {flipped}")
        }
        None => line.to_owned(),
    };
    let lines: Vec<String> = sdp.split("\r\n").map(flip).collect();
    lines.join("\r\n")
}
