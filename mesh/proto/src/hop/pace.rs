//! How often a peer may say that it is there.

use std::time::Duration;

/// Bytes a second that a node spends on hearing of others, at most.
pub const PRESENCE_BUDGET: u64 = 2_048;
/// Copies of a gossiped record that a node receives: gossipsub's eager
/// neighbours, less than half of which bring something new (ethresear.ch
/// 19921: (D - 2) / 2 to D - 2 duplicates, 3 at D = 8).
const COPIES: u64 = 4;
/// Presence need not be fresher than this.
const LEAST: Duration = Duration::from_secs(30);
/// Members of a room of whom everybody keeps a full roster. In larger ones
/// presence takes longer than half an hour to come around: peers are asked
/// for by name.
pub const FULL_ROSTER: usize = 1_000;

/// The pause between two presences of one peer of a room of `members`, whose
/// records take `len` bytes: half a minute, or as long as it takes to hear
/// everybody within [`PRESENCE_BUDGET`].
pub fn presence_pause(members: usize, len: usize) -> Duration {
    let bytes = (members as u64).saturating_mul(len as u64 * COPIES);
    let millis = bytes.saturating_mul(1_000).div_ceil(PRESENCE_BUDGET);
    Duration::from_millis(millis).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Identity, RoomId};
    use crate::presence::{Record, tests::presence};

    #[test]
    fn presence_keeps_within_its_budget() {
        let record = Record::Presence(presence(1, &[RoomId::new("m", "r")]));
        let len = record
            .sign(&Identity::from_seed([1; 32]))
            .unwrap()
            .wire_len();
        assert!((200..260).contains(&len), "{len}");
        for members in [1, 32, 100, FULL_ROSTER, 100_000] {
            let pause = presence_pause(members, len).as_secs_f64();
            #[allow(clippy::cast_precision_loss, reason = "small numbers")]
            let rate = (members * len) as f64 * COPIES as f64 / pause;
            assert!(rate <= PRESENCE_BUDGET as f64, "{members}: {rate} B/s");
            assert!(pause >= LEAST.as_secs_f64());
        }
        assert_eq!(presence_pause(32, len), LEAST);
        assert!(presence_pause(FULL_ROSTER, len) > 10 * LEAST);
    }
}
