//! Windows that depend on the other rows of a key: sessions, and windows of a number of rows.
//!
//! The binder leaves a [`KeyedWindow`] in the plan. A view's rewrite makes it incremental; in a batch it stands for window
//! functions ([`expand`]):
//!
//! ```text
//! session   min(time), max(time) + gap OVER (PARTITION BY keys, session)
//!             sum(CASE WHEN time <= previous + gap THEN 0 ELSE 1 END) OVER (PARTITION BY keys ORDER BY time RANGE …) AS session
//!               lag(time) OVER (PARTITION BY keys ORDER BY time) AS previous
//!
//! count     min(time), max(time), number OVER (PARTITION BY keys, number)
//!             (row_number() OVER (PARTITION BY keys ORDER BY time, ties …) - 1) / rows + 1 AS number
//! ```
//! Rows that tie in time are of one session, whichever comes first. In a count window they are ordered by partition and offset,
//! where the relation has them, else by all its columns.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result};
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::functions_window::lead_lag::lag_udwf;
use datafusion::functions_window::row_number::row_number_udwf;
use datafusion::logical_expr::expr::{Sort, WindowFunction};
use datafusion::logical_expr::{
    Expr, ExprSchemable, Extension, LogicalPlan, Projection, UserDefinedLogicalNodeCore, Window, WindowFrame,
    WindowFunctionDefinition, cast, lit, when,
};

use super::{Names, WINDOW_NUMBER, interval};

/// Columns between the window functions of an expanded node.
const PREVIOUS: &str = "\u{1}previous";
const NUMBER: &str = "\u{1}number";
const FIRST: &str = "\u{1}first";
const LAST: &str = "\u{1}last";

/// What makes the windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd)]
pub(crate) enum Shape {
    /// Rows that follow each other by up to so many µs.
    Session { gap: i64 },
    /// So many rows.
    Count { rows: i64 },
}

/// Rows of `input` with the columns of their windows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct KeyedWindow {
    pub input: Arc<LogicalPlan>,
    /// A Timestamp(µs).
    pub time: Expr,
    pub keys: Vec<Expr>,
    /// What settles ties in time, where that is seen.
    pub ties: Vec<Expr>,
    pub shape: Shape,
    /// The input's columns, then the window's.
    pub schema: DFSchemaRef,
    /// The window's columns.
    added: Vec<FieldRef>,
}

impl KeyedWindow {
    /// The node over `input`.
    pub fn plan(input: LogicalPlan, time: Expr, keys: Vec<Expr>, shape: Shape, names: Names) -> Result<LogicalPlan> {
        let data_type = time.get_type(input.schema())?;
        let field = |name: &str, data_type: &DataType| FieldRef::from(Field::new(name, data_type.clone(), true));
        let mut added = vec![field(names.start, &data_type), field(names.end, &data_type)];
        let mut ties = Vec::new();
        if matches!(shape, Shape::Count { .. }) {
            added.push(field(WINDOW_NUMBER, &DataType::Int64));
            ties = order_of_ties(input.schema());
        }
        let schema = with_columns(input.schema(), &added)?;
        let node = Self { input: Arc::new(input), time, keys, ties, shape, schema, added };
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }

    /// The node in `plan`, if it is one.
    pub fn of(plan: &LogicalPlan) -> Option<&Self> {
        let LogicalPlan::Extension(extension) = plan else { return None };
        extension.node.as_any().downcast_ref()
    }

    /// The window's columns.
    pub fn added(&self) -> &[FieldRef] {
        &self.added
    }

    /// The same rows by window functions.
    fn expanded(&self) -> Result<LogicalPlan> {
        let column = |name: &str| Expr::Column(Column::from_name(name));
        let by_time = || vec![Sort::new(self.time.clone(), true, false)];
        let (below, end, numbers): (_, Expr, Option<Expr>) = match self.shape {
            Shape::Session { gap } => {
                let lag = WindowFunctionDefinition::WindowUDF(lag_udwf());
                let previous = over(lag, Some(self.time.clone()), &self.keys, by_time(), None);
                let plan = window(vec![previous.alias(PREVIOUS)], self.input.as_ref().clone())?;
                let follows = self.time.clone().lt_eq(column(PREVIOUS) + interval(gap));
                let begins = when(follows, lit(0_i64)).otherwise(lit(1_i64))?;
                let sum = WindowFunctionDefinition::AggregateUDF(sum_udaf());
                // Up to the last of the rows that tie: they are of one session.
                let number = over(sum, Some(begins), &self.keys, by_time(), Some(WindowFrame::new(Some(false))));
                (window(vec![number.alias(NUMBER)], plan)?, column(LAST) + interval(gap), None)
            }
            Shape::Count { rows } => {
                let mut order = by_time();
                order.extend(self.ties.iter().map(|tie| Sort::new(tie.clone(), true, false)));
                let row_number = WindowFunctionDefinition::WindowUDF(row_number_udwf());
                let place = over(row_number, None, &self.keys, order, None);
                let plan = window(vec![place.alias(PREVIOUS)], self.input.as_ref().clone())?;
                let number = (cast(column(PREVIOUS), DataType::Int64) - lit(1_i64)) / lit(rows) + lit(1_i64);
                let mut all = columns(plan.schema());
                all.push(number.alias(NUMBER));
                let plan = LogicalPlan::Projection(Projection::try_new(all, Arc::new(plan))?);
                (plan, column(LAST), Some(column(NUMBER)))
            }
        };
        let mut keys = self.keys.clone();
        keys.push(column(NUMBER));
        let of =
            |udaf| over(WindowFunctionDefinition::AggregateUDF(udaf), Some(self.time.clone()), &keys, vec![], None);
        let bounds = vec![of(min_udaf()).alias(FIRST), of(max_udaf()).alias(LAST)];
        let plan = window(bounds, below)?;
        let mut all = columns(self.input.schema());
        let values = [Some(column(FIRST)), Some(end), numbers];
        all.extend(values.into_iter().flatten().zip(&self.added).map(|(value, field)| value.alias(field.name())));
        Ok(LogicalPlan::Projection(Projection::try_new(all, Arc::new(plan))?))
    }
}

/// Puts window functions in place of every such node: what a batch executes.
///
/// # Errors
/// DataFusion's, for a plan it made itself.
pub(crate) fn expand(plan: LogicalPlan) -> Result<LogicalPlan> {
    let expanded = plan.transform_up_with_subqueries(|node| match KeyedWindow::of(&node) {
        Some(found) => Ok(Transformed::yes(found.expanded()?)),
        None => Ok(Transformed::no(node)),
    })?;
    Ok(expanded.data)
}

/// What rows of one time are ordered by: their place in the log, or else all that can be.
fn order_of_ties(schema: &DFSchema) -> Vec<Expr> {
    let of = |name: &str| {
        let mut found = schema.iter().filter(|(_, field)| field.name() == name);
        found.next().map(|found| Expr::Column(Column::from(found)))
    };
    if let (Some(partition), Some(offset)) = (of("_partition"), of("_offset")) {
        return vec![partition, offset];
    }
    let orderable =
        |data_type: &DataType| !data_type.is_nested() && !matches!(data_type, DataType::Interval(_) | DataType::Null);
    let found = schema.iter().filter(|(_, field)| orderable(field.data_type()));
    found.map(|found| Expr::Column(Column::from(found))).collect()
}

fn with_columns(input: &DFSchema, added: &[FieldRef]) -> Result<DFSchemaRef> {
    let mut fields: Vec<_> = input.iter().map(|(qualifier, field)| (qualifier.cloned(), field.clone())).collect();
    fields.extend(added.iter().map(|field| (None, field.clone())));
    Ok(Arc::new(DFSchema::new_with_metadata(fields, input.metadata().clone())?))
}

fn columns(schema: &DFSchema) -> Vec<Expr> {
    schema.columns().into_iter().map(Expr::Column).collect()
}

fn window(exprs: Vec<Expr>, input: LogicalPlan) -> Result<LogicalPlan> {
    Ok(LogicalPlan::Window(Window::try_new(exprs, Arc::new(input))?))
}

fn over(
    function: WindowFunctionDefinition,
    argument: Option<Expr>,
    keys: &[Expr],
    order: Vec<Sort>,
    frame: Option<WindowFrame>,
) -> Expr {
    let mut made = WindowFunction::new(function, argument.into_iter().collect());
    let default = WindowFrame::new(if order.is_empty() { None } else { Some(false) });
    made.params.window_frame = frame.unwrap_or(default);
    (made.params.partition_by, made.params.order_by) = (keys.to_vec(), order);
    Expr::WindowFunction(Box::new(made))
}

impl PartialOrd for KeyedWindow {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.shape.partial_cmp(&other.shape)
    }
}

impl UserDefinedLogicalNodeCore for KeyedWindow {
    fn name(&self) -> &str {
        "KeyedWindow"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        [&self.time].into_iter().chain(&self.keys).chain(&self.ties).cloned().collect()
    }

    /// All but those that are keys: without some keys' rows the windows of the others are the same.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        self.schema.fields().iter().for_each(|field| *counts.entry(field.name()).or_default() += 1);
        let keys: HashSet<&str> = self
            .keys
            .iter()
            .filter_map(|key| if let Expr::Column(column) = key { Some(column.name.as_str()) } else { None })
            .collect();
        let kept = counts.into_iter().filter(|(name, count)| *count > 1 || !keys.contains(name));
        kept.map(|(name, _)| name.to_owned()).collect()
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.input.schema().fields().len();
        Some(vec![output_columns.iter().copied().filter(|column| *column < width).collect()])
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let keys: Vec<_> = self.keys.iter().map(ToString::to_string).collect();
        let keys = keys.join(", ");
        match self.shape {
            Shape::Session { gap } => write!(f, "Session: time={}, gap={gap}µs, keys=[{keys}]", self.time),
            Shape::Count { rows } => write!(f, "CountWindow: time={}, rows={rows}, keys=[{keys}]", self.time),
        }
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let input = inputs.swap_remove(0);
        let mut exprs = exprs.into_iter();
        let time = exprs.next().unwrap_or_else(|| self.time.clone());
        let keys = exprs.by_ref().take(self.keys.len()).collect();
        let schema = with_columns(input.schema(), &self.added)?;
        Ok(Self { input: Arc::new(input), time, keys, ties: exprs.collect(), schema, ..self.clone() })
    }
}
