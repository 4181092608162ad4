//! The lines in and out.

use std::error::Error;
use std::io::Write as _;

use serde_json::{Value, json};

/// What is done here, or a sentence on why it was not.
pub(crate) type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

pub(crate) fn emit(line: &Value) {
    let mut out = std::io::stdout().lock();
    // A runner that has gone takes its pipe along; stdin ends next.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

pub(crate) fn log(message: impl std::fmt::Display) {
    emit(&json!({"ev": "log", "msg": message.to_string()}));
}

pub(crate) fn result(id: &Value, outcome: Fallible<Value>) {
    emit(&match outcome {
        Ok(detail) => json!({"ev": "result", "id": id, "ok": true, "detail": detail}),
        Err(error) => {
            json!({"ev": "result", "id": id, "ok": false, "detail": {"error": error.to_string()}})
        }
    });
}

pub(crate) fn text<'a>(value: &'a Value, key: &str) -> Fallible<&'a str> {
    value[key]
        .as_str()
        .ok_or_else(|| format!("no string {key:?}").into())
}

pub(crate) fn number(value: &Value, key: &str) -> Fallible<u64> {
    value[key]
        .as_u64()
        .ok_or_else(|| format!("no number {key:?}").into())
}
