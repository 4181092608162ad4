//! Multicast DNS: two nodes with names of their own, and what else arrives from the group.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use peerloom_transports_proto::mdns::{MAX_NAMES, MAX_QUERIES, Mdns, is_mdns_name};

use super::script::{Ends, Reader, play};

/// Names that a node asks for beside those of the other one.
const STRANGERS: [&str; 3] = ["x.local", "A.b.LOCAL", "example.org"];

struct Nodes {
    nodes: [Mdns; 2],
    names: [Vec<String>; 2],
    now: Instant,
    found: usize,
}

impl Nodes {
    fn new() -> Self {
        let mut nodes = [Mdns::new([1; 32]), Mdns::new([2; 32])];
        let own = [
            IpAddr::from(Ipv4Addr::new(192, 0, 2, 1)),
            IpAddr::from(Ipv6Addr::from([0x20; 16])),
        ];
        let names = [0, 1].map(|node: usize| {
            let register = |address: IpAddr| nodes[node].register(address);
            own.into_iter().filter_map(register).collect()
        });
        Self {
            nodes,
            names,
            now: Instant::now(),
            found: 0,
        }
    }
}

impl Ends for Nodes {
    fn drain(&mut self, sent: &mut Vec<(usize, Vec<u8>)>) {
        for (at, node) in self.nodes.iter_mut().enumerate() {
            let mut events = 0;
            while let Some(event) = node.poll_event() {
                events += 1;
                assert!(is_mdns_name(&event.name), "{:?}", event.name);
                self.found += usize::from(event.address.is_some());
                let usable = |ip: IpAddr| !ip.is_unspecified() && !ip.is_multicast();
                assert!(event.address.is_none_or(usable));
            }
            let mut packets = 0;
            while let Some(packet) = node.poll_packet() {
                packets += 1;
                sent.push((1 - at, packet.to_vec()));
            }
            assert!(events <= MAX_QUERIES && packets <= MAX_QUERIES + MAX_NAMES);
        }
    }

    fn feed(&mut self, to: usize, packet: &[u8]) {
        self.nodes[to].handle_packet(packet, self.now);
    }

    /// As many records as the packet can hold, whatever the header says.
    fn seal(&self, _to: usize, packet: &mut Vec<u8>) {
        packet.resize(packet.len().max(12), 0);
        packet[4..12].copy_from_slice(&[0, 1, 0, 1, 0, 0, 0, 0]);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        for node in &mut self.nodes {
            node.handle_timeout(self.now);
            let next = node.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now), "due again at once");
        }
    }

    fn act(&mut self, end: usize, what: u8) {
        let which = usize::from(what >> 4);
        let theirs = self.names[1 - end].get(which).cloned();
        match what % 4 {
            0 => {
                let name = theirs.unwrap_or_else(|| STRANGERS[which % 3].to_owned());
                let asked = self.nodes[end].resolve(&name, self.now);
                assert!(!asked || is_mdns_name(&name));
            }
            1 => {
                let address = IpAddr::from([192, 0, 2, what]);
                self.names[end].extend(self.nodes[end].register(address));
            }
            2 => {
                if let Some(name) = self.names[end].pop() {
                    self.nodes[end].unregister(&name);
                }
            }
            _ => {
                if let Some(name) = theirs {
                    self.nodes[end].resolve(&name.to_ascii_uppercase(), self.now);
                }
            }
        }
    }
}

/// A byte that means nothing, then a script. Gets anywhere if a name is found.
pub fn mdns(data: &[u8]) -> bool {
    let mut nodes = Nodes::new();
    play(Reader(data).0.get(1..).unwrap_or_default(), &mut nodes);
    nodes.found > 0
}

/// The packets of a script.
pub(crate) fn packets(data: &[u8]) -> Vec<(usize, Vec<u8>)> {
    play(data.get(1..).unwrap_or_default(), &mut Nodes::new())
}
