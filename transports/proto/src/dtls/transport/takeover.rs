//! Our own record layer beside the engine: from the end of the handshake on.

use std::time::Instant;

use bytes::Bytes;

use super::super::record::{Opened, Records, content};
use super::super::{Alert, Error, Event, State, Version};
use super::Transport;
use crate::id::DtlsRole;

impl Transport {
    /// Our record layer takes over when the engine has said all that it had to say, and from then
    /// on says for it what belongs to epochs of application data.
    pub(super) fn after_drain(&mut self) {
        let is_13 = self.version == Some(Version::Dtls13);
        let (Some(tape), State::Connected) = (&mut self.tape, self.state) else {
            return;
        };
        if self.records.is_some() {
            for inner in std::mem::take(&mut tape.sealed) {
                if let Some((kind, message)) = content::split(&inner) {
                    self.seal(kind, message);
                }
            }
            return;
        }
        if !is_13 {
            self.tape = None; // version 1.2: the engine goes on
            return;
        }
        let (role, limits) = (self.role, self.limits);
        self.records = Records::take_over(tape, role, limits);
        if self.records.is_none() {
            // The engine would never change its keys.
            let why = "its keys could not be taken over".to_owned();
            self.fail(Error::Handshake(why));
        }
        self.let_engine_go();
    }

    /// The engine, which is large, is needed no more once nothing of the handshake is to be said
    /// again: our record layer answers a client that has not heard of its end, and a client is told.
    fn let_engine_go(&mut self) {
        let answers = self.records.as_ref().map(Records::answers_handshake);
        let needed = match self.role {
            DtlsRole::Client => !self.settled,
            DtlsRole::Server => answers != Some(true),
        };
        if self.records.is_none() || needed || self.engine.is_none() {
            return;
        }
        self.engine = None;
        self.tape = None;
        self.scratch = Vec::new();
        self.deadline = None;
        self.settled = true;
    }

    /// A datagram after the handshake: its records go to our record layer or to the engine.
    pub(super) fn take_datagram(&mut self, mut datagram: &[u8], now: Instant) {
        while let Some(found) = Records::parse(datagram) {
            let (record, rest) = datagram.split_at(found.end);
            datagram = rest;
            let ours = self.records.as_mut().filter(|records| {
                let bits = found.epoch_bits;
                bits.is_some_and(|bits| records.keeps(bits))
            });
            match ours.map(|records| records.open(record, now)) {
                None if found.is_of_handshake() => self.take_handshake(record, now),
                Some(Opened::HandshakeAck) => self.take_handshake(record, now),
                // Of an epoch of data that is over: the engine knows its keys, and must not see it.
                None | Some(Opened::Nothing) => {}
                Some(Opened::Data(data)) => self.take_data(data),
                Some(Opened::Alert(description)) => self.take_alert(Alert(description)),
                Some(Opened::TooManyForged) => {
                    self.fail(Error::Handshake("too many forged records".to_owned()));
                }
            }
        }
        self.let_engine_go();
        self.say_messages(now);
    }

    /// The engine has to hear of the handshake as long as it is not known to be over at the peer.
    fn take_handshake(&mut self, record: &[u8], now: Instant) {
        if !self.settled {
            self.give_engine(record, now);
        } else if let Some(records) = &mut self.records {
            records.take_late(record);
        }
    }

    fn take_data(&mut self, data: Bytes) {
        // A server that sends data has the client's Finished. A client's says nothing of what a
        // server waits for, and the server has to answer a Finished that is said again.
        self.settled |= self.role == DtlsRole::Client;
        if self.state == State::Connected {
            self.events.push_back(Event::Data(data));
        }
    }

    /// RFC 8446 §6: all but two are fatal, whatever level they claim.
    fn take_alert(&mut self, alert: Alert) {
        const CLOSE_NOTIFY: u8 = 0;
        const USER_CANCELED: u8 = 90;
        match alert.0 {
            CLOSE_NOTIFY => self.closed_by_peer(),
            USER_CANCELED => {}
            _ => self.fail(Error::Alert(alert)),
        }
    }

    /// Lets our record layer say what it has to say for itself.
    pub(super) fn say_messages(&mut self, now: Instant) {
        while let Some(records) = &mut self.records
            && let Some((kind, message)) = records.poll_message(now)
        {
            self.seal(kind, &message);
        }
    }

    /// Encrypts one record by our record layer; says whether it could.
    pub(super) fn seal(&mut self, kind: u8, message: &[u8]) -> bool {
        let Some(records) = &mut self.records else {
            return false;
        };
        let ready = &mut self.ready;
        let full = |batch| ready.push_back(batch);
        let sealed = records.seal(kind, message, &mut self.batch, full);
        self.queued += sealed.unwrap_or_default();
        sealed.is_some()
    }

    /// Sends a record of any kind.
    #[cfg(test)]
    pub(in super::super) fn say(&mut self, kind: u8, content: &[u8]) {
        self.seal(kind, content);
    }

    /// Whether the packaged engine is still there.
    #[cfg(test)]
    pub(in super::super) fn has_engine(&self) -> bool {
        self.engine.is_some()
    }

    /// The epoch that our own record layer sends in.
    #[cfg(test)]
    pub(in super::super) fn send_epoch(&self) -> Option<u64> {
        self.records.as_ref().map(Records::send_epoch)
    }

    /// The key in use has protected all that it may.
    #[cfg(test)]
    pub(in super::super) fn exhaust_keys(&mut self) {
        if let Some(records) = &mut self.records {
            records.exhaust_keys();
        }
    }
}

/// What a packet of the engine's has of the handshake. The rest is said by our record layer.
pub(super) fn without_data_epochs(mut packet: &[u8]) -> Vec<u8> {
    /// Of epoch 3, which the engine never leaves.
    const DATA: Option<u8> = Some(3);
    let mut kept = Vec::new();
    while let Some(found) = Records::parse(packet) {
        let (record, rest) = packet.split_at(found.end);
        if found.epoch_bits != DATA {
            kept.extend(record);
        }
        packet = rest;
    }
    kept
}
