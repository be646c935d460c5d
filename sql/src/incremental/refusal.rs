//! What cannot be maintained, refused by name.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, Volatility};

use engine::delta::WEIGHT_COLUMN;

use crate::error::{SqlError, SqlState};

/// Refuses functions whose answer changes between two calls on the same row.
///
/// # Errors
/// 0A000 naming the function.
pub fn refuse_what_is_not_a_function_of_the_input(plan: &LogicalPlan) -> Result<(), SqlError> {
    let mut refused = None;
    let mut distinct_on = None;
    plan.apply_with_subqueries(|node| {
        // Before the optimiser sees it: the rule that rewrites it needs a registry that a view's plan does not have.
        if let LogicalPlan::Distinct(Distinct::On(_)) = node {
            distinct_on = Some(refuse(node));
            return Ok(TreeNodeRecursion::Stop);
        }
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarFunction(call) = expr
                    && call.func.signature().volatility != Volatility::Immutable
                {
                    refused = Some(call.func.name().to_string());
                    return Ok(TreeNodeRecursion::Stop);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    if let Some(refusal) = distinct_on {
        return Err(refusal);
    }
    match refused {
        None => Ok(()),
        Some(name) => Err(SqlError::unsupported(format!("function {name}() is not supported in a materialized view"))
            .detail("A view's answer is a function of its input; this function's is not.")
            .hint("use it in the SELECT that reads the view")),
    }
}

/// Refuses columns under the name that the engine's own column has.
///
/// # Errors
/// 42602 naming it.
pub fn refuse_reserved_names(plan: &LogicalPlan) -> Result<(), SqlError> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= node.schema().fields().iter().any(|field| field.name() == WEIGHT_COLUMN);
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !found {
        return Ok(());
    }
    let message = format!("column name \"{WEIGHT_COLUMN}\" is reserved");
    Err(SqlError::new(SqlState::INVALID_NAME, message).hint("give the column another name with AS"))
}

/// The refusal of a plan node: its name in SQL terms, and the fragment of the plan.
pub fn refuse(plan: &LogicalPlan) -> SqlError {
    let what = match plan {
        LogicalPlan::Window(_) => "OVER",
        LogicalPlan::Limit(limit) if limit.fetch.is_none() => "OFFSET",
        LogicalPlan::Limit(_) => "LIMIT",
        LogicalPlan::Sort(_) => "ORDER BY with LIMIT",
        LogicalPlan::Distinct(_) => "DISTINCT ON",
        LogicalPlan::RecursiveQuery(_) => "WITH RECURSIVE",
        LogicalPlan::Subquery(_) => "this lateral subquery",
        _ => "this plan node",
    };
    named(what, plan)
}

/// A refusal under a given name.
pub fn named(what: &str, plan: &LogicalPlan) -> SqlError {
    let fragment: Vec<_> = plan.display_indent().to_string().lines().take(8).map(str::to_owned).collect();
    SqlError::unsupported(format!("{what} is not supported in a materialized view yet"))
        .detail(format!("Plan fragment:\n{}", fragment.join("\n")))
        .hint("a SELECT over materialized views can use all of SQL")
}
