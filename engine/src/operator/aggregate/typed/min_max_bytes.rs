//! `min` and `max` of strings and byte strings over append-only input. Strings order bytewise.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, LargeBinaryArray, LargeStringArray, StringArray,
    StringViewArray,
};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::DataType;

use super::Kernel;
use crate::error::{Error, Result};
use crate::operator::aggregate::batch::TickBatch;
use crate::state::size::TEXT_BYTES_GUESS;

/// Keeps the best value so far.
#[derive(Debug)]
pub(in super::super) struct MinMaxBytesKernel {
    pub argument: [usize; 1],
    pub data_type: DataType,
    pub is_max: bool,
}

impl MinMaxBytesKernel {
    fn better(&self, a: &[u8], b: &[u8]) -> bool {
        if self.is_max { a > b } else { a < b }
    }
}

impl Kernel for MinMaxBytesKernel {
    type Cell = Option<Box<[u8]>>;

    fn arguments(&self) -> &[usize] {
        &self.argument
    }

    fn fold(&self, batch: &TickBatch<'_>, selection: Option<&BooleanBuffer>, cells: &mut [Self::Cell]) -> Result<()> {
        let value = byte_column(batch.rows.column(self.argument[0]))?;
        batch.each(selection, |row, group, _| {
            let value = value(row);
            match &mut cells[group] {
                Some(best) if !self.better(value, best) => {}
                cell => *cell = Some(value.into()),
            }
        });
        Ok(())
    }

    fn absorb(&self, cell: &mut Self::Cell, other: &Self::Cell) {
        if let Some(value) = other
            && cell.as_ref().is_none_or(|best| self.better(value, best))
        {
            *cell = Some(value.clone());
        }
    }

    fn same_answer(&self, a: &Self::Cell, b: &Self::Cell) -> bool {
        a == b
    }

    fn is_legal(&self, _cell: &Self::Cell, _rows: i64) -> bool {
        true
    }

    fn answers<'a>(&self, cells: impl Iterator<Item = &'a Self::Cell>) -> Result<ArrayRef> {
        byte_array(&self.data_type, cells.map(Option::as_deref))
    }

    // Without the default's copy of the state: most ticks do not move a group's best value.
    fn merge(&self, state: &mut Self::Cell, part: &mut Self::Cell) -> bool {
        let wins = match (&*state, &*part) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(best), Some(value)) => self.better(value, best),
        };
        if wins {
            std::mem::swap(state, part);
        }
        wins
    }

    fn saved(&self) -> Vec<(&'static str, DataType)> {
        vec![("best", self.data_type.clone())]
    }

    fn save<'a>(&self, cells: impl Iterator<Item = &'a Self::Cell>) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.answers(cells)?])
    }

    fn restore(&self, columns: &[ArrayRef]) -> Result<Vec<Self::Cell>> {
        let value = byte_column(&columns[0])?;
        Ok((0..columns[0].len()).map(|row| columns[0].is_valid(row).then(|| value(row).into())).collect())
    }

    fn heap_bytes_each(&self) -> usize {
        TEXT_BYTES_GUESS
    }

    fn heap_bytes(&self, cell: &Self::Cell) -> usize {
        cell.as_ref().map_or(0, |best| best.len())
    }
}

/// Reads a row of a string or byte string column; what it gives for a NULL row means nothing.
///
/// # Errors
/// `Internal` if the column is of another type.
pub(in super::super) fn byte_column<'a>(column: &'a ArrayRef) -> Result<Box<dyn Fn(usize) -> &'a [u8] + 'a>> {
    Ok(match column.data_type() {
        DataType::Utf8 => {
            let column = column.as_string::<i32>();
            Box::new(|row| column.value(row).as_bytes())
        }
        DataType::LargeUtf8 => {
            let column = column.as_string::<i64>();
            Box::new(|row| column.value(row).as_bytes())
        }
        DataType::Utf8View => {
            let column = column.as_string_view();
            Box::new(|row| column.value(row).as_bytes())
        }
        DataType::Binary => {
            let column = column.as_binary::<i32>();
            Box::new(|row| column.value(row))
        }
        DataType::LargeBinary => {
            let column = column.as_binary::<i64>();
            Box::new(|row| column.value(row))
        }
        DataType::BinaryView => {
            let column = column.as_binary_view();
            Box::new(|row| column.value(row))
        }
        other => return Err(Error::internal(format!("{other} is not a type of strings"))),
    })
}

/// A string or byte string column.
///
/// # Errors
/// `Internal` if `data_type` is another type; `Data` if strings are not UTF-8.
pub(in super::super) fn byte_array<'a>(
    data_type: &DataType,
    values: impl Iterator<Item = Option<&'a [u8]>>,
) -> Result<ArrayRef> {
    let text = |value: Option<&'a [u8]>| match value.map(std::str::from_utf8).transpose() {
        Ok(text) => Ok(text),
        Err(error) => Err(Error::data("a kept string is not UTF-8").with_source(error)),
    };
    Ok(match data_type {
        DataType::Utf8 => Arc::new(values.map(text).collect::<Result<StringArray>>()?),
        DataType::LargeUtf8 => Arc::new(values.map(text).collect::<Result<LargeStringArray>>()?),
        DataType::Utf8View => Arc::new(values.map(text).collect::<Result<StringViewArray>>()?),
        DataType::Binary => Arc::new(values.collect::<BinaryArray>()),
        DataType::LargeBinary => Arc::new(values.collect::<LargeBinaryArray>()),
        DataType::BinaryView => Arc::new(values.collect::<BinaryViewArray>()),
        other => return Err(Error::internal(format!("{other} is not a type of strings"))),
    })
}
