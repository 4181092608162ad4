//! Small meshes of trees over a network without delay.

use std::collections::VecDeque;

use super::*;
use proptest::prelude::*;

/// Nodes whose links are numbered by the peer's index.
struct Mesh {
    nodes: Vec<Broadcast>,
    queue: VecDeque<(usize, usize, Message)>,
    delivered: Vec<Vec<(MessageId, u8)>>,
    pushes: usize,
    start: Instant,
    now: Duration,
    lost: Option<(usize, usize)>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the virtual clock needs some instant to start from"
)]
fn start() -> Instant {
    Instant::now()
}

fn conn(index: usize) -> ConnId {
    ConnId(u32::try_from(index).unwrap())
}

impl Mesh {
    /// Everybody is linked with everybody.
    fn full(size: usize) -> Self {
        let start = start();
        let mut nodes: Vec<Broadcast> = (0..size)
            .map(|_| Broadcast::new(Config::default(), start))
            .collect();
        for (index, node) in nodes.iter_mut().enumerate() {
            for other in (0..size).filter(|other| *other != index) {
                node.link_up(conn(other));
            }
        }
        Mesh {
            nodes,
            queue: VecDeque::new(),
            delivered: vec![Vec::new(); size],
            pushes: 0,
            start,
            now: Duration::ZERO,
            lost: None,
        }
    }

    fn take(&mut self, index: usize, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Send { conn, message } => {
                    self.pushes += usize::from(matches!(message, Message::Push { .. }));
                    let to = usize::try_from(conn.0).unwrap();
                    if self.lost != Some((index, to)) {
                        self.queue.push_back((index, to, message));
                    }
                }
                Output::Deliver { id, hops, .. } => self.delivered[index].push((id, hops)),
            }
        }
    }

    fn settle(&mut self) {
        while let Some((from, to, message)) = self.queue.pop_front() {
            let message = Message::decode(&message.encode().unwrap()).unwrap();
            let mut out = Vec::new();
            let now = self.start + self.now;
            self.nodes[to].handle_message(conn(from), message, now, &mut out);
            self.take(to, out);
        }
    }

    fn say(&mut self, index: usize, text: &str) {
        let mut out = Vec::new();
        let now = self.start + self.now;
        let payload = Bytes::copy_from_slice(text.as_bytes());
        assert!(self.nodes[index].publish(payload, now, &mut out));
        self.take(index, out);
        self.settle();
    }

    fn pass(&mut self, by: Duration) {
        let until = self.now + by;
        while self.now < until {
            self.now += Duration::from_millis(10);
            for index in 0..self.nodes.len() {
                let mut out = Vec::new();
                self.nodes[index].handle_timeout(self.start + self.now, &mut out);
                self.take(index, out);
                self.settle();
            }
        }
    }
}

#[test]
fn the_first_message_floods_and_the_next_ones_follow_a_tree() {
    let mut mesh = Mesh::full(10);
    mesh.say(0, "first");
    assert!(mesh.pushes > 9);
    for n in 0..5 {
        mesh.pass(Duration::from_secs(1));
        mesh.pushes = 0;
        mesh.say(0, &format!("later {n}"));
    }
    assert_eq!(mesh.pushes, 9);
    for (index, delivered) in mesh.delivered.iter().enumerate().skip(1) {
        assert_eq!(delivered.len(), 6, "node {index}");
    }
    assert!(mesh.delivered[0].is_empty());
}

#[test]
fn a_broken_branch_is_mended_by_announcements() {
    let mut mesh = Mesh::full(6);
    for n in 0..4 {
        mesh.say(0, &format!("warm {n}"));
        mesh.pass(Duration::from_secs(1));
    }
    mesh.lost = Some((0, 3));
    mesh.say(0, "over a broken link");
    mesh.pass(Duration::from_secs(2));
    assert_eq!(mesh.delivered[3].len(), 5);
    assert!(mesh.nodes[3].stats().grafts > 0);
}

#[test]
fn nothing_is_delivered_or_published_twice() {
    let mut mesh = Mesh::full(2);
    mesh.say(0, "once");
    let mut out = Vec::new();
    let payload = Bytes::from_static(b"once");
    assert!(!mesh.nodes[0].publish(payload.clone(), mesh.start, &mut out));
    let push = Message::Push { payload, hops: 1 };
    mesh.nodes[1].handle_message(conn(0), push, mesh.start, &mut out);
    assert_eq!(mesh.delivered[1].len(), 1);
    assert!(!mesh.nodes[0].publish(vec![0; MAX_PAYLOAD + 1].into(), mesh.start, &mut out));
}

#[test]
fn a_much_shorter_way_takes_the_parents_place() {
    let start = start();
    let mut node = Broadcast::new(Config::default(), start);
    node.link_up(conn(1));
    node.link_up(conn(2));
    let payload = Bytes::from_static(b"far");
    let push = |hops| Message::Push {
        payload: payload.clone(),
        hops,
    };
    let mut out = Vec::new();
    node.handle_message(conn(1), push(9), start, &mut out);
    out.clear();
    node.handle_message(conn(2), push(9), start, &mut out);
    let pruned = |conn| Output::Send {
        conn,
        message: Message::Prune,
    };
    assert_eq!(out, [pruned(conn(2))]);
    out.clear();
    node.handle_message(conn(2), push(3), start, &mut out);
    assert_eq!(out, [pruned(conn(1))]);
    assert_eq!(node.stats().shortened, 1);
}

proptest! {
    #[test]
    fn any_words_leave_every_table_bounded(
        words in prop::collection::vec((0..4_usize, 0..4_u8, any::<u8>(), 0..500_u64), 1..300),
    ) {
        let start = start();
        let config = Config { kept: 4, remembered: 8, ..Config::default() };
        let mut node = Broadcast::new(config, start);
        node.link_up(conn(0));
        node.link_up(conn(1));
        let mut now = start;
        let mut out = Vec::new();
        for (from, kind, n, wait) in words {
            let payload = Bytes::copy_from_slice(&[n]);
            let id = message_id(&payload);
            let message = match kind {
                0 => Message::Push { payload, hops: n },
                1 => Message::announce(vec![Announced { id, hops: n }; 80]),
                2 => Message::Graft { id: (n % 2 == 0).then_some(id) },
                _ => Message::Prune,
            };
            node.handle_message(conn(from), message, now, &mut out);
            now += Duration::from_millis(wait);
            node.handle_timeout(now, &mut out);
            prop_assert!(node.is_bounded());
        }
        let from_strangers = |o: &Output| matches!(o, Output::Send { conn, .. } if conn.0 > 1);
        prop_assert!(!out.iter().any(from_strangers));
    }
}
