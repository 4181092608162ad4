//! FORWARD TSN (RFC 3758) and I-FORWARD-TSN (RFC 8260 §2.3): telling the peer of what it will not
//! get, and being told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::send::Skipped;
use super::serial::is_after;
use super::wire::{be16, be32};

/// Streams named in one chunk; with I-FORWARD-TSN 8 bytes each, so that it fits into a packet.
pub(super) const MAX_STREAMS: usize = 128;

/// What the peer was told to skip.
#[derive(Debug, Default)]
pub(super) struct Forward {
    /// The last TSN it was told, and when.
    told: Option<(u32, Instant)>,
}

impl Forward {
    /// Whether the peer has to be told to skip to `to` now: at first, when it is more than before,
    /// and again when no answer has come for `patience`.
    pub(super) fn is_due(&self, to: u32, patience: Duration, now: Instant) -> bool {
        self.told.is_none_or(|(told, at)| {
            is_after(to, told) || now.saturating_duration_since(at) >= patience
        })
    }

    /// Has the peer told again if it is time.
    pub(super) fn handle_timeout(&mut self, patience: Duration, now: Instant) {
        if self.poll_timeout(patience).is_some_and(|at| at <= now) {
            self.told = None;
        }
    }

    pub(super) fn was_told(&mut self, to: u32, now: Instant) {
        self.told = Some((to, now));
    }

    /// All up to `cumulative` is settled.
    pub(super) fn settled(&mut self, cumulative: u32) {
        if self
            .told
            .is_some_and(|(told, _)| !is_after(told, cumulative))
        {
            self.told = None;
        }
    }

    /// When to tell it again.
    pub(super) fn poll_timeout(&self, patience: Duration) -> Option<Instant> {
        self.told.map(|(_, at)| at + patience)
    }
}

/// The value of FORWARD TSN: of each ordered stream the last message skipped (RFC 3758 §3.2).
pub(super) fn forward_tsn(to: u32, skipped: &[Skipped]) -> Vec<u8> {
    let mut out = to.to_be_bytes().to_vec();
    let ordered = skipped.iter().filter(|message| !message.unordered);
    // In the order of their TSNs, so that the last one counts.
    let last: BTreeMap<u16, u32> = ordered.map(|m| (m.stream, m.number)).collect();
    for (stream, number) in last.into_iter() {
        let [.., high, low] = number.to_be_bytes();
        out.extend(stream.to_be_bytes());
        out.extend([high, low]);
    }
    out
}

/// The value of I-FORWARD-TSN, which names unordered messages as well.
pub(super) fn i_forward_tsn(to: u32, skipped: &[Skipped]) -> Vec<u8> {
    let mut out = to.to_be_bytes().to_vec();
    let mut last: BTreeMap<(u16, bool), u32> = BTreeMap::new();
    for message in skipped {
        let known = last
            .entry((message.stream, message.unordered))
            .or_insert(message.number);
        if is_after(message.number, *known) {
            *known = message.number;
        }
    }
    for ((stream, unordered), number) in last.into_iter() {
        out.extend(stream.to_be_bytes());
        out.extend(u16::from(unordered).to_be_bytes());
        out.extend(number.to_be_bytes());
    }
    out
}

/// What the peer says we will not get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Skip {
    pub(super) to: u32,
    pub(super) messages: Vec<Skipped>,
}

/// Reads either chunk's value.
pub(super) fn parse(value: &[u8], interleaving: bool) -> Option<Skip> {
    let to = be32(value, 0)?;
    let rest = value.get(4..)?;
    let one = |at: &[u8]| {
        if interleaving {
            Some(Skipped {
                stream: be16(at, 0)?,
                unordered: be16(at, 2)? & 1 != 0,
                number: be32(at, 4)?,
            })
        } else {
            Some(Skipped {
                stream: be16(at, 0)?,
                unordered: false,
                number: u32::from(be16(at, 2)?),
            })
        }
    };
    let len = if interleaving { 8 } else { 4 };
    let messages = rest.chunks_exact(len).filter_map(one).collect();
    Some(Skip { to, messages })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped(stream: u16, number: u32, unordered: bool) -> Skipped {
        Skipped {
            stream,
            number,
            unordered,
        }
    }

    #[test]
    fn the_last_of_each_stream_is_named() {
        let all = [
            skipped(1, 5, false),
            skipped(2, 9, true),
            skipped(1, 6, false),
            skipped(3, 0, false),
        ];
        let skip = parse(&forward_tsn(77, &all), false).expect("valid");
        assert_eq!(skip.to, 77);
        assert_eq!(skip.messages, [skipped(1, 6, false), skipped(3, 0, false)]);
        let skip = parse(&i_forward_tsn(77, &all), true).expect("valid");
        let expected = [
            skipped(1, 6, false),
            skipped(2, 9, true),
            skipped(3, 0, false),
        ];
        assert_eq!(skip.messages, expected);
        assert_eq!(parse(&[1, 2, 3], false), None);
    }
}
