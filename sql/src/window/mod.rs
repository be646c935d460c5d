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
//!
//! cumulate Projection: <input's columns>, date_bin(size, cumulate_end - 1 µs) AS window_start, cumulate_end AS window_end
//!            Unnest: lists[cumulate_end]
//!              Projection: <input's columns>, cumulate_ends(time, step, size) AS cumulate_end
//!                <input>
//!
//! session  KeyedWindow: <input's columns>, window_start, window_end
//! count      <input>                     (and window_number)
//! ```
//!
//! With an offset, `date_bin` has the origin 1970-01-01 plus it as third argument, and the others a fourth. Lengths are
//! intervals without months, in nanoseconds; `time` is a Timestamp(µs), cast if it was none. [`tumble_of`], [`hop_of`] and
//! [`cumulate_of`] recognise the expressions. Windows in a time zone are the same plans with the functions of
//! [`crate::functions::local_day`], whose lengths are days. Which session or count window a row lies in depends on other rows:
//! [`keyed`] has the node, and what it is in a batch.
//!
//! | spelling | read by |
//! |---|---|
//! | `FROM tumble(rel, time, size[, offset])`, `hop(rel, time, slide, size[, offset])`, `cumulate(rel, time, step, size[, offset])` | [`relation`] |
//! | `FROM session(rel, time, gap, key, …)`, `count_window(rel, time, rows, key, …)` | [`relation`] |
//! | `FROM TABLE(TUMBLE(TABLE rel, DESCRIPTOR(time), size))`, also with `DATA =>`, `TIMECOL =>`, … | [`relation`] |
//! | `GROUP BY tumble(time, size)` with `TUMBLE_START(time, size)`, and so for `hop`, `cumulate`, `session` | [`group`] |
//! | `GROUP BY window(time, 'size'[, 'slide'])` with `window.start`, `window.end`; `session_window(time, 'gap')` | [`group`] |
//!
//! In GROUP BY, the FROM clause gets the two columns under names no query can write ([`group::START`]), and the group key
//! is the first of them, or both. A row whose time is NULL falls into the window that starts at NULL.

pub mod call;
pub mod group;
pub mod keyed;
pub(crate) mod local;
pub mod relation;

use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalMonthDayNano, TimeUnit};
use datafusion::common::{Column, DFSchema, DataFusionError, Result, ScalarValue, UnnestOptions};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, ScalarUDF, cast, lit,
};

use self::keyed::{KeyedWindow, Shape};
pub use self::local::{DayShape, LocalWindow};
use crate::functions::date_bin::{self, DateBin};
use crate::functions::{cumulate_ends, hop_starts};
use crate::{SqlError, SqlState, types};

/// Name of the function that lists a time's hopping windows.
pub const HOP_STARTS: &str = hop_starts::NAME;
/// Name of the function that lists the ends of a time's cumulating windows.
pub const CUMULATE_ENDS: &str = cumulate_ends::NAME;
/// Name of the function that finds a time's tumbling window.
pub const DATE_BIN: &str = date_bin::NAME;
/// Column between `hop_starts` and the window's two columns.
pub const HOP_START: &str = "\u{1}hop_start";
/// Column between `cumulate_ends` and the window's two columns.
pub const CUMULATE_END: &str = "\u{1}cumulate_end";
/// First column a window adds.
pub const WINDOW_START: &str = "window_start";
/// Second column a window adds.
pub const WINDOW_END: &str = "window_end";
/// Third column a count window adds.
pub const WINDOW_NUMBER: &str = "window_number";
/// Most windows one row may fall into.
pub const WINDOWS_PER_ROW_MAX: i64 = 10_000;
/// µs in a day.
const DAY_MICROS: i64 = 86_400_000_000;
/// Longest window, µs: what nanoseconds in 64 bits can count, rounded down.
const SIZE_MICROS_MAX: i64 = 100 * 366 * DAY_MICROS;

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
    /// Windows of one start that end step by step: `[offset + n * size, offset + n * size + m * step)`.
    Cumulate {
        /// From one end to the next.
        step: i64,
        /// Length of the longest, a multiple of the step.
        size: i64,
        /// Where windows begin, from 1970-01-01.
        offset: i64,
    },
    /// One of these, of days by the clocks of a zone.
    Local(LocalWindow),
    /// Runs of rows of a key that follow each other by up to the gap.
    Session {
        /// How far apart two rows that follow each other may be.
        gap: i64,
    },
    /// So many rows of a key, one after the other.
    Count {
        /// How many.
        rows: i64,
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
        check_number("hopping", size, slide)?;
        Ok(Self::Hop { slide, size, offset: offset.rem_euclid(slide) })
    }

    /// Cumulating windows.
    ///
    /// # Errors
    /// 22023 for a step or size that is not positive or too long, or a size that is no multiple of the step; 54000 if a row
    /// would fall into too many windows.
    pub fn cumulate(step: i64, size: i64, offset: i64) -> Result<Self, SqlError> {
        check_length("step", step)?;
        check_length("size", size)?;
        check_multiple(size, step)?;
        check_number("cumulating", size, step)?;
        Ok(Self::Cumulate { step, size, offset: offset.rem_euclid(size) })
    }

    /// A session.
    ///
    /// # Errors
    /// 22023 for a gap that is not positive or too long.
    pub fn session(gap: i64) -> Result<Self, SqlError> {
        check_length("gap", gap)?;
        Ok(Self::Session { gap })
    }

    /// A window of so many rows.
    ///
    /// # Errors
    /// 22023 for less than one.
    pub fn count(rows: i64) -> Result<Self, SqlError> {
        if rows < 1 {
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "a count window needs at least one row"));
        }
        Ok(Self::Count { rows })
    }

    /// How long every window is, µs; `None` where that differs.
    pub fn size(&self) -> Option<i64> {
        match self {
            Self::Tumble { size, .. } | Self::Hop { size, .. } => Some(*size),
            _ => None,
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

fn check_multiple(size: i64, step: i64) -> Result<(), SqlError> {
    if size % step == 0 {
        return Ok(());
    }
    let message = "the size of cumulating windows must be a multiple of the step";
    Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message))
}

fn check_number(what: &str, size: i64, step: i64) -> Result<(), SqlError> {
    if size / step < WINDOWS_PER_ROW_MAX {
        return Ok(());
    }
    let message = format!("each row would fall into more than {WINDOWS_PER_ROW_MAX} {what} windows");
    let hint = if what == "hopping" { "Use a longer slide." } else { "Use a longer step." };
    Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message).hint(hint))
}

/// What a window's columns are called.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    /// The start.
    pub start: &'static str,
    /// The end.
    pub end: &'static str,
}

/// Adds the window's columns to `input`, the first two named by `names`, behind its own. `keys` are those of windows that
/// have some.
///
/// # Errors
/// 42804 if `time` is no timestamp.
pub fn project(input: LogicalPlan, time: Expr, keys: Vec<Expr>, window: Window, names: Names) -> Result<LogicalPlan> {
    let time = as_timestamp(time, &input)?;
    let own = columns(&input);
    let (input, start, end) = match window {
        Window::Tumble { size, offset } => {
            let start = tumble_start(time, size, offset, input.schema())?;
            (input, start.clone(), start + interval(size))
        }
        Window::Hop { slide, size, offset } => {
            let starts = with_offset(vec![time, interval(slide), interval(size)], offset);
            let starts = Expr::ScalarFunction(ScalarFunction::new_udf(hop_starts_function(), starts));
            let (input, start) = unnested(input, starts, HOP_START)?;
            (input, start.clone(), start + interval(size))
        }
        Window::Cumulate { step, size, offset } => {
            let ends = with_offset(vec![time, interval(step), interval(size)], offset);
            let ends = Expr::ScalarFunction(ScalarFunction::new_udf(cumulate_ends_function(), ends));
            let (input, end) = unnested(input, ends, CUMULATE_END)?;
            let start = tumble_start(last_instant(&end), size, offset, input.schema())?;
            (input, start, end)
        }
        Window::Local(window) => local::bounds(input, time, window)?,
        Window::Session { gap } => return KeyedWindow::plan(input, time, keys, Shape::Session { gap }, names),
        Window::Count { rows } => return KeyedWindow::plan(input, time, keys, Shape::Count { rows }, names),
    };
    let mut projected = own;
    projected.push(start.alias(names.start));
    projected.push(end.alias(names.end));
    LogicalPlanBuilder::from(input).project(projected)?.build()
}

fn columns(plan: &LogicalPlan) -> Vec<Expr> {
    plan.schema().columns().into_iter().map(Expr::Column).collect()
}

fn with_offset(mut arguments: Vec<Expr>, offset: i64) -> Vec<Expr> {
    if offset != 0 {
        arguments.push(interval(offset));
    }
    arguments
}

/// `input` with a row for each element of the list `values`, and the column of the elements.
fn unnested(input: LogicalPlan, values: Expr, name: &str) -> Result<(LogicalPlan, Expr)> {
    let mut with_values = columns(&input);
    with_values.push(values.alias(name));
    let column = Column::new_unqualified(name);
    let options = UnnestOptions::new().with_preserve_nulls(false);
    let plan = LogicalPlanBuilder::from(input)
        .project(with_values)?
        .unnest_column_with_options(column.clone(), options)?
        .build()?;
    Ok((plan, Expr::Column(column)))
}

/// The last instant before the end of a window.
fn last_instant(end: &Expr) -> Expr {
    end.clone() - interval(1)
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

fn cumulate_ends_function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(cumulate_ends::CumulateEnds::default()))
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

/// The time and shape of cumulating windows, if `expr` is `cumulate_ends(time, step, size[, offset])`.
pub fn cumulate_of(expr: &Expr) -> Option<(&Expr, Window)> {
    let (time, step, size, offset) = match call(expr, CUMULATE_ENDS)? {
        [time, step, size] => (time, step, size, 0),
        [time, step, size, offset] => (time, step, size, micros(offset)?),
        _ => return None,
    };
    Some((time, Window::cumulate(micros(step)?, micros(size)?, offset).ok()?))
}

/// The end of which `expr` is the last instant before.
pub fn end_of_last_instant(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right }) if micros(right) == Some(1) => Some(left),
        _ => None,
    }
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
            let days = i64::from(interval.days).checked_mul(DAY_MICROS)?;
            (interval.nanoseconds % 1_000 == 0).then_some(days.checked_add(interval.nanoseconds / 1_000)?)
        }
        Expr::Literal(ScalarValue::IntervalDayTime(Some(interval)), _) => {
            Some(i64::from(interval.days) * DAY_MICROS + i64::from(interval.milliseconds) * 1_000)
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
