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

/// All checks of data channels.
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
/// Towards a peer that can neither close every channel nor reuse ids.
const BASIC: [&str; 6] = [
    "connect",
    "sizes",
    "bufferedAmount",
    "ordered",
    "unreliable",
    "throughput",
];
/// All that a browser can be asked for.
const BROWSER: [&str; 10] = [
    "connect",
    "identity",
    "channels",
    "sizes",
    "bufferedAmount",
    "ordered",
    "unreliable",
    "close",
    "iceRestart",
    "throughput",
];
/// For a driver that knows little more.
const BRIEF: [&str; 2] = ["connect", "throughput"];
const BYTES: u64 = 8 << 20;
/// How long a connection that must not come up is watched, and the limit that
/// stands for the same thing with other drivers.
const REFUSAL_MS: (u64, u64) = (3000, 4000);

pub(crate) fn all() -> Vec<Case> {
    use Kind::{Aiortc, Chromium, ChromiumMdns, Peerloom, WebrtcRs};
    use Side::{Driver, Responder};

    let mut cases = Vec::new();
    both_roles(&mut cases, Peerloom, Peerloom, &FULL);
    wrong_fingerprint(&mut cases, Peerloom, Peerloom, &[Driver]);

    both_roles(&mut cases, Chromium, Peerloom, &BROWSER);
    both_roles(&mut cases, Peerloom, Chromium, &BROWSER);
    both_roles(&mut cases, ChromiumMdns, Peerloom, &BRIEF);
    wrong_fingerprint(&mut cases, Chromium, Peerloom, &[Driver, Responder]);
    wrong_fingerprint(&mut cases, Peerloom, Chromium, &[Driver]);

    both_roles(&mut cases, Aiortc, Peerloom, &FULL);
    both_roles(&mut cases, Peerloom, Aiortc, &FULL);
    wrong_fingerprint(&mut cases, Aiortc, Peerloom, &[Driver, Responder]);
    wrong_fingerprint(&mut cases, Peerloom, Aiortc, &[Driver]);

    both_roles(&mut cases, WebrtcRs, Peerloom, &BRIEF);
    both_roles(&mut cases, Peerloom, WebrtcRs, &BASIC);
    wrong_fingerprint(&mut cases, WebrtcRs, Peerloom, &[Driver, Responder]);
    wrong_fingerprint(&mut cases, Peerloom, WebrtcRs, &[Driver, Responder]);

    // Two foreign peers: proves the checks, not Peerloom.
    both_roles(&mut cases, Chromium, Aiortc, &FULL);
    both_roles(&mut cases, Aiortc, Chromium, &FULL);
    // webrtc 0.17 closes channels whose id was used before, now and then.
    both_roles(&mut cases, Chromium, WebrtcRs, &BRIEF);
    wrong_fingerprint(&mut cases, Chromium, Aiortc, &[Driver, Responder]);
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
/// these sides.
fn wrong_fingerprint(cases: &mut Vec<Case>, driver: Kind, responder: Kind, lied_to: &[Side]) {
    for offerer in [Side::Driver, Side::Responder] {
        for &side in lied_to {
            let refuser = if side == Side::Driver {
                "self"
            } else {
                "other"
            };
            let (wait, timeout) = REFUSAL_MS;
            let args = json!({"wait": wait, "timeout": timeout, "refuser": refuser});
            let tamper = Tamper::FingerprintTo(side);
            let checks = vec![Check {
                name: "noConnect",
                args,
            }];
            cases.push(Case {
                driver,
                responder,
                offerer,
                tamper,
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
