//! Queries whose answer DataFusion leaves open, or gives otherwise than Postgres, said so that there is one answer.
//!
//! In goes a typed plan, out comes one with the same columns whose answer is a function of its input rows:
//! - rows that tie in the ORDER BY of a window or of a LIMIT are ordered by the other columns ([`ties`]),
//! - DISTINCT ON takes whole rows, the first of each group ([`distinct_on`]),
//! - INTERSECT ALL and EXCEPT ALL count rows ([`multiset`]),
//! - grouping sets are the GROUP BYs of their sets beside each other ([`grouping_sets`]).
//!
//! A view's plan and the same SELECT run by hand both come through here, so they agree.

mod distinct_on;
mod grouping_sets;
pub(crate) mod multiset;
mod ties;

pub(crate) use ties::ORDER;

use datafusion::common::DataFusionError;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Distinct, LogicalPlan};

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
        other => Ok(Transformed::no(other)),
    })?;
    Ok(settled.data)
}
