//! Serial numbers of an association, which begin anywhere: a script names them by their distance
//! from where they are.

/// Chunks that carry a TSN of their sender: DATA, I-DATA, FORWARD TSN, I-FORWARD-TSN.
const TELL_TSN: [u8; 4] = [0, 64, 192, 194];
/// Chunks that acknowledge one of the receiver's: SACK, SHUTDOWN.
const ACKNOWLEDGE: [u8; 2] = [3, 7];
const RE_CONFIG: u8 = 130;

/// The numbers of one end.
#[derive(Clone, Copy, Default)]
pub(crate) struct Numbers {
    first: u32,
    next: u32,
}

impl Numbers {
    /// Notes what the end has sent.
    pub(crate) fn note(&mut self, packet: &[u8]) {
        for (kind, at, len) in chunks(packet) {
            let tsn = |offset| word(packet, at + offset);
            match kind {
                1 | 2 if len >= 16 => {
                    self.first = tsn(12);
                    self.next = self.first;
                }
                0 | 64 if len >= 12 => {
                    let after = tsn(0).wrapping_add(1);
                    if after.wrapping_sub(self.next) < 1 << 31 {
                        self.next = after;
                    }
                }
                _ => {}
            }
        }
    }
}

/// Makes numbers absolute that are small, of either sign, in a packet from one end to another. Those
/// of packets that were really sent are large, but for one in thousands.
pub(crate) fn place(packet: &mut [u8], from: Numbers, to: Numbers) {
    let found: Vec<_> = chunks(packet).collect();
    for (kind, at, len) in found {
        if TELL_TSN.contains(&kind) {
            count_from(packet, at, from.next);
        } else if ACKNOWLEDGE.contains(&kind) {
            count_from(packet, at, to.next);
        } else if kind == RE_CONFIG {
            place_requests(packet, at, at + len, (from, to));
        }
    }
}

/// Parameters of RE-CONFIG: an answer (16) has the number of the receiver's request, an outgoing
/// reset (13) the sender's last TSN as well.
fn place_requests(packet: &mut [u8], mut at: usize, end: usize, (from, to): (Numbers, Numbers)) {
    while at + 8 <= end {
        let (kind, len) = (half(packet, at), half(packet, at + 2));
        let base = if kind == 16 { to.first } else { from.first };
        count_from(packet, at + 4, base);
        if kind == 13 && len >= 16 {
            count_from(packet, at + 12, from.next);
        }
        at += len.next_multiple_of(4).max(4);
    }
}

fn count_from(packet: &mut [u8], at: usize, base: u32) {
    let Some(bytes) = packet.get_mut(at..at + 4) else {
        return;
    };
    let number = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    if matches!(number >> 16, 0 | 0xffff) {
        bytes.copy_from_slice(&base.wrapping_add(number).to_be_bytes());
    }
}

/// Kind, and where the value is and how long, of the chunks that are whole.
fn chunks(packet: &[u8]) -> impl Iterator<Item = (u8, usize, usize)> {
    let mut at = 12;
    std::iter::from_fn(move || {
        let head = packet.get(at..at + 4)?;
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        packet.get(at + 4..at + len)?;
        let chunk = (head[0], at + 4, len - 4);
        at += len.next_multiple_of(4);
        Some(chunk)
    })
}

fn half(packet: &[u8], at: usize) -> usize {
    let bytes = packet.get(at..at + 2);
    bytes.map_or(0, |b| usize::from(u16::from_be_bytes([b[0], b[1]])))
}

fn word(packet: &[u8], at: usize) -> u32 {
    let bytes = packet.get(at..at + 4);
    bytes.map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}
