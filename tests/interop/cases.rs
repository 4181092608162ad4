//! Which peers meet, in which roles, and what is checked between them.

use std::fmt;

use serde_json::{Value, json};

use crate::faults;
use crate::judge::Verdict;
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

/// How the two peers find each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// By the addresses of their hosts.
    Direct,
    /// The foreign peer's host candidates are mDNS names.
    Mdns,
    /// By TCP: candidates over UDP do not get through. Peerloom listens, and Pion does.
    Tcp,
    /// By relays of a TURN server, and nothing else, at both ends.
    TurnUdp,
    TurnTcp,
    TurnTls,
}

impl Way {
    /// Whether it needs the TURN server.
    pub(crate) fn is_relayed(self) -> bool {
        match self {
            Self::TurnUdp | Self::TurnTcp | Self::TurnTls => true,
            Self::Direct | Self::Mdns | Self::Tcp => false,
        }
    }
}

/// Two peers, one connection, some checks.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) driver: Kind,
    pub(crate) responder: Kind,
    pub(crate) offerer: Side,
    pub(crate) tamper: Tamper,
    pub(crate) way: Way,
    pub(crate) checks: Vec<Check>,
    /// What is known of the checks: the other side's fault.
    pub(crate) verdict: Verdict,
    /// What stands in the failure if it is that fault.
    pub(crate) symptoms: &'static [&'static str],
    /// What the session's only check is, if it has a session of its own.
    alone: Option<String>,
}

impl Case {
    fn new(driver: Kind, responder: Kind, offerer: Side) -> Self {
        Self {
            driver,
            responder,
            offerer,
            tamper: Tamper::Nothing,
            way: Way::Direct,
            checks: Vec::new(),
            verdict: Verdict::Works,
            symptoms: &[],
            alone: None,
        }
    }

    /// A transfer between two of a kind, for `--compare`.
    pub(crate) fn transfer(kind: Kind, args: Value) -> Self {
        let mut case = Self::new(kind, kind, Side::Driver);
        case.checks = check("connect", Way::Direct);
        case.checks.push(Check {
            name: "throughput",
            args,
        });
        case
    }

    pub(crate) fn kind(&self, side: Side) -> Kind {
        match side {
            Side::Driver => self.driver,
            Side::Responder => self.responder,
        }
    }

    /// The peer that Peerloom meets here, unless Peerloom is at neither end or
    /// at both.
    pub(crate) fn foreign(&self) -> Option<Kind> {
        match (self.driver, self.responder) {
            (Kind::Peerloom, Kind::Peerloom) => None,
            (Kind::Peerloom, kind) | (kind, Kind::Peerloom) => Some(kind),
            (_, _) => None,
        }
    }
}

/// `driver>responder/who-offers`, and what is special.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offers = match self.offerer {
            Side::Driver => "driver-offers",
            Side::Responder => "responder-offers",
        };
        write!(f, "{}>{}/{offers}", self.driver, self.responder)?;
        match self.way {
            Way::Direct => {}
            Way::Mdns => f.write_str("/mdns")?,
            Way::Tcp => f.write_str("/tcp")?,
            Way::TurnUdp => f.write_str("/turn-udp")?,
            Way::TurnTcp => f.write_str("/turn-tcp")?,
            Way::TurnTls => f.write_str("/turn-tls")?,
        }
        match self.tamper {
            Tamper::Nothing => {}
            Tamper::FingerprintTo(Side::Driver) => f.write_str("/wrong-fingerprint-to-driver")?,
            Tamper::FingerprintTo(Side::Responder) => {
                f.write_str("/wrong-fingerprint-to-responder")?;
            }
        }
        match &self.alone {
            Some(check) => write!(f, "/{check}"),
            None => Ok(()),
        }
    }
}

/// All that a driver of every check runs.
const FULL: [&str; 12] = [
    "connect",
    "identity",
    "channels",
    "sizes",
    "empty",
    "bufferedAmount",
    "ordered",
    "unreliable",
    "close",
    "renegotiate",
    "iceRestart",
    "throughput",
];
/// For aiortc, which cannot restart and does not show certificates.
const WITHOUT_ICE: [&str; 9] = [
    "connect",
    "channels",
    "sizes",
    "empty",
    "bufferedAmount",
    "ordered",
    "unreliable",
    "close",
    "throughput",
];
/// For a driver that knows little more, and for a way that must only carry.
const BRIEF: [&str; 2] = ["connect", "throughput"];
/// What two browsers judge between them.
const CONNECT: [&str; 1] = ["connect"];
const NEGOTIATION: [&str; 2] = ["connect", "renegotiate"];
const BYTES: u64 = 8 << 20;
/// On a special way it is enough to see that it carries.
const SHORT_BYTES: u64 = 1 << 20;
/// How often a check is run that fails at times.
const TRIES: usize = 4;
/// How long a check may take: some stacks are slow on a machine with more to do.
const CHECK_MS: u64 = 150_000;
/// The same for a check that is known to fail, which must not hold up the others.
const KNOWN_MS: u64 = 45_000;
/// How long a connection that must not come up is watched, and the limit that
/// stands for the same thing with other drivers.
const REFUSAL_MS: (u64, u64) = (3000, 4000);

/// The checks that a peer of this kind drives.
fn driven_by(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Peerloom | Kind::Chromium | Kind::Firefox | Kind::Wrtc | Kind::Werift => &FULL,
        Kind::Aiortc => &WITHOUT_ICE,
        Kind::WebrtcRs => &BRIEF,
        Kind::Pion | Kind::Str0m => &[],
    }
}

pub(crate) fn all() -> Vec<Case> {
    use Kind::{Aiortc, Chromium, Firefox, Peerloom, WebrtcRs};
    use Side::{Driver, Responder};

    let mut cases = Vec::new();
    both_roles(&mut cases, Peerloom, Peerloom, &FULL);
    wrong_fingerprint(&mut cases, Peerloom, Peerloom, &[Driver]);
    for kind in Kind::FOREIGN {
        let driven = driven_by(kind);
        both_roles(&mut cases, kind, Peerloom, driven);
        both_roles(&mut cases, Peerloom, kind, &FULL);
        if driven.is_empty() {
            wrong_fingerprint(&mut cases, Peerloom, kind, &[Driver, Responder]);
        } else {
            wrong_fingerprint(&mut cases, kind, Peerloom, &[Driver]);
            wrong_fingerprint(&mut cases, Peerloom, kind, &[Driver]);
        }
        mdns(&mut cases, kind);
        tcp(&mut cases, kind);
        relayed(&mut cases, kind);
    }
    // Two foreign peers: proves the checks, not Peerloom.
    both_roles(&mut cases, Chromium, Aiortc, &WITHOUT_ICE);
    both_roles(&mut cases, Firefox, Chromium, &NEGOTIATION);
    both_roles(&mut cases, Chromium, Kind::Werift, &CONNECT);
    // webrtc 0.17 closes channels whose id was used before, now and then.
    both_roles(&mut cases, Chromium, WebrtcRs, &BRIEF);
    wrong_fingerprint(&mut cases, Chromium, Aiortc, &[Driver, Responder]);
    cases
}

fn both_roles(cases: &mut Vec<Case>, driver: Kind, responder: Kind, checks: &[&'static str]) {
    for offerer in [Side::Driver, Side::Responder] {
        sessions(cases, &Case::new(driver, responder, offerer), checks);
    }
}

/// One session for all checks that must pass, and one for each that is known
/// to fail: it ends its session.
fn sessions(cases: &mut Vec<Case>, case: &Case, checks: &[&'static str]) {
    let mut together = case.clone();
    let mut apart = Vec::new();
    for &name in checks {
        let fault = faults::find(case, name);
        let verdict = fault.map_or(Verdict::Works, |fault| fault.verdict);
        let tries = match verdict {
            Verdict::Works => {
                together.checks.extend(check(name, case.way));
                0
            }
            Verdict::Absent => 0,
            Verdict::Fails => 1,
            Verdict::AtTimes => TRIES,
        };
        for _ in 0..tries {
            let mut checks = check(name, case.way);
            for check in &mut checks {
                if !check.args["timeout"].is_null() {
                    check.args["timeout"] = KNOWN_MS.into();
                }
            }
            apart.push(Case {
                checks,
                verdict,
                symptoms: fault.map_or(&[], |fault| fault.symptoms),
                alone: Some(name.to_owned()),
                ..case.clone()
            });
        }
    }
    if !together.checks.is_empty() {
        cases.push(together);
    }
    cases.append(&mut apart);
}

/// The foreign peer hides its addresses behind names.
fn mdns(cases: &mut Vec<Case>, kind: Kind) {
    for offerer in [Side::Driver, Side::Responder] {
        let case = Case {
            way: Way::Mdns,
            ..Case::new(Kind::Peerloom, kind, offerer)
        };
        sessions(cases, &case, &BRIEF);
    }
}

/// The foreign peer opens a connection to Peerloom; Pion waits for one.
fn tcp(cases: &mut Vec<Case>, kind: Kind) {
    for offerer in [Side::Driver, Side::Responder] {
        let case = Case {
            way: Way::Tcp,
            ..Case::new(Kind::Peerloom, kind, offerer)
        };
        sessions(cases, &case, &BRIEF);
    }
}

/// Both peers may use relays only.
fn relayed(cases: &mut Vec<Case>, kind: Kind) {
    let ways = [
        (Way::TurnUdp, Side::Driver),
        (Way::TurnUdp, Side::Responder),
        (Way::TurnTcp, Side::Driver),
        (Way::TurnTls, Side::Responder),
    ];
    for (way, offerer) in ways {
        let case = Case {
            way,
            ..Case::new(Kind::Peerloom, kind, offerer)
        };
        sessions(cases, &case, &BRIEF);
    }
}

/// ICE comes up, DTLS does not: in both offerer roles, with the lie told to
/// these sides.
fn wrong_fingerprint(cases: &mut Vec<Case>, driver: Kind, responder: Kind, lied_to: &[Side]) {
    for offerer in [Side::Driver, Side::Responder] {
        for &side in lied_to {
            let case = Case {
                tamper: Tamper::FingerprintTo(side),
                ..Case::new(driver, responder, offerer)
            };
            sessions(cases, &case, &["noConnect"]);
        }
    }
    for case in cases.iter_mut() {
        let Tamper::FingerprintTo(side) = case.tamper else {
            continue;
        };
        let refuser = match side {
            Side::Driver => "self",
            Side::Responder => "other",
        };
        let (wait, timeout) = REFUSAL_MS;
        for check in &mut case.checks {
            check.args = json!({"wait": wait, "timeout": timeout, "refuser": refuser});
        }
    }
}

fn check(name: &'static str, way: Way) -> Vec<Check> {
    let bytes = match way {
        Way::Direct => BYTES,
        Way::Mdns | Way::Tcp | Way::TurnUdp | Way::TurnTcp | Way::TurnTls => SHORT_BYTES,
    };
    match name {
        "throughput" => ["up", "down"]
            .map(|dir| Check {
                name,
                args: json!({"dir": dir, "bytes": bytes, "timeout": CHECK_MS}),
            })
            .into(),
        "connect" => vec![Check {
            name,
            args: json!({}),
        }],
        _ => vec![Check {
            name,
            args: json!({"timeout": CHECK_MS}),
        }],
    }
}
