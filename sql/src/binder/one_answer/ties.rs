//! Rows that tie in an ORDER BY, put in order by their other columns.
//!
//! Where the order of ties can be seen (row_number, lag, ROWS frames, …) the ORDER BY is completed with the columns of the
//! window's input that the SELECT uses, in their order, ascending, NULL last. rank and its kin, and RANGE or GROUPS frames of
//! functions that do not care for order, see no ties and stay as they are. A function that does care, over such a frame, cannot
//! be given another ORDER BY: its rows are put in order below it.
//!
//! ```text
//! Window(last_value(x) OVER (ORDER BY o))       Window(last_value(x) OVER (ORDER BY o))
//!   input                                ==>      Filter(order > 0)
//!                                                   Window(row_number() OVER (ORDER BY o, the other columns) AS order)
//!                                                     input
//! ```

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::functions_window::row_number::row_number_udwf;
use datafusion::logical_expr::expr::{Sort as SortExpr, WindowFunction};
use datafusion::logical_expr::{
    Expr, Filter, Limit, LogicalPlan, Projection, Sort, Window, WindowFrame, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition, lit,
};

use crate::binder::HIDDEN;

/// Begins the name of the column that puts rows in order below a window.
pub(crate) const ORDER: &str = "order";

/// Numbers rows one by one: which of several ties comes first is seen.
const NUMBERING: [&str; 4] = ["row_number", "ntile", "lag", "lead"];
/// Number rows that tie alike.
const RANKING: [&str; 4] = ["rank", "dense_rank", "percent_rank", "cume_dist"];
/// Aggregates whose answer does not depend on the order of their rows.
const UNORDERED: [&str; 20] = [
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "bool_and",
    "bool_or",
    "stddev",
    "stddev_samp",
    "stddev_pop",
    "var",
    "var_samp",
    "var_pop",
    "corr",
    "covar_samp",
    "covar_pop",
    "median",
    "bit_and",
    "bit_or",
    "bit_xor",
];

/// Settles the windows right below a SELECT's projection.
pub(super) fn of_windows(projection: Projection) -> Result<Transformed<LogicalPlan>> {
    let mut node = Arc::clone(&projection.input);
    let (mut above, mut windows) = (Vec::new(), Vec::new());
    loop {
        node = match node.as_ref() {
            LogicalPlan::Filter(Filter { input, .. }) | LogicalPlan::Sort(Sort { input, .. }) if windows.is_empty() => {
                above.push(Arc::clone(&node));
                Arc::clone(input)
            }
            LogicalPlan::Window(window) => {
                windows.extend(window.window_expr.iter().cloned());
                Arc::clone(&window.input)
            }
            _ => break,
        };
    }
    if windows.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Projection(projection)));
    }
    let base = Arc::unwrap_or_clone(node);
    let mut seen: Vec<Expr> = projection.expr.clone();
    above.iter().for_each(|node| seen.extend(node.expressions()));
    seen.extend(windows.iter().cloned());
    let ties = used_columns(base.schema(), &seen);
    let mut plan = put_windows(base, windows, &ties)?;
    for node in above.iter().rev() {
        plan = match node.as_ref() {
            LogicalPlan::Filter(filter) => {
                LogicalPlan::Filter(Filter::try_new(filter.predicate.clone(), Arc::new(plan))?)
            }
            LogicalPlan::Sort(sort) => LogicalPlan::Sort(Sort { input: Arc::new(plan), ..sort.clone() }),
            _ => plan,
        };
    }
    let names = projection.expr.clone();
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(names, Arc::new(plan))?)))
}

/// Completes the ORDER BY right below a LIMIT.
pub(super) fn of_limit(limit: Limit) -> Result<Transformed<LogicalPlan>> {
    let complete = |mut sort: Sort| {
        let all: Vec<Expr> = sort.input.schema().columns().into_iter().map(Expr::Column).collect();
        let ties = used_columns(sort.input.schema(), &all);
        complete_order(&mut sort.expr, &[], &ties);
        LogicalPlan::Sort(sort)
    };
    let input = match limit.input.as_ref() {
        LogicalPlan::Sort(sort) => complete(sort.clone()),
        LogicalPlan::Projection(projection) => match projection.input.as_ref() {
            LogicalPlan::Sort(sort) => {
                let input = Arc::new(complete(with_hidden_in_order(sort, projection.expr.len())?));
                LogicalPlan::Projection(Projection::try_new(projection.expr.clone(), input)?)
            }
            _ => return Ok(Transformed::no(LogicalPlan::Limit(limit))),
        },
        _ => return Ok(Transformed::no(LogicalPlan::Limit(limit))),
    };
    Ok(Transformed::yes(LogicalPlan::Limit(Limit { input: Arc::new(input), ..limit })))
}

/// `sort` over its projection with the columns behind the first `shown` in the order of their names. They are there for the
/// ORDER BY alone, and DataFusion adds them in the order of a hash set: another one each time.
fn with_hidden_in_order(sort: &Sort, shown: usize) -> Result<Sort> {
    let LogicalPlan::Projection(projection) = sort.input.as_ref() else { return Ok(sort.clone()) };
    let mut exprs = projection.expr.clone();
    if let Some(hidden) = exprs.get_mut(shown..) {
        hidden.sort_by_key(ToString::to_string);
    }
    let input = Projection::try_new(exprs, projection.input.clone())?;
    Ok(Sort { input: Arc::new(LogicalPlan::Projection(input)), ..sort.clone() })
}

/// The columns of `schema` that `exprs` name and rows can be ordered by, in the schema's order.
fn used_columns(schema: &DFSchema, exprs: &[Expr]) -> Vec<Column> {
    let used: Vec<&Column> = exprs.iter().flat_map(Expr::column_refs).collect();
    let named = |(qualifier, field)| Column::from((qualifier, field));
    let orderable = schema.iter().filter(|(_, field)| is_orderable(field.data_type())).map(named);
    orderable.filter(|column| used.contains(&column)).collect()
}

fn is_orderable(data_type: &DataType) -> bool {
    !data_type.is_nested() && !matches!(data_type, DataType::Interval(_) | DataType::Null)
}

fn complete_order(order: &mut Vec<SortExpr>, partition: &[Expr], ties: &[Column]) {
    for column in ties {
        let column = Expr::Column(column.clone());
        if !partition.contains(&column) && order.iter().all(|sort| sort.expr != column) {
            order.push(SortExpr::new(column, true, false));
        }
    }
}

/// How a window function is put.
enum Put {
    /// With this in its place.
    With(WindowFunction),
    /// As it is, over rows that are in order.
    Ordered(WindowFunction),
}

/// Puts window functions on top of `plan`, those with one order together.
fn put_windows(mut plan: LogicalPlan, windows: Vec<Expr>, ties: &[Column]) -> Result<LogicalPlan> {
    let (mut plain, mut ordered): (Vec<Vec<Expr>>, Vec<Vec<Expr>>) = Default::default();
    let mut known: Vec<(WindowFunction, String)> = Vec::new();
    let mut again = Vec::new();
    for window in windows {
        let name = window.schema_name().to_string();
        let Expr::WindowFunction(function) = window.clone().unalias() else {
            plain.push(vec![window]);
            continue;
        };
        let (mut function, groups) = match put(*function, ties) {
            Put::With(function) => (function, &mut plain),
            Put::Ordered(function) => (function, &mut ordered),
        };
        tell_apart(&mut function, &known);
        // Frames that differed may be one frame now. A plan with one function twice has no physical form.
        if let Some((_, first)) = known.iter().find(|(other, _)| *other == function) {
            again.push(Expr::Column(Column::from_name(first)).alias(name));
            continue;
        }
        known.push((function.clone(), name.clone()));
        let params = &function.params;
        let same = |group: &&mut Vec<Expr>| sort_key(&group[0]) == Some((&params.partition_by, &params.order_by));
        let group = groups.iter_mut().find(same);
        let expr = Expr::WindowFunction(Box::new(function.clone())).alias(name);
        match group {
            Some(group) => group.push(expr),
            None => groups.push(vec![expr]),
        }
    }
    // Longer orders below: what they sort is in order for the shorter ones, too.
    plain.sort_by_key(|group| std::cmp::Reverse(sort_key(&group[0]).map_or(0, |(_, order)| order.len())));
    for (number, group) in ordered.into_iter().enumerate() {
        if let Some((partition, order)) = sort_key(&group[0]) {
            plan = put_in_order(plan, partition.clone(), order.clone(), ties, number)?;
        }
        plan = LogicalPlan::Window(Window::try_new(group, Arc::new(plan))?);
    }
    for group in plain {
        plan = LogicalPlan::Window(Window::try_new(group, Arc::new(plan))?);
    }
    if again.is_empty() {
        return Ok(plan);
    }
    let once = plan.schema().columns().into_iter().map(Expr::Column);
    let projected = once.chain(again).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(projected, Arc::new(plan))?))
}

/// Gives a function a constant ORDER BY if another of the SELECT's differs from it only in whether some expression is the last
/// of PARTITION BY or the first of ORDER BY: DataFusion's rule for common expressions takes the two for one.
fn tell_apart(function: &mut WindowFunction, known: &[(WindowFunction, String)]) {
    let keys = |function: &WindowFunction| -> Vec<Expr> {
        let order = function.params.order_by.iter().map(|sort| sort.expr.clone());
        function.params.partition_by.iter().cloned().chain(order).collect()
    };
    let looks_like = |other: &WindowFunction| {
        let (a, b) = (&function.params, &other.params);
        a.partition_by != b.partition_by
            && (&function.fun, &a.args, &a.window_frame) == (&other.fun, &b.args, &b.window_frame)
            && keys(function) == keys(other)
    };
    if known.iter().any(|(other, _)| looks_like(other)) {
        let constant = i64::try_from(known.len()).unwrap_or_default();
        function.params.order_by.push(SortExpr::new(lit(constant), true, false));
    }
}

fn sort_key(expr: &Expr) -> Option<(&Vec<Expr>, &Vec<SortExpr>)> {
    match expr {
        Expr::Alias(alias) => sort_key(&alias.expr),
        Expr::WindowFunction(function) => Some((&function.params.partition_by, &function.params.order_by)),
        _ => None,
    }
}

fn put(mut function: WindowFunction, ties: &[Column]) -> Put {
    let name = function.fun.name().to_lowercase();
    let params = &mut function.params;
    let unbounded = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::Preceding(value) | WindowFrameBound::Following(value) => value.is_null(),
        WindowFrameBound::CurrentRow => false,
    };
    let frame = &params.window_frame;
    let (from_first, to_last) = (unbounded(&frame.start_bound), unbounded(&frame.end_bound));
    let rows = frame.units == WindowFrameUnits::Rows;
    let is_aggregate = matches!(function.fun, WindowFunctionDefinition::AggregateUDF(_));
    let sees_no_order = is_aggregate && UNORDERED.contains(&name.as_str());
    if RANKING.contains(&name.as_str()) || (sees_no_order && (!rows || (from_first && to_last))) {
        return Put::With(function);
    }
    if !NUMBERING.contains(&name.as_str()) && !rows {
        // The first row of the partition is the first of every such frame, whatever follows it.
        let first_of_all = name == "first_value" && from_first && frame.end_bound == WindowFrameBound::CurrentRow;
        if !(from_first && to_last) && !(first_of_all && params.null_treatment.is_none()) {
            return Put::Ordered(function);
        }
        let end = match to_last {
            true => WindowFrameBound::Following(ScalarValue::UInt64(None)),
            false => WindowFrameBound::CurrentRow,
        };
        let start = WindowFrameBound::Preceding(ScalarValue::UInt64(None));
        params.window_frame = WindowFrame::new_bounds(WindowFrameUnits::Rows, start, end);
    }
    complete_order(&mut params.order_by, &params.partition_by, ties);
    Put::With(function)
}

/// Numbers rows in their completed order, and leaves them in it.
fn put_in_order(
    plan: LogicalPlan,
    partition: Vec<Expr>,
    mut order: Vec<SortExpr>,
    ties: &[Column],
    number: usize,
) -> Result<LogicalPlan> {
    complete_order(&mut order, &partition, ties);
    let mut function = WindowFunction::new(row_number_udwf(), Vec::new());
    function.params.window_frame = WindowFrame::new(Some(false));
    (function.params.partition_by, function.params.order_by) = (partition, order);
    let name = format!("{HIDDEN}{ORDER}_{number}");
    let window = Window::try_new(vec![Expr::WindowFunction(Box::new(function)).alias(&name)], Arc::new(plan))?;
    // Always true; but for it the numbers would not be asked for, and the sort would go with them.
    let kept = Expr::Column(Column::from_name(name)).gt(lit(0u64));
    Ok(LogicalPlan::Filter(Filter::try_new(kept, Arc::new(LogicalPlan::Window(window)))?))
}
