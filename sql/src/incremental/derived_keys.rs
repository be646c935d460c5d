//! Group keys that follow from another: computed above the aggregate, once a group, and not below it, once a row.
//!
//! ```text
//! Aggregate(window_start, window_end, key; calls)     Projection(window_start, window_start + size AS window_end, key, calls)
//!   Projection(…, date_bin(size, time) AS window_start,        ==>    Aggregate(window_start, key; calls)
//!              date_bin(size, time) + size AS window_end)                  …
//! ```
//! Only of times: equal numbers need not look alike (0.0 and -0.0), and what is computed of them may differ.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, Filter, LogicalPlan, Projection, Sort, SubqueryAlias};

use super::hop::substitute;
use super::monotone::is_time;
use crate::error::SqlError;

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
            if key != from
                && !taken
                && let Some(expr) = in_terms_of(expr, base)?
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
