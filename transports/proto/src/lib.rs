//! Peerloom's protocol engines, without sockets, clocks or tasks.
//!
//! # Map
//!
//! | module | what |
//! | --- | --- |
//! | [`engine`] | the contract every engine keeps: inputs, outputs, deadlines |
//! | [`id`] | paths, stream and channel ids, roles |
//! | [`config`] | settings of each layer |
//! | [`error`] | errors shared by layers |
//! | [`candidate`] | ICE candidates and credentials as text |
//! | [`certificate`] | P-256 certificates, fingerprints, proofs of possession |
//! | [`jsep`] | offer/answer state machine |
//! | [`sdp`] | session descriptions as text |
//! | [`ice`] | connectivity checks, nomination, consent, restart |
//! | [`dtls`] | handshake, fingerprint check, records in batches |
//! | [`sctp`] | streams, retransmission, windows, resets |
//! | [`channel`] | data channels: DCEP, priorities, credit, long messages |
//! | [`stack`] | the layers composed by plain calls, for simulations and tests |
//!
//! # Invariants
//!
//! * Time and chance are arguments: nothing here reads a clock.
//! * Nothing a remote peer sends causes a panic or unbounded memory.
//! * No tokio, actix, quinn, libp2p or sled below this crate.

pub mod candidate;
pub mod certificate;
pub mod channel;
pub mod config;
pub mod dtls;
pub mod engine;
pub mod error;
pub mod ice;
pub mod id;
pub mod jsep;
pub mod sctp;
pub mod sdp;
pub mod stack;
