//! GROUP BY straight over hopping or cumulating windows, computed from slices.
//!
//! As written, a hop turns each row into one row for every window that holds it. Where the windows are only group keys,
//! the operator can do better: it folds the row once, into its slice, and makes windows of slices.
//!
//! ```text
//! Aggregate(window_start, window_end, key; calls)     IncrementalAggregate(hop; slice, key; calls)
//!   Projection(…, hop_start + size AS window_end)       Projection(slice AS key_0, key, arguments)
//!     Unnest(hop_start)                            ==>    Projection(…, date_bin(slice, time) AS hop_start)
//!       Projection(…, hop_starts(time, …))                  input
//!         input
//! ```
//! Cumulating windows are the same, with `cumulate_ends` and the window's end in place of its start.

use std::collections::HashMap;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::{Aggregate, BinaryExpr, Expr, LogicalPlan, Operator, Projection, Unnest};
use engine::dataflow::bound::Bound;
use engine::dataflow::node::{HopKey, HopWindows};

use crate::error::SqlError;
use crate::window::{self, Window};

/// An aggregate over hopping windows, with its expressions in terms of `input`.
pub struct HopAggregate {
    /// What lies below the windows; its column `slice` is the event time cut to slices.
    pub input: LogicalPlan,
    /// The group keys: the slice, then those that are not windows.
    pub keys: Vec<Expr>,
    /// The aggregate calls.
    pub calls: Vec<Expr>,
    /// The windows.
    pub hop: HopWindows,
}

/// The aggregate in terms of what lies below its hopping windows, if the windows are nothing but group keys.
///
/// # Errors
/// DataFusion's, for a plan it made itself.
pub fn fuse(aggregate: &Aggregate, bounds: &[Option<Bound>]) -> Result<Option<HopAggregate>, SqlError> {
    let mut exprs = aggregate.group_expr.clone();
    exprs.extend(aggregate.aggr_expr.iter().cloned());
    let Some((unnest, exprs)) = descend(&aggregate.input, exprs)? else { return Ok(None) };
    let LogicalPlan::Projection(below) = unnest.input.as_ref() else { return Ok(None) };
    let (Some(list), true) = (only_list(unnest), unnest.struct_type_columns.is_empty()) else { return Ok(None) };
    let listed = &below.expr[list];
    let Some((time, window)) = window::hop_of(listed).or_else(|| window::cumulate_of(listed)) else { return Ok(None) };
    let (slide, size, offset, cumulative) = match window {
        Window::Hop { slide, size, offset } => (slide, size, offset, false),
        Window::Cumulate { step, size, offset } => (step, size, offset, true),
        _ => return Ok(None),
    };
    let mark = unnested_column(unnest, list);
    let (keys, calls) = exprs.split_at(aggregate.group_expr.len());
    let kinds: Vec<KeyKind> = keys.iter().map(|key| kind(key, &mark, window)).collect();
    let mixed = kinds.contains(&KeyKind::Mixed) || calls.iter().any(|call| call.column_refs().contains(&mark));
    // Only of event time is it known that it is never NULL.
    let bounded = |(kind, bound): (&KeyKind, &Option<Bound>)| *kind != KeyKind::Other && bound.is_some();
    // Windows that cumulate share their starts.
    let untold = cumulative && kinds.contains(&KeyKind::Start) && !kinds.contains(&KeyKind::End);
    if mixed || untold || !kinds.iter().zip(bounds).any(bounded) {
        return Ok(None);
    }
    let slice = window::tumble_start(time.clone(), gcd(slide, size), offset, below.input.schema())?;
    let (qualifier, field) = below.schema.qualified_field(list);
    let name = Column::from((qualifier, field));
    let mut projected = below.expr.clone();
    projected[list] = slice.alias_qualified(qualifier.cloned(), field.name());
    let input = LogicalPlan::Projection(Projection::try_new(projected, below.input.clone())?);
    let mut slice_and_keys = vec![Expr::Column(name)];
    let mut output_keys = Vec::new();
    for (key, kind) in keys.iter().zip(kinds) {
        output_keys.push(match kind {
            KeyKind::Start => HopKey::WindowStart,
            KeyKind::End => HopKey::WindowEnd,
            _ => HopKey::Column(slice_and_keys.len()),
        });
        if matches!(output_keys.last(), Some(HopKey::Column(_))) {
            slice_and_keys.push(key.clone());
        }
    }
    let hop = HopWindows {
        slide_micros: slide,
        size_micros: size,
        origin_micros: offset,
        cumulative,
        slice_key: 0,
        output_keys,
    };
    Ok(Some(HopAggregate { input, keys: slice_and_keys, calls: calls.to_vec(), hop }))
}

/// True if the aggregate stands over hopping windows. Made of slices, both ends of a window cost nothing there.
pub(super) fn is_over_hops(aggregate: &Aggregate) -> Result<bool, SqlError> {
    let Some((unnest, _)) = descend(&aggregate.input, aggregate.group_expr.clone())? else { return Ok(false) };
    let LogicalPlan::Projection(below) = unnest.input.as_ref() else { return Ok(false) };
    Ok(only_list(unnest).is_some_and(|list| window::hop_of(&below.expr[list]).is_some()))
}

/// What a group key is to the windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    Start,
    End,
    /// Has nothing to do with them.
    Other,
    /// Computed from them.
    Mixed,
}

/// `mark` is the column by which windows are known: their start where they hop, their end where they cumulate.
fn kind(key: &Expr, mark: &Column, window: Window) -> KeyKind {
    let is_mark = |expr: &Expr| matches!(expr, Expr::Column(column) if column == mark);
    match (key, window) {
        (Expr::Alias(alias), _) => kind(&alias.expr, mark, window),
        (column, Window::Hop { .. }) if is_mark(column) => KeyKind::Start,
        (column, Window::Cumulate { .. }) if is_mark(column) => KeyKind::End,
        (Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus, right }), Window::Hop { size, .. })
            if is_mark(left) && window::interval_micros(right) == Some(size) =>
        {
            KeyKind::End
        }
        (start, Window::Cumulate { size, offset, .. }) if is_start(start, is_mark, size, offset) => KeyKind::Start,
        (other, _) if other.column_refs().contains(mark) => KeyKind::Mixed,
        _ => KeyKind::Other,
    }
}

/// True for the start of the cumulating windows that end at a mark.
fn is_start(expr: &Expr, is_mark: impl Fn(&Expr) -> bool, size: i64, offset: i64) -> bool {
    let Some((time, Window::Tumble { size: own, offset: from })) = window::tumble_of(expr) else { return false };
    (own, from) == (size, offset) && window::end_of_last_instant(time).is_some_and(is_mark)
}

/// Follows projections and aliases down to an unnest, and expresses `exprs` in its columns.
fn descend(plan: &LogicalPlan, exprs: Vec<Expr>) -> Result<Option<(&Unnest, Vec<Expr>)>, SqlError> {
    match plan {
        LogicalPlan::Unnest(unnest) => Ok(Some((unnest, exprs))),
        LogicalPlan::Projection(projection) => {
            let below = projection.expr.iter().map(|expr| expr.clone().unalias());
            let exprs = substitute(exprs, &projection.schema, below)?;
            descend(&projection.input, exprs)
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let below = alias.input.schema().iter().map(|column| Expr::Column(Column::from(column)));
            let exprs = substitute(exprs, &alias.schema, below)?;
            descend(&alias.input, exprs)
        }
        _ => Ok(None),
    }
}

/// Replaces each column of `schema` by the expression at its place.
pub(super) fn substitute(
    exprs: Vec<Expr>,
    schema: &DFSchema,
    below: impl Iterator<Item = Expr>,
) -> Result<Vec<Expr>, SqlError> {
    let map: HashMap<Column, Expr> = schema.iter().map(Column::from).zip(below).collect();
    let replace = |expr: Expr| {
        Ok(match &expr {
            Expr::Column(column) => match map.get(column) {
                Some(found) => Transformed::yes(found.clone()),
                None => Transformed::no(expr),
            },
            _ => Transformed::no(expr),
        })
    };
    exprs.into_iter().map(|expr| Ok(expr.transform_up(replace)?.data)).collect()
}

/// The one list column of an unnest, by its place in the input.
fn only_list(unnest: &Unnest) -> Option<usize> {
    match unnest.list_type_columns.as_slice() {
        [(index, _)] => Some(*index),
        _ => None,
    }
}

fn unnested_column(unnest: &Unnest, list: usize) -> Column {
    let place = unnest.dependency_indices.iter().position(|depends| *depends == list).unwrap_or(list);
    Column::from(unnest.schema.qualified_field(place))
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
