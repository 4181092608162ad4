//! Checks that come before what they need: the remote description, or the candidate they come from
//! (RFC 8445 §7.3 expects both).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Agent;
use crate::candidate::Protocol;
use crate::id::{IceRole, Path};

/// Paths of which the latest check is kept. Filled by the peer; when full, the oldest is given up, since
/// the peer repeats it.
pub const MAX_EARLY_CHECKS: usize = 16;

/// How long checks that came before the remote description wait for the candidates that come with it.
const DESCRIPTION_WAIT: Duration = Duration::from_millis(1);

/// What a check waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lacks {
    Description,
    Candidate,
}

#[derive(Debug)]
struct Early {
    path: Path,
    packet: Bytes,
    lacks: Lacks,
    /// `None` until the description is known.
    due: Option<Instant>,
}

/// The checks that wait.
#[derive(Debug, Default)]
pub(super) struct EarlyChecks {
    kept: VecDeque<Early>,
}

impl EarlyChecks {
    /// Keeps the check: an answer to the latest one of each path is of use to the peer, which may have
    /// given up those before. It waits no longer for that. Returns whether another was given up for it.
    fn keep(&mut self, mut check: Early) -> bool {
        let before = self.kept.iter().position(|kept| kept.path == check.path);
        if let Some(before) = before.and_then(|at| self.kept.remove(at)) {
            check.due = before.due.or(check.due);
        }
        let full = self.kept.len() >= MAX_EARLY_CHECKS;
        if full {
            self.kept.pop_front();
        }
        self.kept.push_back(check);
        full
    }

    pub(super) fn clear(&mut self) {
        self.kept.clear();
    }

    /// The description is known, its candidates follow.
    pub(super) fn described(&mut self, now: Instant) {
        for check in &mut self.kept {
            check.due = Some(now + DESCRIPTION_WAIT);
        }
    }

    /// The peer has told a candidate, or with `None` that there are no more.
    pub(super) fn told(&mut self, candidate: Option<(Protocol, SocketAddr)>, now: Instant) {
        let waits = |check: &&mut Early| {
            let from = (check.path.protocol, check.path.remote);
            check.due.is_some() && candidate.is_none_or(|told| told == from)
        };
        for check in self.kept.iter_mut().filter(waits) {
            check.due = Some(now);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.kept.iter().filter_map(|check| check.due).min()
    }

    fn take_due(&mut self, now: Instant) -> Option<Early> {
        let due = |check: &Early| check.due.is_some_and(|due| due <= now);
        let at = self.kept.iter().position(due)?;
        self.kept.remove(at)
    }
}

impl Agent {
    /// Keeps a check that came before the remote description.
    pub(super) fn keep_undescribed(&mut self, path: Path, packet: &[u8]) {
        self.keep_early(path, packet, Lacks::Description, None);
    }

    /// Keeps a check if the candidate that it comes from may still be told, which is often on its way:
    /// taken as peer-reflexive, a relayed address would be nominated as if it were a direct one, and any
    /// other only after `IceConfig::reflexive_patience`, which is therefore how long it waits at most.
    /// Only while it is for us to nominate. Returns whether it is kept.
    pub(super) fn keep_untold(&mut self, path: Path, packet: &[u8], now: Instant) -> bool {
        let told = self.known_remotes.contains(&(path.protocol, path.remote));
        let nominates = self.role == IceRole::Controlling && self.selected.is_none();
        let waits = nominates && !told && !self.remote_done && path.protocol == Protocol::Udp;
        if waits {
            let due = now + self.config.reflexive_patience;
            self.keep_early(path, packet, Lacks::Candidate, Some(due));
        }
        waits
    }

    fn keep_early(&mut self, path: Path, packet: &[u8], lacks: Lacks, due: Option<Instant>) {
        let packet = Bytes::copy_from_slice(packet);
        let check = Early {
            path,
            packet,
            lacks,
            due,
        };
        if self.early.keep(check) {
            self.stats.dropped += 1;
        }
    }

    /// Takes the checks that have waited long enough.
    pub(super) fn take_early(&mut self, now: Instant) {
        while let Some(check) = self.early.take_due(now) {
            let learnt = match check.lacks {
                Lacks::Description => Ok(()),
                Lacks::Candidate => self.learn_remote(check.path),
            };
            let taken = learnt.and_then(|()| self.handle_packet(check.path, &check.packet, now));
            if let Err(error) = taken {
                tracing::debug!(%error, "early check dropped");
            }
        }
    }
}
