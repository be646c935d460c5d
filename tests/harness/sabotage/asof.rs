//! Bugs in ASOF joins.

use std::sync::Arc;

use arrow::datatypes::IntervalMonthDayNano;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Extension, LogicalPlan, lit};
use engine::dataflow::asof_join::AsofJoinNode;
use engine::operator::asof_join::Closest;

use super::Bug;

/// Changes every node that the bug can be put into; says whether there was one.
///
/// # Errors
/// DataFusion's, if a changed plan does not type-check.
pub fn tamper(bug: Bug, plan: &mut LogicalPlan) -> Result<bool> {
    let changed = plan.clone().transform_up(|node| {
        let LogicalPlan::Extension(extension) = &node else { return Ok(Transformed::no(node)) };
        let Some(join) = extension.node.as_any().downcast_ref::<AsofJoinNode>() else {
            return Ok(Transformed::no(node));
        };
        let changed = tampered(bug, join).map(|node| LogicalPlan::Extension(Extension { node: Arc::new(node) }));
        Ok(changed.map_or_else(|| Transformed::no(node), Transformed::yes))
    })?;
    *plan = changed.data;
    Ok(changed.transformed)
}

fn tampered(bug: Bug, node: &AsofJoinNode) -> Option<AsofJoinNode> {
    let mut changed = node.clone();
    match bug {
        Bug::ClosestInclusive => {
            changed.closest = match node.closest {
                Closest::AtOrBefore => Closest::Before,
                Closest::Before => Closest::AtOrBefore,
                Closest::AtOrAfter => Closest::After,
                Closest::After => Closest::AtOrAfter,
            }
        }
        Bug::UnmatchedLost if node.outer => changed.outer = false,
        Bug::AsofPastTooEarly if node.past.iter().all(Option::is_some) => {
            let later = lit(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, 0, 10_000_000_000))));
            for bound in changed.past.iter_mut().flatten() {
                let moved = bound.map(|value| Ok::<_, std::convert::Infallible>(value + later.clone()));
                *bound = moved.expect("infallible");
            }
        }
        _ => return None,
    }
    Some(changed)
}
