//! What must not happen, and what happens when it does.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::Int64Type;

use super::plan::Planned;
use crate::delta::{Delta, Weights};
use crate::error::{ErrorKind, Result};
use crate::operator::aggregate::{AggregateOperator, Emit};
use crate::operator::{Operator, TickContext};
use crate::time::TickId;

/// Rows of `k`, `v` and a text of `v`, with weights.
fn delta(rows: &[(i64, Option<i64>, i64)]) -> Delta {
    let keys = Int64Array::from_iter_values(rows.iter().map(|(key, _, _)| *key));
    let texts: StringArray = rows.iter().map(|(_, value, _)| value.map(|v| v.to_string())).collect();
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|(key, _, _)| *key));
    let values: Int64Array = rows.iter().map(|(_, value, _)| *value).collect();
    let decimals: Decimal128Array =
        rows.iter().map(|(_, value, _)| value.map(|v| i128::from(v) * 10i128.pow(19))).collect();
    let decimals = decimals.with_precision_and_scale(38, 0).expect("38 digits");
    let columns: [(&str, ArrayRef); 5] = [
        ("k", Arc::new(keys)),
        ("v", Arc::new(values)),
        ("s", Arc::new(texts)),
        ("t", Arc::new(times)),
        ("d", Arc::new(decimals)),
    ];
    let rows_batch =
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, c)| (name, c, true))).expect("columns");
    let weights = Int64Array::from_iter_values(rows.iter().map(|(_, _, weight)| *weight));
    Delta { rows: rows_batch, weights: Weights::Signed(weights) }
}

struct One {
    planned: Planned,
    operator: AggregateOperator,
    closed_below: Option<i64>,
}

impl One {
    fn new(keys: &str, calls: &[&str], weighted: bool) -> Self {
        Self::with(keys, calls, weighted, |_| {})
    }

    fn with(keys: &str, calls: &[&str], weighted: bool, change: impl FnOnce(&mut Planned)) -> Self {
        let mut planned = Planned::new(keys, calls, &delta(&[]).rows.schema(), weighted);
        change(&mut planned);
        let operator = AggregateOperator::try_new(planned.spec.clone()).expect("an operator");
        Self { planned, operator, closed_below: None }
    }

    fn step(&mut self, rows: &[(i64, Option<i64>, i64)]) -> Result<Vec<Delta>> {
        let context =
            TickContext { tick: TickId(1), closed_below: self.closed_below, evict: true, ..Default::default() };
        let deltas = if rows.is_empty() { Vec::new() } else { vec![self.planned.project(&delta(rows))] };
        self.operator.step(vec![deltas], &context)
    }
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.expect_err("an error").kind()
}

#[test]
fn a_retraction_without_its_insert_is_a_data_error() {
    let calls = [
        "count(v)",
        "sum(v)",
        "avg(d)",
        "min(v)",
        "max(s)",
        "bool_and(v > 0)",
        "count(DISTINCT v)",
        "sum(DISTINCT v)",
        "median(v)",
        "array_agg(v ORDER BY v)",
    ];
    for call in calls {
        for keys in ["k", ""] {
            // The row count alone would not notice: one row came, one goes, but another one.
            let mut one = One::new(keys, &[call], true);
            one.step(&[(1, None, 1), (1, Some(-4), 1)]).expect("inserts");
            let unseen = one.step(&[(1, Some(9), -1)]).and_then(|_| one.step(&[(1, Some(-4), -1)]));
            // A sum cannot tell values apart until nothing is left that could be them.
            let unseen = unseen.and_then(|_| one.step(&[(1, None, -1)]));
            assert_eq!(kind(unseen), ErrorKind::Data, "{call} by {keys}");

            let mut one = One::new(keys, &[call], true);
            assert_eq!(kind(one.step(&[(1, Some(1), -1)])), ErrorKind::Data, "{call} by {keys}");
        }
    }
}

#[test]
fn inside_a_tick_a_retraction_may_come_first() {
    for call in ["count(v)", "max(v)", "count(DISTINCT v)", "median(v)"] {
        let mut one = One::new("k", &[call], true);
        let deltas = one.step(&[(1, Some(5), -1), (1, Some(5), 1), (2, Some(5), -2), (2, Some(5), 3)]).expect("a tick");
        assert_eq!(deltas.len(), 1, "{call}");
        assert_eq!(deltas[0].rows.column(0).as_primitive::<Int64Type>().values(), &[2], "{call}");
        assert_eq!(one.operator.state_keys(), 1, "{call}");
    }
}

#[test]
fn only_the_final_sum_must_fit() {
    let mut one = One::new("k", &["sum(v)"], true);
    let max = Some(i64::MAX);
    one.step(&[(1, max, 3), (1, Some(-1), 1), (1, max, -2), (1, Some(1), 1)]).expect("the sum fits");
    assert_eq!(kind(one.step(&[(1, Some(1), 1)])), ErrorKind::Data);

    let mut one = One::new("k", &["sum(d)"], true);
    one.step(&[(1, max, 1), (1, Some(i64::MIN), 1), (1, Some(5), 1_000_000_000)]).expect("the sum fits");
    assert_eq!(kind(one.step(&[(1, max, 2)])), ErrorKind::Data);
}

#[test]
fn without_keys_there_is_always_one_row() {
    for weighted in [false, true] {
        let mut one = One::new("", &["count(*)", "sum(v)", "count(DISTINCT v)", "median(v)", "max(v)"], weighted);
        let first = one.step(&[]).expect("a tick");
        assert_eq!(first.len(), 1);
        assert_eq!((first[0].num_rows(), first[0].weight(0)), (1, 1));
        assert_eq!(first[0].rows.column(0).as_primitive::<Int64Type>().value(0), 0);
        assert!(first[0].rows.columns()[3..].iter().all(|column| column.is_null(0)));
        assert!(one.step(&[]).expect("a tick").is_empty());
        let second = one.step(&[(1, Some(2), 1)]).expect("a tick");
        assert_eq!((second[0].weight(0), second[0].weight(1)), (-1, 1));

        let saved = one.operator.save().expect("saved");
        let mut again = AggregateOperator::try_new(one.planned.spec.clone()).expect("an operator");
        again.restore(saved).expect("restored");
        one.operator = again;
        assert!(one.step(&[]).expect("a tick").is_empty(), "the row was there before");
        if weighted {
            let emptied = one.step(&[(1, Some(2), -1)]).expect("a tick");
            assert_eq!((emptied[0].weight(0), emptied[0].weight(1)), (-1, 1));
            assert_eq!(emptied[0].rows.column(0).as_primitive::<Int64Type>().values(), &[1, 0]);
        }
    }
}

#[test]
fn broken_promises_of_the_plan_are_internal_errors() {
    let mut one = One::new("k", &["count(*)"], false);
    assert_eq!(kind(one.step(&[(1, None, -1)])), ErrorKind::Internal);

    for emit in [Emit::OnUpdate, Emit::OnClose] {
        let mut one = One::with("t", &["count(*)"], false, |planned| {
            planned.spec.monotone_key = Some(0);
            planned.spec.emit = emit;
        });
        one.closed_below = Some(10);
        // Rows of the very tick may be below; rows after it may not.
        one.step(&[(9, None, 1)]).expect("a tick");
        assert_eq!(one.operator.state_keys(), 0);
        one.step(&[(10, None, 1)]).expect("a tick");
        assert_eq!(kind(one.step(&[(9, None, 1)])), ErrorKind::Internal);
    }

    let mut planned = Planned::new("k", &["count(*)"], &delta(&[]).rows.schema(), false);
    planned.spec.monotone_key = Some(0);
    assert_eq!(kind(AggregateOperator::try_new(planned.spec.clone())), ErrorKind::Internal);
    (planned.spec.monotone_key, planned.spec.emit) = (None, Emit::OnClose);
    assert_eq!(kind(AggregateOperator::try_new(planned.spec.clone())), ErrorKind::Internal);
}

#[test]
fn saved_state_of_another_aggregate_is_refused() {
    let mut one = One::new("k", &["sum(v)", "count(DISTINCT v)"], true);
    one.step(&[(1, Some(2), 1), (2, Some(2), 1)]).expect("a tick");
    let saved = one.operator.save().expect("saved");
    let restore = |calls: &[&str], saved| One::new("k", calls, true).operator.restore(saved);
    restore(&["sum(v)", "count(DISTINCT v)"], saved.clone()).expect("its own");
    assert_eq!(kind(restore(&["avg(v)", "count(DISTINCT v)"], saved.clone())), ErrorKind::Data);
    assert_eq!(kind(restore(&["sum(v)"], saved.clone())), ErrorKind::Data);

    let mut twice = saved.clone();
    twice.tables.extend(saved.tables.clone());
    assert_eq!(kind(restore(&["sum(v)", "count(DISTINCT v)"], twice)), ErrorKind::Data);
    let mut orphans = saved;
    orphans.tables.remove(0);
    assert_eq!(kind(restore(&["sum(v)", "count(DISTINCT v)"], orphans)), ErrorKind::Data);
}

#[test]
fn state_is_accounted_and_goes_with_its_groups() {
    let calls = ["sum(v)", "max(s)", "count(DISTINCT s)", "array_agg(s ORDER BY s)", "max(v)"];
    let mut one = One::new("k", &calls, true);
    let empty = one.operator.state_bytes();
    let rows: Vec<_> = (0..20_000).map(|i| (i % 5_000, Some(i * 1_000_003), 1)).collect();
    one.step(&rows).expect("inserts");
    let full = one.operator.state_bytes();
    // 20,000 strings of some eleven bytes are kept three times over.
    assert!(full > empty + 3 * 20_000 * 11, "{full}");
    assert_eq!(one.operator.state_keys(), 5_000);

    let gone: Vec<_> = rows.iter().map(|(key, value, _)| (*key, *value, -1)).collect();
    one.step(&gone).expect("retractions");
    assert_eq!(one.operator.state_keys(), 0);
    one.step(&rows).expect("inserts");
    let again = one.operator.state_bytes();
    assert!(again < full * 5 / 4, "freed slots and rows are used again: {full} bytes, then {again}");
}

#[test]
fn explain_names_each_path_and_what_bounds_it() {
    let calls = ["count(*)", "max(s)", "sum(DISTINCT v)", "median(v)", "array_agg(v ORDER BY v)"];
    let append = One::with("t, k", &calls, false, |planned| planned.spec.monotone_key = Some(0));
    assert_eq!(
        append.operator.explain(),
        "aggregate: emit on update, input append-only, state bounded by open windows\n  \
         count(Int64(1)): typed, cost: delta, keeps: one value for each of open windows\n  \
         max(t.s): typed, cost: delta, keeps: one value for each of open windows\n  \
         sum(DISTINCT t.v): typed over distinct values, cost: delta, keeps: distinct values of open windows\n  \
         median(t.v): merged state, cost: touched groups, keeps: one accumulator state for each of open windows\n  \
         array_agg(t.v) ORDER BY [t.v ASC NULLS LAST]: retained rows, cost: touched groups, keeps: input rows of open windows"
    );
    let retracting = One::new("", &["max(s)", "median(v)"], true);
    assert_eq!(
        retracting.operator.explain(),
        "aggregate: emit on update, input retracting, state bounded by one group\n  \
         max(t.s): ordered values, cost: delta, keeps: distinct values of one group\n  \
         median(t.v): retained rows, cost: touched groups, keeps: input rows of one group"
    );
}

#[test]
fn a_tick_touches_each_of_its_groups_once() {
    let mut one = One::new("k", &["count(*)", "sum(v)", "count(DISTINCT v)", "median(v)"], true);
    let mut touched = 0;
    for tick in 0..20i64 {
        // 300 rows in several batches of a tick, half of them taken back, in tick + 1 groups.
        let rows: Vec<_> = (0..200).map(|row| (row % (tick + 1), Some(row), 1)).collect();
        let gone: Vec<_> = rows[..100].iter().map(|(key, value, _)| (*key, *value, -1)).collect();
        let deltas = [&rows[..70], &rows[70..], &gone].map(|part| one.planned.project(&delta(part)));
        one.operator.step(vec![deltas.into()], &TickContext::default()).expect("a step");
        touched += tick as u64 + 1;
        assert_eq!(one.operator.touched_keys(), touched);
    }
}
