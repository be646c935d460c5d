//! Tests of the decoder as a whole: `numbers` and `types` table what each type takes, `syntax` and `records` what a
//! record is, `keyed` what becomes of keys and change events, `fuzz` holds random records against the slow decoder in `reference`.

mod fuzz;
mod keyed;
mod numbers;
mod records;
mod reference;
mod syntax;
mod types;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Field, FieldRef, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use serde_json::Value as Json;

use super::JsonDecoder;
use crate::format::{DecodeError, DecodeSpec, Decoder, ErrorReason};

/// Nesting that the decoders under test accept.
const DEPTH_MAX: usize = 64;

fn column(name: &str, data_type: DataType) -> FieldRef {
    Arc::new(Field::new(name, data_type, true))
}

fn not_null(name: &str, data_type: DataType) -> FieldRef {
    Arc::new(Field::new(name, data_type, false))
}

fn with_metadata(field: &FieldRef, key: &str, value: &str) -> FieldRef {
    let metadata = HashMap::from([(key.to_string(), value.to_string())]);
    Arc::new(field.as_ref().clone().with_metadata(metadata))
}

fn jsonb(name: &str) -> FieldRef {
    with_metadata(&column(name, DataType::Utf8View), "ARROW:extension:name", "arrow.json")
}

fn list(element: DataType) -> DataType {
    DataType::List(column("item", element))
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

fn spec(columns: &[FieldRef], used: &[usize]) -> DecodeSpec {
    DecodeSpec {
        columns: columns.to_vec(),
        used: used.to_vec(),
        event_time: None,
        record_bytes_max: 1 << 20,
        depth_max: DEPTH_MAX,
    }
}

fn decoder(columns: &[FieldRef], used: &[usize]) -> JsonDecoder {
    JsonDecoder::new(spec(columns, used)).expect("a valid spec")
}

/// A decoder that keeps all its columns.
fn keeping_all(columns: &[FieldRef]) -> JsonDecoder {
    decoder(columns, &(0..columns.len()).collect::<Vec<_>>())
}

/// The only value of the record `{"x": json}`, by a decoder that keeps x; one that does not must judge the same.
fn decode_one(field: &FieldRef, json: &str) -> Result<Cell, DecodeError> {
    let record = format!("{{\"x\":{json}}}");
    let columns = [Arc::new(field.as_ref().clone().with_name("x"))];
    let mut keeping = keeping_all(&columns);
    let kept = keeping.decode(record.as_bytes());
    assert_eq!(decoder(&columns, &[]).decode(record.as_bytes()), kept, "judged by use: {json}");
    let arrays = keeping.finish().expect("arrays");
    assert_eq!(arrays[0].len(), usize::from(kept.is_ok()));
    assert_eq!(arrays[0].data_type(), field.data_type());
    kept.map(|()| cell(&arrays[0], 0))
}

/// A value of a column, told apart as far as tests must.
#[derive(Debug, Clone, PartialEq)]
enum Cell {
    Null,
    Boolean(bool),
    /// Integers, and what dates and times count.
    Integer(i64),
    /// The bits, so that zeros and NaNs are told apart.
    Float32(u32),
    Float64(u64),
    /// The unscaled digits.
    Decimal(String),
    Text(String),
    /// Text that is any JSON with this value. No array holds one; the reference asks for it.
    SameJson(Json),
    Binary(Vec<u8>),
    /// A list's elements, or an object's fields.
    Many(Vec<Cell>),
}

impl Cell {
    /// Whether an array's cell is what this one, the reference's, asks for.
    fn accepts(&self, found: &Self) -> bool {
        match (self, found) {
            (Self::SameJson(json), Self::Text(text)) => serde_json::from_str::<Json>(text).is_ok_and(|j| j == *json),
            (Self::Many(asked), Self::Many(found)) => {
                asked.len() == found.len() && asked.iter().zip(found).all(|(asked, found)| asked.accepts(found))
            }
            (asked, found) => asked == found,
        }
    }
}

/// The value in `row` of `array`.
fn cell(array: &ArrayRef, row: usize) -> Cell {
    if array.is_null(row) {
        return Cell::Null;
    }
    match array.data_type() {
        DataType::Boolean => Cell::Boolean(array.as_boolean().value(row)),
        DataType::Int16 => Cell::Integer(array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => Cell::Integer(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Cell::Integer(array.as_primitive::<Int64Type>().value(row)),
        DataType::Date32 => Cell::Integer(array.as_primitive::<Date32Type>().value(row).into()),
        DataType::Time64(_) => Cell::Integer(array.as_primitive::<Time64MicrosecondType>().value(row)),
        DataType::Timestamp(..) => Cell::Integer(array.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::Float32 => Cell::Float32(array.as_primitive::<Float32Type>().value(row).to_bits()),
        DataType::Float64 => Cell::Float64(array.as_primitive::<Float64Type>().value(row).to_bits()),
        DataType::Decimal128(..) => Cell::Decimal(array.as_primitive::<Decimal128Type>().value(row).to_string()),
        DataType::Decimal256(..) => Cell::Decimal(array.as_primitive::<Decimal256Type>().value(row).to_string()),
        DataType::Utf8View => Cell::Text(array.as_string_view().value(row).to_string()),
        DataType::Binary => Cell::Binary(array.as_binary::<i32>().value(row).to_vec()),
        DataType::List(_) => {
            let elements = array.as_list::<i32>().value(row);
            Cell::Many((0..elements.len()).map(|i| cell(&elements, i)).collect())
        }
        DataType::Struct(_) => Cell::Many(array.as_struct().columns().iter().map(|field| cell(field, row)).collect()),
        other => panic!("no cell of {other}"),
    }
}

/// All rows of a batch.
fn rows(arrays: &[ArrayRef]) -> Vec<Vec<Cell>> {
    let count = arrays.first().map_or(0, |array| array.len());
    (0..count).map(|row| arrays.iter().map(|array| cell(array, row)).collect()).collect()
}

/// Decodes each JSON value into a column of `field`'s type. `Some` is the cell expected; `None` a value that does not fit.
fn check(field: &FieldRef, cases: &[(&str, Option<Cell>)]) {
    for (json, expected) in cases {
        match (decode_one(field, json), expected) {
            (Ok(found), Some(expected)) => assert_eq!(found, *expected, "{json}"),
            (Err(error), None) => assert_eq!(error.reason, ErrorReason::WrongType, "{json}: {}", error.detail),
            (found, expected) => panic!("{json} as {}: {found:?}, not {expected:?}", field.data_type()),
        }
    }
    // Null is null for every type, and so is a field that is not there.
    assert_eq!(decode_one(field, "null"), Ok(Cell::Null));
    assert_eq!(decode_one(field, "1,\"x\":null"), Ok(Cell::Null));
}

fn integers(data_type: DataType, cases: &[(&str, Option<i64>)]) {
    let cases: Vec<_> = cases.iter().map(|(json, value)| (*json, value.map(Cell::Integer))).collect();
    check(&column("x", data_type), &cases);
}
