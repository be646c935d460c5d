//! Arrays: any of Arrow's list layouts to `{1,2}` and to the binary form; lists of lists are more dimensions.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use bytes::{BufMut, BytesMut};
use sql::{SqlError, SqlState};

use super::super::wire_type::{Kind, WireType};
use super::column::{Column, is_space, write_sized_binary};
use super::{Style, is_list, wire_count};

/// Dimensions an array may have (MAXDIM of PostgreSQL).
const DIMENSIONS_MAX: usize = 6;

/// A column of lists.
pub(super) struct ListColumn {
    nulls: Option<NullBuffer>,
    /// Where each row's elements lie in `values`.
    ranges: Vec<Range<usize>>,
    values: Column,
    element: WireType,
    /// Written with spaces: int2vector, oidvector.
    pub(super) is_vector: bool,
}

impl ListColumn {
    pub(super) fn new(array: &ArrayRef, element: &WireType, is_vector: bool) -> Result<Self, SqlError> {
        let (ranges, values) = layout(array);
        let values = Column::new(&values, element)?;
        Ok(Self { nulls: array.nulls().cloned(), ranges, values, element: element.clone(), is_vector })
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|n| n.is_null(row))
    }

    /// The lengths of the dimensions of one row's array; empty for an empty array.
    ///
    /// # Errors
    /// 2202E where the lists inside differ in length or are NULL.
    fn dimensions(&self, row: usize) -> Result<Vec<usize>, SqlError> {
        let range = self.ranges[row].clone();
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let mut dimensions = vec![range.len()];
        if let Column::List(inner) = &self.values {
            let mut below = None;
            for row in range {
                let found = if inner.is_null(row) { Err(ragged()) } else { inner.dimensions(row) }?;
                match &below {
                    None => below = Some(found),
                    Some(first) if *first == found => {}
                    Some(_) => return Err(ragged()),
                }
            }
            match below {
                // An array of empty arrays is an empty array.
                Some(below) if below.is_empty() => return Ok(Vec::new()),
                Some(below) => dimensions.extend(below),
                None => {}
            }
        }
        if dimensions.len() > DIMENSIONS_MAX {
            let message = format!("an array has at most {DIMENSIONS_MAX} dimensions");
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
        }
        Ok(dimensions)
    }

    /// Calls `visit` with the column of leaves and each leaf's row, in order.
    fn leaves(
        &self,
        row: usize,
        visit: &mut impl FnMut(&Column, &WireType, usize) -> Result<(), SqlError>,
    ) -> Result<(), SqlError> {
        for position in self.ranges[row].clone() {
            match &self.values {
                Column::List(inner) => inner.leaves(position, visit)?,
                column => visit(column, &self.element, position)?,
            }
        }
        Ok(())
    }
}

/// Where each row's elements lie, and the elements.
fn layout(array: &ArrayRef) -> (Vec<Range<usize>>, ArrayRef) {
    debug_assert!(is_list(array.data_type()));
    match array.data_type() {
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let ranges = list.value_offsets().windows(2).map(|w| index(w[0])..index(w[1])).collect();
            (ranges, list.values().clone())
        }
        DataType::FixedSizeList(_, length) => {
            let list = array.as_fixed_size_list();
            let length = index(i64::from(*length));
            ((0..list.len()).map(|row| row * length..(row + 1) * length).collect(), list.values().clone())
        }
        DataType::ListView(_) => {
            let list = array.as_list_view::<i32>();
            let pairs = list.value_offsets().iter().zip(list.value_sizes());
            let range = |(offset, size): (&i32, &i32)| index(i64::from(*offset))..index(i64::from(*offset + *size));
            (pairs.map(range).collect(), list.values().clone())
        }
        DataType::LargeListView(_) => {
            let list = array.as_list_view::<i64>();
            let pairs = list.value_offsets().iter().zip(list.value_sizes());
            (pairs.map(|(offset, size)| index(*offset)..index(*offset + *size)).collect(), list.values().clone())
        }
        _ => {
            let list = array.as_list::<i32>();
            let ranges = list.value_offsets().windows(2).map(|w| index(i64::from(w[0]))..index(i64::from(w[1])));
            (ranges.collect(), list.values().clone())
        }
    }
}

fn index(offset: i64) -> usize {
    usize::try_from(offset).expect("Arrow's offsets are not negative")
}

/// `{1,NULL,"a b",{2,3}}`.
pub(super) fn write_array_text(
    list: &ListColumn,
    row: usize,
    style: &Style,
    out: &mut BytesMut,
) -> Result<(), SqlError> {
    if list.dimensions(row)?.is_empty() {
        out.put_slice(b"{}");
        return Ok(());
    }
    let mut cell = BytesMut::new();
    write_braced(list, row, style, &mut cell, out)
}

fn write_braced(
    list: &ListColumn,
    row: usize,
    style: &Style,
    cell: &mut BytesMut,
    out: &mut BytesMut,
) -> Result<(), SqlError> {
    out.put_u8(b'{');
    for (index, position) in list.ranges[row].clone().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        match &list.values {
            Column::List(inner) => write_braced(inner, position, style, cell, out)?,
            column if column.is_null(position) => out.put_slice(b"NULL"),
            column => {
                cell.clear();
                column.write_text(position, style, cell)?;
                put_element(cell, out);
            }
        }
    }
    out.put_u8(b'}');
    Ok(())
}

fn put_element(cell: &[u8], out: &mut BytesMut) {
    let special = |b: &u8| matches!(b, b'"' | b'\\' | b'{' | b'}' | b',') || is_space(*b);
    if !cell.is_empty() && !cell.eq_ignore_ascii_case(b"NULL") && !cell.iter().any(special) {
        return out.put_slice(cell);
    }
    out.put_u8(b'"');
    for byte in cell {
        if matches!(byte, b'"' | b'\\') {
            out.put_u8(b'\\');
        }
        out.put_u8(*byte);
    }
    out.put_u8(b'"');
}

/// `1 2 3`.
pub(super) fn write_vector_text(
    list: &ListColumn,
    row: usize,
    style: &Style,
    out: &mut BytesMut,
) -> Result<(), SqlError> {
    let mut first = true;
    list.leaves(row, &mut |column, _, position| {
        if !std::mem::take(&mut first) {
            out.put_u8(b' ');
        }
        column.write_text(position, style, out)
    })
}

/// ndim, hasnull, element oid, (length, lower bound) of each dimension, then every element with its length.
pub(super) fn write_array_binary(
    list: &ListColumn,
    row: usize,
    style: &Style,
    out: &mut BytesMut,
) -> Result<(), SqlError> {
    let dimensions = list.dimensions(row)?;
    let mut has_null = false;
    let mut oid = leaf(&list.element).oid;
    list.leaves(row, &mut |column, wire, position| {
        has_null |= column.is_null(position);
        oid = wire.oid;
        Ok(())
    })?;
    out.put_i32(wire_count(dimensions.len())?);
    out.put_i32(i32::from(has_null));
    out.put_u32(oid);
    for length in dimensions {
        out.put_i32(wire_count(length)?);
        // The vectors of the catalog count from 0, arrays from 1.
        out.put_i32(i32::from(!list.is_vector));
    }
    list.leaves(row, &mut |column, wire, position| write_sized_binary(column, position, wire, style, out))
}

fn leaf(wire: &WireType) -> &WireType {
    match &wire.kind {
        Kind::Array(element) => leaf(element),
        _ => wire,
    }
}

fn ragged() -> SqlError {
    let message = "multidimensional arrays must have array expressions with matching dimensions";
    SqlError::new(SqlState("2202E"), message)
}
