//! A view's query as a batch that leaves out the rows that the view leaves out, operator by operator.
//!
//! The view is maintained from the optimised plan of its query; what fails on a row depends on where the optimiser put it. So
//! this is that plan, with the same checked nodes, and DataFusion's own operators where the view has the engine's.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, JoinType, Result, TableReference};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, Extension, Filter, Join, LogicalPlan, Projection, Window, cast,
};
use engine::dataflow::checked::{CheckedNode, Step};

use super::{checked, clock, derived_keys, optimize};
use crate::asof;
use crate::error::SqlError;
use crate::guard::{EXACT, can_fail, guard_node};
use crate::stack::on_big_stack;
use crate::window::keyed;

/// Plans a view's query, bound and not yet optimised, as such a batch, in which `now()` is `now_micros`. What is left out is
/// not told.
///
/// # Errors
/// As for [`incremental`](super::incremental).
pub fn checked_batch(plan: &LogicalPlan, now_micros: i64) -> Result<LogicalPlan, SqlError> {
    on_big_stack(|| {
        let plan = asof::expand(keyed::expand(clock::at(plan.clone(), now_micros)?)?)?;
        let plan = optimize::optimize(derived_keys::lift(plan)?)?;
        let checked = plan.transform_up(|node| match node {
            LogicalPlan::Filter(filter) => checked::filter(filter, true),
            LogicalPlan::Projection(projection) => checked::projection(projection, true),
            LogicalPlan::Aggregate(aggregate) => self::aggregate(aggregate),
            LogicalPlan::Join(join) => self::join(join),
            LogicalPlan::Window(window) => self::window(window),
            other => guard_node(other),
        })?;
        Ok(checked.data)
    })
}

/// The input with a further column for each expression that can fail.
struct Below {
    plan: Arc<LogicalPlan>,
    added: Vec<Expr>,
    /// What the further columns are called, with their number.
    name: &'static str,
}

impl Below {
    fn new(plan: &Arc<LogicalPlan>, name: &'static str) -> Self {
        Self { plan: Arc::clone(plan), added: Vec::new(), name }
    }

    /// What stands for `expr` above.
    fn above(&mut self, expr: Expr) -> Expr {
        if !can_fail(&expr, self.plan.schema()) {
            return expr;
        }
        let place = self.added.iter().position(|added| *added == expr).unwrap_or_else(|| {
            self.added.push(expr);
            self.added.len() - 1
        });
        Expr::Column(Column::from_name(format!("{}{place}", self.name)))
    }

    fn build(self) -> Result<Arc<LogicalPlan>> {
        if self.added.is_empty() {
            return Ok(self.plan);
        }
        let mut exprs: Vec<Expr> = self.plan.schema().iter().map(|column| Expr::Column(Column::from(column))).collect();
        let named = |(place, expr): (usize, Expr)| expr.alias(format!("{}{place}", self.name));
        exprs.extend(self.added.into_iter().enumerate().map(named));
        Ok(Arc::new(checked::projection(Projection::try_new(exprs, self.plan)?, true)?.data))
    }
}

fn aggregate(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let names: Vec<_> = aggregate.schema.iter().map(|(qualifier, field)| (qualifier.cloned(), field.clone())).collect();
    let (keys, calls) = names.split_at(aggregate.group_expr.len().min(names.len()));
    let mut below = Below::new(&aggregate.input, "__checked_");
    let input_schema = Arc::clone(aggregate.input.schema());
    let mut group = Vec::with_capacity(keys.len());
    for (key, (qualifier, field)) in aggregate.group_expr.iter().zip(keys) {
        let above = below.above(key.clone().unalias());
        group.push(match &above {
            Expr::Column(_) if above == *key => above,
            _ => above.alias_qualified(qualifier.clone(), field.name()),
        });
    }
    let (mut aggregated, mut exact) = (Vec::with_capacity(calls.len()), Vec::with_capacity(calls.len()));
    for (call, (_, field)) in aggregate.aggr_expr.iter().zip(calls) {
        let (call, is_exact) = self::call(call.clone().unalias(), &mut below, &input_schema)?;
        aggregated.push(call.alias(field.name()));
        exact.push(is_exact.then(|| field.data_type().clone()));
    }
    let made = LogicalPlan::Aggregate(Aggregate::try_new(below.build()?, group, aggregated)?);
    if exact.iter().all(Option::is_none) {
        return Ok(Transformed::yes(made));
    }
    let column = |(place, (_, field)): (usize, &(Option<TableReference>, FieldRef))| {
        let column = Expr::Column(Column::from(made.schema().qualified_field(place)));
        let answer = place.checked_sub(keys.len()).and_then(|call| exact[call].clone());
        (answer.map_or(column.clone(), |data_type| cast(column, data_type)), field.name().clone())
    };
    let exprs = names.iter().enumerate().map(column).collect();
    let (schema, input) = (aggregate.schema, Arc::new(made));
    let node = CheckedNode { step: Step::Projection, exprs, input, schema };
    Ok(Transformed::yes(LogicalPlan::Extension(Extension { node: Arc::new(node) })))
}

/// A call over columns, and whether it sums integers exactly.
fn call(call: Expr, below: &mut Below, schema: &DFSchema) -> Result<(Expr, bool)> {
    let Expr::AggregateFunction(AggregateFunction { func, mut params }) = call else { return Ok((call, false)) };
    let mut is_exact = false;
    for argument in &mut params.args {
        let mut expr = std::mem::take(argument);
        let is_integer = expr.get_type(schema)?.is_integer();
        expr = below.above(expr);
        if func.name() == "sum" && is_integer {
            (expr, is_exact) = (cast(expr, EXACT), true);
        }
        *argument = expr;
    }
    if let Some(filter) = params.filter.take() {
        params.filter = Some(Box::new(below.above(*filter)));
    }
    for sort in &mut params.order_by {
        sort.expr = below.above(std::mem::take(&mut sort.expr));
    }
    Ok((Expr::AggregateFunction(AggregateFunction { func, params }), is_exact))
}

fn window(window: Window) -> Result<Transformed<LogicalPlan>> {
    let mut below = Below::new(&window.input, "__checked_");
    let width = window.input.schema().fields().len();
    let fields = window.schema.fields().iter().skip(width).cloned().collect::<Vec<_>>();
    let functions = window.window_expr.iter().zip(&fields).map(|(expr, field)| match expr.clone().unalias() {
        Expr::WindowFunction(mut function) => {
            let params = &mut function.params;
            let sorted = params.order_by.iter_mut().map(|sort| &mut sort.expr);
            for expr in params.args.iter_mut().chain(&mut params.partition_by).chain(sorted) {
                *expr = below.above(std::mem::take(expr).unalias());
            }
            Expr::WindowFunction(function).alias(field.name())
        }
        other => other,
    });
    let functions: Vec<Expr> = functions.collect();
    if below.added.is_empty() {
        return guard_node(LogicalPlan::Window(window));
    }
    let made = LogicalPlan::Window(Window::try_new(functions, below.build()?)?);
    // Without what was added.
    let names = window.schema.iter().map(Column::from).map(Expr::Column).collect();
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(names, Arc::new(made))?)))
}

/// A join's keys are computed below it, and the condition of an inner join above it.
fn join(join: Join) -> Result<Transformed<LogicalPlan>> {
    let fails = |side: &LogicalPlan, key: &Expr| can_fail(key, side.schema());
    let keys_fail = join.on.iter().any(|(left, right)| fails(&join.left, left) || fails(&join.right, right));
    let pairs = join.left.schema().join(join.right.schema()).ok();
    let filter_fails = match (&join.filter, &pairs) {
        (Some(filter), Some(pairs)) => can_fail(filter, pairs),
        (filter, _) => filter.is_some(),
    };
    if !keys_fail && !filter_fails {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    }
    if filter_fails && join.join_type != JoinType::Inner {
        let kind = join.join_type;
        return datafusion::common::not_impl_err!(
            "a batch that leaves out pairs on which the condition of this join fails: {kind}"
        );
    }
    let (mut left, mut right) = (Below::new(&join.left, "__left_"), Below::new(&join.right, "__right_"));
    let on = join.on.into_iter().map(|(l, r)| (left.above(l.unalias()), right.above(r.unalias()))).collect();
    let (filter, kept) = if filter_fails { (join.filter, None) } else { (None, join.filter) };
    let (left, right) = (left.build()?, right.build()?);
    let (kind, constraint, nulls) = (join.join_type, join.join_constraint, join.null_equality);
    let joined = Join::try_new(left, right, on, kept, kind, constraint, nulls, join.null_aware)?;
    // Without what was added.
    let names = join.schema.iter().map(Column::from).map(Expr::Column).collect();
    let joined = LogicalPlan::Projection(Projection::try_new(names, Arc::new(LogicalPlan::Join(joined)))?);
    let Some(filter) = filter else { return Ok(Transformed::yes(joined)) };
    checked::filter(Filter::try_new(filter, Arc::new(joined))?, true)
}
