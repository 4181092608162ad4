//! The `peerloom` command.
fn main() {}
