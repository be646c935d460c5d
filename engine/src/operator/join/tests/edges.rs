//! What a join refuses, keeps and says.

use datafusion::common::JoinType;

use super::{Cluster, Plan, Row, delta};
use crate::error::ErrorKind;
use crate::operator::join::JoinOperator;
use crate::operator::{Operator, TickContext};

fn row(key: i64, value: i64, time: i64) -> Row {
    vec![Some(key), Some(value), Some(time)]
}

#[test]
fn a_first_match_in_the_same_tick_shows_no_nulls() {
    let mut join = Cluster::new(&Plan::new(JoinType::Left), 1);
    let out = join.step([&[(row(1, 2, 3), 1)], &[(row(1, 5, 6), 1)]], &TickContext::default());
    assert_eq!(out, [([row(1, 2, 3), row(1, 5, 6)].concat(), 1)]);
    let out = join.step([&[], &[(row(1, 5, 6), -1), (row(1, 7, 8), 1)]], &TickContext::default());
    let mut out: Vec<i64> = out.into_iter().map(|(row, weight)| row[4].unwrap_or(-100) * weight).collect();
    out.sort_unstable();
    assert_eq!(out, [-5, 7]);
}

#[test]
fn a_side_that_never_comes_out_is_only_counted() {
    let mut join = Cluster::new(&Plan::new(JoinType::LeftSemi), 1);
    let many: Vec<_> = (0..500).map(|value| (row(1, value, 0), 1)).collect();
    join.step([&[], &many], &TickContext::default());
    assert_eq!(join.state_keys(), 1);
    let gone: Vec<_> = many.into_iter().map(|(row, _)| (row, -1)).collect();
    join.step([&[], &gone], &TickContext::default());
    assert_eq!(join.state_keys(), 0);
}

#[test]
fn state_goes_when_rows_go() {
    let mut join = Cluster::new(&Plan::new(JoinType::Full), 1);
    let rows: Vec<_> = (0..2_000).map(|key| (row(key, key, 0), 1)).collect();
    join.step([&rows, &rows], &TickContext::default());
    assert_eq!(join.state_keys(), 4_000);
    let full = join.operators[0].state_bytes();
    assert!(full > 4_000 * 27, "{full}");
    let gone: Vec<_> = rows.into_iter().map(|(row, _)| (row, -1)).collect();
    join.step([&gone, &gone], &TickContext::default());
    assert_eq!((join.state_keys(), join.operators[0].keys.index.len()), (0, 0));
}

#[test]
fn a_retraction_of_nothing_is_an_error() {
    let plan = Plan::new(JoinType::Inner);
    let mut join = JoinOperator::try_new(plan.spec()).expect("a sound plan");
    let gone = delta(&plan, 0, &[(row(1, 1, 1), -1)]);
    let error = join.step(vec![vec![gone], vec![]], &TickContext::default()).expect_err("nothing is there");
    assert_eq!(error.kind(), ErrorKind::Data);
}

#[test]
fn a_join_without_keys_stops_when_both_sides_are_large() {
    let plan = Plan { keys: vec![], compares: true, weighted: [false; 2], ..Plan::new(JoinType::Inner) };
    let mut spec = plan.spec();
    spec.nested_rows_max = 10;
    let mut join = JoinOperator::try_new(spec).expect("a sound plan");
    let rows = |side: usize, from: i64, to: i64| {
        let rows: Vec<_> = (from..to).map(|value| (row(0, value, 0), 1)).collect();
        delta(&plan, side, &rows)
    };
    let tick = TickContext::default();
    join.step(vec![vec![rows(0, 0, 100)], vec![rows(1, 0, 10)]], &tick).expect("one side is small");
    let error = join.step(vec![vec![], vec![rows(1, 10, 11)]], &tick).expect_err("both are large");
    assert!(error.to_string().contains("may hold 10 rows on its smaller side, and now has 11"), "{error}");
}

#[test]
fn explain_says_cost_and_bound() {
    let explain = |plan: &Plan, bounded| JoinOperator::try_new(plan.spec()).expect("a sound plan").explain(bounded);
    let interval = Plan { near: true, timed: [true, false], weighted: [false; 2], ..Plan::new(JoinType::Inner) };
    assert_eq!(
        explain(&interval, [true, false]),
        "join: cost: delta + rows of the same key, output append-only\n  \
         left: input append-only, keeps: rows, state bounded by rows that later rows of the other side can match\n  \
         right: input append-only, keeps: rows, state bounded by its rows"
    );
    assert_eq!(
        explain(&Plan::new(JoinType::LeftAnti), [false; 2]),
        "join: cost: delta + rows of keys that begin or cease to match, output retracting\n  \
         left: input retracting, keeps: rows, state bounded by its rows\n  \
         right: input retracting, keeps: how many rows each key has, state bounded by its rows"
    );
}
