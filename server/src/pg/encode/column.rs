//! One column of a batch in the one Arrow representation its wire type is written from.

use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, AsArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array,
    Decimal256Array, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray,
    PrimitiveArray, StringViewArray, StructArray, UInt32Array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType,
    DurationSecondType, IntervalUnit, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow::error::ArrowError;
use arrow::util::display::FormatOptions;
use bytes::{BufMut, BytesMut};
use sql::functions::interval::from_length;
use sql::{SqlError, SqlState};

use super::super::datetime::{EPOCH_DAYS, EPOCH_MICROS, write_date, write_time, write_timestamp, write_timestamptz};
use super::super::wire_type::{Kind, WireType};
use super::array::{ListColumn, write_array_binary, write_array_text, write_vector_text};
use super::float::{write_float4, write_float8};
use super::interval::write_interval;
use super::json::{JsonColumn, write_json};
use super::numeric::{write_numeric_binary, write_numeric_text};
use super::{Style, wire_count};

/// A column ready to be written; times are µs since the Unix epoch, days likewise.
pub(super) enum Column {
    Null,
    Bool(BooleanArray),
    Int2(Int16Array),
    Int4(Int32Array),
    Int8(Int64Array),
    Oid(UInt32Array),
    Float4(Float32Array),
    Float8(Float64Array),
    Decimal(Decimal128Array, i8),
    WideDecimal(Decimal256Array, i8),
    Text(StringViewArray),
    Bytea(BinaryViewArray),
    Uuid(BinaryViewArray),
    Date(Date32Array),
    Time(Int64Array),
    Timestamp(Int64Array),
    Timestamptz(Int64Array),
    Interval(IntervalMonthDayNanoArray),
    List(Box<ListColumn>),
    Record(Option<NullBuffer>, Vec<(Column, WireType)>),
    Json(Box<JsonColumn>),
}

impl Column {
    /// Brings `array` into the representation `wire` is written from.
    ///
    /// # Errors
    /// 22003 or 22008 for values the wire type has no room for.
    pub(super) fn new(array: &ArrayRef, wire: &WireType) -> Result<Self, SqlError> {
        if let DataType::Dictionary(_, values) = array.data_type() {
            return Self::new(&cast(array, values).map_err(out_of_range)?, wire);
        }
        if let DataType::RunEndEncoded(_, values) = array.data_type() {
            return Self::new(&cast(array, values.data_type()).map_err(out_of_range)?, wire);
        }
        if array.data_type() == &DataType::Null {
            return Ok(Self::Null);
        }
        Ok(match &wire.kind {
            Kind::Bool => Self::Bool(array.as_boolean().clone()),
            Kind::Int2 => Self::Int2(exact(array, &DataType::Int16)?.as_primitive().clone()),
            Kind::Int4 => Self::Int4(exact(array, &DataType::Int32)?.as_primitive().clone()),
            Kind::Int8 => Self::Int8(exact(array, &DataType::Int64)?.as_primitive().clone()),
            Kind::Oid => Self::Oid(exact(array, &DataType::UInt32)?.as_primitive().clone()),
            Kind::Float4 => Self::Float4(exact(array, &DataType::Float32)?.as_primitive().clone()),
            Kind::Float8 => Self::Float8(exact(array, &DataType::Float64)?.as_primitive().clone()),
            Kind::Numeric => decimal(array)?,
            Kind::Text | Kind::NamedOid => Self::Text(exact(array, &DataType::Utf8View)?.as_string_view().clone()),
            Kind::Uuid => uuid(array)?,
            Kind::Bytea => Self::Bytea(bytes(array)?),
            Kind::Date => Self::Date(date(array)?),
            Kind::Time => Self::Time(time(array)?),
            Kind::Timestamp => Self::Timestamp(timestamp(array)?),
            Kind::Timestamptz => Self::Timestamptz(timestamp(array)?),
            Kind::Interval => Self::Interval(interval(array)?),
            Kind::Array(element) => Self::List(Box::new(ListColumn::new(array, element, false)?)),
            Kind::Vector(element) => Self::List(Box::new(ListColumn::new(array, element, true)?)),
            Kind::Record(fields) => record(array.as_struct(), fields)?,
            Kind::Jsonb => match array.data_type() {
                DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                    Self::Text(exact(array, &DataType::Utf8View)?.as_string_view().clone())
                }
                _ => Self::Json(Box::new(JsonColumn::new(array)?)),
            },
        })
    }

    /// True if the cell is NULL.
    pub(super) fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(a) => a.is_null(row),
            Self::Int2(a) => a.is_null(row),
            Self::Int4(a) => a.is_null(row),
            Self::Oid(a) => a.is_null(row),
            Self::Int8(a) | Self::Time(a) | Self::Timestamp(a) | Self::Timestamptz(a) => a.is_null(row),
            Self::Float4(a) => a.is_null(row),
            Self::Float8(a) => a.is_null(row),
            Self::Decimal(a, _) => a.is_null(row),
            Self::WideDecimal(a, _) => a.is_null(row),
            Self::Text(a) => a.is_null(row),
            Self::Bytea(a) | Self::Uuid(a) => a.is_null(row),
            Self::Date(a) => a.is_null(row),
            Self::Interval(a) => a.is_null(row),
            Self::List(list) => list.is_null(row),
            Self::Record(nulls, _) => nulls.as_ref().is_some_and(|n| n.is_null(row)),
            Self::Json(json) => json.is_null(row),
        }
    }

    /// Appends the text of a cell that is not NULL.
    pub(super) fn write_text(&self, row: usize, style: &Style, out: &mut BytesMut) -> Result<(), SqlError> {
        match self {
            Self::Null => {}
            Self::Bool(a) => out.put_u8(if a.value(row) { b't' } else { b'f' }),
            Self::Int2(a) => put_integer(i64::from(a.value(row)), out),
            Self::Int4(a) => put_integer(i64::from(a.value(row)), out),
            Self::Oid(a) => put_integer(i64::from(a.value(row)), out),
            Self::Int8(a) => put_integer(a.value(row), out),
            Self::Float4(a) => write_float4(a.value(row), style.float_digits, out),
            Self::Float8(a) => write_float8(a.value(row), style.float_digits, out),
            Self::Decimal(a, scale) => write_numeric_text(&a.value(row), *scale, out),
            Self::WideDecimal(a, scale) => write_numeric_text(&a.value(row), *scale, out),
            Self::Text(a) => put_text(a.value(row), out)?,
            Self::Bytea(a) => put_bytea(a.value(row), style.bytea_escape, out),
            Self::Uuid(a) => put_uuid(a.value(row), out),
            Self::Date(a) => write_date(a.value(row), out),
            Self::Time(a) => write_time(a.value(row), out),
            Self::Timestamp(a) => write_timestamp(a.value(row), out),
            Self::Timestamptz(a) => write_timestamptz(a.value(row), style.zone, out),
            Self::Interval(a) => {
                let value = a.value(row);
                write_interval(value.months, value.days, value.nanoseconds.div_euclid(1000), style.interval, out);
            }
            Self::List(list) if list.is_vector => write_vector_text(list, row, style, out)?,
            Self::List(list) => write_array_text(list, row, style, out)?,
            Self::Record(_, fields) => write_record_text(fields, row, style, out)?,
            Self::Json(json) => write_json(json, row, style, out)?,
        }
        Ok(())
    }

    /// Appends the binary form of a cell that is not NULL.
    pub(super) fn write_binary(
        &self,
        row: usize,
        wire: &WireType,
        style: &Style,
        out: &mut BytesMut,
    ) -> Result<(), SqlError> {
        match self {
            Self::Null => {}
            Self::Bool(a) => out.put_u8(u8::from(a.value(row))),
            Self::Int2(a) => out.put_i16(a.value(row)),
            Self::Int4(a) => out.put_i32(a.value(row)),
            Self::Oid(a) => out.put_u32(a.value(row)),
            Self::Int8(a) => out.put_i64(a.value(row)),
            Self::Float4(a) => out.put_f32(a.value(row)),
            Self::Float8(a) => out.put_f64(a.value(row)),
            Self::Decimal(a, scale) => write_numeric_binary(&a.value(row), *scale, out),
            Self::WideDecimal(a, scale) => write_numeric_binary(&a.value(row), *scale, out),
            Self::Text(a) if wire.kind == Kind::NamedOid => out.put_u32(a.value(row).parse().unwrap_or(0)),
            Self::Text(a) => {
                if wire.kind == Kind::Jsonb {
                    out.put_u8(1);
                }
                put_text(a.value(row), out)?;
            }
            Self::Bytea(a) | Self::Uuid(a) => out.put_slice(a.value(row)),
            Self::Date(a) => out.put_i32(match a.value(row) {
                infinity @ (i32::MAX | i32::MIN) => infinity,
                days => days.checked_sub(EPOCH_DAYS).ok_or_else(|| datetime_range("date"))?,
            }),
            Self::Time(a) => out.put_i64(a.value(row)),
            Self::Timestamp(a) | Self::Timestamptz(a) => out.put_i64(match a.value(row) {
                infinity @ (i64::MAX | i64::MIN) => infinity,
                micros => micros.checked_sub(EPOCH_MICROS).ok_or_else(|| datetime_range("timestamp"))?,
            }),
            Self::Interval(a) => {
                let value = a.value(row);
                out.put_i64(value.nanoseconds.div_euclid(1000));
                out.put_i32(value.days);
                out.put_i32(value.months);
            }
            Self::List(list) => write_array_binary(list, row, style, out)?,
            Self::Record(_, fields) => write_record_binary(fields, row, style, out)?,
            Self::Json(json) => {
                out.put_u8(1);
                write_json(json, row, style, out)?;
            }
        }
        Ok(())
    }
}

/// Casts, refusing what does not fit.
fn exact(array: &ArrayRef, target: &DataType) -> Result<ArrayRef, SqlError> {
    if array.data_type() == target {
        return Ok(array.clone());
    }
    let options = CastOptions { safe: false, format_options: FormatOptions::default() };
    cast_with_options(array, target, &options).map_err(out_of_range)
}

fn decimal(array: &ArrayRef) -> Result<Column, SqlError> {
    Ok(match array.data_type() {
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) => {
            let wide = exact(array, &DataType::Decimal128(38, *scale))?;
            Column::Decimal(wide.as_primitive().clone(), *scale)
        }
        DataType::Decimal256(_, scale) => Column::WideDecimal(array.as_primitive().clone(), *scale),
        DataType::Decimal128(_, scale) => Column::Decimal(array.as_primitive().clone(), *scale),
        _ => Column::Decimal(exact(array, &DataType::Decimal128(20, 0))?.as_primitive().clone(), 0),
    })
}

fn bytes(array: &ArrayRef) -> Result<BinaryViewArray, SqlError> {
    let array = match array.data_type() {
        DataType::FixedSizeBinary(_) => exact(array, &DataType::Binary)?,
        _ => array.clone(),
    };
    Ok(exact(&array, &DataType::BinaryView)?.as_binary_view().clone())
}

/// A uuid comes as its sixteen bytes or as text; text that is none is refused.
fn uuid(array: &ArrayRef) -> Result<Column, SqlError> {
    if matches!(array.data_type(), DataType::FixedSizeBinary(_)) {
        return Ok(Column::Uuid(bytes(array)?));
    }
    let texts = exact(array, &DataType::Utf8View)?;
    let parse = |text: &str| {
        super::super::decode::parse_uuid(text).ok_or_else(|| {
            SqlError::new(
                SqlState::INVALID_TEXT_REPRESENTATION,
                format!("invalid input syntax for type uuid: \"{text}\""),
            )
        })
    };
    let parsed =
        texts.as_string_view().iter().map(|text| text.map(parse).transpose()).collect::<Result<Vec<_>, _>>()?;
    Ok(Column::Uuid(parsed.iter().map(|uuid| uuid.as_ref().map(|uuid| &uuid[..])).collect()))
}

fn date(array: &ArrayRef) -> Result<Date32Array, SqlError> {
    match array.data_type() {
        DataType::Date64 => {
            let days = array.as_primitive::<arrow::datatypes::Date64Type>();
            days.try_unary(|ms| i32::try_from(ms.div_euclid(86_400_000)).map_err(|_| datetime_range("date")))
        }
        _ => Ok(array.as_primitive().clone()),
    }
}

fn time(array: &ArrayRef) -> Result<Int64Array, SqlError> {
    Ok(match array.data_type() {
        DataType::Time32(TimeUnit::Second) => multiply::<Time32SecondType>(array, 1_000_000)?,
        DataType::Time32(_) => multiply::<Time32MillisecondType>(array, 1000)?,
        DataType::Time64(TimeUnit::Nanosecond) => array.as_primitive::<Time64NanosecondType>().unary(|v| v / 1000),
        _ => multiply::<Time64MicrosecondType>(array, 1)?,
    })
}

fn timestamp(array: &ArrayRef) -> Result<Int64Array, SqlError> {
    Ok(match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => multiply::<TimestampSecondType>(array, 1_000_000)?,
        DataType::Timestamp(TimeUnit::Millisecond, _) => multiply::<TimestampMillisecondType>(array, 1000)?,
        // Rounded down, so that an instant before 1970 keeps its µs.
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            array.as_primitive::<TimestampNanosecondType>().unary(|v| v.div_euclid(1000))
        }
        _ => multiply::<TimestampMicrosecondType>(array, 1)?,
    })
}

fn multiply<T: ArrowPrimitiveType>(array: &ArrayRef, factor: i64) -> Result<Int64Array, SqlError>
where
    T::Native: Into<i64>,
{
    let values: &PrimitiveArray<T> = array.as_primitive();
    values.try_unary(|v| v.into().mul_checked(factor).map_err(|_| datetime_range("timestamp")))
}

fn interval(array: &ArrayRef) -> Result<IntervalMonthDayNanoArray, SqlError> {
    let from_micros = |micros: Int64Array| -> Result<IntervalMonthDayNanoArray, SqlError> {
        // A length comes from a difference of times, which has days in Postgres.
        Ok(micros.unary(from_length))
    };
    match array.data_type() {
        DataType::Duration(TimeUnit::Second) => from_micros(multiply::<DurationSecondType>(array, 1_000_000)?),
        DataType::Duration(TimeUnit::Millisecond) => from_micros(multiply::<DurationMillisecondType>(array, 1000)?),
        DataType::Duration(TimeUnit::Microsecond) => from_micros(multiply::<DurationMicrosecondType>(array, 1)?),
        DataType::Duration(TimeUnit::Nanosecond) => {
            let nanos = array.as_primitive::<DurationNanosecondType>();
            Ok(nanos.unary(|v| from_length(v / 1000)))
        }
        _ => {
            let target = DataType::Interval(IntervalUnit::MonthDayNano);
            Ok(exact(array, &target)?.as_primitive().clone())
        }
    }
}

fn record(array: &StructArray, fields: &[WireType]) -> Result<Column, SqlError> {
    let columns = array.columns().iter().zip(fields);
    let columns = columns.map(|(array, wire)| Ok((Column::new(array, wire)?, wire.clone())));
    Ok(Column::Record(array.nulls().cloned(), columns.collect::<Result<_, SqlError>>()?))
}

/// `(1,"a b",)`: NULL is nothing, an empty text is `""`.
fn write_record_text(
    fields: &[(Column, WireType)],
    row: usize,
    style: &Style,
    out: &mut BytesMut,
) -> Result<(), SqlError> {
    let mut cell = BytesMut::new();
    out.put_u8(b'(');
    for (index, (column, _)) in fields.iter().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        if column.is_null(row) {
            continue;
        }
        cell.clear();
        column.write_text(row, style, &mut cell)?;
        let quoted =
            cell.is_empty() || cell.iter().any(|b| matches!(b, b'"' | b'\\' | b'(' | b')' | b',') || is_space(*b));
        if !quoted {
            out.put_slice(&cell);
            continue;
        }
        out.put_u8(b'"');
        for byte in &cell {
            if matches!(byte, b'"' | b'\\') {
                out.put_u8(*byte);
            }
            out.put_u8(*byte);
        }
        out.put_u8(b'"');
    }
    out.put_u8(b')');
    Ok(())
}

fn write_record_binary(
    fields: &[(Column, WireType)],
    row: usize,
    style: &Style,
    out: &mut BytesMut,
) -> Result<(), SqlError> {
    out.put_i32(wire_count(fields.len())?);
    for (column, wire) in fields {
        out.put_u32(wire.oid);
        write_sized_binary(column, row, wire, style, out)?;
    }
    Ok(())
}

/// Appends the length and the binary form of a cell; -1 for NULL.
pub(super) fn write_sized_binary(
    column: &Column,
    row: usize,
    wire: &WireType,
    style: &Style,
    out: &mut BytesMut,
) -> Result<(), SqlError> {
    if column.is_null(row) {
        out.put_i32(-1);
        return Ok(());
    }
    let start = out.len();
    out.put_i32(0);
    column.write_binary(row, wire, style, out)?;
    super::patch_length(out, start, out.len() - start - 4)
}

/// What isspace() of the C locale says, as the array and record writers ask it.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn put_text(text: &str, out: &mut BytesMut) -> Result<(), SqlError> {
    if text.as_bytes().contains(&0) {
        let message = "invalid byte sequence for encoding \"UTF8\": 0x00";
        return Err(SqlError::new(SqlState("22021"), message));
    }
    out.put_slice(text.as_bytes());
    Ok(())
}

fn put_integer(value: i64, out: &mut BytesMut) {
    if value < 0 {
        out.put_u8(b'-');
    }
    let mut digits = [0u8; 20];
    let (mut rest, mut start) = (value.unsigned_abs(), digits.len());
    loop {
        start -= 1;
        digits[start] = b'0' + u8::try_from(rest % 10).expect("a remainder of ten");
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.put_slice(&digits[start..]);
}

fn put_bytea(bytes: &[u8], escape: bool, out: &mut BytesMut) {
    if !escape {
        out.put_slice(b"\\x");
        return bytes.iter().for_each(|byte| put_hex(*byte, out));
    }
    for byte in bytes {
        match byte {
            b'\\' => out.put_slice(b"\\\\"),
            0x20..=0x7e => out.put_u8(*byte),
            byte => out.put_slice(format!("\\{byte:03o}").as_bytes()),
        }
    }
}

fn put_hex(byte: u8, out: &mut BytesMut) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.put_u8(DIGITS[usize::from(byte >> 4)]);
    out.put_u8(DIGITS[usize::from(byte & 15)]);
}

fn put_uuid(bytes: &[u8], out: &mut BytesMut) {
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.put_u8(b'-');
        }
        put_hex(*byte, out);
    }
}

fn out_of_range(error: ArrowError) -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, error.to_string())
}

fn datetime_range(name: &str) -> SqlError {
    SqlError::new(SqlState("22008"), format!("{name} out of range"))
}
