//! What views leave out: the same for a view that comes later, under another name, for one who follows it, at an earlier tick.

use engine::tick::subscription::Span;
use engine::time::TickId;

use super::Bench;

const SHARES: &str = "SELECT k, 100 / (v - 20) AS share FROM s";

fn record(k: u32, v: u32) -> String {
    format!("{{\"k\": {k}, \"v\": {v}, \"ts\": \"2026-03-01 00:00:01\"}}")
}

#[test]
fn a_later_view_leaves_out_what_the_first_does() {
    let bench = Bench::new(2);
    bench.append(0, &[&record(1, 20), &record(2, 30)]);
    bench.create("one", SHARES).expect("a view");
    bench.append(1, &[&record(3, 20), &record(3, 20), &record(4, 10)]);
    assert_eq!(bench.rows("one"), ["2|10", "4|-10"]);
    let left_out = bench.rows("one_errors");
    assert_eq!(left_out.len(), 3, "{left_out:?}");
    assert!(left_out.iter().all(|row| row.contains("|22012|division by zero|")), "{left_out:?}");
    assert_eq!(left_out[1], left_out[2], "a row that is there twice fails twice");
    bench.create("two", SHARES).expect("a second view");
    assert_eq!(bench.rows("two_errors"), left_out);
    assert_eq!(bench.rows("two"), bench.rows("one"));
    bench.append(0, &[&record(5, 20)]);
    assert_eq!(bench.rows("two_errors").len(), 4);
    assert_eq!(bench.rows("two_errors"), bench.rows("one_errors"));
    assert_eq!(bench.engine.snapshot().rows_left_out("two"), 4);
}

#[test]
fn errors_go_where_their_view_goes() {
    let bench = Bench::new(1);
    bench.append(0, &[&record(1, 20)]);
    bench.create("a", SHARES).expect("a view");
    assert_eq!(bench.rows("a_errors").len(), 1);
    bench.engine.rename("a", "b", vec![]).expect("a running engine");
    let names = |bench: &Bench| {
        let snapshot = bench.engine.snapshot();
        ["a", "b"].map(|name| snapshot.errors.contains_key(&format!("{name}_errors")))
    };
    assert_eq!(names(&bench), [true, true]);
    bench.engine.forget_name("a").expect("a running engine");
    assert_eq!(names(&bench), [false, true]);
    bench.append(0, &[&record(2, 20)]);
    assert_eq!(bench.rows("b_errors").len(), 2);
    bench.create("b", "SELECT k, 100 / (v - 21) AS share FROM s").expect("a view in the place of the first");
    assert_eq!(bench.rows("b_errors"), Vec::<String>::new());
    bench.engine.drop_view("b").expect("it is there");
    assert_eq!(names(&bench), [false, false]);
}

#[test]
fn errors_can_be_followed_and_read_at_earlier_ticks() {
    let bench = Bench::new(1);
    bench.engine.set_history_retention("1h".parse().expect("a time"));
    bench.append(0, &[&record(1, 20)]);
    bench.create("a", SHARES).expect("a view");
    assert_eq!(bench.rows("a_errors").len(), 1);
    let then: TickId = bench.engine.snapshot().tick;
    let follower = bench.engine.subscribe("a_errors", Span::default()).expect("a relation of that name");
    bench.append(0, &[&record(2, 30), &record(3, 20)]);
    assert_eq!(bench.rows("a_errors").len(), 2);
    let changes = futures::executor::block_on(follower.next()).expect("a change");
    let rows: i64 =
        changes.deltas.iter().map(|delta| (0..delta.num_rows()).map(|row| delta.weight(row)).sum::<i64>()).sum();
    assert_eq!(rows, 1);
    assert_eq!(bench.engine.snapshot_at(then).expect("a tick that is kept").rows_left_out("a"), 1);
}

#[test]
fn a_strict_view_fails() {
    let bench = Bench::new(1);
    bench.append(0, &[&record(1, 30)]);
    bench.create("strict", "WITH (on_error = 'fail') AS SELECT k, 100 / (v - 20) AS share FROM s").expect("a view");
    bench.append(0, &[&record(2, 20)]);
    bench.engine.flush(&|| false).expect("a log that can be read");
    let snapshot = bench.engine.snapshot();
    let view = snapshot.view("strict").expect("a view of that name");
    assert!(view.error.as_deref().is_some_and(|error| error.contains("ivide by zero")), "{:?}", view.error);
    assert!(snapshot.view("strict_errors").is_none());
}
