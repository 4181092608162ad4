//! Every file of every fuzz corpus, through the functions that libFuzzer drives. What was found by
//! fuzzing lies in the corpora, so that it stays mended; see `docs/fuzzing.md`.

#![allow(clippy::unwrap_used, reason = "what cannot be read fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

#[path = "../fuzz/src/lib.rs"]
mod targets;

use targets::{Seed, TARGETS, Target, seeds};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        path.file_stem().unwrap().to_str().unwrap().to_owned()
    };
    entries.map(name).collect()
}

/// Replays a corpus; how many of its files got anywhere, and how many did not.
fn replay(name: &str, target: Target) -> [usize; 2] {
    let mut counts = [0, 0];
    for entry in fs::read_dir(fuzz().join("corpus").join(name)).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let outcome = std::panic::catch_unwind(|| target(&bytes));
        let taken = outcome.unwrap_or_else(|_| panic!("{} makes {name} panic", path.display()));
        counts[usize::from(!taken)] += 1;
    }
    counts
}

#[test]
fn every_target_has_a_program_and_a_corpus() {
    let expected: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&fuzz().join("corpus")), expected);
    assert_eq!(names(&fuzz().join("fuzz_targets")), expected);
}

#[test]
fn every_file_of_every_corpus_is_survived() {
    for (name, target) in TARGETS {
        let [taken, refused] = replay(name, target);
        println!("{name}: {taken} got somewhere, {refused} did not");
        assert!(taken > 0, "{name}: no file of its corpus gets anywhere");
        assert!(
            refused > 0,
            "{name}: every file of its corpus gets somewhere"
        );
    }
}

#[test]
fn what_honest_ends_say_gets_somewhere() {
    let targets: BTreeMap<&str, Target> = TARGETS.into_iter().collect();
    let mut real = BTreeSet::new();
    let seeds: Vec<Seed> = seeds();
    for seed in seeds.into_iter().filter(|seed| seed.real) {
        assert!(
            targets[seed.target](&seed.bytes),
            "{}: {:?}",
            seed.target,
            seed.bytes
        );
        real.insert(seed.target);
    }
    assert_eq!(real.len(), TARGETS.len());
}

/// Not a test: writes real inputs into the corpora, before they are fuzzed and made small again.
#[test]
#[ignore = "run by hand: docs/fuzzing.md"]
fn write_seeds() {
    for seed in seeds() {
        write(seed.target, &seed.bytes);
    }
    let sdp = Path::new(env!("CARGO_MANIFEST_DIR")).join("../transports/proto/tests/fixtures/sdp");
    for entry in fs::read_dir(sdp).unwrap() {
        let text = fs::read(entry.unwrap().path()).unwrap();
        for kind in [0, 1] {
            write("sdp", &[&[kind], &text[..]].concat());
        }
    }
}

fn write(target: &str, bytes: &[u8]) {
    let folder = fuzz().join("corpus").join(target);
    fs::create_dir_all(&folder).unwrap();
    let mut hash = DefaultHasher::new();
    bytes.hash(&mut hash);
    fs::write(folder.join(format!("{:016x}", hash.finish())), bytes).unwrap();
}
