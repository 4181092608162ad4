//! What a demo ends with.

use serde::Serialize;

/// The last line of `peerloom demo --json`. The field names are fixed: scripts
/// read them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    /// Nodes started.
    pub(crate) peers: usize,
    /// From the first node's start until the mesh was formed.
    pub(crate) formed_ms: Option<u64>,
    /// Links of the formed mesh.
    pub(crate) links: usize,
    /// The fewest links of a node of the formed mesh.
    pub(crate) degree_min: usize,
    /// The most.
    pub(crate) degree_max: usize,
    /// Identity assertions that nodes checked and found good: one at each end
    /// of a link, and of every link that was built and given up again.
    pub(crate) identities_verified: u64,
    /// Broadcasts sent in the whole run.
    pub(crate) broadcasts_sent: u64,
    /// Direct messages sent in the whole run.
    pub(crate) directs_sent: u64,
    /// Deliveries owed in the whole run.
    pub(crate) deliveries_expected: u64,
    /// Deliveries made in the whole run, each counted once.
    pub(crate) deliveries: u64,
    /// Deliveries beyond the first.
    pub(crate) duplicates: u64,
    /// The longest way of a message, in links.
    pub(crate) hops_max: u32,
    /// Bytes over gossip (presence and signaling), sent and received, of all
    /// nodes.
    pub(crate) bytes_gossip: u64,
    /// Bytes over data channels, sent and received, of all nodes.
    pub(crate) bytes_channels: u64,
    /// Median time from sending a direct message to its acknowledgement.
    pub(crate) direct_rtt_us_p50: Option<u64>,
    /// Nodes killed.
    pub(crate) killed: usize,
    /// From the kill until the survivors were a formed mesh again.
    pub(crate) healed_ms: Option<u64>,
    /// Deliveries made of what was sent after healing.
    pub(crate) deliveries_after_heal: u64,
    /// Deliveries owed of what was sent after healing.
    pub(crate) deliveries_expected_after_heal: u64,
    /// Things that went wrong.
    pub(crate) errors: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_and_their_order_are_fixed() {
        let json = serde_json::to_string(&Report::default()).expect("serialises");
        let names: Vec<&str> = json
            .trim_matches(['{', '}'])
            .split(',')
            .filter_map(|field| field.split('"').nth(1))
            .collect();
        assert_eq!(
            names,
            [
                "peers",
                "formed_ms",
                "links",
                "degree_min",
                "degree_max",
                "identities_verified",
                "broadcasts_sent",
                "directs_sent",
                "deliveries_expected",
                "deliveries",
                "duplicates",
                "hops_max",
                "bytes_gossip",
                "bytes_channels",
                "direct_rtt_us_p50",
                "killed",
                "healed_ms",
                "deliveries_after_heal",
                "deliveries_expected_after_heal",
                "errors"
            ]
        );
    }
}
