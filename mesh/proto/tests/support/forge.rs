//! Signs and seals whatever bytes it is given, as a member of the mesh could:
//! mutated tests and fuzz targets reach with it what lies behind signatures,
//! seals and checksums.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use bytes::Bytes;
use data_encoding::{BASE32_NOPAD, BASE64};
use peerloom_mesh_proto::assertion::Scope;
use peerloom_mesh_proto::envelope::{Body, Envelope, Letter};
use peerloom_mesh_proto::presence::{Capabilities, Presence, Record};
use peerloom_mesh_proto::seal::{Encapsulated, PublicPrekey, seal_with};
use peerloom_mesh_proto::wire::{self, BoundedString, BoundedVec, SignedBytes};
use peerloom_mesh_proto::{Identity, MeshTag, RoomId, Seq, SessionId};
use rand_chacha::ChaCha20Rng;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// What the clocks of these tests show.
pub(super) const UNIX: u64 = 1_800_000_000_000;
/// What the certificate's key signs begins with this.
pub(super) const POSSESSION: &[u8] = b"peerloom/possession/1";

#[derive(Serialize)]
struct Plaintext<'a>(
    #[serde(with = "serde_bytes")] &'a [u8],
    #[serde(with = "serde_bytes")] &'a [u8],
);

#[derive(Serialize)]
struct Statement<'a>(
    #[serde(with = "serde_bytes")] &'a [u8],
    #[serde(with = "serde_bytes")] &'a [u8],
    #[serde(with = "serde_bytes")] &'a [u8],
);

/// The room of all these messages.
pub(super) fn room() -> RoomId {
    RoomId::new("m", "r")
}

/// A presence in it.
pub(super) fn presence(seq: u64, prekey: PublicPrekey) -> Record {
    Record::Presence(Presence {
        mesh: MeshTag::new("m"),
        seq: Seq(seq),
        issued_ms: UNIX,
        ttl_s: 90,
        rooms: BoundedVec::truncated([room()]),
        prekey,
        addresses: BoundedVec::truncated(BoundedString::new("/ip4/192.0.2.7/udp/1")),
        nick: BoundedString::new("ada").expect("short"),
        capabilities: Capabilities::FORWARD,
        load: 0,
    })
}

/// A record of these bytes.
pub(super) fn record(by: &Identity, raw: Vec<u8>) -> SignedBytes {
    SignedBytes::sign(by, "peerloom/record/1", Bytes::from(raw))
}

/// The body of a broadcast of these bytes.
pub(super) fn broadcast(by: &Identity, raw: Vec<u8>) -> SignedBytes {
    SignedBytes::sign(by, "peerloom/broadcast/1", Bytes::from(raw))
}

/// A letter with one candidate.
pub(super) fn letter(from: &Identity, to: &Identity, session: SessionId) -> Letter {
    Letter {
        from: from.peer_id(),
        to: to.peer_id(),
        room: room(),
        session,
        seq: 1,
        sent_ms: UNIX,
        body: Body::Ice {
            generation: 1,
            candidates: BoundedVec::truncated(BoundedString::new("candidate:1 1 udp")),
            end: true,
        },
    }
}

/// The letter as it is signed.
pub(super) fn letter_bytes(letter: &Letter) -> Vec<u8> {
    wire::encode(1, 4096, letter)
        .expect("a small letter")
        .to_vec()
}

/// An envelope addressed as `letter` that holds `payload`, signed; `finish` may change the signed
/// whole before it is sealed.
pub(super) fn envelope(
    letter: &Letter,
    payload: &[u8],
    from: &Identity,
    prekey: &PublicPrekey,
    rng: &mut ChaCha20Rng,
    finish: impl FnOnce(Vec<u8>) -> Vec<u8>,
) -> Envelope {
    let mut envelope = Envelope::seal(letter, from, prekey, rng).expect("a small letter");
    let tag = rmp_serde::to_vec(&envelope.to).expect("a tag");
    let expires = envelope.expires_s.to_be_bytes();
    let (id, number) = (envelope.id, envelope.prekey.to_be_bytes());
    let aad = [&[1], &tag[2..], id.as_bytes(), &expires, &[0], &number].concat();
    let to = letter.to;
    let text = |enc: &Encapsulated| {
        let parts: [&[u8]; 5] = [to.as_bytes(), &enc.0, id.as_bytes(), &expires, payload];
        let sig = from.sign("peerloom/letter/1", &parts);
        let text = wire::encode(1, 1 << 20, &Plaintext(payload, &sig)).expect("bounded");
        finish(text.to_vec())
    };
    let sealed = seal_with(prekey, b"peerloom/envelope/1", &aad, rng, text);
    let (enc, sealed) = sealed.expect("own prekey");
    (envelope.enc, envelope.sealed) = (enc, sealed.into());
    envelope
}

/// A ticket of these bytes, with its checksum.
pub(super) fn ticket(raw: &[u8]) -> String {
    let mut hash = Sha256::new();
    for part in [b"peerloom/ticket/1", raw] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let sum = &hash.finalize()[..4];
    format!("peerloom1{}", BASE32_NOPAD.encode(&[raw, sum].concat()))
}

/// The bytes of a ticket, without its checksum.
pub(super) fn ticket_bytes(text: &str) -> Vec<u8> {
    let upper = text["peerloom1".len()..].to_ascii_uppercase();
    let mut raw = BASE32_NOPAD.decode(upper.as_bytes()).expect("a ticket");
    raw.truncate(raw.len() - 4);
    raw
}

/// What assertions addressed to `to` are made for.
pub(super) fn scope(to: &Identity) -> Scope {
    Scope {
        mesh: MeshTag::new("m"),
        room: room(),
        session: SessionId::from_bytes([1; 8]),
        sdp_session: 77,
        addressee: to.peer_id(),
    }
}

/// A certificate and its key.
pub(super) struct Certificate {
    pub(super) der: Vec<u8>,
    key: EcdsaKeyPair,
}

impl Certificate {
    pub(super) fn new() -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let certificate = rcgen::CertificateParams::default().self_signed(&key);
        let pkcs8 = key.serialize_der();
        Self {
            der: certificate.expect("a certificate").der().to_vec(),
            key: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8).expect("a key"),
        }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signed = self.key.sign(&SystemRandom::new(), message);
        signed.expect("a signature").as_ref().to_vec()
    }

    /// A statement of these claims, with the proof of possession.
    pub(super) fn statement(&self, claims: &[u8]) -> Vec<u8> {
        let length = u8::try_from(POSSESSION.len()).expect("short");
        let message = [&[length], POSSESSION, claims].concat();
        let statement = Statement(claims, &self.der, &self.sign(&message));
        let raw = wire::encode(1, 1 << 20, &statement).expect("bounded");
        raw.to_vec()
    }
}

/// An assertion of this statement.
pub(super) fn assertion(by: &Identity, statement: Vec<u8>) -> String {
    let signed = SignedBytes::sign(by, "peerloom/assertion/1", statement.into());
    BASE64.encode(&wire::encode(1, 1 << 20, &signed).expect("bounded"))
}
