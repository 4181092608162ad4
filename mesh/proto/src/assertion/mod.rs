//! Identity assertions: what ties a peer id to a certificate.
//!
//! A peer connection authenticates the other side's *certificate* (its
//! fingerprint is in the description, RFC 8122). Which *peer* that is, says an
//! assertion in `a=identity` (RFC 8827, section 7). It names the peer, mesh
//! and room, the peer's life, the session, the addressee, the certificate and
//! its own period of validity, and carries two signatures:
//!
//! * the **certificate's key** signs all of that, peer id included. Without
//!   this proof of possession anyone could present somebody else's
//!   fingerprint as their own (unknown key-share, RFC 8844, section 3);
//! * the **peer's Ed25519 key** signs the claims, the certificate and that
//!   proof.
//!
//! An assertion is good for one addressee, one room and one session, for
//! [`LIFETIME`], and once: [`Verifier`] remembers what it has seen.

use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use bytes::Bytes;
use data_encoding::BASE64;
use rand::CryptoRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use x509_cert::der::Decode;

use crate::id::{Identity, Incarnation, MeshTag, PeerId, RoomId, SessionId, tagged_hash};
use crate::presence::MAX_CLOCK_SKEW_MS;
use crate::replay::SeenCache;
use crate::time::Time;
use crate::wire::{self, SignedBytes, WireError};

/// How long an assertion holds: longer than any attempt to connect takes.
pub const LIFETIME: Duration = Duration::from_secs(60);
/// Longest assertion, in characters of base64.
pub const MAX_ASSERTION: usize = 4096;
/// Longest certificate, in bytes of DER. Ours take about 300.
pub const MAX_CERTIFICATE: usize = 2048;

const VERSION: u8 = 1;
const CONTEXT: &str = "peerloom/assertion/1";
const POSSESSION: &str = "peerloom/possession/1";
/// Uncompressed point on P-256 (SEC 1, section 2.3.3).
const P256_POINT: usize = 65;
/// `ecPublicKey` and `prime256v1` (RFC 5480, section 2.1.1).
const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";
const PRIME256V1: &str = "1.2.840.10045.3.1.7";
/// Assertions remembered in each of two generations. Filled by peers with
/// valid assertions for this node; overflow forgets the oldest.
const REMEMBERED: usize = 8192;

/// SHA-256 of a certificate's DER, as in `a=fingerprint:sha-256`.
pub type Fingerprint = [u8; 32];

/// What an assertion is made for, and has to match when it is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The mesh.
    pub mesh: MeshTag,
    /// The room.
    pub room: RoomId,
    /// The session, as chosen by the one who dialled.
    pub session: SessionId,
    /// The asserting side's session id from the `o=` line of its description.
    pub sdp_session: u64,
    /// Whom it is addressed to.
    pub addressee: PeerId,
}

/// What the certificate's key signs.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    peer: PeerId,
    incarnation: Incarnation,
    scope: Scope,
    #[serde(with = "serde_bytes")]
    fingerprint: Fingerprint,
    issued_ms: u64,
    expires_ms: u64,
    #[serde(with = "serde_bytes")]
    nonce: [u8; 16],
}

/// What the peer's key signs.
#[derive(Debug, Serialize, Deserialize)]
struct Statement {
    #[serde(with = "wire::bin")]
    claims: Bytes,
    #[serde(with = "wire::bin")]
    certificate: Bytes,
    #[serde(with = "wire::bin")]
    possession: Bytes,
}

/// Why no assertion was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AssertError<E> {
    /// The certificate's key did not sign.
    #[error("the certificate's key did not sign")]
    Sign(E),
    /// The certificate is larger than [`MAX_CERTIFICATE`].
    #[error("the assertion is too large")]
    TooLarge(#[source] WireError),
}

/// Makes an assertion. `sign` signs with the certificate's key (ECDSA on
/// P-256 with SHA-256, as ASN.1).
pub fn assert<E>(
    identity: &Identity,
    incarnation: Incarnation,
    scope: Scope,
    certificate: &[u8],
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
    rng: &mut impl CryptoRng,
    unix_ms: u64,
) -> Result<String, AssertError<E>> {
    let mut nonce = [0; 16];
    rng.fill_bytes(&mut nonce);
    let lifetime_ms = u64::try_from(LIFETIME.as_millis()).unwrap_or(u64::MAX);
    let claims = Claims {
        peer: identity.peer_id(),
        incarnation,
        scope,
        fingerprint: Sha256::digest(certificate).into(),
        issued_ms: unix_ms,
        expires_ms: unix_ms.saturating_add(lifetime_ms),
        nonce,
    };
    let claims = wire::encode(VERSION, MAX_ASSERTION, &claims).map_err(AssertError::TooLarge)?;
    let possession = sign(&possession_message(&claims)).map_err(AssertError::Sign)?;
    let certificate = Bytes::copy_from_slice(certificate);
    let statement = Statement {
        claims,
        certificate,
        possession: possession.into(),
    };
    let statement =
        wire::encode(VERSION, MAX_CERTIFICATE + 512, &statement).map_err(AssertError::TooLarge)?;
    let signed = SignedBytes::sign(identity, CONTEXT, statement);
    let bytes =
        wire::encode(VERSION, MAX_ASSERTION / 4 * 3, &signed).map_err(AssertError::TooLarge)?;
    Ok(BASE64.encode(&bytes))
}

/// `len(context) ‖ context ‖ claims`: never mistaken for what a TLS or DTLS
/// handshake signs (RFC 8446, section 4.4.3 starts with 64 spaces; RFC 5246,
/// section 7.4.3 with a random).
fn possession_message(claims: &[u8]) -> Vec<u8> {
    let len = u8::try_from(POSSESSION.len()).unwrap_or(u8::MAX);
    [&[len][..], POSSESSION.as_bytes(), claims].concat()
}

/// What a verifier expects of an assertion.
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    /// The scope, addressed to this node.
    pub scope: Scope,
    /// Who it has to be, when that is known.
    pub peer: Option<PeerId>,
    /// All SHA-256 fingerprints of the description it came with.
    pub fingerprints: &'a [Fingerprint],
}

/// A verified assertion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asserted {
    /// Who the other side is.
    pub peer: PeerId,
    /// In which life.
    pub incarnation: Incarnation,
    /// With which certificate.
    pub fingerprint: Fingerprint,
}

/// Why an assertion is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AssertionError {
    /// Not base64.
    #[error("the assertion is not base64")]
    NotBase64,
    /// Not an assertion of this version.
    #[error("the assertion is malformed")]
    Malformed(#[source] WireError),
    /// The peer's signature is wrong, or it speaks of another peer.
    #[error("the assertion is not signed by the peer it names")]
    BadSignature,
    /// The certificate is not one with a P-256 key.
    #[error("the certificate in the assertion cannot be used")]
    BadCertificate,
    /// The certificate's key did not sign: somebody else's certificate.
    #[error("the assertion does not prove possession of the certificate's key")]
    NoPossession,
    /// The description names other fingerprints than the certificate's.
    #[error("the assertion is for another certificate than the description's")]
    OtherCertificate,
    /// Made for another mesh.
    #[error("the assertion is for another mesh")]
    OtherMesh,
    /// Made for another room.
    #[error("the assertion is for another room")]
    OtherRoom,
    /// Made for somebody else.
    #[error("the assertion is addressed to somebody else")]
    OtherAddressee,
    /// Made for another session.
    #[error("the assertion is for another session")]
    OtherSession,
    /// Not who was expected.
    #[error("the assertion is by {found}, not by {expected}")]
    OtherPeer {
        /// Who made it.
        found: PeerId,
        /// Who was expected.
        expected: PeerId,
    },
    /// Not valid any more, by this node's clock.
    #[error("the assertion expired {0} ms ago")]
    Expired(u64),
    /// Issued in the future, by this node's clock.
    #[error("the assertion becomes valid in {0} ms")]
    NotYetValid(u64),
    /// Valid for longer than an assertion may be.
    #[error("the assertion claims to be valid for too long")]
    TooLong,
    /// Verified before.
    #[error("the assertion was used before")]
    Replayed,
}

/// Verifies assertions, each at most once.
#[derive(Debug)]
pub struct Verifier {
    seen: SeenCache<[u8; 16]>,
}

impl Verifier {
    /// A verifier that has seen nothing.
    pub fn new(now: Instant) -> Self {
        let memory = LIFETIME + Duration::from_millis(2 * MAX_CLOCK_SKEW_MS);
        Verifier {
            seen: SeenCache::new(memory, REMEMBERED, now),
        }
    }

    /// Verifies an assertion and remembers it.
    pub fn verify(
        &mut self,
        assertion: &str,
        expected: &Expected<'_>,
        time: Time,
    ) -> Result<Asserted, AssertionError> {
        let (claims, id) = open(assertion)?;
        check_scope(&claims.scope, &expected.scope)?;
        if let Some(peer) = expected.peer.filter(|peer| *peer != claims.peer) {
            return Err(AssertionError::OtherPeer {
                found: claims.peer,
                expected: peer,
            });
        }
        let fingerprints = expected.fingerprints;
        if fingerprints.is_empty()
            || fingerprints
                .iter()
                .any(|print| *print != claims.fingerprint)
        {
            return Err(AssertionError::OtherCertificate);
        }
        check_period(&claims, time.unix_ms)?;
        if !self.seen.insert(id, (), time.now) {
            return Err(AssertionError::Replayed);
        }
        Ok(Asserted {
            peer: claims.peer,
            incarnation: claims.incarnation,
            fingerprint: claims.fingerprint,
        })
    }
}

/// Who made an assertion and for what, with both signatures checked but
/// nothing compared: for display and diagnosis only.
pub fn inspect(assertion: &str) -> Result<(PeerId, Scope), AssertionError> {
    open(assertion).map(|(claims, _)| (claims.peer, claims.scope))
}

/// Decodes an assertion and checks both signatures. Returns the claims and an
/// id that is the same for all encodings of one assertion.
fn open(assertion: &str) -> Result<(Claims, [u8; 16]), AssertionError> {
    if assertion.len() > MAX_ASSERTION {
        let (len, max) = (assertion.len(), MAX_ASSERTION);
        return Err(AssertionError::Malformed(WireError::TooLarge { len, max }));
    }
    let bytes = BASE64
        .decode(assertion.as_bytes())
        .map_err(|_| AssertionError::NotBase64)?;
    let signed: SignedBytes = decode(&bytes)?;
    signed
        .verify(CONTEXT)
        .map_err(|_| AssertionError::BadSignature)?;
    let statement: Statement = decode(signed.payload())?;
    let claims: Claims = decode(&statement.claims)?;
    if claims.peer != signed.signer() {
        return Err(AssertionError::BadSignature);
    }
    let fingerprint: Fingerprint = Sha256::digest(&statement.certificate).into();
    if fingerprint != claims.fingerprint {
        return Err(AssertionError::NoPossession);
    }
    check_possession(&statement)?;
    let id = tagged_hash(
        "peerloom/assertion-seen/1",
        &[claims.peer.as_bytes(), &claims.nonce],
    );
    Ok((claims, id))
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, AssertionError> {
    wire::decode(VERSION, MAX_ASSERTION, bytes).map_err(AssertionError::Malformed)
}

fn check_possession(statement: &Statement) -> Result<(), AssertionError> {
    let certificate = x509_cert::Certificate::from_der(&statement.certificate);
    let certificate = certificate.map_err(|_| AssertionError::BadCertificate)?;
    let spki = &certificate.tbs_certificate.subject_public_key_info;
    let curve = spki
        .algorithm
        .parameters
        .as_ref()
        .and_then(|any| any.decode_as().ok());
    let curve: x509_cert::der::asn1::ObjectIdentifier =
        curve.ok_or(AssertionError::BadCertificate)?;
    let point = spki
        .subject_public_key
        .as_bytes()
        .filter(|point| point.len() == P256_POINT);
    let point = point.ok_or(AssertionError::BadCertificate)?;
    if spki.algorithm.oid.to_string() != EC_PUBLIC_KEY || curve.to_string() != PRIME256V1 {
        return Err(AssertionError::BadCertificate);
    }
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
        .verify(
            &possession_message(&statement.claims),
            &statement.possession,
        )
        .map_err(|_| AssertionError::NoPossession)
}

fn check_scope(found: &Scope, expected: &Scope) -> Result<(), AssertionError> {
    if found.mesh != expected.mesh {
        return Err(AssertionError::OtherMesh);
    }
    if found.room != expected.room {
        return Err(AssertionError::OtherRoom);
    }
    if found.addressee != expected.addressee {
        return Err(AssertionError::OtherAddressee);
    }
    if found.session != expected.session || found.sdp_session != expected.sdp_session {
        return Err(AssertionError::OtherSession);
    }
    Ok(())
}

fn check_period(claims: &Claims, unix_ms: u64) -> Result<(), AssertionError> {
    let lifetime = Duration::from_millis(claims.expires_ms.saturating_sub(claims.issued_ms));
    if lifetime > LIFETIME {
        return Err(AssertionError::TooLong);
    }
    let earliest = claims.issued_ms.saturating_sub(MAX_CLOCK_SKEW_MS);
    if unix_ms < earliest {
        return Err(AssertionError::NotYetValid(earliest - unix_ms));
    }
    let latest = claims.expires_ms.saturating_add(MAX_CLOCK_SKEW_MS);
    if unix_ms > latest {
        return Err(AssertionError::Expired(unix_ms - latest));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
