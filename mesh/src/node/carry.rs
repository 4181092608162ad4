//! Carrying out what the core asks.

use std::sync::Arc;
use std::time::Instant;

use actix::Context;
use peerloom_mesh_proto::{
    DownCause, Input, LinkId, Output, PeerId, RoomId, SendError as CoreError, SessionId,
};

use super::Outgoing;
use super::actor::{LinkEntry, NodeActor, Pending, Phase};
use crate::clock::time;
use crate::error::SendError;
use crate::gossip::Command;
use crate::identity::{Occasion, provider};
use crate::link::{Link, Plan};
use crate::shared::{LinkState, count};

/// A link the core asks for.
pub(super) struct Wanted {
    link: LinkId,
    room: RoomId,
    peer: PeerId,
    session: SessionId,
    offer: Option<String>,
}

impl NodeActor {
    pub(super) fn carry_out(&mut self, ctx: &mut Context<Self>, output: Output) {
        match output {
            Output::Subscribe(topic) => self.gossip(Command::Subscribe(topic.name())),
            Output::Unsubscribe(topic) => self.gossip(Command::Unsubscribe(topic.name())),
            Output::Publish { topic, bytes } => {
                self.gossip(Command::Publish {
                    topic: topic.name(),
                    data: bytes,
                });
            }
            Output::Hop {
                id,
                to,
                addresses,
                bytes,
            } => {
                let hop = Command::Hop {
                    id,
                    to,
                    addresses,
                    data: bytes,
                };
                if !self.parts.gossip.command(hop) {
                    self.parts.core.handle(Input::HopFailed { id }, time());
                }
            }
            Output::Dial {
                link,
                room,
                peer,
                session,
            } => {
                self.start_link(Wanted {
                    link,
                    room,
                    peer,
                    session,
                    offer: None,
                });
            }
            Output::Accept {
                link,
                room,
                peer,
                session,
                sdp,
            } => {
                self.start_link(Wanted {
                    link,
                    room,
                    peer,
                    session,
                    offer: Some(sdp),
                });
            }
            Output::Signal { link, signal } => {
                if let Some(entry) = self.links.get(&link)
                    && !entry.link.signal(signal)
                {
                    self.lose_link(link, DownCause::Overflow);
                }
            }
            Output::Send { link, lane, bytes } => {
                count(&self.parts.shared.totals.bytes_channels, bytes.len() as u64);
                if let Some(entry) = self.links.get(&link)
                    && !entry.link.send(lane, bytes)
                {
                    self.lose_link(link, DownCause::Overflow);
                }
            }
            Output::Close { link, .. } => self.remove_link(link),
            Output::Event(event) => self.happen(ctx, event),
        }
    }

    fn start_link(&mut self, wanted: Wanted) {
        let Wanted {
            link: id,
            room,
            peer,
            session,
            offer,
        } = wanted;
        let name = self.claimed_name(&peer);
        let occasion = Occasion {
            identity: Arc::clone(&self.parts.identity),
            incarnation: self.parts.core.incarnation(),
            room,
            session,
            peer,
            name: name.clone(),
            assertions: self.parts.assertions.clone(),
            known_peers: self.parts.known_peers,
            store: self.parts.store.clone(),
            shared: Arc::clone(&self.parts.shared),
        };
        let plan = Plan {
            id,
            peer,
            endpoint: self.parts.endpoint.clone(),
            provider: provider(occasion),
            transport: self.parts.transport,
            offer,
        };
        let link = Link::start(plan, self.parts.reports.clone());
        let (state, since) = (LinkState::Connecting, Instant::now());
        self.links.insert(
            id,
            LinkEntry {
                link,
                room,
                peer,
                name,
                state,
                transport: None,
                since,
            },
        );
        self.links_dirty = true;
    }

    /// Drops a link the core does not know to be lost yet, and tells it.
    pub(super) fn lose_link(&mut self, link: LinkId, cause: DownCause) {
        self.remove_link(link);
        if self.phase.is_live() {
            self.parts
                .core
                .handle(Input::LinkDown { link, cause }, time());
        }
    }

    /// Lets go of a link: its task sends what is queued and closes.
    pub(super) fn remove_link(&mut self, link: LinkId) {
        let Some(entry) = self.links.remove(&link) else {
            return;
        };
        self.links_dirty = true;
        if self.phase == Phase::Leaving {
            self.parting.push(Box::pin(entry.link.finish()));
        }
    }

    /// Whether the links have room for the application's messages.
    pub(super) fn may_send(&self) -> bool {
        self.phase == Phase::Running
            && self
                .links
                .values()
                .all(|entry| entry.state != LinkState::Up || entry.link.is_writable())
    }

    /// Gives an application's message to the core.
    pub(super) fn send_message(&mut self, message: Outgoing) {
        let Outgoing {
            room,
            channel,
            to,
            payload,
            reply,
        } = message;
        let totals = &self.parts.shared.totals;
        let len = payload.len();
        let outcome = match to {
            None => {
                count(&totals.broadcasts_sent, 1);
                self.parts
                    .core
                    .broadcast(room, &channel, payload, time())
                    .map(|()| None)
            }
            Some(peer) => {
                count(&totals.directs_sent, 1);
                self.parts
                    .core
                    .send(room, peer, &channel, payload, time())
                    .map(|id| Some((id, peer)))
            }
        };
        // A reply that fails goes to a caller that no longer waits.
        match outcome {
            Ok(None) => drop(reply.send(Ok(()))),
            Ok(Some((id, to))) => {
                self.unacknowledged.insert(id, Pending { to, reply });
            }
            Err(error) => drop(reply.send(Err(send_error(error, to, len)))),
        }
    }
}

fn send_error(error: CoreError, to: Option<PeerId>, len: usize) -> SendError {
    match (error, to) {
        (CoreError::TooLarge, _) => SendError::TooLarge {
            len,
            max: peerloom_mesh_proto::frame::MAX_PAYLOAD,
        },
        (CoreError::UnknownPeer, Some(peer)) => SendError::UnknownPeer(peer),
        (CoreError::Busy, _) => SendError::Busy,
        // Not joined (any more).
        _ => SendError::Closed,
    }
}
