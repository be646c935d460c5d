//! Subqueries that become joins, where DataFusion makes none or a wrong one.
//!
//! EXISTS in a projection becomes the mark of a mark join ([`MarkSubqueries`]):
//!
//! ```text
//! Projection(a, EXISTS (q))        Projection(a, mark)
//!   input                    ==>     LeftMark(input, q, what q compares with the input)
//! ```
//!
//! DataFusion's rule makes such joins below filters only, so it is given one. A correlated NOT IN becomes an anti join whose
//! condition is three-valued ([`CorrelatedNotIn`]).

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::Exists;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, Join, LogicalPlan, Projection};
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// The rule. It belongs before [`DecorrelatePredicateSubquery`].
#[derive(Debug, Default)]
pub(crate) struct MarkSubqueries;

impl OptimizerRule for MarkSubqueries {
    fn name(&self) -> &str {
        "mark_subqueries"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Projection(projection) = plan else { return Ok(Transformed::no(plan)) };
        let mut tests = Vec::new();
        for expr in &projection.expr {
            expr.apply(|expr| {
                if let Expr::Exists(exists) = expr {
                    let test = Expr::Exists(Exists { negated: false, ..exists.clone() });
                    if !tests.contains(&test) {
                        tests.push(test);
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        let mut input = Arc::clone(&projection.input);
        let mut marks = Vec::new();
        for test in tests {
            if let Some((mark, join)) = mark(&test, &input, config)? {
                input = join;
                marks.push((test, mark));
            }
        }
        if marks.is_empty() {
            return Ok(Transformed::no(LogicalPlan::Projection(projection)));
        }
        let node = LogicalPlan::Projection(projection);
        let names = NamePreserver::new(&node);
        let exprs = node.expressions().into_iter().map(|expr| {
            let name = names.save(&expr);
            Ok(name.restore(expr.transform_up(|expr| Ok(marked(expr, &marks)))?.data))
        });
        let exprs = exprs.collect::<Result<Vec<_>>>()?;
        Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(exprs, input)?)))
    }
}

/// The join that marks the rows of `input` for which `test` holds, and its mark; `None` if there is none.
fn mark(
    test: &Expr,
    input: &Arc<LogicalPlan>,
    config: &dyn OptimizerConfig,
) -> Result<Option<(Expr, Arc<LogicalPlan>)>> {
    // Embedded in something, or it would be a semi join.
    let filter = Filter::try_new(Expr::IsTrue(Box::new(test.clone())), Arc::clone(input))?;
    let made = DecorrelatePredicateSubquery::new().rewrite(LogicalPlan::Filter(filter), config)?.data;
    if let LogicalPlan::Projection(Projection { input: filtered, .. }) = made
        && let LogicalPlan::Filter(Filter { predicate: Expr::IsTrue(mark), input: join, .. }) = filtered.as_ref()
        && matches!(mark.as_ref(), Expr::Column(_))
    {
        return Ok(Some((mark.as_ref().clone(), Arc::clone(join))));
    }
    Ok(None)
}

fn marked(expr: Expr, marks: &[(Expr, Expr)]) -> Transformed<Expr> {
    let Expr::Exists(Exists { subquery, negated }) = expr else { return Transformed::no(expr) };
    let test = Expr::Exists(Exists { subquery: subquery.clone(), negated: false });
    match marks.iter().find(|(known, _)| *known == test) {
        Some((_, mark)) if negated => Transformed::yes(Expr::Not(Box::new(mark.clone()))),
        Some((_, mark)) => Transformed::yes(mark.clone()),
        None => Transformed::no(Expr::Exists(Exists { subquery, negated })),
    }
}

/// NOT IN with a correlated subquery: which NULLs count then depends on the row, so it is put as a condition.
///
/// `l NOT IN (SELECT r … WHERE c)` holds where no row has both `c` and `l = r` not false. Without `c` it stays a null-aware
/// anti join, which is faster: a NULL anywhere decides for all.
#[derive(Debug)]
pub(crate) struct CorrelatedNotIn;

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
