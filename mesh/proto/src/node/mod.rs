//! The composed node.

pub mod io;
