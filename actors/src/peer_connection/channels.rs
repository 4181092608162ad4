//! The data channels of a connection.

use std::sync::Arc;

use actix::{AsyncContext, Context, Handler, Recipient};
use peerloom_transports::proto::{dtls, jsep::Effect};

use super::actor::{ChildKey, PeerConnectionActor};
use super::events::Event;
use super::messages::{CreateChannel, SctpReport};
use crate::cause::{ActorKind, Cause};
use crate::config::argument;
use crate::data_channel::{
    self, ChannelInput, DataChannel, DataChannelActor, DataChannelInit, Pipe, ReadyState,
};
use crate::error::Error;
use crate::outlet::Outlet;
use crate::sctp_transport::{ChannelKey, Incoming, OpenChannel};
use crate::supervisor::Death;

/// Longest label and longest protocol: DCEP counts them in 16 bits (RFC 8832 section 5.1).
const MAX_NAME: usize = 65_535;

/// Highest stream id: 65535 is not used (RFC 8831 section 6.2).
const MAX_ID: u16 = 65_534;

/// What the connection keeps of a channel.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) pipe: Arc<Pipe>,
    pub(super) actor: Outlet<ChannelInput>,
    pub(super) input: Recipient<ChannelInput>,
    #[cfg(feature = "chaos")]
    pub(super) inject: actix::Recipient<crate::supervisor::Inject>,
}

impl PeerConnectionActor {
    fn create_channel(
        &mut self,
        create: CreateChannel,
        ctx: &mut Context<Self>,
    ) -> Result<DataChannel, Error> {
        self.check_open()?;
        let CreateChannel { label, mut init } = create;
        if !init.negotiated {
            init.id = None;
        }
        check_init(&label, &init)?;
        if self.channels.len() >= self.config.channels.max_channels {
            let hint = "close channels that are no longer needed, or raise channels.max_channels";
            return Err(Error::Limit {
                cause: "too many data channels",
                hint,
            });
        }
        let taken = |channel: &Channel| {
            init.id.is_some()
                && channel.pipe.id() == init.id
                && channel.pipe.ready() != ReadyState::Closed
        };
        if self.channels.values().any(taken) {
            return Err(argument(
                "OperationError",
                "a channel with this id exists",
                "choose another id",
            ));
        }
        self.check_agreed(&init)?;
        self.session.request_data()?;
        while let Some(effect) = self.session.poll_effect() {
            if effect == Effect::NegotiationNeeded {
                self.negotiation_is_needed();
            }
        }
        let key = ChannelKey::Local(self.next_channel);
        self.next_channel += 1;
        let lives = self.snapshot.borrow().channels.clone();
        let pipe = self.start_channel(
            key,
            Pipe::new(label, init, ReadyState::Connecting, lives),
            ctx,
        );
        let handle = pipe.and_then(|pipe| self.handle_to(pipe));
        handle.ok_or(Error::Closed {
            cause: Cause::ClosedLocally,
        })
    }

    /// W3C webrtc-pc section 6.1: once the association is up, an id has to be one of its streams.
    fn check_agreed(&self, init: &DataChannelInit) -> Result<(), Error> {
        let agreed = {
            let snapshot = self.snapshot.borrow();
            snapshot.transports.max_channels()
        };
        if init.id.zip(agreed).is_some_and(|(id, max)| id >= max) {
            let hint = "choose one below SctpTransport::max_channels";
            return Err(argument("OperationError", "an id of no stream", hint));
        }
        Ok(())
    }

    fn start_channel(
        &mut self,
        key: ChannelKey,
        pipe: Pipe,
        ctx: &mut Context<Self>,
    ) -> Option<Arc<Pipe>> {
        self.wires.as_ref()?;
        let transport = self.channel_transport();
        let pipe = Arc::new(pipe);
        let mut context = Context::new();
        context.set_mailbox_capacity(data_channel::MAILBOX);
        let actor = DataChannelActor::new(key, pipe.clone(), transport);
        let parent = ctx.address().recipient();
        let addr = self
            .children
            .start(ChildKey::Channel(key), context, actor, parent);
        let channel = Channel {
            pipe: pipe.clone(),
            actor: Outlet::dropping(addr.clone().recipient()),
            input: addr.clone().recipient(),
            #[cfg(feature = "chaos")]
            inject: addr.clone().recipient(),
        };
        self.channels.insert(key, channel);
        let (label, init) = (pipe.label.clone(), pipe.init.clone());
        self.open_at_transport(OpenChannel {
            key,
            label,
            init,
            channel: addr.recipient(),
        });
        Some(pipe)
    }

    fn handle_to(&self, pipe: Arc<Pipe>) -> Option<DataChannel> {
        // Gone when the last handle is dropped at this very moment.
        self.alive
            .upgrade()
            .map(|alive| DataChannel::new(pipe, alive))
    }

    /// A channel's actor has ended. When it had not closed in good order, that is a death:
    /// only this channel closes, here and at the peer.
    pub(super) fn bury_channel(&mut self, key: ChannelKey, death: Death) {
        let Some(channel) = self.channels.remove(&key) else {
            return;
        };
        if channel.pipe.closed_in_order() && death == Death::Stopped {
            self.past.add(key, channel.stats());
            if self.check_open().is_ok() {
                // It may have closed before it knew its transport, which then holds it open.
                self.abandon_at_transport(key);
            }
            return;
        }
        let kind = ActorKind::DataChannel(channel.pipe.label.clone());
        tracing::error!(%kind, %death, "an actor died");
        channel.pipe.set_closed(Cause::ActorDied {
            kind: kind.clone(),
            death: death.clone(),
        });
        self.past.add(key, channel.stats());
        self.abandon_at_transport(key);
        self.emit(Event::ActorDied { kind, cause: death });
    }

    /// The connection is over: so are its channels, after what their actors have still to
    /// read.
    pub(super) fn end_channels(&mut self, cause: &Cause) {
        for channel in self.channels.values_mut() {
            let end = ChannelInput::Closed(cause.clone());
            if channel.actor.send(end).is_err() {
                channel.pipe.set_closed(cause.clone());
            }
        }
    }

    /// The connection is gone, and at once so are its channels.
    pub(super) fn close_channels(&mut self, cause: &Cause) {
        for (key, channel) in std::mem::take(&mut self.channels) {
            channel.pipe.set_closed(cause.clone());
            self.past.add(key, channel.stats());
            self.children.remove(&ChildKey::Channel(key));
        }
    }

    fn sctp_report(&mut self, report: SctpReport, ctx: &mut Context<Self>) {
        match report {
            SctpReport::Connected { max_channels } => {
                self.update_transports(|transports| transports.sctp_is_up(max_channels));
            }
            SctpReport::Lost(cause) => self.fail(cause),
            SctpReport::PeerClosed => self.closed_by_peer(),
            SctpReport::Incoming(incoming) => self.incoming(incoming, ctx),
        }
    }

    pub(super) fn closed_by_peer(&mut self) {
        self.progress.dtls = Some(dtls::State::Closed);
        self.fail(Cause::ClosedByPeer);
    }

    /// The peer has opened a channel.
    pub(super) fn incoming(&mut self, incoming: Incoming, ctx: &mut Context<Self>) {
        if self.check_open().is_err() {
            // Announced before the connection was over: nobody would ever close it.
            return;
        }
        let lives = self.snapshot.borrow().channels.clone();
        let pipe = Pipe::new(incoming.label, incoming.init, ReadyState::Open, lives);
        pipe.set_max_message_size(incoming.max_message_size);
        let pipe = self.start_channel(incoming.key, pipe, ctx);
        if let Some(channel) = pipe.and_then(|pipe| self.handle_to(pipe)) {
            self.emit(Event::DataChannel(channel));
        }
    }
}

/// W3C webrtc-pc section 6.1, createDataChannel.
fn check_init(label: &str, init: &DataChannelInit) -> Result<(), Error> {
    if label.len() > MAX_NAME || init.protocol.len() > MAX_NAME {
        return Err(argument(
            "TypeError",
            "label or protocol is over 65535 bytes",
            "shorten it",
        ));
    }
    if init.max_retransmits.is_some() && init.max_packet_life_time.is_some() {
        let hint = "set max_retransmits or max_packet_life_time, not both";
        return Err(argument("TypeError", "two limits on retransmission", hint));
    }
    if init.negotiated && init.id.is_none() {
        return Err(argument(
            "TypeError",
            "a negotiated channel without an id",
            "agree on an id",
        ));
    }
    if init.id.is_some_and(|id| id > MAX_ID) {
        return Err(argument(
            "TypeError",
            "id 65535 is not a stream",
            "use 0 to 65534",
        ));
    }
    Ok(())
}

impl Handler<CreateChannel> for PeerConnectionActor {
    type Result = Result<DataChannel, Error>;

    fn handle(&mut self, create: CreateChannel, ctx: &mut Context<Self>) -> Self::Result {
        self.create_channel(create, ctx)
    }
}

impl Handler<SctpReport> for PeerConnectionActor {
    type Result = ();

    fn handle(&mut self, report: SctpReport, ctx: &mut Context<Self>) {
        if !self.is_parting() {
            self.sctp_report(report, ctx);
        }
    }
}

#[cfg(feature = "chaos")]
impl Handler<super::messages::InjectInto> for PeerConnectionActor {
    type Result = bool;

    fn handle(&mut self, inject: super::messages::InjectInto, ctx: &mut Context<Self>) -> bool {
        use crate::supervisor::Inject;
        let Some(wires) = &self.wires else {
            return false;
        };
        let to: actix::Recipient<Inject> = match &inject.kind {
            ActorKind::PeerConnection => ctx.address().recipient(),
            ActorKind::IceAgent => wires.ice_addr.clone().recipient(),
            ActorKind::DtlsTransport => wires.dtls_addr.clone().recipient(),
            ActorKind::SctpTransport => wires.sctp_addr.clone().recipient(),
            ActorKind::QuicTransport => match self.quic_addr() {
                Some(addr) => addr.clone().recipient(),
                None => return false,
            },
            ActorKind::DataChannel(label) => {
                match self
                    .channels
                    .values()
                    .find(|channel| channel.pipe.label == *label)
                {
                    Some(channel) => channel.inject.clone(),
                    None => return false,
                }
            }
        };
        to.try_send(Inject(inject.fault)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_channels_are_type_errors() {
        let name = |init: DataChannelInit| check_init("x", &init).err().map(|e| e.name());
        assert_eq!(name(DataChannelInit::default()), None);
        let both = DataChannelInit {
            max_retransmits: Some(1),
            max_packet_life_time: Some(1),
            ..DataChannelInit::default()
        };
        assert_eq!(name(both), Some("TypeError"));
        let no_id = DataChannelInit {
            negotiated: true,
            ..DataChannelInit::default()
        };
        assert_eq!(name(no_id), Some("TypeError"));
        let reserved = DataChannelInit {
            negotiated: true,
            id: Some(65_535),
            ..DataChannelInit::default()
        };
        assert_eq!(name(reserved), Some("TypeError"));
        assert!(check_init(&"x".repeat(MAX_NAME + 1), &DataChannelInit::default()).is_err());
    }
}
