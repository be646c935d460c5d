//! The rewrite of Top-N: a filter on a row's rank, and ORDER BY with LIMIT.
//!
//! ```text
//! Projection(columns)                                        Projection(columns)
//!   Filter(rank <= n [AND others])                             [Filter(others)]
//!     Window(row_number() OVER (PARTITION BY k ORDER BY o))  ==>   IncrementalTopN(keys=k, order=o, 1..n)
//!       input                                                      input
//! ```
//! Ranks are carried along only where something above reads them.

use std::sync::Arc;

use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    BinaryExpr, Expr, Extension, FetchType, Filter, Limit, LogicalPlan, Operator, Projection, SkipType, Sort, SortExpr,
    Window,
};
use engine::dataflow::top_n::TopNNode;
use engine::operator::top_n::Rank;

use super::hop::substitute;
use super::monotone::bound_of;
use super::over::{names, with_columns, without_columns, without_weight};
use super::refusal;
use super::rewrite::{Node, Rewriter, weight, with_weight};
use crate::error::SqlError;
use crate::statement::Emit;

/// Which ranks of which rows.
struct TopN<'a> {
    partition: &'a [Expr],
    order: &'a [SortExpr],
    rank: Rank,
    from: u64,
    to: Option<u64>,
    /// The rank's column, where it is shown.
    column: Option<Column>,
}

impl Rewriter {
    /// Rewrites a filter on ranks, or a projection over one; `None` if `plan` is neither.
    pub(super) fn top_n(&mut self, plan: &LogicalPlan) -> Result<Option<Node>, SqlError> {
        if let Some(lowered) = lowered(plan)? {
            return self.top_n(&lowered);
        }
        match plan {
            LogicalPlan::Filter(filter) => self.ranked(filter, true, plan),
            LogicalPlan::Projection(projection) => {
                let LogicalPlan::Filter(filter) = projection.input.as_ref() else { return Ok(None) };
                let LogicalPlan::Window(window) = filter.input.as_ref() else { return Ok(None) };
                let Some((_, column)) = rank_of(window) else { return Ok(None) };
                let shown = projection.expr.iter().any(|expr| names(expr, &column));
                let Some(input) = self.ranked(filter, shown, plan)? else { return Ok(None) };
                let schema = input.plan.schema().clone();
                let bounds = projection.expr.iter().map(|expr| bound_of(expr, &schema, &input.bounds)).collect();
                let mut exprs = projection.expr.clone();
                exprs.extend(input.weighted.then(|| weight(&schema)));
                let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input.plan))?);
                Ok(Some(Node { plan, bounds, ..input }))
            }
            _ => Ok(None),
        }
    }

    fn ranked(&mut self, filter: &Filter, shown: bool, plan: &LogicalPlan) -> Result<Option<Node>, SqlError> {
        let LogicalPlan::Window(window) = filter.input.as_ref() else { return Ok(None) };
        let Some((rank, column)) = rank_of(window) else { return Ok(None) };
        let (mut from, mut to, mut others) = (1u64, None::<u64>, Vec::new());
        for condition in split_conjunction(&filter.predicate) {
            match ranks(condition, &column) {
                Some((least, greatest)) => {
                    from = from.max(least);
                    to = to.map_or(greatest, |to| greatest.map_or(Some(to), |greatest| Some(to.min(greatest))));
                }
                None => others.push(condition.clone()),
            }
        }
        if to.is_none() {
            return Ok(None);
        }
        let shown = shown || others.iter().any(|other| names(other, &column));
        let Expr::WindowFunction(function) = window.window_expr[0].clone().unalias() else { return Ok(None) };
        let WindowFunction { params, .. } = function.as_ref();
        let input = self.rewrite(&window.input)?;
        let column = shown.then_some(column);
        let wanted = TopN { partition: &params.partition_by, order: &params.order_by, rank, from, to, column };
        let node = self.first_rows(input, &wanted, Some(window), plan)?;
        let Some(others) = conjunction(others) else { return Ok(Some(node)) };
        let filtered = LogicalPlan::Filter(Filter::try_new(others, Arc::new(node.plan))?);
        Ok(Some(Node { plan: filtered, ..node }))
    }

    /// Rewrites ORDER BY with LIMIT.
    ///
    /// # Errors
    /// 0A000 for a LIMIT without ORDER BY: any rows would do, so there is no one answer.
    pub(super) fn limit(&mut self, limit: &Limit, plan: &LogicalPlan) -> Result<Node, SqlError> {
        let (SkipType::Literal(skip), FetchType::Literal(fetch)) = (limit.get_skip_type()?, limit.get_fetch_type()?)
        else {
            return Err(refusal::named("a LIMIT that is not a constant", plan));
        };
        if (skip, fetch) == (0, None) {
            return self.rewrite(&limit.input);
        }
        match limit.input.as_ref() {
            LogicalPlan::Sort(sort) => self.sorted(sort, skip, fetch, plan),
            // A projection has as many rows as its input, in the same order.
            LogicalPlan::Projection(projection) if matches!(projection.input.as_ref(), LogicalPlan::Sort(_)) => {
                let LogicalPlan::Sort(sort) = projection.input.as_ref() else { return Err(refusal::refuse(plan)) };
                let input = self.sorted(sort, skip, fetch, plan)?;
                let schema = input.plan.schema().clone();
                let mut exprs = projection.expr.clone();
                exprs.extend(input.weighted.then(|| weight(&schema)));
                let bounds = vec![None; projection.expr.len()];
                let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input.plan))?);
                Ok(Node { plan, bounds, ..input })
            }
            _ if fetch.is_none() => Err(refusal::named("OFFSET without ORDER BY", plan)),
            _ => Err(refusal::named("LIMIT without ORDER BY", plan)),
        }
    }

    fn sorted(&mut self, sort: &Sort, skip: usize, fetch: Option<usize>, plan: &LogicalPlan) -> Result<Node, SqlError> {
        let input = self.rewrite(&sort.input)?;
        let from = (skip as u64).saturating_add(1);
        let to = fetch.map(|fetch| (skip as u64).saturating_add(fetch as u64));
        let wanted = TopN { partition: &[], order: &sort.expr, rank: Rank::RowNumber, from, to, column: None };
        self.first_rows(input, &wanted, None, plan)
    }

    fn first_rows(
        &mut self,
        input: Node,
        wanted: &TopN<'_>,
        window: Option<&Window>,
        plan: &LogicalPlan,
    ) -> Result<Node, SqlError> {
        let width = input.bounds.len();
        let mut exprs = wanted.partition.to_vec();
        exprs.extend(wanted.order.iter().map(|sort| sort.expr.clone()));
        let (input, places) = with_columns(input, &exprs)?;
        let (keys, order) = places.split_at(wanted.partition.len());
        let what = if window.is_some() { "a filter on ranks" } else { "LIMIT" };
        let keyed = self.keyed(&input, keys, what, plan)?;
        let close = self.emit == Emit::OnWindowClose;
        let columns = without_weight(&input)?;
        let mut fields: Vec<_> = columns.iter().map(|(qualifier, field)| (qualifier.cloned(), field.clone())).collect();
        let mut bounds = keyed.bounds;
        let closing = keyed.monotone_key.as_ref().map(|(key, _)| *key);
        let extra = width..bounds.len();
        if let (Some(window), Some(_)) = (window, &wanted.column) {
            let (qualifier, field) = window.schema.qualified_field(window.schema.fields().len() - 1);
            fields.push((qualifier.cloned(), field.clone()));
            bounds.push(None);
        }
        let output = Arc::new(DFSchema::new_with_metadata(fields, columns.metadata().clone())?);
        let node = TopNNode {
            id: self.next_operator(),
            keys: keys.to_vec(),
            order: order.iter().zip(wanted.order).map(|(column, sort)| (*column, sort.asc, sort.nulls_first)).collect(),
            rank: wanted.rank,
            from: wanted.from,
            to: wanted.to,
            rank_shown: wanted.column.is_some(),
            input_weighted: input.weighted,
            monotone_key: keyed.monotone_key,
            emit_on_close: close,
            schema: if close { output } else { with_weight(&output)? },
            input: Arc::new(input.plan),
        };
        let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        let node = self.gated(Node { plan, weighted: !close, bounds, closes: close }, closing)?;
        without_columns(node, extra)
    }
}

/// A filter on ranks put right above its window, below a projection that stands between them.
///
/// ```text
/// [Projection(columns)]            Projection(columns and expressions)
///   Filter(rank)                     Filter(rank)
///     Projection(expressions)  ==>     Window(rank)
///       Window(rank)
/// ```
fn lowered(plan: &LogicalPlan) -> Result<Option<LogicalPlan>, SqlError> {
    let (above, node) = match plan {
        LogicalPlan::Projection(projection) => (Some(projection), projection.input.as_ref()),
        other => (None, other),
    };
    let LogicalPlan::Filter(filter) = node else { return Ok(None) };
    let LogicalPlan::Projection(between) = filter.input.as_ref() else { return Ok(None) };
    let LogicalPlan::Window(window) = between.input.as_ref() else { return Ok(None) };
    if rank_of(window).is_none() {
        return Ok(None);
    }
    let below =
        |exprs: Vec<Expr>| substitute(exprs, &between.schema, between.expr.iter().map(|expr| expr.clone().unalias()));
    let predicate = below(vec![filter.predicate.clone()])?.remove(0);
    let filtered = LogicalPlan::Filter(Filter::try_new(predicate, Arc::clone(&between.input))?);
    let (exprs, schema) = match above {
        Some(above) => (below(above.expr.clone())?, &above.schema),
        None => (between.expr.clone(), &between.schema),
    };
    let named = exprs.into_iter().zip(schema.iter()).map(|(expr, (qualifier, field))| match &expr {
        Expr::Column(column) if column.relation.as_ref() == qualifier && column.name == *field.name() => expr,
        _ => expr.unalias().alias_qualified(qualifier.cloned(), field.name()),
    });
    Ok(Some(LogicalPlan::Projection(Projection::try_new(named.collect(), Arc::new(filtered))?)))
}

/// The rank that a window with one function computes, and its column.
fn rank_of(window: &Window) -> Option<(Rank, Column)> {
    let [expr] = window.window_expr.as_slice() else { return None };
    let Expr::WindowFunction(function) = expr.clone().unalias() else { return None };
    let rank = match function.fun.name().to_lowercase().as_str() {
        "row_number" => Rank::RowNumber,
        "rank" => Rank::Rank,
        "dense_rank" => Rank::DenseRank,
        _ => return None,
    };
    let last = window.schema.fields().len() - 1;
    Some((rank, Column::from(window.schema.qualified_field(last))))
}

/// The least and the greatest rank that a condition lets through, if it speaks of nothing else.
fn ranks(condition: &Expr, rank: &Column) -> Option<(u64, Option<u64>)> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (op, value) = match (is_rank(left, rank), is_rank(right, rank)) {
                (true, false) => (*op, number(right)?),
                (false, true) => (op.swap()?, number(left)?),
                _ => return None,
            };
            let at = |rank: i128| u64::try_from(rank.max(0)).unwrap_or(u64::MAX);
            match op {
                Operator::LtEq => Some((1, Some(at(value)))),
                Operator::Lt => Some((1, Some(at(value - 1)))),
                Operator::Eq => Some((at(value.max(1)), Some(at(value)))),
                Operator::GtEq => Some((at(value.max(1)), None)),
                Operator::Gt => Some((at((value + 1).max(1)), None)),
                _ => None,
            }
        }
        Expr::Between(between) if !between.negated && is_rank(&between.expr, rank) => {
            let (low, high) = (number(&between.low)?, number(&between.high)?);
            let at = |rank: i128| u64::try_from(rank.max(0)).unwrap_or(u64::MAX);
            Some((at(low.max(1)), Some(at(high))))
        }
        _ => None,
    }
}

fn is_rank(expr: &Expr, rank: &Column) -> bool {
    match expr {
        Expr::Column(column) => column == rank,
        Expr::Cast(cast) => cast.field.data_type().is_integer() && is_rank(&cast.expr, rank),
        _ => false,
    }
}

fn number(expr: &Expr) -> Option<i128> {
    let Expr::Literal(value, _) = expr else { return None };
    match value {
        ScalarValue::Int8(value) => value.map(i128::from),
        ScalarValue::Int16(value) => value.map(i128::from),
        ScalarValue::Int32(value) => value.map(i128::from),
        ScalarValue::Int64(value) => value.map(i128::from),
        ScalarValue::UInt8(value) => value.map(i128::from),
        ScalarValue::UInt16(value) => value.map(i128::from),
        ScalarValue::UInt32(value) => value.map(i128::from),
        ScalarValue::UInt64(value) => value.map(i128::from),
        _ => None,
    }
}
