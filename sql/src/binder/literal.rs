//! Literals that take the type of what stands beside them.
//!
//! A string in quotes has no type of its own in Postgres: beside a number it is a number, beside a time a time, and it
//! is an error at once if it cannot be read as one. A number with a point or an exponent is numeric, and double precision
//! beside a double: read from its digits, not by dividing, so that it is the nearest double.

use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, IntervalMonthDayNano, IntervalUnit, i256,
};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::Expr;

use crate::error::AboutLiteral;
use crate::functions::bytea;
use crate::interval::Interval;
use crate::{SqlError, SqlState, types};

/// The text of a literal that has no type yet.
pub(crate) fn untyped(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text), _) => {
            text.as_deref()
        }
        _ => None,
    }
}

/// Reads an untyped literal as a value of `data_type`; `None` for a type that literals are left to DataFusion for. A
/// numeric value has the digits it is written with, whatever the type's scale.
///
/// # Errors
/// 22P02, 22003, 22007, 22015, 22023: what cannot be read, as Postgres words it.
pub(crate) fn read(text: &str, data_type: &DataType) -> Option<Result<ScalarValue, SqlError>> {
    use DataType as T;
    Some(match data_type {
        T::Float32 | T::Float64 => float(text, data_type),
        data_type if data_type.is_decimal() => {
            Decimal::parse(text).map_or_else(|| Err(invalid(text, "numeric")), Decimal::value)
        }
        data_type if data_type.is_integer() => integer(text, data_type),
        T::Timestamp(..) | T::Time32(_) | T::Time64(_) => {
            cast(&with_seconds(text.trim()), data_type).map_err(|error| {
                // The text as it was written.
                let message = error.message.replace(&with_seconds(text.trim()), text);
                SqlError { message, ..error }
            })
        }
        T::Boolean | T::Date32 => cast(text, data_type),
        T::Interval(IntervalUnit::MonthDayNano) | T::Duration(_) => interval(text),
        T::Binary | T::LargeBinary | T::BinaryView => bytea::decode(text).map(|bytes| ScalarValue::Binary(Some(bytes))),
        _ => return None,
    })
}

/// Reads an untyped literal that is cast to `data_type`; `None` as for [`read`].
///
/// # Errors
/// As for [`read`].
pub(crate) fn read_cast(text: &str, data_type: &DataType) -> Option<Result<ScalarValue, SqlError>> {
    if data_type.is_decimal() { Some(cast(text, data_type)) } else { read(text, data_type) }
}

/// The double precision value of a literal number.
pub(crate) fn as_double(value: &ScalarValue) -> Option<f64> {
    let (unscaled, scale) = match value {
        ScalarValue::Decimal128(Some(value), _, scale) => (value.to_string(), *scale),
        ScalarValue::Decimal256(Some(value), _, scale) => (value.to_string(), *scale),
        _ => return None,
    };
    format!("{unscaled}e{}", -i32::from(scale)).parse().ok()
}

/// The error about a literal as DataFusion carries it.
pub(crate) fn refusal(error: SqlError, literal: &str) -> DataFusionError {
    DataFusionError::External(Box::new(AboutLiteral { error: Box::new(error), literal: literal.to_string() }))
}

fn invalid(text: &str, sql_type: &str) -> SqlError {
    SqlError::new(
        SqlState::INVALID_TEXT_REPRESENTATION,
        format!("invalid input syntax for type {sql_type}: \"{text}\""),
    )
}

fn out_of_range(message: String) -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message)
}

fn cast(text: &str, data_type: &DataType) -> Result<ScalarValue, SqlError> {
    ScalarValue::Utf8(Some(text.trim().to_string())).cast_to(data_type).map_err(SqlError::from)
}

/// A time of hours and minutes, such as `2026-03-01 10:00`, with the seconds that Arrow asks for.
fn with_seconds(text: &str) -> String {
    match text.split_once(':') {
        Some((before, after)) if after.len() >= 2 && after.is_char_boundary(2) => {
            let (minutes, rest) = after.split_at(2);
            let ends = rest.is_empty() || rest.starts_with(['+', '-', 'Z', 'z', ' ']);
            let seconds = if ends && minutes.bytes().all(|b| b.is_ascii_digit()) { ":00" } else { "" };
            format!("{before}:{minutes}{seconds}{rest}")
        }
        _ => text.to_string(),
    }
}

fn integer(text: &str, data_type: &DataType) -> Result<ScalarValue, SqlError> {
    let sql_type = types::display_type(data_type);
    match text.trim().parse::<i128>() {
        Ok(_) => cast(text, data_type)
            .map_err(|_| out_of_range(format!("value \"{text}\" is out of range for type {sql_type}"))),
        Err(_) => match text.trim().trim_start_matches(['+', '-']).bytes().all(|b| b.is_ascii_digit()) {
            true if !text.trim().is_empty() && text.trim().len() > 38 => {
                Err(out_of_range(format!("value \"{text}\" is out of range for type {sql_type}")))
            }
            _ => Err(invalid(text, &sql_type)),
        },
    }
}

fn float(text: &str, data_type: &DataType) -> Result<ScalarValue, SqlError> {
    let sql_type = types::display_type(data_type);
    let trimmed = text.trim();
    let Ok(value) = trimmed.parse::<f64>() else { return Err(invalid(text, &sql_type)) };
    // Only a text that says so is infinite.
    let has_digits = trimmed.bytes().any(|b| b.is_ascii_digit());
    let single = *data_type == DataType::Float32;
    // Rounded once, from the digits.
    let narrow = trimmed.parse::<f32>().unwrap_or(f32::NAN);
    let infinite = if single { narrow.is_infinite() } else { value.is_infinite() };
    let lost = if single { narrow == 0.0 } else { value == 0.0 };
    let mantissa = trimmed.split(['e', 'E']).next().unwrap_or_default();
    if has_digits && (infinite || (lost && mantissa.bytes().any(|b| matches!(b, b'1'..=b'9')))) {
        return Err(out_of_range(format!("\"{trimmed}\" is out of range for type {sql_type}")));
    }
    Ok(if single { ScalarValue::Float32(Some(narrow)) } else { ScalarValue::Float64(Some(value)) })
}

fn interval(text: &str) -> Result<ScalarValue, SqlError> {
    let Interval { months, days, micros } = Interval::parse(text, None)?;
    let nanos = micros.checked_mul(1000).ok_or_else(|| {
        SqlError::new(SqlState::INTERVAL_FIELD_OVERFLOW, format!("interval field value out of range: \"{text}\""))
    })?;
    Ok(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(months, days, nanos))))
}

/// A number's digits and where its point stands.
#[derive(Debug, PartialEq)]
pub(crate) struct Decimal {
    negative: bool,
    /// Without leading zeros.
    digits: String,
    scale: i64,
}

impl Decimal {
    /// Reads `12`, `-1.5`, `.5e-3`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let scale = i64::try_from(fraction.len()).ok()? - i64::from(exponent);
        Some(Self { negative, digits: digits.trim_start_matches('0').to_string(), scale })
    }

    /// Digits before and behind the point that a numeric of this value has.
    fn precision(&self) -> i64 {
        let digits = i64::try_from(self.digits.len()).unwrap_or(i64::MAX);
        match digits {
            0 => self.scale.clamp(1, i64::from(DECIMAL256_MAX_PRECISION)),
            _ => digits.saturating_sub(self.scale.min(0)).max(self.scale),
        }
    }

    /// True if it is too long or too small for numeric.
    pub fn exceeds_numeric(&self) -> bool {
        self.precision() > i64::from(DECIMAL256_MAX_PRECISION)
    }

    /// The number without an exponent; only for what numeric holds.
    fn plain(&self) -> (String, usize) {
        let zeros = usize::try_from(-self.scale).unwrap_or(0);
        let digits = if self.digits.is_empty() { "0" } else { &self.digits };
        // Zero stays zero however far its point is moved.
        let zeros = if self.digits.is_empty() { 0 } else { zeros };
        let most = i64::from(DECIMAL256_MAX_PRECISION);
        (format!("{digits}{}", "0".repeat(zeros)), usize::try_from(self.scale.clamp(0, most)).unwrap_or(0))
    }

    /// As SQL writes a numeric without exponent: always with a point.
    pub fn to_sql(&self) -> String {
        let (digits, scale) = self.plain();
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        format!("{}{whole}.{fraction}", if self.negative { "-" } else { "" })
    }

    /// The numeric value.
    ///
    /// # Errors
    /// 22003 beyond 76 digits.
    pub fn value(self) -> Result<ScalarValue, SqlError> {
        let overflow = || out_of_range("value overflows numeric format".into());
        if self.exceeds_numeric() {
            return Err(overflow());
        }
        let (digits, scale) = self.plain();
        let signed = if self.negative { format!("-{digits}") } else { digits };
        let precision = u8::try_from(self.precision()).map_err(|_| overflow())?;
        let scale = i8::try_from(scale).map_err(|_| overflow())?;
        if precision <= DECIMAL128_MAX_PRECISION {
            let value = signed.parse().map_err(|_| overflow())?;
            Ok(ScalarValue::Decimal128(Some(value), precision, scale))
        } else {
            let value = i256::from_string(&signed).ok_or_else(overflow)?;
            Ok(ScalarValue::Decimal256(Some(value), precision, scale))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_their_digits() {
        for (text, plain, value) in [
            ("1e15", "1000000000000000.", ScalarValue::Decimal128(Some(1_000_000_000_000_000), 16, 0)),
            ("-1.50", "-1.50", ScalarValue::Decimal128(Some(-150), 3, 2)),
            (".5e-3", "0.0005", ScalarValue::Decimal128(Some(5), 4, 4)),
            ("0", "0.", ScalarValue::Decimal128(Some(0), 1, 0)),
            ("0e400", "0.", ScalarValue::Decimal128(Some(0), 1, 0)),
            ("12.5e1", "125.", ScalarValue::Decimal128(Some(125), 3, 0)),
        ] {
            let decimal = Decimal::parse(text).expect(text);
            assert_eq!((decimal.to_sql().as_str(), decimal.value()), (plain, Ok(value)), "{text}");
        }
        for text in ["", "x", "1e", "1.2.3", "--1", "1 2", "e5", "."] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
        assert!(Decimal::parse("1e308").expect("a number").exceeds_numeric());
        assert!(Decimal::parse("1e-300").expect("a number").exceeds_numeric());
        assert!(!Decimal::parse("1e75").expect("a number").exceeds_numeric());
    }

    #[test]
    fn the_double_is_the_nearest() {
        for text in ["1e15", "0.1", "123456789012345.6789", "9007199254740993.5", "1e-20", "7e22"] {
            let value = Decimal::parse(text).expect(text).value().expect(text);
            assert_eq!(as_double(&value), text.parse().ok(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_as_postgres_tells_it() {
        // From PostgreSQL 15, except that our integers are bigint.
        for (text, data_type, expected) in [
            ("x", DataType::Int64, "22P02: invalid input syntax for type bigint: \"x\""),
            ("", DataType::Int32, "22P02: invalid input syntax for type integer: \"\""),
            ("1.5", DataType::Int64, "22P02: invalid input syntax for type bigint: \"1.5\""),
            ("99999", DataType::Int16, "22003: value \"99999\" is out of range for type smallint"),
            ("1e400", DataType::Float64, "22003: \"1e400\" is out of range for type double precision"),
            ("1e-400", DataType::Float64, "22003: \"1e-400\" is out of range for type double precision"),
            ("1e39", DataType::Float32, "22003: \"1e39\" is out of range for type real"),
            ("one", DataType::Float64, "22P02: invalid input syntax for type double precision: \"one\""),
            ("x", DataType::Decimal128(9, 2), "22P02: invalid input syntax for type numeric: \"x\""),
            ("maybe", DataType::Boolean, "22P02: invalid input syntax for type boolean: \"maybe\""),
            ("2026-13-01", DataType::Date32, "22007: invalid input syntax for type date: \"2026-13-01\""),
            ("soon", types::timestamp(), "22007: invalid input syntax for type timestamp: \"soon\""),
            (
                "1 blink",
                DataType::Interval(IntervalUnit::MonthDayNano),
                "22007: invalid input syntax for type interval: \"1 blink\"",
            ),
        ] {
            let error = read(text, &data_type).expect("a type literals take").expect_err(text);
            assert_eq!(error.to_string(), expected, "{text}");
        }
        for (text, data_type, expected) in [
            (" 7 ", DataType::Int16, ScalarValue::Int16(Some(7))),
            ("t", DataType::Boolean, ScalarValue::Boolean(Some(true))),
            ("-Infinity", DataType::Float64, ScalarValue::Float64(Some(f64::NEG_INFINITY))),
            ("1.567", DataType::Decimal128(9, 2), ScalarValue::Decimal128(Some(1567), 4, 3)),
            ("\\x00ff", DataType::Binary, ScalarValue::Binary(Some(vec![0, 255]))),
        ] {
            assert_eq!(read(text, &data_type), Some(Ok(expected)), "{text}");
        }
        assert_eq!(read("x", &DataType::Utf8View), None);
    }
}
