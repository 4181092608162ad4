//! What the interop matrix judges by, without any peer: it must notice what goes otherwise.

#[path = "interop/judge.rs"]
mod judge;

use judge::{Tries, Verdict};

const SYMPTOMS: &[&str] = &["over at", "connected"];

fn goes(verdict: Verdict, failure: Option<&str>, all_passed: bool) -> bool {
    verdict.expects(failure, SYMPTOMS, all_passed)
}

#[test]
fn what_works_has_to_pass() {
    for verdict in [Verdict::Works, Verdict::Absent] {
        assert!(goes(verdict, None, true));
        assert!(
            !goes(verdict, Some("over at both ends"), false),
            "{verdict:?}"
        );
    }
}

#[test]
fn a_fault_that_is_gone_is_noticed() {
    assert!(!goes(Verdict::Fails, None, true));
    assert!(
        goes(Verdict::Fails, None, false),
        "another check of the session failed"
    );
}

#[test]
fn a_failure_is_the_known_one_only_if_its_first_line_reads_like_it() {
    for verdict in [Verdict::Fails, Verdict::AtTimes] {
        assert!(goes(
            verdict,
            Some("their offer: over at the other side\nstory"),
            false
        ));
        assert!(
            !goes(verdict, Some("ended on its own"), false),
            "{verdict:?}"
        );
        assert!(
            !goes(verdict, Some("crashed\nafter it was connected"), false),
            "{verdict:?}"
        );
        assert!(
            !verdict.expects(Some("anything"), &[], false),
            "{verdict:?}"
        );
    }
    assert!(goes(Verdict::AtTimes, None, true));
}

#[test]
fn what_fails_each_time_does_not_fail_at_times() {
    let mut tries = Tries::default();
    for (name, passed) in [
        ("a", false),
        ("a", false),
        ("b", false),
        ("b", true),
        ("b", false),
    ] {
        tries.add(name.to_owned(), passed);
    }
    assert!(tries.never_passed("a") && !tries.never_passed("b"));
    assert!(!tries.never_passed("never tried"));
    assert_eq!(tries.never().collect::<Vec<_>>(), ["a"]);
    tries.add("a".to_owned(), true);
    assert_eq!(tries.never().count(), 0);
}
