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
fn a_password_need_not_stand_on_the_command_line() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("UTF-8");
    let server = [
        "doctor",
        "--bind",
        "127.0.0.1:0",
        "--server",
        "turn:127.0.0.1:9?transport=tcp",
    ];
    let with = |args: &[&str], variable: Option<&str>| {
        let mut command = crate::peerloom();
        command.env_remove("PEERLOOM_TURN_CREDENTIAL");
        command.envs(variable.map(|value| ("PEERLOOM_TURN_CREDENTIAL", value)));
        let output = command.args(server).args(args).output();
        refusal(&output.expect("the command starts"))
    };
    let named = ["--username", "ada"];
    let from_file = ["--username", "ada", "--credential-file", path];
    let (code, said) = with(&named, None);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("credentials"), "{said}");
    assert_eq!(with(&named, Some("secret")).0, Some(0));
    let (code, said) = with(&from_file, Some("secret"));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("first line is empty"), "{said}");
    std::fs::write(path, "secret\n").expect("written");
    assert_eq!(with(&from_file, None).0, Some(0));
    let both = [
        "--credential-file",
        path,
        "--credential",
        "x",
        "--username",
        "ada",
    ];
    assert_eq!(with(&both, None).0, Some(2));
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
