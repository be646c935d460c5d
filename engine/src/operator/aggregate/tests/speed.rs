//! Timings, to be run alone and by hand: `cargo test --release -p tidemark-engine --lib speed -- --ignored --nocapture`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::plan::Planned;
use crate::delta::{Delta, Weights};
use crate::operator::aggregate::AggregateOperator;
use crate::operator::{Operator, TickContext};
use crate::time::TickId;

fn rows(random: &mut ChaCha8Rng, rows: usize, groups: i64) -> RecordBatch {
    let keys: Vec<i64> = (0..rows).map(|_| random.random_range(0..groups)).collect();
    let window = |offset: i64| keys.iter().map(move |key| key % 3 * 10_000_000 + offset);
    let columns: [(&str, ArrayRef); 6] = [
        ("k", Arc::new(Int64Array::from(keys.clone()))),
        ("ws", Arc::new(TimestampMicrosecondArray::from_iter_values(window(0)))),
        ("we", Arc::new(TimestampMicrosecondArray::from_iter_values(window(10_000_000)))),
        ("name", Arc::new(StringViewArray::from_iter_values(keys.iter().map(|key| format!("name of key {key}"))))),
        ("v", Arc::new(Int64Array::from_iter_values((0..rows).map(|_| random.random::<i32>().into())))),
        (
            "f",
            Arc::new(Float64Array::from_iter_values((0..rows).map(|_| random.random_range(0..1 << 30) as f64 * 0.01))),
        ),
    ];
    RecordBatch::try_from_iter(columns).expect("columns")
}

fn best(planned: &Planned, batches: &[Vec<Delta>], prepare: &[Vec<Delta>]) -> Duration {
    let context =
        TickContext { tick: TickId(1), now_micros: 0, closed_below: None, evict: true, ..TickContext::default() };
    let mut operator = AggregateOperator::try_new(planned.spec.clone()).expect("an operator");
    for deltas in prepare {
        operator.step(vec![deltas.clone()], &context).expect("a tick");
    }
    let mut best = Duration::MAX;
    for deltas in batches {
        let deltas = deltas.clone();
        let start = Instant::now();
        let output = operator.step(vec![deltas], &context).expect("a tick");
        best = best.min(start.elapsed());
        assert!(!output.is_empty());
    }
    best
}

#[test]
#[ignore = "a measurement, not a test"]
fn measure() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let calls: [(&str, &[&str]); 5] = [
        ("count, max", &["count(*)", "max(v)"]),
        ("count, sum, avg of floats", &["count(*)", "sum(f)", "avg(f)"]),
        ("count distinct", &["count(DISTINCT v)"]),
        ("stddev (merged state)", &["stddev(f)"]),
        ("count", &["count(*)"]),
    ];
    for keys in ["k", "ws, we, k", "name", ""] {
        for (name, calls) in calls {
            for (size, groups) in [(1_000_000, 10_000), (1_000_000, 1_000_000), (1_000, 100_000)] {
                let schema = rows(&mut random, 1, groups).schema();
                let planned = Planned::new(keys, calls, &schema, false);
                let weighted = Planned::new(keys, calls, &schema, true);
                let mut tick = |planned: &Planned, size: usize| -> Vec<Delta> {
                    let rows = rows(&mut random, size, groups);
                    let parts = (0..size).step_by(8192).map(|at| rows.slice(at, 8192.min(size - at)));
                    parts.map(|rows| planned.project(&Delta::inserts(rows))).collect()
                };
                let fill: Vec<_> = (0..2).map(|_| tick(&planned, groups as usize)).collect();
                let ticks: Vec<_> = (0..5).map(|_| tick(&planned, size)).collect();
                let append = best(&planned, &ticks, &fill);
                let signed = |delta: &Delta| {
                    let weights = Weights::Signed(Int64Array::from_value(1, delta.num_rows()));
                    Delta { rows: delta.rows.clone(), weights }
                };
                let signed =
                    |ticks: &[Vec<Delta>]| ticks.iter().map(|t| t.iter().map(signed).collect()).collect::<Vec<_>>();
                let retracting = best(&weighted, &signed(&ticks), &signed(&fill));
                let per_row = |time: Duration| time.as_nanos() as f64 / size as f64;
                println!(
                    "by {keys:9} {name:26} {size:8} rows of {groups:8} groups: {append:9.1?} {:6.1} ns/row; \
                     retracting {retracting:9.1?} {:6.1} ns/row",
                    per_row(append),
                    per_row(retracting),
                );
            }
        }
    }
}
