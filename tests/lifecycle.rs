//! Views that come, are replaced and go while records flow, on a running engine over a log in memory; definitions that
//! are kept; the longest statements.

#[path = "lifecycle/canary.rs"]
mod canary;
#[path = "lifecycle/clock.rs"]
mod clock;
#[path = "lifecycle/compacted.rs"]
mod compacted;
#[path = "lifecycle/definitions.rs"]
mod definitions;
#[path = "lifecycle/durable.rs"]
mod durable;
#[path = "lifecycle/errors.rs"]
mod errors;
#[path = "lifecycle/failover.rs"]
mod failover;
#[path = "lifecycle/idle.rs"]
mod idle;
#[path = "lifecycle/joining.rs"]
mod joining;
#[path = "lifecycle/killed.rs"]
mod killed;
#[path = "lifecycle/long_statements.rs"]
mod long_statements;
#[path = "lifecycle/privileges.rs"]
mod privileges;
#[path = "lifecycle/stacked.rs"]
mod stacked;
#[path = "lifecycle/state.rs"]
mod state;
#[path = "lifecycle/tables.rs"]
mod tables;

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::dataflow::Dataflow;
use engine::engine::{Engine, EngineConfig, SourceDefinition};
use engine::source::SourceOpener;
use engine::source::memory::MemoryLog;
use engine::time::{Clock, SystemClock};
use harness::feed::{Feed, ROWS};
use harness::run;
use server::database::{decoder_factory, ingest_spec_of};

struct Bench {
    engine: Engine,
    log: MemoryLog,
    /// Of the second source.
    other: MemoryLog,
    catalog: Arc<sql::catalog::Catalog>,
}

impl Bench {
    /// An engine with the sources `s` and `o`, each over a log of so many partitions.
    fn new(partitions: usize) -> Self {
        Self::with(partitions, Arc::new(SystemClock), |log| Arc::new(log))
    }

    /// The same by another clock, and with the log opened another way.
    fn with(partitions: usize, clock: Arc<dyn Clock>, open: impl Fn(MemoryLog) -> Arc<dyn SourceOpener>) -> Self {
        Self::of([ROWS; 2], partitions, clock, open)
    }

    /// The same over sources whose records are these.
    fn of(
        feeds: [Feed; 2],
        partitions: usize,
        clock: Arc<dyn Clock>,
        open: impl Fn(MemoryLog) -> Arc<dyn SourceOpener>,
    ) -> Self {
        let (catalog, sources) = run::catalog(feeds);
        let (log, other) = (MemoryLog::new("t", partitions), MemoryLog::new("u", partitions));
        let engine = Engine::start(EngineConfig::default(), clock).expect("a tick thread");
        for (source, opener) in sources.iter().zip([open(log.clone()), Arc::new(other.clone())]) {
            let spec = ingest_spec_of(source).expect("valid options");
            let (name, factory) = (source.name.clone(), decoder_factory(source).expect("valid options"));
            engine.create_source(SourceDefinition { id: 0, name, spec, factory, opener }).expect("a log in memory");
        }
        Self { engine, log, other, catalog }
    }

    fn append(&self, partition: i32, payloads: &[&str]) {
        for payload in payloads {
            self.log.append(partition, None, Some(payload.as_bytes()), None);
        }
    }

    fn append_other(&self, payloads: &[&str]) {
        payloads.iter().for_each(|payload| _ = self.other.append(0, None, Some(payload.as_bytes()), None));
    }

    fn create(&self, name: &str, select: &str) -> engine::Result<()> {
        self.engine.create_view(name, &self.plan(name, select), &|| false)
    }

    fn plan(&self, name: &str, select: &str) -> Dataflow {
        let text = create_text(name, select);
        run::plan(&self.catalog, &text).expect("a view that can be maintained").dataflow
    }

    /// The view's rows, sorted, once everything in the log is in it.
    fn rows(&self, name: &str) -> Vec<String> {
        self.engine.flush(&|| false).expect("a log that can be read");
        rows_of(&self.engine, name)
    }
}

/// A view's rows in the newest snapshot, sorted. The view has not failed.
fn rows_of(engine: &Engine, name: &str) -> Vec<String> {
    let snapshot = engine.snapshot();
    let view = snapshot.view(name).unwrap_or_else(|| panic!("no view {name}"));
    assert_eq!(view.error, None, "{name}");
    let mut rows = Vec::new();
    for batch in view.rows.scan(None) {
        let batch = batch.expect("rows that can be read");
        for row in 0..batch.num_rows() {
            let value = |column| arrow::util::display::array_value_to_string(column, row).expect("a shown type");
            rows.push(batch.columns().iter().map(|column| value(column)).collect::<Vec<_>>().join("|"));
        }
    }
    rows.sort();
    rows
}

/// The statement that creates a view; `select` may begin with its options.
fn create_text(name: &str, select: &str) -> String {
    let body = if select.starts_with("WITH (") { select.to_owned() } else { format!("AS {select}") };
    format!("CREATE MATERIALIZED VIEW {name} {body}")
}

const RECORDS: [&str; 3] = [
    r#"{"k": 1, "v": 10, "ts": "2026-03-01 00:00:01"}"#,
    r#"{"k": 2, "v": 20, "ts": "2026-03-01 00:00:02"}"#,
    r#"{"k": 1, "v": 30, "ts": "2026-03-01 00:00:03"}"#,
];

#[test]
fn a_later_view_joins_over_partitions_without_records() {
    let bench = Bench::new(3);
    bench.append(0, &RECORDS);
    bench.create("a", "SELECT k, count(*) AS n, sum(v) AS total FROM s GROUP BY k").expect("the first view");
    assert_eq!(bench.rows("a"), ["1|2|40", "2|1|20"]);
    let began = Instant::now();
    bench
        .create("b", "SELECT k, count(*) AS n, sum(v) AS total FROM s GROUP BY k")
        .expect("a view over a running source");
    assert_eq!(bench.rows("b"), bench.rows("a"));
    // Not a timing: the bug waited for the broker's silence to be long enough, half a minute, and then failed.
    assert!(began.elapsed() < Duration::from_secs(25), "joining waited for partitions that have nothing");
    bench.append(2, &RECORDS[..1]);
    assert_eq!(bench.rows("b"), ["1|3|50", "2|1|20"]);
    assert_eq!(bench.rows("b"), bench.rows("a"));
}

#[test]
fn a_replaced_view_is_read_as_the_new_one_at_once() {
    let bench = Bench::new(1);
    bench.append(0, &RECORDS);
    bench.create("v", "SELECT v AS x FROM s").expect("a view");
    assert_eq!(bench.rows("v"), ["10", "20", "30"]);
    bench.create("v", "SELECT v + 100 AS x FROM s").expect("its successor");
    assert_eq!(bench.rows("v"), ["110", "120", "130"]);
}

#[test]
fn a_view_that_cannot_join_leaves_its_namesake_as_it_was() {
    let bench = Bench::new(1);
    bench.append(0, &RECORDS);
    bench.create("v", "SELECT k, sum(v) AS total FROM s GROUP BY k").expect("a view");
    assert_eq!(bench.rows("v"), ["1|40", "2|20"]);
    // Text that is no number fails the new view on its first row.
    bench.append(0, &[r#"{"k": 3, "v": 5, "g": "x", "ts": "2026-03-01 00:00:04"}"#]);
    bench.rows("v");
    bench.create("v", "WITH (on_error = 'fail') AS SELECT g::int AS x FROM s").expect_err("a cast that fails");
    bench.append(0, &RECORDS[..1]);
    assert_eq!(bench.rows("v"), ["1|50", "2|20", "3|5"]);
}

#[test]
fn a_dropped_view_is_gone_and_others_go_on() {
    let bench = Bench::new(2);
    bench.append(0, &RECORDS);
    bench.create("a", "SELECT k FROM s").expect("a view");
    bench.create("b", "SELECT v FROM s WHERE v > 10").expect("another");
    assert_eq!(bench.rows("b"), ["20", "30"]);
    bench.engine.drop_view("b").expect("a view that is there");
    assert!(bench.engine.snapshot().view("b").is_none());
    bench.append(1, &RECORDS[1..2]);
    assert_eq!(bench.rows("a"), ["1", "1", "2", "2"]);
}

#[test]
fn a_join_joins_whichever_of_its_sources_are_read_already() {
    const JOIN: &str =
        "SELECT a.k, a.v, b.v AS w FROM s a LEFT JOIN o b ON a.k = b.k AND a.ts <= b.ts + INTERVAL '1 day'";
    let bench = Bench::new(2);
    bench.append(0, &RECORDS);
    bench.append_other(&RECORDS[..2]);
    bench.create("neither", JOIN).expect("over sources nobody reads");
    let both = ["1|10|10", "1|30|10", "2|20|20"];
    assert_eq!(bench.rows("neither"), both);
    bench.create("both", JOIN).expect("over sources that are read");
    assert_eq!(bench.rows("both"), both);

    let bench = Bench::new(1);
    bench.append(0, &RECORDS);
    bench.append_other(&RECORDS[..1]);
    bench.create("first", "SELECT k FROM s").expect("a view");
    assert_eq!(bench.rows("first"), ["1", "1", "2"]);
    bench.create("one", JOIN).expect("over one source that is read and one that is not");
    assert_eq!(bench.rows("one"), ["1|10|10", "1|30|10", "2|20|"]);
    bench.create("again", JOIN).expect("over both, now");
    bench.append_other(&RECORDS[1..]);
    bench.append(0, &RECORDS[1..2]);
    let all = ["1|10|10", "1|10|30", "1|30|10", "1|30|30", "2|20|20", "2|20|20"];
    assert_eq!(bench.rows("one"), all);
    assert_eq!(bench.rows("again"), all);
}
