//! The nomination, said again to a peer that has answered it and may have missed it all the same.
//!
//! Firefox 153 answers checks that come before the answer to its offer, which an ICE restart of
//! its own makes likely, and was seen to forget that later ones of them nominated: it waits for
//! ever, and uses the old path. Chromium nominates with every check.

use std::time::Instant;

use bytes::Bytes;

use super::Agent;
use crate::ice::stun::{Class, TransactionId};
use crate::id::{IceRole, Path};
use crate::stun::message::{Builder, Message, attribute, method};

/// How often a nomination is said again in one generation: once for each check of the peer's on
/// the selected path, so also to one whose first checks were lost.
const REPEATS: u8 = 8;

/// The nominating request of this generation.
#[derive(Debug, Default)]
pub(super) struct Nomination {
    request: Option<(Path, Bytes)>,
    repeats: u8,
}

impl Nomination {
    /// A request of ours leaves on `path`.
    pub(super) fn sent(&mut self, path: Path, packet: &Bytes) {
        let nominates = Message::parse(packet)
            .is_some_and(|message| message.attribute(attribute::USE_CANDIDATE).is_some());
        if nominates {
            self.request = Some((path, packet.clone()));
        }
    }

    /// The same request in another transaction (RFC 8489 §6.2.1 keeps an id for one request).
    fn again(&mut self, path: Path, password: &str) -> Option<Bytes> {
        let (nominated, request) = self.request.as_ref()?;
        if *nominated != path || self.repeats == REPEATS {
            return None;
        }
        self.repeats += 1;
        let first = Message::parse(request)?;
        let id = later(first.transaction, self.repeats);
        let mut builder = Builder::new(Class::Request, method::BINDING, id);
        for kind in [
            attribute::USERNAME,
            attribute::USE_CANDIDATE,
            attribute::ICE_CONTROLLING,
            attribute::PRIORITY,
        ] {
            builder = builder.attribute(kind, first.attribute(kind)?);
        }
        Some(builder.finish_with_integrity(password.as_bytes()))
    }
}

/// An id as hard to guess as `id`, and different from it for each `number` above 0.
fn later(mut id: TransactionId, number: u8) -> TransactionId {
    id[0] = id[0].wrapping_add(number);
    id
}

impl Agent {
    /// The peer checks `path`: if it is the nominated one, the peer is told so again.
    pub(super) fn nominate_again(&mut self, path: Path, now: Instant) {
        if self.role != IceRole::Controlling || self.selected != Some(path) {
            return;
        }
        let Some(remote) = &self.remote else {
            return;
        };
        if let Some(packet) = self.nomination.again(path, &remote.pwd) {
            self.queue_packet(path, packet, now);
        }
    }
}
