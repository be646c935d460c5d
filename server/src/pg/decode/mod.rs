//! Parameters of a Bind to scalar values: text and binary, for every type a column can have.
//!
//! The type is the one the client declared or the planner inferred; whole numbers are accepted in any width that
//! their value fits. A numeric keeps the scale it was written with.

mod array;
mod binary;
mod datetime;
mod interval;
mod numeric;
mod text;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use datafusion::common::ScalarValue;
use sql::{SqlError, SqlState};

use super::encode::Format;
use super::wire_type::WireType;
use crate::session::time_zone::TimeZone;

pub(crate) use text::parse_uuid;

/// Reads one parameter.
///
/// `oid` is the client's, or 0 where the type was inferred; `None` bytes are NULL; `zone` is where a timestamptz
/// without an offset is.
///
/// # Errors
/// 22P02, 22007, 22008, 22003, 22021 for a text that is no such value; 22P03 for a binary form that is none.
pub(crate) fn parameter(
    bytes: Option<&[u8]>,
    format: Format,
    data_type: &DataType,
    oid: u32,
    zone: TimeZone,
) -> Result<ScalarValue, SqlError> {
    // A type nobody could tell is text, as `unknown` is in Postgres.
    let data_type = if data_type == &DataType::Null { &DataType::Utf8 } else { data_type };
    let Some(bytes) = bytes else {
        return ScalarValue::try_from(data_type).map_err(|_| no_parameter(data_type));
    };
    let oid = if oid == 0 { WireType::of_data_type(data_type).oid } else { oid };
    if let (DataType::FixedSizeBinary(size @ 16), Format::Text) = (data_type, format)
        && let Some(uuid) = parse_uuid(utf8(bytes)?.trim())
    {
        return Ok(ScalarValue::FixedSizeBinary(*size, Some(uuid.to_vec())));
    }
    let canonical = canonical(data_type);
    let value = match format {
        Format::Text => text::parse(utf8(bytes)?, &canonical, zone)?,
        Format::Binary => binary::parse(bytes, &canonical, oid, zone)?,
    };
    fit(value, data_type)
}

/// The one type of a family that is parsed; the value is then cast to the type asked for.
fn canonical(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Null | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Interval(_) | DataType::Duration(_) => DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::Float16 => DataType::Float32,
        DataType::LargeList(element)
        | DataType::FixedSizeList(element, _)
        | DataType::ListView(element)
        | DataType::LargeListView(element) => DataType::List(element.clone()),
        DataType::Dictionary(_, value) => canonical(value),
        DataType::RunEndEncoded(_, values) => canonical(values.data_type()),
        other => other.clone(),
    }
}

/// Casts a parsed value to the type asked for, save decimals: theirs is the scale they were written with.
fn fit(value: ScalarValue, data_type: &DataType) -> Result<ScalarValue, SqlError> {
    let found = value.data_type();
    let of_decimals = matches!(data_type, DataType::List(element) if element.data_type().is_decimal());
    if &found == data_type || data_type.is_decimal() || of_decimals {
        return Ok(value);
    }
    if let (DataType::FixedSizeBinary(size), ScalarValue::Binary(Some(bytes))) = (data_type, &value) {
        if usize::try_from(*size) != Ok(bytes.len()) {
            let message = format!("a value of {} bytes where {size} are due", bytes.len());
            return Err(SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, message));
        }
        return Ok(ScalarValue::FixedSizeBinary(*size, Some(bytes.clone())));
    }
    if let DataType::Duration(_) = data_type {
        return duration(&value, data_type);
    }
    value.cast_to(data_type).map_err(|error| {
        SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, error.strip_backtrace().lines().next().unwrap_or_default())
    })
}

/// An interval without months or days is a length of time.
fn duration(value: &ScalarValue, data_type: &DataType) -> Result<ScalarValue, SqlError> {
    match value {
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 => {
            let nanoseconds = i64::from(interval.days)
                .checked_mul(86_400_000_000_000)
                .and_then(|days| days.checked_add(interval.nanoseconds))
                .ok_or_else(|| SqlError::new(SqlState("22008"), "interval out of range"))?;
            let nanoseconds = ScalarValue::DurationNanosecond(Some(nanoseconds));
            nanoseconds.cast_to(data_type).map_err(|_| no_parameter(data_type))
        }
        _ => Err(SqlError::new(SqlState("22008"), "an interval with months is no fixed length of time")),
    }
}

/// Text of the wire: UTF-8 without NUL.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, SqlError> {
    let refuse = |bad: &[u8]| {
        let shown: Vec<String> = bad.iter().take(4).map(|byte| format!("0x{byte:02x}")).collect();
        SqlError::new(SqlState("22021"), format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" ")))
    };
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let bad = &bytes[error.valid_up_to()..];
        refuse(&bad[..error.error_len().unwrap_or(bad.len()).min(bad.len())])
    })?;
    if bytes.contains(&0) { Err(refuse(&[0])) } else { Ok(text) }
}

/// The SQL name of a type, as error messages write it.
fn type_name(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Boolean => "boolean",
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint",
        DataType::Int32 | DataType::UInt16 => "integer",
        DataType::Int64 => "bigint",
        DataType::UInt32 => "oid",
        DataType::Float16 | DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        data_type if data_type.is_decimal() || data_type == &DataType::UInt64 => "numeric",
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone",
        DataType::Interval(_) | DataType::Duration(_) => "interval",
        DataType::Binary => "bytea",
        _ => "text",
    }
}

fn bad_syntax(data_type: &DataType, text: &str) -> SqlError {
    let state = match data_type {
        DataType::Date32 | DataType::Time64(_) | DataType::Timestamp(..) | DataType::Interval(_) => SqlState("22007"),
        _ => SqlState::INVALID_TEXT_REPRESENTATION,
    };
    let name = type_name(data_type);
    SqlError::new(state, format!("invalid input syntax for type {name}: \"{}\"", shown(text)))
}

fn out_of_range(data_type: &DataType, text: &str) -> SqlError {
    let name = type_name(data_type);
    let message = format!("value \"{}\" is out of range for type {name}", shown(text));
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message)
}

/// At most a line of a bad value goes into the message.
fn shown(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn no_parameter(data_type: &DataType) -> SqlError {
    SqlError::unsupported(format!("a parameter cannot be of type {data_type}"))
}

/// The element type of a list.
fn element_type(field: &Field) -> DataType {
    field.data_type().clone()
}
