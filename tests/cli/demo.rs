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
    // One at each end of each link; links that were given up count as well.
    let verified = report["identities_verified"].as_u64().expect("a number");
    assert!(verified >= 12, "{verified}");
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

#[test]
fn a_seed_kills_the_same_nodes_however_long_they_talk() {
    let killed = |seconds: &str| {
        let args = ["demo", "--json", "--peers", "9", "--kill", "4"];
        let output = run(&[&args[..], &["--seed", "3", "--seconds", seconds]].concat());
        let lines = json_lines(&output);
        let killed = lines.iter().find(|line| line["event"] == "killed");
        killed.expect("some are killed")["nodes"].clone()
    };
    assert_eq!(killed("0"), killed("2"));
}

/// Demos that are ended before their time.
#[cfg(unix)]
mod cut_short {
    use std::io::{BufRead, BufReader, Lines, Read};
    use std::process::{Child, ChildStdout, Command, Stdio};

    use tempfile::TempDir;

    /// A demo that would go on for ten minutes, and the directory it may use.
    struct Demo {
        child: Child,
        /// Its stdout, as long as somebody reads it.
        lines: Option<Lines<BufReader<ChildStdout>>>,
        dir: TempDir,
    }

    impl Demo {
        fn start(peers: &str) -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            let mut child = crate::peerloom()
                .args(["demo", "--json", "--peers", peers, "--seconds", "600"])
                .env("TMPDIR", dir.path())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("a demo starts");
            let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
            Self {
                child,
                lines: Some(lines),
                dir,
            }
        }

        /// Reads lines until it tells of this.
        fn wait_for(&mut self, event: &str) {
            let wanted = format!(r#""event":"{event}""#);
            let mut lines = self.lines.iter_mut().flatten();
            let told = lines.any(|line| line.expect("text").contains(&wanted));
            assert!(told, "no {event}");
        }

        fn signal(&self, name: &str) {
            let id = self.child.id().to_string();
            let kill = Command::new("kill").args(["-s", name, &id]).status();
            assert!(kill.expect("kill runs").success());
        }

        /// What it leaves behind, its exit code and what it said on stderr.
        fn end(mut self) -> (usize, Option<i32>, String) {
            // Whoever stops reading would end it in another way.
            self.lines.iter_mut().flatten().for_each(drop);
            let code = self.child.wait().expect("it ends").code();
            let mut said = String::new();
            let mut stderr = self.child.stderr.take().expect("piped");
            stderr.read_to_string(&mut said).expect("text");
            let left = std::fs::read_dir(self.dir.path()).expect("readable");
            (left.count(), code, said)
        }
    }

    const INTERRUPTED: &str = "peerloom: the demo was interrupted\n";

    #[test]
    fn a_demo_whose_terminal_goes_away_cleans_up() {
        let mut demo = Demo::start("2");
        demo.wait_for("starting");
        demo.signal("HUP");
        assert_eq!(demo.end(), (0, Some(1), INTERRUPTED.to_owned()));
    }

    #[test]
    fn a_demo_interrupted_while_many_nodes_start_cleans_up() {
        let mut demo = Demo::start("12");
        demo.wait_for("starting");
        demo.signal("INT");
        assert_eq!(demo.end(), (0, Some(1), INTERRUPTED.to_owned()));
    }

    #[test]
    fn a_demo_terminated_in_full_talk_cleans_up() {
        for name in ["TERM", "HUP", "INT"] {
            let mut demo = Demo::start("4");
            demo.wait_for("formed");
            demo.signal(name);
            assert_eq!(demo.end(), (0, Some(1), INTERRUPTED.to_owned()), "{name}");
        }
    }

    #[test]
    fn a_demo_nobody_reads_ends_in_silence() {
        let mut demo = Demo::start("2");
        demo.wait_for("starting");
        demo.lines = None;
        assert_eq!(demo.end(), (0, Some(1), String::new()));
    }
}
