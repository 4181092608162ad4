//! Two network namespaces with a wire between them that can be cut.

use std::process::Command;

use crate::command::{Namespace, exists, run};
use crate::swarm::Place;

/// Where the processes of each side listen.
const ADDRESSES: [&str; 2] = ["10.83.0.1", "10.83.0.2"];

/// Which side a node lives on.
pub(crate) fn side(node: usize) -> usize {
    node % ADDRESSES.len()
}

impl Place for Wire {
    fn address(&self, node: usize) -> &'static str {
        ADDRESSES[side(node)]
    }

    fn command(&self, node: usize, program: &str) -> Command {
        self.sides[side(node)].command(program)
    }
}

/// Two sides and the wire.
pub(crate) struct Wire {
    sides: [Namespace; 2],
}

impl Wire {
    /// Both sides, connected; without root, `ip` or `nft` there is none, and stderr says so.
    pub(crate) fn new() -> Option<Self> {
        match Self::lay() {
            Ok(wire) => Some(wire),
            Err(why) => {
                let what = format!(
                    "SKIPPED, since it needs root, ip and nft (apt-get install iproute2 nftables): {why}"
                );
                assert!(std::env::var_os("CI").is_none(), "{what}");
                eprintln!("{what}");
                None
            }
        }
    }

    fn lay() -> Result<Self, String> {
        for (program, argument) in [("ip", "-V"), ("nft", "-v")] {
            if !exists(program, &[argument]) {
                return Err(format!("there is no {program}"));
            }
        }
        let sides = [Namespace::new("left")?, Namespace::new("right")?];
        let [left, right] = [0, 1].map(|side: usize| sides[side].name());
        run(
            "ip",
            &[
                "-n", left, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns",
                right,
            ],
            "",
        )?;
        for (side, address) in sides.iter().zip(ADDRESSES) {
            side.ip(&format!(
                "addr add {address}/24 dev wire\nlink set wire up\n"
            ))?;
        }
        Ok(Self { sides })
    }

    /// From now on nothing crosses, and nobody is told.
    pub(crate) fn cut(&self) {
        self.filter("add table inet cut\nadd chain inet cut in { type filter hook input priority 0; }\nadd rule inet cut in iif wire drop\n");
    }

    /// Everything crosses again.
    pub(crate) fn mend(&self) {
        self.filter("delete table inet cut\n");
    }

    fn filter(&self, rules: &str) {
        for side in &self.sides {
            side.run(&["nft", "-f", "-"], rules)
                .expect("the filter is set");
        }
    }
}
