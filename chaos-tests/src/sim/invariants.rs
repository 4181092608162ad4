//! What must hold at every step, and what must hold once things are quiet.

use std::collections::BTreeSet;
use std::fmt;

use peerloom_mesh_proto::overlay::MAX_GUESTS;
use serde::Serialize;

use super::graph::Graph;
use super::node::Node;
use super::schedule::Act;
use super::trace::seconds;
use super::world::World;

/// Something that must never be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Milliseconds after the start.
    pub at: u64,
    /// Which invariant.
    pub invariant: &'static str,
    /// The nodes involved.
    pub nodes: Vec<u32>,
    /// What was found.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, nodes) = (seconds(self.at), &self.nodes);
        let Violation {
            invariant, detail, ..
        } = self;
        write!(
            f,
            "{invariant}, violated at {at} s by nodes {nodes:?}: {detail}"
        )
    }
}

/// A new link: not to oneself, not a second one to the same peer, not one too
/// many.
pub(super) fn new_link(index: u32, now: u64, node: &Node) -> Option<Violation> {
    let violation = |invariant, nodes, detail| {
        Some(Violation {
            at: now,
            invariant,
            nodes,
            detail,
        })
    };
    let mut peers = BTreeSet::new();
    for link in node.overlay.links() {
        let peer = link.peer;
        if peer == index {
            return violation("no link to oneself", vec![index], String::new());
        }
        if !peers.insert(peer) {
            let detail = format!("two links to node {peer}");
            return violation("no duplicate link", vec![index, peer], detail);
        }
    }
    // One link more may be there for as long as another takes to go.
    let most = usize::from(node.overlay.config().degrees.high) + 1;
    if peers.len() > most {
        let detail = format!("{} links, at most {most}", peers.len());
        return violation("degree within bounds", vec![index], detail);
    }
    None
}

/// Tables within their bounds.
pub(super) fn bounds(index: u32, now: u64, node: &Node) -> Option<Violation> {
    let sizes = node.overlay.sizes();
    let config = node.overlay.config();
    let degrees = &config.degrees;
    let fits = sizes.links <= usize::from(degrees.high)
        && sizes.inbound <= usize::from(degrees.inbound())
        && sizes.passive <= usize::from(degrees.passive)
        && sizes.attempts <= usize::from(config.dials) + 3
        && sizes.guests <= MAX_GUESTS
        && node.tree.is_bounded();
    (!fits).then(|| Violation {
        at: now,
        invariant: "tables within bounds",
        nodes: vec![index],
        detail: format!("{sizes:?}"),
    })
}

/// A broadcast delivered to one life of a node again.
pub(super) fn twice(index: u32, now: u64, number: usize) -> Violation {
    Violation {
        at: now,
        invariant: "no broadcast delivered twice",
        nodes: vec![index],
        detail: format!("broadcast {number}"),
    }
}

/// An end of a connection that counts as a link on one side only.
pub(super) type Lopsided = BTreeSet<(u32, u32)>;

impl World {
    /// The graph of links that both ends have, and the numbers of its nodes.
    pub fn graph(&self) -> (Graph, Vec<u32>) {
        let living: Vec<u32> = (0_u32..)
            .zip(&self.slots)
            .filter(|(_, slot)| slot.node.is_some())
            .map(|(index, _)| index)
            .collect();
        let mut place = vec![u32::MAX; self.slots.len()];
        for (compact, index) in (0_u32..).zip(&living) {
            if let Some(place) = usize::try_from(*index).ok().and_then(|n| place.get_mut(n)) {
                *place = compact;
            }
        }
        let mut edges = Vec::new();
        for (compact, index) in (0_u32..).zip(&living) {
            for (peer, _, both) in self.links_of(*index) {
                let peer = usize::try_from(peer)
                    .ok()
                    .and_then(|n| place.get(n))
                    .copied();
                if let Some(peer) = peer.filter(|peer| both && compact < *peer) {
                    edges.push((compact, peer));
                }
            }
        }
        (Graph::new(living.len(), &edges), living)
    }

    /// A node's links: to whom, over which end, and whether the other side
    /// has it too.
    pub(super) fn links_of(&self, index: u32) -> Vec<(u32, u32, bool)> {
        let node = |index: u32| {
            let slot = usize::try_from(index).ok().and_then(|n| self.slots.get(n));
            slot.and_then(|slot| slot.node.as_ref())
        };
        let Some(own) = node(index) else {
            return Vec::new();
        };
        let links = own.overlay.links().map(|link| {
            let end = self.ends(index).iter().find(|end| end.id == link.conn.0);
            let peer = link.peer;
            let theirs = end.map_or(0, |end| end.theirs);
            let both =
                node(peer).is_some_and(|other| other.overlay.links().any(|l| l.conn.0 == theirs));
            (peer, link.conn.0, both)
        });
        links.collect()
    }

    /// Links that only one side has. Some always are, for as long as a word
    /// travels; the same ones seconds later are a defect.
    pub(super) fn lopsided(&self) -> Lopsided {
        let nodes = 0..u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        let mut found = Lopsided::new();
        for index in nodes {
            let wrong = self
                .links_of(index)
                .into_iter()
                .filter(|(_, _, both)| !both);
            found.extend(wrong.map(|(_, conn, _)| (index, conn)));
        }
        found
    }

    /// What is wrong with a quiet mesh. `before` are the lopsided links of a
    /// while ago.
    pub(super) fn unquiet(&self, before: &Lopsided) -> Option<Violation> {
        let at = self.now();
        let violation = |invariant, nodes, detail| {
            Some(Violation {
                at,
                invariant,
                nodes,
                detail,
            })
        };
        let now = self.lopsided();
        if let Some((index, conn)) = now.intersection(before).next() {
            let links = self.links_of(*index);
            let peer = links
                .iter()
                .find(|(_, id, _)| id == conn)
                .map(|(peer, ..)| *peer);
            let nodes = std::iter::once(*index).chain(peer).collect();
            let detail = format!("only node {index} has the link");
            return violation("links are symmetric", nodes, detail);
        }
        let (graph, living) = self.graph();
        let sizes = graph.part_sizes();
        if sizes.len() > 1 {
            let parts = graph.parts();
            let lost = parts.iter().position(|part| *part != 0).unwrap_or(0);
            let (count, largest) = (sizes.len(), sizes.first());
            let detail = format!(
                "{count} parts, the largest of {} nodes",
                largest.unwrap_or(&0)
            );
            return violation("one component", vec![living[lost]], detail);
        }
        let wanted = 3.min(living.len().saturating_sub(1));
        let cut = graph.min_cut(wanted);
        if cut < wanted {
            let nodes = 0..u32::try_from(graph.len()).unwrap_or(u32::MAX);
            let thinnest = nodes.min_by_key(|node| graph.degree(*node)).unwrap_or(0);
            let node = living[usize::try_from(thinnest).unwrap_or(0)];
            let detail = format!("{cut} links keep it together");
            return violation("minimum cut of 3", vec![node], detail);
        }
        None
    }

    /// Of each honest node's links, the part that leads to Sybils, in order.
    pub(super) fn sybil_shares(&self) -> Vec<f64> {
        let sybils: BTreeSet<u32> = self.sybils.iter().copied().collect();
        let mut shares = Vec::new();
        for (index, slot) in (0_u32..).zip(&self.slots) {
            let Some(node) = slot.node.as_ref().filter(|_| slot.act != Act::Sybil) else {
                continue;
            };
            let peers: Vec<u32> = node.overlay.links().map(|l| l.peer).collect();
            let bad = peers.iter().filter(|peer| sybils.contains(peer)).count();
            debug_assert!(!sybils.contains(&index), "honest");
            #[allow(clippy::cast_precision_loss, reason = "a few links")]
            shares.push(bad as f64 / peers.len().max(1) as f64);
        }
        shares.sort_by(f64::total_cmp);
        shares
    }
}
