//! What is inside an envelope: one step of signaling between two peers.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::VERSION;
use crate::id::{Identity, MessageId, PeerId, RoomId, SIGNATURE_LEN, SessionId};
use crate::seal::{Encapsulated, SealError};
use crate::wire::{self, BoundedString, BoundedVec, SignedBytes, WireError};

/// Longest session description, in bytes: what an envelope has left for it.
/// A data-channel description with an identity assertion takes about 2,000;
/// candidates that do not fit follow as [`Body::Ice`].
pub const MAX_SDP: usize = 3584;
/// Candidates in one letter.
pub const MAX_CANDIDATES: usize = 16;
/// Longest candidate line, in bytes.
pub const CANDIDATE_LEN: usize = 200;

const CONTEXT: &str = "peerloom/letter/1";

/// Trickled candidates.
pub type Candidates = BoundedVec<BoundedString<CANDIDATE_LEN>, MAX_CANDIDATES>;

/// One signed statement from one peer to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Who wrote and signed it.
    pub from: PeerId,
    /// Whom it is for.
    pub to: PeerId,
    /// The room it is about.
    pub room: RoomId,
    /// The session it is about, chosen by the one who offered.
    pub session: SessionId,
    /// Numbers the letters of this author in this session.
    pub seq: u32,
    /// When it was signed, by the author's wall clock.
    pub sent_ms: u64,
    /// What it says.
    pub body: Body,
}

/// What a letter says. `generation` counts the descriptions of one session
/// (ICE restarts), so that late answers and candidates can be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// A session description of type offer.
    #[serde(rename = "o")]
    Offer {
        /// Which description of the session.
        generation: u16,
        /// The description.
        sdp: Sdp,
        /// The author's presence, for a recipient that has not heard of it
        /// and could not seal an answer otherwise.
        presence: Option<SignedBytes>,
    },
    /// A session description of type answer.
    #[serde(rename = "a")]
    Answer {
        /// The offer it answers.
        generation: u16,
        /// The description.
        sdp: Sdp,
    },
    /// Candidates gathered after the description was sent.
    #[serde(rename = "i")]
    Ice {
        /// The description they belong to.
        generation: u16,
        /// The candidates.
        candidates: Candidates,
        /// No more will follow.
        end: bool,
    },
    /// The offer is not taken.
    #[serde(rename = "r")]
    Reject {
        /// Why.
        why: RejectReason,
        /// When to try again at the earliest.
        retry_ms: u32,
        /// The author's wall clock.
        unix_ms: u64,
    },
    /// The session is over before it began.
    #[serde(rename = "b")]
    Bye,
    /// Are you there?
    #[serde(rename = "q")]
    Probe {
        /// Returned in the answer.
        nonce: u64,
    },
    /// Yes.
    #[serde(rename = "p")]
    ProbeAck {
        /// From the probe.
        nonce: u64,
        /// The author's wall clock.
        unix_ms: u64,
    },
}

/// A session description. An enum, so that a later version may write it
/// otherwise without a new kind of letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sdp {
    /// The text as it is.
    #[serde(rename = "f")]
    Full(BoundedString<MAX_SDP>),
}

/// Why an offer is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RejectReason {
    /// No links to spare.
    Full,
    /// Not in that room.
    NotMember,
    /// Too many offers lately.
    Busy,
    /// The attempt failed on this side.
    Failed,
}

/// Why a letter was not sealed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealFailed {
    /// It does not fit into an envelope.
    #[error("the letter does not fit")]
    Encode(#[from] WireError),
    /// The recipient's prekey is unusable.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// The sealed plaintext: the letter's bytes and the signature over them.
#[derive(Serialize, Deserialize)]
struct Signed {
    #[serde(with = "wire::bin")]
    payload: Bytes,
    #[serde(with = "serde_bytes")]
    sig: [u8; SIGNATURE_LEN],
}

/// Room for a letter within an envelope.
const MAX_LETTER: usize = super::MAX_ENVELOPE - 280;

impl Letter {
    pub(super) fn encode(&self) -> Result<Bytes, WireError> {
        wire::encode(VERSION, MAX_LETTER, self)
    }
}

/// Signs the letter's bytes together with everything that ties it to its
/// envelope, and returns the plaintext to seal.
pub(super) fn sign(
    identity: &Identity,
    to: &PeerId,
    enc: &Encapsulated,
    id: &MessageId,
    expires_s: u32,
    payload: &Bytes,
) -> Vec<u8> {
    let sig = identity.sign(
        CONTEXT,
        &[
            to.as_bytes(),
            &enc.0,
            id.as_bytes(),
            &expires_s.to_be_bytes(),
            payload,
        ],
    );
    let signed = Signed {
        payload: payload.clone(),
        sig,
    };
    wire::encode(VERSION, super::MAX_ENVELOPE, &signed)
        .map(Vec::from)
        .unwrap_or_default()
}

/// Decodes a plaintext and checks that its author signed it for `me` in this
/// very envelope.
pub(super) fn open(
    plaintext: &[u8],
    me: &PeerId,
    enc: &Encapsulated,
    id: &MessageId,
    expires_s: u32,
) -> Result<Letter, WireError> {
    let signed: Signed = wire::decode(VERSION, super::MAX_ENVELOPE, plaintext)?;
    let letter: Letter = wire::decode(VERSION, MAX_LETTER, &signed.payload)?;
    let parts: [&[u8]; 5] = [
        me.as_bytes(),
        &enc.0,
        id.as_bytes(),
        &expires_s.to_be_bytes(),
        &signed.payload,
    ];
    if letter.to != *me || !letter.from.verify(CONTEXT, &parts, &signed.sig) {
        return Err(WireError::BadSignature);
    }
    Ok(letter)
}
