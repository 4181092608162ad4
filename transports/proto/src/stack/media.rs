//! Media in the stack: packets beside the records of DTLS, with keys from it.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Event, Stack};
use crate::media::srtp::{self, Session};

/// Packets of media that wait for [`Stack::poll_transmit`]. Filled by [`Stack::send_rtp`] and
/// [`Stack::send_rtcp`], which refuse more: media that waits is late.
pub const MAX_QUEUED_MEDIA: usize = 1024;

/// Why a packet of media was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendMediaError {
    /// There are no keys: not connected, or the peer knows none of our profiles.
    #[error("media has no keys yet, or no more")]
    NoKeys,
    /// [`MAX_QUEUED_MEDIA`] packets wait.
    #[error("too many packets wait to be sent")]
    Full,
    /// The packet, or the session, is not fit for it.
    #[error(transparent)]
    Srtp(#[from] srtp::Error),
}

#[derive(Default)]
pub(super) struct Media {
    session: Option<Session>,
    ready: VecDeque<Bytes>,
}

impl Media {
    pub(super) fn poll(&mut self) -> Option<Bytes> {
        self.ready.pop_front()
    }

    fn send(
        &mut self,
        protect: impl FnOnce(&mut Session) -> Result<Bytes, srtp::Error>,
    ) -> Result<(), SendMediaError> {
        let session = self.session.as_mut().ok_or(SendMediaError::NoKeys)?;
        if self.ready.len() >= MAX_QUEUED_MEDIA {
            return Err(SendMediaError::Full);
        }
        self.ready.push_back(protect(session)?);
        Ok(())
    }
}

impl Stack {
    pub(super) fn start_media(&mut self) {
        let keys = self.dtls.as_mut().and_then(|dtls| dtls.take_srtp_keys());
        self.media.session = keys.and_then(|keys| Session::new(&keys).ok());
    }

    pub(super) fn take_media(&mut self, packet: &[u8]) {
        let Some(session) = &mut self.media.session else {
            return;
        };
        match session.unprotect(packet) {
            Ok(packet) => self.events.push_back(Event::Media(packet)),
            Err(error) => tracing::trace!(%error, "media dropped"),
        }
    }

    /// Sends a packet of RTP, before data that waits.
    pub fn send_rtp(&mut self, packet: &[u8]) -> Result<(), SendMediaError> {
        self.media.send(|session| session.protect_rtp(packet))
    }

    /// Sends a compound packet of RTCP, before data that waits.
    pub fn send_rtcp(&mut self, packet: &[u8]) -> Result<(), SendMediaError> {
        self.media.send(|session| session.protect_rtcp(packet))
    }

    /// How media is protected, once DTLS is connected.
    pub fn srtp(&self) -> Option<&Session> {
        self.media.session.as_ref()
    }
}
