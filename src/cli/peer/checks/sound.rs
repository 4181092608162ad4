//! `ordered` and `unreliable`: patterned messages into a sink of the other
//! side.

use std::time::{Duration, Instant};

use peerloom::webrtc::DataChannelInit;
use serde_json::{Value, json};

use super::super::channels::{init_of, send_patterned};
use super::super::sink::Report;
use super::super::wire::ChannelOptions;
use super::Check;
use super::connect::millis;

/// Messages sent unless `count` says otherwise (peer protocol).
const COUNT: u64 = 10_000;

/// Their size unless `size` says otherwise (guess: a small update).
const SIZE: u64 = 100;

/// A sink that may lose messages has got all it will get when, after the
/// first, it counted nothing for this long (RTO.Initial of RFC 9260 section
/// 16: what was lost is given up by then).
const QUIET: Duration = Duration::from_secs(1);

/// In order, none missing, none corrupt.
pub(super) async fn ordered(check: &Check<'_>) -> Result<Value, String> {
    let started = Instant::now();
    let (label, count) = fill(check, "sink:ordered", DataChannelInit::default()).await?;
    check.begin("count");
    let report = check.counted(&label, count).await?;
    if report.msgs != count || !report.in_order || report.dup > 0 || report.corrupt > 0 {
        return Err(format!("of {count} messages: {report:?}"));
    }
    Ok(json!({
        "count": count,
        "ms": millis(started.elapsed()),
        "dup": report.dup,
        "corrupt": report.corrupt,
    }))
}

/// No duplicates, no corruption; losses are counted.
pub(super) async fn unreliable(check: &Check<'_>) -> Result<Value, String> {
    let started = Instant::now();
    let options = ChannelOptions {
        ordered: false,
        max_retransmits: Some(0),
        ..ChannelOptions::default()
    };
    let (label, count) = fill(check, "sink:unreliable", init_of(&options, None)).await?;
    check.begin("count");
    let report = settled(check, &label, count).await?;
    if report.dup > 0 || report.corrupt > 0 || report.msgs > count || report.msgs == 0 {
        return Err(format!("of {count} messages: {report:?}"));
    }
    Ok(json!({
        "count": count,
        "received": report.msgs,
        "lost": count - report.msgs,
        "dup": report.dup,
        "corrupt": report.corrupt,
        "inOrder": report.in_order,
        "ms": millis(started.elapsed()),
    }))
}

/// Opens a sink there and sends into it.
async fn fill(
    check: &Check<'_>,
    prefix: &str,
    init: DataChannelInit,
) -> Result<(String, u64), String> {
    check.begin("open");
    let label = check.label(prefix);
    let channel = check.open(&label, init).await?;
    check.begin("send");
    let count = check.number("count", COUNT);
    let size = usize::try_from(check.number("size", SIZE)).map_err(|error| error.to_string())?;
    send_patterned(&channel, count, size).await?;
    Ok((label, count))
}

/// The sink's counters once they rest.
async fn settled(check: &Check<'_>, label: &str, count: u64) -> Result<Report, String> {
    let mut seen = 0;
    let mut since = Instant::now();
    check
        .driver
        .ctl
        .ask_until("sinkReport", json!({"label": label}), |reply| {
            let report = Report::read(reply)?;
            if report.msgs != seen {
                seen = report.msgs;
                since = Instant::now();
            }
            let quiet = report.msgs > 0 && since.elapsed() >= QUIET;
            (report.msgs >= count || quiet).then_some(report)
        })
        .await
}

impl Check<'_> {
    /// The sink's counters once it counted at least `count` messages.
    pub(super) async fn counted(&self, label: &str, count: u64) -> Result<Report, String> {
        self.driver
            .ctl
            .ask_until("sinkReport", json!({"label": label}), |reply| {
                Report::read(reply).filter(|report| report.msgs >= count)
            })
            .await
    }
}
