//! Serial number arithmetic on TSNs and reset request numbers (RFC 1982, RFC 9260 §1.6).

/// Half of the numbers.
const HALF: u32 = 1 << 31;

/// How far `number` lies after `base`; `None` if it lies before.
pub(super) fn ahead(base: u32, number: u32) -> Option<u32> {
    let distance = number.wrapping_sub(base);
    (distance < HALF).then_some(distance)
}

/// Whether `number` lies after `other`.
pub(super) fn is_after(number: u32, other: u32) -> bool {
    ahead(other, number).is_some_and(|distance| distance > 0)
}

/// The number near `near` of which only the lower 32 bits are known.
pub(super) fn unwrap32(near: u64, number: u32) -> u64 {
    let low = lower(near);
    match ahead(low, number) {
        Some(distance) => near.wrapping_add(u64::from(distance)),
        None => near.wrapping_sub(u64::from(low.wrapping_sub(number))),
    }
}

/// The number near `near` of which only the lower 16 bits are known.
pub(super) fn unwrap16(near: u64, number: u16) -> u64 {
    let low = u16::try_from(near & 0xffff).unwrap_or_default();
    let distance = number.wrapping_sub(low);
    if distance < 1 << 15 {
        near.wrapping_add(u64::from(distance))
    } else {
        near.wrapping_sub(u64::from(low.wrapping_sub(number)))
    }
}

/// The lower 32 bits.
pub(super) fn lower(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_around() {
        assert_eq!(ahead(u32::MAX, 1), Some(2));
        assert_eq!(ahead(1, u32::MAX), None);
        assert!(is_after(0, u32::MAX) && !is_after(7, 7));
        let base = 1 << 40;
        assert_eq!(unwrap32(base, u32::MAX), base - 1);
        assert_eq!(unwrap32(base + 5, 3), base + 3);
        assert_eq!(unwrap32(base - 1, 4), base + 4);
        assert_eq!(unwrap16(65_536, u16::MAX), 65_535);
        assert_eq!(unwrap16(65_535, 2), 65_538);
    }
}
