//! Error causes: what an ABORT or ERROR chunk complains of (RFC 9260 §3.3.10).

use std::fmt;

/// The cause code of an error cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCause(pub u16);

impl ErrorCause {
    /// 12: the application at the other end wanted it.
    pub const USER_INITIATED_ABORT: Self = Self(12);

    /// The first of an ABORT chunk's causes, if it gives any.
    pub(super) fn first_of(abort: &[u8]) -> Option<Self> {
        let [high, low, _, _] = *abort.first_chunk()?;
        Some(Self(u16::from_be_bytes([high, low])))
    }

    /// The name in the specification.
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            1 => "invalid stream identifier",
            2 => "missing mandatory parameter",
            3 => "stale cookie",
            4 => "out of resource",
            5 => "unresolvable address",
            6 => "unrecognized chunk type",
            7 => "invalid mandatory parameter",
            8 => "unrecognized parameters",
            9 => "no user data",
            10 => "cookie received while shutting down",
            11 => "restart of an association with new addresses",
            12 => "user-initiated abort",
            13 => "protocol violation",
            _ => return None,
        })
    }
}

impl fmt::Display for ErrorCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "cause {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cause_counts_and_has_a_name() {
        let two = [0, 13, 0, 5, b'x', 0, 0, 0, 0, 12, 0, 4];
        assert_eq!(ErrorCause::first_of(&two), Some(ErrorCause(13)));
        assert_eq!(ErrorCause(13).to_string(), "protocol violation");
        assert_eq!(ErrorCause(999).to_string(), "cause 999");
        for len in 0..4 {
            assert_eq!(ErrorCause::first_of(&two[..len]), None, "{len}");
        }
    }
}
