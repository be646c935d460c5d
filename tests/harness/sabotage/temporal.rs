//! Bugs in conditions on the tick's time.

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::LogicalPlan;
use engine::dataflow::temporal_filter::TemporalFilterNode;
use engine::operator::temporal_filter::Comparison;

use super::{Bug, change_each, later};

/// Changes every node that the bug can be put into; says whether there was one.
///
/// # Errors
/// DataFusion's, if a changed plan does not type-check.
pub fn tamper(bug: Bug, plan: &mut LogicalPlan) -> Result<bool> {
    change_each(plan, |node| tampered(bug, node))
}

fn tampered(bug: Bug, node: &TemporalFilterNode) -> Option<TemporalFilterNode> {
    let mut changed = node.clone();
    match bug {
        Bug::ConditionForgotten if node.conditions.len() > 1 => _ = changed.conditions.pop(),
        Bug::LimitMoved => {
            for condition in &mut changed.conditions {
                let (days, nanoseconds) = match node.input.schema().field(condition.column).data_type() {
                    DataType::Date32 => (1, 0),
                    _ => (0, 2_000_000_000),
                };
                condition.limit = later(&condition.limit, days, nanoseconds);
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
