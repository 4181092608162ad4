//! Building links: offers, answers and candidates in sealed letters.
//!
//! Offers and answers that nothing comes of are repeated as new letters until
//! the attempt is given up.

use std::time::{Duration, Instant};

use super::Node;
use super::io::{CloseCause, LinkId, Output, PcSignal};
use super::links::State;
use super::trickle::{Split, split};
use crate::envelope::{
    Body, Candidates, Envelope, Letter, MAX_CANDIDATES, MAX_SDP, RejectReason, Sdp,
};
use crate::glare::{self, Glare};
use crate::id::{PeerId, RoomId, SessionId};
use crate::links::{Admission, Ended};
use crate::time::Time;
use crate::wire::{BoundedString, SignedBytes};

/// Pause before an offer or answer is repeated, on a node that is not
/// overloaded; doubled each time.
const RESEND: Duration = Duration::from_secs(4);
/// When a full node may be asked again.
const FULL_RETRY_MS: u32 = 2000;
/// An attempt to build a link.
#[derive(Debug)]
pub(super) struct Call {
    /// This node offered.
    dialled: bool,
    /// Counts descriptions of the session; one so far.
    generation: u16,
    /// What to repeat, and when: a description and the candidates that did
    /// not fit into it.
    last: Option<(Vec<Body>, Instant, Duration)>,
}

impl Call {
    fn new(dialled: bool) -> Self {
        Call {
            dialled,
            generation: 1,
            last: None,
        }
    }

    pub(super) fn resend_at(&self) -> Option<Instant> {
        self.last.as_ref().map(|(_, at, _)| *at)
    }
}

impl Node {
    /// Starts connecting to a member, as the room's plan wants.
    pub(super) fn dial(&mut self, room: RoomId, peer: PeerId, time: Time) {
        let session = SessionId::random(&mut self.rng);
        let link = self.new_link(room, peer, session, 0, Call::new(true), time);
        self.outputs.push_back(Output::Dial {
            link,
            room,
            peer,
            session,
        });
    }

    /// What a link's peer connection has for the other side.
    pub(super) fn local_signal(&mut self, id: LinkId, signal: PcSignal, time: Time) {
        let own = self.own(time);
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let State::Attempt(call) = &mut link.state else {
            return;
        };
        let generation = call.generation;
        let bodies = match signal {
            PcSignal::Offer { sdp } => {
                let presence = own.as_ref().map_or(0, SignedBytes::wire_len);
                let parts = split(sdp, MAX_SDP.saturating_sub(presence));
                described(parts, generation, |sdp| Body::Offer {
                    generation,
                    sdp,
                    presence: own,
                })
            }
            PcSignal::Answer { sdp } => {
                let parts = split(sdp, MAX_SDP);
                described(parts, generation, |sdp| Body::Answer { generation, sdp })
            }
            PcSignal::Candidates { candidates, end } => {
                let bodies = ice(generation, &candidates, end);
                return self.link_letters(id, bodies, time);
            }
        };
        let Some(bodies) = bodies else {
            return self.close_link(id, CloseCause::Protocol, Some(Ended::Failed), time);
        };
        let pause = RESEND * self.health.multiplier();
        call.last = Some((bodies.clone(), time.now + pause, pause));
        self.link_letters(id, bodies, time);
    }

    /// Repeats what got no answer, or gives the attempt up.
    pub(super) fn attempt_due(&mut self, id: LinkId, time: Time) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let end = link.started + self.config.attempt_timeout;
        let State::Attempt(call) = &mut link.state else {
            return;
        };
        if end <= time.now {
            return self.close_link(id, CloseCause::Timeout, Some(Ended::Failed), time);
        }
        let Some((bodies, at, pause)) = &mut call.last else {
            return;
        };
        *pause *= 2;
        *at = (time.now + *pause).min(end);
        let bodies = bodies.clone();
        self.link_letters(id, bodies, time);
    }

    fn link_letters(&mut self, id: LinkId, bodies: Vec<Body>, time: Time) {
        for body in bodies {
            self.link_letter(id, body, time);
        }
    }

    /// Writes a letter in a link's session.
    pub(super) fn link_letter(&mut self, id: LinkId, body: Body, time: Time) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let (to, room, session, seq) = (link.peer, link.room, link.session, link.next_letter);
        link.next_letter += 1;
        self.letter(to, room, session, seq, body, time);
    }

    fn letter(
        &mut self,
        to: PeerId,
        room: RoomId,
        session: SessionId,
        seq: u32,
        body: Body,
        time: Time,
    ) {
        let Some(prekey) = self.roster.get(&to).map(|member| member.presence.prekey) else {
            return;
        };
        let mut letter = Letter {
            from: self.me,
            to,
            room,
            session,
            seq,
            sent_ms: time.unix_ms,
            body,
        };
        let vital = is_vital(&letter.body);
        let mut envelope = Envelope::seal(&letter, &self.identity, &prekey, &mut self.rng);
        if envelope.is_err()
            && let Body::Offer { presence, .. } = &mut letter.body
        {
            // Too long with the presence, which most addressees have anyway.
            *presence = None;
            envelope = Envelope::seal(&letter, &self.identity, &prekey, &mut self.rng);
        }
        match envelope {
            Ok(envelope) => self.post(to, room, envelope, vital, time),
            Err(error) => tracing::debug!(%error, peer = %to.short(), "letter not sealed"),
        }
    }

    pub(super) fn read(&mut self, letter: Letter, time: Time) {
        let link = self
            .rooms
            .get(&letter.room)
            .and_then(|room| room.by_peer.get(&letter.from))
            .copied();
        let current = link
            .and_then(|id| self.links.get_mut(&id))
            .filter(|link| link.session == letter.session);
        if let Some(link) = current {
            link.heard_ms = link.heard_ms.max(letter.sent_ms);
        }
        let known = link
            .and_then(|id| self.links.get(&id))
            .is_some_and(|link| link.session == letter.session);
        match letter.body {
            Body::Offer {
                sdp: Sdp::Full(ref sdp),
                ref presence,
                ..
            } => {
                self.offered(&letter, sdp.to_string(), presence.as_ref(), time);
            }
            Body::Answer {
                generation,
                sdp: Sdp::Full(sdp),
            } => {
                let signal = PcSignal::Answer {
                    sdp: sdp.into_string(),
                };
                self.remote_signal(link, letter.session, generation, signal);
            }
            Body::Ice {
                generation,
                ref candidates,
                end,
            } => {
                let candidates = candidates.iter().map(|line| line.to_string()).collect();
                let signal = PcSignal::Candidates { candidates, end };
                if known {
                    self.remote_signal(link, letter.session, generation, signal);
                } else {
                    self.early.keep(&letter, generation, signal);
                }
            }
            Body::Reject { why, retry_ms, .. } => {
                let retry = Duration::from_millis(retry_ms.into());
                let how = if why == RejectReason::Failed {
                    Ended::Failed
                } else {
                    Ended::Refused(retry)
                };
                self.hung_up(link, letter.session, CloseCause::Rejected, how, time);
            }
            Body::Bye => self.hung_up(link, letter.session, CloseCause::Bye, Ended::Failed, time),
            Body::Probe { nonce } => {
                if self.offers.take(letter.from, time.now) {
                    let session = SessionId::random(&mut self.rng);
                    let body = Body::ProbeAck {
                        nonce,
                        unix_ms: time.unix_ms,
                    };
                    self.letter(letter.from, letter.room, session, 0, body, time);
                }
            }
            Body::ProbeAck { .. } => {}
        }
    }

    /// An answer or candidates for the attempt with this session.
    fn remote_signal(
        &mut self,
        link: Option<LinkId>,
        session: SessionId,
        generation: u16,
        signal: PcSignal,
    ) {
        let Some(link) = link
            .and_then(|id| self.links.get_mut(&id))
            .filter(|l| l.session == session)
        else {
            return;
        };
        let id = link.id;
        let State::Attempt(call) = &mut link.state else {
            return;
        };
        if call.generation != generation {
            return;
        }
        if matches!(signal, PcSignal::Answer { .. }) {
            // The first answer is the answer; copies of it change nothing.
            if !call.dialled || call.last.take().is_none() {
                return;
            }
        }
        self.outputs.push_back(Output::Signal { link: id, signal });
    }

    /// The other side gave the session up.
    fn hung_up(
        &mut self,
        link: Option<LinkId>,
        session: SessionId,
        cause: CloseCause,
        how: Ended,
        time: Time,
    ) {
        let id = link.filter(|id| {
            self.links
                .get(id)
                .is_some_and(|l| l.session == session && l.is_attempt())
        });
        if let Some(id) = id {
            self.close_link(id, cause, Some(how), time);
        }
    }

    /// Somebody offers a session.
    fn offered(
        &mut self,
        letter: &Letter,
        sdp: String,
        presence: Option<&SignedBytes>,
        time: Time,
    ) {
        let (room, peer, session) = (letter.room, letter.from, letter.session);
        if let Some(record) = presence.filter(|record| record.signer() == peer) {
            self.offered_presence(record, time);
        }
        // Who offers too often gets no answer, which would cost more than the
        // offer; an honest one repeats it later.
        if !self.offers.take(peer, time.now) || self.repeated_offer(letter, time) {
            return;
        }
        if self.closed {
            return self.reject(letter, RejectReason::NotMember, time);
        }
        if !self.all_offers.take(time.now) || !self.make_way(letter, time) {
            return;
        }
        let Some(entry) = self.rooms.get_mut(&room) else {
            return;
        };
        match entry.plan.admit(peer, time.now, &mut self.rng) {
            Admission::Accept { evict } => {
                let evicted = evict.and_then(|peer| entry.by_peer.get(&peer)).copied();
                if let Some(evicted) = evicted {
                    self.close_link(evicted, CloseCause::Surplus, Some(Ended::Released), time);
                }
                let link =
                    self.new_link(room, peer, session, letter.sent_ms, Call::new(false), time);
                self.outputs.push_back(Output::Accept {
                    link,
                    room,
                    peer,
                    session,
                    sdp,
                });
                for (generation, signal) in self.early.take(letter) {
                    self.remote_signal(Some(link), session, generation, signal);
                }
            }
            Admission::Full => self.reject(letter, RejectReason::Full, time),
            Admission::Unknown => self.reject(letter, RejectReason::NotMember, time),
        }
    }

    /// A copy of an offer that is being answered: repeats the answer.
    fn repeated_offer(&mut self, letter: &Letter, time: Time) -> bool {
        let link = self
            .rooms
            .get(&letter.room)
            .and_then(|room| room.by_peer.get(&letter.from))
            .copied();
        let link = link
            .and_then(|id| self.links.get(&id))
            .filter(|link| link.session == letter.session);
        let Some(link) = link else { return false };
        let id = link.id;
        if let State::Attempt(Call {
            last: Some((bodies, ..)),
            ..
        }) = &link.state
        {
            let bodies = bodies.clone();
            self.link_letters(id, bodies, time);
        }
        true
    }

    /// Settles what becomes of an earlier link with the one who offers.
    /// Returns whether the offer is to be answered.
    fn make_way(&mut self, letter: &Letter, time: Time) -> bool {
        let link = self
            .rooms
            .get(&letter.room)
            .and_then(|room| room.by_peer.get(&letter.from))
            .copied();
        let Some(link) = link.and_then(|id| self.links.get(&id)) else {
            return true;
        };
        let cause = match &link.state {
            State::Attempt(call) if call.dialled => {
                self.stats.glares += 1;
                match glare::settle(&self.me, &letter.from) {
                    Glare::Stand => return false,
                    Glare::Yield => CloseCause::Glare,
                }
            }
            // The other side wrote this offer before what it wrote in the
            // session that stands: an old offer on a slow way.
            State::Attempt(_) | State::Up(_) if letter.sent_ms <= link.heard_ms => return false,
            State::Attempt(_) | State::Up(_) => CloseCause::Replaced,
            State::Closing(_) => return true,
        };
        self.close_link(link.id, cause, None, time);
        true
    }

    fn reject(&mut self, letter: &Letter, why: RejectReason, time: Time) {
        let body = Body::Reject {
            why,
            retry_ms: FULL_RETRY_MS,
            unix_ms: time.unix_ms,
        };
        self.letter(letter.from, letter.room, letter.session, 0, body, time);
    }
}

/// Whether a letter is worth a flood: what an attempt cannot do without. The
/// rest is a courtesy, or found out otherwise.
fn is_vital(body: &Body) -> bool {
    match body {
        Body::Offer { .. } | Body::Answer { .. } | Body::Reject { .. } => true,
        Body::Ice { candidates, .. } => !candidates.is_empty(),
        Body::Bye | Body::Probe { .. } | Body::ProbeAck { .. } => false,
    }
}

/// The letters that carry a description; `None` when it does not fit without
/// any candidates.
fn described(parts: Split, generation: u16, body: impl FnOnce(Sdp) -> Body) -> Option<Vec<Body>> {
    let sdp = Sdp::Full(BoundedString::new(parts.sdp)?);
    let mut bodies = vec![body(sdp)];
    bodies.extend(ice(generation, &parts.candidates, parts.end));
    Some(bodies)
}

/// The letters that carry candidates.
fn ice(generation: u16, candidates: &[String], end: bool) -> Vec<Body> {
    let mut batches: Vec<&[String]> = candidates.chunks(MAX_CANDIDATES).collect();
    if batches.is_empty() && end {
        batches.push(&[]);
    }
    let count = batches.len();
    let body = |(at, batch): (usize, &[String])| Body::Ice {
        generation,
        candidates: Candidates::truncated(batch.iter().cloned().filter_map(BoundedString::new)),
        end: end && at + 1 == count,
    };
    batches.into_iter().enumerate().map(body).collect()
}
