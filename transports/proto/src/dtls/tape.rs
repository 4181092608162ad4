//! What the packaged engine does with its keys, overheard.
//!
//! Our record layer takes over after the handshake, and the engine exports nothing but keys for
//! SRTP. It asks a provider for all its cryptography, though, and that may be ours: one that
//! hands every call on to the packaged provider and notes, for the connection whose call it is,
//! what is needed: the two traffic secrets of application data, the numbers of the handshake
//! messages, and what the engine encrypts for epochs that are no longer its own.
//!
//! Providers are `'static` and know of no connection. So a [`Tape`] lies in a thread-local place
//! while a call into the engine runs ([`Tape::during`]), and belongs to the connection otherwise.

use std::cell::RefCell;
use std::fmt;
use std::sync::LazyLock;

use dimpl::CryptoError;
use dimpl::crypto::{
    Aad, Buf, Cipher, CryptoProvider, Dtls13CipherSuite, HashAlgorithm, HmacProvider, Nonce,
    SupportedDtls13CipherSuite, TmpBuf, aws_lc_rs,
};

use super::record::{Secret, content};

/// Numbers of records opened by the engine that are remembered. Filled by what the peer sends
/// before its end of the handshake is known to be over; older ones are forgotten, and would be
/// taken again if they were replayed.
const MAX_OPENED: usize = 256;

/// Messages of the engine's that wait to be sealed by the record layer. Filled by answers to the
/// peer's handshake packets and emptied after each call; beyond it they are lost, as packets are.
const MAX_SEALED: usize = 64;

/// What was overheard of one connection.
#[derive(Default)]
pub(super) struct Tape {
    /// Number of the cipher suite that keys were made for last.
    pub(super) suite: Option<u16>,
    /// The first traffic secret of what the client sends, and of what the server sends.
    pub(super) client: Option<Secret>,
    pub(super) server: Option<Secret>,
    /// The traffic secret of the client's handshake: what a server answers late parts of it with.
    pub(super) client_handshake: Option<Secret>,
    /// The key being made is for application data.
    for_data: bool,
    /// Highest number of a handshake message of ours, and of the peer's.
    pub(super) message_sent: Option<u16>,
    pub(super) message_received: Option<u16>,
    /// Records that the engine has protected for epochs of application data.
    pub(super) records_sealed: u64,
    /// What is in them, as DTLSInnerPlaintext (RFC 9147 §4), since the last call.
    pub(super) sealed: Vec<Vec<u8>>,
    /// Nonces of such records of the peer's.
    pub(super) opened: Vec<[u8; 12]>,
}

thread_local! {
    static RUNNING: RefCell<Option<Tape>> = const { RefCell::new(None) };
}

impl Tape {
    /// Runs a call into the engine, and notes what it does. The call must not unwind.
    pub(super) fn during<T>(tape: &mut Option<Self>, call: impl FnOnce() -> T) -> T {
        if tape.is_none() {
            return call();
        }
        RUNNING.with_borrow_mut(|place| std::mem::swap(place, tape));
        let result = call();
        RUNNING.with_borrow_mut(|place| std::mem::swap(place, tape));
        result
    }

    fn note(with: impl FnOnce(&mut Self)) {
        RUNNING.with_borrow_mut(|place| place.as_mut().map(with));
    }

    /// A key was expanded from `secret`, whose label and context are in `info` (RFC 8446 §7.1).
    fn expanded(&mut self, secret: &[u8], info: &[u8], out: &[u8]) {
        let Some(label) = label(info) else { return };
        match label {
            b"c hs traffic" => self.client_handshake = Some(Secret::new(out)),
            b"c ap traffic" => self.client = Some(Secret::new(out)),
            b"s ap traffic" => self.server = Some(Secret::new(out)),
            b"key" => {
                let mut known = self.client.iter().chain(&self.server);
                self.for_data = known.any(|it| it.is(secret));
            }
            _ => {}
        }
    }

    fn sealed(&mut self, inner: &[u8], use_of: Use) {
        match use_of {
            Use::Handshake => note_messages(&mut self.message_sent, inner),
            Use::Data => {
                self.records_sealed += 1;
                if self.sealed.len() < MAX_SEALED {
                    self.sealed.push(inner.to_vec());
                }
            }
        }
    }

    fn opened(&mut self, inner: &[u8], nonce: &[u8], use_of: Use) {
        match use_of {
            Use::Handshake => note_messages(&mut self.message_received, inner),
            Use::Data => {
                if self.opened.len() >= MAX_OPENED {
                    self.opened.remove(0);
                }
                self.opened.extend(<[u8; 12]>::try_from(nonce).ok());
            }
        }
    }
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tape")
            .field("records_sealed", &self.records_sealed)
            .finish_non_exhaustive()
    }
}

/// The label in HkdfLabel, without the prefix of DTLS 1.3.
fn label(info: &[u8]) -> Option<&[u8]> {
    let len = usize::from(*info.get(2)?);
    info.get(3..3 + len)?.strip_prefix(b"dtls13")
}

/// Remembers the highest `message_seq` of the handshake messages in a record (RFC 9147 §5.2).
fn note_messages(highest: &mut Option<u16>, inner: &[u8]) {
    let Some((content::HANDSHAKE, mut rest)) = content::split(inner) else {
        return;
    };
    while let Some(head) = rest.get(..12) {
        let number = u16::from_be_bytes([head[4], head[5]]);
        *highest = (*highest).max(Some(number));
        let len = usize::from(head[9]) << 16 | usize::from(head[10]) << 8 | usize::from(head[11]);
        rest = rest.get(12 + len..).unwrap_or_default();
    }
}

static PACKAGED: LazyLock<CryptoProvider> = LazyLock::new(aws_lc_rs::default_provider);

static SUITES: LazyLock<Vec<Overheard>> = LazyLock::new(|| {
    let all = PACKAGED.dtls13_cipher_suites.iter();
    all.map(|suite| Overheard(*suite)).collect()
});

static SUITE_TABLE: LazyLock<Vec<&'static dyn SupportedDtls13CipherSuite>> = LazyLock::new(|| {
    let all = SUITES.iter();
    all.map(|suite| suite as &dyn SupportedDtls13CipherSuite)
        .collect()
});

/// The packaged provider, overheard.
pub(super) fn provider() -> CryptoProvider {
    CryptoProvider {
        hmac_provider: &Hmac,
        dtls13_cipher_suites: &SUITE_TABLE,
        ..PACKAGED.clone()
    }
}

#[derive(Debug)]
struct Hmac;

impl HmacProvider for Hmac {
    fn hmac(
        &self,
        hash: HashAlgorithm,
        key: &[u8],
        data: &[u8],
        out: &mut [u8],
    ) -> Result<usize, CryptoError> {
        let len = PACKAGED.hmac_provider.hmac(hash, key, data, out)?;
        Tape::note(|tape| tape.expanded(key, data, &out[..len]));
        Ok(len)
    }
}

/// What a key protects.
#[derive(Clone, Copy, Debug)]
enum Use {
    Handshake,
    Data,
}

#[derive(Debug)]
struct Overheard(&'static dyn SupportedDtls13CipherSuite);

impl SupportedDtls13CipherSuite for Overheard {
    fn suite(&self) -> Dtls13CipherSuite {
        self.0.suite()
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        self.0.hash_algorithm()
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn iv_len(&self) -> usize {
        self.0.iv_len()
    }

    fn tag_len(&self) -> usize {
        self.0.tag_len()
    }

    fn create_cipher(&self, key: &[u8]) -> Result<Box<dyn Cipher>, CryptoError> {
        let mut use_of = Use::Handshake;
        Tape::note(|tape| {
            tape.suite = Some(self.0.suite().as_u16());
            if tape.for_data {
                use_of = Use::Data;
            }
        });
        let cipher = self.0.create_cipher(key)?;
        Ok(Box::new(OverheardCipher { cipher, use_of }))
    }

    fn encrypt_sn(&self, key: &[u8], sample: &[u8; 16]) -> [u8; 16] {
        self.0.encrypt_sn(key, sample)
    }
}

#[derive(Debug)]
struct OverheardCipher {
    cipher: Box<dyn Cipher>,
    use_of: Use,
}

impl Cipher for OverheardCipher {
    fn encrypt(&mut self, inner: &mut Buf, aad: Aad, nonce: Nonce) -> Result<(), CryptoError> {
        Tape::note(|tape| tape.sealed(inner, self.use_of));
        self.cipher.encrypt(inner, aad, nonce)
    }

    fn decrypt(
        &mut self,
        ciphertext: &mut TmpBuf,
        aad: Aad,
        nonce: Nonce,
    ) -> Result<(), CryptoError> {
        let number: [u8; 12] = nonce.0;
        self.cipher.decrypt(ciphertext, aad, nonce)?;
        Tape::note(|tape| tape.opened(ciphertext.as_ref(), &number, self.use_of));
        Ok(())
    }
}
