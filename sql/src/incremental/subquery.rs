//! Subqueries in expressions: what has to be seen to before they become joins.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Distinct, Expr, FetchType, LogicalPlan};

use super::refusal;
use crate::error::SqlError;

/// Refuses scalar subqueries of which it is not known that they have at most one row: as joins they would give one row for
/// each, where SQL wants an error.
///
/// # Errors
/// 0A000 with the subquery's plan.
pub fn refuse_scalar_subqueries_of_many_rows(plan: &LogicalPlan) -> Result<(), SqlError> {
    let mut refused = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarSubquery(subquery) = expr
                    && !has_at_most_one_row(&subquery.subquery)
                {
                    refused = Some(refusal::named(
                        "a subquery that may have more than one row, used as a value,",
                        &subquery.subquery,
                    ));
                    return Ok(TreeNodeRecursion::Stop);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    match refused {
        None => Ok(()),
        Some(refusal) => Err(refusal.hint("aggregate it without GROUP BY: max(…), min(…), count(*)")),
    }
}

fn has_at_most_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => has_at_most_one_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => has_at_most_one_row(&alias.input),
        LogicalPlan::Filter(filter) => has_at_most_one_row(&filter.input),
        LogicalPlan::Sort(sort) => has_at_most_one_row(&sort.input),
        LogicalPlan::Distinct(Distinct::All(input)) => has_at_most_one_row(input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(_) => true,
        LogicalPlan::Values(values) => values.values.len() <= 1,
        LogicalPlan::Limit(limit) => {
            matches!(limit.get_fetch_type(), Ok(FetchType::Literal(Some(0 | 1)))) || has_at_most_one_row(&limit.input)
        }
        _ => false,
    }
}
