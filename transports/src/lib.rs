//! Peerloom's sockets, and nothing but sockets: one shared UDP port per address
//! family with GSO and GRO batches ([`udp`]), QUIC ([`quic`]), ICE over TCP ([`tcp`]), relays ([`turn`]), names ([`dns`], [`mdns`]), changes of
//! addresses ([`net_watch`]), and the
//! one place where time is read ([`clock`]).
//!
//! Protocol decisions live in `peerloom-transports-proto`; this crate moves
//! bytes. It knows no actors: whoever owns a connection registers an
//! [`udp::Inlet`] for it and gets batches.
//!
//! ```text
//!  socket ──recvmmsg + GRO──▶ receive loop ──▶ routes ──▶ Inlet of a connection
//!    ▲                        (one per socket)  STUN: ufrag, else 5-tuple
//!    │                                          rest: 5-tuple and first byte
//!    └───────sendmsg + GSO──── Sender, straight from the connection's thread
//! ```

pub mod carrier;
pub mod clock;
pub mod dns;
pub mod mdns;
pub mod net_watch;
pub mod quic;
pub mod tcp;
pub mod turn;
pub mod udp;

pub use peerloom_transports_proto as proto;
