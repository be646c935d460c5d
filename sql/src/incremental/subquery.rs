//! Subqueries in expressions: what has to be seen to before they become joins.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Distinct, Expr, FetchType, Join, LogicalPlan};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::refusal;
use crate::error::SqlError;

/// Refuses scalar subqueries of which it is not known that they have at most one row: as joins they would give one row for
/// each, where SQL wants an error.
///
/// # Errors
/// 0A000 with the subquery's plan.
pub fn refuse_scalar_subqueries_of_many_rows(plan: &LogicalPlan) -> std::result::Result<(), SqlError> {
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

/// NOT IN with a correlated subquery: which NULLs count then depends on the row, so it is put as a condition.
///
/// `l NOT IN (SELECT r … WHERE c)` holds where no row has both `c` and `l = r` not false. Without `c` it stays a null-aware
/// anti join, which is faster: a NULL anywhere decides for all.
#[derive(Debug)]
pub struct CorrelatedNotIn;

impl OptimizerRule for CorrelatedNotIn {
    fn name(&self) -> &str {
        "correlated_not_in"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(join) = plan else { return Ok(Transformed::no(plan)) };
        let conditions = join.filter.clone().map(split_conjunction_owned).unwrap_or_default();
        // The rule before puts the comparison first, then the correlation.
        if !join.null_aware || !join.on.is_empty() || (conditions.len() == 1 && is_between_sides(&conditions[0], &join))
        {
            return Ok(Transformed::no(LogicalPlan::Join(join)));
        }
        let mut conditions = conditions.into_iter();
        let compared = conditions.next().map(Expr::is_not_false);
        let filter = conjunction(compared.into_iter().chain(conditions));
        Ok(Transformed::yes(LogicalPlan::Join(Join { filter, null_aware: false, ..join })))
    }
}

/// True for `left = right` that can become a key.
fn is_between_sides(condition: &Expr, join: &Join) -> bool {
    let Expr::BinaryExpr(binary) = condition else { return false };
    let of = |expr: &Expr, plan: &LogicalPlan| {
        let columns = expr.column_refs();
        !columns.is_empty() && columns.iter().all(|column| plan.schema().maybe_index_of_column(column).is_some())
    };
    of(&binary.left, &join.left) && of(&binary.right, &join.right)
}
