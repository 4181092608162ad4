//! The root of an arbiter's supervision tree: parent of its peer connections.
//!
//! A dead peer connection takes its transports and channels with it; the warden
//! publishes that it failed and why, so that whoever holds a handle learns of it.

use std::collections::BTreeMap;

use actix::{Actor, AsyncContext as _, Context, Handler, Message};
use tokio::sync::watch;

use crate::cause::{ActorKind, Cause};
use crate::feed::Feed;
use crate::peer_connection::{ConnectionState, Event, Plan, Snapshot, Started};
use crate::supervisor::{Children, Death, Died, watch};

/// Messages in a warden's mailbox: new connections and deaths. Senders wait.
const MAILBOX: usize = 1024;

/// Starts a peer connection on this arbiter.
#[derive(Message)]
#[rtype(result = "Started")]
pub(crate) struct StartConnection(pub(crate) Plan);

/// The parent of an arbiter's peer connections.
#[derive(Default)]
pub(crate) struct Warden {
    children: Children<u64>,
    wards: BTreeMap<u64, Ward>,
    next: u64,
}

/// What remains of a connection when its actor is gone.
struct Ward {
    snapshot: watch::Sender<Snapshot>,
    events: Feed<Event>,
}

impl Warden {
    fn bury(&mut self, key: u64, death: Death) {
        if let Some(ward) = self.wards.remove(&key) {
            ward.publish(death);
        }
        // Last: what is dropped with the actor looks for the cause.
        self.children.remove(&key);
    }
}

impl Ward {
    fn publish(&self, death: Death) {
        if self.snapshot.borrow().connection == ConnectionState::Closed {
            return;
        }
        let cause = Cause::ActorDied {
            kind: ActorKind::PeerConnection,
            death: death.clone(),
        };
        tracing::error!(%cause, "peer connection lost");
        self.snapshot.send_modify(|snapshot| {
            snapshot.connection = ConnectionState::Failed;
            snapshot.cause = Some(cause.clone());
        });
        let changed = Event::ConnectionStateChange {
            state: ConnectionState::Failed,
            cause: Some(cause),
        };
        for event in [
            Event::ActorDied {
                kind: ActorKind::PeerConnection,
                cause: death,
            },
            changed,
        ] {
            // Nobody has to listen.
            self.events.send(event);
        }
    }
}

impl Actor for Warden {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        watch(ctx, self.children.patrol(), |warden, _| {
            for key in warden.children.wedged() {
                warden.bury(key, Death::Wedged);
            }
        });
    }
}

impl Handler<StartConnection> for Warden {
    type Result = actix::MessageResult<StartConnection>;

    fn handle(&mut self, start: StartConnection, ctx: &mut Self::Context) -> Self::Result {
        let key = self.next;
        self.next += 1;
        let snapshot = watch::Sender::new(Snapshot::new(start.0.config.clone()));
        let events = Feed::new(crate::peer_connection::EVENT_BACKLOG);
        let transports = Feed::new(crate::peer_connection::TRANSPORT_BACKLOG);
        let ward = Ward {
            snapshot: snapshot.clone(),
            events: events.clone(),
        };
        self.wards.insert(key, ward);
        let parent = ctx.address().recipient();
        let started = start
            .0
            .start(snapshot, events, transports, |context, actor| {
                self.children.start(key, context, actor, parent)
            });
        actix::MessageResult(started)
    }
}

impl Handler<Died<u64>> for Warden {
    type Result = ();

    fn handle(&mut self, died: Died<u64>, _: &mut Self::Context) {
        self.bury(died.key, died.death);
    }
}
