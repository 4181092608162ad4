//! `docs/webrtc-api.md` has a row for each member that the specifications define, and names a test for each: they exist and
//! are run. What a report of statistics has, the table has.

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

/// The rows, each with the name of its section.
fn rows_with_sections(table: &str) -> impl Iterator<Item = (&str, Vec<&str>)> {
    let sections = table.split("\n#").skip(1);
    sections.flat_map(|section| {
        let heading = section.lines().next().unwrap_or_default();
        let heading = heading.trim_start_matches('#').trim();
        rows(section).into_iter().map(move |row| (heading, row))
    })
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
        let attributes = attributes(&source[..at]);
        let is_test = |it: &&str| it.contains("test]") || it.contains("test(");
        // The workspace's tests have the feature `chaos`, those against foreign programs `interop`.
        let run = |it: &str| ["chaos", "interop"].iter().any(|name| it.contains(name));
        let elsewhere = |it: &&str| it.contains("cfg") && !run(it);
        let file = source
            .lines()
            .find(|it| it.starts_with("#![cfg("))
            .filter(elsewhere);
        assert_eq!(file, None, "{member}: {path} is not always run");
        let hidden = |it: &&str| it.contains("ignore") || elsewhere(it);
        assert!(
            attributes.iter().any(is_test),
            "{member}: {name} is no test: {attributes:?}"
        );
        assert!(
            !attributes.iter().any(hidden),
            "{member}: {name} is not always run: {attributes:?}"
        );
    }
}

/// The attributes of a function, whose beginning is where `before` ends.
fn attributes(before: &str) -> Vec<&str> {
    let before = before.rsplit_once('\n').map_or("", |it| it.0);
    let lines = before.lines().rev().map(str::trim);
    let own = lines.take_while(|it| !it.is_empty() && *it != "}");
    own.filter(|it| !it.starts_with("//")).collect()
}

/// The names of the sections whose rows are members of this interface.
fn sections(interface: &str) -> &[&str] {
    match interface {
        "RTCPeerConnection" => &[
            "RTCPeerConnection",
            "Events of RTCPeerConnection",
            "Identity",
            "Media",
        ],
        "RTCPeerConnectionStats" => &["`peer-connection`"],
        "RTCDataChannelStats" => &["`data-channel`"],
        "RTCTransportStats" => &["`transport`"],
        "RTCIceCandidatePairStats" => &["`candidate-pair`"],
        "RTCIceCandidateStats" => &["`local-candidate`, `remote-candidate`"],
        "RTCCertificateStats" => &["`certificate`"],
        "RTCIceParameters" | "RTCIceCandidatePair" => &["RTCIceParameters, RTCIceCandidatePair"],
        _ => &[],
    }
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// Whether `text` has this word.
fn says(text: &str, word: &str) -> bool {
    let words = text.split(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
    words.into_iter().any(|it| it == word)
}

#[test]
fn every_member_of_the_specifications_has_its_row() {
    let table = table();
    let mut members = 0;
    let mut missing = Vec::new();
    for line in include_str!("w3c_members.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let (interface, names) = line.split_once(": ").expect("interface: members");
        for name in names.split(' ') {
            members += 1;
            // Handlers of events are rows under the names of the events.
            let bare = name.strip_prefix("on").unwrap_or(name);
            let snake = snake_case(bare);
            let found = rows_with_sections(&table).any(|(section, row)| {
                let member = row[0];
                let own = section == interface || sections(interface).contains(&section);
                // A dictionary may be one row, which names what it has.
                let whole = says(member, interface) && (says(member, bare) || says(row[1], &snake));
                (own && says(member, bare)) || whole
            });
            if !found {
                missing.push(format!("{interface}.{name}"));
            }
        }
    }
    assert!(members > 200, "only {members} members");
    assert_eq!(missing, Vec::<String>::new());
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
