//! Session descriptions and offer/answer: by hand, by chance, and against others' texts.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one thing")]

mod captured;
mod compact;
mod fixtures;
mod flow;
mod hostile;
mod media;
mod negotiation;
mod ours;
mod parser;
mod sections;
mod simulcast;
mod stopped;
mod str0m;
mod util;
