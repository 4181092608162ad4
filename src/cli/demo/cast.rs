//! The nodes of the demo and the tasks that act for them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use peerloom::webrtc::Runtime;
use peerloom::{Channel, ChannelSender, Config, Data, Event, Member, Mesh, PeerId, Room, Ticket};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::cli::failure::chain;

/// The room everybody is in.
const ROOM: &str = "demo";

/// The channel everybody talks on.
const CHANNEL: &str = "words";

/// What the nodes say to each other: a typed message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Word {
    /// Its number in the ledger.
    pub(crate) id: u64,
    /// The node that says it.
    pub(crate) from: usize,
    /// What it says.
    pub(crate) text: String,
}

/// What the cast tells the stage.
#[derive(Debug)]
pub(crate) enum Note {
    /// A node is up.
    Up(usize, Box<Node>),
    /// A node could not be started.
    Absent(usize, String),
    /// A node's links or roster changed.
    Changed(usize),
    /// A word reached a node.
    Got {
        /// The node it reached.
        to: usize,
        /// Whose signature it bears.
        from: PeerId,
        /// The word.
        word: Word,
        /// Whether it came as a direct message.
        direct: bool,
        /// Links it took.
        hops: u32,
    },
    /// A broadcast was handed to the links.
    Spoken,
    /// A direct message was acknowledged.
    Acknowledged(Duration),
    /// A node could not say something.
    Failed(usize, String),
}

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its mesh.
    pub(crate) mesh: Mesh,
    /// The room it is in.
    pub(crate) room: Room,
    /// Its peer id.
    pub(crate) peer: PeerId,
    /// What others need to find it.
    pub(crate) ticket: Ticket,
    sender: ChannelSender<Word>,
    tasks: Vec<JoinHandle<()>>,
}

/// What a node needs to start.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// Its number.
    pub(crate) index: usize,
    /// The mesh's name.
    pub(crate) mesh: String,
    /// Its own directory.
    pub(crate) dir: PathBuf,
    /// Whom it is told of.
    pub(crate) tickets: Vec<Ticket>,
    /// The actor threads it shares with the others.
    pub(crate) runtime: Runtime,
}

/// Starts a node and reports it.
pub(crate) async fn enter(part: Part, notes: mpsc::Sender<Note>) {
    let index = part.index;
    let note = match Node::start(part, notes.clone()).await {
        Ok(node) => Note::Up(index, Box::new(node)),
        Err(why) => Note::Absent(index, why),
    };
    drop(notes.send(note).await);
}

impl Node {
    async fn start(part: Part, notes: mpsc::Sender<Note>) -> Result<Self, String> {
        let index = part.index;
        let mesh = Mesh::open(part.config()).await.map_err(|e| chain(&e))?;
        let changes = mesh.events();
        let ticket = mesh.ticket().await.map_err(|e| chain(&e))?;
        let room = mesh.join(ROOM).await.map_err(|e| chain(&e))?;
        let channel = room.channel::<Word>(CHANNEL).await.map_err(|e| chain(&e))?;
        let sender = channel.sender();
        let members = room.members();
        Ok(Self {
            peer: mesh.peer_id(),
            ticket,
            mesh,
            room,
            sender,
            tasks: vec![
                tokio::spawn(watch(index, changes, members, notes.clone())),
                tokio::spawn(read(index, channel, notes)),
            ],
        })
    }

    /// Says these words, one after the other.
    pub(crate) fn speak(&mut self, index: usize, script: Vec<Line>, notes: mpsc::Sender<Note>) {
        let speaker = speak(index, self.sender.clone(), script, notes);
        self.tasks.retain(|task| !task.is_finished());
        self.tasks.push(tokio::spawn(speaker));
    }

    /// Ends the node's tasks; what it was doing is of no interest any more.
    pub(crate) fn hush(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
        }
    }
}

impl Part {
    /// Loopback only, no multicast, everything in its own directory.
    fn config(self) -> Config {
        let mut config = Config::local(self.mesh)
            .with_data(Data::Dir(self.dir))
            .with_nick(format!("node-{}", self.index))
            .with_runtime(self.runtime);
        config.tickets = self.tickets;
        config
    }
}

/// One line of a node's script: whom to say it to, and what.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// One peer, or everybody.
    pub(crate) to: Option<PeerId>,
    /// What to say.
    pub(crate) word: Word,
}

/// Says that something changed whenever something did: what it was is read
/// from the node itself.
async fn watch(
    index: usize,
    mut events: impl Stream<Item = Event> + Unpin,
    mut members: impl Stream<Item = Vec<Member>> + Unpin,
    notes: mpsc::Sender<Note>,
) {
    loop {
        let more = tokio::select! {
            event = events.next() => event.is_some(),
            roster = members.next() => roster.is_some(),
        };
        if !more || notes.send(Note::Changed(index)).await.is_err() {
            return;
        }
    }
}

async fn read(to: usize, mut channel: Channel<Word>, notes: mpsc::Sender<Note>) {
    while let Some(received) = channel.recv().await {
        let note = Note::Got {
            to,
            from: received.from,
            word: received.value,
            direct: received.direct,
            hops: received.hops.into(),
        };
        if notes.send(note).await.is_err() {
            return;
        }
    }
}

async fn speak(
    index: usize,
    sender: ChannelSender<Word>,
    script: Vec<Line>,
    notes: mpsc::Sender<Note>,
) {
    for Line { to, word } in script {
        let started = Instant::now();
        let outcome = match to {
            Some(peer) => sender.send(peer, &word).await.map(|_| true),
            None => sender.broadcast(&word).await.map(|_| false),
        };
        let note = match outcome {
            Ok(true) => Note::Acknowledged(started.elapsed()),
            Ok(false) => Note::Spoken,
            Err(error) => Note::Failed(index, format!("message {}: {}", word.id, chain(&error))),
        };
        if notes.send(note).await.is_err() {
            return;
        }
    }
}
