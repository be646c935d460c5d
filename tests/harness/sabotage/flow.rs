//! Bugs in what flows: the rows and watermarks that go into a view, the changes that come out of its plan, the counts.

use std::sync::Arc;

use arrow::array::{BooleanArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use engine::dataflow::runtime::TickInput;
use engine::delta::{Delta, Weights};
use engine::ingest::IngestedTick;
use engine::time::Watermark;

use super::Bug;

/// The delay of the one source's watermark, µs.
const DELAY_MICROS: i64 = 3_000_000;
/// How far a clock is behind, µs.
const CLOCK_BEHIND_MICROS: i64 = 5_000_000;

/// The rows a tick brings.
pub fn rows(input: &TickInput) -> Vec<RecordBatch> {
    input.deltas.get("s").into_iter().flat_map(|deltas| deltas.iter()).map(|delta| delta.rows.clone()).collect()
}

fn set_rows(input: &mut TickInput, rows: Vec<RecordBatch>) {
    input.deltas.insert("s".to_owned(), Arc::new(rows.into_iter().map(Delta::inserts).collect()));
}

/// Adds rows to a tick.
pub fn add_rows(input: &mut TickInput, more: &[RecordBatch]) -> bool {
    let all = rows(input).into_iter().chain(more.iter().cloned()).collect();
    set_rows(input, all);
    more.iter().any(|batch| batch.num_rows() > 0)
}

/// Takes all rows from a tick.
pub fn clear_rows(input: &mut TickInput) -> bool {
    let had = rows(input).iter().any(|batch| batch.num_rows() > 0);
    set_rows(input, Vec::new());
    had
}

/// The bugs in counts and lists.
pub fn tamper_accounting(bug: Bug, tick: &mut IngestedTick) -> bool {
    match bug {
        Bug::OffsetUncounted => {
            let counts = tick.counts.values_mut().find(|counts| counts.accepted > 0);
            counts.map(|counts| counts.accepted -= 1).is_some()
        }
        Bug::SkippedMiscounted => {
            let counts = tick.counts.values_mut().find(|counts| counts.skipped > 0);
            let moved =
                counts.map(|counts| (counts.skipped, counts.tombstones) = (counts.skipped - 1, counts.tombstones + 1));
            moved.is_some()
        }
        Bug::LateRowsUnlisted => tick.late.take().is_some(),
        _ => false,
    }
}

/// The bugs in a tick's input.
pub fn tamper_input(bug: Bug, input: &mut TickInput, late: Option<&RecordBatch>) -> bool {
    let mut all = rows(input);
    let acted = match bug {
        Bug::RowLost => drop_last_row(&mut all),
        Bug::RowTwice => repeat_last_row(&mut all),
        Bug::LateRowsAccepted => accept(&mut all, late),
        Bug::TombstoneIgnored | Bug::FirstRecordWins => super::upsert::tamper_records(bug, &mut all),
        Bug::WatermarkAhead => return shift_watermarks(input, |micros| Watermark(micros + DELAY_MICROS)),
        Bug::ClockBehind => {
            input.now_micros -= CLOCK_BEHIND_MICROS;
            return true;
        }
        Bug::EvictedAtClosing => {
            let differs = input.watermarks != input.closing;
            input.watermarks.clone_from(&input.closing);
            return differs;
        }
        Bug::WatermarkStuck => return shift_watermarks(input, |_| Watermark::NONE),
        _ => false,
    };
    if acted {
        set_rows(input, all);
    }
    acted
}

/// Drops the last row there is.
pub fn drop_last_row(batches: &mut [RecordBatch]) -> bool {
    let last = batches.iter_mut().rev().find(|batch| batch.num_rows() > 0);
    last.map(|batch| *batch = batch.slice(0, batch.num_rows() - 1)).is_some()
}

fn repeat_last_row(batches: &mut Vec<RecordBatch>) -> bool {
    let Some(last) = batches.iter().rev().find(|batch| batch.num_rows() > 0) else { return false };
    batches.push(last.slice(last.num_rows() - 1, 1));
    true
}

/// Late rows have every declared column; the view reads some of them, as the batch beside them tells.
fn accept(batches: &mut Vec<RecordBatch>, late: Option<&RecordBatch>) -> bool {
    let (Some(late), Some(schema)) = (late, batches.first().map(RecordBatch::schema)) else { return false };
    let columns = schema.fields().iter().map(|field| late.column_by_name(field.name()).cloned());
    let columns = columns.collect::<Option<Vec<_>>>().expect("late rows have every declared column");
    let options = RecordBatchOptions::new().with_row_count(Some(late.num_rows()));
    batches.push(RecordBatch::try_new_with_options(schema, columns, &options).expect("columns of their own types"));
    late.num_rows() > 0
}

fn shift_watermarks(input: &mut TickInput, shift: impl Fn(i64) -> Watermark) -> bool {
    let mut acted = false;
    for watermark in input.watermarks.values_mut().chain(input.closing.values_mut()) {
        if let Some(micros) = watermark.micros() {
            *watermark = shift(micros);
            acted = true;
        }
    }
    acted
}

/// The bugs in a tick's output.
pub fn tamper_output(bug: Bug, deltas: &mut Vec<Delta>) -> bool {
    match bug {
        Bug::RetractionMissed => deltas.iter_mut().any(miss_retraction),
        Bug::WeightsNegated => deltas.iter_mut().filter(|delta| !delta.is_empty()).map(negate).count() > 0,
        Bug::ChangeTwice => {
            let first = deltas.iter().find(|delta| !delta.is_empty()).map(|delta| slice(delta, 0, 1));
            deltas.extend(first.clone());
            first.is_some()
        }
        Bug::ClosedGroupLost => {
            let last = deltas.iter_mut().rev().find(|delta| !delta.is_empty());
            last.map(|delta| *delta = slice(delta, 0, delta.num_rows() - 1)).is_some()
        }
        _ => false,
    }
}

/// Has every change there twice.
pub fn repeat(deltas: &mut Vec<Delta>) -> bool {
    deltas.extend(deltas.clone());
    deltas.iter().any(|delta| !delta.is_empty())
}

fn miss_retraction(delta: &mut Delta) -> bool {
    let Weights::Signed(weights) = &delta.weights else { return false };
    let Some(missed) = weights.values().iter().position(|weight| *weight < 0) else { return false };
    let kept: BooleanArray = (0..delta.num_rows()).map(|row| Some(row != missed)).collect();
    let weights = weights.values().iter().enumerate().filter(|(row, _)| *row != missed).map(|(_, weight)| *weight);
    *delta = Delta {
        weights: Weights::Signed(Int64Array::from_iter_values(weights)),
        rows: filter_record_batch(&delta.rows, &kept).expect("a mask as long as the rows"),
    };
    true
}

fn negate(delta: &mut Delta) {
    let weights = (0..delta.num_rows()).map(|row| -delta.weight(row));
    delta.weights = Weights::Signed(Int64Array::from_iter_values(weights));
}

fn slice(delta: &Delta, offset: usize, length: usize) -> Delta {
    let weights = match &delta.weights {
        Weights::Ones => Weights::Ones,
        Weights::Signed(weights) => Weights::Signed(weights.slice(offset, length)),
    };
    debug_assert!(offset + length <= delta.num_rows());
    Delta { rows: delta.rows.slice(offset, length), weights }
}
