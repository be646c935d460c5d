//! The binary forms of values, as PostgreSQL's receive functions read them.

use arrow::datatypes::{DataType, IntervalMonthDayNano};
use datafusion::common::ScalarValue;
use sql::{SqlError, SqlState};

use super::super::datetime::{EPOCH_DAYS, EPOCH_MICROS};
use super::{array, no_parameter, numeric, text, utf8};
use crate::session::time_zone::TimeZone;

/// A value's bytes, read from the front.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], SqlError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SqlError> {
        Ok(self.take(N)?.try_into().expect("as many bytes as were taken"))
    }

    pub(super) fn u16(&mut self) -> Result<u16, SqlError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn i16(&mut self) -> Result<i16, SqlError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, SqlError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, SqlError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64, SqlError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// Every byte must have been read.
    pub(super) fn end(self) -> Result<(), SqlError> {
        if self.0.is_empty() { Ok(()) } else { Err(malformed()) }
    }
}

pub(super) fn malformed() -> SqlError {
    SqlError::new(SqlState("22P03"), "incorrect binary data format in bind parameter")
}

/// Reads the binary form of a value of a canonical type; `oid` tells apart what Arrow holds alike.
pub(super) fn parse(bytes: &[u8], data_type: &DataType, oid: u32, zone: TimeZone) -> Result<ScalarValue, SqlError> {
    let mut reader = Reader(bytes);
    let value = match data_type {
        DataType::Boolean => match reader.take(1)? {
            [0] => ScalarValue::Boolean(Some(false)),
            _ => ScalarValue::Boolean(Some(true)),
        },
        data_type if data_type.is_integer() => text::integer(whole(&mut reader, data_type)?, data_type)?,
        DataType::Float32 | DataType::Float64 => return float(bytes, data_type),
        data_type if data_type.is_decimal() => return numeric::parse_binary(bytes),
        DataType::Utf8 => return textual(bytes, oid),
        DataType::Binary => ScalarValue::Binary(Some(reader.take(bytes.len())?.to_vec())),
        DataType::Date32 => ScalarValue::Date32(Some(match reader.i32()? {
            infinity @ (i32::MIN | i32::MAX) => infinity,
            days => days.checked_add(EPOCH_DAYS).ok_or_else(|| range("date"))?,
        })),
        DataType::Time64(_) => {
            let micros = reader.i64()?;
            if !(0..=86_400_000_000).contains(&micros) {
                return Err(range("time"));
            }
            ScalarValue::Time64Microsecond(Some(micros))
        }
        DataType::Timestamp(_, name) => {
            let micros = match reader.i64()? {
                infinity @ (i64::MIN | i64::MAX) => infinity,
                micros => micros.checked_add(EPOCH_MICROS).ok_or_else(|| range("timestamp"))?,
            };
            ScalarValue::TimestampMicrosecond(Some(micros), name.clone())
        }
        DataType::Interval(_) => {
            let (micros, days, months) = (reader.i64()?, reader.i32()?, reader.i32()?);
            let nanoseconds = micros.checked_mul(1000).ok_or_else(|| range("interval"))?;
            ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(months, days, nanoseconds)))
        }
        DataType::List(element) => return array::parse_binary(bytes, element, zone),
        data_type => return Err(no_parameter(data_type)),
    };
    reader.end()?;
    Ok(value)
}

/// A whole number of two, four or eight bytes, whatever width the parameter has; an oid's four bytes have no sign.
fn whole(reader: &mut Reader<'_>, data_type: &DataType) -> Result<i128, SqlError> {
    match reader.0.len() {
        2 => Ok(i128::from(reader.i16()?)),
        4 if data_type == &DataType::UInt32 => Ok(i128::from(reader.u32()?)),
        4 => Ok(i128::from(reader.i32()?)),
        8 => Ok(i128::from(reader.i64()?)),
        _ => Err(malformed()),
    }
}

fn float(bytes: &[u8], data_type: &DataType) -> Result<ScalarValue, SqlError> {
    let value = match *bytes {
        [a, b, c, d] => f64::from(f32::from_be_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => f64::from_be_bytes([a, b, c, d, e, f, g, h]),
        _ => return Err(malformed()),
    };
    // Narrowing to the parameter's own width is what the client asked for.
    #[allow(clippy::cast_possible_truncation)]
    Ok(match data_type {
        DataType::Float32 => ScalarValue::Float32(Some(value as f32)),
        _ => ScalarValue::Float64(Some(value)),
    })
}

/// What is held as text: uuid by its sixteen bytes, jsonb after its version byte, the rest by its characters.
fn textual(bytes: &[u8], oid: u32) -> Result<ScalarValue, SqlError> {
    let text = match (oid, bytes) {
        (2950, bytes) => text::uuid_text(bytes)?,
        (3802, [1, json @ ..]) => utf8(json)?.to_owned(),
        (3802, _) => return Err(malformed()),
        _ => utf8(bytes)?.to_owned(),
    };
    Ok(ScalarValue::Utf8(Some(text)))
}

fn range(name: &str) -> SqlError {
    SqlError::new(SqlState("22008"), format!("{name} out of range"))
}
