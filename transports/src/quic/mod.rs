//! QUIC between two Peerloom peers, on the path that ICE has chosen.
//!
//! The engine is `quinn-proto`, the one inside quinn, driven as our own engines are: fed with
//! datagrams and `now`, drained with `poll_*`. It owns no socket and no task, so the actor that has
//! it sends straight to the socket, and dies with it (docs/decisions/quic.md).
//!
//! * The engine sees one fixed address at either end, whatever ICE does below: changes of the path,
//!   relays and TCP connections are invisible to it.
//! * Who the peer is says its description: its certificate must match one of the fingerprints there,
//!   *and* the handshake's signature must be by that certificate's key. Both ends show certificates.
//! * The bit that RFC 9287 would grease stays set, since it tells QUIC from DTLS and STUN on the same
//!   port (RFC 9443).

mod connection;
mod tls;

pub use connection::{Connection, Error, Event, Stats};
