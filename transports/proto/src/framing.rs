//! Datagrams on a TCP connection (RFC 4571 §2, RFC 6544 §3): two bytes of length, then so many bytes.
//!
//! [`Framer`] cuts a stream into datagrams, [`write_frame`] writes them, and [`first_check`] says to
//! which ICE agent a new connection belongs, before anybody has to trust it.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::ice;

/// Longest datagram taken from a connection. A DTLS record of the largest size (RFC 6347 §4.1:
/// 2^14 + 2048 bytes and a header of 13); whoever sends more does not speak WebRTC.
pub const MAX_FRAME_LEN: usize = 16 * 1024 + 2048 + 13;

/// Longest first datagram of a connection. It has to be a connectivity check (RFC 6544 §7.2), and
/// those have about 120 bytes; 1500 is the longest STUN packet that is read anywhere here.
pub const MAX_FIRST_FRAME_LEN: usize = 1500;

/// Bytes of the length before each datagram.
const PREFIX: usize = 2;

/// A connection carries something else than framed datagrams: there is no way on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A datagram is announced to be longer than this end takes.
    #[error("a frame of {0} bytes on a TCP connection: longer than any packet of WebRTC")]
    TooLong(usize),
    /// The first datagram is no connectivity check.
    #[error("the first frame on a TCP connection is no connectivity check")]
    NoCheck,
}

/// Cuts a stream into datagrams. Holds one unfinished datagram (`limit` and two bytes) and what was
/// read last.
#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    limit: usize,
}

impl Default for Framer {
    /// Takes datagrams up to [`MAX_FRAME_LEN`].
    fn default() -> Self {
        Self {
            buffer: BytesMut::new(),
            limit: MAX_FRAME_LEN,
        }
    }
}

impl Framer {
    /// Where to append what was read.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next whole datagram; `None` when more has to arrive. Empty frames are skipped
    /// (RFC 4571 §2 allows them and gives them no meaning).
    ///
    /// # Errors
    ///
    /// [`FrameError::TooLong`], as soon as the length is known: nothing is kept for it.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        loop {
            let Some(len) = self.announced()? else {
                return Ok(None);
            };
            if self.buffer.len() < PREFIX + len {
                return Ok(None);
            }
            self.buffer.advance(PREFIX);
            if len > 0 {
                return Ok(Some(self.buffer.split_to(len).freeze()));
            }
        }
    }

    /// Length of the datagram that comes next, when it has begun.
    fn announced(&self) -> Result<Option<usize>, FrameError> {
        let [high, low, ..] = self.buffer[..] else {
            return Ok(None);
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        if len > self.limit {
            return Err(FrameError::TooLong(len));
        }
        Ok(Some(len))
    }
}

/// Appends `datagram` with its length to `out`. One that no frame can hold (over 65,535 bytes) is
/// left out, as a network would.
pub fn write_frame(datagram: &[u8], out: &mut BytesMut) {
    if let Ok(len) = u16::try_from(datagram.len()) {
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(datagram);
    }
}

/// Looks at the beginning of a new connection, which is left as it is: the username fragment of the
/// agent here that its first datagram, a check, is for (RFC 8445 §7.2.2). `None` when more has to
/// arrive. Nothing about the check has been verified: a username fragment is no secret.
///
/// # Errors
///
/// Whoever sent this does not open an ICE connection: close it.
pub fn first_check(received: &[u8]) -> Result<Option<&str>, FrameError> {
    let [high, low, rest @ ..] = received else {
        return Ok(None);
    };
    let len = usize::from(u16::from_be_bytes([*high, *low]));
    if len > MAX_FIRST_FRAME_LEN {
        return Err(FrameError::TooLong(len));
    }
    let Some(datagram) = rest.get(..len) else {
        return Ok(None);
    };
    let local = ice::username(datagram).and_then(|name| name.split_once(':'));
    match local {
        Some((local, _)) if !local.is_empty() => Ok(Some(local)),
        Some(_) | None => Err(FrameError::NoCheck),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stun::message::{Builder, Class, attribute, method};

    fn check(username: &str) -> Bytes {
        Builder::new(Class::Request, method::BINDING, [7; 12])
            .attribute(attribute::USERNAME, username.as_bytes())
            .finish_with_integrity(b"a password")
    }

    fn framed(datagrams: &[impl AsRef<[u8]>]) -> BytesMut {
        let mut out = BytesMut::new();
        for datagram in datagrams {
            write_frame(datagram.as_ref(), &mut out);
        }
        out
    }

    proptest! {
        /// However the stream is cut, the same datagrams come out, in order.
        #[test]
        fn cuts_make_no_difference(
            datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..12),
            pieces in prop::collection::vec(1usize..200, 1..40),
        ) {
            let stream = framed(&datagrams);
            let mut framer = Framer::default();
            let (mut seen, mut rest) = (Vec::new(), &stream[..]);
            let mut pieces = pieces.iter().cycle();
            while !rest.is_empty() {
                let cut = pieces.next().copied().unwrap_or(1).min(rest.len());
                framer.buffer().extend_from_slice(&rest[..cut]);
                rest = &rest[cut..];
                while let Some(datagram) = framer.next_frame().expect("short enough") {
                    seen.push(datagram.to_vec());
                }
            }
            prop_assert_eq!(seen, datagrams);
            prop_assert!(framer.buffer().is_empty());
        }

        /// Any bytes at all: no panic, never more kept than one datagram.
        #[test]
        fn anything_may_come(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..700), 0..20)) {
            let mut framer = Framer::default();
            for piece in pieces {
                framer.buffer().extend_from_slice(&piece);
                loop {
                    match framer.next_frame() {
                        Ok(Some(datagram)) => prop_assert!((1..=MAX_FRAME_LEN).contains(&datagram.len())),
                        Ok(None) => break,
                        Err(error) => {
                            let too_long = matches!(error, FrameError::TooLong(len) if len > MAX_FRAME_LEN);
                            prop_assert!(too_long);
                            return Ok(());
                        }
                    }
                }
                prop_assert!(framer.buffer().len() < PREFIX + MAX_FRAME_LEN);
            }
        }

        /// A first look at any bytes neither panics nor needs more than a first frame.
        #[test]
        fn a_first_look_ends(bytes in prop::collection::vec(any::<u8>(), 0..1600)) {
            let looked = first_check(&bytes);
            prop_assert!(bytes.len() < PREFIX + MAX_FIRST_FRAME_LEN || looked != Ok(None));
        }
    }

    #[test]
    fn empty_frames_are_skipped() {
        let mut framer = Framer::default();
        framer
            .buffer()
            .extend_from_slice(&[0, 0, 0, 0, 0, 1, 9, 0, 0]);
        assert_eq!(framer.next_frame(), Ok(Some(Bytes::from_static(&[9]))));
        assert_eq!(framer.next_frame(), Ok(None));
    }

    #[test]
    fn a_frame_too_long_is_refused_by_its_length_alone() {
        let mut framer = Framer::default();
        let longest = u16::try_from(MAX_FRAME_LEN).expect("two bytes");
        framer.buffer().extend_from_slice(&longest.to_be_bytes());
        assert_eq!(framer.next_frame(), Ok(None));
        let mut framer = Framer::default();
        framer
            .buffer()
            .extend_from_slice(&(longest + 1).to_be_bytes());
        let error = Err(FrameError::TooLong(MAX_FRAME_LEN + 1));
        assert_eq!(framer.next_frame(), error);
    }

    #[test]
    fn a_datagram_longer_than_any_frame_is_not_written() {
        let mut out = BytesMut::new();
        write_frame(&vec![0; 65_536], &mut out);
        assert!(out.is_empty());
    }

    #[test]
    fn a_new_connection_belongs_to_the_agent_its_first_check_names() {
        let stream = framed(&[check("here:there")]);
        for cut in 0..stream.len() {
            assert_eq!(first_check(&stream[..cut]), Ok(None), "cut at {cut}");
        }
        assert_eq!(first_check(&stream), Ok(Some("here")));
        let mut more = stream.clone();
        more.extend_from_slice(&framed(&[[22u8; 40]]));
        assert_eq!(first_check(&more), Ok(Some("here")));
    }

    #[test]
    fn who_begins_with_something_else_is_refused() {
        let answer = Builder::new(Class::Success, method::BINDING, [7; 12]).finish();
        let nobody = check(":there");
        for first in [&answer[..], &nobody[..], b"GET / HTTP/1.1", &[22; 60]] {
            let stream = framed(&[first]);
            assert_eq!(first_check(&stream), Err(FrameError::NoCheck));
        }
        assert_eq!(first_check(&[0, 0]), Err(FrameError::NoCheck));
        let error = Err(FrameError::TooLong(usize::from(u16::from_be_bytes(*b"GE"))));
        assert_eq!(first_check(b"GET / HTTP/1.1\r\n"), error);
    }
}
