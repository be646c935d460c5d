//! Types that DataFusion settles otherwise than Postgres, settled before it comes to them.
//!
//! In: a plan whose types are not coerced yet. Out: the same plan, where
//! - a literal that is cast is read as Postgres reads it, and is an error now and not when a row comes;
//! - the alternatives of CASE, coalesce, nullif, greatest, least, IN and BETWEEN meet as the sides of an operator do
//!   ([`super::operator`]), and so do the elements of an array and the columns of a UNION, INTERSECT,
//!   EXCEPT and VALUES;
//! - a fraction cast to an integer is rounded, not cut, and the type of what is rounded or cut to some places is settled;
//! - a field of a difference of times is the field of an interval of days and a time, and an interval's seconds have their fraction.

use std::sync::Arc;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DataFusionError, Result};
use datafusion::logical_expr::expr::{Between, Case, Cast, InList, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, Operator, ScalarUDF, Union,
    binary_expr, cast,
};

use super::literal;
use super::one_answer::multiset::is_set_operation;
use super::operator::{as_double, calls_for_double, concerns, pair, read};
use super::values;
use crate::functions::{bytea, fields, interval, round};

/// The names of the field that is the seconds in microseconds.
const MICROSECONDS: [&str; 2] = ["microsecond", "microseconds"];

/// Settles every type of a plan.
///
/// # Errors
/// A literal that cannot be read as what it has to be.
pub(crate) fn settle(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut changed = false;
    let settled = plan.transform_up_with_subqueries(|node| {
        if let LogicalPlan::TableScan(_) = node {
            return Ok(Transformed::no(node));
        }
        let node = values::meet(node)?;
        changed |= node.transformed;
        let node = node.data;
        let schema = merge_schema(&node.inputs());
        let names = NamePreserver::new(&node);
        let again = changed;
        let node = node.map_expressions(|expr| {
            if !expr.exists(|expr| Ok(is_concerned(expr, again)))? {
                return Ok(Transformed::no(expr));
            }
            let name = names.save(&expr);
            let settled = expr.transform_up(|expr| expression(expr, &schema, again))?;
            Ok(if settled.transformed { settled.update_data(|expr| name.restore(expr)) } else { settled })
        })?;
        changed |= node.transformed;
        let node = union(node)?.transform_data(set_operation)?;
        changed |= node.transformed;
        if changed { node.map_data(LogicalPlan::recompute_schema) } else { Ok(node) }
    })?;
    Ok(settled.data)
}

/// Settles what stands beside an operator, so that its type is known.
pub(crate) fn operand(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    if matches!(expr, Expr::Case(_) | Expr::ScalarFunction(_)) && is_concerned(&expr, false) {
        return Ok(expression(expr, schema, false)?.data);
    }
    Ok(expr)
}

/// True for an expression that may have to change; operators only once something below them has (`again`).
fn is_concerned(expr: &Expr, again: bool) -> bool {
    match expr {
        Expr::Cast(cast) => casts_literal(cast) || cast.field.data_type().is_integer(),
        Expr::ScalarFunction(call) => {
            meets(call)
                || matches!(call.func.name(), bytea::NAME | "date_part" | round::NAME | "ceil" | "floor" | "trunc")
        }
        Expr::Case(_) | Expr::InList(_) | Expr::Between(_) => true,
        Expr::BinaryExpr(binary) => again && concerns(binary.op),
        _ => false,
    }
}

fn casts_literal(cast: &Cast) -> bool {
    literal::untyped(&cast.expr).is_some()
        || matches!(cast.expr.as_ref(), Expr::Literal(value, _) if value.data_type().is_decimal())
}

/// True for the functions whose arguments become one type.
fn meets(call: &ScalarFunction) -> bool {
    matches!(call.func.name(), "coalesce" | "nullif" | "greatest" | "least" | "make_array")
}

fn expression(expr: Expr, schema: &DFSchema, again: bool) -> Result<Transformed<Expr>> {
    match expr {
        Expr::Cast(cast) => cast_of(cast, schema),
        Expr::Case(case) => self::case(case, schema).map(Transformed::yes),
        Expr::InList(list) => in_list(list, schema),
        Expr::Between(between) => self::between(between, schema),
        Expr::ScalarFunction(call) => function(call, schema),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if again && concerns(op) => {
            let (left, right) = pair(op, *left, *right, schema)?;
            Ok(Transformed::yes(binary_expr(left, op, right)))
        }
        other => Ok(Transformed::no(other)),
    }
}

fn cast_of(cast: Cast, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let data_type = cast.field.data_type();
    if let Some(text) = literal::untyped(&cast.expr) {
        return match literal::read_cast(text, data_type) {
            Some(Ok(value)) => Ok(Transformed::yes(Expr::Literal(value, None))),
            Some(Err(error)) => Err(literal::refusal(error, text)),
            None => Ok(Transformed::no(Expr::Cast(cast))),
        };
    }
    if *data_type == DataType::Float64
        && let Expr::Literal(value, _) = cast.expr.as_ref()
        && value.data_type().is_decimal()
    {
        return Ok(Transformed::yes(as_double(*cast.expr, &DataType::Null)));
    }
    if data_type.is_integer()
        && let Ok(from) = cast.expr.get_type(schema)
        && (from.is_floating() || matches!(from, DataType::Decimal128(_, 1..) | DataType::Decimal256(_, 1..)))
    {
        let rounded = ScalarUDF::from(round::Round::default()).call(vec![*cast.expr]);
        return Ok(Transformed::yes(Expr::Cast(Cast { expr: Box::new(rounded), field: cast.field })));
    }
    Ok(Transformed::no(Expr::Cast(cast)))
}

fn function(mut call: ScalarFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    if meets(&call) {
        call.args = alternatives(call.args, schema)?;
        return Ok(Transformed::yes(Expr::ScalarFunction(call)));
    }
    if call.func.name() == bytea::NAME
        && let [argument] = call.args.as_slice()
        && let Some(text) = literal::untyped(argument)
        && let Some(value) = read(text, &DataType::Binary)?
    {
        return Ok(Transformed::yes(value));
    }
    if call.func.name() == round::NAME
        && let [_, places] = call.args.as_slice()
    {
        call.func = Arc::new(ScalarUDF::from(round::Round::settled(places)));
        return Ok(Transformed::yes(Expr::ScalarFunction(call)));
    }
    if matches!(call.func.name(), "ceil" | "floor" | "trunc") {
        return Ok(scaled(call, schema));
    }
    if call.func.name() == "date_part"
        && let [field, of] = call.args.as_mut_slice()
        && let Ok(of_type @ (DataType::Duration(_) | DataType::Interval(_))) = of.get_type(schema)
    {
        if let DataType::Duration(_) = of_type {
            let length = std::mem::take(of);
            *of = ScalarUDF::from(interval::LengthInterval::default()).call(vec![length]);
        }
        if literal::untyped(field).is_some_and(|field| MICROSECONDS.contains(&field.to_ascii_lowercase().as_str())) {
            let seconds = ScalarUDF::from(fields::IntervalSeconds::default());
            return Ok(Transformed::yes(seconds.call(vec![std::mem::take(of)])));
        }
        return Ok(Transformed::yes(Expr::ScalarFunction(call)));
    }
    Ok(Transformed::no(Expr::ScalarFunction(call)))
}

/// `ceil`, `floor` and `trunc` of a numeric, whose answer has no more places than it may need.
fn scaled(call: ScalarFunction, schema: &DFSchema) -> Transformed<Expr> {
    let Some(Ok(DataType::Decimal128(digits, scale @ 1..))) = call.args.first().map(|value| value.get_type(schema))
    else {
        return Transformed::no(Expr::ScalarFunction(call));
    };
    let places = match call.args.get(1) {
        None => Some(0),
        Some(places) => round::constant(places).map(|places| places.clamp(0, i32::from(scale))),
    };
    let Some(places) = places.and_then(|places| i8::try_from(places).ok()) else {
        return Transformed::no(Expr::ScalarFunction(call));
    };
    // One digit more before the point, for 9.5.
    let digits = i16::from(digits) - i16::from(scale) + i16::from(places) + 1;
    let digits = u8::try_from(digits).unwrap_or(DECIMAL128_MAX_PRECISION).min(DECIMAL128_MAX_PRECISION);
    Transformed::yes(cast(Expr::ScalarFunction(call), DataType::Decimal128(digits, places)))
}

fn case(case: Case, schema: &DFSchema) -> Result<Expr> {
    let Case { expr, when_then_expr, else_expr } = case;
    let (whens, thens): (Vec<Expr>, Vec<Expr>) = when_then_expr.into_iter().map(|(when, then)| (*when, *then)).unzip();
    let (expr, whens) = match expr {
        // What is compared takes one type, too.
        Some(expr) => {
            let mut compared = alternatives(std::iter::once(*expr).chain(whens).collect(), schema)?.into_iter();
            (compared.next().map(Box::new), compared.collect())
        }
        None => (None, whens),
    };
    let count = thens.len();
    let results = thens.into_iter().chain(else_expr.map(|expr| *expr)).collect();
    let mut results = alternatives(results, schema)?.into_iter();
    let thens: Vec<Expr> = results.by_ref().take(count).collect();
    let when_then_expr = whens.into_iter().zip(thens).map(|(when, then)| (Box::new(when), Box::new(then))).collect();
    Ok(Expr::Case(Case { expr, when_then_expr, else_expr: results.next().map(Box::new) }))
}

/// Expressions of which one is the result: literals take the type of the others, and numbers beside a double become one.
pub(super) fn alternatives(expressions: Vec<Expr>, schema: &DFSchema) -> Result<Vec<Expr>> {
    let types: Vec<Option<DataType>> = expressions
        .iter()
        .map(|expr| if literal::untyped(expr).is_some() { None } else { expr.get_type(schema).ok() })
        .collect();
    let known: Vec<&DataType> = types.iter().flatten().filter(|data_type| !data_type.is_null()).collect();
    let Some(widest) = known.iter().max_by_key(|data_type| rank(data_type)) else { return Ok(expressions) };
    let same_kind = known.iter().all(|data_type| data_type.is_numeric()) || known.iter().all(|known| known == widest);
    if !same_kind {
        return Ok(expressions);
    }
    let double = known.iter().any(|data_type| calls_for_double(data_type, widest));
    let wanted = if double { DataType::Float64 } else { (*widest).clone() };
    let one = |(expr, data_type): (Expr, &Option<DataType>)| match (literal::untyped(&expr), data_type) {
        (Some(text), _) => Ok(read(text, &wanted)?.unwrap_or(expr)),
        (None, Some(data_type)) if double && data_type.is_numeric() => Ok(as_double(expr, data_type)),
        _ => Ok(expr),
    };
    expressions.into_iter().zip(&types).map(one).collect()
}

/// The order in which numbers widen.
fn rank(data_type: &DataType) -> u8 {
    match data_type {
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => 1,
        DataType::UInt16 | DataType::Int32 => 2,
        DataType::UInt32 | DataType::Int64 => 3,
        DataType::UInt64 => 4,
        data_type if data_type.is_decimal() => 5,
        DataType::Float16 | DataType::Float32 => 6,
        DataType::Float64 => 7,
        _ => 0,
    }
}

fn in_list(list: InList, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let InList { expr, list, negated } = list;
    let mut settled = alternatives(std::iter::once(*expr).chain(list).collect(), schema)?;
    let list = settled.split_off(1);
    let expr = settled.pop().map(Box::new).ok_or_else(|| DataFusionError::Internal("IN without a value".into()))?;
    Ok(Transformed::yes(Expr::InList(InList { expr, list, negated })))
}

/// BETWEEN is two comparisons; it is written so only where the value itself has to change.
fn between(between: Between, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Between { expr, negated, low, high } = between;
    let (from, low) = pair(Operator::GtEq, expr.as_ref().clone(), *low, schema)?;
    let (to, high) = pair(Operator::LtEq, expr.as_ref().clone(), *high, schema)?;
    if from == *expr && to == *expr {
        let between = Between { expr, negated, low: Box::new(low), high: Box::new(high) };
        return Ok(Transformed::yes(Expr::Between(between)));
    }
    let within = binary_expr(from, Operator::GtEq, low).and(binary_expr(to, Operator::LtEq, high));
    Ok(Transformed::yes(if negated { Expr::Not(Box::new(within)) } else { within }))
}

/// Columns of a UNION that are double precision in one query and another number in the next become double precision.
fn union(node: Transformed<LogicalPlan>) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Union(union) = &node.data else { return Ok(node) };
    let type_of =
        |input: &LogicalPlan, column: usize| input.schema().fields().get(column).map(|f| f.data_type().clone());
    let doubles: Vec<bool> = (0..union.schema.fields().len())
        .map(|column| {
            let types: Vec<DataType> = union.inputs.iter().filter_map(|input| type_of(input, column)).collect();
            types.iter().any(|a| types.iter().any(|b| calls_for_double(a, b)))
        })
        .collect();
    if !doubles.contains(&true) {
        return Ok(node);
    }
    let LogicalPlan::Union(mut union) = node.data else { return Ok(Transformed::no(node.data)) };
    for input in &mut union.inputs {
        *input = Arc::new(with_doubles(input, &doubles)?);
    }
    Ok(Transformed::yes(LogicalPlan::Union(Union::try_new_with_loose_types(union.inputs)?)))
}

/// A plan with some of its columns as double precision.
fn with_doubles(plan: &LogicalPlan, doubles: &[bool]) -> Result<LogicalPlan> {
    let columns = plan.schema().columns().into_iter().zip(doubles).map(|(column, double)| {
        let name = column.name.clone();
        let relation = column.relation.clone();
        match double {
            true => cast(Expr::Column(column), DataType::Float64).alias_qualified(relation, name),
            false => Expr::Column(column),
        }
    });
    LogicalPlanBuilder::from(plan.clone()).project(columns.collect::<Vec<_>>())?.build()
}

/// Columns of an INTERSECT or EXCEPT, which is a join by all of them, likewise.
fn set_operation(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Join(join) = &plan else { return Ok(Transformed::no(plan)) };
    let types = |plan: &LogicalPlan| -> Vec<DataType> {
        plan.schema().fields().iter().map(|field| field.data_type().clone()).collect()
    };
    let (lefts, rights) = (types(&join.left), types(&join.right));
    let doubles: Vec<bool> = lefts.iter().zip(&rights).map(|(left, right)| calls_for_double(left, right)).collect();
    if !is_set_operation(join) || lefts.len() != rights.len() || !doubles.contains(&true) {
        return Ok(Transformed::no(plan));
    }
    let left = match join.left.as_ref() {
        LogicalPlan::Distinct(Distinct::All(rows)) => {
            LogicalPlan::Distinct(Distinct::All(Arc::new(with_doubles(rows, &doubles)?)))
        }
        rows => with_doubles(rows, &doubles)?,
    };
    let right = with_doubles(&join.right, &doubles)?;
    let made = Join::try_new(
        Arc::new(left),
        Arc::new(right),
        join.on.clone(),
        join.filter.clone(),
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    Ok(Transformed::yes(LogicalPlan::Join(made)))
}

#[cfg(test)]
mod tests;
