//! Group keys that follow from another: computed above the aggregate, once a group, and not below it, once a row.
//!
//! ```text
//! Aggregate(window_start, window_end, key; calls)     Projection(window_start, window_start + size AS window_end, key, calls)
//!   Projection(…, date_bin(size, time) AS window_start,        ==>    Aggregate(window_start, key; calls)
//!              date_bin(size, time) + size AS window_end)                  …
//! ```
//! Not over hopping windows, which the operator makes of slices with both their ends at hand. Only what is the other end of a window: the start or end moved by its length, a local midnight some days on, the start of
//! windows that cumulate. Both say the same of when a group is final, which one coarser than the other would not.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError, Result};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, ExprSchemable, Filter, LogicalPlan, Operator, Projection, Sort, SubqueryAlias,
};

use super::hop::{is_over_hops, substitute};
use super::monotone::{is_interval, is_time};
use crate::error::SqlError;
use crate::functions::local_day::Function;
use crate::window::local::function_of;
use crate::window::{CUMULATE_END, DATE_BIN, end_of_last_instant};

/// Stands for the key from which another follows.
const KEY: &str = "\u{1}key";

/// Lifts the derived keys of every aggregate above it.
///
/// # Errors
/// DataFusion's, for a plan it made itself.
pub(super) fn lift(plan: LogicalPlan) -> std::result::Result<LogicalPlan, SqlError> {
    let lifted = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Aggregate(aggregate) = &node else { return Ok(Transformed::no(node)) };
        Ok(lifted(aggregate)?.map_or_else(|| Transformed::no(node), Transformed::yes))
    })?;
    Ok(lifted.data)
}

fn lifted(aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
    let keys = &aggregate.group_expr;
    if keys.len() < 2 || keys.iter().any(|key| matches!(key, Expr::GroupingSet(_))) {
        return Ok(None);
    }
    if is_over_hops(aggregate).map_err(|error| DataFusionError::External(Box::new(error)))? {
        return Ok(None);
    }
    let Some(derived) = derived(aggregate)? else { return Ok(None) };
    let kept = (0..keys.len()).filter(|key| derived.iter().all(|(other, ..)| other != key));
    let kept: Vec<Expr> = kept.map(|key| keys[key].clone()).collect();
    let fewer = Aggregate::try_new(aggregate.input.clone(), kept, aggregate.aggr_expr.clone())?;
    let mut exprs = Vec::with_capacity(aggregate.schema.fields().len());
    for (index, (qualifier, field)) in aggregate.schema.iter().enumerate() {
        let column = |index: usize| Expr::Column(Column::from(aggregate.schema.qualified_field(index)));
        exprs.push(match derived.iter().find(|(key, ..)| *key == index) {
            None => column(index),
            Some((_, from, expr)) => {
                let from = column(*from);
                let is_key = |expr: &Expr| matches!(expr, Expr::Column(column) if column.name == KEY);
                let put =
                    |expr: Expr| Ok(if is_key(&expr) { Transformed::yes(from.clone()) } else { Transformed::no(expr) });
                expr.clone().transform_up(put)?.data.alias_qualified(qualifier.cloned(), field.name())
            }
        });
    }
    let below = Arc::new(LogicalPlan::Aggregate(fewer));
    Ok(Some(LogicalPlan::Projection(Projection::try_new(exprs, below)?)))
}

/// The keys that follow from another one: which, from which, and how, with [`KEY`] for the other.
fn derived(aggregate: &Aggregate) -> Result<Option<Vec<(usize, usize, Expr)>>> {
    let keys = &aggregate.group_expr;
    let defined = match defined(&aggregate.input, keys.clone()) {
        Ok(defined) => defined,
        Err(_) => return Ok(None),
    };
    let mut found: Vec<(usize, usize, Expr)> = Vec::new();
    for (from, base) in defined.iter().enumerate() {
        if !is_time(&keys[from].get_type(aggregate.input.schema())?) || found.iter().any(|(key, ..)| *key == from) {
            continue;
        }
        for (key, expr) in defined.iter().enumerate() {
            let taken = found.iter().any(|(other, source, _)| *other == key || *source == key);
            if key == from || taken {
                continue;
            }
            if let Some(expr) = in_terms_of(expr, base)?
                && is_other_end(&expr, base)
            {
                found.push((key, from, expr));
            }
        }
    }
    Ok(Some(found).filter(|found| !found.is_empty()))
}

/// `expr` with [`KEY`] in place of `base`, if it depends on nothing else.
fn in_terms_of(expr: &Expr, base: &Expr) -> Result<Option<Expr>> {
    let expr = expr.clone().transform_down(|expr| {
        if expr == *base {
            let key = Expr::Column(Column::new_unqualified(KEY));
            return Ok(Transformed::new(key, true, TreeNodeRecursion::Jump));
        }
        Ok(Transformed::no(expr))
    })?;
    let refs = expr.data.column_refs();
    let only = !refs.is_empty() && refs.iter().all(|column| column.name == KEY);
    Ok(Some(expr.data.clone()).filter(|_| expr.transformed && only))
}

/// True if `expr`, in terms of [`KEY`], is the other end of the window that `base` is an end of.
fn is_other_end(expr: &Expr, base: &Expr) -> bool {
    let is_key = |expr: &Expr| matches!(expr, Expr::Column(column) if column.name == KEY);
    let of_cumulating = |time: Option<&Expr>| {
        matches!(base, Expr::Column(column) if column.name == CUMULATE_END)
            && time.and_then(end_of_last_instant).is_some_and(is_key)
    };
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus | Operator::Minus, right }) => {
            is_key(left) && is_interval(right)
        }
        Expr::ScalarFunction(call) if call.func.name() == DATE_BIN => of_cumulating(call.args.get(1)),
        Expr::ScalarFunction(call) => match function_of(call) {
            Some(Function::End) => call.args.first().is_some_and(is_key),
            Some(Function::Start) => of_cumulating(call.args.first()),
            _ => false,
        },
        _ => false,
    }
}

/// `exprs` over what lies below the projections under them.
fn defined(plan: &LogicalPlan, exprs: Vec<Expr>) -> std::result::Result<Vec<Expr>, SqlError> {
    match plan {
        LogicalPlan::Projection(projection) => {
            let below = projection.expr.iter().map(|expr| expr.clone().unalias());
            defined(&projection.input, substitute(exprs, &projection.schema, below)?)
        }
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, schema, .. }) => {
            let below = input.schema().iter().map(|column| Expr::Column(Column::from(column)));
            defined(input, substitute(exprs, schema, below)?)
        }
        LogicalPlan::Filter(Filter { input, .. }) | LogicalPlan::Sort(Sort { input, .. }) => defined(input, exprs),
        _ => Ok(exprs.into_iter().map(Expr::unalias).collect()),
    }
}
