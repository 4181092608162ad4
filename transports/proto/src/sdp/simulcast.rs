//! Encodings with names (RFC 8851), and several of them at once (RFC 8853).

use std::fmt;

/// Longest rid or simulcast stream id kept; RFC 8852 3 gives it a byte of length in RTP.
const MAX_RID_LEN: usize = 255;

/// Which way a rid's packets go, as the writer sees it (RFC 8851 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RidDirection {
    /// The writer sends them.
    Send,
    /// The writer receives them.
    Recv,
}

impl RidDirection {
    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Recv => "recv",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Send, Self::Recv]
            .into_iter()
            .find(|direction| direction.name() == name)
    }
}

/// `a=rid` (RFC 8851 4): one encoding of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rid {
    /// Its name in the RTP header extension.
    pub id: String,
    /// Which way it goes.
    pub direction: RidDirection,
    /// Payload types and limits, as they stand.
    pub parameters: Option<String>,
}

impl Rid {
    pub(super) fn parse(value: &str) -> Option<Self> {
        let mut words = value.splitn(3, ' ');
        Some(Self {
            id: words.next().filter(|id| is_rid(id))?.to_owned(),
            direction: RidDirection::from_name(words.next()?)?,
            parameters: words.next().map(str::to_owned),
        })
    }
}

impl fmt::Display for Rid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.direction.name())?;
        self.parameters.iter().try_for_each(|p| write!(f, " {p}"))
    }
}

/// `a=simulcast` (RFC 8853 5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulcast {
    /// One list of streams per direction, each direction at most once.
    pub lists: Vec<(RidDirection, Vec<SimulcastStream>)>,
}

/// One stream of a simulcast: the encodings that may serve, the preferred one first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulcastStream {
    /// Rids, and whether each starts paused (`~`).
    pub alternatives: Vec<(String, bool)>,
}

impl SimulcastStream {
    /// A stream with one encoding.
    pub fn of(rid: impl Into<String>, paused: bool) -> Self {
        Self {
            alternatives: vec![(rid.into(), paused)],
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let one = |text: &str| match text.strip_prefix('~') {
            Some(rid) => is_rid(rid).then(|| (rid.to_owned(), true)),
            None => is_rid(text).then(|| (text.to_owned(), false)),
        };
        let alternatives = text.split(',').map(one).collect::<Option<Vec<_>>>()?;
        Some(Self { alternatives })
    }
}

impl Simulcast {
    /// The streams of one direction.
    pub fn list(&self, direction: RidDirection) -> Option<&[SimulcastStream]> {
        let found = self.lists.iter().find(|(which, _)| *which == direction);
        found.map(|(_, streams)| streams.as_slice())
    }

    pub(super) fn parse(value: &str) -> Option<Self> {
        let mut words = value.split(' ');
        let mut lists: Vec<(RidDirection, Vec<SimulcastStream>)> = Vec::new();
        while let Some(word) = words.next() {
            let direction = RidDirection::from_name(word)?;
            let streams = words.next()?.split(';').map(SimulcastStream::parse);
            if lists.iter().any(|(known, _)| *known == direction) {
                return None;
            }
            lists.push((direction, streams.collect::<Option<_>>()?));
        }
        Some(Self { lists })
    }
}

impl fmt::Display for Simulcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (direction, streams)) in self.lists.iter().enumerate() {
            let gap = if index == 0 { "" } else { " " };
            write!(f, "{gap}{} ", direction.name())?;
            for (index, stream) in streams.iter().enumerate() {
                f.write_str(if index == 0 { "" } else { ";" })?;
                for (index, (rid, paused)) in stream.alternatives.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { "," })?;
                    f.write_str(if *paused { "~" } else { "" })?;
                    f.write_str(rid)?;
                }
            }
        }
        Ok(())
    }
}

fn is_rid(word: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    !word.is_empty() && word.len() <= MAX_RID_LEN && word.bytes().all(fine)
}
