//! `peerloom up` and two `peerloom join`, talking to each other.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::peerloom;

/// A node process on loopback that keeps nothing.
struct Node {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Node {
    fn start(args: &[&str]) -> Self {
        Self::keeping(args, &["--guest"])
    }

    /// A node that keeps what it learns as `kept` says.
    fn keeping(args: &[&str], kept: &[&str]) -> Self {
        let mut child = peerloom()
            .args(args)
            .args(kept)
            .args(["--json", "--no-mdns", "--bind", "127.0.0.1:0"])
            .args(["--listen", "/ip4/127.0.0.1/udp/0/quic-v1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a node starts");
        let input = child.stdin.take().expect("piped");
        let output = child.stdout.take().expect("piped");
        Self {
            child,
            input,
            lines: BufReader::new(output).lines(),
        }
    }

    /// The next line about this event.
    fn wait_for(&mut self, event: &str) -> Value {
        self.wait_until(|line| line["event"] == event)
    }

    fn wait_until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.lines.next().expect("the node runs").expect("text");
            let line: Value = serde_json::from_str(&line).expect("JSON");
            if wanted(&line) {
                return line;
            }
        }
    }

    fn say(&mut self, line: &Value) {
        writeln!(self.input, "{line}").expect("the node reads");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// It says where its gossip and its peer connections are, ports included.
fn listens(introduced: &Value) {
    let addresses = introduced["addresses"].as_array().expect("addresses");
    assert_eq!(addresses.len(), 1, "{introduced}");
    let socket = introduced["sockets"][0].as_str().expect("a socket");
    let socket: std::net::SocketAddr = socket.parse().expect("an address");
    assert!(socket.ip().is_loopback() && socket.port() != 0, "{socket}");
}

#[test]
fn three_processes_share_a_room() {
    let mut up = Node::start(&["up", "--room", "attic"]);
    let introduced = up.wait_for("up");
    let ticket = introduced["ticket"].as_str().expect("a ticket").to_owned();
    assert!(ticket.starts_with("peerloom1"), "{ticket}");
    listens(&introduced);

    let mut ada = Node::start(&["join", &ticket, "--room", "attic", "--nick", "ada"]);
    let joined = ada.wait_for("joined");
    listens(&joined);
    let me = joined["peer"].clone();
    let mut bob = Node::start(&["join", &ticket, "--room", "attic", "--nick", "bob"]);
    bob.wait_for("joined");
    let bob_sees_ada = |line: &Value| line["event"] == "linkUp" && line["peer"] == me;
    bob.wait_until(bob_sees_ada);

    bob.say(&json!({"say": "good morning"}));
    let heard = ada.wait_for("message");
    assert_eq!(heard["text"], "good morning");
    assert_eq!(heard["direct"], false);

    bob.say(&json!({"say": "only for you", "to": "ada"}));
    let heard = ada.wait_for("message");
    assert_eq!(heard["text"], "only for you");
    assert_eq!(heard["direct"], true);
    assert_eq!(bob.wait_for("delivered")["to"], me);

    bob.say(&json!({"who": true}));
    let members = bob.wait_for("members");
    assert_eq!(members["members"].as_array().map(Vec::len), Some(3));

    bob.say(&json!({"say": "nobody", "to": "nobody"}));
    bob.wait_for("error");
    bob.input.write_all(b"caf\xe9\n").expect("bob reads");
    bob.wait_for("error");
    bob.say(&json!({"who": true}));
    bob.wait_for("members");
    bob.say(&json!({"quit": true}));
    assert_eq!(bob.child.wait().expect("bob ends").code(), Some(1));
    let gone = ada.wait_until(|line| {
        let over = ["memberLeft", "memberDied"].map(Value::from);
        over.contains(&line["event"])
    });
    assert_eq!(gone["event"], "memberLeft");
    let gone = up.wait_until(|line| {
        let over = ["memberLeft", "memberDied"].map(Value::from);
        over.contains(&line["event"])
    });
    assert_eq!(gone["event"], "memberLeft");
    ada.say(&json!({"quit": true}));
    assert!(ada.child.wait().expect("ada ends").success());
}

#[test]
fn links_say_what_carries_them() {
    let mut up = Node::start(&["up", "--room", "attic", "--transport", "auto"]);
    let ticket = up.wait_for("up")["ticket"].clone();
    let ticket = ticket.as_str().expect("a ticket");
    for (wanted, carried, reason) in [
        ("quic", "quic", "both peers speak QUIC"),
        ("auto", "quic", "both peers speak QUIC"),
        ("sctp", "sctp", "configured"),
    ] {
        let mut other = Node::start(&["join", ticket, "--room", "attic", "--transport", wanted]);
        let me = other.wait_for("joined")["peer"].clone();
        let linked = up.wait_until(|line| line["event"] == "linkUp" && line["peer"] == me);
        assert_eq!(linked["transport"], carried, "{linked}");
        let linked = other.wait_for("linkUp");
        assert_eq!(linked["transport"], carried, "{linked}");
        assert_eq!(linked["reason"], reason, "{linked}");
        other.say(&json!({"quit": true}));
        assert!(other.child.wait().expect("it ends").success());
    }
}

#[test]
fn a_node_killed_without_warning_finds_its_peers_again_by_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let kept = ["--data", dir.path().to_str().expect("a printable path")];
    let up = ["up", "--mesh", "remembering", "--room", "attic"];
    let mut first = Node::keeping(&up, &kept);
    let introduced = first.wait_for("up");
    let ticket = introduced["ticket"].as_str().expect("a ticket").to_owned();
    let mut ada = Node::start(&["join", &ticket, "--room", "attic"]);
    let me = ada.wait_for("joined")["peer"].clone();
    let met = |line: &Value| line["event"] == "linkUp" && line["peer"] == me;
    first.wait_until(met);
    // What is known of bob is written before his link is up, and ada came first.
    let mut bob = Node::start(&["join", &ticket, "--room", "attic"]);
    let other = bob.wait_for("joined")["peer"].clone();
    first.wait_until(|line| line["event"] == "linkUp" && line["peer"] == other);
    // SIGKILL: nothing is said, and nothing is written any more.
    first.child.kill().expect("it runs");
    first.child.wait().expect("it ends");

    // It has no ticket, and ada cannot know where it listens by now.
    let mut again = Node::keeping(&up, &kept);
    assert_eq!(again.wait_for("up")["peer"], introduced["peer"]);
    again.wait_until(met);
}

/// A terminal for the command's stdin, and the end that the user's keyboard writes to.
#[cfg(unix)]
fn terminal() -> (std::os::fd::OwnedFd, std::fs::File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&keyboard).expect("granted");
    unlockpt(&keyboard).expect("unlocked");
    let name = ptsname(&keyboard, Vec::new()).expect("named");
    let name = name.into_string().expect("text");
    let stdin = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(name)
        .expect("opened");
    (keyboard, stdin)
}

#[cfg(unix)]
#[test]
fn somebody_at_a_terminal_is_told_that_nobody_was_reached() {
    let mut gone = Node::start(&["up"]);
    let ticket = gone.wait_for("up")["ticket"]
        .as_str()
        .expect("a ticket")
        .to_owned();
    gone.child.kill().expect("killed");
    let (keyboard, stdin) = terminal();
    let mut child = peerloom()
        .args(["join", &ticket, "--guest", "--json", "--no-mdns"])
        .args(["--bind", "127.0.0.1:0"])
        .args(["--listen", "/ip4/127.0.0.1/udp/0/quic-v1"])
        .stdin(stdin)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a node starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let told = lines
        .by_ref()
        .map(|line| serde_json::from_str::<Value>(&line.expect("text")).expect("JSON"))
        .find(|line| line["event"] == "alone");
    assert!(told.expect("told before the end")["hint"].is_string());
    rustix::io::write(&keyboard, b"{\"quit\":true}\n").expect("typed");
    assert!(child.wait().expect("ended").success());
}
