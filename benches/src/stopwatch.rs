//! Time on the processor, which other programs on the machine disturb least.

use std::time::Instant;

/// Measures this thread's time on the processor, or the clock's where the system does not tell.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch {
    on_processor: Option<u64>,
    clock: Instant,
}

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Self { on_processor: nanos_on_processor(), clock: Instant::now() }
    }

    /// ns since the start.
    pub fn nanos(&self) -> f64 {
        match (self.on_processor, nanos_on_processor()) {
            (Some(start), Some(end)) => (end - start) as f64,
            _ => self.clock.elapsed().as_nanos() as f64,
        }
    }
}

/// The first number of Linux's schedstat file: ns this thread has run.
fn nanos_on_processor() -> Option<u64> {
    // The kernel brings the number up to date when it schedules.
    std::thread::yield_now();
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()
}

/// The median of some measurements.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
