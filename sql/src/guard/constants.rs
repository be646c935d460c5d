//! Constants whose arithmetic leaves its type, kept from the optimiser, which would fold them into something else.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};

use crate::functions::integer;

/// How deep constants are looked at within constants.
const DEPTH_MAX: usize = 64;

/// A plan in which sums, differences and products of constant integers that leave their type fail when they are evaluated.
///
/// # Errors
/// DataFusion's, for a plan it made itself.
pub(crate) fn keep_overflow(plan: LogicalPlan) -> Result<LogicalPlan> {
    let kept = plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        let mut schema = None;
        let inputs: Vec<LogicalPlan> = node.inputs().into_iter().cloned().collect();
        node.map_expressions(|expr| {
            if !expr.exists(|expr| Ok(overflows(expr)))? {
                return Ok(Transformed::no(expr));
            }
            let schema = schema.get_or_insert_with(|| merge_schema(&inputs.iter().collect::<Vec<_>>()));
            let name = names.save(&expr);
            let checked = expr.transform_up(|expr| match expr {
                Expr::BinaryExpr(binary) if overflows_itself(&binary) => match integer::Arithmetic::of(&binary, schema)
                {
                    Some(function) => Ok(Transformed::yes(function.call(vec![*binary.left, *binary.right]))),
                    None => Ok(Transformed::no(Expr::BinaryExpr(binary))),
                },
                other => Ok(Transformed::no(other)),
            })?;
            Ok(checked.update_data(|expr| name.restore(expr)))
        })
    })?;
    Ok(kept.data)
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
