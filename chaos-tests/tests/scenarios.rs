//! Every scenario of the pack, with few nodes: the mesh does what it has to,
//! and a run repeats itself. At full size `peerloom chaos run` runs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use peerloom_chaos_tests::Scenario;
use peerloom_chaos_tests::sim::{self, Report, Schedule};

/// Enough for a graph that is not full, and few enough for a debug build.
const NODES: u32 = 60;

fn pack() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the pack")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    files
}

fn small(file: &Path) -> Schedule {
    let text = fs::read_to_string(file).expect("a scenario");
    let scenario = Scenario::from_toml(&text).unwrap_or_else(|error| panic!("{file:?}: {error}"));
    let seed = scenario.meta.seed;
    scenario
        .with_nodes(NODES)
        .expect("fewer nodes")
        .schedule(seed)
}

fn run(schedule: &Schedule) -> Report {
    sim::run(schedule, &mut |_| {})
}

#[test]
fn the_mesh_stands_every_scenario() {
    let files = pack();
    assert!(files.len() >= 12);
    let half = files.len().div_ceil(2);
    let bad: Vec<String> = thread::scope(|scope| {
        let parts: Vec<_> = files
            .chunks(half)
            .map(|files| scope.spawn(move || files.iter().map(|file| run(&small(file))).collect()))
            .collect();
        let reports = parts
            .into_iter()
            .flat_map(|part| -> Vec<Report> { part.join().expect("a thread of the test") });
        let bad = reports.filter(|report| !report.is_good());
        bad.map(|report| report.to_string()).collect()
    });
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn a_schedule_read_back_takes_the_same_course() {
    let file = pack()
        .into_iter()
        .find(|file| file.ends_with("kill-50.toml"));
    let schedule = small(&file.expect("a scenario of that name"));
    let text = serde_json::to_string(&schedule).expect("a schedule");
    let again = Schedule::from_json(&text).expect("the same schedule");
    assert_eq!(schedule, again);
    let report = sim::check(&again, &mut |_| {}).expect("the same course twice");
    assert_eq!(report.trace, run(&schedule).trace);
    let other = Scenario::schedule(&schedule.scenario, schedule.seed + 1);
    assert_ne!(run(&other).trace, report.trace);
}

#[test]
fn a_mesh_that_cannot_heal_is_found_out() {
    let text = r#"
        [meta]
        name = "hopeless"
        schema = 1
        [nodes]
        count = 30
        [[phase]]
        name = "form"
        for = "20s"
        [[phase]]
        name = "split"
        for = "20s"
        fault = [{ kind = "partition", groups = ["50%"], shape = "both" }]
        [[phase]]
        name = "after"
        for = "20s"
        [[goal]]
        what = "one-component"
        phase = "after"
        max = "10s"
        [[goal]]
        what = "delivery"
        phase = "split"
        min = "99%"
        within = "2s"
    "#;
    let scenario = Scenario::from_toml(text).expect("a scenario");
    let report = run(&scenario.schedule(1));
    assert!(!report.is_good());
    assert!(report.goals.iter().all(|outcome| !outcome.reached));
    let violation = report.violation.expect("two components");
    assert_eq!(violation.invariant, "one component");
    assert!(!report.last_events.is_empty());
}

#[test]
fn mistakes_in_scenarios_are_errors() {
    let good = "[meta]\nname = \"x\"\nschema = 1\n[nodes]\ncount = 5\n[[phase]]\nname = \"a\"\nfor = \"1s\"\n";
    assert!(Scenario::from_toml(good).is_ok());
    for (from, to) in [
        ("schema = 1", "schema = 2"),
        ("count = 5", "count = 1"),
        ("count = 5", "count = 5\ncolour = 3"),
        ("\"1s\"", "\"1 fortnight\""),
        (
            "\"1s\"",
            "\"1s\"\nfault = [{ kind = \"kill\", pick = \"200%\" }]",
        ),
        (
            "\"1s\"",
            "\"1s\"\nfault = [{ kind = \"kill\", pick = \"2%\", at = 1 }]",
        ),
        (
            "\"1s\"",
            "\"1s\"\n[[goal]]\nwhat = \"hops\"\nphase = \"b\"\nmax = 1.0",
        ),
    ] {
        let bad = good.replace(from, to);
        assert!(Scenario::from_toml(&bad).is_err(), "{bad}");
    }
}
