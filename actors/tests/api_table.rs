//! `docs/webrtc-api.md` names a test for each member of the interface: they exist. What a report of
//! statistics has, the table has.

mod common;

use std::path::{Path, PathBuf};

use common::{Pair, runtime};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn table() -> String {
    std::fs::read_to_string(root().join("docs/webrtc-api.md")).expect("the table")
}

/// The cells of each row, headings left out.
fn rows(table: &str) -> Vec<Vec<&str>> {
    let lines = table.lines().filter(|line| line.starts_with("| "));
    let cells = lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect());
    let kept = cells.filter(|cells: &Vec<&str>| cells[0] != "Member" && cells[0] != "---");
    kept.collect()
}

#[test]
fn every_test_named_in_the_table_exists() {
    let (root, table) = (root(), table());
    let rows = rows(&table);
    assert!(rows.len() > 100, "the table was not read: {}", rows.len());
    for row in rows {
        let [member, ours, _, test, browsers, notes] = row[..] else {
            panic!("a row with other columns: {row:?}");
        };
        let in_browsers = browsers.trim_matches('`');
        assert!(browsers == "—" || in_browsers.ends_with(".html"), "{row:?}");
        if test == "—" {
            let reason = notes == "Media: not yet" || notes.starts_with("Browsers only: ");
            assert!(ours == "—" && reason, "no test for {member}");
            continue;
        }
        let (path, name) = test.trim_matches('`').split_once("::").expect("path::name");
        let source = std::fs::read_to_string(root.join(path));
        let source = source.unwrap_or_else(|error| panic!("{member}: {path}: {error}"));
        let defined = format!("fn {name}(");
        let at = source.find(&defined);
        let at = at.unwrap_or_else(|| panic!("{member}: no test {name} in {path}"));
        let before = &source[at.saturating_sub(120)..at];
        assert!(before.contains("test"), "{member}: {name} is no test");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_of_statistics_has_its_row() {
    let pair = Pair::new(&runtime(2)).await;
    let report = pair.a.get_stats().await.expect("open").report;
    let table = table();
    let mut found = 0;
    for (_, entry) in report.iter() {
        let heading = format!("`{}`", entry.kind());
        let mut sections = table.split("\n### ").skip(1);
        let section = sections.find(|it| it.lines().next().is_some_and(|l| l.contains(&heading)));
        let section = section.unwrap_or_else(|| panic!("no section for {heading}"));
        let members = serde_json::to_value(entry).expect("JSON");
        for member in members.as_object().expect("an object").keys() {
            let everywhere = ["id", "type", "timestamp"].contains(&member.as_str());
            let row = format!("\n| `{member}` |");
            assert!(everywhere || section.contains(&row), "{heading}: {member}");
            found += 1;
        }
    }
    assert!(found > 60, "only {found} members");
}
