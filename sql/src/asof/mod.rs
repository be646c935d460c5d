//! ASOF joins: each left row with the right row of its keys that is closest to it in time.
//!
//! On its way the condition on time is marked in the tree ([`syntax`]), found again in the typed plan and made a node
//! ([`AsofJoin`]). A view's rewrite makes it incremental; in a batch it stands for a join and a choice ([`expand`]):
//!
//! ```text
//! place = 1
//!   row_number() OVER (PARTITION BY row ORDER BY right time DESC, right columns …) AS place
//!     [LEFT] JOIN ON keys AND left time >= right time
//!       row_number() OVER () AS row
//!         left
//!       right
//! ```
//! Of right rows at one time the first by its columns counts, ascending, NULL last: of all its columns, so the answer does not
//! depend on which are read.

pub(crate) mod syntax;
pub(crate) mod version;

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, DFSchemaRef, DataFusionError, JoinType, Result, internal_err};
use datafusion::functions_window::row_number::row_number_udwf;
use datafusion::logical_expr::expr::{Sort, WindowFunction};
use datafusion::logical_expr::logical_plan::builder::build_join_schema;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, Extension, Filter, Join, LogicalPlan, LogicalPlanBuilder, Operator, Projection,
    UserDefinedLogicalNodeCore, Window, WindowFrame, WindowFunctionDefinition, binary_expr, lit,
};
use engine::operator::asof_join::{Closest, is_supported};

use crate::SqlError;
use crate::types::display_type;

/// Columns of an expanded node.
const ROW: &str = "\u{1}row";
const PLACE: &str = "\u{1}place";

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct AsofJoin {
    pub left: Arc<LogicalPlan>,
    pub right: Arc<LogicalPlan>,
    /// What must be equal, over the columns of left and right.
    pub on: Vec<(Expr, Expr)>,
    /// The times of left and right.
    pub times: (Expr, Expr),
    pub closest: Closest,
    /// Whether left rows without a right one come out.
    pub outer: bool,
    /// What right rows of one time are ordered by.
    pub ties: Vec<Expr>,
    schema: DFSchemaRef,
}

impl AsofJoin {
    /// The node in `plan`, if it is one.
    pub fn of(plan: &LogicalPlan) -> Option<&Self> {
        let LogicalPlan::Extension(extension) = plan else { return None };
        extension.node.as_any().downcast_ref()
    }

    /// The condition as text.
    pub fn condition(&self) -> String {
        let equalities = self.on.iter().map(|(l, r)| format!("{} = {}", l.human_display(), r.human_display()));
        let (left, right) = (self.times.0.human_display(), self.times.1.human_display());
        let time = format!("{left} {} {right}", self.closest.symbol());
        equalities.chain([time]).collect::<Vec<_>>().join(" AND ")
    }

    fn kind(&self) -> JoinType {
        if self.outer { JoinType::Left } else { JoinType::Inner }
    }

    fn try_new(join: &Join) -> Result<Option<Self>> {
        let Some(filter) = &join.filter else { return Ok(None) };
        let conditions = split_conjunction(filter);
        let Some(marked) = conditions.iter().find_map(|condition| syntax::marked(condition)) else { return Ok(None) };
        let rest = conditions.iter().filter(|condition| syntax::marked(condition).is_none()).copied();
        let schemas = (join.left.schema(), join.right.schema());
        let mut on = join.on.clone();
        for condition in rest {
            on.push(equality(condition, schemas).ok_or_else(|| refusal(&condition.human_display().to_string()))?);
        }
        let (times, closest) =
            comparison(marked, schemas).ok_or_else(|| refusal(&marked.human_display().to_string()))?;
        let data_type = times.0.get_type(schemas.0.as_ref())?;
        if !is_supported(&data_type) || times.1.get_type(schemas.1.as_ref())? != data_type {
            let message = format!("ASOF JOIN by a {} is not supported", display_type(&data_type));
            let error = SqlError::unsupported(message)
                .hint("it goes by a timestamp, a date or an integer, of one type on both sides");
            return Err(DataFusionError::External(Box::new(error)));
        }
        let orderable = |data_type: &DataType| {
            !data_type.is_nested() && !matches!(data_type, DataType::Interval(_) | DataType::Null)
        };
        let ties = schemas.1.iter().filter(|(_, field)| orderable(field.data_type()));
        let ties = ties.map(|column| Expr::Column(Column::from(column))).collect();
        let (left, right, outer) = (join.left.clone(), join.right.clone(), join.join_type == JoinType::Left);
        Ok(Some(Self { left, right, on, times, closest, outer, ties, schema: join.schema.clone() }))
    }

    /// The same rows by a join and a choice.
    fn expanded(&self) -> Result<LogicalPlan> {
        let number = |name: &str, partition: Vec<Expr>, order: Vec<Sort>| {
            let mut made = WindowFunction::new(WindowFunctionDefinition::WindowUDF(row_number_udwf()), vec![]);
            made.params.window_frame = WindowFrame::new(if order.is_empty() { None } else { Some(false) });
            (made.params.partition_by, made.params.order_by) = (partition, order);
            Expr::WindowFunction(Box::new(made)).alias(name)
        };
        let column = |name: &str| Expr::Column(Column::from_name(name));
        let numbered = LogicalPlan::Window(Window::try_new(vec![number(ROW, vec![], vec![])], self.left.clone())?);
        let (left, right) = self.times.clone();
        let operator = match self.closest {
            Closest::AtOrBefore => Operator::GtEq,
            Closest::Before => Operator::Gt,
            Closest::AtOrAfter => Operator::LtEq,
            Closest::After => Operator::Lt,
        };
        let mut conditions: Vec<Expr> = self.on.iter().cloned().map(|(l, r)| binary_expr(l, Operator::Eq, r)).collect();
        conditions.push(binary_expr(left, operator, right.clone()));
        let joined = LogicalPlanBuilder::from(numbered)
            .join_on(self.right.as_ref().clone(), self.kind(), conditions)?
            .build()?;
        let mut order = vec![Sort::new(right, !self.closest.looks_back(), false)];
        order.extend(self.ties.iter().map(|tie| Sort::new(tie.clone(), true, false)));
        let placed = Window::try_new(vec![number(PLACE, vec![column(ROW)], order)], Arc::new(joined))?;
        let chosen = Filter::try_new(column(PLACE).eq(lit(1_u64)), Arc::new(LogicalPlan::Window(placed)))?;
        let columns = self.schema.columns().into_iter().map(Expr::Column).collect();
        Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(LogicalPlan::Filter(chosen)))?))
    }
}

/// A condition that is not one an ASOF join takes.
fn refusal(condition: &str) -> DataFusionError {
    let error = SqlError::unsupported(format!("ASOF JOIN with the condition {condition} is not supported"))
        .detail("ON has equalities between the two sides, and one comparison of a time of the left with a time of the right by >=, >, <= or <.")
        .hint("put other conditions into subqueries on either side, or into WHERE");
    DataFusionError::External(Box::new(error))
}

/// Which of the two sides an expression is over.
fn side(expr: &Expr, schemas: (&DFSchemaRef, &DFSchemaRef)) -> Option<bool> {
    let columns = expr.column_refs();
    let within = |schema: &DFSchema| columns.iter().all(|column| schema.maybe_index_of_column(column).is_some());
    match (columns.is_empty(), within(schemas.0), within(schemas.1)) {
        (false, true, _) => Some(false),
        (false, false, true) => Some(true),
        _ => None,
    }
}

/// Both sides of a comparison, the left one first; true if they were turned.
fn sides(binary: &BinaryExpr, schemas: (&DFSchemaRef, &DFSchemaRef)) -> Option<(Expr, Expr, bool)> {
    let (one, other) = (binary.left.as_ref().clone(), binary.right.as_ref().clone());
    match (side(&one, schemas)?, side(&other, schemas)?) {
        (false, true) => Some((one, other, false)),
        (true, false) => Some((other, one, true)),
        _ => None,
    }
}

fn equality(condition: &Expr, schemas: (&DFSchemaRef, &DFSchemaRef)) -> Option<(Expr, Expr)> {
    let Expr::BinaryExpr(binary) = condition else { return None };
    let (left, right, _) = sides(binary, schemas).filter(|_| binary.op == Operator::Eq)?;
    Some((left, right))
}

fn comparison(condition: &Expr, schemas: (&DFSchemaRef, &DFSchemaRef)) -> Option<((Expr, Expr), Closest)> {
    let Expr::BinaryExpr(binary) = condition else { return None };
    let (left, right, is_turned) = sides(binary, schemas)?;
    let closest = match (binary.op, is_turned) {
        (Operator::GtEq, false) | (Operator::LtEq, true) => Closest::AtOrBefore,
        (Operator::Gt, false) | (Operator::Lt, true) => Closest::Before,
        (Operator::LtEq, false) | (Operator::GtEq, true) => Closest::AtOrAfter,
        (Operator::Lt, false) | (Operator::Gt, true) => Closest::After,
        _ => return None,
    };
    Some(((left, right), closest))
}

/// Puts a node in place of each join with a marked condition.
///
/// # Errors
/// 0A000 for conditions that an ASOF join does not take.
pub(crate) fn mark(plan: LogicalPlan) -> Result<LogicalPlan> {
    let marked = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Join(join) = &node else { return Ok(Transformed::no(node)) };
        Ok(match AsofJoin::try_new(join)? {
            Some(made) => Transformed::yes(LogicalPlan::Extension(Extension { node: Arc::new(made) })),
            None => Transformed::no(node),
        })
    })?;
    Ok(marked.data)
}

/// Puts a join and a choice in place of every such node: what a batch executes.
///
/// # Errors
/// DataFusion's, for a plan it made itself.
pub(crate) fn expand(plan: LogicalPlan) -> Result<LogicalPlan> {
    let expanded = plan.transform_up_with_subqueries(|node| match AsofJoin::of(&node) {
        Some(found) => Ok(Transformed::yes(found.expanded()?)),
        None => Ok(Transformed::no(node)),
    })?;
    Ok(expanded.data)
}

impl PartialOrd for AsofJoin {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.closest.partial_cmp(&other.closest)
    }
}

impl UserDefinedLogicalNodeCore for AsofJoin {
    fn name(&self) -> &str {
        "AsofJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let (left, right): (Vec<_>, Vec<_>) = self.on.iter().cloned().unzip();
        let times = [self.times.0.clone(), self.times.1.clone()];
        left.into_iter().chain(right).chain(times).chain(self.ties.iter().cloned()).collect()
    }

    /// Of the right side all columns are needed: they settle ties.
    fn necessary_children_exprs(&self, output: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.left.schema().fields().len();
        let left = output.iter().copied().filter(|column| *column < width).collect();
        Some(vec![left, (0..self.right.schema().fields().len()).collect()])
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "AsofJoin: {} on {}", self.kind(), self.condition())
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let (Ok([left, right]), true) = (<[LogicalPlan; 2]>::try_from(inputs), exprs.len() == self.expressions().len())
        else {
            return internal_err!("an ASOF join has two inputs, keys, times and ties");
        };
        let mut exprs = exprs.into_iter();
        let lefts: Vec<Expr> = exprs.by_ref().take(self.on.len()).collect();
        let on = lefts.into_iter().zip(exprs.by_ref().take(self.on.len()).collect::<Vec<_>>()).collect();
        let (Some(left_time), Some(right_time)) = (exprs.next(), exprs.next()) else {
            return internal_err!("an ASOF join has two times");
        };
        let schema = Arc::new(build_join_schema(left.schema(), right.schema(), &self.kind())?);
        let (times, ties) = ((left_time, right_time), exprs.collect());
        Ok(Self { left: Arc::new(left), right: Arc::new(right), on, times, ties, schema, ..self.clone() })
    }
}
