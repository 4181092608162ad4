//! Packets of a TURN client on a stream (RFC 8656 §3.1, §12.5).

use bytes::{Buf as _, Bytes, BytesMut};

use crate::stun::message::HEADER_LEN;

/// The stream carries something else than STUN and ChannelData: there is no way on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither STUN nor ChannelData on the connection to the TURN server")]
pub struct FrameError;

/// Cuts a stream into packets. Holds at most one unfinished packet (65,555 bytes) and what was
/// pushed last.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: BytesMut,
}

impl Framer {
    /// Where to read into.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next whole packet, without its padding. `None` when more has to arrive.
    pub fn next_packet(&mut self) -> Result<Option<Bytes>, FrameError> {
        let [kind, _, high, low, ..] = self.buffer[..] else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (packet, frame) = match kind {
            0..=3 if length % 4 == 0 => (HEADER_LEN + length, HEADER_LEN + length),
            64..=79 => (4 + length, 4 + length.next_multiple_of(4)),
            _ => return Err(FrameError),
        };
        if self.buffer.len() < frame {
            return Ok(None);
        }
        let cut = self.buffer.split_to(packet).freeze();
        self.buffer.advance(frame - packet);
        Ok(Some(cut))
    }
}
