//! The relay of W7, as a process of its own: its CPU time is not the stack's.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use rivals_kit::relay::{Path, Relay};
use serde_json::{Value, json};

use crate::Failure;
use crate::compare::pin;

/// Each way; a round trip takes twice that.
const DELAY: Duration = Duration::from_millis(20);

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Share of packets that are lost.
    #[arg(long)]
    loss: f64,
    /// The same seed loses the same packets.
    #[arg(long)]
    seed: u64,
    /// Where it runs.
    #[arg(long, value_delimiter = ',')]
    cores: Vec<usize>,
}

/// Prints the relay's addresses, and at the end of stdin what became of the packets.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    pin(&arguments.cores)?;
    let (loss, seed) = (arguments.loss, arguments.seed);
    let delay = DELAY;
    let path = Path { delay, loss, seed };
    let relay = Relay::start(path).map_err(|error| error.to_string())?;
    println!("{},{},{}", relay.near, relay.far, relay.control);
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let line = json!({
        "forwarded": count(&relay.report.forwarded),
        "lost": count(&relay.report.lost),
        "overflowed": count(&relay.report.overflowed),
        "overrun": relay.overrun(),
    });
    println!("{line}");
    Ok(())
}

/// A relay that runs.
pub(crate) struct Running {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    /// For `--via`.
    pub(crate) addresses: String,
}

impl Running {
    pub(crate) fn start(loss: f64, seed: u64, cores: &[usize]) -> Result<Self, Failure> {
        let cores: Vec<_> = cores.iter().map(usize::to_string).collect();
        let mut child = Command::new(std::env::current_exe()?)
            .args(["relay", "--loss", &loss.to_string()])
            .args(["--seed", &seed.to_string(), "--cores", &cores.join(",")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("the relay has no output")?;
        let mut output = BufReader::new(output);
        let mut addresses = String::new();
        output.read_line(&mut addresses)?;
        Ok(Self {
            child,
            output,
            addresses: addresses.trim().to_owned(),
        })
    }

    /// Ends it; what became of the packets.
    pub(crate) fn stop(mut self) -> Result<Value, Failure> {
        drop(self.child.stdin.take());
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        self.child.wait()?;
        Ok(serde_json::from_str(&line)?)
    }
}
