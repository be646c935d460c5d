//! DataFusion's rule that pushes filters down, held back above an aggregate without keys.
//!
//! Such an aggregate has its one row whatever its input is, so a filter above it may take that row away and one below it may
//! not. DataFusion's rule asks only whether the filter's columns are keys, which a filter without columns answers with yes:
//! `SELECT * FROM (SELECT 5 AS a, count(*) FROM t) AS q WHERE a > 6` would have a row. Spark had the same fault
//! (<https://issues.apache.org/jira/browse/SPARK-22983>).

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::{Optimizer, OptimizerConfig, OptimizerRule};

/// The rules for a SELECT: DataFusion's, with this one in the place of its own.
pub(crate) fn rules_of_a_query() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    let ours: Arc<dyn OptimizerRule + Send + Sync> = Arc::new(PushDownFilterToKeys::default());
    let theirs = rules.iter_mut().filter(|rule| rule.name() == ours.name());
    theirs.for_each(|rule| *rule = ours.clone());
    rules
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct PushDownFilterToKeys(PushDownFilter);

impl OptimizerRule for PushDownFilterToKeys {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if filters_one_row(&plan) { Ok(Transformed::no(plan)) } else { self.0.rewrite(plan, config) }
    }
}

/// True for filters, one or several, right above an aggregate without keys. The rule puts several together before it pushes.
fn filters_one_row(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Filter(filter) = plan else { return false };
    let mut below = filter.input.as_ref();
    while let LogicalPlan::Filter(filter) = below {
        below = filter.input.as_ref();
    }
    matches!(below, LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty())
}
