//! Datagram TLS 1.2 (RFC 6347) and 1.3 (RFC 9147) as WebRTC uses it (RFC 8827 §6.5): both ends show
//! a self-signed certificate, and the fingerprint in the remote description says which one is
//! right. Around the packaged `dimpl` engine.
//!
//! What this layer adds to that engine:
//!
//! * [`Event::Connected`] is reported, and data delivered, only after the peer's certificate was
//!   found to have one of the expected fingerprints; otherwise the connection fails, and the peer
//!   is told as far as that engine can: by a fatal `bad_certificate` in plaintext in version 1.2,
//!   by a `close_notify` after the handshake in 1.3. Either is repeated to a peer that goes on;
//! * packets that the engine would answer with a fatal error although a reordering network
//!   produces them are dropped;
//! * the engine's timeouts are kept apart, since it can ask for one without end;
//! * records are packed into batches for segmentation offload as they are made;
//! * with [`crate::config::DtlsRecords::Native`] the records of version 1.3 are our own once the
//!   handshake is over;
//! * keys for media ([`Transport::take_srtp_keys`]) are given out only once the peer is known.
//!
//! The engine is told the time before anything else, since a server that never saw the clock
//! panics on its first ClientHello; and no cookie round trip is made, since ICE has
//! validated the path already (RFC 9147 §5.1: a server may ask for a cookie).
//!
//! Order: [`Transport::new`] starts the handshake at once in the client role. After each input
//! drain [`Transport::poll_event`], then [`Transport::poll_transmit`], then arm
//! [`Transport::poll_timeout`].

mod alert;
mod engine;
mod farewell;
mod filter;
mod keying;
mod record;
mod suite;
mod tape;
#[cfg(test)]
mod tests;
mod transport;

use bytes::Bytes;

use crate::error::EngineFault;

pub use alert::Alert;
pub use keying::{SrtpKeys, SrtpMaster, SrtpProfile};
pub use suite::CipherSuite;
pub use transport::{MAX_QUEUED_BYTES, Transport};

/// Largest DTLS record in plaintext (RFC 9147 §4.4), which is more than any path carries.
pub const MAX_RECORD: usize = 16 * 1024;

/// The negotiated version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// RFC 6347.
    Dtls12,
    /// RFC 9147.
    Dtls13,
}

/// The state, as in `RTCDtlsTransportState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// The handshake is under way.
    Connecting,
    /// The peer is who the remote description says; data flows.
    Connected,
    /// Closed by either end.
    Closed,
    /// The handshake failed or the peer is someone else.
    Failed,
}

/// Why [`Transport::poll_timeout`] wants a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// A handshake flight may have to be sent again.
    Handshake,
}

/// What the transport reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The handshake is complete and the peer's certificate has an expected fingerprint.
    Connected {
        /// Which version was negotiated.
        version: Version,
        /// The peer's certificate in DER.
        peer_certificate: Bytes,
    },
    /// A record's plaintext.
    Data(Bytes),
    /// The peer has closed the connection.
    Closed,
    /// The connection is lost for good.
    Failed(Error),
}

/// Why a connection failed or a call had no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The settings contradict each other.
    #[error("bad DTLS settings: {0}")]
    Config(String),
    /// The remote description names no usable fingerprint.
    #[error("the remote description has no fingerprint we can check")]
    NoFingerprint,
    /// The peer's certificate is not the one its description announced (RFC 8122 §6.2).
    #[error("the peer's certificate does not match the fingerprint in its description")]
    FingerprintMismatch,
    /// The peer has refused, or given up on, the connection with a fatal alert.
    #[error("the peer refused the connection: {0}")]
    Alert(Alert),
    /// The peer showed no certificate.
    #[error("the peer showed no certificate")]
    NoCertificate,
    /// The handshake was refused or ran out of time.
    #[error("the DTLS handshake failed: {0}")]
    Handshake(String),
    /// Data before the handshake is complete or after the end.
    #[error("the DTLS transport is not connected")]
    NotConnected,
    /// The connection is closed.
    #[error("the DTLS transport is closed")]
    Closed,
    /// More than [`MAX_QUEUED_BYTES`] wait to be sent, or the record would be too long.
    #[error("too much data is waiting to be sent")]
    Full,
    /// The peer has not taken new keys, and the old ones have protected all that they may (RFC 9147
    /// §4.5.3).
    #[error("the peer acknowledged no new keys before the old ones were used up")]
    KeysExhausted,
    /// The packaged engine panicked.
    #[error(transparent)]
    Fault(#[from] EngineFault),
}
