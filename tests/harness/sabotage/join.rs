//! Bugs in the joins of a view's plan.

use std::sync::Arc;

use datafusion::common::{Column, DFSchema, JoinType, Result};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Projection, lit};
use engine::dataflow::join::JoinNode;
use engine::delta::{WEIGHT_COLUMN, is_weighted};

use super::{Bug, extension_of, later};

/// The join with the bug in it, if it can be put there.
///
/// # Errors
/// DataFusion's, if a changed plan does not type-check.
pub fn tampered(bug: Bug, node: &JoinNode) -> Result<Option<LogicalPlan>> {
    let mut changed = node.clone();
    let acted = match bug {
        Bug::PastByOwnWatermark => {
            changed.past.swap(0, 1);
            changed.past.iter().all(Option::is_some) && changed.past != node.past
        }
        Bug::PastTooEarly => {
            changed.past = node.past.clone().map(|bound| bound.map(|bound| later(&bound, 0, 10_000_000_000)));
            changed.past != node.past
        }
        Bug::NullKeysMatch if node.key_count > 0 && !node.null_aware => {
            changed.nulls_match = !node.nulls_match;
            true
        }
        Bug::NullRowsStay => return null_rows_stay(node),
        Bug::NotInForgetsNulls => std::mem::take(&mut changed.null_aware),
        // Without it keys alone decide, and they have no time of their own.
        Bug::ResidualForgotten => {
            changed.past = [None, None];
            changed.inputs = node.inputs.clone();
            node.past == [None, None] && changed.residual.take().is_some()
        }
        Bug::WeightsForgotten => forget_weights(&mut changed)?,
        Bug::TakenForAppendOnly => return Ok(None),
        _ => false,
    };
    Ok(acted.then(|| extension_of(changed)))
}

fn column(schema: &DFSchema, index: usize) -> Expr {
    Expr::Column(Column::from(schema.qualified_field(index)))
}

/// Retractions of rows whose right columns are all NULL do not come through.
fn null_rows_stay(node: &JoinNode) -> Result<Option<LogicalPlan>> {
    if node.kind != JoinType::Left {
        return Ok(None);
    }
    let count = |side: usize| {
        let schema = node.inputs[side].schema();
        let extra = node.key_count + usize::from(node.past[side].is_some());
        schema.fields().len() - extra - usize::from(is_weighted(schema.as_arrow()))
    };
    let (left, right) = (count(0), count(1));
    let found = (left..left + right).map(|index| column(&node.schema, index).is_not_null());
    let weight = column(&node.schema, node.schema.fields().len() - 1);
    let kept = found.fold(weight.gt(lit(0i64)), Expr::or);
    Ok(Some(LogicalPlan::Filter(Filter::try_new(kept, Arc::new(extension_of(node.clone())))?)))
}

fn forget_weights(node: &mut JoinNode) -> Result<bool> {
    let mut acted = false;
    for side in 0..2 {
        let LogicalPlan::Projection(projection) = node.inputs[side].as_ref() else { continue };
        if node.weighted[side] {
            let mut exprs = projection.expr.clone();
            *exprs.last_mut().expect("the weight is there") = lit(1i64).alias(WEIGHT_COLUMN);
            let forgot = Projection::try_new(exprs, projection.input.clone())?;
            node.inputs[side] = Arc::new(LogicalPlan::Projection(forgot));
            acted = true;
        }
    }
    Ok(acted)
}
