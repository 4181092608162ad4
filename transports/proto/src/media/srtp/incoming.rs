//! What arrives. The packaged engine remembers each source that it was shown, before it knows whether
//! the packet is authentic, and forgets none. So packets of sources that nobody knows are tried with
//! another copy of it first, which is thrown away now and then.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use rtc_shared::error::Error as Theirs;
use rtc_srtp::context::Context;
use rtc_srtp::option::{
    srtcp_no_replay_protection, srtcp_replay_protection, srtp_no_replay_protection,
    srtp_replay_protection,
};

use super::{Error, MAX_SOURCES, context, is_encrypted, rtcp_source, rtp_header, told_by};
use crate::dtls::{SrtpMaster, SrtpProfile};

/// Packets of a source that may come late (RFC 3711 §3.3.2 wants 64 at least). As in Chromium: video
/// of a few Mbit/s has some hundred packets on the way.
const REPLAY_WINDOW: usize = 1024;

/// Packets of unknown sources, after which what was remembered of them is forgotten.
const MAX_TRIED: usize = 64;

pub(super) struct Incoming {
    profile: SrtpProfile,
    master: SrtpMaster,
    /// Has seen packets of known sources only.
    context: Context,
    /// Of RTP, and of RTCP.
    pub(super) sources: [BTreeSet<u32>; 2],
    /// For packets of all others.
    trial: Context,
    pub(super) tried: usize,
}

impl Incoming {
    pub(super) fn new(profile: SrtpProfile, master: SrtpMaster) -> Result<Self, Error> {
        let replay = (
            srtp_replay_protection(REPLAY_WINDOW),
            srtcp_replay_protection(REPLAY_WINDOW),
        );
        Ok(Self {
            context: context(profile, &master, Some(replay))?,
            trial: trial(profile, &master)?,
            profile,
            master,
            sources: Default::default(),
            tried: 0,
        })
    }

    pub(super) fn open_rtp(&mut self, packet: &[u8]) -> Result<Bytes, Error> {
        let header = rtp_header(packet).ok_or(Error::Malformed)?;
        self.open(header.ssrc, false, |context| {
            context.decrypt_rtp_with_header(packet, &header)
        })
    }

    pub(super) fn open_rtcp(&mut self, packet: &[u8]) -> Result<Bytes, Error> {
        let ssrc = rtcp_source(packet).ok_or(Error::Malformed)?;
        if !is_encrypted(self.profile, packet) {
            return Err(Error::Forged);
        }
        self.open(ssrc, true, |context| context.decrypt_rtcp(packet))
    }

    fn open(
        &mut self,
        ssrc: u32,
        rtcp: bool,
        decrypt: impl Fn(&mut Context) -> Result<BytesMut, Theirs>,
    ) -> Result<Bytes, Error> {
        let kind = usize::from(rtcp);
        if !self.sources[kind].contains(&ssrc) {
            if self.sources[kind].len() >= MAX_SOURCES {
                return Err(Error::TooManySources);
            }
            if self.tried >= MAX_TRIED {
                self.trial = trial(self.profile, &self.master)?;
                self.tried = 0;
            }
            self.tried += 1;
            decrypt(&mut self.trial).map_err(told_by)?;
            self.sources[kind].insert(ssrc);
        }
        let opened = decrypt(&mut self.context).map_err(told_by)?;
        Ok(opened.freeze())
    }
}

fn trial(profile: SrtpProfile, master: &SrtpMaster) -> Result<Context, Error> {
    let no_replay = (srtp_no_replay_protection(), srtcp_no_replay_protection());
    context(profile, master, Some(no_replay))
}
