//! The graph of links: its parts, and how many links keep it together.

/// An undirected graph.
#[derive(Debug, Clone)]
pub struct Graph {
    starts: Vec<u32>,
    ends: Vec<u32>,
}

fn at(index: u32) -> usize {
    // Lossless wherever this runs.
    index as usize
}

impl Graph {
    /// The graph of `nodes` nodes with these edges.
    pub fn new(nodes: usize, edges: &[(u32, u32)]) -> Self {
        let mut starts = vec![0_u32; nodes + 1];
        for (a, b) in edges {
            starts[at(*a) + 1] += 1;
            starts[at(*b) + 1] += 1;
        }
        for index in 1..starts.len() {
            starts[index] += starts[index - 1];
        }
        let mut next = starts.clone();
        let mut ends = vec![0; edges.len() * 2];
        for (a, b) in edges.iter().flat_map(|(a, b)| [(a, b), (b, a)]) {
            ends[at(next[at(*a)])] = *b;
            next[at(*a)] += 1;
        }
        Graph { starts, ends }
    }

    /// Nodes.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn neighbours(&self, node: u32) -> &[u32] {
        &self.ends[at(self.starts[at(node)])..at(self.starts[at(node) + 1])]
    }

    /// Edges of a node.
    pub fn degree(&self, node: u32) -> usize {
        self.neighbours(node).len()
    }

    fn nodes(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.len()).unwrap_or(u32::MAX)
    }

    /// The part that each node is in, numbered in order of the first node.
    pub fn parts(&self) -> Vec<u32> {
        let mut part = vec![u32::MAX; self.len()];
        let mut frontier = Vec::new();
        let mut count = 0;
        for start in self.nodes() {
            if part[at(start)] != u32::MAX {
                continue;
            }
            part[at(start)] = count;
            frontier.push(start);
            while let Some(node) = frontier.pop() {
                for next in self.neighbours(node) {
                    if part[at(*next)] == u32::MAX {
                        part[at(*next)] = count;
                        frontier.push(*next);
                    }
                }
            }
            count += 1;
        }
        part
    }

    /// Sizes of the parts, largest first.
    pub fn part_sizes(&self) -> Vec<usize> {
        let parts = self.parts();
        let count = parts.iter().max().map_or(0, |last| at(*last) + 1);
        let mut sizes = vec![0; count];
        for part in parts {
            sizes[at(part)] += 1;
        }
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        sizes
    }

    /// The fewest edges whose loss would split the graph, or `limit` if it is
    /// no fewer.
    ///
    /// Nagamochi, Ono and Ibaraki (Mathematical Programming 1994): scanning
    /// nodes by how many edges lead back to those scanned, an edge that is the
    /// k-th to reach a node joins two that are k-connected; those are merged.
    pub fn min_cut(&self, limit: usize) -> usize {
        let mut graph = self.clone();
        let mut least = limit;
        loop {
            let degrees = graph.nodes().map(|node| graph.degree(node));
            least = least.min(degrees.min().unwrap_or(0));
            if graph.len() < 2 || least == 0 {
                return if graph.len() < 2 && self.len() < 2 {
                    limit
                } else {
                    least
                };
            }
            let merged = graph.merge(least);
            if merged.len() < 2 {
                return least;
            }
            graph = merged;
        }
    }

    /// Merges what is connected by `k` edges, as far as one scan shows it.
    fn merge(&self, k: usize) -> Graph {
        let mut owner: Vec<u32> = self.nodes().collect();
        let mut reached = vec![0_usize; self.len()];
        let mut scanned = vec![false; self.len()];
        let mut queue: Vec<Vec<u32>> = vec![self.nodes().rev().collect()];
        while let Some(node) = pop_most(&mut queue, &reached, &scanned) {
            scanned[at(node)] = true;
            for next in self.neighbours(node) {
                let next = *next;
                if scanned[at(next)] {
                    continue;
                }
                reached[at(next)] += 1;
                let count = reached[at(next)];
                if count >= k {
                    let (a, b) = (find(&mut owner, node), find(&mut owner, next));
                    owner[at(a)] = b;
                }
                if queue.len() <= count {
                    queue.resize(count + 1, Vec::new());
                }
                queue[count].push(next);
            }
        }
        self.contract(&mut owner)
    }

    fn contract(&self, owner: &mut [u32]) -> Graph {
        let mut names = vec![u32::MAX; self.len()];
        let mut count = 0_u32;
        for node in self.nodes() {
            let root = at(find(owner, node));
            if names[root] == u32::MAX {
                names[root] = count;
                count += 1;
            }
        }
        let mut edges = Vec::new();
        for node in self.nodes() {
            let a = names[at(find(owner, node))];
            for next in self.neighbours(node).iter().filter(|next| **next > node) {
                let b = names[at(find(owner, *next))];
                if a != b {
                    edges.push((a, b));
                }
            }
        }
        Graph::new(at(count), &edges)
    }
}

/// The unscanned node that most edges lead to. Old entries are passed over.
fn pop_most(queue: &mut Vec<Vec<u32>>, reached: &[usize], scanned: &[bool]) -> Option<u32> {
    loop {
        let count = queue.len().checked_sub(1)?;
        match queue[count].pop() {
            None => {
                queue.pop();
            }
            Some(node) if scanned[at(node)] || reached[at(node)] != count => {}
            Some(node) => return Some(node),
        }
    }
}

fn find(owner: &mut [u32], mut node: u32) -> u32 {
    while owner[at(node)] != node {
        owner[at(node)] = owner[at(owner[at(node)])];
        node = owner[at(node)];
    }
    node
}

#[cfg(test)]
mod tests {
    use super::super::dice::{Dice, Stream};
    use super::*;
    use rand::RngExt as _;

    #[test]
    fn parts_are_counted() {
        let graph = Graph::new(6, &[(0, 1), (1, 2), (3, 4)]);
        assert_eq!(graph.part_sizes(), [3, 2, 1]);
        assert_eq!(graph.min_cut(9), 0);
    }

    #[test]
    fn known_cuts_are_found() {
        let ring: Vec<(u32, u32)> = (0..10).map(|n| (n, (n + 1) % 10)).collect();
        assert_eq!(Graph::new(10, &ring).min_cut(9), 2);
        let full: Vec<(u32, u32)> = (0..6)
            .flat_map(|a| (a + 1..6).map(move |b| (a, b)))
            .collect();
        assert_eq!(Graph::new(6, &full).min_cut(9), 5);
        assert_eq!(Graph::new(6, &full).min_cut(3), 3);
        // Two full graphs of six, held together by two edges.
        let mut two: Vec<(u32, u32)> = full.iter().map(|(a, b)| (a + 6, b + 6)).collect();
        two.extend(&full);
        two.extend([(0, 6), (1, 7)]);
        assert_eq!(Graph::new(12, &two).min_cut(9), 2);
    }

    #[test]
    fn it_agrees_with_trying_every_cut() {
        let mut dice = Dice::new(3, 0, 0, Stream::Schedule);
        for _ in 0..200 {
            let nodes = dice.random_range(2..9_u32);
            let edges: Vec<(u32, u32)> = (0..dice.random_range(0..24))
                .map(|_| (dice.random_range(0..nodes), dice.random_range(0..nodes)))
                .filter(|(a, b)| a != b)
                .collect();
            let across = |side: u32| {
                let crosses = |(a, b): &&(u32, u32)| side >> a & 1 != side >> b & 1;
                edges.iter().filter(crosses).count()
            };
            let best = (1..(1 << nodes) - 1).map(across).min().unwrap();
            let graph = Graph::new(at(nodes), &edges);
            assert_eq!(graph.min_cut(100), best, "{nodes}: {edges:?}");
        }
    }
}
