//! Windows of days by the clocks of a zone.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, LogicalPlan, ScalarUDF, lit};

use super::{
    CUMULATE_END, HOP_START, SIZE_MICROS_MAX, check_length, check_multiple, check_number, last_instant, unnested,
};
use crate::SqlError;
use crate::functions::local_day::{Function, LocalDays};
use crate::functions::timezone::Zone;

/// Windows of whole days in a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LocalWindow {
    /// Whose clocks say when days begin.
    pub zone: Zone,
    /// Which windows.
    pub shape: DayShape,
    /// Distance of starts where windows hop, of ends where they cumulate; else the size. Days.
    pub step: i64,
    /// Length, of the longest where windows cumulate. Days.
    pub size: i64,
    /// Where windows begin, days from the local 1970-01-01.
    pub offset: i64,
}

/// How windows of days lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DayShape {
    /// One after the other.
    Tumble,
    /// From every so many days.
    Hop,
    /// Up to every so many days from one start.
    Cumulate,
}

impl LocalWindow {
    /// Windows of days; `step` is the size again where windows tumble.
    ///
    /// # Errors
    /// As for the same windows without a zone.
    pub fn try_new(zone: Zone, shape: DayShape, step: i64, size: i64, offset: i64) -> Result<Self, SqlError> {
        let micros = |days: i64| days.checked_mul(super::DAY_MICROS).unwrap_or(SIZE_MICROS_MAX + 1);
        let what = if shape == DayShape::Cumulate { "step" } else { "slide" };
        check_length(what, micros(step))?;
        check_length("size", micros(size))?;
        let period = match shape {
            DayShape::Tumble => size,
            DayShape::Hop => {
                check_number("hopping", size, step)?;
                step
            }
            DayShape::Cumulate => {
                check_multiple(size, step)?;
                check_number("cumulating", size, step)?;
                size
            }
        };
        Ok(Self { zone, shape, step, size, offset: offset.rem_euclid(period) })
    }
}

/// `input` with a row for each window, and the window's start and end.
pub(super) fn bounds(input: LogicalPlan, time: Expr, window: LocalWindow) -> Result<(LogicalPlan, Expr, Expr)> {
    let LocalWindow { zone, shape, step, size, offset } = window;
    Ok(match shape {
        DayShape::Tumble => {
            let start = call(Function::Start, time, zone, &[size, offset]);
            let end = call(Function::End, start.clone(), zone, &[size]);
            (input, start, end)
        }
        DayShape::Hop => {
            let starts = call(Function::Starts, time, zone, &[step, size, offset]);
            let (input, start) = unnested(input, starts, HOP_START)?;
            let end = call(Function::End, start.clone(), zone, &[size]);
            (input, start, end)
        }
        DayShape::Cumulate => {
            let ends = call(Function::Ends, time, zone, &[step, size, offset]);
            let (input, end) = unnested(input, ends, CUMULATE_END)?;
            (input, call(Function::Start, last_instant(&end), zone, &[size, offset]), end)
        }
    })
}

fn call(function: Function, time: Expr, zone: Zone, numbers: &[i64]) -> Expr {
    let mut arguments = vec![time, lit(zone.to_string())];
    arguments.extend(numbers.iter().map(|number| lit(*number)));
    let function = Arc::new(ScalarUDF::from(LocalDays::new(function)));
    Expr::ScalarFunction(ScalarFunction::new_udf(function, arguments))
}

/// The function of local days that `function` is, if it is one.
pub(crate) fn function_of(function: &ScalarFunction) -> Option<Function> {
    Function::ALL.into_iter().find(|known| known.name() == function.name())
}

/// Another function of local days over the same zone, of other numbers.
///
/// None unless the arguments are constants but the first.
pub(crate) fn with_numbers(function: &ScalarFunction, to: Function, time: Expr, numbers: &[usize]) -> Option<Expr> {
    let mut arguments = vec![time, function.args.get(1)?.clone()];
    for number in numbers {
        arguments.push(function.args.get(number + 2)?.clone());
    }
    if arguments.iter().skip(1).any(|argument| !matches!(argument, Expr::Literal(..))) {
        return None;
    }
    let udf = Arc::new(ScalarUDF::from(LocalDays::new(to)));
    Some(Expr::ScalarFunction(ScalarFunction::new_udf(udf, arguments)))
}
