//! Serving the handles.

use actix::Context;
use peerloom_mesh_proto::ticket::{MAX_NAME_LEN, MAX_TICKET_ADDRESSES};
use peerloom_mesh_proto::{RoomId, Ticket};
use std::time::Instant;

use super::actor::{NodeActor, Phase};
use super::bootstrap::Contact;
use super::start::ROOMS;
use super::{Joined, Reply, Request};
use crate::clock::time;
use crate::error::{ChannelError, Error, JoinError};
use crate::shared::RoomName;

impl NodeActor {
    pub(super) fn request(&mut self, ctx: &mut Context<Self>, request: Request) {
        // A reply that fails goes to a caller that no longer waits.
        match request {
            Request::Close(reply) => self.close(ctx, Some(reply)),
            #[cfg(feature = "chaos")]
            Request::Silence(reply) => self.silence(reply),
            #[cfg(feature = "chaos")]
            Request::CutGossip(cut, reply) => self.cut_gossip(cut, reply),
            #[cfg(feature = "chaos")]
            Request::Impair(impairment, reply) => {
                self.parts.endpoint.impair(impairment);
                reply.send(()).ok();
            }
            #[cfg(feature = "chaos")]
            Request::LoseDatabase(reply) => {
                let store = self.parts.store.clone();
                detach(reply, async move { Ok(store.lose_database().await?) });
            }
            #[cfg(feature = "chaos")]
            Request::Inject {
                peer,
                kind,
                fault,
                reply,
            } => self.inject(peer, kind, fault, reply),
            // Dropping the request tells its caller that the mesh is closed.
            _ if self.phase != Phase::Running => {}
            Request::Ticket(reply) => {
                self.tickets.push(reply);
                self.answer_tickets();
            }
            Request::AddTicket(ticket, reply) => drop(reply.send(self.add_ticket(&ticket))),
            Request::Join(name, reply) => drop(reply.send(self.join(&name))),
            Request::Leave(room) => self.leave(room),
            Request::OpenChannel {
                room,
                name,
                inbox,
                reply,
            } => {
                let opened = match self.rooms.get_mut(&room) {
                    Some(entry) => entry.open(&name, inbox),
                    None => Err(ChannelError::Closed),
                };
                drop(reply.send(opened));
            }
            Request::SetNick(nick, reply) => drop(reply.send(self.set_nick(nick))),
            Request::Addresses(reply) => {
                drop(reply.send(self.parts.addresses.all()));
            }
            Request::Identities(reply) => {
                let store = self.parts.store.clone();
                detach(reply, async move { Ok(store.identities().await?) });
            }
            Request::Forget(name, reply) => {
                self.parts.known.forget(&name);
                let store = self.parts.store.clone();
                detach(reply, async move { Ok(store.forget(&name).await?) });
            }
            Request::Remembered(reply) => {
                let (store, mesh) = (self.parts.store.clone(), self.parts.shared.mesh.clone());
                detach(reply, async move { Ok(store.peers(&mesh).await?) });
            }
        }
    }

    /// Addresses came or went: presence and tickets name them.
    pub(super) fn addresses_changed(&mut self) {
        let addresses = self.parts.addresses.told();
        self.parts.core.set_addresses(addresses, time());
        self.answer_tickets();
    }

    /// Answers who waits for a ticket, once the addresses have settled.
    pub(super) fn answer_tickets(&mut self) {
        if self.tickets.is_empty() || !self.parts.addresses.are_settled(Instant::now()) {
            return;
        }
        let mut told = self.parts.addresses.told();
        told.truncate(MAX_TICKET_ADDRESSES);
        for reply in std::mem::take(&mut self.tickets) {
            let addresses = told.clone();
            let shared = &self.parts.shared;
            let ticket = Ticket::new(shared.me, addresses, shared.mesh.clone(), None);
            drop(reply.send(ticket.map_err(Error::from)));
        }
    }

    fn add_ticket(&mut self, ticket: &Ticket) -> Result<(), Error> {
        let mesh = &self.parts.shared.mesh;
        if ticket.mesh() != mesh {
            let (ticket, mesh) = (ticket.mesh().to_owned(), mesh.clone());
            return Err(Error::OtherMesh { ticket, mesh });
        }
        let contact = Contact {
            peer: ticket.peer(),
            addresses: ticket.addresses().to_vec(),
        };
        let dial = crate::gossip::Command::Dial {
            peer: contact.peer,
            addresses: contact.addresses.clone(),
        };
        self.parts.bootstrap.add(contact, Instant::now());
        if !self.parts.bootstrap.alone() {
            self.gossip(dial);
        }
        Ok(())
    }

    fn join(&mut self, name: &str) -> Result<Joined, JoinError> {
        if name.is_empty() || name.len() > MAX_NAME_LEN {
            return Err(JoinError::Name);
        }
        let id = RoomId::new(&self.parts.shared.mesh, name);
        let member = self.rooms.contains(&id);
        if !member && self.rooms.len() >= ROOMS {
            return Err(JoinError::TooMany { max: ROOMS });
        }
        let room = RoomName {
            id,
            name: name.into(),
        };
        let roster = self.rooms.hold(room.clone()).roster.subscribe();
        if !member {
            self.parts.core.join(name, time());
            self.dirty.insert(id);
        }
        Ok(Joined { room, roster })
    }

    fn leave(&mut self, room: RoomId) {
        if self.rooms.release(&room) {
            self.parts.core.leave(room, time());
        }
    }
}

/// Answers when `work` is done, without holding up the node.
fn detach<T: 'static>(reply: Reply<T>, work: impl Future<Output = T> + 'static) {
    drop(actix::spawn(async move { drop(reply.send(work.await)) }));
}
