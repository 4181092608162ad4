//! `peerloom id`: one identity per directory, and assertions that hold only
//! for what they were made for.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use crate::{json_lines, refusal, run};

/// An identity in a directory of its own.
struct Somebody {
    dir: TempDir,
    peer: String,
}

impl Somebody {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut somebody = Self {
            dir,
            peer: String::new(),
        };
        let shown = somebody.id(&["show"]);
        assert_eq!(shown["created"], true);
        somebody.peer = shown["peer"].as_str().expect("a peer id").to_owned();
        somebody
    }

    fn args<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        let dir = self.dir.path().to_str().expect("a printable path");
        [&["id", "--json", "--data", dir], args].concat()
    }

    /// A subcommand that works out, and what it printed.
    fn id(&self, args: &[&str]) -> Value {
        let output = run(&self.args(args));
        assert!(output.status.success(), "{:?}", refusal(&output));
        json_lines(&output).pop().expect("a line")
    }

    /// A subcommand that does not, and why.
    fn refused(&self, args: &[&str]) -> String {
        let (code, said) = refusal(&run(&self.args(args)));
        assert_eq!(code, Some(1), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    }
}

#[test]
fn an_identity_is_created_once() {
    let ada = Somebody::new();
    assert!(ada.peer.starts_with("12D3KooW"), "{}", ada.peer);
    let again = ada.id(&["show"]);
    assert_eq!(again["peer"], ada.peer.as_str());
    assert_eq!(again["created"], false);
}

#[test]
fn an_identity_is_shown_while_a_node_uses_it() {
    let ada = Somebody::new();
    let dir = ada.dir.path().to_str().expect("a printable path");
    let mut node = crate::peerloom()
        .args(["up", "--json", "--no-mdns", "--bind", "127.0.0.1:0"])
        .args(["--listen", "/ip4/127.0.0.1/udp/0/quic-v1", "--data", dir])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a node starts");
    let mut lines = BufReader::new(node.stdout.take().expect("piped")).lines();
    lines.next().expect("it is up").expect("text");
    assert_eq!(ada.id(&["show"])["peer"], ada.peer.as_str());
    let said = ada.refused(&["peers"]);
    assert!(said.contains("in use by another process"), "{said}");
    node.kill().expect("it runs");
    node.wait().expect("it ends");
}

#[test]
fn an_assertion_can_be_looked_at_again() {
    let (ada, bob) = (Somebody::new(), Somebody::new());
    let made = ada.id(&["assert", "--to", &bob.peer]);
    let assertion = made["assertion"].as_str().expect("an assertion");
    let print = made["fingerprint"].as_str().expect("a fingerprint");
    for _ in 0..2 {
        let verified = bob.id(&["verify", assertion, "--fingerprint", print]);
        assert_eq!(verified["valid"], true);
    }
}

#[test]
fn an_assertion_holds_for_what_it_was_made_for_and_nothing_else() {
    let (ada, bob, eve) = (Somebody::new(), Somebody::new(), Somebody::new());
    let made = ada.id(&["assert", "--to", &bob.peer, "--room", "attic"]);
    let assertion = made["assertion"].as_str().expect("an assertion");
    let print = made["fingerprint"].as_str().expect("a fingerprint");
    let verify = ["verify", assertion, "--fingerprint", print];
    let in_attic = [&verify[..], &["--room", "attic"]].concat();

    let verified = bob.id(&[&in_attic[..], &["--from", &ada.peer]].concat());
    assert_eq!(verified["peer"], ada.peer.as_str());

    let said = eve.refused(&in_attic);
    assert!(said.contains("addressed to somebody else"), "{said}");
    let said = bob.refused(&verify);
    assert!(said.contains("another room"), "{said}");
    let said = bob.refused(&[&in_attic[..], &["--from", &eve.peer]].concat());
    assert!(said.contains("not by"), "{said}");
    let said = bob.refused(&[&in_attic[..], &["--session", "7"]].concat());
    assert!(said.contains("another session"), "{said}");

    let others = eve.id(&["assert", "--to", &bob.peer, "--room", "attic"]);
    let foreign = others["fingerprint"].as_str().expect("a fingerprint");
    let swapped = [
        "verify",
        assertion,
        "--fingerprint",
        foreign,
        "--room",
        "attic",
    ];
    let said = bob.refused(&swapped);
    assert!(said.contains("another certificate"), "{said}");
}

#[test]
fn a_forged_assertion_is_refused() {
    let (ada, bob) = (Somebody::new(), Somebody::new());
    let made = ada.id(&["assert", "--to", &bob.peer]);
    let assertion = made["assertion"].as_str().expect("an assertion");
    let print = made["fingerprint"].as_str().expect("a fingerprint");
    let middle = assertion.len() / 2;
    let other = if assertion.as_bytes()[middle] == b'A' {
        "B"
    } else {
        "A"
    };
    let forged = format!(
        "{}{other}{}",
        &assertion[..middle],
        &assertion[middle + 1..]
    );
    bob.refused(&["verify", &forged, "--fingerprint", print]);
    bob.refused(&["verify", "nonsense", "--fingerprint", print]);
    assert_eq!(
        bob.id(&["verify", assertion, "--fingerprint", print])["valid"],
        true
    );
}

#[test]
fn nobody_is_remembered_at_first() {
    let ada = Somebody::new();
    assert_eq!(ada.id(&["peers"])["identities"], Value::Array(Vec::new()));
    let said = ada.refused(&["forget", "bob@nowhere"]);
    assert!(said.contains("no such identity"), "{said}");
}

#[test]
fn a_bad_fingerprint_or_peer_is_bad_usage() {
    let ada = Somebody::new();
    for args in [
        &["verify", "x", "--fingerprint", "md5 00"][..],
        &["assert", "--to", "nobody"],
        &["assert"],
    ] {
        assert_eq!(refusal(&run(&ada.args(args))).0, Some(2), "{args:?}");
    }
}
