//! One link: one peer connection, its negotiation and its frames.
//!
//! Each link is a task on the node's arbiter. It awaits what the other side
//! controls (answers, candidates, credit) so that the node never has to; the
//! node reaches it through bounded queues and hears of it through one bounded
//! queue of [`Report`]s, which holds a fast link back while the node is busy.
//!
//! A link is dropped as a whole: whatever fails in it, the peer connection is
//! closed, one [`Report::Down`] tells why, and the core decides about a new
//! one. Nothing is repaired in place, because a dead ICE, DTLS or SCTP actor
//! takes its keys and sequence numbers with it.

mod negotiate;
mod pump;
mod task;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use peerloom_actors::{
    DataTransport, DataTransportChoice, Endpoint, IdentityProvider, PeerConnection,
};
use peerloom_mesh_proto::{DownCause, Lane, LinkId, PcSignal, PeerId};
use tokio::sync::{mpsc, oneshot};

/// Frames waiting to be sent on one lane of a link, filled by the node. More
/// is an overflow: the link is given up ([`DownCause::Overflow`]).
const FRAMES: usize = 1024;
/// Bytes waiting to be sent on a link, filled by the node; overflow as above.
/// The peer connection buffers another megabyte.
const QUEUED_BYTES: usize = 4 * 1024 * 1024;
/// The application's own messages wait while more than this is queued; the
/// rest is for what is passed on for others.
const OWN_BYTES: usize = QUEUED_BYTES / 4;
/// The same in frames.
const OWN_FRAMES: usize = FRAMES / 4;
/// Descriptions and candidates waiting to be applied, filled by the node;
/// overflow fails the link (no session needs so many).
const SIGNALS: usize = 64;

/// Label of the one data channel of a link (negotiated, id 0).
const CHANNEL: &str = "peerloom";

/// What a link is to become.
pub(crate) struct Plan {
    pub(crate) id: LinkId,
    /// Whom the identity assertion must name.
    pub(crate) peer: PeerId,
    pub(crate) endpoint: Endpoint,
    pub(crate) provider: Arc<dyn IdentityProvider>,
    pub(crate) transport: DataTransport,
    /// The offer to answer; `None` to make one.
    pub(crate) offer: Option<String>,
}

/// What a link tells the node.
pub(crate) enum Report {
    /// For the other side.
    Signal(PcSignal),
    /// The channel is open and `peer` has proven who it is.
    Up {
        peer: PeerId,
        transport: Option<DataTransportChoice>,
    },
    /// A frame arrived.
    Frame(Bytes),
    /// An actor of the peer connection died.
    ActorDied(String),
    /// The queue has room for the application's messages again.
    Writable,
    /// The link is over; its peer connection is being closed.
    Down { cause: DownCause, text: String },
}

/// The node's end of a link. Dropping it closes the link after what was
/// queued has been sent.
pub(crate) struct Link {
    control: mpsc::Sender<Bytes>,
    data: mpsc::Sender<Bytes>,
    signals: mpsc::Sender<PcSignal>,
    queued: Arc<AtomicUsize>,
    #[cfg_attr(not(feature = "chaos"), expect(dead_code, reason = "fault injection"))]
    connection: Option<oneshot::Receiver<PeerConnection>>,
    #[cfg_attr(not(feature = "chaos"), expect(dead_code, reason = "fault injection"))]
    pc: Option<PeerConnection>,
    task: tokio::task::JoinHandle<()>,
}

/// The task's end.
struct Ends {
    control: mpsc::Receiver<Bytes>,
    data: mpsc::Receiver<Bytes>,
    signals: mpsc::Receiver<PcSignal>,
    queued: Arc<AtomicUsize>,
    reports: Reports,
    connection: Option<oneshot::Sender<PeerConnection>>,
}

/// Where a link reports to.
#[derive(Clone)]
struct Reports {
    link: LinkId,
    queue: mpsc::Sender<(LinkId, Report)>,
}

impl Reports {
    /// Waits for room; `false` when the node is gone.
    async fn send(&self, report: Report) -> bool {
        self.queue.send((self.link, report)).await.is_ok()
    }
}

impl Link {
    /// Starts the link's task on the current arbiter.
    pub(crate) fn start(plan: Plan, reports: mpsc::Sender<(LinkId, Report)>) -> Self {
        let (control, control_queue) = mpsc::channel(FRAMES);
        let (data, data_queue) = mpsc::channel(FRAMES);
        let (signals, signal_queue) = mpsc::channel(SIGNALS);
        let (connected, connection) = oneshot::channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let ends = Ends {
            control: control_queue,
            data: data_queue,
            signals: signal_queue,
            queued: Arc::clone(&queued),
            reports: Reports {
                link: plan.id,
                queue: reports,
            },
            connection: Some(connected),
        };
        let task = tokio::task::spawn_local(task::run(plan, ends));
        Self {
            control,
            data,
            signals,
            queued,
            connection: Some(connection),
            pc: None,
            task,
        }
    }

    /// Lets go of the link like dropping it; resolves when it is closed.
    pub(crate) fn finish(self) -> impl Future<Output = ()> + use<> {
        let Self { task, .. } = self;
        // An error means that the task panicked: it is over all the same.
        async move { drop(task.await) }
    }

    /// Queues a frame; `false` when the queue is full or the task gone.
    pub(crate) fn send(&self, lane: Lane, frame: Bytes) -> bool {
        let len = frame.len();
        if self.queued.load(Ordering::Relaxed) + len > QUEUED_BYTES {
            return false;
        }
        let queue = match lane {
            Lane::Control => &self.control,
            Lane::Data => &self.data,
        };
        // Counted first: the task subtracts as soon as it has the frame.
        self.queued.fetch_add(len, Ordering::Relaxed);
        let taken = queue.try_send(frame).is_ok();
        if !taken {
            self.queued.fetch_sub(len, Ordering::Relaxed);
        }
        taken
    }

    /// Whether the application may add messages of its own.
    pub(crate) fn is_writable(&self) -> bool {
        self.queued.load(Ordering::Relaxed) <= OWN_BYTES
            && self.data.max_capacity() - self.data.capacity() <= OWN_FRAMES
    }

    /// Hands a description or candidates to the peer connection; `false` when
    /// there are too many.
    pub(crate) fn signal(&self, signal: PcSignal) -> bool {
        self.signals.try_send(signal).is_ok()
    }

    /// The peer connection, once there is one (fault injection).
    #[cfg(feature = "chaos")]
    pub(crate) fn connection(&mut self) -> Option<PeerConnection> {
        if let Some(pending) = &mut self.connection
            && let Ok(pc) = pending.try_recv()
        {
            self.pc = Some(pc);
            self.connection = None;
        }
        self.pc.clone()
    }
}
