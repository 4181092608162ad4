//! Seeded mutations of bytes, and the targets that live through them.

#![allow(
    clippy::disallowed_methods,
    reason = "a test has to begin at some instant"
)]
#![allow(unreachable_pub, reason = "included by a test and an example")]

mod dtls_target;
mod forge;
mod ice_target;
mod parser_target;
mod sctp_target;
mod stack_target;

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub type Rng = ChaCha8Rng;

/// What one connection may hold in memory whatever its peer sends: unread data within the
/// receive window, chunks waiting behind a gap with the packets they pin, reassembly of long
/// messages, queues. Two connections live in this process at a time, and the allocator keeps some.
pub const MEMORY_CAP: usize = 192 * 1024 * 1024;

/// Something that takes mutated input.
trait Target {
    /// Captures what there is to capture and feeds one mutation.
    fn step(&mut self, rng: &mut Rng);
    /// Panics of packaged engines that became errors so far.
    fn faults(&self) -> usize;
}

/// What a run found.
#[derive(Debug, Default)]
pub struct Report {
    pub mutations: usize,
    /// Panics inside packaged engines, caught at the seam.
    pub faults: usize,
    /// Where they happened.
    pub places: Vec<String>,
    /// Most resident memory above what it was after warming up.
    pub memory: usize,
}

/// Feeds `count` mutations, drawn from `seed`, into all parsers and engines in turn.
pub fn run(seed: u64, count: usize) -> Report {
    let mut rng = Rng::seed_from_u64(seed);
    let mut targets: Vec<(usize, Box<dyn Target>)> = vec![
        (40, Box::new(parser_target::Parsers::new())),
        (30, Box::new(sctp_target::Sctp::new(&mut rng))),
        (14, Box::new(ice_target::Ice::new(&mut rng))),
        (8, Box::new(dtls_target::Dtls::new())),
        (8, Box::new(stack_target::Stacks::new(&mut rng))),
    ];
    let places = watch_panics();
    let mut report = Report::default();
    let mut base = resident();
    for n in 0..count {
        let mut pick = rng.random_range(0..100_usize);
        let index = targets.iter().position(|(share, _)| {
            let here = pick < *share;
            pick = pick.saturating_sub(*share);
            here
        });
        let target = &mut targets[index.expect("shares add up to 100")].1;
        let step = panic::catch_unwind(AssertUnwindSafe(|| target.step(&mut rng)));
        assert!(
            step.is_ok(),
            "seed {seed}, mutation {n}: {:?}",
            places.lock().expect("places")
        );
        if n == count / 20 {
            base = resident();
        }
        if n % 512 == 0 && n > count / 20 {
            report.memory = report.memory.max(resident().saturating_sub(base));
            assert!(
                report.memory < MEMORY_CAP,
                "seed {seed}: {} bytes",
                report.memory
            );
        }
    }
    drop(panic::take_hook());
    report.mutations = count;
    report.faults = targets.iter().map(|(_, target)| target.faults()).sum();
    report.places = places.lock().expect("places").clone();
    report
}

/// Notes where panics happen instead of printing them.
fn watch_panics() -> Arc<Mutex<Vec<String>>> {
    let places = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&places);
    panic::set_hook(Box::new(move |info| {
        let trace = std::backtrace::Backtrace::force_capture().to_string();
        let theirs = |line: &&str| {
            ["rtc_", "dimpl::", "peerloom"]
                .iter()
                .any(|n| line.contains(n))
        };
        let frame = trace
            .lines()
            .filter(theirs)
            .find(|line| !line.contains("mutate"));
        let place = match frame {
            Some(frame) => frame.trim().to_owned(),
            None => info.to_string(),
        };
        let mut places = noted.lock().expect("places");
        if places.len() < 100 && !places.contains(&place) {
            places.push(place);
        }
    }));
    places
}

/// Resident memory of this process, where the system tells.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<usize>().ok());
    pages.unwrap_or_default() * 4096
}

/// Changes `bytes` in one of many ways; `other` is something to splice in.
pub fn mutate(bytes: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    for _ in 0..rng.random_range(1..=3_u8) {
        let len = bytes.len();
        let at = rng.random_range(0..=len.max(1) - 1);
        match rng.random_range(0..11_u8) {
            _ if len == 0 => bytes.extend(other),
            0 | 1 => bytes[at] ^= 1 << rng.random_range(0..8_u8),
            2 => bytes[at] = rng.random(),
            3 => bytes.truncate(at),
            4 => bytes.extend((0..rng.random_range(1..40_u8)).map(|i| i.wrapping_mul(37))),
            5 => {
                let end = (at + rng.random_range(1..32_usize)).min(len);
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            6 if !other.is_empty() => {
                let from = rng.random_range(0..other.len());
                let to = (from + rng.random_range(1..64_usize)).min(other.len());
                let end = (at + to - from).min(len);
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            7 => {
                let fill = [0, 0xff, 0x7f, 0x80][rng.random_range(0..4_usize)];
                let end = (at + rng.random_range(1..9_usize)).min(len);
                bytes[at..end].fill(fill);
            }
            8 if len >= 2 => {
                // A field of two bytes, one up or down, or at its end.
                let at = rng.random_range(0..len - 1);
                let value = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
                let value = match rng.random_range(0..4_u8) {
                    0 => value.wrapping_add(1),
                    1 => value.wrapping_sub(1),
                    2 => u16::MAX,
                    _ => u16::try_from(len).unwrap_or(u16::MAX),
                };
                bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
            }
            9 => {
                let end = (at + rng.random_range(1..32_usize)).min(len);
                bytes.drain(at..end);
            }
            _ => {
                let to = rng.random_range(0..len);
                bytes.swap(at, to);
            }
        }
    }
}

/// The last few packets, to mutate and to splice from.
pub struct Recent<T> {
    items: Vec<T>,
    next: usize,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            next: 0,
        }
    }
}

impl<T: Clone> Recent<T> {
    const KEPT: usize = 96;

    pub fn push(&mut self, item: T) {
        if self.items.len() < Self::KEPT {
            self.items.push(item);
        } else {
            self.items[self.next % Self::KEPT] = item;
            self.next += 1;
        }
    }

    pub fn pick(&self, rng: &mut Rng) -> Option<T> {
        if self.items.is_empty() {
            return None;
        }
        self.items
            .get(rng.random_range(0..self.items.len()))
            .cloned()
    }

    pub fn clear(&mut self) {
        self.items.clear();
        self.next = 0;
    }
}
