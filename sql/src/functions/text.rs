//! `text(value)`: a value written as Postgres writes it, which is what a cast to text means.
//!
//! Arrow writes `1970-01-01T00:00:00Z`, `1.0` and `inf`; Postgres writes `1970-01-01 00:00:00+00`, `1` and `Infinity`.
//! For every other type the call becomes Arrow's cast when the plan is simplified.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, DurationMicrosecondType, Float32Type, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    IntervalUnit, TimeUnit, TimestampMicrosecondType,
};
use chrono::{DateTime, Datelike};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility, cast as cast_expr,
};

use super::interval::{LENGTH, from_length};

/// The function's name.
pub const NAME: &str = "text";

/// See the module.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Text {
    signature: Signature,
}

impl Default for Text {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Text {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [
                DataType::List(_)
                | DataType::LargeList(_)
                | DataType::FixedSizeList(..)
                | DataType::Struct(_)
                | DataType::Map(..),
            ] => {
                plan_err!("Unsupported CAST from {} to Utf8View", arguments[0])
            }
            _ => Ok(DataType::Utf8View),
        }
    }

    fn simplify(&self, mut arguments: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        match arguments.as_slice() {
            [argument] if !is_special(&info.get_data_type(argument)?) => {
                let argument = arguments.remove(0);
                Ok(ExprSimplifyResult::Simplified(cast_expr(argument, DataType::Utf8View)))
            }
            _ => Ok(ExprSimplifyResult::Original(arguments)),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = args.args.as_slice() else {
            return exec_err!("{NAME} takes one value");
        };
        Ok(ColumnarValue::Array(written(&value.to_array(args.number_rows)?)?))
    }
}

/// Values as text; what Arrow writes as Postgres does may keep another type of text.
pub(super) fn written(values: &ArrayRef) -> Result<ArrayRef> {
    Ok(match values.data_type() {
        DataType::Float64 => write_all(values.as_primitive::<Float64Type>(), |text, v| float(text, v, 15)),
        DataType::Float32 => write_all(values.as_primitive::<Float32Type>(), float32),
        DataType::Timestamp(_, zone) => {
            let zone = zone.clone();
            let micros = cast(values, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
            write_all(micros.as_primitive::<TimestampMicrosecondType>(), |text, v| timestamp(text, v, zone.is_some()))
        }
        DataType::Duration(_) => {
            let lengths = cast(values, &LENGTH)?;
            write_all(lengths.as_primitive::<DurationMicrosecondType>(), |text, v| interval(text, from_length(v)))
        }
        DataType::Interval(_) => {
            let intervals = cast(values, &DataType::Interval(IntervalUnit::MonthDayNano))?;
            write_all(intervals.as_primitive::<IntervalMonthDayNanoType>(), interval)
        }
        of if of.is_binary() => hexadecimal(values)?,
        _ => cast(values, &DataType::Utf8View)?,
    })
}

fn is_special(data_type: &DataType) -> bool {
    use DataType as T;
    data_type.is_binary()
        || matches!(data_type, T::Float32 | T::Float64 | T::Timestamp(..) | T::Interval(_) | T::Duration(_))
}

/// `\x00ff`.
fn hexadecimal(values: &ArrayRef) -> Result<ArrayRef> {
    let bytes = cast(values, &DataType::Binary)?;
    let mut builder = StringViewBuilder::with_capacity(values.len());
    for value in bytes.as_binary::<i32>() {
        builder.append_option(value.map(|value| {
            value.iter().fold(String::from("\\x"), |mut text, byte| {
                // Writing to a String cannot fail.
                let _ = write!(text, "{byte:02x}");
                text
            })
        }));
    }
    Ok(Arc::new(builder.finish()))
}

fn write_all<T: arrow::datatypes::ArrowPrimitiveType>(
    values: &arrow::array::PrimitiveArray<T>,
    mut write: impl FnMut(&mut String, T::Native),
) -> ArrayRef {
    let mut builder = StringViewBuilder::with_capacity(values.len());
    let mut text = String::new();
    for value in values {
        match value {
            Some(value) => {
                text.clear();
                write(&mut text, value);
                builder.append_value(&text);
            }
            None => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}

/// The shortest digits that read back as `value`; with an exponent below -4 or from `digits` on.
fn float(text: &mut String, value: f64, digits: i32) {
    if value.is_nan() {
        text.push_str("NaN");
    } else if value.is_infinite() {
        text.push_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
    } else {
        finite(text, &format!("{value:e}"), &value.to_string(), digits);
    }
}

fn float32(text: &mut String, value: f32) {
    if value.is_finite() {
        finite(text, &format!("{value:e}"), &value.to_string(), 6);
    } else {
        float(text, f64::from(value), 6);
    }
}

/// `scientific` is Rust's `1.5e20`, `plain` its `150000000000000000000`.
fn finite(text: &mut String, scientific: &str, plain: &str, digits: i32) {
    match scientific.split_once('e').and_then(|(mantissa, e)| Some((mantissa, e.parse::<i32>().ok()?))) {
        Some((mantissa, exponent)) if !(-4..digits).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            // Writing to a String cannot fail.
            let _ = write!(text, "{mantissa}e{sign}{:02}", exponent.abs());
        }
        _ => text.push_str(plain),
    }
}

/// `2026-01-31 12:00:00.5`, with `+00` behind it if it has a zone.
fn timestamp(text: &mut String, micros: i64, has_zone: bool) {
    let Some(time) = DateTime::from_timestamp_micros(micros) else {
        // Beyond the years chrono knows.
        text.push_str(if micros > 0 { "infinity" } else { "-infinity" });
        return;
    };
    let (year, before_christ) = if time.year() > 0 { (time.year(), false) } else { (1 - time.year(), true) };
    let _ = write!(text, "{year:04}-{}", time.format("%m-%d %H:%M:%S"));
    let fraction = time.timestamp_subsec_micros();
    if fraction != 0 {
        let digits = format!("{fraction:06}");
        let _ = write!(text, ".{}", digits.trim_end_matches('0'));
    }
    if has_zone {
        text.push_str("+00");
    }
    if before_christ {
        text.push_str(" BC");
    }
}

/// `1 year 2 mons -3 days +04:05:06.5`: a sign where it differs from the part before, as IntervalStyle postgres has it.
fn interval(text: &mut String, value: IntervalMonthDayNano) {
    let mut negative = false;
    for (value, unit) in [(value.months / 12, "year"), (value.months % 12, "mon"), (value.days, "day")] {
        if value != 0 {
            let space = if text.is_empty() { "" } else { " " };
            let sign = if negative && value > 0 { "+" } else { "" };
            let plural = if value == 1 { "" } else { "s" };
            let _ = write!(text, "{space}{sign}{value} {unit}{plural}");
            negative = value < 0;
        }
    }
    let micros = value.nanoseconds / 1000;
    if micros == 0 && !text.is_empty() {
        return;
    }
    let space = if text.is_empty() { "" } else { " " };
    let sign = match micros < 0 {
        true => "-",
        false if negative => "+",
        false => "",
    };
    let (seconds, fraction) = (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
    let _ = write!(text, "{space}{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction != 0 {
        let digits = format!("{fraction:06}");
        let _ = write!(text, ".{}", digits.trim_end_matches('0'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut String)) -> String {
        let mut text = String::new();
        write(&mut text);
        text
    }

    #[test]
    fn floats_read_as_in_postgres() {
        // From PostgreSQL 15: SELECT x::float8::text.
        for (value, expected) in [
            (1.0, "1"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (1.5e14, "150000000000000"),
            (1e15, "1e+15"),
            (1.25e20, "1.25e+20"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e-300, "1e-300"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(written(|text| float(text, value, 15)), expected);
        }
        for (value, expected) in [(1.5_f32, "1.5"), (123_456.0, "123456"), (1_234_567.0, "1.234567e+06"), (0.1, "0.1")]
        {
            assert_eq!(written(|text| float32(text, value)), expected);
        }
    }

    #[test]
    fn intervals_read_as_in_postgres() {
        const HOUR: i64 = 3_600_000_000_000;
        for (months, days, nanos, expected) in [
            (0, 0, 0, "00:00:00"),
            (14, 3, 4 * HOUR + 1_500_000_000, "1 year 2 mons 3 days 04:00:01.5"),
            (-1, 1, 0, "-1 mons +1 day"),
            (0, -1, 2 * HOUR, "-1 days +02:00:00"),
            (0, -1, -2 * HOUR, "-1 days -02:00:00"),
            (0, 0, 100 * HOUR, "100:00:00"),
        ] {
            assert_eq!(written(|text| interval(text, IntervalMonthDayNano::new(months, days, nanos))), expected);
        }
    }

    #[test]
    fn times_read_as_in_postgres() {
        for (micros, zone, expected) in [
            (0, false, "1970-01-01 00:00:00"),
            (0, true, "1970-01-01 00:00:00+00"),
            (1_500_000, false, "1970-01-01 00:00:01.5"),
            (-1, false, "1969-12-31 23:59:59.999999"),
            (-62_135_596_800_000_001, false, "0001-12-31 23:59:59.999999 BC"),
            (253_402_300_800_000_000, false, "10000-01-01 00:00:00"),
            (i64::MAX, false, "infinity"),
        ] {
            assert_eq!(written(|text| timestamp(text, micros, zone)), expected, "{micros}");
        }
    }
}
