//! Fuzz targets: one function for each kind of bytes that strangers can send.
//!
//! A target takes any bytes, must not panic whatever they are, and says whether it got anywhere
//! with them: whether something was accepted that has to be well-formed. The programs in
//! `fuzz_targets/` hand these functions to libFuzzer; the ordinary test
//! `chaos-tests/tests/fuzz_corpora.rs` includes this file and replays every file of `corpus/`.
//!
//! Targets of engines read their bytes as a [`script`]: what happens to the packets of two real
//! ends, since keys and tags differ in each run. A panic inside a packaged engine that its wrapper
//! turns into an error is not a finding, and is printed.

#![allow(
    clippy::disallowed_methods,
    reason = "a virtual clock needs some instant to start from"
)]
#![allow(unreachable_pub, reason = "included by a test as well")]

mod assertion;
mod dcep;
mod dtls;
mod envelope;
mod framing;
mod hop;
mod ice;
mod mdns;
mod oidc;
mod quic;
mod script;
mod sctp;
mod sctp_numbers;
mod sctp_seeds;
mod sdp;
mod seeds;
mod server;
mod stun;
mod turn;

#[path = "../../../mesh/proto/tests/support/forge.rs"]
mod mesh_forge;
#[path = "../../../transports/proto/tests/support/mutate/forge.rs"]
mod packet_forge;

pub use assertion::assertion;
pub use dcep::dcep;
pub use dtls::dtls;
pub use envelope::envelope;
pub use framing::framing;
pub use hop::hop;
pub use ice::ice;
pub use mdns::mdns;
pub use oidc::oidc;
pub use quic::quic;
pub use sctp::sctp;
pub use sdp::sdp;
pub use seeds::{Seed, seeds};
pub use stun::stun;
pub use turn::turn;

/// A target: whether the bytes got anywhere.
pub type Target = fn(&[u8]) -> bool;

/// All targets by name; each has a program in `fuzz_targets/` and a folder in `corpus/`.
pub const TARGETS: [(&str, Target); 14] = [
    ("assertion", assertion),
    ("dcep", dcep),
    ("dtls", dtls),
    ("envelope", envelope),
    ("framing", framing),
    ("hop", hop),
    ("ice", ice),
    ("mdns", mdns),
    ("oidc", oidc),
    ("quic", quic),
    ("sctp", sctp),
    ("sdp", sdp),
    ("stun", stun),
    ("turn", turn),
];

/// The program of one target.
///
/// Lets panics unwind to the wrapper that contains them, and prints where they happened: libFuzzer's
/// own hook would end the process at once. A panic that nothing contains still ends it.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        libfuzzer_sys::fuzz_target!(
            init: std::panic::set_hook(Box::new(|info| {
                let trace = std::backtrace::Backtrace::force_capture();
                eprintln!("panic: {info}\n{trace}");
            })),
            |data: &[u8]| {
                std::hint::black_box($crate::$name(data));
            }
        );
    };
}
