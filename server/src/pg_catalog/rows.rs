//! Rows of catalog tables: written cell by cell, and turned into one Arrow batch.
//!
//! A table's rows name only the columns they have something to say about; the others take the default that
//! `static/relations.txt` gives them. [`Cell`] is also what a catalog function takes and returns.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Float32Array, Float64Array, Int16Array,
    Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, RecordBatch, RecordBatchOptions, StringArray,
    TimestampMicrosecondArray, UInt32Array, UInt64Array, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalUnit, TimeUnit};
use datafusion::error::{DataFusionError, Result};

use super::system::SystemRelation;

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// NULL.
    Null,
    /// A boolean.
    Bool(bool),
    /// Any integer, OIDs too; of a timestamp the µs since 1970, of an interval its µs.
    Int(i64),
    /// A floating point number.
    Float(f64),
    /// Text of any kind.
    Text(String),
    /// An array.
    List(Vec<Cell>),
}

impl Cell {
    /// The text, if it is text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Cell::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is one or is text that spells one.
    pub fn int(&self) -> Option<i64> {
        match self {
            Cell::Int(value) => Some(*value),
            Cell::Float(value) => Some(*value as i64),
            Cell::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// The number as an OID.
    pub fn oid(&self) -> Option<u32> {
        self.int().and_then(|value| u32::try_from(value).ok())
    }

    /// The value as PostgreSQL casts it to text; `None` for NULL.
    pub fn render(&self) -> Option<String> {
        match self {
            Cell::Null => None,
            Cell::Bool(value) => Some(value.to_string()),
            Cell::Int(value) => Some(value.to_string()),
            Cell::Float(value) => Some(value.to_string()),
            Cell::Text(text) => Some(text.clone()),
            Cell::List(cells) => {
                let element = |cell: &Cell| match cell {
                    Cell::Text(text) => quote_element(text),
                    Cell::Bool(value) => if *value { "t" } else { "f" }.to_string(),
                    other => other.render().unwrap_or_else(|| "NULL".into()),
                };
                Some(format!("{{{}}}", cells.iter().map(element).collect::<Vec<_>>().join(",")))
            }
        }
    }

    /// The value a cell of `data` has when it is written as `text`: the defaults and static rows.
    fn parse(text: Option<&str>, data: &DataType) -> Cell {
        let Some(text) = text else { return Cell::Null };
        match data {
            DataType::Boolean => Cell::Bool(text == "t"),
            DataType::Utf8 => Cell::Text(text.to_string()),
            DataType::Float32 | DataType::Float64 => text.parse().map_or(Cell::Null, Cell::Float),
            DataType::List(item) => {
                Cell::List(text.split_whitespace().map(|word| Cell::parse(Some(word), item.data_type())).collect())
            }
            _ => text.parse().map_or(Cell::Null, Cell::Int),
        }
    }

    /// Reads row `at` of `array`.
    pub fn read(array: &dyn Array, at: usize) -> Result<Cell> {
        if array.is_null(at) {
            return Ok(Cell::Null);
        }
        let number = |target: DataType| -> Result<ArrayRef> { Ok(cast(&array.slice(at, 1), &target)?) };
        Ok(match array.data_type() {
            DataType::Null => Cell::Null,
            DataType::Boolean => Cell::Bool(array.as_boolean().value(at)),
            DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(at).to_string()),
            DataType::UInt32 => Cell::Int(i64::from(array.as_primitive::<arrow::datatypes::UInt32Type>().value(at))),
            DataType::Int64 => Cell::Int(array.as_primitive::<arrow::datatypes::Int64Type>().value(at)),
            DataType::Float16 | DataType::Float32 | DataType::Float64 => {
                let value = number(DataType::Float64)?;
                Cell::Float(value.as_primitive::<arrow::datatypes::Float64Type>().value(0))
            }
            DataType::Timestamp(_, zone) => {
                let value = number(DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
                let value = cast(&value, &DataType::Int64)?;
                Cell::Int(value.as_primitive::<arrow::datatypes::Int64Type>().value(0))
            }
            DataType::List(_) => {
                let items = array.as_list::<i32>().value(at);
                Cell::List((0..items.len()).map(|at| Cell::read(&items, at)).collect::<Result<_>>()?)
            }
            data if data.is_integer() => {
                let value = number(DataType::Int64)?;
                Cell::Int(value.as_primitive::<arrow::datatypes::Int64Type>().value(0))
            }
            _ => Cell::Text(number(DataType::Utf8)?.as_string::<i32>().value(0).to_string()),
        })
    }
}

/// An element as it stands between braces: in double quotes where its text could be misread.
fn quote_element(text: &str) -> String {
    let plain = !text.is_empty()
        && !text.eq_ignore_ascii_case("null")
        && !text.contains(|c: char| c.is_whitespace() || matches!(c, '{' | '}' | ',' | '"' | '\\'));
    if plain { text.to_string() } else { format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")) }
}

macro_rules! cell_from {
    ($($from:ty => |$value:ident| $cell:expr),* $(,)?) => {
        $(impl From<$from> for Cell { fn from($value: $from) -> Cell { $cell } })*
    };
}

cell_from! {
    bool => |value| Cell::Bool(value),
    i64 => |value| Cell::Int(value),
    i32 => |value| Cell::Int(value.into()),
    i16 => |value| Cell::Int(value.into()),
    u32 => |value| Cell::Int(value.into()),
    u16 => |value| Cell::Int(value.into()),
    f64 => |value| Cell::Float(value),
    &str => |value| Cell::Text(value.to_string()),
    &String => |value| Cell::Text(value.clone()),
    String => |value| Cell::Text(value),
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Cell {
        value.map_or(Cell::Null, Into::into)
    }
}

impl<T: Into<Cell>> From<Vec<T>> for Cell {
    fn from(values: Vec<T>) -> Cell {
        Cell::List(values.into_iter().map(Into::into).collect())
    }
}

/// Builds an array of `data` from cells.
///
/// # Errors
/// `Internal` where a cell does not fit the type: a bug of ours.
pub fn array(data: &DataType, cells: &[&Cell]) -> Result<ArrayRef> {
    let ints = || cells.iter().map(|cell| cell.int());
    let floats = || {
        cells.iter().map(|cell| match cell {
            Cell::Float(value) => Some(*value),
            other => other.int().map(|value| value as f64),
        })
    };
    Ok(match data {
        DataType::Boolean => Arc::new(BooleanArray::from_iter(cells.iter().map(|cell| match cell {
            Cell::Bool(value) => Some(*value),
            _ => None,
        }))),
        DataType::Utf8 => Arc::new(StringArray::from_iter(cells.iter().map(|cell| cell.render()))),
        DataType::Int16 => Arc::new(Int16Array::from_iter(ints().map(|v| v.map(|v| v as i16)))),
        DataType::Int32 => Arc::new(Int32Array::from_iter(ints().map(|v| v.map(|v| v as i32)))),
        DataType::Int64 => Arc::new(Int64Array::from_iter(ints())),
        DataType::UInt32 => Arc::new(UInt32Array::from_iter(ints().map(|v| v.map(|v| v as u32)))),
        DataType::UInt64 => Arc::new(UInt64Array::from_iter(ints().map(|v| v.map(|v| v as u64)))),
        DataType::Float32 => Arc::new(Float32Array::from_iter(floats().map(|v| v.map(|v| v as f32)))),
        DataType::Float64 => Arc::new(Float64Array::from_iter(floats())),
        DataType::Date32 => Arc::new(Date32Array::from_iter(ints().map(|v| v.map(|v| v as i32)))),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            Arc::new(TimestampMicrosecondArray::from_iter(ints()).with_timezone_opt(zone.clone()))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => Arc::new(IntervalMonthDayNanoArray::from_iter(
            ints().map(|v| v.map(|micros| IntervalMonthDayNano::new(0, 0, micros * 1000))),
        )),
        DataType::Binary => Arc::new(BinaryArray::from_iter(cells.iter().map(|cell| cell.text().map(str::as_bytes)))),
        DataType::Null => new_null_array(&DataType::Null, cells.len()),
        DataType::List(item) => {
            let lists = cells.iter().map(|cell| match cell {
                Cell::List(items) => items.as_slice(),
                _ => &[],
            });
            let items: Vec<&Cell> = lists.clone().flatten().collect();
            let offsets = OffsetBuffer::from_lengths(lists.map(<[Cell]>::len));
            let valid = NullBuffer::from_iter(cells.iter().map(|cell| matches!(cell, Cell::List(_))));
            Arc::new(ListArray::try_new(Arc::clone(item), offsets, array(item.data_type(), &items)?, Some(valid))?)
        }
        other => return Err(DataFusionError::Internal(format!("a catalog has no column of Arrow type {other}"))),
    })
}

/// The rows of one catalog table, as they are written.
pub struct Rows {
    relation: &'static SystemRelation,
    given: Vec<Option<usize>>,
    width: usize,
    cells: Vec<Cell>,
}

impl Rows {
    /// Starts the table; every row will give these columns, in this order.
    pub fn new(relation: &'static SystemRelation, columns: &[&str]) -> Self {
        debug_assert!(
            columns.iter().all(|name| relation.columns.iter().any(|column| column.name == *name)),
            "{} lacks one of {columns:?}",
            relation.name
        );
        let position = |name: &str| columns.iter().position(|column| *column == name);
        let given = relation.columns.iter().map(|column| position(column.name)).collect();
        Self { relation, given, width: columns.len(), cells: Vec::new() }
    }

    /// Adds a row.
    pub fn push<const N: usize>(&mut self, row: [Cell; N]) {
        debug_assert_eq!(N, self.width, "{}", self.relation.name);
        self.cells.extend(row);
    }

    /// Adds a row of text as a static file has it.
    pub fn push_text(&mut self, row: &[Option<&str>], columns: &[&str]) {
        for (value, name) in row.iter().zip(columns) {
            let field = self.relation.arrow.field_with_name(name);
            self.cells.push(field.map_or(Cell::Null, |field| Cell::parse(*value, field.data_type())));
        }
    }

    /// The batch: all of the table's columns.
    ///
    /// # Errors
    /// `Internal` where a cell does not fit its column: a bug of ours.
    pub fn finish(self) -> Result<RecordBatch> {
        let rows = self.cells.len().checked_div(self.width).unwrap_or(0);
        let mut arrays = Vec::with_capacity(self.given.len());
        for (at, column) in self.relation.columns.iter().enumerate() {
            let data = self.relation.arrow.field(at).data_type();
            let cells: Vec<&Cell> = match self.given[at] {
                Some(position) => self.cells.iter().skip(position).step_by(self.width).collect(),
                None => {
                    let default = Cell::parse(column.default, data);
                    arrays.push(array(data, &vec![&default; rows])?);
                    continue;
                }
            };
            arrays.push(array(data, &cells)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.relation.arrow), arrays, &options)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg_catalog::system::find;

    #[test]
    fn a_row_takes_the_defaults_it_does_not_give() {
        let mut rows = Rows::new(find("pg_catalog", "pg_class").expect("listed"), &["relname", "oid"]);
        rows.push(["t".into(), 16384_u32.into()]);
        let batch = rows.finish().expect("fits");
        assert_eq!((batch.num_rows(), batch.num_columns()), (1, 33));
        let value = |name: &str| Cell::read(batch.column_by_name(name).expect("a column"), 0).expect("readable");
        assert_eq!(value("relname"), Cell::Text("t".into()));
        assert_eq!(value("oid"), Cell::Int(16384));
        assert_eq!(value("relpersistence"), Cell::Text("p".into()));
        assert_eq!(value("relispopulated"), Cell::Bool(true));
        assert_eq!(value("relacl"), Cell::Null);
    }

    #[test]
    fn arrays_render_as_postgres_writes_them() {
        let list = Cell::List(vec!["a b".into(), "c".into(), Cell::Null, "".into(), "q\"".into(), "null".into()]);
        assert_eq!(list.render().as_deref(), Some(r#"{"a b",c,NULL,"","q\"","null"}"#));
        assert_eq!(Cell::List(vec![true.into(), 3.into()]).render().as_deref(), Some("{t,3}"));
    }

    #[test]
    fn cells_survive_a_round_through_arrow() {
        let cells = [Cell::List(vec![1.into(), 2.into()]), Cell::Null, Cell::List(vec![])];
        let data = crate::pg_catalog::types::arrow_type("_int4");
        let built = array(&data, &cells.iter().collect::<Vec<_>>()).expect("fits");
        for (at, cell) in cells.iter().enumerate() {
            assert_eq!(&Cell::read(&built, at).expect("readable"), cell);
        }
    }
}
