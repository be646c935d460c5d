//! Final groups: eviction changes no answer, and emit on close does not depend on where ticks were cut.

use std::sync::Arc;

use arrow::array::{RecordBatch, TimestampMicrosecondArray};
use arrow::compute::filter_record_batch;
use rand::RngExt;

use super::input::Input;
use super::oracle::{Rows, Same, View, batch_answer, rows_of};
use super::plan::Planned;
use super::replay::Cluster;
use crate::delta::Delta;
use crate::operator::aggregate::Emit;

const KEYS: &str = "w, k_int";
const CALLS: [&str; 11] = [
    "count(*)",
    "count(i64)",
    "sum(g)",
    "avg(f32)",
    "max(i64)",
    "min(text)",
    "count(DISTINCT small)",
    "avg(DISTINCT dec) FILTER (WHERE c1)",
    "stddev(g)",
    "string_agg(text, ',' ORDER BY text)",
    "bit_xor(i64)",
];

/// An input whose row i is in the window that starts at about i, or in none.
fn windowed(seed: u64, weighted: bool) -> (Input, Vec<Option<i64>>) {
    let mut input = Input::new(seed, weighted);
    let window = |row: i64, input: &mut Input| (row + input.random.random_range(0..12)) / 6 * 6;
    let windows: Vec<_> = (0..input.pool.num_rows() as i64)
        .map(|row| input.random.random_bool(0.95).then(|| window(row, &mut input)))
        .collect();
    let column: TimestampMicrosecondArray = windows.iter().copied().collect();
    let schema = input.pool.schema();
    let before = schema.fields().iter().map(|f| f.name().as_str()).zip(input.pool.columns().iter().cloned());
    let columns = before.chain([("w", Arc::new(column) as _)]).map(|(name, column)| (name, column, true));
    input.pool = RecordBatch::try_from_iter_with_nullable(columns).expect("columns");
    (input, windows)
}

fn sorted(deltas: &[Delta], weight: i64) -> Vec<String> {
    let mut rows: Vec<_> = rows_of(deltas, 2, weight).into_iter().map(|row| format!("{row:?}")).collect();
    rows.sort();
    rows
}

#[test]
fn eviction_changes_no_answer() {
    for seed in 0..6 {
        let (mut input, windows) = windowed(seed, true);
        let mut planned = Planned::new(KEYS, &CALLS, &input.pool.schema(), true);
        planned.spec.monotone_key = Some(0);
        let mut evicting = Cluster::new(&planned.spec);
        let mut keeping = Cluster::new(&planned.spec);
        keeping.evict = false;
        let mut view = View { keys: 2, ..View::default() };
        let open = |row: &u32, closed: i64| windows[*row as usize].is_none_or(|window| window >= closed);
        for (tick, first) in (0..70u32).step_by(7).enumerate() {
            let closed = i64::from(first);
            let mut changes: Vec<(u32, i64)> = (first..70.min(first + 14))
                .filter(|row| open(row, closed) && input.random.random_bool(0.7))
                .map(|row| (row, 1))
                .collect();
            input.present.extend(changes.iter().map(|(row, _)| *row));
            for _ in 0..input.random.random_range(0..12).min(input.present.len()) {
                let victim = input.random.random_range(0..input.present.len());
                if open(&input.present[victim], closed) {
                    changes.push((input.present.swap_remove(victim), -1));
                }
            }
            let deltas: Vec<_> = input.deltas(changes).iter().map(|delta| planned.project(delta)).collect();
            if input.random.random_bool(0.3) {
                evicting.rescale([1, 2, 7][tick % 3]);
            }
            let closed_next = closed + 7;
            (evicting.closed_below, keeping.closed_below) = (Some(closed_next), Some(closed_next));
            let (evicted, kept) = (evicting.step(deltas.clone()), keeping.step(deltas));
            for weight in [-1, 1] {
                assert_eq!(sorted(&evicted, weight), sorted(&kept, weight), "seed {seed}, tick {tick}");
            }
            view.apply(&evicted);
            let expected = batch_answer(KEYS, &CALLS, 2, input.all());
            view.check(&expected, &CALLS.map(Same::of), &format!("seed {seed}, tick {tick}"));
            assert_eq!(keeping.keys(), expected.len(), "seed {seed}, tick {tick}");
            let still_open = filter_open(&input.all(), closed_next);
            assert_eq!(evicting.keys(), batch_answer(KEYS, &["count(*)"], 2, still_open).len(), "seed {seed}");
        }
        assert!(evicting.bytes() < keeping.bytes() * 2, "seed {seed}");
    }
}

fn filter_open(rows: &RecordBatch, closed: i64) -> RecordBatch {
    use arrow::array::{Array, AsArray, BooleanArray};
    use arrow::datatypes::TimestampMicrosecondType;
    let windows = rows["w"].as_primitive::<TimestampMicrosecondType>();
    let open: BooleanArray =
        (0..rows.num_rows()).map(|row| Some(windows.is_null(row) || windows.value(row) >= closed)).collect();
    filter_record_batch(rows, &open).expect("rows")
}

/// Feeds all rows of the pool in order, cut at random, and returns what closed.
fn closed_answers(seed: u64, cuts: u64, evict: bool) -> Rows {
    let (mut input, windows) = windowed(seed, false);
    let mut planned = Planned::new(KEYS, &CALLS, &input.pool.schema(), false);
    planned.spec.monotone_key = Some(0);
    planned.spec.emit = Emit::OnClose;
    let mut cluster = Cluster::new(&planned.spec);
    cluster.evict = evict;
    let mut closed = View { keys: 2, ..View::default() };
    input.random = rand::SeedableRng::seed_from_u64(cuts);
    let mut from = 0;
    while from < windows.len() {
        let to = windows.len().min(from + input.random.random_range(0..20));
        input.present.extend(from as u32..to as u32);
        let deltas = input.deltas((from..to).map(|row| (row as u32, 1)).collect());
        cluster.closed_below = windows[to..].iter().flatten().min().copied().or(cluster.closed_below);
        if input.random.random_bool(0.3) {
            cluster.rescale([1, 2, 7][to % 3]);
        }
        let deltas = cluster.step(deltas.iter().map(|delta| planned.project(delta)).collect());
        assert!(rows_of(&deltas, 2, -1).is_empty(), "seed {seed}: a retraction on an append-only edge");
        closed.apply(&deltas);
        from = to;
    }
    let end = windows.iter().flatten().max().expect("some windows");
    cluster.closed_below = Some(*end);
    closed.apply(&cluster.step(Vec::new()));
    assert!(cluster.step(Vec::new()).is_empty(), "seed {seed}: a group was answered twice");

    let finals = filter_closed(&input.all(), *end);
    let expected = batch_answer(KEYS, &CALLS, 2, finals);
    closed.check(&expected, &CALLS.map(Same::of), &format!("seed {seed}, cuts {cuts}"));
    closed.rows
}

fn filter_closed(rows: &RecordBatch, closed: i64) -> RecordBatch {
    use arrow::array::{Array, AsArray, BooleanArray};
    use arrow::datatypes::TimestampMicrosecondType;
    let windows = rows["w"].as_primitive::<TimestampMicrosecondType>();
    let is_final = |row| Some(windows.is_valid(row) && windows.value(row) < closed);
    filter_record_batch(rows, &(0..rows.num_rows()).map(is_final).collect::<BooleanArray>()).expect("rows")
}

#[test]
fn answers_on_close_do_not_depend_on_cuts_or_eviction() {
    for seed in 0..6 {
        let answers = closed_answers(seed, seed, true);
        assert!(!answers.is_empty(), "seed {seed}");
        let others = closed_answers(seed, seed + 100, seed % 2 == 0);
        let view = View { keys: 2, rows: answers };
        view.check(&others, &CALLS.map(Same::of), &format!("seed {seed}: other cuts"));
    }
}
