//! Windows in time: every spelling ends as the same few plan nodes, so that ad-hoc queries, the batch check and
//! incremental views run the same SQL.
//!
//! ```text
//! tumble   Projection: <input's columns>, date_bin(size, time) AS window_start, date_bin(size, time) + size AS window_end
//!            <input>
//!
//! hop      Projection: <input's columns>, hop_start AS window_start, hop_start + size AS window_end
//!            Unnest: lists[hop_start]
//!              Projection: <input's columns>, hop_starts(time, slide, size) AS hop_start
//!                <input>
//! ```
//!
//! With an offset, `date_bin` has the origin 1970-01-01 plus it as third argument, and `hop_starts` a fourth. Lengths are
//! intervals without months, in nanoseconds; `time` is a Timestamp(µs), cast if it was none. [`tumble_of`] and
//! [`hop_of`] recognise the two expressions.
//!
//! | spelling | read by |
//! |---|---|
//! | `FROM tumble(rel, time, size[, offset])`, `hop(rel, time, slide, size[, offset])` | [`relation`] |
//! | `FROM TABLE(TUMBLE(TABLE rel, DESCRIPTOR(time), size))`, also with `DATA =>`, `TIMECOL =>`, … | [`relation`] |
//! | `GROUP BY tumble(time, size)` with `TUMBLE_START(time, size)`, and so for `hop` | [`group`] |
//! | `GROUP BY window(time, 'size'[, 'slide'])` with `window.start`, `window.end` | [`group`] |
//!
//! In GROUP BY, the FROM clause gets the two columns under names no query can write ([`group::START`]), and the group key
//! is the first of them. A row whose time is NULL falls into the window that starts at NULL.

pub mod call;
pub mod group;
pub mod relation;

use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalMonthDayNano, TimeUnit};
use datafusion::common::{Column, DFSchema, DataFusionError, Result, ScalarValue, UnnestOptions};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, ScalarUDF, cast, lit};

use crate::functions::date_bin::{self, DateBin};
use crate::functions::hop_starts;
use crate::{SqlError, SqlState, types};

/// Name of the function that lists a time's hopping windows.
pub const HOP_STARTS: &str = hop_starts::NAME;
/// Name of the function that finds a time's tumbling window.
pub const DATE_BIN: &str = date_bin::NAME;
/// Column between `hop_starts` and the window's two columns.
pub const HOP_START: &str = "\u{1}hop_start";
/// First column a window adds.
pub const WINDOW_START: &str = "window_start";
/// Second column a window adds.
pub const WINDOW_END: &str = "window_end";
/// Most windows one row may fall into.
pub const WINDOWS_PER_ROW_MAX: i64 = 10_000;
/// Longest window, µs: what nanoseconds in 64 bits can count, rounded down.
const SIZE_MICROS_MAX: i64 = 100 * 366 * 86_400_000_000;

/// A window's shape, µs. The lengths are positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Window {
    /// One window a row: `[offset + n * size, offset + (n + 1) * size)`.
    Tumble {
        /// Length.
        size: i64,
        /// Where windows begin, from 1970-01-01.
        offset: i64,
    },
    /// Windows that overlap, or leave gaps: `[offset + n * slide, offset + n * slide + size)`.
    Hop {
        /// From one start to the next.
        slide: i64,
        /// Length.
        size: i64,
        /// Where windows begin, from 1970-01-01.
        offset: i64,
    },
}

impl Window {
    /// A tumbling window.
    ///
    /// # Errors
    /// 22023 for a size that is not positive or too long.
    pub fn tumble(size: i64, offset: i64) -> Result<Self, SqlError> {
        check_length("size", size)?;
        Ok(Self::Tumble { size, offset: offset.rem_euclid(size) })
    }

    /// A hopping window. A size below the slide leaves gaps.
    ///
    /// # Errors
    /// 22023 for a slide or size that is not positive or too long, 54000 if a row would fall into too many windows.
    pub fn hop(slide: i64, size: i64, offset: i64) -> Result<Self, SqlError> {
        check_length("slide", slide)?;
        check_length("size", size)?;
        if size / slide >= WINDOWS_PER_ROW_MAX {
            return Err(SqlError::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("each row would fall into more than {WINDOWS_PER_ROW_MAX} hopping windows"),
            )
            .hint("Use a longer slide."));
        }
        Ok(Self::Hop { slide, size, offset: offset.rem_euclid(slide) })
    }

    /// Length, µs.
    pub fn size(&self) -> i64 {
        match self {
            Self::Tumble { size, .. } | Self::Hop { size, .. } => *size,
        }
    }
}

fn check_length(what: &str, micros: i64) -> Result<(), SqlError> {
    let error = |message: String| Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    if micros <= 0 {
        return error(format!("window {what} must be positive"));
    }
    if micros > SIZE_MICROS_MAX {
        return error(format!("window {what} must not exceed 100 years"));
    }
    Ok(())
}

/// Adds the window's two columns to `input`, named `start` and `end`, behind its own.
///
/// # Errors
/// 42804 if `time` is no timestamp.
pub fn project(input: LogicalPlan, time: Expr, window: Window, start: &str, end: &str) -> Result<LogicalPlan> {
    let time = as_timestamp(time, &input)?;
    let columns = |plan: &LogicalPlan| -> Vec<Expr> { plan.schema().columns().into_iter().map(Expr::Column).collect() };
    let own = columns(&input);
    let (input, bound) = match window {
        Window::Tumble { size, offset } => {
            let bin = tumble_start(time, size, offset, input.schema())?;
            (input, bin)
        }
        Window::Hop { slide, size, offset } => {
            let mut arguments = vec![time, interval(slide), interval(size)];
            if offset != 0 {
                arguments.push(interval(offset));
            }
            let starts = ScalarFunction::new_udf(hop_starts_function(), arguments);
            let mut with_starts = own.clone();
            with_starts.push(Expr::ScalarFunction(starts).alias(HOP_START));
            let plan = LogicalPlanBuilder::from(input)
                .project(with_starts)?
                .unnest_column_with_options(
                    Column::new_unqualified(HOP_START),
                    UnnestOptions::new().with_preserve_nulls(false),
                )?
                .build()?;
            (plan, Expr::Column(Column::new_unqualified(HOP_START)))
        }
    };
    let mut projected = own;
    projected.push(bound.clone().alias(start));
    projected.push((bound + interval(window.size())).alias(end));
    LogicalPlanBuilder::from(input).project(projected)?.build()
}

fn as_timestamp(time: Expr, input: &LogicalPlan) -> Result<Expr> {
    match time.get_type(input.schema())? {
        DataType::Timestamp(TimeUnit::Microsecond, _) => Ok(time),
        DataType::Timestamp(_, zone) => Ok(cast(time, DataType::Timestamp(TimeUnit::Microsecond, zone))),
        DataType::Date32 => Ok(cast(time, types::timestamp())),
        other => Err(DataFusionError::External(Box::new(SqlError::new(
            SqlState::DATATYPE_MISMATCH,
            format!("a window's time must be timestamp or timestamptz, but is {}", types::display_type(&other)),
        )))),
    }
}

fn hop_starts_function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(hop_starts::HopStarts::default()))
}

/// A length as a literal. Checked lengths and offsets fit.
fn interval(micros: i64) -> Expr {
    lit(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, 0, micros * 1_000))))
}

/// The time and shape of a tumbling window, if `expr` is `date_bin(length, time[, origin])` with constant arguments.
/// Any `date_bin` a user wrote is one as well, once the plan's constants are folded.
pub fn tumble_of(expr: &Expr) -> Option<(&Expr, Window)> {
    let (size, time, offset) = match call(expr, DATE_BIN)? {
        [size, time] => (micros(size)?, time, 0),
        [size, time, Expr::Literal(ScalarValue::TimestampMicrosecond(Some(origin), _), _)] => {
            (micros(size)?, time, *origin)
        }
        _ => return None,
    };
    Some((time, Window::tumble(size, offset).ok()?))
}

/// The time and shape of hopping windows, if `expr` is `hop_starts(time, slide, size[, offset])`.
pub fn hop_of(expr: &Expr) -> Option<(&Expr, Window)> {
    let (time, slide, size, offset) = match call(expr, HOP_STARTS)? {
        [time, slide, size] => (time, slide, size, 0),
        [time, slide, size, offset] => (time, slide, size, micros(offset)?),
        _ => return None,
    };
    Some((time, Window::hop(micros(slide)?, micros(size)?, offset).ok()?))
}

fn call<'e>(expr: &'e Expr, name: &str) -> Option<&'e [Expr]> {
    match expr {
        Expr::Alias(alias) => call(&alias.expr, name),
        Expr::ScalarFunction(function) if function.name() == name => Some(&function.args),
        _ => None,
    }
}

/// A literal's length, µs; `None` if it has months, parts of a µs, or is no interval.
fn micros(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _) if interval.months == 0 => {
            let days = i64::from(interval.days).checked_mul(86_400_000_000)?;
            (interval.nanoseconds % 1_000 == 0).then_some(days.checked_add(interval.nanoseconds / 1_000)?)
        }
        Expr::Literal(ScalarValue::IntervalDayTime(Some(interval)), _) => {
            Some(i64::from(interval.days) * 86_400_000_000 + i64::from(interval.milliseconds) * 1_000)
        }
        _ => None,
    }
}

/// The start of the tumbling window that holds `time`, an expression over `schema`.
///
/// # Errors
/// DataFusion's, if `time` is not one.
pub fn tumble_start(time: Expr, size: i64, offset: i64, schema: &DFSchema) -> Result<Expr> {
    let zone = match time.get_type(schema)? {
        DataType::Timestamp(_, zone) => zone,
        _ => None,
    };
    let mut arguments = vec![interval(size), time];
    if offset != 0 {
        arguments.push(lit(ScalarValue::TimestampMicrosecond(Some(offset), zone)));
    }
    Ok(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(DateBin::default())), arguments)))
}

/// The length that a literal says, µs; `None` if it has months, parts of a µs, or is no interval.
pub fn interval_micros(expr: &Expr) -> Option<i64> {
    micros(expr)
}

/// A length as a literal.
pub fn interval_of(micros: i64) -> Expr {
    interval(micros)
}

#[cfg(test)]
mod tests;
