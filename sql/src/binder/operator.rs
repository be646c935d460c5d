//! What an operator's two sides mean to each other.
//!
//! - An untyped literal takes the type of the other side ([`super::literal`]).
//! - Beside a real or double, numbers of every other type become double precision. DataFusion makes the double a numeric
//!   in comparisons, which NaN and large values do not survive.
//! - Intervals are compared by length, not field by field.
//! - A date and an interval make a timestamp, not a date.
//!
//! DataFusion's planner asks here while types are still open ([`Operators`]); [`super::settle`] asks again where a type
//! has changed since.

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, DataFusionError, ExprSchema, Result, ScalarValue};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, Operator, ScalarUDF, cast};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::literal;
use crate::functions::interval;
use crate::types::timestamp;

/// Puts the sides of every operator of a query right.
#[derive(Debug)]
pub(crate) struct Operators;

impl ExprPlanner for Operators {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let RawBinaryExpr { op, left, right } = expr;
        let Some(operator) = operator(&op) else {
            return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }));
        };
        let left = super::settle::operand(left, schema)?;
        let right = super::settle::operand(right, schema)?;
        let (left, right) = pair(operator, left, right, schema)?;
        Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }))
    }
}

fn operator(op: &BinaryOperator) -> Option<Operator> {
    Some(match op {
        BinaryOperator::Plus => Operator::Plus,
        BinaryOperator::Minus => Operator::Minus,
        BinaryOperator::Multiply => Operator::Multiply,
        BinaryOperator::Divide => Operator::Divide,
        BinaryOperator::Modulo => Operator::Modulo,
        BinaryOperator::Eq => Operator::Eq,
        BinaryOperator::NotEq => Operator::NotEq,
        BinaryOperator::Lt => Operator::Lt,
        BinaryOperator::LtEq => Operator::LtEq,
        BinaryOperator::Gt => Operator::Gt,
        BinaryOperator::GtEq => Operator::GtEq,
        _ => return None,
    })
}

/// True for the operators this module knows.
pub(crate) fn concerns(operator: Operator) -> bool {
    compares(operator) || calculates(operator)
}

fn compares(operator: Operator) -> bool {
    use Operator as O;
    matches!(operator, O::Eq | O::NotEq | O::Lt | O::LtEq | O::Gt | O::GtEq | O::IsDistinctFrom | O::IsNotDistinctFrom)
}

fn calculates(operator: Operator) -> bool {
    use Operator as O;
    matches!(operator, O::Plus | O::Minus | O::Multiply | O::Divide | O::Modulo)
}

/// The two sides as Postgres would take them.
///
/// # Errors
/// A literal that cannot be read as what the other side is.
pub(crate) fn pair(operator: Operator, left: Expr, right: Expr, schema: &dyn ExprSchema) -> Result<(Expr, Expr)> {
    let (left, right) = match (literal::untyped(&left), literal::untyped(&right)) {
        (Some(text), None) => (adopt(text, operator, &right, schema)?.unwrap_or(left), right),
        (None, Some(text)) => {
            let adopted = adopt(text, operator, &left, schema)?;
            (left, adopted.unwrap_or(right))
        }
        _ => (left, right),
    };
    // The right side is the short one of a chain, and often enough to tell.
    let Ok(right_type) = right.get_type(schema) else { return Ok((left, right)) };
    let is_date = right_type == DataType::Date32;
    if !is_inexact(&right_type) && !right_type.is_numeric() && !is_interval(&right_type) && !is_date {
        return Ok((left, right));
    }
    let Ok(left_type) = left.get_type(schema) else { return Ok((left, right)) };
    match operator {
        Operator::Plus | Operator::Minus if left_type == DataType::Date32 && is_interval(&right_type) => {
            return Ok((cast(left, timestamp()), right));
        }
        Operator::Plus if is_interval(&left_type) && is_date => return Ok((left, cast(right, timestamp()))),
        _ => {}
    }
    if calls_for_double(&left_type, &right_type) {
        return Ok((as_double(left, &left_type), as_double(right, &right_type)));
    }
    let both_intervals = is_interval(&left_type) && is_interval(&right_type);
    if compares(operator) && both_intervals && (is_fields(&left_type) || is_fields(&right_type)) {
        return Ok((as_length(left)?, as_length(right)?));
    }
    Ok((left, right))
}

fn is_inexact(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float16 | DataType::Float32 | DataType::Float64)
}

fn is_interval(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Interval(_) | DataType::Duration(_))
}

fn is_fields(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Interval(_))
}

/// True if numbers of these types meet as doubles though one of them is none.
pub(crate) fn calls_for_double(a: &DataType, b: &DataType) -> bool {
    let one = |a: &DataType, b: &DataType| is_inexact(a) && b.is_numeric() && a != b;
    one(a, b) || one(b, a)
}

/// A number as double precision; what is one already stays.
pub(crate) fn as_double(expr: Expr, data_type: &DataType) -> Expr {
    if *data_type == DataType::Float64 {
        return expr;
    }
    match &expr {
        Expr::Literal(value, metadata) => match literal::as_double(value) {
            Some(double) => Expr::Literal(ScalarValue::Float64(Some(double)), metadata.clone()),
            None => cast(expr, DataType::Float64),
        },
        _ => cast(expr, DataType::Float64),
    }
}

fn as_length(expr: Expr) -> Result<Expr> {
    match &expr {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), _) => match interval::length(*value) {
            Some(micros) => Ok(Expr::Literal(ScalarValue::DurationMicrosecond(Some(micros)), None)),
            None => Err(DataFusionError::External(Box::new(crate::SqlError::new(
                crate::SqlState::INTERVAL_FIELD_OVERFLOW,
                "interval out of range",
            )))),
        },
        _ => Ok(ScalarUDF::from(interval::IntervalLength::default()).call(vec![expr])),
    }
}

/// The literal `text` as what stands beside it wants it; `None` if that says nothing.
fn adopt(text: &str, operator: Operator, beside: &Expr, schema: &dyn ExprSchema) -> Result<Option<Expr>> {
    let Ok(data_type) = beside.get_type(schema) else { return Ok(None) };
    let interval = DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano);
    let wanted = match (operator, &data_type) {
        (operator, _) if compares(operator) => data_type,
        (_, data_type) if data_type.is_numeric() => data_type.clone(),
        (Operator::Plus | Operator::Minus, DataType::Interval(_) | DataType::Duration(_)) => interval,
        (Operator::Plus, DataType::Timestamp(..)) => interval,
        (Operator::Minus, DataType::Timestamp(..) | DataType::Date32) => data_type,
        _ => return Ok(None),
    };
    read(text, &wanted)
}

/// The literal `text` as a value of `data_type`; `None` if literals of that type are left as they are.
pub(crate) fn read(text: &str, data_type: &DataType) -> Result<Option<Expr>> {
    match literal::read(text, data_type) {
        Some(Ok(value)) => Ok(Some(Expr::Literal(value, None))),
        Some(Err(error)) => Err(literal::refusal(error, text)),
        None => Ok(None),
    }
}
