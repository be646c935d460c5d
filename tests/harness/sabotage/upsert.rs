//! Bugs in sources with a primary key: in what is taken for a key's last record, and what becomes of the old row.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::Int64Type;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Expr, Extension, Filter, LogicalPlan, TableScanBuilder, lit};
use engine::dataflow::Dataflow;
use engine::dataflow::upsert::UpsertNode;
use engine::ingest::{DELETED_COLUMN, PLACE_COLUMNS};

use super::Bug;

/// Changes every node that makes rows of changes; says whether there was one.
///
/// # Errors
/// DataFusion's, if a changed plan does not type-check.
pub fn tamper(bug: Bug, dataflow: &mut Dataflow) -> Result<bool> {
    let changed = dataflow.plan.clone().transform_up(|node| {
        let LogicalPlan::Extension(extension) = &node else { return Ok(Transformed::no(node)) };
        let Some(upsert) = extension.node.as_any().downcast_ref::<UpsertNode>() else {
            return Ok(Transformed::no(node));
        };
        match bug {
            Bug::OldRowStays => {
                let weight = upsert.schema.fields().len() - 1;
                let weight = Expr::Column(Column::from(upsert.schema.qualified_field(weight)));
                Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(weight.gt(lit(0i64)), Arc::new(node))?)))
            }
            Bug::KeyComparedAsText => Ok(Transformed::yes(with_text(upsert)?)),
            _ => Ok(Transformed::no(node)),
        }
    })?;
    dataflow.plan = changed.data;
    if changed.transformed && bug == Bug::KeyComparedAsText {
        dataflow.inputs.values_mut().for_each(|columns| _ = columns.insert("_key".to_owned()));
    }
    Ok(changed.transformed)
}

/// The record's key, byte for byte, is one key column more.
fn with_text(node: &UpsertNode) -> Result<LogicalPlan> {
    let LogicalPlan::TableScan(scan) = node.input.as_ref() else { return Ok(extension(node.clone())) };
    let text = scan.source.schema().index_of("_key")?;
    let mut projection = scan.projection.clone().unwrap_or_default();
    projection.insert(projection.len() - 1 - PLACE_COLUMNS.len(), text);
    let builder = TableScanBuilder::new(scan.table_name.clone(), scan.source.clone());
    let input = builder.with_projection(Some(projection.clone())).build()?;
    let mut changed = node.clone();
    changed.keys.push(projection.len() - 2 - PLACE_COLUMNS.len());
    changed.input = Arc::new(LogicalPlan::TableScan(input));
    Ok(extension(changed))
}

fn extension(node: UpsertNode) -> LogicalPlan {
    LogicalPlan::Extension(Extension { node: Arc::new(node) })
}

/// The bugs in a tick's records.
pub fn tamper_records(bug: Bug, batches: &mut [RecordBatch]) -> bool {
    let mut acted = false;
    for batch in batches {
        let Some(deleted) = batch.column_by_name(DELETED_COLUMN).cloned() else { continue };
        if bug == Bug::TombstoneIgnored {
            let kept = not(deleted.as_boolean()).expect("one mask a row");
            acted |= kept.true_count() < kept.len();
            *batch = filter_record_batch(batch, &kept).expect("one mask a row");
        } else {
            acted |= batch.num_rows() > 1;
            turn_round(batch);
        }
    }
    acted
}

fn turn_round(batch: &mut RecordBatch) {
    let place = batch.schema().index_of(PLACE_COLUMNS[1].0).expect("it stands beside the deletions");
    let offsets = batch.column(place).as_primitive::<Int64Type>();
    let turned: ArrayRef = Arc::new(Int64Array::from_iter_values(offsets.values().iter().map(|offset| -offset)));
    let mut columns = batch.columns().to_vec();
    columns[place] = turned;
    *batch = RecordBatch::try_new(batch.schema(), columns).expect("one column changed its values");
}
