//! The hop protocol's codec: one length-prefixed frame, one byte in return.

use std::io;

use bytes::Bytes;
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::StreamProtocol;
use libp2p::request_response::Codec;

use super::HOP_MAX;

/// Protocol name negotiated on each stream.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/peerloom/hop/1");
/// The answer to a frame: taken.
const TAKEN: u8 = 1;

/// Reads and writes frames.
#[derive(Clone, Default)]
pub(super) struct HopCodec;

impl Codec for HopCodec {
    type Protocol = StreamProtocol;
    type Request = Bytes;
    type Response = ();

    async fn read_request<T>(&mut self, _: &Self::Protocol, io: &mut T) -> io::Result<Bytes>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut length = [0; 4];
        io.read_exact(&mut length).await?;
        let length = u32::from_be_bytes(length) as usize;
        if length > HOP_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "hop frame too large",
            ));
        }
        let mut frame = Vec::new();
        // Grows with what arrives, not with what is claimed.
        io.take(length as u64).read_to_end(&mut frame).await?;
        if frame.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(frame.into())
    }

    async fn read_response<T>(&mut self, _: &Self::Protocol, io: &mut T) -> io::Result<()>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut answer = [0];
        io.read_exact(&mut answer).await?;
        match answer {
            [TAKEN] => Ok(()),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "unknown answer to a hop frame",
            )),
        }
    }

    async fn write_request<T>(
        &mut self,
        _: &Self::Protocol,
        io: &mut T,
        frame: Bytes,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let length = u32::try_from(frame.len())
            .ok()
            .filter(|length| *length as usize <= HOP_MAX)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "hop frame too large"))?;
        io.write_all(&length.to_be_bytes()).await?;
        io.write_all(&frame).await?;
        io.close().await
    }

    async fn write_response<T>(&mut self, _: &Self::Protocol, io: &mut T, (): ()) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&[TAKEN]).await?;
        io.close().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::io::Cursor;

    #[tokio::test]
    async fn a_frame_is_read_as_it_was_written() {
        let frame = Bytes::from_static(b"frame");
        let mut io = Cursor::new(Vec::new());
        HopCodec
            .write_request(&PROTOCOL, &mut io, frame.clone())
            .await
            .unwrap();
        let mut io = Cursor::new(io.into_inner());
        assert_eq!(
            HopCodec.read_request(&PROTOCOL, &mut io).await.unwrap(),
            frame
        );
    }

    #[tokio::test]
    async fn lengths_that_lie_are_refused() {
        for bytes in [&[0xff, 0xff, 0xff, 0xff, 1][..], &[0, 0, 0, 9, 1], &[0, 0]] {
            let mut io = Cursor::new(bytes.to_vec());
            assert!(HopCodec.read_request(&PROTOCOL, &mut io).await.is_err());
        }
        let huge = Bytes::from(vec![0; HOP_MAX + 1]);
        let mut io = Cursor::new(Vec::new());
        assert!(
            HopCodec
                .write_request(&PROTOCOL, &mut io, huge)
                .await
                .is_err()
        );
    }
}
