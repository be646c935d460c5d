//! The last step of a view's plan: what can fail on a row is put where that leaves out the row, or fails as Postgres would.
//!
//! ```text
//! Filter(a AND 100 / v > 1)         CheckedFilter(a; 100 / v > 1)
//!   input                     ==>     input
//! Projection(100 / v)               CheckedProjection(100 / v)
//!   input                             input
//! ```
//! Keys, arguments and join keys are computed in projections below the operators, so they need nothing else. What operators
//! compute themselves they leave out themselves: a join its condition, by the pair; OVER its functions, by the partition;
//! aggregates an answer outside its type, by the group. Nodes that cannot fail stay as they are.

use std::any::Any;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr, Extension, Filter, LogicalPlan, Projection, UserDefinedLogicalNode};
use engine::dataflow::checked::{CheckedNode, Step};
use engine::dataflow::join::JoinNode;
use engine::dataflow::node::AggregateNode;
use engine::dataflow::window::WindowNode;

use crate::error::SqlError;
use crate::guard::{can_fail, conditions, guard, guard_node, guard_plan, text};
use crate::statement::OnError;

/// The plan with everything that can fail guarded; with [`OnError::Exclude`] so that rows that fail are left out.
///
/// # Errors
/// DataFusion's, for a plan it made itself.
pub(super) fn check(plan: LogicalPlan, on_error: OnError) -> Result<LogicalPlan, SqlError> {
    let exclude = on_error == OnError::Exclude;
    let checked = plan.transform_up(|node| match node {
        LogicalPlan::Filter(filter) => self::filter(filter, exclude),
        LogicalPlan::Projection(projection) => self::projection(projection, exclude),
        LogicalPlan::Extension(extension) => operator(extension, exclude),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(checked.data)
}

pub(super) fn filter(filter: Filter, exclude: bool) -> Result<Transformed<LogicalPlan>> {
    let schema = Arc::clone(filter.input.schema());
    if !can_fail(&filter.predicate, &schema) {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    if !exclude {
        return guard_node(LogicalPlan::Filter(filter));
    }
    let exprs = conditions(filter.predicate, &schema)?;
    let exprs = exprs.into_iter().map(|(known, guarded)| (guarded, text(&known, &schema))).collect();
    Ok(Transformed::yes(node(CheckedNode { step: Step::Filter, exprs, input: filter.input, schema })))
}

pub(super) fn projection(projection: Projection, exclude: bool) -> Result<Transformed<LogicalPlan>> {
    let schema = projection.input.schema();
    if !projection.expr.iter().any(|expr| can_fail(expr, schema)) {
        return Ok(Transformed::no(LogicalPlan::Projection(projection)));
    }
    if !exclude {
        return guard_node(LogicalPlan::Projection(projection));
    }
    let checked = |expr: &Expr| {
        let expr = expr.clone().unalias();
        let text = text(&expr, schema);
        Ok((guard(expr, schema)?, text))
    };
    let exprs = projection.expr.iter().map(checked).collect::<Result<_>>()?;
    let (input, schema) = (projection.input, projection.schema);
    Ok(Transformed::yes(node(CheckedNode { step: Step::Projection, exprs, input, schema })))
}

fn node(node: CheckedNode) -> LogicalPlan {
    LogicalPlan::Extension(Extension { node: Arc::new(node) })
}

/// What operators compute themselves.
fn operator(extension: Extension, exclude: bool) -> Result<Transformed<LogicalPlan>> {
    let any = extension.node.as_any();
    if let Some(join) = any.downcast_ref::<JoinNode>() {
        let pairs = join.pair_schema()?;
        let Some(residual) = join.residual.as_ref().filter(|residual| can_fail(residual, &pairs)) else {
            return Ok(replaced(JoinNode { leaves_out_failures: None, ..join.clone() }));
        };
        let residual = Some(guard(residual.clone(), &pairs)?);
        let leaves_out_failures = join.leaves_out_failures.clone().filter(|_| exclude);
        return Ok(replaced(JoinNode { residual, leaves_out_failures, ..join.clone() }));
    }
    if let Some(window) = any.downcast_ref::<WindowNode>() {
        let template = Arc::new(guard_plan(window.template.as_ref().clone())?);
        return Ok(replaced(WindowNode { template, leaves_out_failures: exclude, ..window.clone() }));
    }
    if let Some(aggregate) = any.downcast_ref::<AggregateNode>() {
        return Ok(replaced(AggregateNode { leaves_out_failures: exclude, ..aggregate.clone() }));
    }
    Ok(Transformed::no(LogicalPlan::Extension(extension)))
}

fn replaced(node: impl UserDefinedLogicalNode + Any) -> Transformed<LogicalPlan> {
    Transformed::yes(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
}
