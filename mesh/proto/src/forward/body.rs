//! What a direct message consists of, and who may read it.

use bytes::Bytes;
use rand::CryptoRng;
use serde::{Deserialize, Serialize};

use super::Surroundings;
use crate::frame::{ChannelName, DirectBody, DirectFrame, MAX_FRAME};
use crate::id::{Identity, Incarnation, MessageId, PeerId, RoomId, SIGNATURE_LEN};
use crate::seal::{self, Encapsulated, PublicPrekey};
use crate::wire::{self, WireError};

const VERSION: u8 = 1;
const CONTEXT: &str = "peerloom/direct/1";
const INFO: &[u8] = b"peerloom/direct/1";

/// What an author writes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Direct {
    pub(super) from: PeerId,
    pub(super) room: RoomId,
    pub(super) incarnation: Incarnation,
    pub(super) n: u64,
    #[serde(with = "serde_bytes")]
    pub(super) token: [u8; 16],
    pub(super) channel: ChannelName,
    #[serde(with = "wire::bin")]
    pub(super) payload: Bytes,
}

/// The sealed plaintext.
#[derive(Serialize, Deserialize)]
struct Signed {
    #[serde(with = "wire::bin")]
    direct: Bytes,
    #[serde(with = "serde_bytes")]
    sig: [u8; SIGNATURE_LEN],
}

/// Opens a direct message for `me` in `room` that came from the neighbour
/// `from`, and checks who wrote it.
pub(super) fn open(
    me: &PeerId,
    room: &RoomId,
    frame: &DirectFrame,
    from: PeerId,
    around: &Surroundings<'_>,
) -> Result<Direct, WireError> {
    let direct = match &frame.body {
        DirectBody::Open(bytes) => {
            let direct: Direct = wire::decode(VERSION, MAX_FRAME, bytes)?;
            Some(direct).filter(|direct| direct.from == from)
        }
        DirectBody::Sealed {
            prekey,
            enc,
            sealed,
        } => {
            let aad = aad(&frame.to, &frame.id);
            let Ok(plaintext) = around.prekeys.open(*prekey, INFO, &aad, enc, sealed) else {
                return Err(WireError::BadSignature);
            };
            let signed: Signed = wire::decode(VERSION, MAX_FRAME, &plaintext)?;
            let direct: Direct = wire::decode(VERSION, MAX_FRAME, &signed.direct)?;
            let parts: [&[u8]; 4] = [me.as_bytes(), &enc.0, frame.id.as_bytes(), &signed.direct];
            Some(direct).filter(|direct| direct.from.verify(CONTEXT, &parts, &signed.sig))
        }
    };
    direct
        .filter(|direct| direct.room == *room)
        .ok_or(WireError::BadSignature)
}

fn aad(to: &PeerId, id: &MessageId) -> Vec<u8> {
    [&[VERSION][..], to.as_bytes(), id.as_bytes()].concat()
}

impl Direct {
    pub(super) fn encode(&self) -> Result<Bytes, WireError> {
        wire::encode(VERSION, MAX_FRAME, self)
    }
}

/// Signs and seals an encoded message to its addressee.
pub(super) fn seal(
    identity: &Identity,
    to: &PeerId,
    prekey: &PublicPrekey,
    id: &MessageId,
    direct: &Bytes,
    rng: &mut impl CryptoRng,
) -> Result<DirectBody, seal::SealError> {
    let sign = |enc: &Encapsulated| {
        let sig = identity.sign(CONTEXT, &[to.as_bytes(), &enc.0, id.as_bytes(), direct]);
        let signed = Signed {
            direct: direct.clone(),
            sig,
        };
        wire::encode(VERSION, MAX_FRAME, &signed)
            .map(Vec::from)
            .unwrap_or_default()
    };
    let (enc, sealed) = seal::seal_with(prekey, INFO, &aad(to, id), rng, sign)?;
    Ok(DirectBody::Sealed {
        prekey: prekey.id,
        enc,
        sealed: sealed.into(),
    })
}
