//! Nested values that have no type of their own in Postgres, maps above all, as jsonb text.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;
use bytes::{BufMut, BytesMut};
use sql::{SqlError, SqlState};

use super::super::wire_type::WireType;
use super::column::Column;
use super::{Style, is_list};

/// A column that is written as JSON.
pub(super) struct JsonColumn {
    nulls: Option<NullBuffer>,
    shape: Shape,
}

enum Shape {
    /// Where each row's entries lie, the keys and the values.
    Map(Vec<std::ops::Range<usize>>, Box<JsonColumn>, Box<JsonColumn>),
    Object(Vec<(String, JsonColumn)>),
    List(Vec<ArrayRef>),
    /// A number or a boolean, written bare.
    Bare(Column),
    /// Anything else: its Postgres text in quotes.
    Quoted(Column),
}

impl JsonColumn {
    pub(super) fn new(array: &ArrayRef) -> Result<Self, SqlError> {
        let shape = match array.data_type() {
            DataType::Map(..) => {
                let map = array.as_map();
                let offset = |offset: i32| usize::try_from(offset).expect("Arrow's offsets are not negative");
                let ranges = map.value_offsets().windows(2).map(|w| offset(w[0])..offset(w[1])).collect();
                Shape::Map(ranges, Box::new(Self::new(map.keys())?), Box::new(Self::new(map.values())?))
            }
            DataType::Struct(fields) => {
                let columns = fields.iter().zip(array.as_struct().columns());
                let columns = columns.map(|(field, array)| Ok((field.name().clone(), Self::new(array)?)));
                Shape::Object(columns.collect::<Result<_, SqlError>>()?)
            }
            data_type if is_list(data_type) => Shape::List(rows_of_lists(array)?),
            DataType::Union(..) => {
                return Err(SqlError::unsupported("values of an Arrow union cannot be sent"));
            }
            data_type => {
                let column = Column::new(array, &WireType::of(&Field::new("", data_type.clone(), true)))?;
                match data_type {
                    data_type if data_type.is_numeric() || data_type == &DataType::Boolean => Shape::Bare(column),
                    _ => Shape::Quoted(column),
                }
            }
        };
        Ok(Self { nulls: array.logical_nulls(), shape })
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|n| n.is_null(row))
    }
}

/// One array per row; lists inside maps are rare enough to be taken one by one.
fn rows_of_lists(array: &ArrayRef) -> Result<Vec<ArrayRef>, SqlError> {
    let element = match array.data_type() {
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::FixedSizeList(element, _)
        | DataType::ListView(element)
        | DataType::LargeListView(element) => element.clone(),
        _ => unreachable!("the caller has seen a list"),
    };
    let lists = arrow::compute::cast(array, &DataType::LargeList(element)).map_err(cannot_write)?;
    let lists = lists.as_list::<i64>();
    Ok((0..lists.len()).map(|row| lists.value(row)).collect())
}

/// Appends one value, spaced as jsonb is: `{"a": 1, "b": [true, null]}`.
pub(super) fn write_json(column: &JsonColumn, row: usize, style: &Style, out: &mut BytesMut) -> Result<(), SqlError> {
    if column.is_null(row) {
        out.put_slice(b"null");
        return Ok(());
    }
    match &column.shape {
        Shape::Map(ranges, keys, values) => {
            out.put_u8(b'{');
            for (index, entry) in ranges[row].clone().enumerate() {
                separate(index, out);
                write_key(keys, entry, style, out)?;
                write_json(values, entry, style, out)?;
            }
            out.put_u8(b'}');
        }
        Shape::Object(fields) => {
            out.put_u8(b'{');
            for (index, (name, values)) in fields.iter().enumerate() {
                separate(index, out);
                put_string(name.as_bytes(), out);
                out.put_slice(b": ");
                write_json(values, row, style, out)?;
            }
            out.put_u8(b'}');
        }
        Shape::List(rows) => {
            let elements = JsonColumn::new(&rows[row])?;
            out.put_u8(b'[');
            for index in 0..rows[row].len() {
                separate(index, out);
                write_json(&elements, index, style, out)?;
            }
            out.put_u8(b']');
        }
        Shape::Bare(Column::Bool(values)) => out.put_slice(if values.value(row) { b"true" } else { b"false" }),
        Shape::Bare(values) => write_number(values, row, style, out)?,
        Shape::Quoted(values) => put_cell(values, row, style, out)?,
    }
    Ok(())
}

fn separate(index: usize, out: &mut BytesMut) {
    if index > 0 {
        out.put_slice(b", ");
    }
}

/// A key is a string whatever its type.
fn write_key(keys: &JsonColumn, row: usize, style: &Style, out: &mut BytesMut) -> Result<(), SqlError> {
    match &keys.shape {
        Shape::Bare(column) | Shape::Quoted(column) => put_cell(column, row, style, out)?,
        _ => {
            let mut text = BytesMut::new();
            write_json(keys, row, style, &mut text)?;
            put_string(&text, out);
        }
    }
    out.put_slice(b": ");
    Ok(())
}

/// A number stands bare, save NaN and the infinities, which JSON has not.
fn write_number(column: &Column, row: usize, style: &Style, out: &mut BytesMut) -> Result<(), SqlError> {
    let start = out.len();
    column.write_text(row, style, out)?;
    if out[start..].iter().any(|b| matches!(b, b'N' | b'I')) {
        let text = out.split_off(start);
        put_string(&text, out);
    }
    Ok(())
}

fn put_cell(column: &Column, row: usize, style: &Style, out: &mut BytesMut) -> Result<(), SqlError> {
    let mut text = BytesMut::new();
    column.write_text(row, style, &mut text)?;
    put_string(&text, out);
    Ok(())
}

/// A JSON string (RFC 8259, section 7); `text` is UTF-8.
fn put_string(text: &[u8], out: &mut BytesMut) {
    out.put_u8(b'"');
    for byte in text {
        match byte {
            b'"' => out.put_slice(b"\\\""),
            b'\\' => out.put_slice(b"\\\\"),
            b'\n' => out.put_slice(b"\\n"),
            b'\r' => out.put_slice(b"\\r"),
            b'\t' => out.put_slice(b"\\t"),
            0x08 => out.put_slice(b"\\b"),
            0x0c => out.put_slice(b"\\f"),
            0x00..=0x1f => out.put_slice(format!("\\u{byte:04x}").as_bytes()),
            byte => out.put_u8(*byte),
        }
    }
    out.put_u8(b'"');
}

fn cannot_write(error: ArrowError) -> SqlError {
    SqlError::new(SqlState::INTERNAL_ERROR, error.to_string())
}
