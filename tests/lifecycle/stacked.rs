//! Views over views: how they start from what they read, go on when it is renamed, and are replaced together.

use std::sync::Arc;
use std::time::Duration;

use engine::ErrorKind;
use engine::engine::StagedView;
use harness::run;
use sql::catalog::{Definition, NewObject};
use sql::statement::Statement;

use super::{Bench, RECORDS};

impl Bench {
    /// Creates a view that others may read.
    pub(super) fn create_known(&mut self, name: &str, select: &str) {
        self.know(name, select);
        self.engine.create_view(name, &self.plan(name, select), &|| false).expect("a view that can be built");
    }

    /// Has the catalog know a view.
    pub(super) fn know(&mut self, name: &str, select: &str) {
        let text = super::create_text(name, select);
        let planned = run::plan(&self.catalog, &text).expect("a view that can be maintained");
        let parsed = sql::parser::parse(&text).expect("a statement").remove(0);
        let Statement::CreateMaterializedView(create) = parsed.statement else { unreachable!("a view") };
        self.catalog = Arc::new(self.catalog.with(NewObject {
            name: name.to_owned(),
            text,
            definition: Definition::MaterializedView(Arc::new(*create)),
            columns: planned.columns,
            reads: planned.reads,
            properties: Some(Arc::new(planned.dataflow.properties())),
        }));
    }
}

/// The broker's time of the records, after their event times: 2026-03-03.
const RECORD_TIME_MS: i64 = 1_772_500_000_000;

const PER_KEY: &str = "SELECT k, count(*) AS n, sum(v)::bigint AS total FROM s GROUP BY k";

#[test]
fn a_view_starts_from_the_rows_of_the_views_it_reads() {
    let mut bench = Bench::new(1);
    bench.append(0, &RECORDS);
    bench.create_known("a", PER_KEY);
    bench.create_known("b", "SELECT n, max(total) AS most FROM a GROUP BY n");
    bench.create_known("c", "SELECT a.k, b.most FROM a LEFT JOIN b ON a.n = b.n");
    assert_eq!(bench.rows("b"), ["1|20", "2|40"]);
    assert_eq!(bench.rows("c"), ["1|40", "2|20"]);
    bench.append(0, &RECORDS[1..2]);
    assert_eq!(bench.rows("a"), ["1|2|40", "2|2|40"]);
    assert_eq!(bench.rows("b"), ["2|40"]);
    assert_eq!(bench.rows("c"), ["1|40", "2|40"]);
    bench.engine.drop_view("c").expect("it is there");
    bench.engine.drop_view("b").expect("it is there");
    bench.append(0, &RECORDS[..1]);
    assert_eq!(bench.rows("a"), ["1|3|50", "2|2|40"]);
}

#[test]
fn views_over_views_and_sources_join_while_records_pour_in() {
    // Each number is looked for among the counts, which change with every record.
    const JOIN: &str = "SELECT s.v, a.n, a.k FROM s JOIN a ON s.v = a.n";
    const ALONE: &str = "SELECT n % 10 AS digit, count(*) AS keys, max(total) AS most FROM a GROUP BY 1";
    let mut bench = Bench::new(2);
    let record = |number: usize| format!("{{\"k\": {}, \"v\": {number}, \"ts\": \"2026-03-01 00:00:01\"}}", number % 7);
    let all: Vec<String> = (0..20_000).map(record).collect();
    bench.create_known("a", PER_KEY);
    bench.create_known("join_first", JOIN);
    bench.create_known("alone_first", ALONE);
    let bench = &bench;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for chunk in all.chunks(100) {
                bench.log.append_all(1, chunk.iter().map(|text| (text.as_bytes(), RECORD_TIME_MS)));
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        for round in 0..4 {
            bench.create(&format!("join{round}"), JOIN).expect("it catches up");
            bench.create(&format!("alone{round}"), ALONE).expect("it catches up");
        }
    });
    let (join, alone) = (bench.rows("join_first"), bench.rows("alone_first"));
    assert_eq!(join.len(), 7);
    for round in 0..4 {
        assert_eq!(bench.rows(&format!("join{round}")), join, "round {round}");
        assert_eq!(bench.rows(&format!("alone{round}")), alone, "round {round}");
    }
}

#[test]
fn windows_close_alike_whenever_the_view_over_them_was_made() {
    const SECONDS: &str = "SELECT window_end, k, count(*) AS n FROM tumble(s, ts, INTERVAL '10 seconds') GROUP BY 1, 2";
    const CLOSED: &str = "SELECT a.window_end, count(*) AS n, max(a.n) AS top FROM \
         (SELECT k, date_bin(INTERVAL '10 seconds', ts) + INTERVAL '10 seconds' AS window_end FROM s) AS r \
         JOIN a ON r.k = a.k AND r.window_end = a.window_end GROUP BY 1 EMIT ON WINDOW CLOSE";
    let mut bench = Bench::new(1);
    let record = |number: usize| {
        let (minute, second) = (number / 17 / 60, number / 17 % 60);
        format!("{{\"k\": {}, \"v\": 1, \"ts\": \"2026-03-01 00:{minute:02}:{second:02}\"}}", number % 3)
    };
    let all: Vec<String> = (0..6_000).map(record).collect();
    bench.create_known("a", SECONDS);
    bench.create_known("first", CLOSED);
    let bench = &bench;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for chunk in all.chunks(50) {
                bench.log.append_all(0, chunk.iter().map(|text| (text.as_bytes(), RECORD_TIME_MS)));
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        (0..3).for_each(|round| bench.create(&format!("later{round}"), CLOSED).expect("it catches up"));
    });
    let first = bench.rows("first");
    assert!(first.len() > 20, "{first:?}");
    (0..3).for_each(|round| assert_eq!(bench.rows(&format!("later{round}")), first, "round {round}"));
}

#[test]
fn nothing_is_built_over_a_view_that_failed() {
    let mut bench = Bench::new(1);
    bench.append(0, &RECORDS);
    bench.create_known("a", "WITH (on_error = 'fail') AS SELECT k, 100 / (v - 40) AS x FROM s");
    bench.create_known("b", "SELECT max(x) AS x FROM a");
    bench.append(0, &[r#"{"k": 1, "v": 40, "ts": "2026-03-01 00:00:04"}"#]);
    bench.engine.flush(&|| false).expect("a log that can be read");
    let snapshot = bench.engine.snapshot();
    let error = |view: &str| snapshot.view(view).and_then(|view| view.error.clone()).unwrap_or_default();
    assert!(error("a").contains("ivide by zero"), "{}", error("a"));
    assert!(error("b").starts_with("the materialized view \"a\" that it reads has failed: "), "{}", error("b"));
    let failed = bench.create("c", "SELECT k FROM a").expect_err("a parent that stands still");
    assert_eq!(failed.kind(), ErrorKind::Conflict, "{failed}");
}

#[test]
fn views_go_on_when_what_they_read_is_renamed() {
    let mut bench = Bench::new(1);
    bench.append(0, &RECORDS);
    bench.create_known("a", PER_KEY);
    bench.create_known("b", "SELECT n, count(*) AS keys FROM a GROUP BY n");
    bench.create_known("c", "SELECT s.v, a.n FROM s JOIN a ON s.k = a.k");
    bench.rows("c");
    for (from, to) in [("a", "per_key"), ("s", "a"), ("per_key", "s_by_key")] {
        bench.engine.rename(from, to, vec![]).expect("a running engine");
        let snapshot = bench.engine.snapshot();
        let has = |name: &str| snapshot.view(name).is_some() || snapshot.source(name).is_some();
        assert!(has(from) && has(to), "{from} under both names until it is forgotten");
        bench.engine.forget_name(from).expect("a running engine");
    }
    assert!(bench.engine.snapshot().view("a").is_none());
    assert!(bench.engine.snapshot().source("s").is_none());
    bench.append(0, &RECORDS[1..2]);
    assert_eq!(bench.rows("s_by_key"), ["1|2|40", "2|2|40"]);
    assert_eq!(bench.rows("b"), ["2|2"]);
    assert_eq!(bench.rows("c"), ["10|2", "20|2", "20|2", "30|2"]);
}

#[test]
fn a_view_and_those_that_read_it_are_replaced_in_one_tick() {
    let mut bench = Bench::new(1);
    bench.append(0, &RECORDS);
    bench.create_known("a", "SELECT k, v FROM s");
    bench.create_known("b", "SELECT sum(v)::bigint AS total FROM a");
    assert_eq!(bench.rows("b"), ["60"]);
    let selects = [("a", "SELECT k, v + 1 AS v FROM s"), ("b", "SELECT sum(v)::bigint AS total FROM a")];
    let mut staged = Vec::new();
    for (name, select) in selects {
        bench.know(name, select);
        staged.push(bench.engine.stage_view(name, &bench.plan(name, select), &|| false).expect("its successor"));
    }
    bench.append(0, &RECORDS[..1]);
    assert_eq!(bench.rows("b"), ["70"], "the old ones go on");
    StagedView::show_all(staged).expect("a running engine");
    assert_eq!(bench.rows("b"), ["74"]);
    assert_eq!(bench.rows("a"), ["1|11", "1|11", "1|31", "2|21"]);
    bench.append(0, &RECORDS[..1]);
    assert_eq!(bench.rows("b"), ["85"]);
}
