//! `peerloom demo`, small.

use serde_json::Value;

use crate::{json_lines, run};

/// A demo's last line, once it ended well.
fn demo(args: &[&str]) -> Value {
    let output = run(&[&["demo", "--json"], args].concat());
    let lines = json_lines(&output);
    let report = lines.last().expect("a report").clone();
    assert!(
        output.status.success(),
        "{report} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    report
}

#[test]
fn four_peers_form_talk_lose_one_and_heal() {
    let report = demo(&["--peers", "4", "--seconds", "1", "--kill", "1"]);
    assert_eq!(report["peers"], 4);
    assert!(report["formed_ms"].is_u64());
    assert_eq!(report["links"], 6);
    assert_eq!(report["degree_min"], 3);
    assert_eq!(report["identities_verified"], 12);
    assert_eq!(report["deliveries"], report["deliveries_expected"]);
    assert_eq!(report["duplicates"], 0);
    assert_eq!(report["killed"], 1);
    assert!(report["healed_ms"].is_u64());
    assert_eq!(report["deliveries_expected_after_heal"], 12);
    assert_eq!(report["deliveries_after_heal"], 12);
    assert_eq!(report["errors"], 0);
}

#[test]
fn two_peers_are_a_mesh_and_none_needs_to_die() {
    let report = demo(&["--peers", "2", "--seconds", "0", "--kill", "0"]);
    assert_eq!(report["links"], 1);
    assert_eq!(report["killed"], 0);
    assert_eq!(report["healed_ms"], Value::Null);
}
