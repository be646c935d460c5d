//! Bugs in a view's incremental plan: its stateful nodes, changed one by one.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result};
use datafusion::functions::math::expr_fn::{isnan, random};
use datafusion::logical_expr::{Expr, Extension, Filter, LogicalPlan, Projection, cast, lit, when};
use engine::dataflow::join::JoinNode;
use engine::dataflow::node::{AggregateNode, LogicalCall};
use engine::delta::WEIGHT_COLUMN;

use super::{Bug, later};

/// Changes every stateful node that the bug can be put into; says whether there was one.
///
/// # Errors
/// DataFusion's, if a changed plan does not type-check.
pub fn tamper(bug: Bug, plan: &mut LogicalPlan) -> Result<bool> {
    let changed = plan.clone().transform_up(|node| {
        let LogicalPlan::Extension(extension) = &node else { return Ok(Transformed::no(node)) };
        if let Some(join) = extension.node.as_any().downcast_ref::<JoinNode>() {
            return Ok(super::join::tampered(bug, join)?.map_or_else(|| Transformed::no(node), Transformed::yes));
        }
        let Some(aggregate) = extension.node.as_any().downcast_ref::<AggregateNode>() else {
            return Ok(Transformed::no(node));
        };
        Ok(tampered(bug, aggregate)?.map_or_else(|| Transformed::no(node), Transformed::yes))
    })?;
    *plan = changed.data;
    Ok(changed.transformed)
}

fn tampered(bug: Bug, node: &AggregateNode) -> Result<Option<LogicalPlan>> {
    let mut changed = node.clone();
    let acted = match bug {
        Bug::HopTooShort => shorten_windows(&mut changed),
        Bug::CumulateHops => changed.hop.as_mut().is_some_and(|hop| std::mem::take(&mut hop.cumulative)),
        Bug::HopBeginsLate => changed.hop.as_mut().map(|hop| hop.origin_micros += hop.slide_micros / 2).is_some(),
        Bug::ClosesEarly if node.emit_on_close => shift_bound(&mut changed, 1)?,
        Bug::ClosesLate if node.emit_on_close => shift_bound(&mut changed, -1)?,
        Bug::EvictsEarly if !node.emit_on_close => shift_bound(&mut changed, 1)?,
        Bug::WrongMonotoneKey => take_other_key(&mut changed),
        Bug::WeightsForgotten => forget_weights(&mut changed)?,
        Bug::TakenForAppendOnly => std::mem::take(&mut changed.input_weighted),
        Bug::FilterForgotten => changed.calls.iter_mut().any(|call| call.filter.take().is_some()),
        Bug::FiltersSwapped => swap_filters(&mut changed.calls),
        Bug::DistinctForgotten => changed.calls.iter_mut().any(|call| std::mem::take(&mut call.distinct)),
        Bug::NullKeysLost => lose_null_keys(&mut changed)?,
        Bug::ZeroKeysSplit => return split_keys(node, |key| Ok(cast(key, DataType::Utf8)), DataType::Utf8),
        // Equal for all rows but those whose key is NaN.
        Bug::NanKeysSplit if !node.input_weighted => {
            let hidden = |key| when(isnan(key), random()).otherwise(lit(0.0));
            return split_keys(node, hidden, DataType::Float64);
        }
        _ => false,
    };
    Ok(acted.then(|| extension(changed)))
}

fn extension(node: AggregateNode) -> LogicalPlan {
    LogicalPlan::Extension(Extension { node: Arc::new(node) })
}

fn shorten_windows(node: &mut AggregateNode) -> bool {
    let hop = node.hop.as_mut().filter(|hop| hop.size_micros > hop.slide_micros && !hop.cumulative);
    hop.map(|hop| hop.size_micros -= hop.slide_micros).is_some()
}

/// Shifts the bound of the monotone key by a window, ten seconds or a day.
fn shift_bound(node: &mut AggregateNode, windows: i64) -> Result<bool> {
    let Some((key, bound)) = &node.monotone_key else { return Ok(false) };
    let (days, nanoseconds) = match node.schema.field(*key).data_type() {
        DataType::Date32 => (windows as i32, 0),
        _ => (0, windows * 10_000_000_000),
    };
    node.monotone_key = Some((*key, later(bound, days, nanoseconds)));
    Ok(true)
}

/// Compares the bound of one key with another that is a time, too.
fn take_other_key(node: &mut AggregateNode) -> bool {
    let is_time = |index: &usize| matches!(node.schema.field(*index).data_type(), DataType::Timestamp(..));
    let Some((key, bound)) = node.monotone_key.clone() else { return false };
    let other = (0..node.output_key_count).filter(is_time).find(|other| *other != key);
    node.monotone_key = Some((other.unwrap_or(key), bound));
    other.is_some()
}

fn forget_weights(node: &mut AggregateNode) -> Result<bool> {
    let LogicalPlan::Projection(projection) = node.input.as_ref() else { return Ok(false) };
    if !node.input_weighted {
        return Ok(false);
    }
    let mut exprs = projection.expr.clone();
    *exprs.last_mut().expect("the weight is there") = lit(1i64).alias(WEIGHT_COLUMN);
    node.input = Arc::new(LogicalPlan::Projection(Projection::try_new(exprs, projection.input.clone())?));
    Ok(true)
}

fn swap_filters(calls: &mut [LogicalCall]) -> bool {
    let Some(first) = calls.iter().position(|call| call.filter.is_some()) else { return false };
    let filter = calls[first].filter;
    let Some(second) = calls.iter().position(|call| call.filter != filter) else { return false };
    (calls[first].filter, calls[second].filter) = (calls[second].filter, filter);
    true
}

fn column(schema: &DFSchema, index: usize) -> Expr {
    Expr::Column(Column::from(schema.qualified_field(index)))
}

fn lose_null_keys(node: &mut AggregateNode) -> Result<bool> {
    let schema = node.input.schema().clone();
    let nullable = (0..node.key_count).filter(|key| schema.field(*key).is_nullable());
    let Some(kept) = nullable.map(|key| column(&schema, key).is_not_null()).reduce(Expr::and) else {
        return Ok(false);
    };
    node.input = Arc::new(LogicalPlan::Filter(Filter::try_new(kept, node.input.clone())?));
    Ok(true)
}

/// Groups by one more key, made of a float key, which the projection above leaves out again.
fn split_keys(
    node: &AggregateNode,
    hidden: impl Fn(Expr) -> Result<Expr>,
    data_type: DataType,
) -> Result<Option<LogicalPlan>> {
    let input = node.input.schema().clone();
    let float = (0..node.key_count).find(|key| *input.field(*key).data_type() == DataType::Float64);
    let (Some(float), None) = (float, &node.hop) else { return Ok(None) };
    let mut exprs: Vec<Expr> = (0..input.fields().len()).map(|index| column(&input, index)).collect();
    exprs.insert(node.key_count, hidden(column(&input, float))?.alias("hidden"));
    let mut split = node.clone();
    split.input = Arc::new(LogicalPlan::Projection(Projection::try_new(exprs, node.input.clone())?));
    split.key_count += 1;
    split.output_key_count += 1;
    for call in &mut split.calls {
        call.arguments.iter_mut().for_each(|argument| argument.column += 1);
        call.filter.iter_mut().for_each(|filter| *filter += 1);
        call.order_by.iter_mut().for_each(|(column, _, _)| *column += 1);
    }
    split.schema = with_field(&node.schema, node.output_key_count, Field::new("hidden", data_type, true))?;
    let schema = split.schema.clone();
    let shown = (0..schema.fields().len()).filter(|index| *index != node.output_key_count);
    let shown = shown.map(|index| column(&schema, index)).collect();
    Ok(Some(LogicalPlan::Projection(Projection::try_new(shown, Arc::new(extension(split)))?)))
}

fn with_field(schema: &DFSchema, index: usize, field: Field) -> Result<DFSchemaRef> {
    let mut fields: Vec<_> = schema.iter().map(|(qualifier, field)| (qualifier.cloned(), field.clone())).collect();
    fields.insert(index, (None, Arc::new(field)));
    Ok(Arc::new(DFSchema::new_with_metadata(fields, schema.metadata().clone())?))
}
