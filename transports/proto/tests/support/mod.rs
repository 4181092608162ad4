//! A seeded link between two peers on a virtual clock, and two stacks over it; flows that share a
//! bottleneck.

#![allow(
    clippy::disallowed_methods,
    reason = "a test has to begin at some instant"
)]
#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(unreachable_pub, reason = "included by several tests and an example")]

pub mod bottleneck;
pub mod link;
pub mod pair;
