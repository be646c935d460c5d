//! Queries whose answer DataFusion leaves open, or gives otherwise than Postgres, said so that there is one answer.
//!
//! In goes a typed plan, out comes one with the same columns whose answer is a function of its input rows:
//! - rows that tie in the ORDER BY of a window or of a LIMIT are ordered by the other columns ([`ties`]),
//! - DISTINCT ON takes whole rows, the first of each group ([`distinct_on`]),
//! - INTERSECT ALL and EXCEPT ALL count rows ([`multiset`]),
//! - aggregates over frames that rows leave are able to let them ([`sliding`]),
//! - grouping sets are the GROUP BYs of their sets beside each other ([`grouping_sets`]).
//!
//! A view's plan and the same SELECT run by hand both come through here, so they agree.

mod distinct_on;
mod grouping_sets;
pub(crate) mod multiset;
mod ties;

pub(crate) use ties::ORDER;

use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Distinct, LogicalPlan};

use crate::functions::sliding;

/// Gives a typed plan one answer.
///
/// # Errors
/// DataFusion's, for a plan it made itself.
pub(super) fn give(plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    let settled = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Distinct(Distinct::On(on)) => Ok(Transformed::yes(distinct_on::first_rows(on)?)),
        LogicalPlan::Projection(projection) => ties::of_windows(projection),
        LogicalPlan::Limit(limit) => ties::of_limit(limit),
        LogicalPlan::Aggregate(aggregate) => grouping_sets::expand(aggregate),
        LogicalPlan::Join(join) => multiset::counted(join),
        LogicalPlan::Window(_) => sliding_aggregates(node),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(settled.data)
}

/// Window functions that can follow their frames.
fn sliding_aggregates(window: LogicalPlan) -> Result<Transformed<LogicalPlan>, DataFusionError> {
    let names = NamePreserver::new(&window);
    window.map_expressions(|expr| {
        let name = names.save(&expr);
        let made = expr.transform_up(|expr| Ok(sliding::retractable(expr)))?;
        Ok(if made.transformed { made.update_data(|expr| name.restore(expr)) } else { made })
    })
}
