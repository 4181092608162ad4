//! SRTP and SRTCP (RFC 3711, RFC 7714) for one transport, around the packaged `rtc-srtp` engine.
//!
//! What this adds to that engine:
//!
//! * a stranger cannot make it remember anything: state for a source (rollover counter, replay
//!   window) is made when a packet of that source was authentic, and for [`MAX_SOURCES`] at most;
//! * SRTCP that says that it is not encrypted is refused: the engine lets it through unseen, forged or
//!   not, in the profile with counter mode. Nobody sends it (RFC 8827 §6.5 wants encryption);
//! * the length of a header is read off the packet, so that header extensions of any kind pass;
//! * a key is given up before an index of SRTCP would be used twice (RFC 3711 §9.2);
//! * what was refused is counted, by reason ([`Counters`]);
//! * a panic of the engine ends the session, and nothing else.
//!
//! Packets are handed over whole and come out whole: there is nothing to poll and no time. The rollover
//! counter starts at zero, so a receiver has to hear one of a source's first 2^16 packets, less if
//! they begin in the upper half of the sequence numbers; senders begin in the lower (RFC 3711 §3.3.1).

mod incoming;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;
use rtc_rtp::Header;
use rtc_srtp::context::Context;
use rtc_srtp::option::ContextOption;
use rtc_srtp::protection_profile::ProtectionProfile;

use super::is_rtcp;
use crate::dtls::{SrtpKeys, SrtpMaster, SrtpProfile};
use crate::error::{EngineFault, Layer, guard};

use incoming::Incoming;

/// Sources (SSRC) of each direction, of RTP and of RTCP. Filled by what a peer that holds the keys
/// sends, or by us; packets of further ones are refused. Guess: a forwarder with three layers and a
/// repair stream for each of a hundred videos stays below.
pub const MAX_SOURCES: usize = 1024;

/// Most bytes of a packet before protection: what UDP over IPv4 carries, with room for tag and index.
pub const MAX_PACKET: usize = 65_507 - 32;

/// Packets of SRTCP that one key may protect (RFC 3711 §9.2).
const MAX_RTCP_PACKETS: u32 = (1 << 31) - 1;

const RTP_HEADER: usize = 12;
const RTCP_HEADER: usize = 8;

/// Why a packet was refused. The session goes on after any but [`Error::KeysExhausted`] and
/// [`Error::Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is no packet of RTP or RTCP of version 2, or too long.
    #[error("not an RTP or RTCP packet")]
    Malformed,
    /// Whoever has sent it does not have the keys, or it was changed on the way.
    #[error("the packet is not authentic")]
    Forged,
    /// It was received before, or is older than the replay window (RFC 3711 §3.3.2).
    #[error("the packet was received before or is too old")]
    Replayed,
    /// It is of one source more than [`MAX_SOURCES`].
    #[error("too many sources")]
    TooManySources,
    /// The key has protected all that it may.
    #[error("the keys have protected as many packets as they may")]
    KeysExhausted,
    /// The keys are not of the profile's length, or the profile is not to be had.
    #[error("the keys do not fit the profile")]
    BadKeys,
    /// The packaged engine panicked.
    #[error(transparent)]
    Fault(#[from] EngineFault),
}

/// What arrived, without its protection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A packet of RTP.
    Rtp(Bytes),
    /// A compound packet of RTCP, or one of reduced size.
    Rtcp(Bytes),
}

/// What a session has done with packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets protected.
    pub protected: u64,
    /// Packets found authentic and new.
    pub unprotected: u64,
    /// [`Error::Forged`] packets received.
    pub forged: u64,
    /// [`Error::Replayed`] packets received.
    pub replayed: u64,
    /// [`Error::Malformed`] packets received, and those of [`Error::TooManySources`].
    pub refused: u64,
}

/// Both directions of one transport.
pub struct Session {
    profile: SrtpProfile,
    outgoing: Outgoing,
    incoming: Incoming,
    counters: Counters,
    /// The engine has panicked and is not called again.
    fault: Option<EngineFault>,
}

struct Outgoing {
    context: Context,
    sources: [BTreeSet<u32>; 2],
    rtcp_packets: u32,
}

impl Session {
    /// A session with keys of [`crate::dtls::Transport::take_srtp_keys`].
    pub fn new(keys: &SrtpKeys) -> Result<Self, Error> {
        let outgoing = Outgoing {
            context: context(keys.profile, &keys.local, None)?,
            sources: Default::default(),
            rtcp_packets: 0,
        };
        Ok(Self {
            profile: keys.profile,
            outgoing,
            incoming: Incoming::new(keys.profile, keys.remote.clone())?,
            counters: Counters::default(),
            fault: None,
        })
    }

    /// Protects a packet of RTP. Sequence numbers of a source count up, but for a packet that is sent
    /// again; never may two packets of a source have the same number and different contents.
    pub fn protect_rtp(&mut self, packet: &[u8]) -> Result<Bytes, Error> {
        let header = rtp_header(packet).filter(|_| !is_rtcp(packet));
        let header = header.ok_or(Error::Malformed)?;
        self.outgoing.admit(header.ssrc, packet, false)?;
        let context = &mut self.outgoing.context;
        let sealed = call(&mut self.fault, || {
            context.encrypt_rtp_with_header(packet, &header)
        })?;
        self.counters.protected += 1;
        Ok(sealed.map_err(told_by)?.freeze())
    }

    /// Protects a compound packet of RTCP. Encrypted always (RFC 8827 §6.5).
    pub fn protect_rtcp(&mut self, packet: &[u8]) -> Result<Bytes, Error> {
        let ssrc = rtcp_source(packet).ok_or(Error::Malformed)?;
        self.outgoing.admit(ssrc, packet, true)?;
        let context = &mut self.outgoing.context;
        let sealed = call(&mut self.fault, || context.encrypt_rtcp(packet))?;
        self.outgoing.rtcp_packets += 1;
        self.counters.protected += 1;
        Ok(sealed.map_err(told_by)?.freeze())
    }

    /// Takes the protection off a datagram that [`super::is_media`].
    pub fn unprotect(&mut self, datagram: &[u8]) -> Result<Packet, Error> {
        let (incoming, rtcp) = (&mut self.incoming, is_rtcp(datagram));
        let opened = call(&mut self.fault, || {
            if rtcp {
                incoming.open_rtcp(datagram).map(Packet::Rtcp)
            } else {
                incoming.open_rtp(datagram).map(Packet::Rtp)
            }
        })?;
        let counters = &mut self.counters;
        match &opened {
            Ok(_) => counters.unprotected += 1,
            Err(Error::Forged) => counters.forged += 1,
            Err(Error::Replayed) => counters.replayed += 1,
            Err(
                Error::Malformed
                | Error::TooManySources
                | Error::KeysExhausted
                | Error::BadKeys
                | Error::Fault(_),
            ) => counters.refused += 1,
        }
        opened
    }

    /// The profile.
    pub fn profile(&self) -> SrtpProfile {
        self.profile
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("profile", &self.profile)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl Outgoing {
    fn admit(&mut self, ssrc: u32, packet: &[u8], rtcp: bool) -> Result<(), Error> {
        if packet.len() > MAX_PACKET {
            return Err(Error::Malformed);
        }
        if rtcp && self.rtcp_packets >= MAX_RTCP_PACKETS {
            return Err(Error::KeysExhausted);
        }
        let sources = &mut self.sources[usize::from(rtcp)];
        if sources.len() >= MAX_SOURCES && !sources.contains(&ssrc) {
            return Err(Error::TooManySources);
        }
        sources.insert(ssrc);
        Ok(())
    }
}

/// A call into the engine, unless it has panicked before.
fn call<T>(fault: &mut Option<EngineFault>, run: impl FnOnce() -> T) -> Result<T, Error> {
    if let Some(fault) = *fault {
        return Err(Error::Fault(fault));
    }
    guard(Layer::Srtp, run).map_err(|error| {
        *fault = Some(error);
        Error::Fault(error)
    })
}

/// What an error of the engine means.
fn told_by(error: rtc_shared::error::Error) -> Error {
    use rtc_shared::error::Error as Theirs;
    // One enumeration for all of their crates; what is not named is a way to fail the check.
    if matches!(
        error,
        Theirs::SrtpSsrcDuplicated(..) | Theirs::SrtcpSsrcDuplicated(..)
    ) {
        Error::Replayed
    } else if matches!(error, Theirs::ErrExceededMaxPackets) {
        Error::KeysExhausted
    } else if matches!(error, Theirs::ErrTooShortRtp | Theirs::ErrTooShortRtcp) {
        Error::Malformed
    } else {
        Error::Forged
    }
}

/// The engine for one direction; `replay` for each source of RTP and of RTCP.
fn context(
    profile: SrtpProfile,
    master: &SrtpMaster,
    replay: Option<(ContextOption, ContextOption)>,
) -> Result<Context, Error> {
    let (rtp, rtcp) = replay.unzip();
    let profile = match profile {
        SrtpProfile::Aes128CmSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        SrtpProfile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        SrtpProfile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
    };
    let provider = rtc_crypto::default_provider().map_err(|_| Error::BadKeys)?;
    let crypto = provider.crypto();
    guard(Layer::Srtp, || {
        Context::new(&master.key, &master.salt, profile, rtp, rtcp, crypto)
    })?
    .map_err(|_| Error::BadKeys)
}

/// A header that says to the engine what it asks of one: source, number, and how long it is. The
/// engine's own reading of header extensions gives another length than is in the packet where an
/// element with the reserved identifier 15 ends them early (RFC 8285 §4.2).
fn rtp_header(packet: &[u8]) -> Option<Header> {
    const EXTENSION: u8 = 0x10;
    let fixed = packet.get(..RTP_HEADER)?;
    if fixed[0] >> 6 != 2 {
        return None;
    }
    let mut words = usize::from(fixed[0] & 15);
    if fixed[0] & EXTENSION != 0 {
        let at = RTP_HEADER + 4 * words;
        let extension = packet.get(at..at + 4)?;
        words += 1 + usize::from(u16::from_be_bytes([extension[2], extension[3]]));
    }
    if packet.len() < RTP_HEADER + 4 * words {
        return None;
    }
    Some(Header {
        version: 2,
        sequence_number: u16::from_be_bytes([fixed[2], fixed[3]]),
        ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
        csrc: vec![0; words],
        ..Header::default()
    })
}

/// Whether a packet of SRTCP says that it is encrypted (the flag E, RFC 3711 §3.4): in front of the tag,
/// or behind it with AES-GCM (RFC 7714 §9).
fn is_encrypted(profile: SrtpProfile, packet: &[u8]) -> bool {
    const INDEX: usize = 4;
    let behind = match profile {
        SrtpProfile::Aes128CmSha1_80 => INDEX + 10,
        SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => INDEX,
    };
    let at = packet.len().checked_sub(behind);
    at.is_some_and(|at| packet[at] & 0x80 != 0)
}

/// The source of a compound packet of RTCP.
fn rtcp_source(packet: &[u8]) -> Option<u32> {
    let header = packet.get(..RTCP_HEADER)?;
    let right = header[0] >> 6 == 2 && is_rtcp(header);
    right.then(|| u32::from_be_bytes([header[4], header[5], header[6], header[7]]))
}
