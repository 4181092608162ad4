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
//! | [`ice_server`] | STUN and TURN servers as URLs |
//! | [`stun`] | messages to STUN servers, retransmission, reflexive addresses |
//! | [`mdns`] | names of candidates, asked for and answered by multicast |
//! | [`turn`] | a TURN client: allocation, permissions, channels |
//! | [`ice`] | connectivity checks, nomination, consent, restart |
//! | [`dtls`] | handshake, fingerprint check, records in batches |
//! | [`sctp`] | streams, retransmission, windows, resets |
//! | [`quic`] | the same streams of messages over QUIC, between Peerloom peers |
//! | [`channel`] | data channels: DCEP, priorities, credit, long messages |
//! | [`media`] | audio and video: protection of RTP and RTCP so far |
//! | [`stack`] | the layers composed by plain calls, for simulations and tests |
//!
//! # How the layers lie on each other
//!
//! ```text
//!   jsep  ── what both descriptions mean ──┐
//!                                          v
//!   channel    DCEP, scheduling, credit, parts        messages   ^ v
//!   sctp       gate, clock, window updates, pacing    packets    ^ v
//!   dtls       fingerprint check, batches             records    ^ v
//!   ice        pace, authentication, consent          datagrams  ^ v
//! ```
//!
//! Every layer is driven alike ([`engine`]): one input, then its events, then its packets, then its
//! timer. ICE knows the path, DTLS is told it, nothing above needs it. [`stack`] shows the wiring in
//! plain calls.
//!
//! # Invariants
//!
//! * Time and chance are arguments: nothing here reads a clock. The packaged engines (`rtc-ice`,
//!   `dimpl`, `rtc-sctp`) still draw keys, tags and transaction ids from the operating system, so
//!   that a simulation repeats in its outcome, not in its bytes.
//! * Nothing a remote peer sends causes a panic. A packaged engine that breaks its own invariant is
//!   thrown away ([`error::EngineFault`]) and the connection fails with that reason.
//! * Memory of one connection is bounded by what its settings say: the receive window, the send
//!   buffers, [`sctp::MAX_UNREAD_CHUNKS`], [`sctp::MAX_QUEUED_PACKETS`], [`sctp::MAX_TSN_JUMP`],
//!   `ChannelConfig::max_reassembly` and the named constant beside each queue.
//! * No data is delivered before the peer's certificate was found to be the expected one.
//! * No tokio, actix, quinn, libp2p or sled below this crate.
//!
//! # Deliberately absent
//!
//! ICE-lite and simultaneous open of ICE-TCP; media beyond its negotiation and its protection; SCTP multihoming, zero
//! checksum and message interleaving; DTLS resumption, which WebRTC does not use.

pub mod candidate;
pub mod certificate;
pub mod channel;
pub mod config;
pub mod dtls;
pub mod engine;
pub mod error;
pub mod framing;
pub mod ice;
pub mod ice_server;
pub mod id;
pub mod jsep;
pub mod mdns;
pub mod media;
pub mod quic;
pub mod sctp;
pub mod sdp;
pub mod stack;
pub mod stun;
pub mod turn;
