//! The rewrite of OVER: window functions over partitions, kept up by computing touched partitions again.
//!
//! ```text
//! Window(functions)          IncrementalWindow(keys; template: Window(functions) over a partition's rows)
//!   input            ==>       [Projection(input, PARTITION BY expressions that are no columns)]
//!                                input
//! ```

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::logical_expr::expr::WindowFunctionParams;
use datafusion::logical_expr::{EmptyRelation, Expr, Extension, Filter, LogicalPlan, Projection, Window, lit};
use engine::dataflow::bound::Bound;
use engine::dataflow::window::WindowNode;

use super::clock::mark_of;
use super::hop::substitute;
use super::monotone::{bound_of, is_time};
use super::refusal;
use super::rewrite::{Node, Rewriter, weight, with_weight};
use super::set_operation::SetOperationMark;
use crate::asof::AsofJoin;
use crate::binder::HIDDEN;
use crate::binder::one_answer::ORDER;
use crate::error::SqlError;
use crate::guard::can_fail;
use crate::statement::Emit;
use crate::window::keyed::KeyedWindow;

/// The key by whose values partitions become final, with its bound, and the bounds of the output's columns.
pub(super) struct Keyed {
    /// The key column and its bound.
    pub monotone_key: Option<(usize, Bound)>,
    /// By input column.
    pub bounds: Vec<Option<Bound>>,
}

impl Rewriter {
    /// Rewrites a node that keeps rows by key; `None` for the rest.
    pub(super) fn over(&mut self, plan: &LogicalPlan) -> Result<Option<Node>, SqlError> {
        if let Some(node) = self.top_n(plan)? {
            return Ok(Some(node));
        }
        if let Some(mark) = mark_of(plan) {
            return self.temporal_filter(mark, plan).map(Some);
        }
        if let Some(join) = AsofJoin::of(plan) {
            return self.asof_join(join, plan).map(Some);
        }
        match plan {
            LogicalPlan::Window(_) => self.window(plan).map(Some),
            LogicalPlan::Limit(limit) => self.limit(limit, plan).map(Some),
            LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<SetOperationMark>() {
                Some(mark) => self.set_operation(mark, plan).map(Some),
                None => match KeyedWindow::of(plan) {
                    Some(window) => self.keyed_window(window, plan).map(Some),
                    None => Ok(None),
                },
            },
            _ => Ok(None),
        }
    }

    fn window(&mut self, plan: &LogicalPlan) -> Result<Node, SqlError> {
        let Chain { nodes, base, partition } = one_partitioning(plan)?;
        let input = self.rewrite(base)?;
        let width = input.bounds.len();
        let mut exprs = partition;
        let keys = exprs.len();
        exprs.extend(below_functions(&nodes, input.plan.schema()));
        let functions = exprs.len();
        if width == 0 && exprs.is_empty() {
            // DataFusion's window plans lose count of rows that have no column.
            exprs.push(lit(true));
        }
        let (input, places) = with_columns(input, &exprs)?;
        let schema = Arc::clone(input.plan.schema());
        let computed = |place: &usize| Expr::Column(Column::from(schema.qualified_field(*place)));
        let mut computed: Vec<_> =
            exprs.drain(keys..functions).zip(places[keys..functions].iter().map(computed)).collect();
        let keys = places[..keys].to_vec();
        let Keyed { monotone_key, mut bounds } = self.keyed(&input, &keys, "OVER", plan)?;
        let mut closing = monotone_key.as_ref().map(|(key, _)| *key).filter(|_| self.gates);
        let close = self.emit == Emit::OnWindowClose;
        let leaf = EmptyRelation { produce_one_row: false, schema: without_weight(&input)? };
        let mut extra = width..input.bounds.len();
        let mut template = LogicalPlan::EmptyRelation(leaf);
        for node in nodes.iter().rev() {
            let below = Arc::new(template);
            template = match node {
                LogicalPlan::Window(window) => LogicalPlan::Window(Window::try_new(over(window, &computed), below)?),
                LogicalPlan::Filter(filter) => LogicalPlan::Filter(Filter::try_new(filter.predicate.clone(), below)?),
                LogicalPlan::Projection(projection) => {
                    let schema = Arc::clone(below.schema());
                    let mut exprs = projection.expr.clone();
                    computed.retain(|(expr, _)| has_columns_of(projection, expr));
                    let missing = computed.iter().map(|(_, column)| column).filter(|column| !exprs.contains(column));
                    exprs.extend(missing.cloned().collect::<Vec<_>>());
                    closing = closing.map(|place| place_of(place, &mut exprs, &schema));
                    bounds = exprs.iter().map(|expr| bound_of(expr, &schema, &bounds)).collect();
                    // It leaves out what was added for the keys and what it hands on of what was computed below.
                    extra = projection.expr.len()..exprs.len();
                    LogicalPlan::Projection(Projection::try_new(exprs, below)?)
                }
                _ => return Err(refusal::refuse(plan)),
            };
            bounds.resize(template.schema().fields().len(), None);
        }
        let output = Arc::clone(template.schema());
        let node = WindowNode {
            id: self.next_operator(),
            keys,
            template: Arc::new(template),
            input_weighted: input.weighted,
            monotone_key,
            emit_on_close: close,
            leaves_out_failures: false,
            schema: if close { output } else { with_weight(&output)? },
            input: Arc::new(input.plan),
        };
        let made = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        let node = self.gated(Node { plan: made, weighted: !close, bounds, closes: close }, closing)?;
        without_columns(node, extra)
    }

    /// What the keys of an operator over `input` say of when its rows are final.
    ///
    /// # Errors
    /// 0A000 if rows are to be emitted when final, and no key says when that is.
    pub(super) fn keyed(
        &self,
        input: &Node,
        keys: &[usize],
        what: &str,
        plan: &LogicalPlan,
    ) -> Result<Keyed, SqlError> {
        let schema = input.plan.schema();
        let bounded = |key: &&usize| input.bounds[**key].is_some() && is_time(schema.field(**key).data_type());
        let candidates: Vec<usize> = keys.iter().filter(bounded).copied().collect();
        let end = candidates.iter().find(|key| schema.field(**key).name() == "window_end");
        let monotone = end.or(candidates.first()).copied();
        let close = self.emit == Emit::OnWindowClose;
        if close && (monotone.is_none() || input.weighted) {
            let what = format!("EMIT ON WINDOW CLOSE over {what} without a window of the event time in its partition");
            return Err(refusal::named(&what, plan).hint("add window_end to PARTITION BY"));
        }
        // An old row of a partition may come again as long as the partition can change; later rows of other partitions are
        // bounded by their own keys.
        let lasts = |column: usize| keys.contains(&column) && (!close || Some(column) == monotone);
        let bound = |(column, bound): (usize, &Option<Bound>)| bound.clone().filter(|_| lasts(column));
        let bounds = input.bounds.iter().enumerate().map(bound).collect();
        Ok(Keyed { monotone_key: monotone.and_then(|key| Some((key, input.bounds[key].clone()?))), bounds })
    }
}

/// Where a projection has the column at `place` of what it is over; it gets it where it has not.
fn place_of(place: usize, exprs: &mut Vec<Expr>, schema: &DFSchema) -> usize {
    let column = Column::from(schema.qualified_field(place));
    let is_column = |expr: &Expr| matches!(expr.clone().unalias(), Expr::Column(other) if other == column);
    exprs.iter().position(is_column).unwrap_or_else(|| {
        exprs.push(Expr::Column(column.clone()).alias(format!("{HIDDEN}closing")));
        exprs.len() - 1
    })
}

/// True if a projection has every column of `expr` as it is, under its own name.
fn has_columns_of(projection: &Projection, expr: &Expr) -> bool {
    let has = |column: &&Column| {
        let place = projection.schema.maybe_index_of_column(column);
        place.is_some_and(|place| matches!(&projection.expr[place], Expr::Column(other) if other == *column))
    };
    expr.column_refs().iter().all(has)
}

/// Windows over the same partitions, and what lies between them.
struct Chain<'a> {
    /// The nodes from the topmost window to the lowest.
    nodes: Vec<&'a LogicalPlan>,
    /// What lies below them.
    base: &'a LogicalPlan,
    /// The PARTITION BY that they share, over the columns of `base`.
    partition: Vec<Expr>,
}

/// The windows from `plan` down that are over the same partitions.
fn one_partitioning(plan: &LogicalPlan) -> Result<Chain<'_>, SqlError> {
    let mut wanted = partition_by(plan);
    let mut chain = Chain { nodes: Vec::new(), base: plan, partition: wanted.clone() };
    let (mut nodes, mut node) = (Vec::new(), plan);
    loop {
        nodes.push(node);
        node = match node {
            LogicalPlan::Window(window) => {
                let partition = partition_by(node);
                let same = partition.len() == wanted.len() && partition.iter().all(|expr| wanted.contains(expr));
                if !same {
                    return Ok(chain);
                }
                chain = Chain { nodes: nodes.clone(), base: &window.input, partition };
                &window.input
            }
            // What puts rows in order below a window belongs to it.
            LogicalPlan::Filter(filter) if orders_rows(filter) => &filter.input,
            LogicalPlan::Projection(projection) => {
                let below = projection.expr.iter().map(|expr| expr.clone().unalias());
                wanted = substitute(wanted, &projection.schema, below)?;
                &projection.input
            }
            _ => return Ok(chain),
        };
    }
}

/// What functions are given that can fail on a row, and that the columns of `schema`, below all of them, tell: it is computed
/// there, where it is the row's failure and not its partition's.
fn below_functions(nodes: &[&LogicalPlan], schema: &DFSchema) -> Vec<Expr> {
    let windows = nodes.iter().rev().map_while(|node| match node {
        LogicalPlan::Window(window) => Some(Some(window)),
        LogicalPlan::Filter(_) => Some(None),
        _ => None,
    });
    let mut found = Vec::new();
    for expr in windows.flatten().flat_map(|window| &window.window_expr) {
        let Expr::WindowFunction(function) = expr.clone().unalias() else { continue };
        let WindowFunctionParams { args, order_by, filter, .. } = function.params;
        let given = args.into_iter().chain(order_by.into_iter().map(|sort| sort.expr));
        let known =
            |expr: &Expr| expr.column_refs().iter().all(|column| schema.maybe_index_of_column(column).is_some());
        let failing = given.filter(|expr| filter.is_none() && known(expr) && can_fail(expr, schema));
        found.extend(failing.map(Expr::unalias));
    }
    found
}

/// A window's functions over what was `computed` below, under the names they have.
fn over(window: &Window, computed: &[(Expr, Expr)]) -> Vec<Expr> {
    if computed.is_empty() {
        return window.window_expr.clone();
    }
    let replace = |expr: &mut Expr| {
        let place = computed.iter().find(|(known, _)| *known == expr.clone().unalias());
        if let Some((_, column)) = place {
            *expr = column.clone();
        }
    };
    let fields = window.schema.fields().iter().skip(window.input.schema().fields().len());
    let functions = window.window_expr.iter().zip(fields).map(|(expr, field)| match expr.clone().unalias() {
        Expr::WindowFunction(mut function) => {
            function.params.args.iter_mut().for_each(replace);
            function.params.order_by.iter_mut().for_each(|sort| replace(&mut sort.expr));
            Expr::WindowFunction(function).alias(field.name())
        }
        other => other,
    });
    functions.collect()
}

/// True of a filter that keeps all rows, and keeps them in the order of the window below it.
pub(super) fn orders_rows(filter: &Filter) -> bool {
    let prefix = format!("{HIDDEN}{ORDER}_");
    filter.predicate.column_refs().iter().any(|column| column.name.starts_with(&prefix))
}

/// The PARTITION BY expressions that all functions of a window have.
fn partition_by(plan: &LogicalPlan) -> Vec<Expr> {
    let LogicalPlan::Window(window) = plan else { return Vec::new() };
    let mut all = window.window_expr.iter().map(|expr| match expr.clone().unalias() {
        Expr::WindowFunction(function) => function.params.partition_by,
        _ => Vec::new(),
    });
    let first = all.next().unwrap_or_default();
    all.fold(first, |common, other| common.into_iter().filter(|expr| other.contains(expr)).collect())
}

/// The columns of `exprs`, and the input with a further column for each that is none.
pub(super) fn with_columns(input: Node, exprs: &[Expr]) -> Result<(Node, Vec<usize>), SqlError> {
    let schema = input.plan.schema().clone();
    let width = input.bounds.len();
    let mut extra: Vec<Expr> = Vec::new();
    let mut places = Vec::with_capacity(exprs.len());
    for expr in exprs {
        let expr = expr.clone().unalias();
        let own = if let Expr::Column(column) = &expr { schema.maybe_index_of_column(column) } else { None };
        places.push(own.unwrap_or_else(|| {
            let known = extra.iter().position(|other| *other == expr);
            width
                + known.unwrap_or_else(|| {
                    extra.push(expr);
                    extra.len() - 1
                })
        }));
    }
    if extra.is_empty() {
        return Ok((input, places));
    }
    let mut bounds = input.bounds;
    bounds.extend(extra.iter().map(|expr| bound_of(expr, &schema, &bounds)).collect::<Vec<_>>());
    let mut projected = columns(&schema, 0..width);
    projected.extend(extra.into_iter().enumerate().map(|(n, expr)| expr.alias(format!("{HIDDEN}key_{n}"))));
    projected.extend(input.weighted.then(|| weight(&schema)));
    let plan = LogicalPlan::Projection(Projection::try_new(projected, Arc::new(input.plan))?);
    Ok((Node { plan, bounds, ..input }, places))
}

/// The node without the columns `gone`.
pub(super) fn without_columns(node: Node, gone: std::ops::Range<usize>) -> Result<Node, SqlError> {
    if gone.is_empty() {
        return Ok(node);
    }
    let schema = node.plan.schema().clone();
    let mut kept = columns(&schema, 0..gone.start);
    kept.extend(columns(&schema, gone.end..schema.fields().len()));
    let plan = LogicalPlan::Projection(Projection::try_new(kept, Arc::new(node.plan))?);
    let bounds = node.bounds.into_iter().enumerate().filter(|(n, _)| !gone.contains(n)).map(|(_, bound)| bound);
    Ok(Node { plan, bounds: bounds.collect(), weighted: node.weighted, closes: node.closes })
}

pub(super) fn columns(schema: &DFSchema, range: std::ops::Range<usize>) -> Vec<Expr> {
    range.map(|index| Expr::Column(Column::from(schema.qualified_field(index)))).collect()
}

/// A node's columns without the weight.
pub(super) fn without_weight(node: &Node) -> Result<DFSchemaRef, SqlError> {
    let schema = node.plan.schema();
    let fields = schema.iter().take(node.bounds.len());
    let fields = fields.map(|(qualifier, field)| (qualifier.cloned(), field.clone())).collect();
    Ok(Arc::new(DFSchema::new_with_metadata(fields, schema.metadata().clone())?))
}

/// True if `expr` names `column`.
pub(super) fn names(expr: &Expr, column: &Column) -> bool {
    let mut found = false;
    let look = |inner: &Expr| {
        found |= matches!(inner, Expr::Column(other) if other == column);
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    };
    expr.apply(look).expect("the closure does not fail");
    found
}
