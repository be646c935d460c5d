//! A source that brings nothing costs next to nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use engine::time::{Clock, SystemClock};

use super::{Bench, RECORDS};

/// Counts how often it is read: once for every look at the sources.
#[derive(Debug, Default)]
struct CountingClock(AtomicUsize);

impl Clock for CountingClock {
    fn now_micros(&self) -> i64 {
        self.0.fetch_add(1, Ordering::Relaxed);
        SystemClock.now_micros()
    }
}

#[test]
fn without_records_there_are_few_looks_and_the_next_record_is_seen() {
    let clock = Arc::new(CountingClock::default());
    let bench = Bench::with(3, clock.clone(), |log| Arc::new(log));
    bench.append(0, &RECORDS);
    bench.create("a", "SELECT k FROM s").expect("a view");
    assert_eq!(bench.rows("a"), ["1", "1", "2"]);
    let before = clock.0.load(Ordering::Relaxed);
    std::thread::sleep(Duration::from_secs(3));
    // Twice a look: after 50, 100, 200, 400 and 800 ms, then once a second. A slow machine looks less.
    let looks = clock.0.load(Ordering::Relaxed) - before;
    assert!(looks <= 20, "{looks} readings of the clock in three idle seconds");
    // The next record wakes the ticks by itself.
    let store = bench.engine.store().clone();
    let next = store.newest().tick.next();
    let appended = Instant::now();
    bench.append(1, &RECORDS[..1]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let waited = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), store.wait_for(next)).await });
    waited.expect("a tick comes").expect("the engine runs");
    println!("{looks} readings of the clock; the next record was seen after {:?}", appended.elapsed());
    assert_eq!(bench.rows("a"), ["1", "1", "1", "2"]);
}
