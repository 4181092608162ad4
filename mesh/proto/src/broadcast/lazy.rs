//! The lazy part of the tree: announcing what is here, and asking for what was
//! announced and did not come.

use super::cache::Seen;
use super::message::{Announced, Message};
use super::{Broadcast, MAX_ANNOUNCED, Output, millis};
use crate::id::MessageId;
use crate::overlay::ConnId;

/// Messages announced and not arrived; announcements beyond are dropped, a
/// later one of the same message counts again.
pub(super) const MAX_MISSING: usize = 256;
/// Others who announced a missing message, remembered to ask in turn.
const MAX_SOURCES: usize = 4;

#[derive(Debug)]
pub(super) struct Missing {
    pub(super) id: MessageId,
    /// Who announced it, and over how many links it would come.
    pub(super) sources: Vec<(ConnId, u8)>,
    pub(super) ask_at: u64,
}

impl Broadcast {
    pub(super) fn announce_later(
        &mut self,
        announced: Announced,
        from: Option<ConnId>,
        now: u64,
        out: &mut Vec<Output>,
    ) {
        if self.pending.len() >= MAX_ANNOUNCED {
            self.announce(out);
        }
        self.pending.push((announced, from));
        self.announce_at = self.announce_at.min(now + millis(self.config.announce));
        self.wake = self.wake.min(self.announce_at);
    }

    pub(super) fn announce(&mut self, out: &mut Vec<Output>) {
        self.announce_at = u64::MAX;
        for link in self.links.iter().filter(|link| !link.eager) {
            let own = |(_, from): &&(Announced, Option<ConnId>)| *from != Some(link.conn);
            let news = || self.pending.iter().filter(own).map(|(news, _)| *news);
            if news().next().is_some() {
                out.push(Output::Send {
                    conn: link.conn,
                    message: Message::announce(news()),
                });
            }
        }
        self.pending.clear();
    }

    pub(super) fn on_announced(
        &mut self,
        conn: ConnId,
        announced: Announced,
        now: u64,
        out: &mut Vec<Output>,
    ) {
        if let Some(seen) = self.cache.get(&announced.id).copied() {
            self.on_shortcut(conn, announced, seen, out);
            return;
        }
        if let Some(missing) = self.missing.iter_mut().find(|m| m.id == announced.id) {
            let known = missing.sources.iter().any(|(source, _)| *source == conn);
            if missing.sources.len() < MAX_SOURCES && !known {
                missing.sources.push((conn, announced.hops));
            }
        } else if self.missing.len() < MAX_MISSING {
            let ask_at = now + millis(self.config.graft);
            self.missing.push(Missing {
                id: announced.id,
                sources: vec![(conn, announced.hops)],
                ask_at,
            });
            self.wake = self.wake.min(ask_at);
        }
    }

    /// An announcement of what is known already, perhaps over a much shorter
    /// way: then it becomes the way.
    fn on_shortcut(
        &mut self,
        conn: ConnId,
        announced: Announced,
        seen: Seen,
        out: &mut Vec<Output>,
    ) {
        let shorter = announced.hops.saturating_add(self.config.guard) <= seen.hops;
        let Some(parent) = seen.parent.filter(|parent| shorter && *parent != conn) else {
            return;
        };
        self.stats.shortened += 1;
        self.cache.adopt(&announced.id, conn, announced.hops);
        self.set_eager(conn, true);
        out.push(Output::Send {
            conn,
            message: Message::Graft { id: None },
        });
        self.prune(parent, out);
    }

    pub(super) fn ask_for_missing(&mut self, now: u64, out: &mut Vec<Output>) {
        let again = now + millis(self.config.graft_again);
        let mut asked = Vec::new();
        self.missing.retain_mut(|missing| {
            if missing.ask_at > now {
                return true;
            }
            // The nearest to the author first: it becomes the parent.
            let nearest = (0..missing.sources.len()).min_by_key(|n| missing.sources[*n].1);
            let Some(nearest) = nearest else { return false };
            asked.push((missing.sources.remove(nearest).0, missing.id));
            missing.ask_at = again;
            true
        });
        for (conn, id) in asked {
            self.stats.grafts += 1;
            self.set_eager(conn, true);
            let message = Message::Graft { id: Some(id) };
            out.push(Output::Send { conn, message });
        }
    }

    pub(super) fn on_graft(&mut self, conn: ConnId, id: Option<MessageId>, out: &mut Vec<Output>) {
        self.set_eager(conn, true);
        let Some(id) = id else { return };
        if let Some((payload, hops)) = self.cache.payload(&id) {
            let hops = hops.saturating_add(1);
            let message = Message::Push { payload, hops };
            out.push(Output::Send { conn, message });
        }
    }
}
