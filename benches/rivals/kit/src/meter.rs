//! What the kernel says about this process.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::stack::Failure;

/// CPU time of all threads, in user and kernel.
pub fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        spent.tv_sec.unsigned_abs(),
        u32::try_from(spent.tv_nsec).unwrap_or(0),
    )
}

/// Bytes of this process that are in memory.
pub fn resident() -> Result<u64, Failure> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = pages
        .split_whitespace()
        .nth(1)
        .ok_or("/proc/self/statm has no second field")?
        .parse()?;
    Ok(pages * rustix::param::page_size() as u64)
}

/// A moment, by the clock and by the CPU time spent so far.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    at: Instant,
    cpu: Duration,
}

impl Mark {
    /// This moment.
    pub fn now() -> Self {
        Self {
            at: Instant::now(),
            cpu: cpu(),
        }
    }

    /// Seconds and CPU seconds since.
    pub fn elapsed(&self) -> (f64, f64) {
        let spent = cpu().saturating_sub(self.cpu);
        (self.at.elapsed().as_secs_f64(), spent.as_secs_f64())
    }
}

/// The value below which `share` of them lie; they are sorted on the way.
pub fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    let at = (last as f64 * share).round() as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_values() {
        let mut values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(percentile(&mut values, 0.5), 3.0);
        assert_eq!(percentile(&mut values, 0.99), 5.0);
        assert!(percentile(&mut [], 0.5).is_nan());
    }

    #[test]
    fn work_costs_cpu_time_and_memory_is_there() {
        let mark = Mark::now();
        while mark.elapsed().1 == 0.0 {
            std::hint::spin_loop();
        }
        assert!(resident().is_ok_and(|bytes| bytes > 100_000));
    }
}
