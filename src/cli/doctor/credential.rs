//! The password of the TURN servers: from where others do not see it.
//!
//! What stands on the command line is seen by every user of the machine, and kept by the shell.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::super::failure::Failure;
use super::Args;

/// The variable that has it when neither option is given.
pub(super) const VARIABLE: &str = "PEERLOOM_TURN_CREDENTIAL";

/// Longest password file that is read, in bytes.
const MAX_FILE: u64 = 4096;

/// The password, if there is one anywhere.
pub(super) fn credential(args: &Args) -> Result<Option<String>, Failure> {
    if let Some(path) = &args.credential_file {
        return read(path).map(Some);
    }
    if args.credential.is_some() || args.username.is_none() {
        return Ok(args.credential.clone());
    }
    match std::env::var(VARIABLE) {
        Ok(credential) => Ok(Some(credential)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Failure::usage(format!(
            "cannot use {VARIABLE}: it is not UTF-8"
        ))),
    }
}

/// The first line of a file.
fn read(path: &Path) -> Result<String, Failure> {
    let failed = || Failure::usage(format!("cannot use --credential-file {}", path.display()));
    let file = File::open(path).map_err(|error| failed().because(&error))?;
    let mut text = String::new();
    let read = file.take(MAX_FILE).read_to_string(&mut text);
    read.map_err(|error| failed().because(&error))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        Some(_) | None => Err(failed().because_of("its first line is empty")),
    }
}
