//! Conditions that cannot fail come first.

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::utils::{conjunction, split_conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Filter, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::can_fail;

/// Puts the conditions of a filter that cannot fail before those that can. What keeps rows away from a division may have
/// stood in a filter below; where DataFusion puts filters together it takes the one above first.
#[derive(Debug)]
pub(crate) struct InfallibleFirst;

impl OptimizerRule for InfallibleFirst {
    fn name(&self) -> &str {
        "infallible_first"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Filter(filter) = plan else { return Ok(Transformed::no(plan)) };
        let schema = filter.input.schema();
        let fail: Vec<bool> =
            split_conjunction(&filter.predicate).into_iter().map(|condition| can_fail(condition, schema)).collect();
        if fail.is_sorted() {
            return Ok(Transformed::no(LogicalPlan::Filter(filter)));
        }
        let (others, safe): (Vec<_>, Vec<_>) =
            split_conjunction_owned(filter.predicate).into_iter().zip(fail).partition(|(_, fails)| *fails);
        let ordered = safe.into_iter().chain(others).map(|(condition, _)| condition);
        let Some(predicate) = conjunction(ordered) else {
            return datafusion::common::internal_err!("a filter without conditions");
        };
        Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?)))
    }
}
