//! INTERSECT ALL and EXCEPT ALL by the SQL standard: a row is as often in the answer as the counts of both sides say.
//!
//! DataFusion plans them as a semi or an anti join, which keeps or drops all copies of a row together. Numbering the copies
//! on both sides makes the join right:
//!
//! ```text
//! SemiJoin(all columns)       Projection(columns)
//!   left                ==>     SemiJoin(all columns, copy)
//!   right                         Window(row_number() OVER (PARTITION BY all columns) AS copy), left
//!                                 Window(row_number() OVER (PARTITION BY all columns) AS copy), right
//! ```

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, JoinType, NullEquality, Result};
use datafusion::functions_window::row_number::row_number_udwf;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{Distinct, Expr, Join, LogicalPlan, Projection, Window, WindowFrame};

use crate::binder::HIDDEN;

/// A set operation found in a bound plan.
#[derive(Debug)]
pub(crate) struct SetOperation {
    /// True for INTERSECT, false for EXCEPT.
    pub intersect: bool,
    /// True for ALL.
    pub all: bool,
    /// The left input. Without ALL, rows may repeat.
    pub left: Arc<LogicalPlan>,
    /// The right input.
    pub right: Arc<LogicalPlan>,
    /// The columns compared, as expressions of either side with one type.
    pub on: Vec<(Expr, Expr)>,
}

/// The join with copies numbered, if it stands for a set operation with ALL.
pub(super) fn counted(join: Join) -> Result<Transformed<LogicalPlan>> {
    if !is_set_operation(&join) || matches!(join.left.as_ref(), LogicalPlan::Distinct(Distinct::All(_))) {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    }
    let (left_keys, right_keys): (Vec<Expr>, Vec<Expr>) = join.on.iter().cloned().unzip();
    let (left, left_copy) = numbered(&join.left, left_keys, "left")?;
    let (right, right_copy) = numbered(&join.right, right_keys, "right")?;
    let columns = join.schema.columns().into_iter().map(Expr::Column).collect();
    let mut on = join.on;
    on.push((Expr::Column(left_copy), Expr::Column(right_copy)));
    let counted = Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on,
        None,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    let projection = Projection::try_new(columns, Arc::new(LogicalPlan::Join(counted)))?;
    Ok(Transformed::yes(LogicalPlan::Projection(projection)))
}

/// The set operation that a bound, not yet optimised plan node stands for.
pub(crate) fn set_operation(plan: &LogicalPlan) -> Option<SetOperation> {
    match plan {
        LogicalPlan::Join(join) if is_set_operation(join) => {
            let LogicalPlan::Distinct(Distinct::All(left)) = join.left.as_ref() else { return None };
            Some(SetOperation {
                intersect: join.join_type == JoinType::LeftSemi,
                all: false,
                left: Arc::clone(left),
                right: Arc::clone(&join.right),
                on: join.on.clone(),
            })
        }
        LogicalPlan::Projection(projection) => {
            let LogicalPlan::Join(join) = projection.input.as_ref() else { return None };
            let (last, on) = join.on.split_last()?;
            let (LogicalPlan::Window(left), LogicalPlan::Window(right)) = (join.left.as_ref(), join.right.as_ref())
            else {
                return None;
            };
            let is_copy = matches!(&last.0, Expr::Column(column) if column.name == copy_name("left"));
            (is_copy && join.null_equality == NullEquality::NullEqualsNull).then(|| SetOperation {
                intersect: join.join_type == JoinType::LeftSemi,
                all: true,
                left: Arc::clone(&left.input),
                right: Arc::clone(&right.input),
                on: on.to_vec(),
            })
        }
        _ => None,
    }
}

/// Only set operations take two NULLs for equal before a plan is optimised.
pub(crate) fn is_set_operation(join: &Join) -> bool {
    join.null_equality == NullEquality::NullEqualsNull
        && matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.filter.is_none()
        && !join.on.is_empty()
        && join.on.len() == join.left.schema().fields().len()
}

fn copy_name(side: &str) -> String {
    format!("{HIDDEN}copy_{side}")
}

fn numbered(input: &Arc<LogicalPlan>, keys: Vec<Expr>, side: &str) -> Result<(LogicalPlan, Column)> {
    let mut number = WindowFunction::new(row_number_udwf(), Vec::new());
    number.params.window_frame = WindowFrame::new(None);
    number.params.partition_by = keys;
    let number = Expr::WindowFunction(Box::new(number)).alias(copy_name(side));
    let plan = LogicalPlan::Window(Window::try_new(vec![number], Arc::clone(input))?);
    Ok((plan, Column::from_name(copy_name(side))))
}
