//! Bad usage is exit code 2 and says what is wrong.

use crate::{refusal, run};

#[test]
fn no_command_is_bad_usage() {
    let (code, said) = refusal(&run(&[]));
    assert_eq!(code, Some(2));
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("peerloom: no command given"), "{said}");
    assert!(said.contains("--help"), "{said}");
}

#[test]
fn an_unknown_command_is_bad_usage() {
    for (args, named) in [
        (&["dance"][..], "dance"),
        (&["demo", "--peers", "many"], "--peers"),
        (&["demo", "--dance"], "--dance"),
        (&["peer", "--bind", "nowhere"], "--bind"),
        (&["join"], "<TICKET>"),
        (&["id", "assert"], "--to"),
    ] {
        let (code, said) = refusal(&run(args));
        assert_eq!(code, Some(2), "{args:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("peerloom: "), "{said}");
        assert!(said.contains(named) && said.contains("--help"), "{said}");
    }
}

#[test]
fn impossible_demos_are_bad_usage_on_one_line() {
    for args in [
        &["demo", "--peers", "1"][..],
        &["demo", "--peers", "4", "--kill", "3"],
        &["demo", "--peers", "100000"],
        &["demo", "--seconds", "1e19"],
        &["demo", "--seconds", "86401"],
    ] {
        let (code, said) = refusal(&run(args));
        assert_eq!(code, Some(2), "{args:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("peerloom: "), "{said}");
    }
}

#[test]
fn settings_no_node_can_have_are_bad_usage() {
    let long = "x".repeat(65);
    for (flag, value) in [
        ("--mesh", ""),
        ("--mesh", &long),
        ("--room", ""),
        ("--nick", ""),
        ("--listen", "somewhere"),
    ] {
        let (code, said) = refusal(&run(&["up", "--guest", "--no-mdns", flag, value]));
        assert_eq!(code, Some(2), "{flag} {value}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_port_that_somebody_has_is_a_failure() {
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let tcp_port = tcp.local_addr().expect("an address").port();
    let udp_port = udp.local_addr().expect("an address").port();
    for (flag, value) in [
        ("--listen", format!("/ip4/127.0.0.1/tcp/{tcp_port}")),
        ("--listen", format!("/ip4/127.0.0.1/udp/{udp_port}/quic-v1")),
        ("--bind", format!("127.0.0.1:{udp_port}")),
    ] {
        let (code, said) = refusal(&run(&["up", "--guest", "--no-mdns", flag, &value]));
        assert_eq!(code, Some(1), "{flag} {value}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("in use"), "{said}");
    }
}

#[test]
fn a_log_filter_that_means_nothing_is_bad_usage() {
    let mut command = crate::peerloom();
    command
        .args(["demo", "--peers", "2"])
        .env("PEERLOOM_LOG", "a=b=c");
    let (code, said) = refusal(&command.output().expect("the command starts"));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("PEERLOOM_LOG"), "{said}");
}

#[test]
fn something_else_than_a_ticket_is_refused() {
    let (code, said) = refusal(&run(&["join", "hello"]));
    assert_eq!(code, Some(2));
    assert!(said.contains("ticket"), "{said}");
}

#[test]
fn version_and_help_are_fine() {
    let version = run(&["--version"]);
    assert!(version.status.success());
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("peerloom "));
    for command in ["demo", "up", "join", "id", "peer", "chaos"] {
        assert!(run(&[command, "--help"]).status.success(), "{command}");
    }
}
