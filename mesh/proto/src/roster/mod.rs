//! Who is in the mesh, as far as this node knows.
//!
//! For each peer the newest presence counts ([`Seq`] order). A leave or an
//! unrefuted obituary of a number digs a *grave* that keeps older presences
//! from coming back: whoever still spreads one is sent the record in the
//! grave. What a roster ends up as depends on the set of records it saw, not
//! on their order (property-tested below).
//!
//! Bounds: [`MAX_MEMBERS`] members, as many graves, [`MAX_ACCUSERS`] accusers
//! for each suspect. In a full roster the member that was not heard of for
//! longest makes room for a newcomer, unless the node keeps it ([`Gate`]):
//! keys cost nothing, so that whoever came first must not keep others out.

mod outcome;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

pub use outcome::{Applied, Claim, Gate, RecordError, RosterEvent};

use crate::id::{MeshTag, PeerId, RoomId, Seq};
use crate::obituary::{MAX_ACCUSERS, Obituary, grace};
use crate::presence::{MAX_CLOCK_SKEW_MS, Presence, Record};
use crate::time::Time;
use crate::wire::SignedBytes;

/// Members a roster holds.
pub const MAX_MEMBERS: usize = 4096;
/// Longest time a presence may ask to hold.
pub const MAX_TTL: Duration = Duration::from_secs(600);
/// How long a grave keeps old presences away: longer than any of them holds.
const GRAVE: Duration = Duration::from_secs(2 * 600);

/// One member.
#[derive(Debug)]
pub struct Member {
    /// What it says about itself.
    pub presence: Presence,
    /// The same, as signed, to be passed on.
    pub signed: SignedBytes,
    heard: Instant,
    expires: Instant,
    suspicion: Option<Suspicion>,
}

impl Member {
    /// Whether somebody says it is dead and it has not objected yet.
    pub fn is_suspected(&self) -> bool {
        self.suspicion.is_some()
    }
}

#[derive(Debug)]
struct Suspicion {
    since: Instant,
    seq: Seq,
    accusers: BTreeSet<PeerId>,
    record: SignedBytes,
}

impl Suspicion {
    fn ends(&self, patience: u32) -> Instant {
        self.since + grace(self.accusers.len()) * patience
    }
}

#[derive(Debug)]
struct Grave {
    seq: Seq,
    until: Instant,
    record: Option<SignedBytes>,
}

/// Presence records by peer. See the module documentation.
#[derive(Debug)]
pub struct Roster {
    me: PeerId,
    my_seq: Seq,
    /// By how much the grace of suspects is stretched.
    patience: u32,
    mesh: MeshTag,
    members: BTreeMap<PeerId, Member>,
    graves: BTreeMap<PeerId, Grave>,
    events: VecDeque<RosterEvent>,
}

impl Roster {
    /// An empty roster of `mesh`, seen by `me` (who is not in it).
    pub fn new(me: PeerId, mesh: MeshTag) -> Self {
        Roster {
            me,
            my_seq: Seq(0),
            patience: 1,
            mesh,
            members: BTreeMap::new(),
            graves: BTreeMap::new(),
            events: VecDeque::new(),
        }
    }

    /// The number of this node's newest presence, so that its echoes can be
    /// told from claims it must answer.
    pub fn set_my_seq(&mut self, seq: Seq) {
        self.my_seq = seq;
    }

    /// Stretches the grace of suspects, for a node that is too busy to hear
    /// them object in time.
    pub fn set_patience(&mut self, multiplier: u32) {
        self.patience = multiplier.max(1);
    }

    /// A member, alive or suspected.
    pub fn get(&self, peer: &PeerId) -> Option<&Member> {
        self.members.get(peer)
    }

    /// All members in order, alive or suspected.
    pub fn members(&self) -> impl Iterator<Item = (&PeerId, &Member)> {
        self.members.iter()
    }

    /// The members of one room.
    pub fn in_room(&self, room: RoomId) -> impl Iterator<Item = (&PeerId, &Member)> {
        self.members
            .iter()
            .filter(move |(_, member)| member.presence.rooms.contains(&room))
    }

    /// Everything worth telling a new neighbour: presences, the records that
    /// speak against suspects, and the records in the graves.
    pub fn snapshot(&self) -> Vec<SignedBytes> {
        let members = self.members.values();
        let accusations = members
            .clone()
            .filter_map(|m| m.suspicion.as_ref())
            .map(|s| s.record.clone());
        let graves = self
            .graves
            .values()
            .filter_map(|grave| grave.record.clone());
        members
            .map(|m| m.signed.clone())
            .chain(accusations)
            .chain(graves)
            .collect()
    }

    /// Whether a member is in a room.
    pub fn is_in(&self, peer: &PeerId, room: RoomId) -> bool {
        self.get(peer)
            .is_some_and(|member| member.presence.rooms.contains(&room))
    }

    /// Takes in one record.
    pub fn apply(&mut self, signed: &SignedBytes, time: Time) -> Result<Applied, RecordError> {
        self.apply_if(signed, time, &mut ())
    }

    /// Takes in one record, if `gate` lets its author.
    pub fn apply_if(
        &mut self,
        signed: &SignedBytes,
        time: Time,
        gate: &mut impl Gate,
    ) -> Result<Applied, RecordError> {
        let record = Record::peek(signed)?;
        if record.mesh() != self.mesh {
            return Err(RecordError::OtherMesh);
        }
        let subject = record.subject(signed.signer());
        let seq = record.seq()?;
        if subject == self.me {
            return self.about_me(&record, seq, signed, gate);
        }
        if let Some(answer) = self.superseded(&record, seq, subject, signed.signer()) {
            return Ok(answer);
        }
        self.check_age(&record, time)?;
        Record::verify(signed)?;
        match record {
            Record::Presence(presence) => {
                if !self.refutes(&subject, seq) && !gate.admit(subject, Claim::Own) {
                    return Err(RecordError::OverRate);
                }
                self.presence(subject, presence, signed, time.now, gate)
            }
            Record::Leave(leave) => {
                if !gate.admit(subject, Claim::Own) {
                    return Err(RecordError::OverRate);
                }
                Ok(self.leave(subject, leave.seq, signed, time.now))
            }
            Record::Obituary(obituary) => self.obituary(&obituary, signed, time.now, gate),
        }
    }

    /// Runs out suspicions, members and graves.
    pub fn handle_timeout(&mut self, now: Instant) {
        let suspects = self.members.iter().filter_map(|(peer, m)| {
            let suspicion = m
                .suspicion
                .as_ref()
                .filter(|s| s.ends(self.patience) <= now)?;
            Some((*peer, suspicion.seq, Some(suspicion.record.clone())))
        });
        let expired = self
            .members
            .iter()
            .filter(|(_, m)| m.expires <= now)
            .map(|(peer, m)| (*peer, m.presence.seq, None));
        let gone: Vec<_> = suspects.chain(expired).collect();
        for (peer, seq, record) in gone {
            if let Some(member) = self.members.remove(&peer) {
                self.bury(peer, seq.max(member.presence.seq), record, now);
                self.events.push_back(RosterEvent::Died {
                    peer,
                    was: member.presence.rooms.to_vec(),
                });
            }
        }
        self.graves.retain(|_, grave| grave.until > now);
    }

    /// When [`Roster::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let members = self.members.values();
        let ends = members
            .clone()
            .filter_map(|m| m.suspicion.as_ref())
            .map(|s| s.ends(self.patience));
        let graves = self.graves.values().map(|grave| grave.until);
        members.map(|m| m.expires).chain(ends).chain(graves).min()
    }

    /// The next change.
    pub fn poll_event(&mut self) -> Option<RosterEvent> {
        self.events.pop_front()
    }

    fn about_me(
        &self,
        record: &Record,
        seq: Seq,
        signed: &SignedBytes,
        gate: &mut impl Gate,
    ) -> Result<Applied, RecordError> {
        match record {
            Record::Presence(_) | Record::Leave(_) if seq <= self.my_seq => Ok(Applied::Old),
            Record::Presence(_) | Record::Leave(_) => {
                Record::verify(signed)?;
                Ok(Applied::AboutMe(seq))
            }
            Record::Obituary(_) if seq < self.my_seq => Ok(Applied::Refuted),
            Record::Obituary(obituary) => {
                Record::verify(signed)?;
                Record::verify(&obituary.last)?;
                if !self.members.contains_key(&signed.signer()) {
                    return Err(RecordError::Stranger);
                }
                if !gate.admit(signed.signer(), Claim::Dead) {
                    return Err(RecordError::OverRate);
                }
                Ok(Applied::AboutMe(seq))
            }
        }
    }

    /// Whether a record says nothing new, found out before paying for its
    /// signature.
    fn superseded(
        &self,
        record: &Record,
        seq: Seq,
        subject: PeerId,
        signer: PeerId,
    ) -> Option<Applied> {
        if let Some(grave) = self.graves.get(&subject).filter(|grave| seq <= grave.seq) {
            let answer = grave
                .record
                .clone()
                .filter(|_| matches!(record, Record::Presence(_)));
            return Some(answer.map_or(Applied::Old, Applied::Buried));
        }
        let member = self.members.get(&subject)?;
        let known = member.presence.seq;
        let old = match record {
            Record::Presence(_) => seq <= known,
            Record::Leave(_) => seq < known,
            Record::Obituary(_) => {
                seq < known
                    || member.suspicion.as_ref().is_some_and(|s| {
                        s.seq >= seq
                            && (s.accusers.contains(&signer) || s.accusers.len() >= MAX_ACCUSERS)
                    })
            }
        };
        old.then_some(Applied::Old)
    }

    /// Whether a presence of this number clears a suspect. Such presences need
    /// no allowance of their own: the accusers' bounds them, and one that used
    /// its own up must not die of an accusation.
    fn refutes(&self, peer: &PeerId, seq: Seq) -> bool {
        let suspicion = self.members.get(peer).and_then(|m| m.suspicion.as_ref());
        suspicion.is_some_and(|suspicion| suspicion.seq < seq)
    }

    /// Presences are void after their time to live, so that nobody can keep
    /// an old one and bring back the dead with it.
    fn check_age(&self, record: &Record, time: Time) -> Result<(), RecordError> {
        let life = match record {
            Record::Presence(presence) => u64::from(presence.ttl_s) * 1000,
            Record::Leave(_) | Record::Obituary(_) => GRAVE.as_millis() as u64,
        };
        let issued = record.issued_ms();
        let fresh = issued <= time.unix_ms.saturating_add(MAX_CLOCK_SKEW_MS)
            && time.unix_ms
                <= issued
                    .saturating_add(life)
                    .saturating_add(MAX_CLOCK_SKEW_MS);
        if fresh {
            Ok(())
        } else {
            Err(RecordError::Stale(
                time.unix_ms.saturating_sub(issued) as i64
            ))
        }
    }

    fn presence(
        &mut self,
        peer: PeerId,
        presence: Presence,
        signed: &SignedBytes,
        now: Instant,
        gate: &impl Gate,
    ) -> Result<Applied, RecordError> {
        if self.members.len() >= MAX_MEMBERS && !self.members.contains_key(&peer) {
            self.make_room(gate)?;
        }
        self.graves.remove(&peer);
        let expires = now + Duration::from_secs(presence.ttl_s.into()).min(MAX_TTL);
        let seq = presence.seq;
        let mut member = Member {
            presence,
            signed: signed.clone(),
            heard: now,
            expires,
            suspicion: None,
        };
        let old = self.members.remove(&peer);
        let first = old.is_none();
        match old {
            None => self.events.push_back(RosterEvent::Joined(peer)),
            Some(old) => {
                member.suspicion = self.carry_suspicion(peer, old.suspicion, seq);
                self.note_update(peer, &old.presence, &member.presence);
            }
        }
        self.members.insert(peer, member);
        Ok(Applied::News {
            subject: peer,
            first,
        })
    }

    /// The member that was not heard of for longest goes. It has no grave: its
    /// next presence brings it back.
    fn make_room(&mut self, gate: &impl Gate) -> Result<(), RecordError> {
        let others = self.members.iter().filter(|(peer, _)| !gate.keeps(peer));
        let silent = others.min_by_key(|(_, member)| member.heard);
        let peer = silent.map(|(peer, _)| *peer).ok_or(RecordError::Full)?;
        if let Some(member) = self.members.remove(&peer) {
            self.events.push_back(RosterEvent::Died {
                peer,
                was: member.presence.rooms.to_vec(),
            });
        }
        Ok(())
    }

    /// A newer presence refutes older obituaries, and only those.
    fn carry_suspicion(
        &mut self,
        peer: PeerId,
        old: Option<Suspicion>,
        seq: Seq,
    ) -> Option<Suspicion> {
        let suspicion = old?;
        if suspicion.seq >= seq {
            return Some(suspicion);
        }
        self.events.push_back(RosterEvent::Refuted(peer));
        None
    }

    fn note_update(&mut self, peer: PeerId, old: &Presence, new: &Presence) {
        let renewed = Presence {
            seq: new.seq,
            issued_ms: new.issued_ms,
            ..old.clone()
        };
        if renewed != *new {
            self.events.push_back(RosterEvent::Updated {
                peer,
                was: old.rooms.to_vec(),
            });
        }
    }

    fn leave(&mut self, peer: PeerId, seq: Seq, signed: &SignedBytes, now: Instant) -> Applied {
        let member = self.members.remove(&peer);
        let accused = member
            .as_ref()
            .and_then(|m| m.suspicion.as_ref())
            .map_or(seq, |s| s.seq);
        self.bury(peer, seq.max(accused), Some(signed.clone()), now);
        if let Some(member) = member {
            self.events.push_back(RosterEvent::Left {
                peer,
                was: member.presence.rooms.to_vec(),
            });
        }
        Applied::News {
            subject: peer,
            first: false,
        }
    }

    fn obituary(
        &mut self,
        obituary: &Obituary,
        signed: &SignedBytes,
        now: Instant,
        gate: &mut impl Gate,
    ) -> Result<Applied, RecordError> {
        let accuser = signed.signer();
        if accuser != self.me && !self.members.contains_key(&accuser) {
            return Err(RecordError::Stranger);
        }
        let (peer, presence) = (obituary.peer(), obituary.presence()?);
        let seq = presence.seq;
        let member = self.members.get(&peer);
        if member.is_none_or(|member| member.signed != obituary.last) {
            Record::verify(&obituary.last)?;
        }
        // Only to join those who say the same costs nothing.
        let says_more = |m: &Member| m.suspicion.as_ref().is_none_or(|s| s.seq < seq);
        if member.is_some_and(says_more) && !gate.admit(accuser, Claim::Dead) {
            return Err(RecordError::OverRate);
        }
        if self
            .members
            .get(&peer)
            .is_some_and(|member| member.presence.seq < seq)
        {
            self.presence(peer, presence, &obituary.last, now, gate)?;
        }
        let news = Applied::News {
            subject: peer,
            first: false,
        };
        let Some(member) = self.members.get_mut(&peer) else {
            self.bury(peer, seq, Some(signed.clone()), now);
            return Ok(news);
        };
        match &mut member.suspicion {
            Some(suspicion) if suspicion.seq >= seq => {
                suspicion.accusers.insert(accuser);
            }
            Some(suspicion) => {
                suspicion.seq = seq;
                suspicion.accusers.insert(accuser);
                suspicion.record = signed.clone();
            }
            None => {
                member.suspicion = Some(Suspicion {
                    since: now,
                    seq,
                    accusers: BTreeSet::from([accuser]),
                    record: signed.clone(),
                });
                self.events.push_back(RosterEvent::Suspected(peer));
            }
        }
        Ok(news)
    }

    fn bury(&mut self, peer: PeerId, seq: Seq, record: Option<SignedBytes>, now: Instant) {
        if self.graves.len() >= MAX_MEMBERS && !self.graves.contains_key(&peer) {
            let first = self
                .graves
                .iter()
                .min_by_key(|(_, grave)| grave.until)
                .map(|(peer, _)| *peer);
            first.and_then(|peer| self.graves.remove(&peer));
        }
        self.graves.insert(
            peer,
            Grave {
                seq,
                until: now + GRAVE,
                record,
            },
        );
    }
}

#[cfg(test)]
mod tests;
