//! Our own SCTP engine (RFC 9260) for data channels over DTLS (RFC 8261, RFC 8831).
//!
//! Data flows one way through it. Out: `send/queue` (messages per stream, weighted-fair) →
//! `send/flight` (a ring of chunks indexed by TSN) → `wire` (a packet written in place). In:
//! `wire` (chunks as ranges of the datagram) → `receive/tracker` (which TSNs have arrived) →
//! `receive/fragments` (messages put together) → `receive/streams` (order, unread messages).
//! Beside them: `handshake` and `cookie`, `send/recovery` (RACK, tail loss probe, RTO),
//! `send/congestion` (BBR or CUBIC), `send/pacer`, `pmtu` (longer packets), `forward` (partial reliability), `reconfig` (stream reset).
//! `association` ties them together.
//!
//! A message stays one [`bytes::Bytes`]; a chunk is a slice of it, and what arrives is a slice of
//! the datagram until a message of several chunks is joined.
//!
//! # Deviations from the RFCs
//!
//! * RTO.min is 50 ms and RTO.max 8 s (`send/recovery.rs`) instead of 1 s and 60 s
//!   (RFC 9260 §16): the estimate includes the peer's acknowledgement delay, and a tail loss probe
//!   (RFC 8985 §7) comes before it.
//! * Loss is detected by time of sending (RFC 8985) instead of three missing reports
//!   (RFC 9260 §7.2.4); congestion control is BBR (draft-ietf-ccwg-bbr) or CUBIC (RFC 9438) with
//!   HyStart++ (RFC 9406), beginning with ten packets (RFC 6928) instead of §7.2.1 and §7.2.2, and
//!   paced. A reduction is undone when the peer says that all sent again came twice.
//! * An association is not restarted (RFC 9260 §5.2.2 and §5.2.4 case A): a peer that starts
//!   anew does so with a new DTLS connection. INIT is ignored once connected.
//! * No error count ends an association (§8.1): whether the peer lives is for ICE consent to say
//!   (RFC 7675), and for the same reason there is no heartbeat of our own (§8.3) but for
//!   probes of the path MTU; those of the peer are answered.
//! * A stream reset that has to wait for data is answered when the data is there, without
//!   "in progress" before (RFC 6525 §5.2.2): peers ask again anyway.
//! * The acknowledgement delay is 20 ms (`receive.rs`) instead of 200 ms (§6.2).

mod association;
mod cookie;
mod forward;
mod handshake;
mod pmtu;
mod receive;
mod reconfig;
mod send;
mod serial;
#[cfg(test)]
mod tests;
mod wire;

pub(super) use association::{Association, Random};
