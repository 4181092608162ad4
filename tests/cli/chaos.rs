//! `peerloom chaos`: verdicts, replays, and what is no scenario.

use std::fs;
use std::path::Path;

use crate::{json_lines, refusal, run};

fn scenario(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("chaos-tests/scenarios");
    folder.join(name).to_string_lossy().into_owned()
}

#[test]
fn a_replay_takes_the_course_of_the_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let schedule = folder.path().join("schedule.json");
    let (file, schedule) = (scenario("kill-50.toml"), schedule.to_string_lossy());
    let output = run(&[
        "chaos",
        "run",
        &file,
        "--nodes",
        "30",
        "--seed",
        "7",
        "--schedule",
        &schedule,
        "--json",
    ]);
    assert_eq!(refusal(&output), (Some(0), String::new()));
    let first = json_lines(&output).remove(0);
    assert_eq!((&first["seed"], &first["nodes"]), (&7.into(), &30.into()));
    assert!(first["violation"].is_null());
    let output = run(&["chaos", "replay", &schedule, "--json", "--check"]);
    assert_eq!(refusal(&output), (Some(0), String::new()));
    assert_eq!(json_lines(&output).remove(0)["trace"], first["trace"]);
}

#[test]
fn a_goal_out_of_reach_is_a_failure() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("scenario.toml");
    let text = fs::read_to_string(scenario("flash-crowd.toml")).expect("a scenario");
    fs::write(&file, text.replace("max = \"20s\"", "max = \"1ms\"")).expect("a file");
    let output = run(&["chaos", "run", &file.to_string_lossy(), "--nodes", "20"]);
    let (code, said) = refusal(&output);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("one-component"), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("MISS"));
}

#[test]
fn what_is_no_scenario_is_bad_usage_on_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("scenario.toml");
    fs::write(&file, "[meta]\nname = \"x\"\nschema = 1\ncolour = 2\n").expect("a file");
    for args in [
        ["run", &*file.to_string_lossy(), "--json"],
        ["run", "/nowhere/scenario.toml", "--json"],
        ["replay", &file.to_string_lossy(), "--json"],
        ["run", &file.to_string_lossy(), "--seeds=9..2"],
    ] {
        let (code, said) = refusal(&run(&[&["chaos"][..], &args].concat()));
        assert_eq!(code, Some(2), "{args:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}
