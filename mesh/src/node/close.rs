//! The end of a node, orderly or not.

use std::time::Duration;

use actix::fut::wrap_future;
use actix::{ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context};

use super::Reply;
use super::actor::{NodeActor, Phase};
use crate::clock::time;

/// How long closing the links may take once everybody has heard.
const GOODBYE: Duration = Duration::from_secs(2);

impl NodeActor {
    /// Leaves every room and says goodbye. The node goes on serving its links
    /// until the other ends have answered, which is how it knows that they
    /// have heard; the core gives up on those that do not.
    pub(super) fn close(&mut self, ctx: &mut Context<Self>, reply: Option<Reply<()>>) {
        if matches!(self.phase, Phase::Leaving | Phase::Closing) {
            // The first close answers; this caller learns by the drop.
            return;
        }
        self.closer = reply;
        if self.phase == Phase::Running {
            self.phase = Phase::Leaving;
            self.parts.core.close(time());
            self.drain(ctx);
            self.end_when_heard(ctx);
        } else {
            self.end(ctx);
        }
    }

    /// Goes on with the end of the node once nobody is left to hear of it.
    pub(super) fn end_when_heard(&mut self, ctx: &mut Context<Self>) {
        if self.phase == Phase::Leaving && self.parts.core.links().is_empty() {
            self.end(ctx);
        }
    }

    /// Closes links, gossip, sockets and store, and ends the actor.
    fn end(&mut self, ctx: &mut Context<Self>) {
        self.phase = Phase::Closing;
        let mut links = std::mem::take(&mut self.parting);
        for entry in std::mem::take(&mut self.links).into_values() {
            links.push(Box::pin(entry.link.finish()));
        }
        let gossip = self.parts.gossip.close();
        let (store, endpoint) = (self.parts.store.clone(), self.parts.endpoint.clone());
        let goodbye = async move {
            let links = futures::future::join_all(links);
            if tokio::time::timeout(GOODBYE, links).await.is_err() {
                tracing::debug!("some links did not close in time");
            }
            gossip.await;
            endpoint.close().await;
            if let Err(error) = store.close().await {
                tracing::debug!(%error, "the store was closed already");
            }
        };
        let ended = wrap_future::<_, Self>(goodbye).map(|(), node, ctx| {
            if let Some(reply) = node.closer.take() {
                reply.send(()).ok();
            }
            ctx.stop();
        });
        ctx.spawn(ended);
    }

    /// From this instant nothing is sent or answered, and nothing closed.
    #[cfg(feature = "chaos")]
    pub(super) fn silence(&mut self, reply: Reply<()>) {
        self.parts.endpoint.silence(true);
        if self.phase == Phase::Running {
            self.phase = Phase::Silent;
        }
        let frozen = self.parts.gossip.freeze();
        drop(actix::spawn(async move {
            frozen.await;
            reply.send(()).ok();
        }));
    }

    /// Freezes the swarm, or lets it go on. Links stay as they are.
    #[cfg(feature = "chaos")]
    pub(super) fn cut_gossip(&mut self, cut: bool, reply: Reply<()>) {
        if !cut {
            self.parts.gossip.thaw();
            reply.send(()).ok();
            return;
        }
        let frozen = self.parts.gossip.freeze();
        drop(actix::spawn(async move {
            frozen.await;
            reply.send(()).ok();
        }));
    }

    /// Lets an actor of the link to `peer` suffer a fault.
    #[cfg(feature = "chaos")]
    pub(super) fn inject(
        &mut self,
        peer: peerloom_mesh_proto::PeerId,
        kind: peerloom_actors::ActorKind,
        fault: peerloom_actors::Fault,
        reply: Reply<bool>,
    ) {
        use crate::shared::LinkState;
        let mut links = self.links.values_mut();
        let link = links.find(|entry| entry.peer == peer && entry.state == LinkState::Up);
        let Some(connection) = link.and_then(|entry| entry.link.connection()) else {
            reply.send(false).ok();
            return;
        };
        drop(actix::spawn(async move {
            let hit = connection.inject(kind, fault).await.unwrap_or(false);
            reply.send(hit).ok();
        }));
    }
}
