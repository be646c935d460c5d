//! Bugs in what is saved and restored.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt16Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int64Type, UInt16Type};
use engine::dataflow::execution::SavedView;
use engine::dataflow::planner::key_group_partitions;
use engine::ingest::IngestState;
use engine::operator::KEY_GROUP_COLUMN;
use engine::state::key_group::KEY_GROUPS;

use super::Bug;

/// The bugs in operators' state; the view goes on at `parallelism`.
pub fn tamper(bug: Bug, saved: &mut SavedView, parallelism: usize) -> bool {
    match bug {
        Bug::PartitionLost if parallelism > 1 => lose_partition(saved, parallelism),
        Bug::KeyGroupsMisdealt if parallelism > 1 => {
            let deal = |group: u16| (group + 1) % KEY_GROUPS;
            each_batch(saved, |_, batch| Some(with_key_groups(batch, deal)))
        }
        Bug::KeptRowsLost => each_batch(saved, |table, batch| table.starts_with("rows_").then(|| batch.slice(0, 0))),
        Bug::RowWeightsForgotten => each_batch(saved, |table, batch| (table == "rows").then(|| counted_once(batch))),
        Bug::AnswersForgotten => each_batch(saved, |table, batch| (table == "groups").then(|| unanswered(batch))),
        Bug::ShownForgotten => each_batch(saved, |table, batch| (table == "rows").then(|| unshown(batch)).flatten()),
        Bug::MatchesForgotten => each_batch(saved, |table, batch| {
            let column = if table.starts_with("counts_") { "__weight" } else { "__matches" };
            let numbers = batch.column_by_name(column)?.as_primitive::<Int64Type>();
            let forgotten = if table.starts_with("counts_") { 1 } else { 0 };
            let forgets = numbers.values().iter().any(|number| *number != forgotten);
            let numbers = Int64Array::from_value(forgotten, batch.num_rows());
            forgets.then(|| with_column(batch, column, Arc::new(numbers)))
        }),
        _ => false,
    }
}

/// Partitions forget their newest event time.
pub fn forget_event_times(state: &mut IngestState) -> bool {
    state.partitions.values_mut().filter_map(|partition| partition.event_time_max.take()).count() > 0
}

/// Changes the batches that hold rows; says whether there were any.
fn each_batch(saved: &mut SavedView, change: impl Fn(&str, &RecordBatch) -> Option<RecordBatch>) -> bool {
    let mut acted = false;
    for (name, batches) in saved.iter_mut().flat_map(|(_, state)| &mut state.tables) {
        for batch in batches.iter_mut().filter(|batch| batch.num_rows() > 0) {
            if let Some(changed) = change(name, batch) {
                *batch = changed;
                acted = true;
            }
        }
    }
    acted
}

fn key_groups(batch: &RecordBatch) -> &UInt16Array {
    batch.column_by_name(KEY_GROUP_COLUMN).expect("the first column of every saved table").as_primitive::<UInt16Type>()
}

fn lose_partition(saved: &mut SavedView, parallelism: usize) -> bool {
    let dealt = key_group_partitions(parallelism);
    let partition = |group: u16| dealt[usize::from(group)];
    let batches = saved.iter().flat_map(|(_, state)| &state.tables).flat_map(|(_, batches)| batches);
    let first = batches.filter(|batch| batch.num_rows() > 0).map(|batch| key_groups(batch).value(0)).next();
    let Some(lost) = first.map(partition) else { return false };
    each_batch(saved, |_, batch| {
        let kept = key_groups(batch).values().iter().map(|group| Some(partition(*group) != lost));
        Some(filter_record_batch(batch, &kept.collect::<BooleanArray>()).expect("a mask as long as the batch"))
    })
}

fn with_key_groups(batch: &RecordBatch, deal: impl Fn(u16) -> u16) -> RecordBatch {
    let dealt: UInt16Array = key_groups(batch).values().iter().map(|group| deal(*group)).collect::<Vec<_>>().into();
    with_column(batch, KEY_GROUP_COLUMN, Arc::new(dealt))
}

fn unanswered(batch: &RecordBatch) -> RecordBatch {
    with_column(batch, "__answered", Arc::new(BooleanArray::from(vec![false; batch.num_rows()])))
}

fn unshown(batch: &RecordBatch) -> Option<RecordBatch> {
    let shown = batch.column_by_name("__closed")?.as_boolean().true_count() > 0;
    shown.then(|| with_column(batch, "__closed", Arc::new(BooleanArray::from(vec![false; batch.num_rows()]))))
}

fn counted_once(batch: &RecordBatch) -> RecordBatch {
    with_column(batch, "__row_weight", Arc::new(Int64Array::from_value(1, batch.num_rows())))
}

fn with_column(batch: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let mut columns = batch.columns().to_vec();
    columns[batch.schema().index_of(name).expect("a column of every saved table")] = column;
    RecordBatch::try_new(batch.schema(), columns).expect("a column of the same type and length")
}
