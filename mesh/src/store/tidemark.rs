//! How far the database had got, kept beside it.
//!
//! A damaged sled log is often not refused but silently cut: it opens as it
//! was some writes ago (150 seeded damages: 80 opened so). Known identities
//! would be forgotten unnoticed. So the number of the last commit is kept in
//! this file too, and a database that knows an older one has lost writes.
//!
//! Two slots are written in turn and synced, each with its checksum: a write
//! torn by a crash costs the newer number only.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// Number and crc32.
const SLOT: usize = 12;

/// The open file.
pub(super) struct Tidemark {
    file: File,
    /// The last commit that was noted; zero when none was.
    pub(super) last: u64,
}

impl Tidemark {
    /// Opens or creates the file; unreadable slots count as absent.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let mut bytes = Vec::with_capacity(2 * SLOT);
        (&file).take(2 * SLOT as u64).read_to_end(&mut bytes)?;
        let last = bytes
            .chunks_exact(SLOT)
            .filter_map(parse)
            .max()
            .unwrap_or(0);
        Ok(Self { file, last })
    }

    /// Notes that commit `number` is on the medium.
    pub(super) fn note(&mut self, number: u64) -> io::Result<()> {
        let slot = number % 2 * SLOT as u64;
        self.file.seek(SeekFrom::Start(slot))?;
        self.file.write_all(&render(number))?;
        self.file.sync_data()?;
        self.last = number;
        Ok(())
    }
}

/// `number` with its checksum.
pub(super) fn render(number: u64) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    let (value, crc) = slot.split_at_mut(8);
    value.copy_from_slice(&number.to_le_bytes());
    crc.copy_from_slice(&crc32fast::hash(value).to_le_bytes());
    slot
}

/// The number of a slot whose checksum holds.
pub(super) fn parse(slot: &[u8]) -> Option<u64> {
    let (value, crc) = slot.split_first_chunk::<8>()?;
    (crc32fast::hash(value).to_le_bytes() == *crc).then(|| u64::from_le_bytes(*value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_is_found_again_and_a_torn_slot_costs_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        let mut mark = Tidemark::open(&path).unwrap();
        assert_eq!(mark.last, 0);
        for number in 1..=5 {
            mark.note(number).unwrap();
        }
        assert_eq!(Tidemark::open(&path).unwrap().last, 5);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[SLOT + 3] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Tidemark::open(&path).unwrap().last, 4);
        std::fs::write(&path, b"short").unwrap();
        assert_eq!(Tidemark::open(&path).unwrap().last, 0);
    }
}
