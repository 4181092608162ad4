//! The actor of one data channel: moves batches between the channel's pipe and the
//! SCTP transport, and publishes the channel's state.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use actix::fut::ActorFuture;
use actix::{
    Actor, ActorContext, AsyncContext, Context, Handler, Message as ActixMessage, Recipient,
};

use super::message::Message;
use super::pipe::Pipe;
use crate::cause::Cause;
use crate::outlet::{Absorb, Outlet};
use crate::sctp_transport::{ChannelKey, ChannelOutput, ChannelRequest};
use crate::supervisor::supervised;

/// Messages in the channel actor's mailbox. Filled by the SCTP transport, whose credit
/// keeps it nearly empty; the transport keeps what does not fit.
pub(crate) const MAILBOX: usize = 32;

/// Bytes handed to the transport at a time. One batch is under way at most, so this
/// and the round trip between the two actors bound a channel's speed: 256 KiB per
/// microseconds on one arbiter.
const WRITE_BATCH_BYTES: usize = 256 * 1024;

/// From the SCTP transport to a channel.
#[derive(Debug, ActixMessage)]
#[rtype(result = "()")]
pub(crate) enum ChannelInput {
    /// The transport is known from now on.
    Attach(Recipient<ChannelRequest>),
    /// The stream is there. Messages up to `max_message_size` may be sent.
    Opened { id: u16, max_message_size: usize },
    /// Messages that have arrived, within the credit granted.
    Delivered(Vec<Message>),
    /// So many bytes of the last batch are in the engine now, which buffers so many of
    /// the channel's.
    Progress { accepted: usize, buffered: usize },
    /// The peer has begun to close the channel.
    Closing,
    /// The stream was reset at both ends, or the association is gone.
    Closed(Cause),
}

impl Absorb for ChannelInput {
    fn absorb(&mut self, later: ChannelInput) -> Option<ChannelInput> {
        match (self, later) {
            (ChannelInput::Delivered(all), ChannelInput::Delivered(more)) => {
                all.extend(more);
                None
            }
            (
                ChannelInput::Progress { accepted, buffered },
                ChannelInput::Progress {
                    accepted: more,
                    buffered: now,
                },
            ) => {
                *accepted += more;
                *buffered = now;
                None
            }
            (_, later) => Some(later),
        }
    }
}

/// The shell around a channel's pipe.
pub(crate) struct DataChannelActor {
    key: ChannelKey,
    pipe: Arc<Pipe>,
    /// `None` until it is known which one.
    transport: Option<Outlet<ChannelRequest>>,
    writing: bool,
    close_sent: bool,
}

impl DataChannelActor {
    pub(crate) fn new(
        key: ChannelKey,
        pipe: Arc<Pipe>,
        transport: Option<Recipient<ChannelRequest>>,
    ) -> Self {
        DataChannelActor {
            key,
            pipe,
            transport: transport.map(Outlet::keeping),
            writing: false,
            close_sent: false,
        }
    }

    fn request(&mut self, output: ChannelOutput) {
        let request = ChannelRequest {
            key: self.key,
            output,
        };
        // A transport that is gone takes this actor with it.
        if let Some(transport) = &mut self.transport {
            transport.post_merged(request);
        }
    }

    /// Everything handles have asked for since the last turn.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        if self.transport.is_none() {
            // Nothing can have been sent, and nobody else knows the channel.
            if self.pipe.close_requested() {
                self.pipe.end(Cause::ClosedLocally);
                ctx.stop();
            }
            return;
        }
        let credit = self.pipe.take_credit();
        if credit > 0 {
            self.request(ChannelOutput::Credit(credit));
        }
        if !self.writing {
            let batch = self.pipe.take_outgoing(WRITE_BATCH_BYTES);
            if !batch.is_empty() {
                self.writing = true;
                self.request(ChannelOutput::Write(batch));
            }
        }
        if self.pipe.close_requested() && !self.close_sent && self.pipe.outbox_is_empty() {
            self.close_sent = true;
            self.request(ChannelOutput::Close);
        }
    }
}

impl Actor for DataChannelActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(Intake);
    }
}

impl Handler<ChannelInput> for DataChannelActor {
    type Result = ();

    fn handle(&mut self, input: ChannelInput, ctx: &mut Self::Context) {
        match input {
            ChannelInput::Attach(transport) => {
                self.transport = Some(Outlet::keeping(transport));
            }
            ChannelInput::Opened {
                id,
                max_message_size,
            } => {
                self.pipe.set_id(id);
                self.pipe.set_max_message_size(max_message_size);
                self.pipe.set_open();
            }
            ChannelInput::Delivered(messages) => self.pipe.deliver(messages),
            ChannelInput::Progress { accepted, buffered } => {
                // Told only when no batch is under way any more.
                self.writing = false;
                self.pipe.progress(accepted, buffered);
            }
            ChannelInput::Closing => self.pipe.set_closing(),
            ChannelInput::Closed(cause) => {
                let ours = self.pipe.close_requested() && cause == Cause::ClosedByPeer;
                self.pipe
                    .end(if ours { Cause::ClosedLocally } else { cause });
                ctx.stop();
                return;
            }
        }
        self.pump(ctx);
    }
}

supervised!(DataChannelActor);

/// Wakes the actor when a handle has put something into the pipe.
struct Intake;

impl ActorFuture<DataChannelActor> for Intake {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut DataChannelActor,
        ctx: &mut Context<DataChannelActor>,
        task: &mut task::Context<'_>,
    ) -> Poll<()> {
        if actor.pipe.take_wake(task.waker()) {
            actor.pump(ctx);
        }
        Poll::Pending
    }
}
