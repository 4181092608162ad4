//! `--compare`: how much two processes move over one data channel, Peerloom
//! and the `webrtc` 0.17 crate one after the other in the same run.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cases::Case;
use crate::peers::{Kind, Missing};
use crate::session;

/// What is sent first, to learn how fast a stack is.
const PROBE_BYTES: u64 = 32 << 20;
/// How long the measured transfer should take.
const SECONDS: f64 = 10.0;
const MESSAGE_BYTES: u64 = 16 << 10;
/// For the probe too, which a slow stack takes seconds for.
const LIMIT_MS: u64 = 80_000;

struct Measured {
    megabytes: f64,
    per_second: f64,
    gap_ms: f64,
}

/// Prints a table and the ratio; a failure is a transfer that did not work.
pub(crate) fn run() -> ExitCode {
    if cfg!(debug_assertions) && std::env::var_os("PEERLOOM_INTEROP_BIN").is_none() {
        println!("This is not a release build: the numbers below mean little.");
    }
    println!(
        "{:10}  {:>8}  {:>8}  {:>18}",
        "stack", "MB", "MB/s", "longest silence ms"
    );
    let mut rates = Vec::new();
    for kind in [Kind::Peerloom, Kind::WebrtcRs] {
        match measure(kind) {
            Ok(Measured {
                megabytes,
                per_second,
                gap_ms,
            }) => {
                println!("{kind:10}  {megabytes:8.0}  {per_second:8.1}  {gap_ms:18.1}");
                rates.push(per_second);
            }
            Err(problem) => {
                println!("{kind}: {problem}");
                return ExitCode::FAILURE;
            }
        }
    }
    if let [ours, theirs] = rates[..] {
        println!("ratio {:.1}", ours / theirs);
    }
    ExitCode::SUCCESS
}

fn measure(kind: Kind) -> Result<Measured, String> {
    let probe = transfer(kind, PROBE_BYTES)?;
    transfer(kind, (probe.per_second * 1e6 * SECONDS) as u64)
}

fn transfer(kind: Kind, bytes: u64) -> Result<Measured, String> {
    let args = json!({"dir": "up", "bytes": bytes, "size": MESSAGE_BYTES, "timeout": LIMIT_MS});
    let case = Case::transfer(kind, args);
    if let Some(reason) = Missing::default().of(&case) {
        return Err(format!("SKIPPED: {reason}"));
    }
    let outcome = session::run(&case, None).pop().ok_or("nothing was run")?;
    let detail = outcome.result?;
    Ok(Measured {
        megabytes: number(&detail, "MB")?,
        per_second: number(&detail, "MBps")?,
        gap_ms: number(&detail, "gapMs")?,
    })
}

fn number(detail: &Value, key: &str) -> Result<f64, String> {
    detail[key]
        .as_f64()
        .ok_or_else(|| format!("no {key} in {detail}"))
}
