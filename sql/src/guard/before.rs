//! What has to be done before the optimiser runs.
//!
//! - Constants whose arithmetic leaves its type are kept from it: it would fold them into something else.
//! - Casts that can fail are kept below comparisons ([`super::casts`]).
//! - What an aggregate with a FILTER is given is guarded by it: the optimiser would compute it below, on every row, where two
//!   aggregates are given the same.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{AggregateFunction, Case};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};

use super::{can_fail, casts, checked_integer};
use crate::functions::integer;

/// How deep constants are looked at within constants.
const DEPTH_MAX: usize = 64;

/// A plan, types settled, that may be optimised.
///
/// # Errors
/// DataFusion's, for a plan it made itself.
pub(crate) fn before_optimizing(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut changed = false;
    let kept = plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        let mut schema = None;
        let inputs: Vec<LogicalPlan> = node.inputs().into_iter().cloned().collect();
        let node = node.map_expressions(|expr| {
            if !expr.exists(|expr| Ok(overflows(expr) || is_filtered(expr) || casts::compares_cast(expr)))? {
                return Ok(Transformed::no(expr));
            }
            let schema = schema.get_or_insert_with(|| merge_schema(&inputs.iter().collect::<Vec<_>>()));
            let name = names.save(&expr);
            let made = expr.transform_up(|expr| ready(expr, schema))?;
            Ok(made.update_data(|expr| name.restore(expr)))
        })?;
        changed |= node.transformed;
        if changed { node.map_data(LogicalPlan::recompute_schema) } else { Ok(node) }
    })?;
    Ok(kept.data)
}

fn ready(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(binary) if overflows_itself(&binary) => Ok(checked_integer(binary, schema)),
        Expr::AggregateFunction(AggregateFunction { func, mut params }) => {
            let mut guarded = false;
            if let Some(filter) = &params.filter {
                for argument in params.args.iter_mut().filter(|argument| can_fail(argument, schema)) {
                    let when_then_expr = vec![(filter.clone(), Box::new(std::mem::take(argument)))];
                    *argument = Expr::Case(Case { expr: None, when_then_expr, else_expr: None });
                    guarded = true;
                }
            }
            let call = Expr::AggregateFunction(AggregateFunction { func, params });
            Ok(if guarded { Transformed::yes(call) } else { Transformed::no(call) })
        }
        other if casts::compares_cast(&other) => casts::kept(other, schema),
        other => Ok(Transformed::no(other)),
    }
}

fn is_filtered(expr: &Expr) -> bool {
    matches!(expr, Expr::AggregateFunction(call) if call.params.filter.is_some())
}

fn overflows(expr: &Expr) -> bool {
    matches!(expr, Expr::BinaryExpr(binary) if overflows_itself(binary))
}

/// True if both sides are constants that fit, and what they come to does not.
fn overflows_itself(binary: &BinaryExpr) -> bool {
    if !matches!(binary.op, Operator::Plus | Operator::Minus | Operator::Multiply) {
        return false;
    }
    let (Some(left), Some(right)) = (value(&binary.left, 0), value(&binary.right, 0)) else { return false };
    left.1 == right.1 && integer::apply(binary.op, left, right).is_none()
}

/// The value of a constant integer expression, if it has one within its type.
fn value(expr: &Expr, depth: usize) -> Option<(i128, (i128, i128))> {
    if depth > DEPTH_MAX {
        return None;
    }
    match expr {
        Expr::Literal(value, _) => integer::of_literal(value),
        Expr::Cast(cast) => {
            let (value, _) = value(&cast.expr, depth + 1)?;
            let range = integer::range_of(cast.field.data_type())?;
            (range.0..=range.1).contains(&value).then_some((value, range))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (left, right) = (value(left, depth + 1)?, value(right, depth + 1)?);
            integer::apply(*op, left, right).map(|value| (value, left.1))
        }
        _ => None,
    }
}
