//! How a peer is refused, and told so.

use std::time::Instant;

use super::super::alert::{self, Alert};
use super::super::{Error, Version};
use super::{Transport, push};

impl Transport {
    /// The engine has given up. A client that shows no certificate is the one case in which it has
    /// said so itself: its alert is still to be taken.
    pub(super) fn fail_for(&mut self, error: Error) {
        if error == Error::NoCertificate {
            self.sent_alert = self.version().map(Alert::for_no_certificate);
            if let Err(error) = self.drain_engine() {
                tracing::debug!(%error, "last words of the DTLS engine");
            }
        }
        self.fail(error);
    }

    /// The peer is someone else: says so to whoever it is, as far as the engine can. In version
    /// 1.2 nothing of ours was encrypted yet, and the alert goes in plaintext. In 1.3 a
    /// plaintext alert would be dropped and the engine encrypts none before the handshake is
    /// over: it is brought to its end, with nothing delivered, for a `close_notify`.
    pub(super) fn refuse(&mut self) {
        let version = self.version();
        self.fail_but_speak(Error::FingerprintMismatch);
        let farewell = self.refused.get_or_insert_default();
        if version == Some(Version::Dtls13) {
            return;
        }
        let alert = alert::bad_certificate();
        farewell.note(&alert);
        self.sent_alert = alert::fatal(&alert);
        self.queued += alert.len();
        push(&mut self.batch, &mut self.ready, &alert);
        self.stop();
    }

    /// Whoever was refused and still talks has not heard of it.
    pub(super) fn say_again(&mut self, now: Instant) {
        let packets = self.refused.as_mut().and_then(|it| it.again(now));
        for packet in packets.unwrap_or_default() {
            self.queued += packet.len();
            push(&mut self.batch, &mut self.ready, packet);
        }
    }
}
