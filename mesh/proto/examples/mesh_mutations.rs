//! Feeds seeded mutations to every parser of the mesh, also of what is signed
//! and sealed: `cargo run --release -p peerloom-mesh-proto --example mesh_mutations -- [COUNT] [SEED]`.

#![allow(clippy::print_stdout, reason = "a program that reports")]

#[path = "../tests/support/mutate.rs"]
mod mutate;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let mut number = |default| match arguments.next() {
        Some(Ok(number)) => number,
        Some(Err(_)) | None => default,
    };
    let count = usize::try_from(number(100_000)).expect("a count that fits");
    let report = mutate::run(number(1), count);
    for (name, [refused, taken]) in &report {
        println!("{name}: {refused} refused, {taken} taken");
    }
    println!("{count} mutations, no panic");
}
