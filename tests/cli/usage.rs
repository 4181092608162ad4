//! Bad usage is exit code 2 and says what is wrong.

use crate::{refusal, run};

#[test]
fn no_command_is_bad_usage() {
    let (code, said) = refusal(&run(&[]));
    assert_eq!(code, Some(2));
    assert!(said.contains("Usage"), "{said}");
}

#[test]
fn an_unknown_command_is_bad_usage() {
    assert_eq!(refusal(&run(&["dance"])).0, Some(2));
    assert_eq!(refusal(&run(&["peer", "--bind", "nowhere"])).0, Some(2));
}

#[test]
fn version_and_help_are_fine() {
    let version = run(&["--version"]);
    assert!(version.status.success());
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("peerloom "));
    for command in ["peer"] {
        assert!(run(&[command, "--help"]).status.success(), "{command}");
    }
}
