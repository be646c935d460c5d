//! Hopping windows from slices equal the aggregate over rows expanded to their windows beforehand.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Field, TimeUnit, TimestampMicrosecondType};
use rand::RngExt;

use super::input::Input;
use super::oracle::{Same, View, batch_answer, rows_of};
use super::plan::Planned;
use super::replay::Cluster;
use crate::operator::aggregate::{Emit, HopKey, HopSpec};

const CALLS: [&str; 12] = [
    "count(*)",
    "sum(g)",
    "avg(dec)",
    "max(i64)",
    "min(view)",
    "bool_and(b)",
    "count(DISTINCT small)",
    "sum(DISTINCT small) FILTER (WHERE c1)",
    "stddev(g)",
    "approx_distinct(i64) FILTER (WHERE c2)",
    "array_agg(i64 ORDER BY small, i64)",
    "median(g)",
];

/// Slide, size and origin in µs.
const SHAPES: [(i64, i64, i64); 6] = [(10, 30, 0), (10, 30, 7), (4, 6, 0), (7, 3, 1), (5, 5, -2), (6, 27, 100)];

fn floor(micros: i64, step: i64, origin: i64) -> i64 {
    micros - (micros - origin).rem_euclid(step)
}

fn times(rows: &RecordBatch) -> Vec<Option<i64>> {
    let times = cast(&rows["at"], &DataType::Timestamp(TimeUnit::Microsecond, None)).expect("times");
    times.as_primitive::<TimestampMicrosecondType>().iter().collect()
}

fn column(times: impl IntoIterator<Item = Option<i64>>, unit: TimeUnit) -> ArrayRef {
    let micros: ArrayRef = Arc::new(times.into_iter().collect::<TimestampMicrosecondArray>());
    cast(&micros, &DataType::Timestamp(unit, None)).expect("a unit fine enough")
}

fn with_columns(rows: &RecordBatch, columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let schema = rows.schema();
    let before = schema.fields().iter().map(|f| f.name().as_str()).zip(rows.columns().iter().cloned());
    RecordBatch::try_from_iter_with_nullable(before.chain(columns).map(|(n, c)| (n, c, true))).expect("columns")
}

/// Each row once for every window that holds it.
fn expanded(rows: &RecordBatch, (slide, size, origin): (i64, i64, i64), unit: TimeUnit) -> RecordBatch {
    let (mut parents, mut starts) = (Vec::new(), Vec::new());
    for (row, at) in times(rows).into_iter().enumerate() {
        let Some(at) = at else { continue };
        for back in 0..=size / slide + 1 {
            let start = floor(at, slide, origin) - back * slide;
            if start <= at && at < start + size {
                parents.push(row as u32);
                starts.push(start);
            }
        }
    }
    let rows = take_record_batch(rows, &UInt32Array::from(parents)).expect("rows");
    let start = column(starts.iter().map(|s| Some(*s)), unit);
    let end = column(starts.iter().map(|s| Some(*s + size)), unit);
    with_columns(&rows, vec![("ws", start), ("we", end)])
}

fn hop(keys: &str, shape: (i64, i64, i64), unit: TimeUnit) -> HopSpec {
    let field = |name: &str| Arc::new(Field::new(name, DataType::Timestamp(unit, None), true));
    let key = |key: &str| match key {
        "ws" => HopKey::WindowStart(field("ws")),
        "we" => HopKey::WindowEnd(field("we")),
        "k_int" => HopKey::Column(0),
        other => panic!("{other}"),
    };
    let (slide_micros, size_micros, origin_micros) = shape;
    let slice_key = usize::from(keys.contains("k_int"));
    HopSpec {
        slide_micros,
        size_micros,
        origin_micros,
        cumulative: false,
        slice_key,
        output_keys: keys.split(", ").map(key).collect(),
    }
}

#[test]
fn slices_make_the_same_windows_as_expanded_rows() {
    for (index, shape) in SHAPES.into_iter().enumerate() {
        for (variant, keys) in ["ws, k_int, we", "k_int, ws", "we", "k_int"].into_iter().enumerate() {
            let seed = (index * 4 + variant) as u64;
            let (weighted, unit) = (seed % 3 == 0, [TimeUnit::Microsecond, TimeUnit::Nanosecond][index % 2]);
            let mut input = Input::new(seed, weighted);
            let rows = input.pool.num_rows();
            let raw: Vec<Option<i64>> =
                (0..rows).map(|_| input.random.random_bool(0.9).then(|| input.random.random_range(-60..60))).collect();
            let spec = hop(keys, shape, unit);
            // Event time as it is gives the same answer as event time cut to slices.
            let slice = |at: i64| if variant == 1 { at } else { floor(at, spec.slice_micros(), shape.2) };
            let slices = column(raw.iter().map(|at| at.map(slice)), unit);
            input.pool = with_columns(&input.pool, vec![("at", column(raw, unit)), ("slice", slices)]);

            let by = if spec.slice_key == 1 { "k_int, slice" } else { "slice" };
            let mut planned = Planned::new(by, &CALLS, &input.pool.schema(), weighted);
            planned.spec.hop = Some(spec);
            let output_keys = keys.split(", ").count();
            let mut view = View { keys: output_keys, ..View::default() };
            let same: Vec<_> = CALLS.iter().map(|call| Same::of(call)).collect();
            let mut cluster = Cluster::new(&planned.spec);
            for tick in 0..6 {
                if input.random.random_bool(0.3) {
                    cluster.rescale(if by == "slice" { 1 } else { [1, 2, 7][tick % 3] });
                }
                let deltas = input.tick().iter().map(|delta| planned.project(delta)).collect();
                view.apply(&cluster.step(deltas));
                let expected = batch_answer(keys, &CALLS, output_keys, expanded(&input.all(), shape, unit));
                view.check(&expected, &same, &format!("seed {seed}, {shape:?} by {keys}, tick {tick}"));
                assert_eq!(cluster.keys(), expected.len(), "seed {seed}: windows kept");
            }
        }
    }
}

#[test]
fn windows_close_once_with_the_answer_they_had() {
    let unit = TimeUnit::Microsecond;
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        let mut input = Input::new(seed as u64, false);
        // Row i of the pool is at about i, so that feeding the pool in order moves time on.
        let at: Vec<_> = (0..input.pool.num_rows() as i64).map(|i| i + input.random.random_range(0..8)).collect();
        let slice = hop("ws", shape, unit).slice_micros();
        let slices = column(at.iter().map(|at| Some(floor(*at, slice, shape.2))), unit);
        let raw = column(at.iter().map(|at| Some(*at)), unit);
        input.pool = with_columns(&input.pool, vec![("at", raw), ("slice", slices)]);
        let mut planned = Planned::new("k_int, slice", &CALLS, &input.pool.schema(), false);
        planned.spec.hop = Some(hop("ws, we, k_int", shape, unit));
        planned.spec.emit = Emit::OnClose;
        planned.spec.monotone_key = Some(1);
        let mut cluster = Cluster::new(&planned.spec);
        cluster.evict = seed % 2 == 0;
        let mut closed = View { keys: 3, ..View::default() };
        for first in (0..70u32).step_by(5) {
            let rows: Vec<_> = (first..first + 5).collect();
            input.present.extend(&rows);
            let deltas = input.deltas(rows.into_iter().map(|row| (row, 1)).collect());
            // Every later row is at `first + 5` or later, so every later window ends after that.
            cluster.closed_below = Some(i64::from(first) + 5 + 1);
            if first % 20 == 0 {
                cluster.rescale([1, 2, 7][first as usize % 3]);
            }
            let deltas = cluster.step(deltas.iter().map(|delta| planned.project(delta)).collect());
            assert!(rows_of(&deltas, 3, -1).is_empty());
            closed.apply(&deltas);
        }
        cluster.closed_below = Some(i64::MAX);
        closed.apply(&cluster.step(Vec::new()));
        let expected = batch_answer("ws, we, k_int", &CALLS, 3, expanded(&input.all(), shape, unit));
        closed.check(&expected, &CALLS.map(Same::of), &format!("seed {seed}, {shape:?}"));
        assert_eq!(cluster.keys() == 0, cluster.evict);
    }
}
