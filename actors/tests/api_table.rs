//! `docs/webrtc-api.md` names a test for each member of the interface: they exist.

use std::path::Path;

/// The cells of each row, headings left out.
fn rows(table: &str) -> Vec<Vec<&str>> {
    let lines = table.lines().filter(|line| line.starts_with("| "));
    let cells = lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect());
    let kept = cells.filter(|cells: &Vec<&str>| cells[0] != "Member" && cells[0] != "---");
    kept.collect()
}

#[test]
fn every_test_named_in_the_table_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let table = std::fs::read_to_string(root.join("docs/webrtc-api.md")).expect("the table");
    let rows = rows(&table);
    assert!(rows.len() > 100, "the table was not read: {}", rows.len());
    for row in rows {
        let [member, ours, _, test, browsers, notes] = row[..] else {
            panic!("a row with other columns: {row:?}");
        };
        let in_browsers = browsers.trim_matches('`');
        assert!(browsers == "—" || in_browsers.ends_with(".html"), "{row:?}");
        if test == "—" {
            let honest = ours == "—" && notes.to_lowercase().contains("not yet");
            assert!(honest, "no test for {member}");
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
