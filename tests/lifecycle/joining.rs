//! How a view joins a source that is already read, and what becomes of a source that no view reads any more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::source::memory::MemoryLog;
use engine::source::{Offsets, PartitionStatus, PollBudget, RawRecord, Source, SourceOpener};
use engine::time::SystemClock;
use engine::{ErrorKind, Result};

use super::{Bench, RECORDS};

/// What a reading but the first two (the look at creation, and the live one) is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Second {
    /// One record is not there any more, as after a compaction.
    Lacks(i64),
    /// Nothing comes.
    Silent,
}

#[derive(Debug)]
pub(super) struct Forgetful {
    log: MemoryLog,
    second: Second,
    opened: AtomicUsize,
}

impl Forgetful {
    pub(super) fn new(log: MemoryLog, second: Second) -> Self {
        Self { log, second, opened: AtomicUsize::new(0) }
    }
}

struct Reading {
    source: Box<dyn Source>,
    second: Option<Second>,
}

impl SourceOpener for Forgetful {
    fn open(&self, offsets: &Offsets) -> Result<Box<dyn Source>> {
        let second = (self.opened.fetch_add(1, Ordering::Relaxed) >= 2).then_some(self.second);
        Ok(Box::new(Reading { source: self.log.open(offsets)?, second }))
    }

    fn bounds(&self) -> Result<BTreeMap<i32, (i64, i64)>> {
        self.log.bounds()
    }

    fn topic(&self) -> &str {
        self.log.topic()
    }
}

impl Source for Reading {
    fn poll(&mut self, budget: PollBudget, sink: &mut dyn FnMut(&[RawRecord<'_>])) -> Result<usize> {
        match self.second {
            None => self.source.poll(budget, sink),
            Some(Second::Silent) => {
                std::thread::sleep(budget.wait);
                Ok(0)
            }
            Some(Second::Lacks(offset)) => self.source.poll(budget, &mut |records| {
                let kept: Vec<_> = records.iter().filter(|record| record.offset != offset).copied().collect();
                sink(&kept);
            }),
        }
    }

    fn partitions(&self) -> BTreeMap<i32, PartitionStatus> {
        match self.second {
            Some(Second::Silent) => BTreeMap::new(),
            _ => self.source.partitions(),
        }
    }

    fn trouble(&self) -> Option<String> {
        self.source.trouble()
    }
}

fn forgetful(second: Second) -> Bench {
    let bench = Bench::with(1, Arc::new(SystemClock), |log| Arc::new(Forgetful::new(log, second)));
    bench.append(0, &RECORDS);
    bench.create("a", "SELECT k, v FROM s").expect("the first view");
    assert_eq!(bench.rows("a"), ["1|10", "1|30", "2|20"]);
    bench
}

#[test]
fn a_log_that_gives_other_records_the_second_time_makes_no_view() {
    let bench = forgetful(Second::Lacks(1));
    let error = bench.create("b", "SELECT k, v FROM s").expect_err("a record less");
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    assert!(error.to_string().contains("partition 0 gave 3 accepted, 0 late"), "{error}");
    assert!(error.to_string().contains("now 2 accepted, 0 late, 0 errors, 0 tombstones, 1 skipped"), "{error}");
    assert!(bench.engine.snapshot().view("b").is_none());
    bench.append(0, &RECORDS[..1]);
    assert_eq!(bench.rows("a"), ["1|10", "1|10", "1|30", "2|20"]);
}

#[test]
fn a_view_can_be_cancelled_while_the_others_wait_for_it() {
    let bench = forgetful(Second::Silent);
    let asked = AtomicUsize::new(0);
    // Not before the tick thread has it.
    let cancelled = || asked.fetch_add(1, Ordering::Relaxed) > 2;
    let dataflow = bench.plan("b", "SELECT k, v FROM s");
    let error = bench.engine.create_view("b", &dataflow, &cancelled).expect_err("cancelled");
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    bench.append(0, &RECORDS[..1]);
    assert_eq!(bench.rows("a"), ["1|10", "1|10", "1|30", "2|20"]);
}

#[test]
fn a_view_joins_while_records_pour_in() {
    let bench = Bench::new(2);
    let record = |key: usize| format!("{{\"k\": {}, \"v\": 1, \"ts\": \"2026-03-01 00:00:01\"}}", key % 7);
    let all: Vec<String> = (0..30_000).map(record).collect();
    bench.log.append_all(0, all.iter().map(|text| (text.as_bytes(), 0)));
    bench.create("a", "SELECT k, count(*) AS n FROM s GROUP BY k").expect("the first view");
    bench.rows("a");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for chunk in all.chunks(100) {
                bench.log.append_all(1, chunk.iter().map(|text| (text.as_bytes(), 0)));
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        for round in 0..5 {
            bench.create(&format!("b{round}"), "SELECT k, count(*) AS n FROM s GROUP BY k").expect("it catches up");
        }
    });
    let rows = bench.rows("a");
    (0..5).for_each(|round| assert_eq!(bench.rows(&format!("b{round}")), rows, "round {round}"));
}

#[test]
fn a_staged_view_goes_along_unseen_and_leaves_no_trace() {
    let bench = Bench::new(1);
    bench.append(0, &RECORDS);
    bench.create("v", "SELECT k FROM s").expect("a view");
    let dataflow = bench.plan("v", "SELECT v FROM s");
    let staged = bench.engine.stage_view("v", &dataflow, &|| false).expect("its successor");
    bench.append(0, &RECORDS[..1]);
    assert_eq!(bench.rows("v"), ["1", "1", "1", "2"]);
    drop(staged);
    bench.append(0, &RECORDS[..1]);
    assert_eq!(bench.rows("v"), ["1", "1", "1", "1", "2"]);
    let staged = bench.engine.stage_view("v", &dataflow, &|| false).expect("its successor");
    bench.append(0, &RECORDS[..1]);
    staged.show().expect("a running engine");
    assert_eq!(bench.rows("v"), ["10", "10", "10", "10", "20", "30"]);
}

#[test]
fn a_source_is_read_as_long_as_a_view_reads_it() {
    let bench = Bench::new(1);
    let is_read = || bench.engine.source_status("s").is_some();
    bench.append(0, &RECORDS);
    bench.append(0, &["no record"]);
    assert!(!is_read());
    bench.create("a", "SELECT k FROM s").expect("a view");
    bench.create("b", "SELECT v FROM s").expect("another");
    assert_eq!(bench.rows("a"), ["1", "1", "2"]);
    bench.engine.drop_view("a").expect("a view that is there");
    assert!(is_read());
    bench.engine.drop_view("b").expect("a view that is there");
    assert!(!is_read(), "the last view is gone");
    let counts = || bench.engine.snapshot().source("s").expect("the source stays").counts();
    assert_eq!((counts().accepted, counts().errors), (3, 1), "what was counted stays to be seen");
    bench.append(0, &RECORDS[..1]);
    bench.create("c", "SELECT v FROM s").expect("a view over a source read before");
    assert_eq!(bench.rows("c"), ["10", "10", "20", "30"]);
    assert_eq!((counts().accepted, counts().errors), (4, 1), "counted anew, not twice");
}
