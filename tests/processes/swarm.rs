//! The processes, and what they say of themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use peerloom_chaos_tests::shape::{NodeView, Shape};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{Input, Process};

/// Lines of all processes not read yet; a full queue makes them wait.
const LINES: usize = 1024;
/// After this long a shape that has not come about is not expected any more: some
/// twenty times what it takes on an idle machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// Where processes run.
pub(crate) trait Place {
    /// The address that a node listens on.
    fn address(&self, node: usize) -> &'static str;

    /// A program that will run where a node lives.
    fn command(&self, node: usize, program: &str) -> Command;
}

/// All on this machine's loopback interface.
pub(crate) struct Loopback;

impl Place for Loopback {
    fn address(&self, _: usize) -> &'static str {
        "127.0.0.1"
    }

    fn command(&self, _: usize, program: &str) -> Command {
        Command::new(program)
    }
}

/// A line of a process, and which life of it said so.
struct Said {
    node: usize,
    life: usize,
    input: Input,
}

/// One node, which may live several times.
struct Node {
    data: TempDir,
    life: usize,
    process: Option<Process>,
    peer: Option<String>,
    ticket: Option<String>,
    /// Its members other than itself, and whether it is linked to each.
    members: BTreeMap<String, bool>,
}

pub(crate) struct Swarm<'a> {
    place: &'a dyn Place,
    nodes: Vec<Node>,
    said: Receiver<Said>,
    say: SyncSender<Said>,
}

impl<'a> Swarm<'a> {
    /// A mesh of so many nodes; all others begin with the ticket of the first. Each waits until the one before
    /// it is linked, so that a slow machine takes longer, and does not drown in handshakes.
    pub(crate) fn form(nodes: usize, place: &'a dyn Place) -> Self {
        let mut swarm = Self::new(nodes, place);
        swarm.start(0, None);
        let ticket = swarm.ticket(0);
        for node in 1..nodes {
            swarm.start(node, Some(&ticket));
            swarm.until_linked(node);
        }
        let everyone = (0..nodes).collect();
        swarm.until_formed(&format!("{nodes} processes"), &[&everyone]);
        swarm
    }

    /// So many nodes, none of them started.
    fn new(nodes: usize, place: &'a dyn Place) -> Self {
        let (say, said) = sync_channel(LINES);
        let node = |_| Node {
            data: tempfile::tempdir().expect("a directory"),
            life: 0,
            process: None,
            peer: None,
            ticket: None,
            members: BTreeMap::new(),
        };
        Self {
            place,
            nodes: (0..nodes).map(node).collect(),
            said,
            say,
        }
    }

    /// Starts a node on what its directory has.
    pub(crate) fn start(&mut self, node: usize, ticket: Option<&str>) {
        let address = self.place.address(node);
        let mut command = self.place.command(node, env!("CARGO_BIN_EXE_peerloom"));
        let data = self.nodes[node].data.path();
        command
            .env_remove("PEERLOOM_LOG")
            .args(["up", "--mesh", "thirty", "--json", "--no-mdns", "--data"])
            .arg(data)
            .args(["--bind", &format!("{address}:0")])
            .args(["--listen", &format!("/ip4/{address}/udp/0/quic-v1")]);
        if let Some(ticket) = ticket {
            command.args(["--ticket", ticket]);
        }
        let say = self.say.clone();
        let at = &mut self.nodes[node];
        at.life += 1;
        let life = at.life;
        let deliver = move |input| say.send(Said { node, life, input }).is_ok();
        let mut process = Process::start(command, deliver).expect("a node starts");
        process.send(&json!({"watch": true})).expect("it reads");
        at.process = Some(process);
    }

    /// Ends a node at once: nothing is said, and nothing is written any more.
    pub(crate) fn kill(&mut self, node: usize) {
        let at = &mut self.nodes[node];
        at.process.take().expect("it lives").kill();
        at.life += 1;
        at.members.clear();
    }

    /// How others join through a node, when it has said so.
    fn ticket(&mut self, node: usize) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(ticket) = &self.nodes[node].ticket {
                return ticket.clone();
            }
            assert!(
                self.hear(end),
                "node {node} does not say its ticket: {}",
                self.stderr(node)
            );
        }
    }

    /// Waits until a node has a link.
    pub(crate) fn until_linked(&mut self, node: usize) {
        let end = Instant::now() + PATIENCE;
        while !self.nodes[node].members.values().any(|linked| *linked) {
            assert!(
                self.hear(end),
                "node {node} finds nobody: {}",
                self.stderr(node)
            );
        }
    }

    /// Waits until each of these groups is a mesh that knows of nobody outside of it.
    pub(crate) fn until_formed(&mut self, what: &str, groups: &[&BTreeSet<usize>]) {
        let began = Instant::now();
        loop {
            let views = self.views();
            let shapes: Vec<Shape> = groups
                .iter()
                .map(|group| Shape::of(&views, group))
                .collect();
            if shapes.iter().all(Shape::is_formed) {
                eprintln!("{what}: {:.1} s, {shapes:?}", began.elapsed().as_secs_f64());
                return;
            }
            if !self.hear(began + PATIENCE) {
                let missing: Vec<String> = shapes.iter().map(Shape::missing).collect();
                let bad = groups.iter().flat_map(|group| group.iter()).copied();
                let bad = bad.max_by_key(|node| usize::MAX - views[*node].links.len());
                let last = bad
                    .map(|node| format!("node {node}: {:?}\n{}", views[node], self.stderr(node)));
                panic!(
                    "{what}: {}\n{}",
                    missing.join("; "),
                    last.unwrap_or_default()
                );
            }
        }
    }

    /// What each node says of itself.
    fn views(&self) -> Vec<NodeView> {
        let peers = self.nodes.iter().enumerate();
        let who: BTreeMap<&str, usize> = peers
            .filter_map(|(index, node)| Some((node.peer.as_deref()?, index)))
            .collect();
        let view = |node: &Node| {
            let mut view = NodeView::default();
            for (peer, linked) in &node.members {
                let Some(index) = who.get(peer.as_str()) else {
                    view.strangers += 1;
                    continue;
                };
                view.roster.insert(*index);
                if *linked {
                    view.links.insert(*index);
                }
            }
            view
        };
        self.nodes.iter().map(view).collect()
    }

    /// Takes in the next line; false, when none came until then.
    fn hear(&mut self, end: Instant) -> bool {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        match self.said.recv_timeout(left) {
            Ok(said) => self.take_in(said),
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => unreachable!("this end has a sender, too"),
        }
        true
    }

    fn take_in(&mut self, Said { node, life, input }: Said) {
        if self.nodes[node].life != life {
            return;
        }
        let line = match input {
            Input::Line(line) => line,
            Input::Noise(text) => panic!("node {node} says {text:?}"),
            Input::End => panic!("node {node} ended: {}", self.stderr(node)),
        };
        let at = &mut self.nodes[node];
        let text = |name: &str| line[name].as_str().map(str::to_owned);
        match line["event"].as_str() {
            Some("up") => {
                let peer = text("peer");
                assert!(
                    at.peer.is_none() || at.peer == peer,
                    "node {node} has another key"
                );
                at.peer = peer;
                at.ticket = text("ticket");
            }
            Some("members") => at.members = members(&line),
            _ => {}
        }
    }

    fn stderr(&self, node: usize) -> String {
        let process = self.nodes[node].process.as_ref();
        process.map_or_else(String::new, |process| process.stderr().join("\n"))
    }
}

impl Drop for Swarm<'_> {
    /// Asks all to leave, so that none is waited for alone.
    fn drop(&mut self) {
        for process in self
            .nodes
            .iter_mut()
            .filter_map(|node| node.process.as_mut())
        {
            // One that has ended does not read.
            drop(process.send(&json!({"quit": true})));
        }
    }
}

/// The others in a `members` line, and whether there is a link to each.
fn members(line: &Value) -> BTreeMap<String, bool> {
    let members = line["members"].as_array().expect("members");
    let others = members.iter().filter(|member| member["me"] == false);
    others
        .map(|member| {
            let peer = member["peer"].as_str().expect("a peer");
            (peer.to_owned(), member["linked"] == true)
        })
        .collect()
}
