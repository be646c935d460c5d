//! Bugs in the plan nodes that keep rows by key: windows, Top-N, set operations.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::LogicalPlan;
use engine::dataflow::bound::Bound;
use engine::dataflow::set_operation::SetOperationNode;
use engine::dataflow::top_n::TopNNode;
use engine::dataflow::window::WindowNode;
use engine::operator::set_operation::SetRule;
use engine::operator::top_n::Rank;

use super::{Bug, extension_of, later};

/// Changes every node that the bug can be put into; says whether there was one.
///
/// # Errors
/// DataFusion's, if a changed plan does not type-check.
pub fn tamper(bug: Bug, plan: &mut LogicalPlan) -> Result<bool> {
    let changed = plan.clone().transform_up(|node| {
        let LogicalPlan::Extension(extension) = &node else { return Ok(Transformed::no(node)) };
        let any = extension.node.as_any();
        let tampered = if let Some(node) = any.downcast_ref::<TopNNode>() {
            top_n(bug, node).map(extension_of)
        } else if let Some(node) = any.downcast_ref::<WindowNode>() {
            window(bug, node).map(extension_of)
        } else if let Some(node) = any.downcast_ref::<SetOperationNode>() {
            set_operation(bug, node).map(extension_of)
        } else {
            None
        };
        Ok(tampered.map_or_else(|| Transformed::no(node), Transformed::yes))
    })?;
    *plan = changed.data;
    Ok(changed.transformed)
}

fn top_n(bug: Bug, node: &TopNNode) -> Option<TopNNode> {
    let mut changed = node.clone();
    match bug {
        Bug::OneRankMore => changed.to = Some(changed.to? + 1),
        Bug::TiesReversed => changed.order.get_mut(1).map(|sort| sort.1 = !sort.1)?,
        Bug::RanksWithoutGaps if node.rank == Rank::Rank => changed.rank = Rank::DenseRank,
        Bug::PartitionsEvictedEarly if !node.emit_on_close => {
            changed.monotone_key = Some(ahead(node.monotone_key.as_ref()?))
        }
        _ => return None,
    }
    Some(changed)
}

fn window(bug: Bug, node: &WindowNode) -> Option<WindowNode> {
    let mut changed = node.clone();
    match bug {
        Bug::PartitionsEvictedEarly if !node.emit_on_close => {
            changed.monotone_key = Some(ahead(node.monotone_key.as_ref()?))
        }
        // Rows of one partition are then computed apart.
        Bug::PartitionedTooFinely => {
            let other = 0..node.input.schema().fields().len() - usize::from(node.input_weighted);
            changed.keys.push(other.into_iter().find(|column| !node.keys.contains(column))?);
        }
        _ => return None,
    }
    Some(changed)
}

fn set_operation(bug: Bug, node: &SetOperationNode) -> Option<SetOperationNode> {
    let rule = match (bug, node.rule) {
        (Bug::CopiesForgotten, SetRule::ExceptAll) => SetRule::Except,
        (Bug::CopiesForgotten, SetRule::IntersectAll) => SetRule::Intersect,
        _ => return None,
    };
    Some(SetOperationNode { rule, ..node.clone() })
}

/// The bound of the monotone key, ten seconds ahead.
fn ahead((key, bound): &(usize, Bound)) -> (usize, Bound) {
    (*key, later(bound, 0, 10_000_000_000))
}
