//! Bugs in gates, behind which windows wait to close.

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::LogicalPlan;
use engine::dataflow::window_gate::WindowGateNode;

use super::{Bug, change_each, later};

/// Changes every node that the bug can be put into; says whether there was one.
///
/// # Errors
/// DataFusion's, if a changed plan does not type-check.
pub fn tamper(bug: Bug, plan: &mut LogicalPlan) -> Result<bool> {
    change_each(plan, |node| tampered(bug, node))
}

fn tampered(bug: Bug, node: &WindowGateNode) -> Option<WindowGateNode> {
    let (days, nanoseconds) = match node.schema.field(node.column).data_type() {
        DataType::Date32 => (1, 0),
        _ => (0, 1_000_000_000),
    };
    (bug == Bug::GateOpensEarly)
        .then(|| WindowGateNode { bound: later(&node.bound, days, nanoseconds), ..node.clone() })
}
