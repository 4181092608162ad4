//! Starts a connection's transports and connects them with each other.
//!
//! ```text
//!            commands            commands               commands
//!   ┌──────────┴─────────┬──────────┴──────────┬───────────┴─────────┐
//!   ▼                    ▼                     ▼                     │
//! IceAgent ─PathSelected▶ DtlsTransport ─Packets▶ SctpTransport ◀─▶ DataChannel
//!   ▲  STUN              ▲  records  ◀─Outgoing─                 batches
//!   └──── sockets ───────┘
//! ```

use std::sync::Arc;

use actix::{Actor, Addr, AsyncContext, Context, Message, Recipient, WeakAddr};
use peerloom_transports::udp::{Datagrams, Inlet, QuicEntry};

use super::actor::{ChildKey, PeerConnectionActor};
use super::stats::Addrs;
use crate::cause::{ActorKind, Cause};
use crate::dtls_transport::{self, DtlsCommand, DtlsTransportActor, Records};
use crate::ice_agent::{self, Checks, IceAgentActor, IceCommand};
use crate::outlet::{KEPT_MESSAGES, Outlet, Refused};
use crate::quic_transport::QuicTransportActor;
use crate::sctp_transport::{self, SctpCommand, SctpTransportActor};
use crate::supervisor::Death;

/// The ways from a connection to its transports.
#[derive(Debug)]
pub(super) struct Wires {
    pub(super) ice: Outlet<IceCommand>,
    pub(super) dtls: Outlet<DtlsCommand>,
    pub(super) sctp: Outlet<SctpCommand>,
    pub(super) ice_addr: Addr<IceAgentActor>,
    pub(super) dtls_addr: Addr<DtlsTransportActor>,
    pub(super) sctp_addr: Addr<SctpTransportActor>,
    /// Where QUIC packets come in, once somebody takes them.
    pub(super) quic_entry: QuicEntry,
    /// The connection's own, for what is asked in its name.
    pub(super) me: WeakAddr<PeerConnectionActor>,
}

impl Wires {
    /// Whom `getStats` asks.
    pub(super) fn addrs(&self, quic: Option<&Addr<QuicTransportActor>>) -> Addrs {
        Addrs {
            ice: self.ice_addr.clone(),
            dtls: self.dtls_addr.clone(),
            sctp: self.sctp_addr.clone(),
            quic: quic.cloned(),
        }
    }
}

impl PeerConnectionActor {
    /// Starts the three transports.
    pub(super) fn wire(&mut self, ctx: &mut Context<Self>) {
        let (ice, dtls) = (
            context(ice_agent::MAILBOX),
            context(dtls_transport::MAILBOX),
        );
        let channels = self.config.channels.max_channels;
        let sctp = context(sctp_transport::mailbox(channels));
        let (ice_addr, dtls_addr, sctp_addr) = (address(&ice), address(&dtls), address(&sctp));
        let inlets = (
            inlet(dtls_addr.clone().into(), Records),
            inlet(ice_addr.clone().into(), Checks),
        );
        let Some(registration) = self.udp.routes().register(inlets.1, inlets.0) else {
            self.fail(Cause::Ice(
                "the endpoint carries too many connections".into(),
            ));
            return;
        };
        let quic_entry = registration.quic();
        let me = ctx.address();
        let ice_actor = IceAgentActor::new(
            self.config.ice.clone(),
            self.udp.clone(),
            self.sources(),
            registration,
            me.clone().recipient(),
            dtls_addr.clone().recipient(),
        );
        let dtls_actor = DtlsTransportActor::new(
            self.config.dtls.clone(),
            self.certificate.clone(),
            &sctp_addr,
            me.clone().recipient(),
        );
        let settings = (self.config.sctp.clone(), self.config.channels.clone());
        let sctp_actor = SctpTransportActor::new(
            settings,
            dtls_addr.clone().recipient(),
            me.clone().recipient(),
        );
        self.children
            .start(ChildKey::Ice, ice, ice_actor, me.clone().recipient());
        self.children
            .start(ChildKey::Dtls, dtls, dtls_actor, me.clone().recipient());
        self.children
            .start(ChildKey::Sctp, sctp, sctp_actor, me.recipient());
        self.wires = Some(Wires {
            ice: Outlet::keeping(ice_addr.clone().recipient()),
            dtls: Outlet::keeping(dtls_addr.clone().recipient()),
            // All channels may be made before the transport has its first turn.
            sctp: Outlet::keeping_up_to(sctp_addr.clone().recipient(), channels + KEPT_MESSAGES),
            ice_addr,
            dtls_addr,
            sctp_addr,
            quic_entry,
            me: ctx.address().downgrade(),
        });
    }

    pub(super) fn command_ice(&mut self, command: IceCommand) {
        let sent = self.wires.as_mut().map(|wires| wires.ice.send(command));
        self.check_overflow(sent, ActorKind::IceAgent);
    }

    pub(super) fn command_dtls(&mut self, command: DtlsCommand) {
        let sent = self.wires.as_mut().map(|wires| wires.dtls.send(command));
        self.check_overflow(sent, ActorKind::DtlsTransport);
    }

    pub(super) fn command_sctp(&mut self, command: SctpCommand) {
        let sent = self.wires.as_mut().map(|wires| wires.sctp.send(command));
        self.check_overflow(sent, ActorKind::SctpTransport);
    }

    /// A transport that has left so much unread is as good as dead. One that is dead is
    /// reported by its death.
    pub(super) fn check_overflow(&mut self, sent: Option<Result<(), Refused>>, kind: ActorKind) {
        if sent == Some(Err(Refused::Overflow)) {
            self.fail(Cause::ActorDied {
                kind,
                death: Death::Wedged,
            });
        }
    }
}

fn context<A: Actor<Context = Context<A>>>(mailbox: usize) -> Context<A> {
    let mut context = Context::new();
    context.set_mailbox_capacity(mailbox);
    context
}

fn address<A: Actor<Context = Context<A>>>(context: &Context<A>) -> Addr<A> {
    context.address()
}

/// A connection's entry for datagrams: its mailbox, bounded, dropping when full.
fn inlet<M>(to: Recipient<M>, wrap: fn(Datagrams) -> M) -> Inlet
where
    M: Message<Result = ()> + Send + 'static,
{
    Arc::new(move |batch| to.try_send(wrap(batch)).is_ok())
}
