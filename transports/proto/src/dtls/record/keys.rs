//! The keys of one epoch and direction, from its traffic secret (RFC 9147 §5.9, §4.2.3).

use std::fmt;

use aws_lc_rs::aead::quic::{self, HeaderProtectionKey};
use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{self, KeyType, Prk};
use zeroize::Zeroizing;

/// Length of the tag of every AEAD here.
pub(super) const TAG: usize = 16;

/// Bytes at the front of a ciphertext that decide how its record number is hidden.
const SAMPLE: usize = 16;

/// How a cipher suite of TLS 1.3 protects records.
#[derive(Clone, Copy)]
pub(super) struct Suite {
    aead: &'static aead::Algorithm,
    /// QUIC hides packet numbers in the same way (RFC 9001 §5.4).
    hiding: &'static quic::Algorithm,
    kdf: hkdf::Algorithm,
}

impl Suite {
    /// Of a number in the registry; `None` for those that are not spoken here.
    pub(super) fn of(number: u16) -> Option<Self> {
        let (aead, hiding, kdf) = match number {
            0x1301 => (&aead::AES_128_GCM, &quic::AES_128, hkdf::HKDF_SHA256),
            0x1302 => (&aead::AES_256_GCM, &quic::AES_256, hkdf::HKDF_SHA384),
            0x1303 => (&aead::CHACHA20_POLY1305, &quic::CHACHA20, hkdf::HKDF_SHA256),
            _ => return None,
        };
        Some(Self { aead, hiding, kdf })
    }
}

/// A traffic secret. Forgotten with zeros.
#[derive(Clone)]
pub(in super::super) struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    pub(in super::super) fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    pub(in super::super) fn is(&self, bytes: &[u8]) -> bool {
        self.0.as_slice() == bytes
    }

    /// HKDF-Expand-Label with the prefix of DTLS (RFC 9147 §5.9) and an empty context.
    fn expand(&self, suite: Suite, label: &[u8], len: usize) -> Option<Zeroizing<Vec<u8>>> {
        const PREFIX: &[u8] = b"dtls13";
        let length = u16::try_from(len).ok()?.to_be_bytes();
        let label_length = [u8::try_from(PREFIX.len() + label.len()).ok()?];
        let info: [&[u8]; 5] = [&length, &label_length, PREFIX, label, &[0]];
        let mut out = Zeroizing::new(vec![0; len]);
        Prk::new_less_safe(suite.kdf, &self.0)
            .expand(&info, Bytes(len))
            .and_then(|key| key.fill(&mut out))
            .ok()?;
        Some(out)
    }

    /// The secret of the next epoch (RFC 8446 §7.2).
    pub(super) fn next(&self, suite: Suite) -> Option<Self> {
        self.expand(suite, b"traffic upd", self.0.len()).map(Self)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// So many bytes of key material.
struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

/// What protects the records of one epoch in one direction.
pub(super) struct Keys {
    aead: LessSafeKey,
    iv: [u8; 12],
    hiding: HeaderProtectionKey,
}

impl Keys {
    /// `None` if the secret is of no use, which one from a handshake never is.
    pub(super) fn new(suite: Suite, secret: &Secret) -> Option<Self> {
        let key = secret.expand(suite, b"key", suite.aead.key_len())?;
        let iv = secret.expand(suite, b"iv", 12)?;
        let hiding = secret.expand(suite, b"sn", suite.hiding.key_len())?;
        Some(Self {
            aead: LessSafeKey::new(UnboundKey::new(suite.aead, &key).ok()?),
            iv: iv.as_slice().try_into().ok()?,
            hiding: HeaderProtectionKey::new(suite.hiding, &hiding).ok()?,
        })
    }

    /// The number of the record with this nonce (RFC 8446 §5.3).
    pub(super) fn number_of(&self, nonce: &[u8; 12]) -> u64 {
        let mut number = [0; 8];
        for (n, (a, b)) in number.iter_mut().zip(self.iv[4..].iter().zip(&nonce[4..])) {
            *n = a ^ b;
        }
        u64::from_be_bytes(number)
    }

    fn nonce(&self, number: u64) -> Nonce {
        let mut nonce = self.iv;
        for (byte, n) in nonce[4..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= n;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    /// What the record number in front of `ciphertext` is hidden with (RFC 9147 §4.2.3). `None` if
    /// it is too short to be one.
    pub(super) fn mask(&self, ciphertext: &[u8]) -> Option<[u8; 2]> {
        let mask = self.hiding.new_mask(ciphertext.get(..SAMPLE)?).ok()?;
        Some([mask[0], mask[1]])
    }

    /// Encrypts `content` and its type to `out`, which has room for both and the tag. `None` if
    /// it has not.
    pub(super) fn seal(
        &self,
        number: u64,
        header: &[u8],
        content: &[u8],
        content_type: u8,
        out: &mut [u8],
    ) -> Option<()> {
        let (ciphertext, rest) = out.split_at_mut_checked(content.len())?;
        let (nonce, aad) = (self.nonce(number), Aad::from(header));
        self.aead
            .seal_out_of_place_scatter(nonce, aad, content, ciphertext, &[content_type], rest)
            .ok()
    }

    /// Decrypts `ciphertext` with its tag to `out`, which is as long without it. `None` if it was
    /// forged.
    pub(super) fn open(
        &self,
        number: u64,
        header: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Option<()> {
        let at = ciphertext.len().checked_sub(TAG)?;
        let (ciphertext, tag) = ciphertext.split_at(at);
        let (nonce, aad) = (self.nonce(number), Aad::from(header));
        self.aead
            .open_separate_gather(nonce, aad, ciphertext, tag, out)
            .ok()
    }
}
