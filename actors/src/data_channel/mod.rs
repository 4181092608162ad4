//! Data channels: the handle, and the actor behind it.

mod actor;
mod message;
mod pipe;
mod state;

use std::pin::pin;
use std::sync::Arc;

use futures::Stream;
use futures::StreamExt as _;

pub(crate) use actor::{ChannelInput, DataChannelActor, MAILBOX};
pub use message::{DataChannelInit, Message, Priority, ReadyState};
pub(crate) use pipe::Pipe;
pub use pipe::{RECEIVE_CREDIT_BYTES, SEND_CREDIT_BYTES};
pub use state::Event;
pub(crate) use state::Lives;

use crate::cause::Cause;
use crate::feed::Missed;
use crate::peer_connection::Alive;
use state::NotSent;

/// A data channel (`RTCDataChannel`). Clones share the channel; each message goes to
/// one receiver. A channel lives on when its handles are dropped (what arrives is
/// then thrown away) and ends with [`DataChannel::close`] or its connection, which
/// any of its handles keeps alive.
#[derive(Debug, Clone)]
pub struct DataChannel {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    pipe: Arc<Pipe>,
    /// Keeps the connection alive.
    _alive: Arc<Alive>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.pipe.abandon();
    }
}

/// A message could not be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The channel is not open yet, or closing, or closed.
    #[error("InvalidStateError: the channel is {state} (wait for opened, or create a new one)")]
    NotOpen {
        /// Its state.
        state: ReadyState,
        /// Why, when it is closed.
        cause: Option<Cause>,
    },
    /// Longer than the peer takes, and the peer understands no chunks.
    #[error("TypeError: a message of {len} bytes, but the peer takes {max} at most (split it)")]
    TooLong {
        /// The message's length.
        len: usize,
        /// The peer's limit.
        max: usize,
    },
}

/// A message could not be sent at once.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// [`SEND_CREDIT_BYTES`] are buffered; here is the message back.
    #[error("OperationError: the channel's send buffer is full (await send, or retry later)")]
    Full(Message),
    /// It can never be sent.
    #[error(transparent)]
    Never(#[from] SendError),
}

impl DataChannel {
    pub(crate) fn new(pipe: Arc<Pipe>, alive: Arc<Alive>) -> DataChannel {
        DataChannel {
            handle: Arc::new(Handle {
                pipe,
                _alive: alive,
            }),
        }
    }

    /// The label given at creation.
    pub fn label(&self) -> &str {
        &self.pipe().label
    }

    /// The subprotocol given at creation.
    pub fn protocol(&self) -> &str {
        &self.pipe().init.protocol
    }

    /// The stream id, once assigned.
    pub fn id(&self) -> Option<u16> {
        self.pipe().id()
    }

    /// Whether messages arrive in order.
    pub fn ordered(&self) -> bool {
        self.pipe().init.ordered
    }

    /// The limit on retransmissions.
    pub fn max_retransmits(&self) -> Option<u16> {
        self.pipe().init.max_retransmits
    }

    /// The limit on retransmission time, in milliseconds.
    pub fn max_packet_life_time(&self) -> Option<u16> {
        self.pipe().init.max_packet_life_time
    }

    /// Whether both ends created it.
    pub fn negotiated(&self) -> bool {
        self.pipe().init.negotiated
    }

    /// The priority given at creation.
    pub fn priority(&self) -> Priority {
        self.pipe().init.priority
    }

    /// The current state.
    pub fn ready_state(&self) -> ReadyState {
        self.pipe().ready()
    }

    /// Why the channel is closed, once it is.
    pub fn cause(&self) -> Option<Cause> {
        self.pipe().watch().borrow().cause.clone()
    }

    /// Bytes given to `send` that have not left yet.
    pub fn buffered_amount(&self) -> usize {
        self.pipe().buffered_amount()
    }

    /// Falling to this `buffered_amount` raises [`Event::BufferedAmountLow`].
    pub fn buffered_amount_low_threshold(&self) -> usize {
        self.pipe().low_threshold()
    }

    /// Sets that threshold; 0 at first.
    pub fn set_buffered_amount_low_threshold(&self, threshold: usize) {
        self.pipe().set_low_threshold(threshold);
    }

    /// Sends a message, waiting while the channel is not open yet or [`SEND_CREDIT_BYTES`]
    /// are buffered. Cancel-safe: a dropped call has sent nothing.
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let mut message = message.into();
        loop {
            let mut writable = pin!(self.pipe().writable().notified());
            // Listening before asking: a release in between is not missed.
            writable.as_mut().enable();
            match self.pipe().push(message) {
                Ok(()) => return Ok(()),
                Err(NotSent::Full(back)) => {
                    message = back;
                    writable.await;
                }
                Err(NotSent::Connecting(back)) => {
                    message = back;
                    // Closing meanwhile is reported by the next push.
                    drop(self.opened().await);
                }
                Err(NotSent::Closed) => return Err(self.not_open()),
                Err(NotSent::TooLong { len, max }) => return Err(SendError::TooLong { len, max }),
            }
        }
    }

    /// Sends a message, if that needs no waiting.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), TrySendError> {
        self.pipe()
            .push(message.into())
            .map_err(|refused| match refused {
                NotSent::Full(message) => TrySendError::Full(message),
                NotSent::Connecting(_) | NotSent::Closed => self.not_open().into(),
                NotSent::TooLong { len, max } => SendError::TooLong { len, max }.into(),
            })
    }

    fn not_open(&self) -> SendError {
        let state = self.pipe().watch().borrow().clone();
        SendError::NotOpen {
            state: state.ready,
            cause: state.cause,
        }
    }

    /// The next message; `None` when the channel has closed and everything was read.
    /// Cancel-safe.
    pub async fn recv(&self) -> Option<Message> {
        loop {
            let mut readable = pin!(self.pipe().readable().notified());
            readable.as_mut().enable();
            // Asked first: what arrived before the close is still to be read.
            let closed = self.ready_state() == ReadyState::Closed;
            if let Some(message) = self.pipe().pop() {
                return Some(message);
            }
            if closed {
                return None;
            }
            readable.await;
        }
    }

    /// The next message, if one is there.
    pub fn try_recv(&self) -> Option<Message> {
        self.pipe().pop()
    }

    /// Resolves when the channel is open, or with the reason why it never will be.
    pub async fn opened(&self) -> Result<(), Cause> {
        let mut states = self.pipe().watch();
        let state = states
            .wait_for(|state| state.ready != ReadyState::Connecting)
            .await;
        match state.as_deref() {
            Ok(state) if state.ready == ReadyState::Open => Ok(()),
            Ok(state) => Err(state.cause.clone().unwrap_or(Cause::ClosedLocally)),
            Err(_) => Err(Cause::EndpointGone),
        }
    }

    /// Begins to close: what was sent before still leaves, then the stream is reset at
    /// both ends. [`DataChannel::closed`] says when that is over.
    pub async fn close(&self) {
        self.pipe().request_close();
    }

    /// Resolves when the channel is closed.
    pub async fn closed(&self) {
        let mut states = self.pipe().watch();
        // An error means that the channel is gone, which is what was waited for.
        drop(
            states
                .wait_for(|state| state.ready == ReadyState::Closed)
                .await,
        );
    }

    /// Everything that happens from now on. For the first listener of a channel that the peer has
    /// opened that includes [`Event::Open`], as `open` follows `datachannel` in the specification.
    pub fn events(&self) -> impl Stream<Item = Event> + Send + Unpin + use<> {
        let (events, opened) = self.pipe().events();
        let events = events.map(|event| match event {
            Ok(event) => event,
            Err(Missed(missed)) => Event::Missed(missed),
        });
        futures::stream::iter(opened.then_some(Event::Open)).chain(events)
    }

    fn pipe(&self) -> &Pipe {
        &self.handle.pipe
    }
}
