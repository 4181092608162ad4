//! What a client says again of its handshake, because our acknowledgement was lost (RFC 9147 §5.8.1).
//!
//! The engine that made the handshake is gone by then: all that is needed is the traffic secret of
//! the client's handshake. Keys are made of it when the first such record comes, which is rare.

use super::epochs::Epoch;
use super::keys::{Secret, Suite, TAG};
use super::window::Window;
use super::{HEADER, Header, content};

/// The epoch in which handshakes are encrypted (RFC 9147 §6.1).
const EPOCH: u64 = 2;

/// Records that are answered. Filled by the client, a few for each time that it has not heard us; it
/// learns from our data as well that we have them, so that those beyond are dropped.
const MAX_ANSWERED: u8 = 128;

/// The way to open late records of the handshake.
pub(super) struct Late {
    secret: Secret,
    /// Boxed, since few connections ever need it. Its window knows what came since.
    epoch: Option<Box<Epoch>>,
    answered: u8,
}

impl Late {
    pub(super) fn new(secret: Secret) -> Self {
        Self {
            secret,
            epoch: None,
            answered: 0,
        }
    }

    /// Epoch and number of a genuine record with a part of the handshake that did not come before.
    pub(super) fn open(&mut self, record: &[u8], suite: Suite) -> Option<(u64, u64)> {
        if self.answered >= MAX_ANSWERED {
            return None;
        }
        let header = Header::of(record)?;
        let (head, ciphertext) = record.split_at_checked(header.len)?;
        let at = ciphertext.len().checked_sub(TAG).filter(|len| *len > 0)?;
        let epoch = match &mut self.epoch {
            Some(epoch) => epoch,
            none @ None => none.insert(Box::new(Epoch::new(EPOCH, suite, &self.secret)?)),
        };
        let mut clear = [0; HEADER];
        let clear = &mut clear[..head.len()];
        clear.copy_from_slice(head);
        let (short, bits) = header.reveal(clear, epoch.keys.mask(ciphertext)?);
        // A handshake has fewer records than a short number tells apart.
        let number = Window::default().resolve(short, bits);
        if !epoch.window.is_new(number) {
            return None;
        }
        let mut inner = vec![0; at];
        epoch.keys.open(number, clear, ciphertext, &mut inner)?;
        epoch.window.insert(number);
        let (kind, _) = content::split(&inner)?;
        if kind != content::HANDSHAKE {
            return None;
        }
        self.answered += 1;
        Some((EPOCH, number))
    }
}
