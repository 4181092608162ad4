//! Which peers meet, in which roles, and what is checked between them.

use std::fmt;

use serde_json::{Value, json};

use crate::peers::Kind;
use crate::session::Side;

/// One check that the driving peer runs.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) args: Value,
}

/// What the runner does to the descriptions it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tamper {
    Nothing,
    /// The fingerprint in descriptions on their way to this side is changed.
    FingerprintTo(Side),
}

/// Two peers, one connection, some checks.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) driver: Kind,
    pub(crate) responder: Kind,
    pub(crate) offerer: Side,
    pub(crate) tamper: Tamper,
    pub(crate) checks: Vec<Check>,
}

impl Case {
    pub(crate) fn kind(&self, side: Side) -> Kind {
        match side {
            Side::Driver => self.driver,
            Side::Responder => self.responder,
        }
    }
}

/// `driver>responder/who-offers`, and what is wrong, if something is.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offers = match self.offerer {
            Side::Driver => "driver-offers",
            Side::Responder => "responder-offers",
        };
        write!(f, "{}>{}/{offers}", self.driver, self.responder)?;
        match self.tamper {
            Tamper::Nothing => Ok(()),
            Tamper::FingerprintTo(Side::Driver) => f.write_str("/wrong-fingerprint-to-driver"),
            Tamper::FingerprintTo(Side::Responder) => {
                f.write_str("/wrong-fingerprint-to-responder")
            }
        }
    }
}

/// All of the data channel checks.
const FULL: [&str; 8] = [
    "connect",
    "channels",
    "sizes",
    "bufferedAmount",
    "ordered",
    "unreliable",
    "close",
    "throughput",
];
/// What a peer can be asked that knows neither messages of 256 KiB nor the
/// reuse of ids.
const BASIC: [&str; 5] = [
    "connect",
    "bufferedAmount",
    "ordered",
    "unreliable",
    "throughput",
];
const BYTES: u64 = 8 << 20;
/// How long a connection that must not come up is watched.
const REFUSAL_MS: u64 = 3000;

pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    // The foreign peers among themselves: proves the checks, not Peerloom.
    both_roles(&mut cases, Kind::Chromium, Kind::Aiortc, &FULL);
    both_roles(&mut cases, Kind::Aiortc, Kind::Chromium, &FULL);
    both_roles(&mut cases, Kind::Chromium, Kind::WebrtcRs, &FULL);
    wrong_fingerprint(&mut cases, Kind::Chromium, Kind::Aiortc);
    both_roles(
        &mut cases,
        Kind::WebrtcRs,
        Kind::Aiortc,
        &["connect", "throughput"],
    );
    both_roles(&mut cases, Kind::Aiortc, Kind::WebrtcRs, &BASIC);
    cases
}

fn both_roles(cases: &mut Vec<Case>, driver: Kind, responder: Kind, checks: &[&'static str]) {
    for offerer in [Side::Driver, Side::Responder] {
        let checks = checks.iter().flat_map(|name| check(name)).collect();
        cases.push(Case {
            driver,
            responder,
            offerer,
            tamper: Tamper::Nothing,
            checks,
        });
    }
}

/// ICE comes up, DTLS does not: in both offerer roles, with the lie told to
/// either side.
fn wrong_fingerprint(cases: &mut Vec<Case>, driver: Kind, responder: Kind) {
    for offerer in [Side::Driver, Side::Responder] {
        for lied_to in [Side::Driver, Side::Responder] {
            let refuser = if lied_to == Side::Driver {
                "self"
            } else {
                "other"
            };
            let checks = vec![Check {
                name: "noConnect",
                args: json!({"wait": REFUSAL_MS, "refuser": refuser}),
            }];
            cases.push(Case {
                driver,
                responder,
                offerer,
                tamper: Tamper::FingerprintTo(lied_to),
                checks,
            });
        }
    }
}

fn check(name: &'static str) -> Vec<Check> {
    match name {
        "throughput" => ["up", "down"]
            .map(|dir| Check {
                name,
                args: json!({"dir": dir, "bytes": BYTES}),
            })
            .into(),
        _ => vec![Check {
            name,
            args: json!({}),
        }],
    }
}
