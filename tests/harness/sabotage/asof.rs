//! Bugs in ASOF joins.

use datafusion::common::Result;
use datafusion::logical_expr::LogicalPlan;
use engine::dataflow::asof_join::AsofJoinNode;
use engine::operator::asof_join::Closest;

use super::{Bug, change_each, later};

/// Changes every node that the bug can be put into; says whether there was one.
///
/// # Errors
/// DataFusion's, if a changed plan does not type-check.
pub fn tamper(bug: Bug, plan: &mut LogicalPlan) -> Result<bool> {
    change_each(plan, |node| tampered(bug, node))
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
            changed.past.iter_mut().flatten().for_each(|bound| *bound = later(bound, 0, 10_000_000_000));
        }
        _ => return None,
    }
    Some(changed)
}
