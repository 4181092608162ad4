//! What the peers told each other of their addresses: proof that a session went
//! the way that it is named after.

use serde_json::Value;

use crate::cases::{Case, Way};
use crate::session::Side;

/// Candidates that a side may tell in one session; more are not looked at.
const MAX_CANDIDATES: usize = 256;

/// The candidates of both sides, as lines.
#[derive(Default)]
pub(crate) struct Candidates([Vec<String>; 2]);

impl Candidates {
    /// Looks at a signal line.
    pub(crate) fn note(&mut self, from: Side, line: &Value) {
        let sdp = line["description"]["sdp"].as_str().unwrap_or_default();
        let described = sdp.lines().filter_map(|line| line.strip_prefix("a="));
        let told = line["candidate"]["candidate"].as_str();
        let known = &mut self.0[from.index()];
        for candidate in described.chain(told) {
            if candidate.starts_with("candidate:") && known.len() < MAX_CANDIDATES {
                known.push(candidate.to_owned());
            }
        }
    }

    /// Whether they are what the way asks for. While a connection comes up (`early`), some may be
    /// yet to come: a side is also found by the checks it sends.
    pub(crate) fn judge(&self, case: &Case, early: bool) -> Result<(), String> {
        for side in [Side::Driver, Side::Responder] {
            let kind = case.kind(side);
            let (what, fits): (_, fn(&str) -> bool) = match case.way {
                Way::Direct | Way::Tcp => continue,
                Way::Mdns => ("a name", is_name),
                Way::TurnUdp | Way::TurnTcp | Way::TurnTls => ("a relay", is_relay),
            };
            let told = &self.0[side.index()];
            if let Some(other) = told.iter().find(|candidate| !fits(candidate)) {
                return Err(format!("{kind} told what is not {what}: {other}"));
            }
            if told.is_empty() && !early {
                return Err(format!("{kind} told no candidates"));
            }
        }
        Ok(())
    }
}

fn is_name(candidate: &str) -> bool {
    let address = candidate.split_whitespace().nth(4);
    address.is_some_and(|address| address.ends_with(".local"))
}

fn is_relay(candidate: &str) -> bool {
    candidate.contains(" typ relay")
}
