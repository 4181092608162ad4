//! `peerloom doctor` without a network: what it can say, and what it cannot.

use std::net::UdpSocket;

use serde_json::Value;

use crate::{json_lines, refusal, run};

fn doctor(args: &[&str]) -> Value {
    let mut all = vec!["doctor", "--json", "--bind", "127.0.0.1:0"];
    all.extend(args);
    let output = run(&all);
    assert_eq!(refusal(&output), (Some(0), String::new()));
    json_lines(&output).remove(0)
}

#[test]
fn offline_it_says_what_it_could_not_test() {
    let report = doctor(&[]);
    assert_eq!(report["addresses"], serde_json::json!(["127.0.0.1"]));
    assert_eq!(report["nat"], "unknown");
    assert_eq!(
        report["untested"].as_array().map(Vec::len),
        Some(3),
        "{report}"
    );
    let verdict = report["verdict"][0].as_str().unwrap_or_default();
    assert!(verdict.contains("no network"), "{report}");
}

#[test]
fn a_server_that_is_not_there_is_named_with_its_reason() {
    // A port that nobody has: bound, and let go.
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = socket.local_addr().expect("an address").port();
    drop(socket);
    let url = format!("turn:127.0.0.1:{port}?transport=tcp");
    let report = doctor(&[
        "--server",
        &url,
        "--username",
        "ada",
        "--credential",
        "secret",
    ]);
    let server = &report["servers"][0];
    assert_eq!(
        (&server["works"], &server["error"]["code"]),
        (&false.into(), &701.into())
    );
    let reason = server["error"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("refused"), "{report}");
}

#[test]
fn nonsense_is_bad_usage() {
    for (args, named) in [
        (&["doctor", "--server", "http://x"][..], "http://x"),
        (&["doctor", "--server", "turn:x"], "credentials"),
        (&["doctor", "no ticket"], "ticket"),
    ] {
        let (code, said) = refusal(&run(args));
        assert_eq!(code, Some(2), "{args:?}: {said}");
        assert!(said.contains(named), "{said}");
    }
}
