//! The control plane: a libp2p swarm on a thread of its own.
//!
//! The only folder that knows libp2p. It carries presence and envelopes, never
//! application data: gossipsub topics for what everybody may see, the hop
//! protocol (`/peerloom/hop/1`) for what one neighbour gets. What the bytes
//! mean is decided above; here they are bounded, counted and moved.
//!
//! The thread runs a `current_thread` runtime with everything the swarm spawns,
//! so that one blocked thread is one node that neither sends nor answers: that
//! is how a node is silenced in fault tests, without closing a socket.
//!
//! Absent on purpose: relay, DCUtR, AutoNAT and Kademlia (nodes reach each
//! other directly for now); peer scoring (verdicts are per message).

mod driver;
mod hop;
mod listen;
mod names;
mod swarm;
#[cfg(test)]
mod tests;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use peerloom_mesh_proto::{HopId, PeerId, Verdict};
use tokio::sync::{mpsc, oneshot};

use crate::store::Seed;

/// Commands waiting for the swarm thread, filled by the node. When it is full
/// the command is dropped: gossip is best effort, and a frozen swarm (fault
/// injection) must not hold up the node.
const COMMANDS: usize = 512;
/// Events waiting for the node, filled by the swarm thread, which stops
/// reading from the network while it is full.
const EVENTS: usize = 256;
/// Control requests waiting for the swarm thread.
const CONTROL: usize = 4;
/// Largest payload of a gossipsub message.
pub(crate) const MESSAGE_MAX: usize = peerloom_mesh_proto::envelope::MAX_GOSSIP;
/// Largest frame of the hop protocol.
pub(crate) const HOP_MAX: usize = peerloom_mesh_proto::envelope::MAX_HOP;
/// How long a hop frame may take, dialling included, before it has failed.
const HOP_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the last hop frames may take to be answered when the swarm ends;
/// those to peers that cannot be reached would take [`HOP_TIMEOUT`].
const FLUSH_LIMIT: Duration = Duration::from_millis(500);
/// How long connections may take to close when the swarm ends.
const CLOSE_LIMIT: Duration = Duration::from_millis(500);

/// How to start a swarm.
pub(crate) struct Config {
    /// The identity's secret; libp2p and the mesh share one key.
    pub(crate) seed: Seed,
    /// Multiaddrs to listen on.
    pub(crate) listen: Vec<String>,
    /// Find peers on the local network by multicast DNS (RFC 6762).
    pub(crate) mdns: bool,
    /// Established connections allowed.
    pub(crate) connections_max: u32,
}

/// Why the swarm did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GossipError {
    /// An address to listen on does not parse.
    #[error("`{address}` is not a multiaddr: {cause}")]
    Address {
        /// The text given.
        address: String,
        /// What is wrong with it.
        cause: String,
    },
    /// No listener could be opened.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// The address given.
        address: String,
        /// What the system said.
        cause: String,
    },
    /// A part of the swarm could not be set up.
    #[error("cannot start {part}: {cause}")]
    Setup {
        /// Which part.
        part: &'static str,
        /// What it said.
        cause: String,
    },
    /// The swarm thread is gone.
    #[error("the gossip thread has ended")]
    Gone,
}

/// What the node asks of the swarm.
#[derive(Debug)]
pub(crate) enum Command {
    /// Follow a topic.
    Subscribe(String),
    /// Stop following a topic.
    Unsubscribe(String),
    /// Publish; waits until the topic has a subscriber.
    Publish { topic: String, data: Bytes },
    /// Send one hop frame, dialling first when needed.
    Hop {
        id: HopId,
        to: PeerId,
        addresses: Vec<String>,
        data: Bytes,
    },
    /// Connect to a peer.
    Dial {
        peer: PeerId,
        addresses: Vec<String>,
    },
    /// Close the connections to a peer.
    Hangup(PeerId),
    /// What became of a gossip message.
    Judge { token: Token, verdict: Verdict },
}

/// What the swarm reports to the node.
#[derive(Debug)]
pub(crate) enum Event {
    /// Listening on this address.
    Listening(String),
    /// No longer listening there.
    NotListening(String),
    /// The first connection to a peer is up; it speaks our protocols.
    Up { peer: PeerId, address: String },
    /// The last connection to a peer is gone.
    Down { peer: PeerId, cause: String },
    /// A dial failed.
    DialFailed { peer: Option<PeerId>, cause: String },
    /// A gossip message whose author signed it; answer with [`Command::Judge`].
    Message {
        author: PeerId,
        data: Bytes,
        token: Token,
    },
    /// A hop frame from a neighbour.
    Hop { from: PeerId, data: Bytes },
    /// A hop frame did not arrive.
    HopFailed(HopId),
    /// A peer was found on the local network.
    Discovered { peer: PeerId, address: String },
}

/// Names a gossip message that waits for its verdict.
#[derive(Debug)]
pub(crate) struct Token {
    message: libp2p::gossipsub::MessageId,
    source: libp2p::PeerId,
}

/// Bytes moved, payload of presence and envelopes; framing and encryption of
/// libp2p come on top.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Counters {
    /// Sent and received together.
    pub(crate) fn total(&self) -> u64 {
        self.sent.load(Ordering::Relaxed) + self.received.load(Ordering::Relaxed)
    }

    fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Requests that go before everything else.
enum Control {
    /// Carry out the commands so far, close all connections, answer, end.
    Close(oneshot::Sender<()>),
    /// Answer, then block the thread until released (or for good).
    #[cfg(feature = "chaos")]
    Freeze {
        frozen: oneshot::Sender<()>,
        release: std::sync::mpsc::Receiver<()>,
    },
}

/// Handle to the swarm thread, owned by the node.
pub(crate) struct Gossip {
    commands: mpsc::Sender<Command>,
    control: mpsc::Sender<Control>,
    counters: Arc<Counters>,
    /// Present while frozen; dropping it lets the thread end.
    #[cfg(feature = "chaos")]
    release: Option<std::sync::mpsc::Sender<()>>,
}

impl Gossip {
    /// Starts the thread; returns once it listens.
    pub(crate) async fn start(
        config: Config,
    ) -> Result<(Self, mpsc::Receiver<Event>), GossipError> {
        let (commands, command_queue) = mpsc::channel(COMMANDS);
        let (control, control_queue) = mpsc::channel(CONTROL);
        let (events, event_queue) = mpsc::channel(EVENTS);
        let (started, outcome) = oneshot::channel();
        let counters = Arc::new(Counters::default());
        let ends = driver::Ends {
            commands: command_queue,
            control: control_queue,
            events,
            counters: Arc::clone(&counters),
        };
        std::thread::Builder::new()
            .name("peerloom-gossip".to_owned())
            .spawn(move || driver::run(config, ends, started))
            .map_err(|error| GossipError::Setup {
                part: "a thread",
                cause: error.to_string(),
            })?;
        outcome.await.map_err(|_| GossipError::Gone)??;
        let gossip = Self {
            commands,
            control,
            counters,
            #[cfg(feature = "chaos")]
            release: None,
        };
        Ok((gossip, event_queue))
    }

    /// Hands over a command; `false` when the queue is full and it is lost.
    pub(crate) fn command(&self, command: Command) -> bool {
        self.commands.try_send(command).is_ok()
    }

    /// Byte counters, shared with the thread.
    pub(crate) fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Carries out the commands so far, closes all connections and ends the
    /// thread; the future resolves when that is done. A frozen swarm ends without a word to anybody.
    pub(crate) fn close(&mut self) -> impl Future<Output = ()> + Send + use<> {
        #[cfg(feature = "chaos")]
        drop(self.release.take());
        let (closed, done) = oneshot::channel();
        let control = self.control.clone();
        async move {
            if control.send(Control::Close(closed)).await.is_ok() {
                // An error means that the thread has ended, which is as good.
                drop(done.await);
            }
        }
    }

    /// Freezes the thread from one instant: it neither sends nor answers, and
    /// closes nothing. The future resolves when that instant has come.
    #[cfg(feature = "chaos")]
    pub(crate) fn freeze(&mut self) -> impl Future<Output = ()> + Send + use<> {
        let (frozen, done) = oneshot::channel();
        let (release, released) = std::sync::mpsc::channel();
        // Frozen already: the second request waits behind the first.
        let sent = self.release.is_none()
            && self
                .control
                .try_send(Control::Freeze {
                    frozen,
                    release: released,
                })
                .is_ok();
        if sent {
            self.release = Some(release);
        }
        async move {
            if sent {
                drop(done.await);
            }
        }
    }

    /// Lets a frozen thread go on.
    #[cfg(feature = "chaos")]
    pub(crate) fn thaw(&mut self) {
        if let Some(release) = self.release.take() {
            // An error means that the thread has ended.
            release.send(()).ok();
        }
    }
}
