//! What views keep: what is said of it before, what is counted, and what becomes of a view that takes more than it may.

use std::sync::Arc;

use engine::ErrorKind;
use engine::dataflow::state::PlanState;
use engine::operator::state_bound::Growth::{self, Bounded, Constant, Present, Unbounded};
use engine::time::SystemClock;
use harness::feed::{Feed, ROWS};
use sql::statement::Envelope;

use super::Bench;

/// A bench whose source `o` has a key.
fn keyed() -> Bench {
    let feeds = [ROWS, Feed { envelope: Envelope::Upsert, key: &["k"], accept_late: None }];
    Bench::of(feeds, 1, Arc::new(SystemClock), |log| Arc::new(log))
}

/// Each part of each operator but the memory it works in, and the view's rows.
fn parts(bench: &Bench, select: &str) -> (Vec<(String, Growth)>, Growth) {
    let state = PlanState::of(&bench.plan("v", select)).expect("a plan");
    let mut parts = Vec::new();
    for part in state.operators.into_iter().flat_map(|operator| operator.parts) {
        if part.unit == "a group at work" {
            assert_eq!(part.growth, Constant, "{select}");
            continue;
        }
        assert!(part.bytes_each > 0, "{select}: {part:?}");
        parts.push((format!("{}: {}", part.unit, part.count), part.growth));
    }
    (parts, state.rows.growth)
}

fn check(bench: &Bench, select: &str, expected: &[(&str, Growth)], rows: Growth) {
    let (found, found_rows) = parts(bench, select);
    let found: Vec<_> = found.iter().map(|(part, growth)| (part.as_str(), *growth)).collect();
    assert_eq!(found, expected, "{select}");
    assert_eq!(found_rows, rows, "{select}");
}

#[test]
fn every_operator_says_what_it_keeps_of_a_source_that_appends() {
    let bench = Bench::new(1);
    let check = |select: &str, expected: &[(&str, Growth)], rows: Growth| check(&bench, select, expected, rows);
    check("SELECT k, v FROM s WHERE v > 1", &[], Unbounded);
    check("SELECT count(*) AS n, max(v) AS m FROM s", &[("a group: 1", Constant)], Constant);
    check("SELECT k, count(*) AS n FROM s GROUP BY k", &[("a group: keys", Unbounded)], Unbounded);
    check("SELECT b, count(*) AS n FROM s GROUP BY b", &[("a group: at most 3", Constant)], Constant);
    check(
        "SELECT window_end, k, count(*) AS n FROM tumble(s, ts, INTERVAL '10 seconds') GROUP BY 1, 2",
        &[("a group: keys of open windows", Bounded)],
        Unbounded,
    );
    check(
        "SELECT window_end, k, count(*) AS n FROM hop(s, ts, INTERVAL '2 seconds', INTERVAL '10 seconds') GROUP BY 1, 2",
        &[("a group: keys x open windows", Bounded)],
        Unbounded,
    );
    check(
        "SELECT count(DISTINCT k) AS n FROM s",
        &[("a group: 1", Constant), ("a distinct value of count(DISTINCT s.k): distinct values", Unbounded)],
        Constant,
    );
    check(
        "SELECT s.v, o.v AS w FROM s JOIN o ON s.k = o.k",
        &[
            ("a key: keys of either side", Unbounded),
            ("a row of the left side: left rows", Unbounded),
            ("a row of the right side: right rows", Unbounded),
        ],
        Unbounded,
    );
    check(
        "SELECT s.v, o.v AS w FROM s JOIN o ON s.k = o.k AND o.ts BETWEEN s.ts AND s.ts + INTERVAL '5 seconds'",
        &[
            ("a key: keys of either side", Bounded),
            ("a row of the left side: left rows within reach", Bounded),
            ("a row of the right side: right rows within reach", Bounded),
        ],
        Unbounded,
    );
    check("SELECT k, v FROM s ORDER BY v LIMIT 3", &[("a group: 1", Constant), ("a row: 3", Constant)], Constant);
    check("SELECT DISTINCT ON (k) k, v FROM s ORDER BY k, v", &[("a group: keys", Unbounded)], Unbounded);
    check(
        "SELECT k, v FROM s INTERSECT SELECT k, v FROM o",
        &[("a row: different rows of both sides", Unbounded)],
        Unbounded,
    );
    check(
        "SELECT k, sum(v) OVER (PARTITION BY k ORDER BY ts) AS t FROM s",
        &[("a partition: partitions", Unbounded), ("a row: input rows", Unbounded)],
        Unbounded,
    );
    check(
        "SELECT k, v FROM s WHERE ts > now() - INTERVAL '5 minutes'",
        &[("a row: rows until their time is over", Bounded)],
        Bounded,
    );
    // What a condition on the clock ends, it ends for all that stands above it.
    check(
        "SELECT k, count(*) AS n FROM s WHERE ts > now() - INTERVAL '5 minutes' GROUP BY k",
        &[("a group: keys", Bounded), ("a row: rows until their time is over", Bounded)],
        Bounded,
    );
    check("VALUES (1), (2)", &[("a row: 2", Constant)], Constant);
    let (session, rows) =
        parts(&bench, "SELECT k, window_start, window_end, v FROM session(s, ts, INTERVAL '10 seconds', k)");
    assert_eq!(rows, Unbounded);
    let expected = [
        ("a key: keys of open sessions", Bounded),
        ("a session: open sessions", Bounded),
        ("a row: rows of open sessions", Bounded),
    ];
    assert_eq!(session.iter().map(|(part, growth)| (part.as_str(), *growth)).collect::<Vec<_>>(), expected);
    check(
        "SELECT k, window_number, window_end, v FROM count_window(s, ts, 2, k)",
        &[("a key's count: keys", Unbounded), ("a row: rows within reach + up to 2 x keys", Unbounded)],
        Unbounded,
    );
    check(
        "SELECT s.k, o.v FROM s ASOF JOIN o ON s.k = o.k AND s.ts >= o.ts",
        &[
            ("a key: keys of either side", Unbounded),
            ("a row of the left side: left rows within reach of their key's last change", Unbounded),
            ("a row of the right side: right rows within reach of their key's last change", Unbounded),
        ],
        Unbounded,
    );
}

#[test]
fn what_is_kept_of_a_source_with_a_key_shrinks_with_its_rows() {
    let bench = keyed();
    let last_row = ("a row: keys that have a row", Present);
    check(&bench, "SELECT k, v FROM o", &[last_row], Present);
    check(
        &bench,
        "SELECT v, max(f) AS m FROM o GROUP BY v",
        &[("a group: keys", Present), ("a value of max(o.f): distinct values", Present), last_row],
        Present,
    );
    check(
        &bench,
        "SELECT s.v, o.v AS w FROM s JOIN o ON s.k = o.k WHERE s.ts > now() - INTERVAL '1 minute'",
        &[
            ("a key: keys of either side", Present),
            ("a row of the left side: left rows", Bounded),
            ("a row of the right side: right rows", Present),
            ("a row: rows until their time is over", Bounded),
            last_row,
        ],
        Bounded,
    );
}

/// Records of many keys, five in a second.
fn records(from: usize, to: usize) -> Vec<String> {
    let record = |n: usize| {
        let (hour, minute, second) = (n / 18_000, n / 300 % 60, n / 5 % 60);
        let (k, v) = (n % 997, n % 4_999);
        format!(
            "{{\"k\": {k}, \"v\": {v}, \"g\": \"text number {n:08}\", \"f\": {v}.5, \"ts\": \"2026-03-01 {hour:02}:{minute:02}:{second:02}\"}}"
        )
    };
    (from..to).map(record).collect()
}

fn append(bench: &Bench, records: &[String]) {
    bench.append(0, &records.iter().map(String::as_str).collect::<Vec<_>>());
}

/// What is reckoned may be off by this where hardly anything is kept: empty tables have a size as well.
const SLACK_BYTES: usize = 16 << 10;

#[test]
fn what_is_counted_are_the_parts_that_were_said_and_is_about_what_was_reckoned() {
    let selects = [
        "SELECT k, v, g FROM s",
        "SELECT k, count(*) AS n, sum(v) AS t, avg(f) AS a, max(g) AS m FROM s GROUP BY k",
        "SELECT k, g, count(*) AS n FROM s GROUP BY k, g",
        "SELECT window_end, v, count(*) AS n FROM tumble(s, ts, INTERVAL '10 seconds') GROUP BY 1, 2",
        "SELECT window_end, v, count(*) AS n FROM hop(s, ts, INTERVAL '2 seconds', INTERVAL '10 seconds') GROUP BY 1, 2",
        "SELECT count(DISTINCT v) AS n, count(DISTINCT g) AS m FROM s",
        "SELECT k, array_agg(v) AS a FROM s GROUP BY k",
        "SELECT a.v, b.g FROM s a JOIN s b ON a.v = b.v",
        "SELECT a.v, a.g FROM s a WHERE EXISTS (SELECT 1 FROM s b WHERE a.v = b.k)",
        "SELECT a.v, b.g FROM s a JOIN s b ON a.v = b.v AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '5 seconds'",
        "SELECT max(n) AS most FROM (SELECT v, count(*) AS n FROM s GROUP BY v) AS q",
        "SELECT k, v FROM s ORDER BY v LIMIT 1000",
        "SELECT DISTINCT ON (k) k, v, g FROM s ORDER BY k, v",
        "SELECT v, g FROM s EXCEPT SELECT k, g FROM s",
        "SELECT k, sum(v) OVER (PARTITION BY k ORDER BY ts, v) AS t FROM s",
        "SELECT k, g FROM s WHERE ts > now() - INTERVAL '36500 days'",
        "SELECT k, window_start, window_end, v FROM session(s, ts, INTERVAL '1 hour', k)",
        "SELECT k, window_number, window_end, v FROM count_window(s, ts, 50, k)",
        "SELECT a.k, a.g, b.v FROM s a ASOF JOIN s b ON a.k = b.k AND a.ts >= b.ts",
        "VALUES (1, 'a'), (2, 'b')",
    ];
    let bench = Bench::new(1);
    append(&bench, &records(0, 6_000));
    let mut wrong = Vec::new();
    for (number, select) in selects.into_iter().enumerate() {
        let name = format!("v{number}");
        bench.create(&name, select).expect(select);
    }
    // In several ticks.
    for from in (6_000..12_000).step_by(1_500) {
        append(&bench, &records(from, from + 1_500));
        bench.engine.flush(&|| false).expect("a log that can be read");
    }
    let snapshot = bench.engine.snapshot();
    for (number, select) in selects.into_iter().enumerate() {
        let view = snapshot.view(&format!("v{number}")).expect("it is there");
        assert_eq!(view.error, None, "{select}");
        let state = PlanState::of(&bench.plan("v", select)).expect("a plan");
        assert_eq!(view.held.len(), state.operators.len(), "{select}");
        let (mut reckoned, mut counted) = (0, 0);
        let mut each = Vec::new();
        for operator in &state.operators {
            let held = view.held.iter().find(|(id, _)| *id == operator.id.0).map(|(_, held)| held).expect("it stepped");
            assert_eq!(held.len(), operator.parts.len(), "{select}: {}", operator.name);
            for (part, held) in operator.parts.iter().zip(held) {
                assert!(held.units <= held.room, "{select}: {part:?} {held:?}");
                reckoned += part.estimate(*held);
                counted += held.bytes;
                each.push(format!("{} x {} = {}", held.room, part.bytes_each, held.bytes));
            }
        }
        assert_eq!(counted, view.state_bytes, "{select}");
        println!("{select}\n  {reckoned} of state reckoned, {counted} counted: {}", each.join("; "));
        let rows = usize::try_from(view.num_rows()).expect("a few") * state.rows.bytes_each;
        println!("  {rows} of rows reckoned, {} counted", view.view_bytes);
        for (what, reckoned, counted) in [("state", reckoned, counted), ("rows", rows, view.view_bytes)] {
            if reckoned > 2 * counted + SLACK_BYTES || counted > 2 * reckoned + SLACK_BYTES {
                wrong.push(format!("{what} of {select}: {reckoned} reckoned, {counted} counted, {}", each.join("; ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const WITHIN: &str = "WITH (max_state = '800kB') AS SELECT k, count(*) AS n FROM s GROUP BY k";
const BEYOND: &str = "WITH (max_state = '800kB') AS SELECT g, count(*) AS n FROM s GROUP BY g";

#[test]
fn a_view_over_its_budget_fails_alone() {
    let mut bench = Bench::new(1);
    append(&bench, &records(0, 100));
    bench.create_known("grows", BEYOND);
    bench.create_known("reader", "SELECT count(*) AS keys FROM grows");
    bench.create_known("stays", WITHIN);
    bench.create_known("free", "SELECT count(*) AS n FROM s");
    assert_eq!(bench.rows("reader"), ["100"]);
    let before = bench.engine.snapshot();
    append(&bench, &records(100, 20_000));
    bench.engine.flush(&|| false).expect("the others go on");
    let snapshot = bench.engine.snapshot();
    let error = |view: &str| snapshot.view(view).and_then(|view| view.error.clone()).unwrap_or_default();
    assert!(error("grows").contains("bytes of memory, and its budget is 819200"), "{}", error("grows"));
    let reader = error("reader");
    assert!(reader.starts_with("the materialized view \"grows\" that it reads has failed: its state"), "{reader}");
    // In the same tick the others took in everything.
    assert_eq!(bench.rows("free"), ["20000"]);
    assert_eq!(bench.rows("stays").len(), 997);
    // What it held is given back; what was read before it failed stands.
    let grows = snapshot.view("grows").expect("it is there, as one that failed");
    assert_eq!((grows.num_rows(), grows.state_bytes, grows.held.len()), (0, 0, 0));
    assert!(grows.view_bytes < 32 << 10, "{} bytes", grows.view_bytes);
    assert_eq!(snapshot.view("reader").expect("it is there").state_bytes, 0);
    assert_eq!(before.view("grows").expect("it was there").num_rows(), 100);
    // Nothing is built over it, and it can be replaced.
    let over = bench.create("over", "SELECT g FROM grows").expect_err("over one that failed");
    assert_eq!(over.kind(), ErrorKind::Limit, "{over}");
    bench.create_known("grows", &BEYOND.replace("800kB", "1GB"));
    append(&bench, &records(20_000, 20_001));
    assert_eq!(bench.rows("grows").len(), 20_001);
}

#[test]
fn a_view_that_is_over_its_budget_from_the_start_is_not_created() {
    let bench = Bench::new(1);
    append(&bench, &records(0, 20_000));
    bench.create("free", "SELECT count(*) AS n FROM s").expect("a view without a budget");
    let error = bench.create("grows", BEYOND).expect_err("more than it may");
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    assert!(bench.engine.snapshot().view("grows").is_none());
    bench.create("stays", WITHIN).expect("less than it may");
    assert_eq!(bench.rows("free"), ["20000"]);
}

/// Its rows are counted as its state is: they are what it keeps.
#[test]
fn a_view_without_state_has_a_budget_for_its_rows() {
    let bench = Bench::new(1);
    bench.create("all", "WITH (max_state = '1MB') AS SELECT k, v, g FROM s").expect("an empty view");
    append(&bench, &records(0, 40_000));
    bench.engine.flush(&|| false).expect("a log that can be read");
    let snapshot = bench.engine.snapshot();
    let error = snapshot.view("all").and_then(|view| view.error.clone()).unwrap_or_default();
    assert!(error.contains("its budget is 1048576"), "{error}");
}
