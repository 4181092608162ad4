//! What arrives: who sent it, and what it means for consent and nomination.

use std::time::Instant;

use super::super::stun::{self, Binding, Class};
use super::super::{Error, Event, State};
use super::{Agent, MAX_ROLE_CHANGES};
use crate::id::{IceRole, Path};

impl Agent {
    /// Takes a STUN packet. An error says why it was dropped; the agent goes on.
    pub fn handle_packet(&mut self, path: Path, packet: &[u8], now: Instant) -> Result<(), Error> {
        let result = self.take_packet(path, packet, now);
        if result.is_err() {
            self.stats.dropped += 1;
        }
        if let Err(Error::Fault(_)) = result {
            self.fail();
        }
        result
    }

    /// Whether the peer has made this packet: a request for our username fragment under our
    /// password, or an answer under the peer's (RFC 8445 §7.2.2, §7.3). Changes nothing.
    pub fn is_authentic(&self, packet: &[u8]) -> bool {
        let Some(binding) = Binding::parse(packet) else {
            return false;
        };
        match binding.class {
            Class::Request => {
                let to = binding.username.and_then(|name| name.split_once(':'));
                to.is_some_and(|(to, _)| to == self.local.ufrag) && binding.verify(&self.local.pwd)
            }
            Class::Success | Class::Error => self
                .remote
                .as_ref()
                .is_some_and(|remote| binding.verify(&remote.pwd)),
            Class::Indication => false,
        }
    }

    pub(super) fn take_packet(
        &mut self,
        path: Path,
        packet: &[u8],
        now: Instant,
    ) -> Result<(), Error> {
        let binding = Binding::parse(packet).ok_or(Error::NotStun)?;
        // Who has failed answers nobody, so that the peer finds out.
        if self.engine.is_none() || self.state == State::Failed {
            return Err(Error::Closed);
        }
        if !self.is_local(path) {
            return Err(Error::UnknownLocal);
        }
        match binding.class {
            Class::Request => self.take_request(path, packet, &binding, now),
            Class::Success => self.take_answer(path, packet, &binding, now),
            Class::Error => self.take_refusal(path, &binding, now),
            Class::Indication => Ok(()),
        }
    }

    pub(super) fn take_request(
        &mut self,
        path: Path,
        packet: &[u8],
        binding: &Binding<'_>,
        now: Instant,
    ) -> Result<(), Error> {
        let (to, from) = binding
            .username
            .and_then(|u| u.split_once(':'))
            .ok_or(Error::Unauthenticated)?;
        if to != self.local.ufrag || !binding.verify(&self.local.pwd) {
            return Err(Error::Unauthenticated);
        }
        let Some(remote) = &self.remote else {
            self.keep_undescribed(path, packet);
            return Ok(());
        };
        if from != remote.ufrag {
            return Err(Error::Unauthenticated);
        }
        if self.keep_untold(path, packet, now) {
            return Ok(());
        }
        if binding.role == Some(self.role) && self.role_changes >= MAX_ROLE_CHANGES {
            self.refuse_role(path, binding, now);
            return Ok(());
        }
        self.stats.requests_received += 1;
        self.reconnected(path, now);
        self.learn_remote(path)?;
        self.pair_checked_by_peer(path, now);
        self.give_to_engine(path, packet, now)?;
        self.nominate_again(path, now);
        if binding.nominates {
            self.nominated_early(path, packet, binding.transaction);
        }
        if self.role == IceRole::Controlling && self.selected.is_none() {
            self.hasten(now);
        }
        Ok(())
    }

    /// Tells the peer that it is for it to change its role (RFC 8445 §7.3.1.1), whatever the tie-breakers
    /// say: we have changed ours often enough.
    fn refuse_role(&mut self, path: Path, binding: &Binding<'_>, now: Instant) {
        let refusal = stun::refusal(binding.transaction, &self.local.pwd);
        self.queue_packet(path, refusal, now);
    }

    pub(super) fn take_answer(
        &mut self,
        path: Path,
        packet: &[u8],
        binding: &Binding<'_>,
        now: Instant,
    ) -> Result<(), Error> {
        self.by_peer(binding)?;
        let answer = self
            .checks
            .answered(binding.transaction, path, now)
            .ok_or(Error::Unauthenticated)?;
        self.stats.responses_received += 1;
        self.pairs.answered(path, answer.round_trip, now);
        if answer.first {
            let round_trip = answer.round_trip;
            self.events
                .push_back(Event::PathAnswered { path, round_trip });
        }
        if self.selected == Some(path) {
            self.stats.round_trip = Some(answer.round_trip);
        }
        self.consent_given(path, now);
        self.give_to_engine(path, packet, now)?;
        self.nominated_before(path, now);
        if answer.first && self.role == IceRole::Controlling && self.selected.is_none() {
            self.next_round = Some(now); // nominate without waiting for the next round
        }
        if self.selected == Some(path) {
            self.stats.round_trip = Some(answer.round_trip);
        }
        Ok(())
    }

    /// The peer keeps the role that we take ourselves to have: it is ours to change, which the
    /// engine does only when the peer checks us (RFC 8445 §7.2.5.1). Only while pairs are checked: later
    /// nobody nominates, and refusals of consent are what becomes of consent.
    fn take_refusal(
        &mut self,
        path: Path,
        binding: &Binding<'_>,
        now: Instant,
    ) -> Result<(), Error> {
        self.by_peer(binding)?;
        let refused = self.checks.refused(binding.transaction, path);
        let role = refused.ok_or(Error::Unauthenticated)?;
        // Several checks of the old role may be refused.
        if !binding.is_role_conflict() || role != Some(self.role) || self.state != State::Checking {
            return Ok(());
        }
        if self.role_changes >= MAX_ROLE_CHANGES {
            return Err(Error::TooMany("changes of role"));
        }
        let engine = self.engine.as_mut().ok_or(Error::Closed)?;
        engine.set_role(self.role.other())?;
        self.take_role(self.role.other());
        self.hasten(now);
        Ok(())
    }

    fn by_peer(&self, binding: &Binding<'_>) -> Result<(), Error> {
        let remote = self.remote.as_ref();
        let known = remote.is_some_and(|remote| binding.verify(&remote.pwd));
        known.then_some(()).ok_or(Error::Unauthenticated)
    }

    pub(super) fn give_to_engine(
        &mut self,
        path: Path,
        packet: &[u8],
        now: Instant,
    ) -> Result<(), Error> {
        self.learn_remote(path)?;
        let engine_now = self.engine_time(now);
        let engine = self.engine.as_mut().ok_or(Error::Closed)?;
        let result = engine.handle_packet(path, packet, engine_now);
        self.collect(now);
        result
    }
}
