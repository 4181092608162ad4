//! A small seeded run of mutations; the example of that name makes long ones.

#[path = "support/mutate.rs"]
mod mutate;

#[test]
fn no_mutation_makes_a_parser_panic() {
    let report = mutate::run(1, 3_000);
    assert_eq!(report.len(), 16, "{report:?}");
    assert!(
        report.values().all(|[refused, _]| *refused > 0),
        "{report:?}"
    );
    // What is inside was reached: some change nothing that matters.
    for name in [
        "letter, before signing",
        "presence",
        "broadcast, before signing",
    ] {
        assert!(report[name][1] > 0, "{name}: {report:?}");
    }
}
