//! Acknowledgements as they are read.

use super::super::wire;

/// An acknowledgement of the peer's.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Sack<'a> {
    pub(in super::super) cumulative: u32,
    pub(in super::super) window: u32,
    blocks: &'a [u8],
    duplicates: &'a [u8],
}

impl<'a> Sack<'a> {
    /// One that says nothing but that all up to `cumulative` has arrived.
    pub(super) fn cumulative(cumulative: u32, window: usize) -> Self {
        Self {
            cumulative,
            window: u32::try_from(window).unwrap_or(u32::MAX),
            blocks: &[],
            duplicates: &[],
        }
    }

    /// Reads the value of a SACK chunk (RFC 9260 §3.3.4).
    pub(in super::super) fn parse(value: &'a [u8]) -> Option<Self> {
        let blocks = usize::from(wire::be16(value, 8)?) * 4;
        let duplicates = usize::from(wire::be16(value, 10)?) * 4;
        Some(Self {
            cumulative: wire::be32(value, 0)?,
            window: wire::be32(value, 4)?,
            blocks: value.get(12..12 + blocks)?,
            duplicates: value.get(12 + blocks..12 + blocks + duplicates)?,
        })
    }

    pub(super) fn blocks(&self) -> impl Iterator<Item = (u16, u16)> + 'a {
        let pair = |at: &[u8]| {
            let start = u16::from_be_bytes([at[0], at[1]]);
            (start, u16::from_be_bytes([at[2], at[3]]))
        };
        self.blocks.chunks_exact(4).map(pair)
    }

    pub(super) fn duplicates(&self) -> impl Iterator<Item = u32> + 'a {
        let all = self.duplicates.chunks_exact(4);
        all.filter_map(|at| wire::be32(at, 0))
    }
}
