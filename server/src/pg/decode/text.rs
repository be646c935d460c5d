//! Texts to scalar values, as PostgreSQL's input functions read them.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use sql::{SqlError, SqlState};

use super::{array, bad_syntax, datetime, interval, no_parameter, numeric, out_of_range};
use crate::session::time_zone::TimeZone;

/// Reads a text as a value of a canonical type.
pub(super) fn parse(text: &str, data_type: &DataType, zone: TimeZone) -> Result<ScalarValue, SqlError> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace());
    let bad = || bad_syntax(data_type, text);
    Ok(match data_type {
        DataType::Boolean => ScalarValue::Boolean(Some(boolean(trimmed).ok_or_else(bad)?)),
        data_type if data_type.is_integer() => integer(whole(trimmed, data_type)?, data_type)?,
        DataType::Float32 => {
            let value = trimmed.parse::<f32>().map_err(|_| bad())?;
            ScalarValue::Float32(Some(finite(value, value.is_finite(), trimmed, data_type)?))
        }
        DataType::Float64 => {
            let value = trimmed.parse::<f64>().map_err(|_| bad())?;
            ScalarValue::Float64(Some(finite(value, value.is_finite(), trimmed, data_type)?))
        }
        data_type if data_type.is_decimal() => numeric::parse_text(trimmed, data_type)?,
        DataType::Utf8 => ScalarValue::Utf8(Some(text.to_owned())),
        DataType::Binary => ScalarValue::Binary(Some(sql::functions::bytea::decode(text)?)),
        DataType::Date32 => ScalarValue::Date32(Some(datetime::date(trimmed)?)),
        DataType::Time64(_) => ScalarValue::Time64Microsecond(Some(datetime::time(trimmed)?)),
        DataType::Timestamp(_, None) => ScalarValue::TimestampMicrosecond(Some(datetime::timestamp(trimmed)?), None),
        DataType::Timestamp(_, Some(name)) => {
            let micros = datetime::timestamptz(trimmed, zone)?;
            ScalarValue::TimestampMicrosecond(Some(micros), Some(name.clone()))
        }
        DataType::Interval(_) => ScalarValue::IntervalMonthDayNano(Some(interval::parse(trimmed)?)),
        DataType::List(element) => array::parse_text(trimmed, element, zone)?,
        data_type => return Err(no_parameter(data_type)),
    })
}

/// Any unique prefix of true, false, yes, no; on, off, 1, 0.
fn boolean(text: &str) -> Option<bool> {
    let text = text.to_ascii_lowercase();
    let is_prefix = |word: &str| !text.is_empty() && word.starts_with(&text);
    match text.as_str() {
        "1" | "on" => Some(true),
        "0" | "of" | "off" => Some(false),
        _ if is_prefix("true") || is_prefix("yes") => Some(true),
        _ if is_prefix("false") || is_prefix("no") => Some(false),
        _ => None,
    }
}

fn whole(text: &str, data_type: &DataType) -> Result<i128, SqlError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad_syntax(data_type, text));
    }
    text.parse().map_err(|_| out_of_range(data_type, text))
}

/// A whole number as the integer type asked for.
///
/// # Errors
/// 22003 if it does not fit.
pub(super) fn integer(value: i128, data_type: &DataType) -> Result<ScalarValue, SqlError> {
    let refuse = || out_of_range(data_type, &value.to_string());
    Ok(match data_type {
        DataType::Int8 => ScalarValue::Int8(Some(value.try_into().map_err(|_| refuse())?)),
        DataType::Int16 => ScalarValue::Int16(Some(value.try_into().map_err(|_| refuse())?)),
        DataType::Int32 => ScalarValue::Int32(Some(value.try_into().map_err(|_| refuse())?)),
        DataType::Int64 => ScalarValue::Int64(Some(value.try_into().map_err(|_| refuse())?)),
        DataType::UInt8 => ScalarValue::UInt8(Some(value.try_into().map_err(|_| refuse())?)),
        DataType::UInt16 => ScalarValue::UInt16(Some(value.try_into().map_err(|_| refuse())?)),
        DataType::UInt32 => ScalarValue::UInt32(Some(value.try_into().map_err(|_| refuse())?)),
        DataType::UInt64 => ScalarValue::UInt64(Some(value.try_into().map_err(|_| refuse())?)),
        data_type => return Err(no_parameter(data_type)),
    })
}

/// Only a text that says so is infinite; `1e400` is out of range.
fn finite<T>(value: T, is_finite: bool, text: &str, data_type: &DataType) -> Result<T, SqlError> {
    let says_so = text.bytes().any(|b| matches!(b, b'i' | b'I' | b'n' | b'N'));
    if is_finite || says_so { Ok(value) } else { Err(out_of_range(data_type, text)) }
}

fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let pairs = digits.chunks(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// The sixteen bytes of a uuid: hexadecimal digits with hyphens after any group of four, braces allowed.
pub(crate) fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let inner = text.strip_prefix('{').map_or(Some(text), |rest| rest.strip_suffix('}'))?;
    let mut digits = Vec::with_capacity(32);
    for (index, byte) in inner.bytes().enumerate() {
        match byte {
            b'-' if index > 0 && digits.len() % 4 == 0 => {}
            byte if byte.is_ascii_hexdigit() => digits.push(byte),
            _ => return None,
        }
    }
    from_hex(&digits)?.try_into().ok()
}

/// The text of a uuid's sixteen bytes.
pub(super) fn uuid_text(bytes: &[u8]) -> Result<String, SqlError> {
    let bytes: [u8; 16] =
        bytes.try_into().map_err(|_| SqlError::new(SqlState("22P03"), "incorrect binary data format"))?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(text: &str, data_type: &DataType) -> &'static str {
        parse(text, data_type, TimeZone::UTC).expect_err("refused").state.0
    }

    #[test]
    fn numbers_out_of_range_are_told_from_words() {
        assert_eq!(state("abc", &DataType::Int32), "22P02");
        assert_eq!(state("", &DataType::Int32), "22P02");
        assert_eq!(state("2147483648", &DataType::Int32), "22003");
        assert_eq!(state("99999999999999999999999999999999999999999", &DataType::Int64), "22003");
        assert_eq!(state("1e400", &DataType::Float64), "22003");
        assert_eq!(parse(" -7 ", &DataType::Int16, TimeZone::UTC), Ok(ScalarValue::Int16(Some(-7))));
        assert_eq!(parse("-infinity", &DataType::Float64, TimeZone::UTC), Ok(ScalarValue::from(f64::NEG_INFINITY)));
    }

    #[test]
    fn uuids_may_be_braced_and_hyphenated_anywhere() {
        let plain = parse_uuid("a0eebc999c0b4ef8bb6d6bb9bd380a11").expect("a uuid");
        assert_eq!(parse_uuid("{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}"), Some(plain));
        assert_eq!(uuid_text(&plain).expect("16 bytes"), "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11");
        assert_eq!(parse_uuid("a0eebc99"), None);
    }
}
