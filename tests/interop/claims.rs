//! Claims about other implementations that are shown without Peerloom: by two of
//! their own, or by their own parts.
//!
//! `foreign/node/werift-faults.mjs` prints one line for each. A claim that does not hold any
//! more fails the run, as the entries of [`faults`] that rest on it are out of date then.

use std::collections::BTreeMap;
use std::process::Stdio;

use serde_json::Value;

use crate::{faults, peers};

/// Shows everything that the entries say of werift; what does not hold, with what was seen instead.
pub(crate) fn show() -> Result<(), String> {
    let mut command = peers::node("node/werift-faults.mjs");
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("cannot start {command:?}: {error}"))?;
    let told = String::from_utf8_lossy(&output.stdout);
    let lines = told.lines().map(serde_json::from_str::<Value>);
    let claims: BTreeMap<String, Value> = lines
        .map_while(Result::ok)
        .filter_map(|line| Some((line["claim"].as_str()?.to_owned(), line)))
        .collect();
    for (name, line) in &claims {
        println!(
            "werift alone: {name} {}",
            if line["holds"] == true {
                "holds"
            } else {
                "DOES NOT HOLD"
            }
        );
    }
    let wrong = claims.values().filter(|line| line["holds"] != true);
    let mut wrong: Vec<String> = wrong.map(Value::to_string).collect();
    let missing = faults::shown().filter(|name| !claims.contains_key(*name));
    wrong.extend(missing.map(|name| format!("nothing shows {name}")));
    if wrong.is_empty() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("of werift: {}\n{said}", wrong.join("; ")))
}
