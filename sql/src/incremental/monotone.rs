//! Which expressions can only grow as event time does.

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable, Operator};
use engine::dataflow::bound::{Bound, EVENT_TIME};

use crate::functions::date_trunc_in_zone;
use crate::functions::local_day::Function;
use crate::functions::timezone::{self, Zone};
use crate::window::local::{function_of, with_numbers};
use crate::window::{self, CUMULATE_ENDS, HOP_STARTS, Window};

/// The lower bound of an expression's future values, where the expression is a non-decreasing function of one bounded
/// column of `schema`. A bound on a list bounds each of its elements.
pub fn bound_of(expr: &Expr, schema: &DFSchema, bounds: &[Option<Bound>]) -> Option<Bound> {
    match expr {
        Expr::Alias(alias) => bound_of(&alias.expr, schema, bounds),
        Expr::Column(column) => bounds.get(schema.maybe_index_of_column(column)?)?.clone(),
        Expr::Cast(cast) if is_time(cast.field.data_type()) && is_time(&cast.expr.get_type(schema).ok()?) => {
            let inner = bound_of(&cast.expr, schema, bounds)?;
            step(&inner, |value| Expr::Cast(Cast { expr: Box::new(value), ..cast.clone() }))
        }
        Expr::BinaryExpr(binary) => bound_of_shift(binary, schema, bounds),
        Expr::ScalarFunction(call) => bound_of_call(call, schema, bounds),
        _ => None,
    }
}

fn step(inner: &Bound, make: impl Fn(Expr) -> Expr) -> Option<Bound> {
    inner.map(|value| Ok::<_, std::convert::Infallible>(make(value))).ok()
}

/// True for the types a bound can be compared in.
pub fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
}

/// True for a constant interval without months: adding a month is not monotone, the 30th of January at midnight comes
/// before the 29th at noon once both are in February.
pub fn is_interval(expr: &Expr) -> bool {
    let Expr::Literal(value, _) = expr else { return false };
    if let ScalarValue::IntervalMonthDayNano(Some(interval)) = value {
        return interval.months == 0;
    }
    matches!(
        value,
        ScalarValue::IntervalDayTime(Some(_))
            | ScalarValue::DurationMicrosecond(Some(_))
            | ScalarValue::DurationMillisecond(Some(_))
            | ScalarValue::DurationSecond(Some(_))
            | ScalarValue::DurationNanosecond(Some(_))
    )
}

/// `time + interval`, `interval + time`, `time - interval`.
fn bound_of_shift(binary: &BinaryExpr, schema: &DFSchema, bounds: &[Option<Bound>]) -> Option<Bound> {
    let BinaryExpr { left, op, right } = binary;
    let with = |left: Expr, right: Expr| Expr::BinaryExpr(BinaryExpr::new(Box::new(left), *op, Box::new(right)));
    match op {
        Operator::Plus | Operator::Minus if is_interval(right) => {
            step(&bound_of(left, schema, bounds)?, |value| with(value, right.as_ref().clone()))
        }
        Operator::Plus if is_interval(left) => {
            step(&bound_of(right, schema, bounds)?, |value| with(left.as_ref().clone(), value))
        }
        _ => None,
    }
}

/// The earliest window start that can still take a row at or after the bound: the first above `bound - size`.
fn earliest_hop_start(call: &ScalarFunction, inner: &Bound, schema: &DFSchema) -> Option<Bound> {
    let expr = Expr::ScalarFunction(call.clone());
    let (time, Window::Hop { slide, size, offset }) = window::hop_of(&expr)? else { return None };
    let zone = match time.get_type(schema).ok()? {
        DataType::Timestamp(_, zone) => zone,
        _ => None,
    };
    let event_time = Field::new(EVENT_TIME, DataType::Timestamp(TimeUnit::Microsecond, zone), false);
    let over_event_time = DFSchema::try_from(Schema::new(vec![event_time])).ok()?;
    let start = |value: Expr| {
        let before = value - window::interval_of(size);
        Ok(window::tumble_start(before, slide, offset, &over_event_time)? + window::interval_of(slide))
    };
    inner.map(|value| start(value).map_err(|_: datafusion::error::DataFusionError| ())).ok()
}

/// The earliest window end that can still take a row at or after the bound: the first step above it.
fn earliest_cumulate_end(call: &ScalarFunction, inner: &Bound, schema: &DFSchema) -> Option<Bound> {
    let expr = Expr::ScalarFunction(call.clone());
    let (time, Window::Cumulate { step, offset, .. }) = window::cumulate_of(&expr)? else { return None };
    let zone = match time.get_type(schema).ok()? {
        DataType::Timestamp(_, zone) => zone,
        _ => None,
    };
    let event_time = Field::new(EVENT_TIME, DataType::Timestamp(TimeUnit::Microsecond, zone), false);
    let over_event_time = DFSchema::try_from(Schema::new(vec![event_time])).ok()?;
    let end =
        |value: Expr| Ok(window::tumble_start(value, step, offset, &over_event_time)? + window::interval_of(step));
    inner.map(|value| end(value).map_err(|_: datafusion::error::DataFusionError| ())).ok()
}

/// The windows of days in a zone: what they are at the bound, or for lists the earliest of them that takes a later row.
fn bound_of_local_days(call: &ScalarFunction, function: Function, inner: &Bound) -> Option<Bound> {
    let step = |value: Expr| {
        let made = match function {
            Function::Start => with_numbers(call, function, value, &[0, 1]),
            Function::End => with_numbers(call, function, value, &[0]),
            Function::First | Function::Starts => with_numbers(call, Function::First, value, &[0, 1, 2]),
            // The end of the step that holds the bound: steps begin with windows, so they have the same offset.
            Function::Ends => with_numbers(call, Function::Start, value, &[0, 2])
                .and_then(|start| with_numbers(call, Function::End, start, &[0])),
        };
        made.ok_or(())
    };
    inner.map(step).ok()
}

/// `date_trunc(unit, time[, zone])`, `date_bin(stride, time[, origin])`, `hop_starts(time, slide, size[, offset])`,
/// `cumulate_ends(time, step, size[, offset])`, and the functions of local days.
fn bound_of_call(call: &ScalarFunction, schema: &DFSchema, bounds: &[Option<Bound>]) -> Option<Bound> {
    if let Some(function) = function_of(call) {
        return bound_of_local_days(call, function, &bound_of(call.args.first()?, schema, bounds)?);
    }
    let place = match call.func.name() {
        "date_trunc" | "date_bin" => 1,
        date_trunc_in_zone::NAME if is_monotone_in_zone(call) => 1,
        timezone::NAME if is_fixed_zone(call) => 1,
        HOP_STARTS | CUMULATE_ENDS => 0,
        _ => return None,
    };
    let constant = |(index, argument): (usize, &Expr)| index == place || matches!(argument, Expr::Literal(..));
    if !call.args.iter().enumerate().all(constant) {
        return None;
    }
    let inner = bound_of(call.args.get(place)?, schema, bounds)?;
    if call.func.name() == HOP_STARTS {
        return earliest_hop_start(call, &inner, schema);
    }
    if call.func.name() == CUMULATE_ENDS {
        return earliest_cumulate_end(call, &inner, schema);
    }
    step(&inner, |value| {
        let mut args = call.args.clone();
        args[place] = value;
        Expr::ScalarFunction(ScalarFunction { func: call.func.clone(), args })
    })
}

/// True for `time AT TIME ZONE` a zone whose clocks are never set.
fn is_fixed_zone(call: &ScalarFunction) -> bool {
    let zone = call.args.first().and_then(|zone| match zone {
        Expr::Literal(zone, _) => zone.try_as_str().flatten(),
        _ => None,
    });
    zone.and_then(|zone| Zone::named(zone).ok()).is_some_and(|zone| match zone {
        Zone::Fixed(_) => true,
        Zone::Named(zone) => zone == chrono_tz::Tz::UTC,
    })
}

fn is_monotone_in_zone(call: &ScalarFunction) -> bool {
    let unit = match call.args.first() {
        Some(Expr::Literal(ScalarValue::Utf8(unit) | ScalarValue::Utf8View(unit), _)) => unit.as_deref(),
        _ => None,
    };
    unit.is_some_and(date_trunc_in_zone::is_monotone)
}
