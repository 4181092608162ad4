//! Bytes read as what happens to the packets between two ends.
//!
//! | byte & 7 | then | what |
//! | --- | --- | --- |
//! | 0 | | every packet on its way arrives |
//! | 1 | | every packet on its way is lost |
//! | 2 | n | n + 1 milliseconds pass; with the flag, n + 1 tenths of a second |
//! | 3 | len, bytes | a packet of these bytes arrives |
//! | 4 | which, at, n, bytes | a packet sent before arrives, overwritten from `at` on |
//! | 5 | which, at | a packet sent before arrives, cut short |
//! | 6 | which | a packet sent before arrives again |
//! | 7 | what | an application does something |
//!
//! Bit 3 says to which end, bit 4 is the flag; with it a changed packet is made right again
//! (checksum, tag, integrity), as a peer that knows the secrets could. `len` and `at` are two
//! bytes, big-endian, the others one.

use std::time::Duration;

/// Steps of one script; the rest is not read.
const MAX_STEPS: usize = 200;
/// Packets remembered, of those sent first: scripts name them by number. Filled by the ends;
/// later ones are not remembered.
const MAX_RECENT: usize = 256;

/// Two ends of something.
pub(crate) trait Ends {
    /// Moves what both ends have to send to `sent`, with the end it goes to.
    fn drain(&mut self, sent: &mut Vec<(usize, Vec<u8>)>);
    /// A packet arrives at `to`.
    fn feed(&mut self, to: usize, packet: &[u8]);
    /// Makes a changed packet right for `to`.
    fn seal(&self, to: usize, packet: &mut Vec<u8>);
    /// Time passes.
    fn wait(&mut self, time: Duration);
    /// The application of `end` does something.
    fn act(&mut self, end: usize, what: u8);
}

/// Reads numbers and bytes until there are none.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn word(&mut self) -> Option<usize> {
        let (high, low) = (self.byte()?, self.byte()?);
        Some(usize::from(u16::from_be_bytes([high, low])))
    }

    /// So many bytes, or what is left.
    pub(crate) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

struct Wire {
    on_its_way: Vec<(usize, Vec<u8>)>,
    recent: Vec<(usize, Vec<u8>)>,
}

impl Wire {
    fn collect(&mut self, ends: &mut impl Ends) {
        let before = self.on_its_way.len();
        ends.drain(&mut self.on_its_way);
        let room = MAX_RECENT.saturating_sub(self.recent.len());
        let new = self.on_its_way[before..].iter().take(room).cloned();
        self.recent.extend(new);
    }

    fn pick(&self, which: u8) -> Option<(usize, Vec<u8>)> {
        let at = usize::from(which) % self.recent.len().max(1);
        self.recent.get(at).cloned()
    }
}

/// Plays the script; returns every packet sent, up to a bound, with the end it went to.
pub(crate) fn play(script: &[u8], ends: &mut impl Ends) -> Vec<(usize, Vec<u8>)> {
    let mut reader = Reader(script);
    let mut wire = Wire {
        on_its_way: Vec::new(),
        recent: Vec::new(),
    };
    wire.collect(ends);
    for _ in 0..MAX_STEPS {
        if step(&mut reader, &mut wire, ends).is_none() {
            break;
        }
        wire.collect(ends);
    }
    wire.recent
}

fn step(reader: &mut Reader<'_>, wire: &mut Wire, ends: &mut impl Ends) -> Option<()> {
    let op = reader.byte()?;
    let (to, flag) = (usize::from(op >> 3 & 1), op >> 4 & 1 == 1);
    match op & 7 {
        0 => {
            for (to, packet) in std::mem::take(&mut wire.on_its_way) {
                ends.feed(to, &packet);
            }
        }
        1 => wire.on_its_way.clear(),
        2 => {
            let unit = if flag { 100 } else { 1 };
            let count = u64::from(reader.byte()?) + 1;
            ends.wait(Duration::from_millis(count * unit));
        }
        7 => ends.act(to, reader.byte()?),
        kind => {
            let (to, mut packet) = changed(kind, to, reader, wire)?;
            if flag {
                ends.seal(to, &mut packet);
            }
            ends.feed(to, &packet);
        }
    }
    Some(())
}

/// A packet of the script's, and to whom: a remembered one goes where it went, unless bit 3 says
/// to the other.
fn changed(kind: u8, to: usize, reader: &mut Reader<'_>, wire: &Wire) -> Option<(usize, Vec<u8>)> {
    if kind == 3 {
        let len = reader.word()?;
        return Some((to, reader.bytes(len).to_vec()));
    }
    let (went, mut packet) = wire.pick(reader.byte()?).unwrap_or_default();
    match kind {
        4 => {
            let (at, count) = (reader.word()?, usize::from(reader.byte()?));
            let bytes = reader.bytes(count);
            let at = at.min(packet.len());
            let end = (at + bytes.len()).min(packet.len());
            packet.splice(at..end, bytes.iter().copied());
        }
        5 => packet.truncate(reader.word()?),
        _ => {}
    }
    Some(((went + to) % 2, packet))
}
