//! Identity assertions: the attribute that carries them, and what the built-in provider signs.

use std::convert::Infallible;
use std::sync::LazyLock;
use std::time::Instant;

use peerloom_actors::identity::{check_contents, decode_attribute};
use peerloom_mesh_proto::assertion::{self, Expected, Verifier};
use peerloom_mesh_proto::{Identity, Incarnation, Time};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use sha2::{Digest, Sha256};

use super::mesh_forge::{self as forge, UNIX};
use super::script::Reader;
use super::sdp::CERTIFICATE;

static SIGNER: LazyLock<forge::Certificate> = LazyLock::new(forge::Certificate::new);

fn ada() -> Identity {
    Identity::from_seed([1; 32])
}

fn bob() -> Identity {
    Identity::from_seed([2; 32])
}

/// The first byte says what the rest is: 0 the value of `a=identity`, 1 contents, 2 an assertion, 3
/// a statement that is signed then, 4 claims that are signed then by both keys. Gets anywhere if
/// it is read, or verified where it is signed.
pub fn assertion(data: &[u8]) -> bool {
    let mut reader = Reader(data);
    let kind = reader.byte().unwrap_or_default();
    let (raw, text) = (reader.0, String::from_utf8_lossy(reader.0));
    match kind % 5 {
        0 => match decode_attribute(&text) {
            Ok((assertion, _)) => !verify(&assertion) || assertion.len() <= text.len(),
            Err(_) => false,
        },
        1 => check_contents(&text, &[CERTIFICATE.fingerprint().clone()]).is_ok(),
        2 => assertion::inspect(&text).is_ok(),
        3 => assertion::inspect(&forge::assertion(&ada(), raw.to_vec())).is_ok(),
        _ => verify(&forge::assertion(&ada(), SIGNER.statement(raw))),
    }
}

/// Whether it is verified; then a second time it must not be, nor by somebody else.
fn verify(text: &str) -> bool {
    let fingerprint: [u8; 32] = Sha256::digest(&SIGNER.der).into();
    let time = Time {
        now: Instant::now(),
        unix_ms: UNIX,
    };
    let expected = |to: &Identity| Expected {
        scope: forge::scope(to),
        peer: None,
        fingerprints: std::slice::from_ref(&fingerprint),
    };
    let mut verifier = Verifier::new(time.now);
    let verified = verifier.verify(text, &expected(&bob()), time).is_ok();
    if verified {
        assert!(verifier.verify(text, &expected(&bob()), time).is_err());
        assert!(verifier.verify(text, &expected(&ada()), time).is_err());
    }
    verified
}

/// Real claims, and their assertion as text.
pub(crate) fn real() -> (Vec<u8>, String) {
    let mut claims = Vec::new();
    let text = assertion::assert(
        &ada(),
        Incarnation(1),
        forge::scope(&bob()),
        &SIGNER.der,
        |message| {
            claims = message[1 + forge::POSSESSION.len()..].to_vec();
            Ok::<_, Infallible>(SIGNER.sign(message))
        },
        &mut ChaCha20Rng::seed_from_u64(1),
        UNIX,
    );
    (claims, text.expect("a small certificate"))
}
