//! How long things take and how much of everything there may be.

use std::time::Duration;

/// Links, at most: a super-peer's overlay has 48. Filled by the overlay;
/// others are ignored.
pub const MAX_LINKS: usize = 64;
/// Own envelopes under way. Filled by the application's letters; beyond it
/// [`SendError::Busy`](super::SendError::Busy).
pub const MAX_PARCELS: usize = 256;
/// Envelopes whose way is remembered. Filled by neighbours; beyond it the
/// oldest way back is forgotten.
pub const MAX_CRUMBS: usize = 2_048;
/// Bytes of other people's envelopes held until they are acknowledged or go
/// another way. Beyond it [`Refusal::Busy`](crate::envelope::Refusal::Busy).
pub const MAX_HELD: usize = 256 * 1024;
/// Peers to whom an exact way is remembered (a full roster). Filled by
/// presence and acknowledgements; beyond it the oldest goes.
pub const MAX_TRAILS: usize = 4_096;
/// Envelopes kept for peers that cannot be reached now. Filled by neighbours;
/// beyond it they are refused.
pub const MAX_MAIL: usize = 256;
/// The same for one addressee, and in bytes.
pub const MAX_MAIL_EACH: usize = 16;
/// See [`MAX_MAIL_EACH`].
pub const MAX_MAIL_BYTES_EACH: usize = 32 * 1024;
/// Relays an addressee may name.
pub const MAX_RELAYS: usize = 3;
/// Largest envelope that is flooded.
pub const MAX_FLOOD: usize = 1024;
/// Members of a room in which envelopes are flooded at all: one reaches all of
/// them and is for one.
pub const FLOOD_MEMBERS: usize = 256;
/// Neighbours that one node tries for one attempt.
pub(super) const MAX_TRIES: usize = 4;
/// What a greedy attempt may cost: where tags do not lead there within a few
/// steps they lead nowhere.
pub(super) const GREEDY_BUDGET: u8 = 8;
/// For how long a way is remembered: longer than an envelope lives.
pub(super) const CRUMB_MS: u64 = 60_000;
/// For how long somebody's envelope is held to go another way: longer than a
/// sender waits before it tries again itself.
pub(super) const HOLD_MS: u64 = 5_000;
/// For how long an exact way is believed. Links live for some minutes.
pub(super) const TRAIL_MS: u64 = 120_000;
/// Most that a sender waits for an acknowledgement before it tries otherwise.
pub(super) const MAX_PATIENCE_MS: u64 = 4_000;
/// Least.
pub(super) const MIN_PATIENCE_MS: u64 = 1_000;
/// A round trip, as long as none was measured.
pub(super) const FIRST_RTT_MS: u64 = 500;
/// Pause before everything is tried once more; doubled each time.
pub(super) const PAUSE_MS: u64 = 2_000;
/// Rounds that end in nothing but refusals after which an envelope is one
/// that nobody takes.
pub(super) const MAX_ROUNDS: u8 = 3;
/// How long mail waits after it was refused before it is tried again.
pub(super) const MAIL_PAUSE_MS: u64 = 1_000;

/// Settings; the defaults are what `docs/signaling.md` was measured with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Frames that one attempt may cost the whole mesh on its way there: a
    /// refusal brings back what is left, so searching in vain is bounded too.
    /// The farthest of 10,000 peers is eight links away.
    pub budget: u8,
    /// How often neighbours are told all of what is around, if it changes;
    /// every other time if it does not.
    pub digest: Duration,
    /// How soon after a link came or went they are told which links there
    /// are: a twentieth of the bytes, and what the last steps go by.
    pub digest_soon: Duration,
    /// Bytes a second of such news, at most; later ones wait. Guess: as much
    /// as the overlay's upkeep.
    pub digest_rate: u32,
    /// Whether this node's envelopes may wait at others. Costs up to three
    /// more copies of what finds no way.
    pub mailbox: bool,
    /// Whether this node's envelopes are flooded when all else has failed: for
    /// rooms of up to [`FLOOD_MEMBERS`].
    pub flood: bool,
    /// Pause between two floods of this node.
    pub flood_pause: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            budget: 24,
            digest: Duration::from_secs(24),
            digest_soon: Duration::from_secs(2),
            digest_rate: 1_024,
            mailbox: true,
            flood: true,
            flood_pause: Duration::from_secs(10),
        }
    }
}
