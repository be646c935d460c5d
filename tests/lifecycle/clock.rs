//! Views with conditions on `now()`: time passes without records, and only they notice.

use std::sync::Arc;
use std::time::Duration;

use engine::time::{ManualClock, TickId};

use super::Bench;

/// 2026-03-01 00:00:10, µs.
const NOW: i64 = 1_772_323_210_000_000;
const SECOND: i64 = 1_000_000;

const RECORDS: [&str; 3] = [
    r#"{"k": 1, "v": 10, "ts": "2026-03-01 00:00:01"}"#,
    r#"{"k": 2, "v": 20, "ts": "2026-03-01 00:00:09"}"#,
    r#"{"k": 3, "v": 30, "ts": "2026-03-01 00:00:12"}"#,
];

impl Bench {
    fn tick(&self) -> TickId {
        self.engine.snapshot().tick
    }

    fn wait_for(&self, tick: TickId) {
        let store = self.engine.store().clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let waited = async { tokio::time::timeout(Duration::from_secs(30), store.wait_for(tick)).await };
        runtime.block_on(waited).expect("a tick comes").expect("the engine runs");
    }
}

#[test]
fn rows_come_and_go_by_the_clock_alone() {
    let clock = Arc::new(ManualClock::new(NOW));
    let bench = Bench::with(1, clock.clone(), |log| Arc::new(log));
    bench.append(0, &RECORDS);
    bench.create("a", "SELECT k FROM s WHERE ts > now() - INTERVAL '5 seconds' AND ts <= now()").expect("a view");
    bench.create("n", "SELECT count(*) AS n FROM s").expect("a view without a clock");
    assert_eq!(bench.rows("a"), ["2"]);
    // A view that comes later has the time it joins at, whatever the ticks of its backfill say.
    bench.create("b", "SELECT k FROM s WHERE ts <= now()").expect("a view over a running source");
    assert_eq!(bench.rows("b"), ["1", "2"]);

    let before = bench.tick();
    clock.set(NOW + SECOND);
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(bench.tick(), before, "no row's time has come, so there is no tick");

    clock.set(NOW + 2 * SECOND);
    bench.wait_for(before.next());
    assert_eq!(bench.rows("a"), ["2", "3"]);
    assert_eq!(bench.rows("b"), ["1", "2", "3"]);
    let snapshot = bench.engine.snapshot();
    assert_eq!(snapshot.now_micros, NOW + 2 * SECOND);
    assert!(snapshot.view("n").expect("a view").applied <= before, "who does not ask for the time is left alone");

    clock.set(NOW + 60 * SECOND);
    bench.wait_for(before.next().next());
    assert_eq!(bench.rows("a"), Vec::<String>::new());
    bench.append(0, &[r#"{"k": 4, "v": 10, "ts": "2026-03-01 00:01:08"}"#, RECORDS[2]]);
    assert_eq!(bench.rows("a"), ["4"]);
}
