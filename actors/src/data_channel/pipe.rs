//! What a channel's handles and its actor share: an inbox and an outbox, both
//! bounded, and the channel's published state.
//!
//! Messages do not travel as mailbox messages one by one. A sender appends to the
//! outbox and wakes the actor at most once; the actor takes what has gathered. A
//! receiver pops from the inbox; when half of it has been read the actor is woken
//! to grant the transport more credit. Locks are held for a push or a pop. Why this is
//! shared, where otherwise the actor owns its state: `docs/architecture.md`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use futures::task::AtomicWaker;
use tokio::sync::{Notify, watch};

use peerloom_transports::proto::channel::{INITIAL_CREDIT, MESSAGE_OVERHEAD};

use super::message::{DataChannelInit, Message, ReadyState};
use super::state::{Counters, Event, Lives, NotSent, State};
use crate::cause::Cause;
use crate::feed::{Feed, Listener};

/// Bytes a channel buffers on its way out (`buffered_amount`) before `send` waits and
/// `try_send` says Full. One message may overshoot it. 1 MiB: two windows of a
/// 40 ms path at 100 Mbit/s, and one message of any size still fits.
pub const SEND_CREDIT_BYTES: usize = 1024 * 1024;

/// What delivered but unread messages of a channel may cost. Filled by the peer;
/// beyond it messages stay in the SCTP engine, and the peer's window closes.
pub const RECEIVE_CREDIT_BYTES: usize = INITIAL_CREDIT;

/// Events a slow listener may be behind before it misses the oldest.
const EVENT_BACKLOG: usize = 64;

/// What one channel's handles and actor share.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) label: String,
    pub(crate) init: DataChannelInit,
    id: OnceLock<u16>,
    max_message_size: AtomicUsize,
    low_threshold: AtomicUsize,
    inbox: Mutex<Inbox>,
    outbox: Mutex<Outbox>,
    readable: Notify,
    writable: Notify,
    state: watch::Sender<State>,
    lives: Arc<Lives>,
    events: Feed<Event>,
    actor: AtomicWaker,
    woken: AtomicBool,
    close_requested: AtomicBool,
    open_told: Mutex<OpenTold>,
    /// The transport has said that the channel is over.
    ended: AtomicBool,
    messages_sent: AtomicU64,
    bytes_sent: AtomicU64,
    messages_received: AtomicU64,
    bytes_received: AtomicU64,
}

/// Whether anybody heard that the channel is open.
#[derive(Debug, Default, PartialEq, Eq)]
enum OpenTold {
    #[default]
    No,
    /// A channel of the peer's opens before the application has it.
    Unheard,
    Heard,
}

#[derive(Debug, Default)]
struct Inbox {
    messages: VecDeque<Message>,
    /// What was read since credit was last granted.
    read: usize,
    /// Nobody will read again.
    abandoned: bool,
}

#[derive(Debug, Default)]
struct Outbox {
    messages: VecDeque<Message>,
    queued: usize,
    /// Taken by the actor, not yet in the engine.
    moving: usize,
    /// In the engine, not yet on the wire.
    engine: usize,
}

impl Outbox {
    fn amount(&self) -> usize {
        self.queued + self.moving + self.engine
    }
}

impl Pipe {
    pub(crate) fn new(
        label: String,
        init: DataChannelInit,
        ready: ReadyState,
        lives: Arc<Lives>,
    ) -> Pipe {
        if ready == ReadyState::Open {
            lives.begin();
        }
        let id = OnceLock::new();
        if let Some(known) = init.id {
            id.get_or_init(|| known);
        }
        Pipe {
            label,
            init,
            id,
            max_message_size: AtomicUsize::new(usize::MAX),
            low_threshold: AtomicUsize::new(0),
            inbox: Mutex::default(),
            outbox: Mutex::default(),
            readable: Notify::new(),
            writable: Notify::new(),
            state: watch::Sender::new(State { ready, cause: None }),
            lives,
            events: Feed::new(EVENT_BACKLOG),
            actor: AtomicWaker::new(),
            woken: AtomicBool::new(false),
            close_requested: AtomicBool::new(false),
            open_told: Mutex::default(),
            ended: AtomicBool::new(false),
            messages_sent: AtomicU64::new(0),
            bytes_sent: AtomicU64::new(0),
            messages_received: AtomicU64::new(0),
            bytes_received: AtomicU64::new(0),
        }
    }

    // What handles do.

    /// Appends a message, if there is credit.
    pub(crate) fn push(&self, message: Message) -> Result<(), NotSent> {
        let mut outbox = lock(&self.outbox);
        match self.ready() {
            ReadyState::Connecting => return Err(NotSent::Connecting(message)),
            ReadyState::Open => {}
            ReadyState::Closing | ReadyState::Closed => return Err(NotSent::Closed),
        }
        let max = self.max_message_size.load(Ordering::Relaxed);
        if message.len() > max {
            return Err(NotSent::TooLong {
                len: message.len(),
                max,
            });
        }
        if outbox.amount() + outbox.messages.len() * MESSAGE_OVERHEAD >= SEND_CREDIT_BYTES {
            return Err(NotSent::Full(message));
        }
        outbox.queued += message.len();
        outbox.messages.push_back(message);
        drop(outbox);
        self.wake_actor();
        Ok(())
    }

    /// The next message, if one has arrived.
    pub(crate) fn pop(&self) -> Option<Message> {
        let mut inbox = lock(&self.inbox);
        let before = inbox.read;
        let message = inbox.messages.pop_front()?;
        inbox.read += message.cost();
        let crossed = before < RECEIVE_CREDIT_BYTES / 2 && inbox.read >= RECEIVE_CREDIT_BYTES / 2;
        let emptied = inbox.messages.is_empty();
        drop(inbox);
        if crossed || emptied {
            self.wake_actor();
        }
        Some(message)
    }

    /// Resolves after the next arrival, or when the channel has closed.
    pub(crate) fn readable(&self) -> &Notify {
        &self.readable
    }

    /// Resolves when credit was freed, or when the channel has closed.
    pub(crate) fn writable(&self) -> &Notify {
        &self.writable
    }

    pub(crate) fn buffered_amount(&self) -> usize {
        lock(&self.outbox).amount()
    }

    pub(crate) fn low_threshold(&self) -> usize {
        self.low_threshold.load(Ordering::Relaxed)
    }

    pub(crate) fn set_low_threshold(&self, threshold: usize) {
        self.low_threshold.store(threshold, Ordering::Relaxed);
    }

    pub(crate) fn id(&self) -> Option<u16> {
        self.id.get().copied()
    }

    pub(crate) fn ready(&self) -> ReadyState {
        self.state.borrow().ready
    }

    pub(crate) fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// What happens from now on, and whether it begins with the opening of a channel that the
    /// application was just given: `open` follows `datachannel` (webrtc-pc section 6.2.3).
    pub(crate) fn events(&self) -> (Listener<Event>, bool) {
        let mut told = lock(&self.open_told);
        let missed = *told == OpenTold::Unheard;
        if missed {
            *told = OpenTold::Heard;
        }
        (self.events.listen(), missed)
    }

    /// Asks the actor to close the channel once everything sent has left.
    pub(crate) fn request_close(&self) {
        // Whoever sees the request finds all that was sent: nothing is pushed any more.
        self.set_closing();
        self.close_requested.store(true, Ordering::Release);
        self.wake_actor();
    }

    /// No handle is left: what arrives is thrown away from now on.
    pub(crate) fn abandon(&self) {
        let mut inbox = lock(&self.inbox);
        inbox.abandoned = true;
        let unread: usize = inbox.messages.drain(..).map(|message| message.cost()).sum();
        inbox.read += unread;
        drop(inbox);
        self.wake_actor();
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters {
            messages_sent: self.messages_sent.load(Ordering::Relaxed),
            bytes_sent: self.bytes_sent.load(Ordering::Relaxed),
            messages_received: self.messages_received.load(Ordering::Relaxed),
            bytes_received: self.bytes_received.load(Ordering::Relaxed),
        }
    }

    // What the actor does.

    /// Registers the actor's task; whether it was woken since.
    pub(crate) fn take_wake(&self, waker: &Waker) -> bool {
        self.actor.register(waker);
        self.woken.swap(false, Ordering::AcqRel)
    }

    fn wake_actor(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.actor.wake();
        }
    }

    /// Takes messages for the engine, at most about `bytes` of them.
    pub(crate) fn take_outgoing(&self, bytes: usize) -> Vec<Message> {
        let mut outbox = lock(&self.outbox);
        let mut taken = Vec::new();
        let mut size = 0;
        while size < bytes {
            let Some(message) = outbox.messages.pop_front() else {
                break;
            };
            size += message.len().max(1);
            outbox.queued -= message.len();
            outbox.moving += message.len();
            taken.push(message);
        }
        drop(outbox);
        let sum: usize = taken.iter().map(Message::len).sum();
        self.messages_sent
            .fetch_add(taken.len() as u64, Ordering::Relaxed);
        self.bytes_sent.fetch_add(sum as u64, Ordering::Relaxed);
        taken
    }

    /// The engine has taken `accepted` bytes that were on their way to it, and now buffers
    /// `engine` bytes.
    pub(crate) fn progress(&self, accepted: usize, engine: usize) {
        let mut outbox = lock(&self.outbox);
        let before = outbox.amount();
        outbox.moving = outbox.moving.saturating_sub(accepted);
        outbox.engine = engine;
        let after = outbox.amount();
        drop(outbox);
        let threshold = self.low_threshold();
        if before > threshold && after <= threshold {
            self.emit(Event::BufferedAmountLow);
        }
        if after < SEND_CREDIT_BYTES {
            self.writable.notify_waiters();
        }
    }

    /// Whether everything sent has left this channel's own queue.
    pub(crate) fn outbox_is_empty(&self) -> bool {
        let outbox = lock(&self.outbox);
        outbox.messages.is_empty() && outbox.moving == 0
    }

    /// Puts arrived messages into the inbox.
    pub(crate) fn deliver(&self, messages: Vec<Message>) {
        let bytes: usize = messages.iter().map(Message::len).sum();
        self.messages_received
            .fetch_add(messages.len() as u64, Ordering::Relaxed);
        self.bytes_received
            .fetch_add(bytes as u64, Ordering::Relaxed);
        let mut inbox = lock(&self.inbox);
        if inbox.abandoned {
            inbox.read += messages.iter().map(Message::cost).sum::<usize>();
            drop(inbox);
            self.wake_actor();
            return;
        }
        inbox.messages.extend(messages);
        drop(inbox);
        // One permit for one waiter would strand the rest of the batch.
        self.readable.notify_waiters();
    }

    /// What was read since the last call, as credit for the transport.
    pub(crate) fn take_credit(&self) -> usize {
        std::mem::take(&mut lock(&self.inbox).read)
    }

    pub(crate) fn close_requested(&self) -> bool {
        self.close_requested.load(Ordering::Acquire)
    }

    pub(crate) fn set_id(&self, id: u16) {
        self.id.get_or_init(|| id);
    }

    pub(crate) fn set_max_message_size(&self, max: usize) {
        self.max_message_size.store(max, Ordering::Relaxed);
    }

    /// Messages can be sent. A channel of the peer's is born open and told so once.
    pub(crate) fn set_open(&self) {
        let ours = self.state.send_if_modified(|state| {
            let opens = state.ready == ReadyState::Connecting;
            if opens {
                self.lives.begin();
                state.ready = ReadyState::Open;
            }
            opens
        });
        let mut told = lock(&self.open_told);
        if self.ready() == ReadyState::Open && *told == OpenTold::No {
            let heard = self.events.send(Event::Open);
            let unheard = !heard && !ours;
            *told = if unheard {
                OpenTold::Unheard
            } else {
                OpenTold::Heard
            };
        }
    }

    pub(crate) fn set_closing(&self) {
        let closing = self.state.send_if_modified(|state| {
            let closes = state.ready < ReadyState::Closing;
            if closes {
                self.left(state.ready);
                state.ready = ReadyState::Closing;
            }
            closes
        });
        if closing {
            self.emit(Event::Closing);
        }
    }

    /// Whether the channel has ended by a close, here or at the peer, or with its
    /// connection.
    pub(crate) fn closed_in_order(&self) -> bool {
        self.state.borrow().ready == ReadyState::Closed && self.ended.load(Ordering::Relaxed)
    }

    /// The transport has said that the channel is over: its actor may end.
    pub(crate) fn end(&self, cause: Cause) {
        self.ended.store(true, Ordering::Relaxed);
        self.set_closed(cause);
    }

    /// The channel is over. An error is reported unless somebody closed it on purpose.
    pub(crate) fn set_closed(&self, cause: Cause) {
        let reported = cause.clone();
        let closed = self.state.send_if_modified(|state| {
            let closes = state.ready != ReadyState::Closed;
            if closes {
                self.left(state.ready);
                state.ready = ReadyState::Closed;
                state.cause = Some(cause);
            }
            closes
        });
        if !closed {
            return;
        }
        if reported.error_detail().is_some() {
            self.emit(Event::Error(reported));
        }
        self.emit(Event::Close);
        self.readable.notify_waiters();
        self.writable.notify_waiters();
    }

    fn left(&self, state: ReadyState) {
        if state == ReadyState::Open {
            self.lives.end();
        }
    }

    fn emit(&self, event: Event) {
        // Nobody has to listen.
        self.events.send(event);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Queues are changed by whole operations: a poisoned one is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
