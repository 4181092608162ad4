//! Retransmission of requests (RFC 8489 §6.2).

use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::TransactionId;

/// First wait for an answer (RFC 8489 §6.2.1: at least 500 ms). Each later one is twice as long.
pub const RTO: Duration = Duration::from_millis(500);

/// Requests sent at most (`Rc` of RFC 8489 §6.2.1).
pub const MAX_REQUESTS: u32 = 7;

/// The wait after the last one, in `RTO`s (`Rm` of RFC 8489 §6.2.1).
const LAST_WAIT: u32 = 16;

/// How long an answer may take over TCP or TLS (`Ti` of RFC 8489 §6.2.2).
pub const RELIABLE_TIMEOUT: Duration = Duration::from_millis(39_500);

/// A request that waits for its answer.
#[derive(Clone, Debug)]
pub struct Transaction {
    packet: Bytes,
    reliable: bool,
    sent: u32,
    due: Instant,
}

/// What to do with a [`Transaction`] now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing yet.
    Wait,
    /// Send this, again or for the first time.
    Send(Bytes),
    /// Nobody answered.
    TimedOut,
}

impl Transaction {
    /// A request that is to be sent at `start`. `reliable` over TCP and TLS: sent once.
    pub fn new(packet: Bytes, reliable: bool, start: Instant) -> Self {
        Self {
            packet,
            reliable,
            sent: 0,
            due: start,
        }
    }

    /// When [`Transaction::step`] has something to do.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// What is due at `now`.
    pub fn step(&mut self, now: Instant) -> Step {
        if now < self.due {
            return Step::Wait;
        }
        let all = if self.reliable { 1 } else { MAX_REQUESTS };
        if self.sent >= all {
            return Step::TimedOut;
        }
        let wait = match self.sent {
            _ if self.reliable => RELIABLE_TIMEOUT,
            sent if sent + 1 == all => RTO * LAST_WAIT,
            sent => RTO * (1 << sent),
        };
        self.sent += 1;
        self.due = now + wait;
        Step::Send(self.packet.clone())
    }
}

/// Draws transaction ids that begin with a token of ours: where several users of STUN share a
/// socket, an answer is given to the one whose token it carries. 96 random bits all the same.
#[derive(Debug)]
pub struct TransactionIds {
    token: Token,
    rng: ChaCha20Rng,
}

/// The first eight bytes of all transaction ids of one user of a shared socket.
pub type Token = [u8; 8];

impl TransactionIds {
    /// Ids drawn from `seed`, which has to be random: an id tells who may answer.
    pub fn new(seed: [u8; 32]) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut token = [0; 8];
        rng.fill_bytes(&mut token);
        Self { token, rng }
    }

    /// What all ids begin with.
    pub fn token(&self) -> Token {
        self.token
    }

    /// The next id.
    pub fn next_id(&mut self) -> TransactionId {
        let mut id = [0; 12];
        self.rng.fill_bytes(&mut id[8..]);
        id[..8].copy_from_slice(&self.token);
        id
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "a test has to begin at some instant"
)]
mod tests {
    use super::*;

    #[test]
    fn requests_leave_at_the_times_of_rfc_8489() {
        let start = Instant::now();
        let mut transaction = Transaction::new(Bytes::from_static(b"?"), false, start);
        let mut times = Vec::new();
        loop {
            let now = transaction.due();
            match transaction.step(now) {
                Step::Send(_) => times.push((now - start).as_millis()),
                Step::Wait => panic!("it was due"),
                Step::TimedOut => break times.push((now - start).as_millis()),
            }
        }
        assert_eq!(times, [0, 500, 1500, 3500, 7500, 15_500, 31_500, 39_500]);
    }

    #[test]
    fn over_a_reliable_transport_a_request_leaves_once() {
        let start = Instant::now();
        let mut transaction = Transaction::new(Bytes::from_static(b"?"), true, start);
        assert!(matches!(transaction.step(start), Step::Send(_)));
        assert_eq!(transaction.step(start + RELIABLE_TIMEOUT / 2), Step::Wait);
        assert_eq!(transaction.step(start + RELIABLE_TIMEOUT), Step::TimedOut);
    }
}
