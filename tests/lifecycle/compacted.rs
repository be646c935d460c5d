//! Sources with a primary key on a running engine: later views, also over a log that was compacted meanwhile.

use std::sync::Arc;

use engine::ErrorKind;
use engine::time::SystemClock;
use harness::feed::{Feed, ROWS};
use sql::statement::Envelope;

use super::Bench;
use super::joining::{Forgetful, Second};

const UPSERT: Feed = Feed { envelope: Envelope::Upsert, key: &["k"], accept_late: None };

fn change(bench: &Bench, key: &str, payload: Option<&str>) {
    bench.log.append(0, Some(key.as_bytes()), payload.map(str::as_bytes), None);
}

/// A source whose log lacks the record at `lacks` from the second reading on.
fn compacted(lacks: i64) -> Bench {
    let open = |log| Arc::new(Forgetful::new(log, Second::Lacks(lacks))) as Arc<dyn engine::source::SourceOpener>;
    Bench::of([UPSERT, ROWS], 1, Arc::new(SystemClock), open)
}

#[test]
fn a_later_view_over_changing_rows_shows_what_the_first_does() {
    let bench = Bench::of([UPSERT, ROWS], 1, Arc::new(SystemClock), |log| Arc::new(log));
    for (key, payload) in [("1", Some(r#"{"v": 10}"#)), ("2", Some(r#"{"v": 20}"#)), ("1", Some(r#"{"v": 30}"#))] {
        change(&bench, key, payload);
    }
    bench.create("a", "SELECT k, v FROM s").expect("the first view");
    assert_eq!(bench.rows("a"), ["1|30", "2|20"]);
    bench.create("b", "SELECT sum(v) AS total, count(*) AS n FROM s").expect("a later view");
    assert_eq!(bench.rows("b"), ["50|2"]);
    change(&bench, "2", None);
    change(&bench, "3", Some(r#"{"v": 7, "g": "x"}"#));
    assert_eq!(bench.rows("a"), ["1|30", "3|7"]);
    assert_eq!(bench.rows("b"), ["37|2"]);
    // A column that nobody used so far.
    bench.create("c", "SELECT k, g FROM s WHERE g IS NOT NULL").expect("a view of another column");
    assert_eq!(bench.rows("c"), ["3|x"]);
    bench.create("a", "SELECT k, v + 1 AS v FROM s").expect("a successor");
    assert_eq!(bench.rows("a"), ["1|31", "3|8"]);
}

#[test]
fn a_later_view_over_a_compacted_log_has_the_same_rows() {
    let bench = compacted(0);
    change(&bench, "1", Some(r#"{"v": 10}"#));
    change(&bench, "2", Some(r#"{"v": 20}"#));
    change(&bench, "1", Some(r#"{"v": 30}"#));
    bench.create("a", "SELECT k, v FROM s").expect("the first view");
    assert_eq!(bench.rows("a"), ["1|30", "2|20"]);
    bench.create("b", "SELECT k, v FROM s").expect("the rows are all there");
    assert_eq!(bench.rows("b"), bench.rows("a"));
    change(&bench, "2", Some(r#"{"v": 21}"#));
    assert_eq!(bench.rows("b"), ["1|30", "2|21"]);
    assert_eq!(bench.rows("b"), bench.rows("a"));
}

#[test]
fn a_later_view_is_refused_where_an_error_may_hide_a_row_that_is_gone() {
    let bench = compacted(0);
    change(&bench, "1", Some(r#"{"v": 10}"#));
    change(&bench, "1", Some(r#"{"v": "#));
    bench.create("a", "SELECT k, v FROM s").expect("the first view");
    assert_eq!(bench.rows("a"), ["1|10"]);
    let error = bench.create("b", "SELECT k, v FROM s").expect_err("the row may be gone, and is");
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    assert!(error.to_string().contains("partition 0 was compacted"), "{error}");
    assert_eq!(bench.rows("a"), ["1|10"]);
}
