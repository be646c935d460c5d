//! Expressions that can fail on a row, evaluated only where SQL says so.
//!
//! DataFusion evaluates the second side of AND and OR over a whole batch, so that `i <> 0 AND 100 / i > 1` fails on the row
//! that its first side keeps away; and its integers wrap around. Here, after everything is optimised, what stands behind a
//! guard is put where it is evaluated on the guarded rows alone (CASE), and integers that leave their type are an error, also
//! as sums.
//!
//! In: expressions with settled types. Out: the same values, or Postgres' errors.

mod before;
mod casts;
mod fallible;
mod order;
mod sums;
mod text;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, merge_schema, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, LogicalPlan, Operator, binary_expr, lit};

pub(crate) use self::before::before_optimizing;
pub(crate) use self::casts::keep_merging_casts;
pub(crate) use self::fallible::can_fail;
pub(crate) use self::order::InfallibleFirst;
pub(crate) use self::sums::EXACT;
pub(crate) use self::text::text;
use crate::functions::integer;

/// Chains of AND and OR within each other that are guarded: a guard is written twice.
const NESTING_MAX: usize = 8;

/// An optimised plan with every expression guarded. The columns keep their names.
///
/// # Errors
/// DataFusion's, for a plan it made itself.
pub(crate) fn guard_plan(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut changed = false;
    let guarded = plan.transform_up_with_subqueries(|node| {
        let node = guard_node(node)?;
        // Whether a column can be NULL may have changed, for all nodes above.
        changed |= node.transformed;
        if changed { node.map_data(LogicalPlan::recompute_schema) } else { Ok(node) }
    })?;
    Ok(guarded.data)
}

/// One node of a plan with its own expressions guarded.
///
/// # Errors
/// DataFusion's, for a plan it made itself.
pub(crate) fn guard_node(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    if let LogicalPlan::TableScan(_) = node {
        return Ok(Transformed::no(node));
    }
    let schema = merge_schema(&node.inputs());
    if let LogicalPlan::Filter(filter) = node {
        if !can_fail(&filter.predicate, &schema) {
            return Ok(Transformed::no(LogicalPlan::Filter(filter)));
        }
        let (predicate, input) = (guard_filter(filter.predicate, &schema)?, filter.input);
        return Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, input)?)));
    }
    let names = NamePreserver::new(&node);
    let node = node.map_expressions(|expr| {
        if !can_fail(&expr, &schema) {
            return Ok(Transformed::no(expr));
        }
        let name = names.save(&expr);
        Ok(Transformed::yes(name.restore(guard(expr, &schema)?)))
    })?;
    let node = if node.transformed { node.map_data(LogicalPlan::recompute_schema)? } else { node };
    node.transform_data(sums::exact_sums)
}

/// The conditions of a filter in the order in which they are to be evaluated: those that cannot fail, as one; then each of
/// the others, guarded within.
///
/// # Errors
/// DataFusion's, for an expression it made itself.
pub(crate) fn conditions(predicate: Expr, schema: &DFSchema) -> Result<Vec<(Expr, Expr)>> {
    let (others, safe): (Vec<Expr>, Vec<Expr>) =
        split_conjunction_owned(predicate).into_iter().partition(|condition| can_fail(condition, schema));
    let safe = conjunction(safe).map(|safe| (safe.clone(), safe));
    let others = others.into_iter().map(|other| Ok((other.clone(), guard(other, schema)?)));
    safe.into_iter().map(Ok).chain(others).collect()
}

/// A filter's condition, each part evaluated on the rows that the parts before it let through. What is NULL is not true.
fn guard_filter(predicate: Expr, schema: &DFSchema) -> Result<Expr> {
    let mut conditions = conditions(predicate, schema)?.into_iter().rev().map(|(_, guarded)| guarded);
    let last = conditions.next().unwrap_or_else(|| lit(true));
    Ok(conditions.fold(last, |rest, condition| case(condition, rest, lit(false))))
}

/// An expression with its guards at work.
///
/// # Errors
/// DataFusion's, for an expression it made itself.
pub(crate) fn guard(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    Ok(checked_integers(guard_nested(expr, schema, 0)?, schema)?)
}

fn guard_nested(expr: Expr, schema: &DFSchema, depth: usize) -> Result<Expr> {
    let guarded = expr.transform_down(|expr| match expr {
        Expr::BinaryExpr(BinaryExpr { op: op @ (Operator::And | Operator::Or), .. }) if depth < NESTING_MAX => {
            let mut parts = Vec::new();
            flatten(expr, op, &mut parts);
            let groups = groups(parts, schema);
            let guarded = |group: Vec<Expr>| {
                let parts = group.into_iter().map(|part| guard_nested(part, schema, depth + 1));
                let parts = parts.collect::<Result<Vec<_>>>()?;
                Ok(parts.into_iter().reduce(|all, part| binary_expr(all, op, part)).unwrap_or_else(|| lit(true)))
            };
            let groups = groups.into_iter().map(guarded).collect::<Result<Vec<_>>>()?;
            let chain = groups.into_iter().rev().reduce(|rest, first| in_turn(first, op, rest));
            let chain = chain.unwrap_or_else(|| lit(op == Operator::And));
            Ok(Transformed::new(chain, true, TreeNodeRecursion::Jump))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(guarded.data)
}

/// `first AND rest` with `rest` evaluated only where `first` does not decide; or so for OR.
fn in_turn(first: Expr, op: Operator, rest: Expr) -> Expr {
    let (undecided, decided) = match op {
        Operator::And => (Expr::IsNotFalse(Box::new(first.clone())), lit(false)),
        _ => (Expr::IsNotTrue(Box::new(first.clone())), lit(true)),
    };
    case(undecided, binary_expr(first, op, rest), decided)
}

fn case(when: Expr, then: Expr, otherwise: Expr) -> Expr {
    let when_then_expr = vec![(Box::new(when), Box::new(then))];
    Expr::Case(Case { expr: None, when_then_expr, else_expr: Some(Box::new(otherwise)) })
}

fn flatten(expr: Expr, op: Operator, parts: &mut Vec<Expr>) {
    // A chain leans to the left: going down it by hand keeps the stack small.
    let (mut expr, mut later) = (expr, Vec::new());
    loop {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op: this, right }) if this == op => {
                later.push(*right);
                expr = *left;
            }
            other => {
                parts.push(other);
                break;
            }
        }
    }
    for part in later.into_iter().rev() {
        match &part {
            Expr::BinaryExpr(BinaryExpr { op: this, .. }) if *this == op => flatten(part, op, parts),
            _ => parts.push(part),
        }
    }
}

/// The parts of a chain, cut before each that can fail.
fn groups(parts: Vec<Expr>, schema: &DFSchema) -> Vec<Vec<Expr>> {
    let mut groups: Vec<Vec<Expr>> = Vec::new();
    for part in parts {
        match groups.last_mut() {
            Some(last) if !can_fail(&part, schema) => last.push(part),
            _ => groups.push(vec![part]),
        }
    }
    groups
}

/// Sums, differences and products of integers that fail where they leave their type.
fn checked_integers(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let checked = expr.transform_up(|expr| match expr {
        Expr::BinaryExpr(binary) => Ok(checked_integer(binary, schema)),
        Expr::Negative(value) => match integer::Arithmetic::negation(&value, schema) {
            Some((function, zero)) => Ok(Transformed::yes(function.call(vec![zero, *value]))),
            None => Ok(Transformed::no(Expr::Negative(value))),
        },
        other => Ok(Transformed::no(other)),
    })?;
    Ok(checked.data)
}

/// The operation, failing where it leaves its type if that is one of integers.
fn checked_integer(binary: BinaryExpr, schema: &DFSchema) -> Transformed<Expr> {
    match integer::Arithmetic::of(&binary, schema) {
        Some(function) => Transformed::yes(function.call(vec![*binary.left, *binary.right])),
        None => Transformed::no(Expr::BinaryExpr(binary)),
    }
}
