//! Names held against what is known of them, for as long as a link stands.
//!
//! The identity provider checks a name when a link is built; a presence that
//! comes later may carry another one. The new name is checked the same way,
//! and a link whose peer takes somebody else's name is given up.

use actix::fut::wrap_future;
use actix::{ActorFutureExt as _, AsyncContext as _, Context};
use peerloom_mesh_proto::limit::{Limiter, Rate};
use peerloom_mesh_proto::{DownCause, LinkId, PeerId};

use super::actor::NodeActor;
use super::start::check_nick;
use crate::clock::time;
use crate::config::KnownPeers;
use crate::error::Error;
use crate::event::Event;
use crate::identity::known_identity;
use crate::shared::{LinkState, count};
use crate::store::{StoreError, Verdict};

/// Changes of name one linked peer may make. Each new name is remembered, and
/// a peer that goes through names would push out those of others.
const RENAMES: Rate = Rate {
    per_second: 0.1,
    burst: 4.0,
};
/// Peers whose changes are counted.
const RENAMERS: usize = 4096;

/// Counts changes of name.
pub(super) fn limiter() -> Limiter<PeerId> {
    Limiter::new(RENAMES, RENAMERS)
}

impl NodeActor {
    /// Changes what people call this node.
    pub(super) fn set_nick(&mut self, nick: Option<String>) -> Result<(), Error> {
        check_nick(nick.as_deref())?;
        let said = nick.as_deref().unwrap_or_default();
        self.parts.core.set_nick(said, time());
        self.parts.nick = nick;
        self.dirty.extend(self.rooms.ids());
        Ok(())
    }

    /// A link is up: its peer has proven itself under the name it was checked
    /// with, whatever it calls itself by now.
    pub(super) fn name_proven(&mut self, link: LinkId, peer: &PeerId) {
        let change = self.accepts_changes();
        if let Some(entry) = self.links.get(&link) {
            self.parts.known.proven(entry.name.clone(), peer, change);
        }
    }

    /// Checks what a linked peer calls itself, if that is not what its links
    /// were checked with.
    pub(super) fn recheck_name(&mut self, ctx: &mut Context<Self>, peer: PeerId) {
        let name = self.claimed_name(&peer);
        if self.links_under_other_names(&peer, &name).is_empty() {
            return;
        }
        if !self.renames.take(peer, time().now) {
            return self.refuse_name(peer, &name, "it changes its name too often");
        }
        let (store, change) = (self.parts.store.clone(), self.accepts_changes());
        let identity = known_identity(name.clone(), &peer);
        let check = async move { store.check(identity, change).await };
        let checked = wrap_future::<_, Self>(check).map(move |verdict, node, ctx| {
            node.name_checked(peer, name, verdict);
            node.turn(ctx);
        });
        ctx.spawn(checked);
    }

    fn name_checked(&mut self, peer: PeerId, name: String, verdict: Result<Verdict, StoreError>) {
        let verdict = match verdict {
            Ok(verdict) => verdict,
            Err(error) => return self.refuse_name(peer, &name, &error.to_string()),
        };
        let first_use = verdict == Verdict::First;
        if let Verdict::Changed { known, accepted } = verdict {
            self.emit(Event::IdentityChanged {
                known,
                offered: peer,
                accepted,
            });
            if !accepted {
                let cause = format!("`{name}` is known with another key");
                return self.refuse_name(peer, &name, &cause);
            }
        }
        let change = self.accepts_changes();
        self.parts.known.proven(name.clone(), &peer, change);
        for entry in self.links.values_mut().filter(|entry| entry.peer == peer) {
            entry.name.clone_from(&name);
            self.dirty.insert(entry.room);
        }
        self.emit(Event::IdentityVerified {
            peer,
            name,
            first_use,
        });
    }

    /// Gives up the links that were checked under another name.
    fn refuse_name(&mut self, peer: PeerId, name: &str, cause: &str) {
        let links = self.links_under_other_names(&peer, name);
        if links.is_empty() {
            return;
        }
        count(&self.parts.shared.totals.identities_refused, 1);
        self.emit(Event::IdentityRefused {
            peer,
            cause: cause.to_owned(),
        });
        for link in links {
            self.lose_link(link, DownCause::Identity);
        }
    }

    fn links_under_other_names(&self, peer: &PeerId, name: &str) -> Vec<LinkId> {
        let links = self.links.iter().filter(|(_, entry)| {
            entry.peer == *peer && entry.state == LinkState::Up && entry.name != name
        });
        links.map(|(link, _)| *link).collect()
    }

    fn accepts_changes(&self) -> bool {
        self.parts.known_peers == KnownPeers::AcceptChanged
    }
}
