//! Sending and receiving envelopes.
//!
//! An envelope first goes to its addressee over the hop protocol. If that
//! fails, or is not acknowledged in [`POST_PATIENCE`], it is flooded: on the
//! room's gossip topic and over the room's links, at this node's flood rate.

use std::time::{Duration, Instant};

use super::Node;
use super::io::{HopId, Lane, Output, Topic, Verdict};
use crate::envelope::{ENVELOPE_LIFE_S, Envelope, Gossip, HopFrame, OpenError, Refusal};
use crate::frame::Frame;
use crate::id::{MessageId, PeerId, RoomId};
use crate::presence::MAX_CLOCK_SKEW_MS;
use crate::replay::SeenCache;
use crate::time::Time;

/// How long an envelope may go unacknowledged before it is flooded, on a node
/// that is not overloaded. libp2p's streams are reliable: an acknowledgement
/// that is late is nearly always a sign of load, which floods would add to.
const POST_PATIENCE: Duration = Duration::from_secs(3);
/// Envelopes awaiting their acknowledgement. Filled by this node's letters;
/// beyond it they are flooded at once.
const MAX_POSTS: usize = 512;
/// Envelopes passed on over links, remembered in each of two generations.
const PASSED_ON: usize = 4096;
/// For as long as one can be within its time, by the clocks of its author and
/// of this node.
const PASSED_ON_MEMORY: Duration =
    Duration::from_millis(ENVELOPE_LIFE_S as u64 * 1000 + 2 * MAX_CLOCK_SKEW_MS);

/// An envelope on its way to a neighbour.
#[derive(Debug)]
pub(super) struct Post {
    hop: HopId,
    room: RoomId,
    envelope: Envelope,
    due: Instant,
    /// Worth a flood.
    vital: bool,
}

/// Remembers [`Envelope::digest`]s: who alters an envelope and hands it on
/// first must not keep the true one back.
pub(super) fn passed_on(now: Instant) -> SeenCache<[u8; 16]> {
    SeenCache::new(PASSED_ON_MEMORY, PASSED_ON, now)
}

impl Node {
    /// Sends an envelope, and floods it if that fails and it is `vital`.
    pub(super) fn post(
        &mut self,
        to: PeerId,
        room: RoomId,
        envelope: Envelope,
        vital: bool,
        time: Time,
    ) {
        let member = self.roster.get(&to);
        let addresses: Vec<String> = member
            .map(|m| m.presence.addresses.iter().map(|a| a.to_string()).collect())
            .unwrap_or_default();
        let reachable = self.neighbours.contains(&to) || !addresses.is_empty();
        if !reachable || self.posts.len() >= MAX_POSTS {
            if vital {
                self.flood_envelope(room, envelope, None, time.now);
            }
            return;
        }
        let due = time.now + POST_PATIENCE * self.health.multiplier();
        let id = envelope.id;
        if let Some(hop) = self.output_hop(to, addresses, &HopFrame::Forward(envelope.clone())) {
            self.stats.envelopes_sent += 1;
            self.posts.insert(
                id,
                Post {
                    hop,
                    room,
                    envelope,
                    due,
                    vital,
                },
            );
        }
    }

    /// When the next envelope has waited long enough for its acknowledgement.
    pub(super) fn posts_timeout(&self) -> Option<Instant> {
        self.posts.values().map(|post| post.due).min()
    }

    /// Floods what was not acknowledged.
    pub(super) fn posts_due(&mut self, now: Instant) {
        let due = self
            .posts
            .iter()
            .filter(|(_, post)| post.due <= now)
            .map(|(id, _)| *id);
        for id in due.collect::<Vec<_>>() {
            self.flood_post(&id, now);
        }
    }

    fn flood_post(&mut self, id: &MessageId, now: Instant) {
        if let Some(post) = self.posts.remove(id).filter(|post| post.vital) {
            self.flood_envelope(post.room, post.envelope, None, now);
        }
    }

    /// The last resort: an envelope to everyone in the room.
    fn flood_envelope(
        &mut self,
        room: RoomId,
        envelope: Envelope,
        except: Option<PeerId>,
        now: Instant,
    ) {
        if !self.my_floods.take(now) {
            return;
        }
        self.stats.envelopes_flooded += 1;
        self.passed_on.insert(envelope.digest(), (), now);
        self.send_to_room(
            room,
            &Frame::Envelope(envelope.clone()),
            Lane::Control,
            except,
        );
        if let Ok(bytes) = Gossip::Flood(envelope).encode() {
            self.outputs.push_back(Output::Publish {
                topic: Topic::Room(room),
                bytes,
            });
        }
    }

    pub(super) fn hop_failed(&mut self, id: HopId, time: Time) {
        let post = self
            .posts
            .iter()
            .find(|(_, post)| post.hop == id)
            .map(|(id, _)| *id);
        if let Some(id) = post {
            self.flood_post(&id, time.now);
        }
    }

    /// A frame of the hop protocol.
    pub(super) fn hop(&mut self, from: PeerId, bytes: &[u8], time: Time) {
        match HopFrame::decode(bytes) {
            Ok(HopFrame::Forward(envelope)) => {
                let id = envelope.id;
                if !self.opened.take(from, time.now) {
                    let why = Refusal::Busy;
                    self.output_hop(from, Vec::new(), &HopFrame::Nack { id, why });
                    return;
                }
                let answer = match self.open(&envelope, time) {
                    Ok(()) | Err(OpenError::Duplicate | OpenError::Replayed) => {
                        HopFrame::Ack { id }
                    }
                    Err(OpenError::NotForMe) => HopFrame::Nack {
                        id,
                        why: Refusal::NoRoute,
                    },
                    Err(OpenError::Expired) => HopFrame::Nack {
                        id,
                        why: Refusal::Expired,
                    },
                    Err(
                        OpenError::LastsTooLong
                        | OpenError::Seal(_)
                        | OpenError::Letter(_)
                        | OpenError::Skew(_),
                    ) => HopFrame::Nack {
                        id,
                        why: Refusal::Unreadable,
                    },
                };
                self.output_hop(from, Vec::new(), &answer);
            }
            Ok(HopFrame::Ack { id }) => drop(self.posts.remove(&id)),
            Ok(HopFrame::Nack {
                id,
                why: Refusal::NoRoute | Refusal::Busy,
            }) => self.flood_post(&id, time.now),
            Ok(HopFrame::Nack {
                id,
                why: Refusal::Expired | Refusal::Unreadable,
            }) => drop(self.posts.remove(&id)),
            // Envelopes are not routed yet; whoever sends such a frame hears
            // nothing and goes another way.
            Ok(HopFrame::Credit { .. } | HopFrame::Hop(_)) => {}
            Ok(HopFrame::Records(records)) => self.hop_records(from, &records, time),
            Err(error) => {
                self.stats.refused += 1;
                tracing::debug!(%error, peer = %from.short(), "hop frame refused");
            }
        }
    }

    /// An envelope from a room's gossip topic.
    pub(super) fn flooded(&mut self, author: PeerId, envelope: Envelope, time: Time) -> Verdict {
        if !is_timely(&envelope, time) || !self.floods.take(author, time.now) {
            return Verdict::Ignore;
        }
        match self.open(&envelope, time) {
            // Passed on even when it was for this node: nobody shall see who
            // stops a flood.
            Ok(()) | Err(OpenError::NotForMe) => Verdict::Accept,
            Err(_) => Verdict::Ignore,
        }
    }

    /// An envelope that somebody floods over a room's links. Who that is only
    /// its addressee learns: `from` is the neighbour it came over.
    pub(super) fn link_envelope(
        &mut self,
        room: RoomId,
        from: PeerId,
        mut envelope: Envelope,
        time: Time,
    ) {
        let digest = envelope.digest();
        if !is_timely(&envelope, time)
            || self.passed_on.contains(&digest)
            || !self.opened.take(from, time.now)
        {
            return;
        }
        if !matches!(self.open(&envelope, time), Err(OpenError::NotForMe)) {
            self.passed_on.insert(digest, (), time.now);
            return;
        }
        // One that goes no further is not remembered: the copy of another
        // neighbour may.
        if let Some(ttl) = envelope.ttl.checked_sub(1)
            && self.link_floods.take(from, time.now)
        {
            self.passed_on.insert(digest, (), time.now);
            envelope.ttl = ttl;
            envelope.hops = envelope.hops.saturating_add(1);
            self.send_to_room(room, &Frame::Envelope(envelope), Lane::Control, Some(from));
        }
    }

    fn open(&mut self, envelope: &Envelope, time: Time) -> Result<(), OpenError> {
        let rooms = self.rooms.keys().copied();
        let letter = self
            .inbox
            .open(envelope, &self.prekeys, rooms, time)
            .inspect_err(|error| {
                tracing::trace!(%error, "envelope not opened");
            })?;
        self.stats.letters += 1;
        self.read(letter, time);
        Ok(())
    }
}

/// Whether an envelope is worth passing on at this time.
fn is_timely(envelope: &Envelope, time: Time) -> bool {
    !envelope.is_expired(time.unix_ms) && !envelope.lasts_too_long(time.unix_ms)
}
