//! Vectors of the specifications. They are of single steps (derivation of keys, AES-GCM with given
//! keys), and the engine shows the whole only: so the steps are done here by other code, which the
//! vectors prove right, and the engine has to agree with it.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use data_encoding::HEXLOWER_PERMISSIVE;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let text: String = text.split_whitespace().collect();
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).expect("hex")
}

/// AES in counter mode, on zeros.
fn keystream(key: &[u8], counter: [u8; 16], len: usize) -> Vec<u8> {
    let key = UnboundCipherKey::new(&AES_128, key).expect("key");
    let key = EncryptingKey::ctr(key).expect("key");
    let mut bytes = vec![0; len];
    key.less_safe_encrypt(
        &mut bytes,
        EncryptionContext::Iv128(FixedLength::from(counter)),
    )
    .expect("keystream");
    bytes
}

/// RFC 3711 §4.3.1 and §4.3.3, with a key derivation rate of zero.
fn derive(key: &[u8], salt: &[u8], label: u8, len: usize) -> Vec<u8> {
    let mut counter = [0; 16];
    counter[..salt.len()].copy_from_slice(salt);
    counter[7] ^= label;
    keystream(key, counter, len)
}

/// RFC 7714 §8.1 and §8.2 for a packet of RTP with the rollover counter 0.
fn seal_gcm(key: &[u8], salt: &[u8], packet: &[u8]) -> Vec<u8> {
    let mut iv = [0; 12];
    iv[2..6].copy_from_slice(&packet[8..12]);
    iv[10..].copy_from_slice(&packet[2..4]);
    for (byte, salt) in iv.iter_mut().zip(salt) {
        *byte ^= salt;
    }
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key).expect("key"));
    let (header, payload) = packet.split_at(12);
    let mut sealed = payload.to_vec();
    let nonce = Nonce::assume_unique_for_key(iv);
    key.seal_in_place_append_tag(nonce, Aad::from(header), &mut sealed)
        .expect("sealed");
    [header, &sealed].concat()
}

fn session(profile: SrtpProfile, key: &[u8], salt: &[u8]) -> Session {
    let local = SrtpMaster::new(key, salt);
    let keys = SrtpKeys {
        profile,
        remote: local.clone(),
        local,
    };
    Session::new(&keys).expect("session")
}

#[test]
fn rfc_3711_b_2_and_b_3() {
    let key = hex("2b7e151628aed2a6abf7158809cf4f3c");
    let counter = hex("f0f1f2f3f4f5f6f7f8f9fafbfcfd0000");
    let stream = keystream(&key, counter.try_into().expect("16 bytes"), 32);
    let expected = "e03ead0935c95e80e166b16dd92b4eb4 d23513162b02d0f72a43a2fe4a5f97ab";
    assert_eq!(stream, hex(expected), "B.2");

    let key = hex("e1f97a0d3e018be0d64fa32c06de4139");
    let salt = hex("0ec675ad498afeebb6960b3aabe6");
    let cipher = derive(&key, &salt, 0, 16);
    assert_eq!(cipher, hex("c61e7a93744f39ee10734afe3ff7a087"), "B.3");
    let session_salt = derive(&key, &salt, 2, 14);
    assert_eq!(session_salt, hex("30cbbc08863d8c85d49db34a9ae1"), "B.3");
    let auth = derive(&key, &salt, 1, 94);
    let expected = "cebe321f6ff7716b6fd4ab49af256a156d38baa48f0a0acf3c34e2359e6cdbcee0496
        46c43d9327ad175578ef72270986371c10c9a369ac2f94a8c5fbcdddc256d6e919a48b610ef17c2041e474035766b68642c59bbfc2f34db60dbdfb2dc68";
    assert_eq!(auth[..], hex(expected)[..94], "B.3");

    // The engine does the same with them.
    let packet = rtp(0xcafe_babe, 0x1234, &[0; 24]);
    let mut counter = [0; 16];
    counter[..14].copy_from_slice(&session_salt);
    let index = [&packet[8..12], &[0; 4], &packet[2..4]].concat();
    for (byte, it) in counter[4..14].iter_mut().zip(index) {
        *byte ^= it;
    }
    let mut expected = [&packet[..12], &keystream(&cipher, counter, 24)].concat();
    let mut signed = expected.clone();
    signed.extend([0; 4]);
    let auth = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &auth[..20]);
    expected.extend(&hmac::sign(&auth, &signed).as_ref()[..10]);
    let mut session = session(SrtpProfile::Aes128CmSha1_80, &key, &salt);
    assert_eq!(session.protect_rtp(&packet), Ok(expected.into()));
}

/// What libsrtp checks itself with.
#[test]
fn the_packets_of_libsrtp() {
    let key = hex("e1f97a0d3e018be0d64fa32c06de4139");
    let salt = hex("0ec675ad498afeebb6960b3aabe6");
    let mut cm = session(SrtpProfile::Aes128CmSha1_80, &key, &salt);
    let plain = hex("800f1234 decafbad cafebabe abababab abababab abababab abababab");
    let sealed = hex(
        "800f1234 decafbad cafebabe 4e55dc4c e79978d8 8ca4d215 949d2402
        b78d6acc 99ea179b 8dbb",
    );
    assert_eq!(cm.protect_rtp(&plain), Ok(sealed.into()));
    let report = hex("81c8000b cafebabe abababab abababab abababab abababab");
    let sealed = hex("81c8000b cafebabe 7128035b e487b9bd bef89041 f977a5a8
        80000001 993e08cd 54d6c123 0798");
    assert_eq!(cm.protect_rtcp(&report), Ok(sealed.into()));

    let key: Vec<u8> = (0..16).collect();
    let salt: Vec<u8> = (0xa0..0xac).collect();
    let mut gcm = session(SrtpProfile::AeadAes128Gcm, &key, &salt);
    let sealed = hex(
        "800f1234 decafbad cafebabe c5002ede 04cfdd2e b91159e0 880aa06e
        d2976826 f796b201 df3131a1 27e8a392",
    );
    assert_eq!(gcm.protect_rtp(&plain), Ok(sealed.into()));
    let sealed = hex("81c8000b cafebabe c98b8b5d f0392a55 852b6c21 ac8e7025
        c52c6fbe a2b3b446 ea31123b a88ce61e 80000001");
    assert_eq!(gcm.protect_rtcp(&report), Ok(sealed.into()));
}

#[test]
fn rfc_7714_16_1_1() {
    let key: Vec<u8> = (0..16).collect();
    let salt = hex("517569642070726f2071756f");
    let packet = hex(
        "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976
        69736120 696e2070 61727465 73207472 6573",
    );
    let expected = hex(
        "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5
        0d294e6f 42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
    );
    assert_eq!(seal_gcm(&key, &salt, &packet), expected);

    // The engine does the same with keys derived from a master key (RFC 7714 §11).
    let (cipher, session_salt) = (derive(&key, &salt, 0, 16), derive(&key, &salt, 2, 12));
    let mut engine = session(SrtpProfile::AeadAes128Gcm, &key, &salt);
    let expected = seal_gcm(&cipher, &session_salt, &packet);
    assert_eq!(engine.protect_rtp(&packet), Ok(expected.into()));
}
