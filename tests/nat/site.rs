//! A host behind a router of its own.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::cases::Strain;
use crate::command::Namespace;
use crate::internet::Internet;
use crate::nat::Nat;

/// What the wire of a site adds to each way, in milliseconds.
const DELAY_MS: u32 = 50;

pub(crate) struct Site {
    _wire: Option<Wire>,
    /// The first three parts of the addresses inside.
    inside: String,
    host: Namespace,
    /// `None` for a host that is on the internet itself.
    _router: Option<Namespace>,
    accepts: bool,
}

impl Site {
    pub(crate) fn new(internet: &Internet, nat: Nat, strain: Strain) -> Result<Self, String> {
        let number = internet.next_site();
        if nat == Nat::Public {
            return Self::public(internet, number);
        }
        let router = Namespace::new(&format!("router-{number}"))?;
        let host = Namespace::new(&format!("host-{number}"))?;
        let inside = format!("192.168.{number}");
        outside_link(internet.namespace(), &router, number)?;
        let wire = match strain {
            Strain::Delay => Some(Wire::lay(&router, &host)?),
            Strain::None | Strain::Loss | Strain::Move => {
                let name = host.name();
                router.ip(&format!(
                    "link add name lan type veth peer name eth0 netns {name}\n"
                ))?;
                None
            }
        };
        router.ip(&format!(
            "address add {inside}.1/24 dev lan\n\
             link set lan up\n"
        ))?;
        host.ip(&format!(
            "address add {inside}.2/24 dev eth0\n\
             link set eth0 up\n\
             route add default via {inside}.1\n"
        ))?;
        router.run(&["tee", "/proc/sys/net/ipv4/ip_forward"], "1")?;
        router.run(&["nft", "-f", "-"], &nat.rules(&format!("{inside}.2")))?;
        if strain == Strain::Loss {
            let lossy = "add rule ip filter weather numgen random mod 100 < 5 drop\n";
            router.run(&["nft", "-f", "-"], lossy)?;
        }
        Ok(Self {
            _wire: wire,
            inside,
            host,
            _router: Some(router),
            accepts: nat.accepts(),
        })
    }

    /// A host without a router.
    fn public(internet: &Internet, number: u8) -> Result<Self, String> {
        let host = Namespace::new(&format!("host-{number}"))?;
        outside_link(internet.namespace(), &host, number)?;
        Ok(Self {
            _wire: None,
            inside: String::new(),
            host,
            _router: None,
            accepts: true,
        })
    }

    /// Whether its host is to accept ICE over TCP.
    pub(crate) fn accepts(&self) -> bool {
        self.accepts
    }

    /// Gives the host another address, as after a change of network.
    pub(crate) fn move_host(&self) -> Result<(), String> {
        let inside = &self.inside;
        self.host.ip(&format!(
            "address flush dev eth0\n\
             address add {inside}.3/24 dev eth0\n\
             route add default via {inside}.1\n"
        ))
    }

    pub(crate) fn host(&self) -> &Namespace {
        &self.host
    }
}

/// The link of a router, or of a host without one, to the switch.
fn outside_link(outside: &Namespace, router: &Namespace, number: u8) -> Result<(), String> {
    router.ip(&format!(
        "link add name wan type veth peer name site{number} netns {}\n\
         address add 198.18.1.{number}/16 dev wan\n\
         link set wan up\n",
        outside.name(),
    ))?;
    outside.ip(&format!("link set site{number} master switch up\n"))
}

/// A slow wire between a router and its host.
struct Wire(Child);

impl Wire {
    fn lay(router: &Namespace, host: &Namespace) -> Result<Self, String> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nat/delay.py");
        let mut child = Command::new("python3")
            .args([script, router.name(), "lan", host.name(), "eth0"])
            .arg(DELAY_MS.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("python3 does not start: {error}"))?;
        let output = child.stdout.take().map(BufReader::new);
        let first = output.and_then(|output| output.lines().next());
        let wire = Self(child);
        match first {
            Some(Ok(line)) if line == "up" => Ok(wire),
            Some(_) | None => Err("the slow wire does not come up".to_owned()),
        }
    }
}

impl Drop for Wire {
    /// It ends with its stdin.
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}
