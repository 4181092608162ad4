//! Our own requests that wait for an answer: gives round trips, consent, and the paths that work.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::stun::TransactionId;
use crate::id::{IceRole, Path};

/// Requests remembered. Filled by our own checks; the oldest is forgotten when full.
const MAX_PENDING: usize = 1024;

/// How long an answer may take: what the engine allows.
const EXPIRY: Duration = Duration::from_secs(4);

#[derive(Clone, Copy, Debug)]
struct Pending {
    path: Path,
    at: Instant,
    /// What we took ourselves for.
    role: Option<IceRole>,
}

#[derive(Debug, Default)]
pub(super) struct Checks {
    pending: BTreeMap<TransactionId, Pending>,
    answered: BTreeSet<Path>,
}

/// An answer to one of our requests.
pub(super) struct Answer {
    pub(super) round_trip: Duration,
    pub(super) first: bool,
}

impl Checks {
    pub(super) fn sent(
        &mut self,
        id: TransactionId,
        path: Path,
        role: Option<IceRole>,
        now: Instant,
    ) {
        if self.pending.len() >= MAX_PENDING {
            self.pending
                .retain(|_, sent| now.saturating_duration_since(sent.at) < EXPIRY);
        }
        if self.pending.len() >= MAX_PENDING {
            let oldest = self
                .pending
                .iter()
                .min_by_key(|(_, sent)| sent.at)
                .map(|(id, _)| *id);
            if let Some(id) = oldest {
                self.pending.remove(&id);
            }
        }
        self.pending.insert(
            id,
            Pending {
                path,
                at: now,
                role,
            },
        );
    }

    /// Whether `id` answers a request of ours sent on `path` (RFC 8445 §7.2.5.2.1).
    pub(super) fn answered(
        &mut self,
        id: TransactionId,
        path: Path,
        now: Instant,
    ) -> Option<Answer> {
        let sent = self.take(id, path)?;
        let first = self.answered.insert(path);
        Some(Answer {
            round_trip: now.saturating_duration_since(sent.at),
            first,
        })
    }

    /// The role in a request of ours sent on `path` that the peer refused: the inner one is absent
    /// from requests that name none.
    pub(super) fn refused(&mut self, id: TransactionId, path: Path) -> Option<Option<IceRole>> {
        self.take(id, path).map(|sent| sent.role)
    }

    fn take(&mut self, id: TransactionId, path: Path) -> Option<Pending> {
        let sent = *self.pending.get(&id).filter(|sent| sent.path == path)?;
        self.pending.remove(&id);
        Some(sent)
    }

    /// Whether a request sent on `path` was answered.
    pub(super) fn works(&self, path: Path) -> bool {
        self.answered.contains(&path)
    }

    pub(super) fn clear(&mut self) {
        self.pending.clear();
        self.answered.clear();
    }
}
