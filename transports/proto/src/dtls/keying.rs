//! Keys for media, which a handshake yields beside its own (RFC 5764).

use std::fmt;

use zeroize::Zeroizing;

use crate::id::DtlsRole;

/// How media is protected. Both ends offer all three; the server takes the first of the client's that
/// it knows (`use_srtp`, RFC 5764 §4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SrtpProfile {
    /// `SRTP_AES128_CM_HMAC_SHA1_80` (RFC 5764 §4.1.2), which every browser has.
    Aes128CmSha1_80,
    /// `SRTP_AEAD_AES_128_GCM` (RFC 7714 §14.2).
    AeadAes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM` (RFC 7714 §14.2).
    AeadAes256Gcm,
}

impl SrtpProfile {
    pub(super) fn of(profile: dimpl::SrtpProfile) -> Option<Self> {
        Some(match profile {
            dimpl::SrtpProfile::AES128_CM_SHA1_80 => Self::Aes128CmSha1_80,
            dimpl::SrtpProfile::AEAD_AES_128_GCM => Self::AeadAes128Gcm,
            dimpl::SrtpProfile::AEAD_AES_256_GCM => Self::AeadAes256Gcm,
            _ => return None,
        })
    }

    /// Bytes of a master key.
    pub fn key_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 | Self::AeadAes128Gcm => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of a master salt.
    pub fn salt_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }

    /// The name in the registry of DTLS-SRTP profiles, as statistics tell it (`srtpCipher`).
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes128CmSha1_80 => "SRTP_AES128_CM_HMAC_SHA1_80",
            Self::AeadAes128Gcm => "SRTP_AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "SRTP_AEAD_AES_256_GCM",
        }
    }
}

impl fmt::Display for SrtpProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A master key and its salt (RFC 3711 §3.2.1): all packets of one direction are protected with keys
/// derived from it. Erased when dropped, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SrtpMaster {
    pub(crate) key: Zeroizing<Vec<u8>>,
    pub(crate) salt: Zeroizing<Vec<u8>>,
}

impl SrtpMaster {
    /// A key of [`SrtpProfile::key_len`] bytes with a salt of [`SrtpProfile::salt_len`] bytes.
    pub fn new(key: &[u8], salt: &[u8]) -> Self {
        Self {
            key: Zeroizing::new(key.to_vec()),
            salt: Zeroizing::new(salt.to_vec()),
        }
    }
}

impl fmt::Debug for SrtpMaster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SrtpMaster(..)")
    }
}

/// What a handshake yields for media.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrtpKeys {
    /// The negotiated profile.
    pub profile: SrtpProfile,
    /// Protects what we send.
    pub local: SrtpMaster,
    /// Protects what the peer sends.
    pub remote: SrtpMaster,
}

impl SrtpKeys {
    /// Splits what the exporter gave for the label `EXTRACTOR-dtls_srtp` (RFC 5764 §4.2): client key,
    /// server key, client salt, server salt. `None` if the length is not the profile's.
    pub fn split(profile: SrtpProfile, role: DtlsRole, material: &[u8]) -> Option<Self> {
        let (key_len, salt_len) = (profile.key_len(), profile.salt_len());
        if material.len() != 2 * (key_len + salt_len) {
            return None;
        }
        let (keys, salts) = material.split_at(2 * key_len);
        let (client_key, server_key) = keys.split_at(key_len);
        let (client_salt, server_salt) = salts.split_at(salt_len);
        let client = SrtpMaster::new(client_key, client_salt);
        let server = SrtpMaster::new(server_key, server_salt);
        let (local, remote) = match role {
            DtlsRole::Client => (client, server),
            DtlsRole::Server => (server, client),
        };
        Some(Self {
            profile,
            local,
            remote,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_material_is_keys_first_and_the_clients_first() {
        let material: Vec<u8> = (0..60).collect();
        let split = |role| SrtpKeys::split(SrtpProfile::Aes128CmSha1_80, role, &material);
        let client = split(DtlsRole::Client).expect("60 bytes");
        assert_eq!(
            client.local,
            SrtpMaster::new(&material[..16], &material[32..46])
        );
        assert_eq!(
            client.remote,
            SrtpMaster::new(&material[16..32], &material[46..])
        );
        let server = split(DtlsRole::Server).expect("60 bytes");
        assert_eq!(
            (&server.local, &server.remote),
            (&client.remote, &client.local)
        );
        for len in [0, 56, 59] {
            let short = &material[..len];
            assert_eq!(
                SrtpKeys::split(client.profile, DtlsRole::Client, short),
                None
            );
        }
        assert_eq!(format!("{:?}", client.local), "SrtpMaster(..)");
    }
}
