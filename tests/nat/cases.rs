//! What is run: every pair of routers with every set of servers.

use std::fmt;

use serde_json::{Value, json};

use crate::internet::{PASSWORD, SERVER, USER};
use crate::nat::Nat;

/// The ICE servers both ends know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Servers {
    Stun,
    TurnUdp,
    TurnTcp,
    TurnTls,
}

/// How two ends are expected to reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Direct,
    Relayed,
    Impossible,
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) nats: [Nat; 2],
    pub(crate) servers: Servers,
    pub(crate) strain: Strain,
}

/// What happens beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strain {
    None,
    /// One packet in twenty is lost at each router, in each direction.
    Loss,
    /// Each host is 50 ms away from its router, so a round trip takes 200 ms.
    Delay,
    /// The first host's address changes in the midst of many messages.
    Move,
}

pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (at, a) in Nat::ALL.into_iter().enumerate() {
        for b in Nat::ALL.into_iter().skip(at) {
            for servers in Servers::ALL {
                cases.push(Case {
                    nats: [a, b],
                    servers,
                    strain: Strain::None,
                });
            }
        }
    }
    for (nat, servers) in [
        (Nat::PortRestricted, Servers::Stun),
        (Nat::Symmetric, Servers::TurnUdp),
        (Nat::UdpBlocked, Servers::TurnTls),
    ] {
        for strain in [Strain::Loss, Strain::Delay, Strain::Move] {
            cases.push(Case {
                nats: [nat; 2],
                servers,
                strain,
            });
        }
    }
    // Without a relay: by ICE over TCP, whoever offers.
    for nats in [
        [Nat::UdpBlocked, Nat::Public],
        [Nat::Public, Nat::UdpBlocked],
    ] {
        cases.push(Case {
            nats,
            servers: Servers::Stun,
            strain: Strain::None,
        });
    }
    cases
}

impl Case {
    /// What theory says (RFC 5128 section 3.3): directly where the routers let
    /// it, else through a relay that every end which needs one can reach.
    pub(crate) fn expected(&self) -> Way {
        let [a, b] = self.nats;
        let relay = |nat| self.servers.relays(nat);
        let blocked = |nat| nat == Nat::UdpBlocked;
        if a.direct(b) || a.accepts() || b.accepts() {
            Way::Direct
        } else if (blocked(a) && !relay(a)) || (blocked(b) && !relay(b)) {
            Way::Impossible
        } else if relay(a) || relay(b) {
            Way::Relayed
        } else {
            Way::Impossible
        }
    }
}

impl Servers {
    const ALL: [Self; 4] = [Self::Stun, Self::TurnUdp, Self::TurnTcp, Self::TurnTls];

    /// Whether a host behind `nat` gets a relayed address from these.
    fn relays(self, nat: Nat) -> bool {
        match self {
            Self::Stun => false,
            Self::TurnUdp => nat != Nat::UdpBlocked,
            Self::TurnTcp | Self::TurnTls => true,
        }
    }

    /// As in `RTCConfiguration.iceServers`.
    pub(crate) fn config(self) -> Value {
        let stun = json!({"urls": [format!("stun:{SERVER}:3478")]});
        let turn = |url: String| json!({"urls": [url], "username": USER, "credential": PASSWORD});
        match self {
            Self::Stun => json!([stun]),
            Self::TurnUdp => json!([stun, turn(format!("turn:{SERVER}:3478?transport=udp"))]),
            Self::TurnTcp => json!([stun, turn(format!("turn:{SERVER}:3478?transport=tcp"))]),
            Self::TurnTls => json!([stun, turn(format!("turns:{SERVER}:5349?transport=tcp"))]),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b] = self.nats;
        let servers = match self.servers {
            Servers::Stun => "stun",
            Servers::TurnUdp => "turn-udp",
            Servers::TurnTcp => "turn-tcp",
            Servers::TurnTls => "turn-tls",
        };
        let strain = match self.strain {
            Strain::None => "",
            Strain::Loss => "/loss",
            Strain::Delay => "/delay",
            Strain::Move => "/move",
        };
        write!(f, "{a}-{b}/{servers}{strain}")
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Relayed => "relayed",
            Self::Impossible => "no way, as expected",
        })
    }
}
