//! Bugs in conditions on the tick's time.

use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalMonthDayNano};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Extension, LogicalPlan, lit};
use engine::dataflow::temporal_filter::TemporalFilterNode;
use engine::operator::temporal_filter::Comparison;

use super::Bug;

/// Changes every node that the bug can be put into; says whether there was one.
///
/// # Errors
/// DataFusion's, if a changed plan does not type-check.
pub fn tamper(bug: Bug, plan: &mut LogicalPlan) -> Result<bool> {
    let changed = plan.clone().transform_up(|node| {
        let LogicalPlan::Extension(extension) = &node else { return Ok(Transformed::no(node)) };
        let Some(filter) = extension.node.as_any().downcast_ref::<TemporalFilterNode>() else {
            return Ok(Transformed::no(node));
        };
        let changed = tampered(bug, filter).map(|node| LogicalPlan::Extension(Extension { node: Arc::new(node) }));
        Ok(changed.map_or_else(|| Transformed::no(node), Transformed::yes))
    })?;
    *plan = changed.data;
    Ok(changed.transformed)
}

fn tampered(bug: Bug, node: &TemporalFilterNode) -> Option<TemporalFilterNode> {
    let mut changed = node.clone();
    match bug {
        Bug::ConditionForgotten if node.conditions.len() > 1 => _ = changed.conditions.pop(),
        Bug::LimitMoved => {
            for condition in &mut changed.conditions {
                let interval = match node.input.schema().field(condition.column).data_type() {
                    DataType::Date32 => IntervalMonthDayNano::new(0, 1, 0),
                    _ => IntervalMonthDayNano::new(0, 0, 2_000_000_000),
                };
                let interval = lit(ScalarValue::IntervalMonthDayNano(Some(interval)));
                let moved = condition.limit.map(|value| Ok::<_, std::convert::Infallible>(value + interval.clone()));
                condition.limit = moved.expect("infallible");
            }
        }
        Bug::LimitInclusive => {
            for condition in &mut changed.conditions {
                condition.comparison = match condition.comparison {
                    Comparison::After => Comparison::AtOrAfter,
                    Comparison::AtOrAfter => Comparison::After,
                    Comparison::Before => Comparison::AtOrBefore,
                    Comparison::AtOrBefore => Comparison::Before,
                };
            }
        }
        _ => return None,
    }
    Some(changed)
}
