//! When a mesh counts as formed, judged from what its nodes say.
//!
//! Formed: every living node has at least `min(4, living - 1)` authenticated
//! peer links, the graph of links is connected, every roster is complete and
//! names nobody who is dead. A link counts when *both* its ends report it.

use std::collections::BTreeSet;

/// Links every node of a formed mesh has, unless the mesh is smaller.
pub const DEGREE_WANTED: usize = 4;

/// What one node says about itself; nodes are numbered from 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeView {
    /// Peers it has an authenticated link to.
    pub links: BTreeSet<usize>,
    /// Peers its roster names, itself aside.
    pub roster: BTreeSet<usize>,
    /// Members its roster names that are no node of this mesh at all.
    pub strangers: usize,
}

/// The mesh as a whole, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// Links that both ends report, between living nodes.
    pub links: usize,
    /// The fewest such links of a living node.
    pub degree_min: usize,
    /// The most.
    pub degree_max: usize,
    /// Living nodes with fewer links than wanted.
    pub thin: usize,
    /// Parts that the graph of links falls into.
    pub parts: usize,
    /// Living nodes whose roster misses somebody living.
    pub incomplete: usize,
    /// Living nodes whose roster names somebody dead or unknown.
    pub stale: usize,
}

impl Shape {
    /// Judges the living among `nodes`.
    pub fn of(nodes: &[NodeView], living: &BTreeSet<usize>) -> Self {
        let neighbours: Vec<BTreeSet<usize>> = (0..nodes.len())
            .map(|node| mutual(nodes, living, node))
            .collect();
        let degrees = || living.iter().map(|node| neighbours[*node].len());
        let wanted = DEGREE_WANTED.min(living.len().saturating_sub(1));
        Self {
            links: degrees().sum::<usize>() / 2,
            degree_min: degrees().min().unwrap_or(0),
            degree_max: degrees().max().unwrap_or(0),
            thin: degrees().filter(|degree| *degree < wanted).count(),
            parts: parts(&neighbours, living),
            incomplete: count(living, |node| !complete(&nodes[node], node, living)),
            stale: count(living, |node| stale(&nodes[node], living)),
        }
    }

    /// Whether the mesh counts as formed.
    pub fn is_formed(&self) -> bool {
        self.thin == 0 && self.parts <= 1 && self.incomplete == 0 && self.stale == 0
    }

    /// What is missing, in words; empty when the mesh is formed.
    pub fn missing(&self) -> String {
        let mut missing = Vec::new();
        if self.thin > 0 {
            missing.push(format!("{} with too few links", self.thin));
        }
        if self.parts > 1 {
            missing.push(format!("{} separate parts", self.parts));
        }
        if self.incomplete > 0 {
            missing.push(format!("{} incomplete rosters", self.incomplete));
        }
        if self.stale > 0 {
            missing.push(format!("{} rosters with dead peers", self.stale));
        }
        missing.join(", ")
    }
}

fn count(living: &BTreeSet<usize>, wrong: impl Fn(usize) -> bool) -> usize {
    living.iter().filter(|node| wrong(**node)).count()
}

/// The living neighbours of a living node that report the link too.
fn mutual(nodes: &[NodeView], living: &BTreeSet<usize>, node: usize) -> BTreeSet<usize> {
    if !living.contains(&node) {
        return BTreeSet::new();
    }
    let confirmed = |other: &usize| {
        *other != node
            && living.contains(other)
            && nodes
                .get(*other)
                .is_some_and(|view| view.links.contains(&node))
    };
    nodes[node]
        .links
        .iter()
        .copied()
        .filter(confirmed)
        .collect()
}

fn complete(view: &NodeView, node: usize, living: &BTreeSet<usize>) -> bool {
    living
        .iter()
        .all(|other| *other == node || view.roster.contains(other))
}

fn stale(view: &NodeView, living: &BTreeSet<usize>) -> bool {
    view.strangers > 0 || !view.roster.is_subset(living)
}

/// How many parts the graph falls into.
fn parts(neighbours: &[BTreeSet<usize>], living: &BTreeSet<usize>) -> usize {
    let mut unseen = living.clone();
    let mut parts = 0;
    while let Some(start) = unseen.pop_first() {
        parts += 1;
        let mut frontier = vec![start];
        while let Some(node) = frontier.pop() {
            let reached: Vec<usize> = neighbours[node].intersection(&unseen).copied().collect();
            for next in reached {
                unseen.remove(&next);
                frontier.push(next);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mesh whose links are the given pairs and whose rosters are complete.
    fn mesh(size: usize, links: &[(usize, usize)]) -> Vec<NodeView> {
        let mut nodes = vec![NodeView::default(); size];
        for (a, b) in links {
            nodes[*a].links.insert(*b);
            nodes[*b].links.insert(*a);
        }
        for (index, node) in nodes.iter_mut().enumerate() {
            node.roster = (0..size).filter(|other| *other != index).collect();
        }
        nodes
    }

    fn everyone(size: usize) -> BTreeSet<usize> {
        (0..size).collect()
    }

    /// Two rings laid over each other: degree 4.
    fn ring(size: usize) -> Vec<(usize, usize)> {
        (0..size)
            .flat_map(|a| [(a, (a + 1) % size), (a, (a + 2) % size)])
            .collect()
    }

    #[test]
    fn a_ring_of_degree_four_is_formed() {
        let nodes = mesh(12, &ring(12));
        let shape = Shape::of(&nodes, &everyone(12));
        assert!(shape.is_formed(), "{}", shape.missing());
        assert_eq!(shape.links, 24);
        assert_eq!((shape.degree_min, shape.degree_max), (4, 4));
    }

    #[test]
    fn small_meshes_need_all_their_links() {
        let two = mesh(2, &[(0, 1)]);
        assert!(Shape::of(&two, &everyone(2)).is_formed());
        let three = mesh(3, &[(0, 1), (1, 2)]);
        assert_eq!(Shape::of(&three, &everyone(3)).thin, 2);
    }

    #[test]
    fn a_link_only_one_end_knows_does_not_count() {
        let mut nodes = mesh(2, &[(0, 1)]);
        nodes[1].links.clear();
        let shape = Shape::of(&nodes, &everyone(2));
        assert_eq!(shape.links, 0);
        assert!(!shape.is_formed());
    }

    #[test]
    fn two_islands_are_not_a_mesh() {
        let island =
            |base: usize| (0..5).flat_map(move |a| (a + 1..5).map(move |b| (base + a, base + b)));
        let links: Vec<_> = island(0).chain(island(5)).collect();
        let shape = Shape::of(&mesh(10, &links), &everyone(10));
        assert_eq!(shape.thin, 0);
        assert_eq!(shape.parts, 2);
        assert!(!shape.is_formed());
        assert_eq!(shape.missing(), "2 separate parts");
    }

    #[test]
    fn an_incomplete_roster_is_noticed() {
        let mut nodes = mesh(6, &ring(6));
        nodes[3].roster.remove(&5);
        let shape = Shape::of(&nodes, &everyone(6));
        assert_eq!(shape.incomplete, 1);
        assert!(!shape.is_formed());
    }

    #[test]
    fn the_dead_count_neither_as_links_nor_in_rosters() {
        let mut nodes = mesh(6, &ring(6));
        let living: BTreeSet<usize> = (0..5).collect();
        let wounded = Shape::of(&nodes, &living);
        assert_eq!(wounded.stale, 5);
        assert_eq!(wounded.thin, 4);
        for node in &mut nodes {
            node.roster.remove(&5);
            node.links.remove(&5);
        }
        for (a, b) in [(0, 3), (1, 4)] {
            nodes[a].links.insert(b);
            nodes[b].links.insert(a);
        }
        let healed = Shape::of(&nodes, &living);
        assert!(healed.is_formed(), "{}", healed.missing());
    }

    #[test]
    fn strangers_in_a_roster_are_stale() {
        let mut nodes = mesh(2, &[(0, 1)]);
        nodes[0].strangers = 1;
        assert_eq!(Shape::of(&nodes, &everyone(2)).stale, 1);
    }
}
