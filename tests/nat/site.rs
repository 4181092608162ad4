//! A host behind a router of its own.

use crate::cases::Strain;
use crate::command::Namespace;
use crate::internet::Internet;
use crate::nat::Nat;

pub(crate) struct Site {
    /// The first three parts of the addresses inside.
    inside: String,
    host: Namespace,
    _router: Namespace,
}

impl Site {
    pub(crate) fn new(internet: &Internet, nat: Nat, strain: Strain) -> Result<Self, String> {
        let number = internet.next_site();
        let router = Namespace::new(&format!("router-{number}"))?;
        let host = Namespace::new(&format!("host-{number}"))?;
        let (outside, inside) = (internet.namespace(), format!("192.168.{number}"));
        router.ip(&format!(
            "link add name wan type veth peer name site{number} netns {}\n\
             link add name lan type veth peer name eth0 netns {}\n\
             address add 198.18.1.{number}/16 dev wan\n\
             address add {inside}.1/24 dev lan\n\
             link set wan up\n\
             link set lan up\n",
            outside.name(),
            host.name(),
        ))?;
        outside.ip(&format!("link set site{number} master switch up\n"))?;
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
            inside,
            host,
            _router: router,
        })
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
