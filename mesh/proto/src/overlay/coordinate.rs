//! Network coordinates: a guess at the round trip to a peer never met.
//!
//! Vivaldi (Dabek et al., SIGCOMM 2004): every peer floats in a plane with a
//! height, and each measured round trip pulls or pushes it a little. A
//! coordinate is the peer's own word; it only chooses whom to *try*, and a lie
//! costs one dial.

/// A point in the space of round trips, in tenths of a millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coordinate {
    x: i16,
    y: i16,
    /// The way from the plane to the peer: its own access line.
    height: i16,
    /// How far off it is, in thousandths; 1,000 at first.
    error: i16,
}

/// Unit of the stored numbers, in milliseconds.
const UNIT: f32 = 0.1;
/// Vivaldi's `c_e` and `c_c` (section 3.4 of the paper).
const GAIN: f32 = 0.25;

impl Default for Coordinate {
    fn default() -> Self {
        Coordinate {
            x: 0,
            y: 0,
            height: 10,
            error: 1_000,
        }
    }
}

impl Coordinate {
    /// The round trip to `other` that the two coordinates promise, in
    /// milliseconds.
    pub fn predict(&self, other: &Coordinate) -> f32 {
        let (x, y) = self.towards(other);
        let heights = f32::from(self.height) + f32::from(other.height);
        ((x * x + y * y).sqrt() + heights) * UNIT
    }

    /// Whether it rests on enough measurements to be worth a guess.
    pub fn is_settled(&self) -> bool {
        self.error < 500
    }

    fn towards(&self, other: &Coordinate) -> (f32, f32) {
        let x = f32::from(self.x) - f32::from(other.x);
        let y = f32::from(self.y) - f32::from(other.y);
        (x, y)
    }

    /// Moves after a round trip of `rtt` milliseconds to `other`. `angle`, any
    /// number, decides where to when both are at the same point.
    pub(crate) fn learn(&mut self, other: &Coordinate, rtt: f32, angle: u32) {
        let rtt = rtt.max(0.1);
        let guess = self.predict(other);
        let mine = f32::from(self.error.max(1));
        let weight = mine / (mine + f32::from(other.error.max(1)));
        let off = ((guess - rtt).abs() / rtt).min(4.0) * 1_000.0;
        let trust = GAIN * weight;
        self.error = clamp(off * trust + mine * (1.0 - trust)).clamp(1, 1_000);
        let (mut x, mut y) = self.towards(other);
        let mut length = (x * x + y * y).sqrt();
        if length < 0.5 {
            x = if angle & 1 == 0 { 1.0 } else { -1.0 };
            y = if angle & 2 == 0 { 1.0 } else { -1.0 };
            length = std::f32::consts::SQRT_2;
        }
        let force = GAIN * weight * (rtt - guess) / UNIT;
        self.x = clamp(f32::from(self.x) + force * x / length);
        self.y = clamp(f32::from(self.y) + force * y / length);
        self.height = clamp(f32::from(self.height) + force * 0.1).max(1);
    }

    pub(crate) fn to_bytes(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        let numbers = [self.x, self.y, self.height, self.error];
        for (to, from) in bytes
            .iter_mut()
            .zip(numbers.into_iter().flat_map(i16::to_be_bytes))
        {
            *to = from;
        }
        bytes
    }

    /// What is out of range is pulled into it: any bytes are a coordinate.
    pub(crate) fn from_bytes(bytes: [u8; 8]) -> Self {
        let [a, b, c, d, e, f, g, h] = bytes;
        Coordinate {
            x: i16::from_be_bytes([a, b]),
            y: i16::from_be_bytes([c, d]),
            height: i16::from_be_bytes([e, f]).max(1),
            error: i16::from_be_bytes([g, h]).clamp(1, 1_000),
        }
    }
}

/// A float cast saturates, and makes 0 of what is no number.
#[allow(clippy::cast_possible_truncation, reason = "saturates on purpose")]
fn clamp(value: f32) -> i16 {
    value as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_peers_learn_their_distances() {
        let truth = [[0.0, 40.0, 120.0], [40.0, 0.0, 100.0], [120.0, 100.0, 0.0]];
        let mut all = [Coordinate::default(); 3];
        for round in 0..200_u32 {
            for (a, b) in [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)] {
                let other = all[b];
                all[a].learn(&other, truth[a][b], round.wrapping_mul(2_654_435_761) >> 7);
            }
        }
        for (a, b) in [(0, 1), (1, 2), (0, 2)] {
            let guess = all[a].predict(&all[b]);
            let off = (guess - truth[a][b]).abs() / truth[a][b];
            assert!(off < 0.2, "{a}-{b}: {guess} for {}", truth[a][b]);
            assert!(all[a].is_settled());
        }
    }

    #[test]
    fn any_bytes_are_a_coordinate_and_teach_no_nonsense() {
        let mut mine = Coordinate::default();
        for bytes in [[0xff; 8], [0x80; 8], [0x7f; 8], [0; 8]] {
            let other = Coordinate::from_bytes(bytes);
            for rtt in [0.0, 1e9, f32::NAN] {
                mine.learn(&other, rtt, 3);
                assert!(mine.height >= 1 && (1..=1_000).contains(&mine.error));
                assert!(mine.predict(&other).is_finite());
            }
        }
    }
}
