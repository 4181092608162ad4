//! Makes packets right again after they were changed, as a peer that knows the secrets could.

use aws_lc_rs::hmac;

/// Puts a right MESSAGE-INTEGRITY where one is, and a right length.
pub fn sign(packet: &mut Vec<u8>, password: &str) {
    packet.truncate(packet.len() / 4 * 4);
    if packet.len() < 20 {
        return;
    }
    let length = u16::try_from(packet.len() - 20).unwrap_or(u16::MAX);
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    let mut at = 20;
    while at + 4 <= packet.len() {
        let kind = u16::from_be_bytes([packet[at], packet[at + 1]]);
        let len = usize::from(u16::from_be_bytes([packet[at + 2], packet[at + 3]]));
        if kind == 8 && len == 20 && at + 24 <= packet.len() {
            let covered = u16::try_from(at + 4).unwrap_or(u16::MAX).to_be_bytes();
            let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
            let mut context = hmac::Context::with_key(&key);
            context.update(&packet[..2]);
            context.update(&covered);
            context.update(&packet[4..at]);
            packet[at + 4..at + 24].copy_from_slice(context.sign().as_ref());
            return;
        }
        at += 4 + len.next_multiple_of(4);
    }
}

/// Puts the right CRC32c into an SCTP packet (RFC 9260 section 6.8).
pub fn seal(packet: &mut [u8]) {
    packet[8..12].fill(0);
    let sum = !packet.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    });
    packet[8..12].copy_from_slice(&sum.to_le_bytes());
}
