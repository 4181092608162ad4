//! Fingerprints of certificates (RFC 8122).

use std::fmt;

use aws_lc_rs::digest;

/// Hash functions of `a=fingerprint` that we accept: those RFC 8122 §5 lists, less the broken ones
/// (SHA-1, MD5, MD2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashFunction {
    /// `sha-256`, the one everybody uses.
    Sha256,
    /// `sha-384`.
    Sha384,
    /// `sha-512`.
    Sha512,
}

impl HashFunction {
    /// Its name in `a=fingerprint`.
    pub fn name(self) -> &'static str {
        match self {
            HashFunction::Sha256 => "sha-256",
            HashFunction::Sha384 => "sha-384",
            HashFunction::Sha512 => "sha-512",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [
            HashFunction::Sha256,
            HashFunction::Sha384,
            HashFunction::Sha512,
        ]
        .into_iter()
        .find(|h| h.name().eq_ignore_ascii_case(name))
    }

    fn digest(self, data: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            HashFunction::Sha256 => &digest::SHA256,
            HashFunction::Sha384 => &digest::SHA384,
            HashFunction::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, data).as_ref().to_vec()
    }

    fn len(self) -> usize {
        match self {
            HashFunction::Sha256 => 32,
            HashFunction::Sha384 => 48,
            HashFunction::Sha512 => 64,
        }
    }
}

/// A certificate's fingerprint as in `a=fingerprint` (RFC 8122 §5).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint {
    /// With which function.
    pub hash: HashFunction,
    /// The digest.
    pub value: Vec<u8>,
}

/// Why a fingerprint was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FingerprintError {
    /// A hash function that is unknown or too weak.
    #[error("the fingerprint's hash function is unknown or too weak")]
    HashFunction,
    /// Not colon-separated pairs of hex digits of the right number.
    #[error("the fingerprint's value is malformed")]
    Value,
}

impl Fingerprint {
    /// The fingerprint of a certificate.
    pub fn of(hash: HashFunction, certificate_der: &[u8]) -> Self {
        Self {
            hash,
            value: hash.digest(certificate_der),
        }
    }

    /// The digest as `RTCDtlsFingerprint.value` has it (webrtc-pc 5.5.1): pairs of lowercase
    /// hexadecimal digits with colons between them. Its `Display` is what SDP has.
    pub fn hex(&self) -> String {
        let pairs: Vec<String> = self
            .value
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        pairs.join(":")
    }

    /// Whether `certificate_der` has this fingerprint.
    pub fn matches(&self, certificate_der: &[u8]) -> bool {
        self.hash.digest(certificate_der) == self.value
    }

    /// Reads `sha-256 AB:CD:…`.
    pub fn parse(text: &str) -> Result<Self, FingerprintError> {
        let (name, hex) = text.trim().split_once(' ').ok_or(FingerprintError::Value)?;
        let hash = HashFunction::from_name(name).ok_or(FingerprintError::HashFunction)?;
        let hex = hex.trim();
        if hex.len() != hash.len() * 3 - 1 {
            return Err(FingerprintError::Value);
        }
        let value = hex.split(':').map(parse_pair).collect::<Option<Vec<u8>>>();
        match value {
            Some(value) if value.len() == hash.len() => Ok(Self { hash, value }),
            Some(_) | None => Err(FingerprintError::Value),
        }
    }
}

fn parse_pair(pair: &str) -> Option<u8> {
    let hex = pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit());
    if hex {
        u8::from_str_radix(pair, 16).ok()
    } else {
        None
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.hash.name())?;
        for (i, byte) in self.value.iter().enumerate() {
            let colon = if i == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_round_trip() {
        let fingerprint = Fingerprint::of(HashFunction::Sha256, b"a certificate");
        let text = fingerprint.to_string();
        assert!(text.starts_with("sha-256 "));
        let parsed = Fingerprint::parse(&text).expect("parse");
        assert_eq!(parsed, fingerprint);
        assert!(parsed.matches(b"a certificate"));
        assert!(!parsed.matches(b"another"));
        let lower = Fingerprint::parse(&text.to_lowercase()).expect("case does not matter");
        assert_eq!(lower, parsed);
        let sdp = text.strip_prefix("sha-256 ").expect("as above");
        assert_eq!(parsed.hex(), sdp.to_lowercase());
    }

    #[test]
    fn bad_fingerprints_are_refused() {
        let weak = "sha-1 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33";
        assert_eq!(
            Fingerprint::parse(weak),
            Err(FingerprintError::HashFunction)
        );
        for bad in ["", "sha-256", "sha-256 00:11", "sha-256 zz"] {
            assert_eq!(
                Fingerprint::parse(bad),
                Err(FingerprintError::Value),
                "{bad}"
            );
        }
        let signs = format!("sha-256 {}", vec!["+1"; 32].join(":"));
        assert_eq!(Fingerprint::parse(&signs), Err(FingerprintError::Value));
    }
}
