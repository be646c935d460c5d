//! Arrays of one dimension from `{1,NULL,"a b"}` and from their binary form.

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::ScalarValue;
use sql::{SqlError, SqlState};

use super::super::encode::Format;
use super::binary::{Reader, malformed};
use super::{element_type, parameter};
use crate::session::time_zone::TimeZone;

/// Reads `{…}`.
///
/// # Errors
/// 22P02 for a malformed literal, 0A000 for more than one dimension, and what the elements report.
pub(super) fn parse_text(text: &str, element: &FieldRef, zone: TimeZone) -> Result<ScalarValue, SqlError> {
    let data_type = element_type(element);
    let elements = split(text)?;
    let values = elements.iter().map(|item| {
        let bytes = item.as_ref().map(|text| text.as_bytes());
        parameter(bytes, Format::Text, &data_type, 0, zone)
    });
    Ok(list(&values.collect::<Result<Vec<_>, _>>()?, element))
}

/// Reads ndim, hasnull, element oid, the dimension, and the elements with their lengths.
///
/// # Errors
/// As [`parse_text`], with 22P03 for malformed bytes.
pub(super) fn parse_binary(bytes: &[u8], element: &FieldRef, zone: TimeZone) -> Result<ScalarValue, SqlError> {
    let data_type = element_type(element);
    let mut reader = Reader(bytes);
    let dimensions = reader.i32()?;
    let _has_null = reader.i32()?;
    let oid = reader.u32()?;
    let length = match dimensions {
        0 => 0,
        1 => {
            let length = reader.i32()?;
            let _lower_bound = reader.i32()?;
            length
        }
        2..=6 => return Err(one_dimension()),
        _ => return Err(malformed()),
    };
    let mut values = Vec::new();
    for _ in 0..length {
        let size = reader.i32()?;
        let item = match size {
            -1 => None,
            size => Some(reader.take(usize::try_from(size).map_err(|_| malformed())?)?),
        };
        values.push(parameter(item, Format::Binary, &data_type, oid, zone)?);
    }
    reader.end()?;
    Ok(list(&values, element))
}

fn list(values: &[ScalarValue], element: &FieldRef) -> ScalarValue {
    // A decimal comes with its own scale; the list takes the widest, so that no digit is lost.
    let written = values.iter().filter(|value| !value.is_null()).map(ScalarValue::data_type);
    let widest = written.filter(DataType::is_decimal).max_by_key(|data_type| match data_type {
        DataType::Decimal256(_, scale) => (1, *scale),
        DataType::Decimal128(_, scale) => (0, *scale),
        _ => (0, 0),
    });
    let Some(widest) = widest else {
        return ScalarValue::List(ScalarValue::new_list(values, &element_type(element), true));
    };
    let values: Vec<_> = values.iter().map(|v| v.cast_to(&widest).unwrap_or_else(|_| v.clone())).collect();
    ScalarValue::List(ScalarValue::new_list(&values, &widest, true))
}

/// The elements of a literal; `None` is an unquoted NULL.
fn split(text: &str) -> Result<Vec<Option<String>>, SqlError> {
    let bad = || {
        let message = format!("malformed array literal: \"{}\"", super::shown(text));
        SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, message)
    };
    // Bounds in front, `[1:3]=`, are read past.
    let body = match text.strip_prefix('[') {
        Some(rest) => rest.split_once('=').ok_or_else(bad)?.1,
        None => text,
    };
    let body = body.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or_else(bad)?;
    if body.trim().is_empty() {
        return Ok(Vec::new());
    }
    let mut elements = Vec::new();
    let mut rest = body;
    loop {
        let (element, tail) = take_element(rest.trim_start()).ok_or_else(bad)?;
        if element.as_deref() == Some("{") {
            return Err(one_dimension());
        }
        elements.push(element);
        match tail.trim_start() {
            "" => return Ok(elements),
            tail => rest = tail.strip_prefix(',').ok_or_else(bad)?,
        }
    }
}

/// One element and what follows it; `{` alone tells of a second dimension.
fn take_element(text: &str) -> Option<(Option<String>, &str)> {
    if text.starts_with('{') {
        return Some((Some("{".to_owned()), ""));
    }
    let quoted = text.starts_with('"');
    let mut value = String::new();
    let mut characters = text.char_indices().skip(usize::from(quoted));
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.push(characters.next()?.1),
            '"' if quoted => return Some((Some(value), &text[at + 1..])),
            ',' if !quoted => return bare(&value, &text[at..]),
            '{' | '}' | '"' if !quoted => return None,
            other => value.push(other),
        }
    }
    if quoted { None } else { bare(&value, "") }
}

fn bare<'a>(value: &str, rest: &'a str) -> Option<(Option<String>, &'a str)> {
    let value = value.trim_end();
    if value.is_empty() {
        return None;
    }
    Some(((!value.eq_ignore_ascii_case("null")).then(|| value.to_owned()), rest))
}

fn one_dimension() -> SqlError {
    SqlError::unsupported("parameters that are arrays of more than one dimension are not supported")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_split_with_their_quotes() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(split("{}"), Ok(vec![]));
        assert_eq!(split("{1, 2 ,NULL}"), Ok(vec![some("1"), some("2"), None]));
        assert_eq!(split(r#"{"a,b","NULL","q\"\\"}"#), Ok(vec![some("a,b"), some("NULL"), some("q\"\\")]));
        assert_eq!(split("[0:1]={7,8}"), Ok(vec![some("7"), some("8")]));
        for text in ["", "1,2", "{1,", "{1,}", "{\"a}", "{a\"b}", "{1}}", "{\\"] {
            assert_eq!(split(text).expect_err(text).state, SqlState::INVALID_TEXT_REPRESENTATION, "{text}");
        }
        assert_eq!(split("{{1},{2}}").expect_err("two dimensions").state, SqlState::FEATURE_NOT_SUPPORTED);
    }
}
