//! `count`.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Int64Type};

use super::Kernel;
use crate::error::Result;
use crate::operator::aggregate::batch::TickBatch;

/// Counts rows in which no argument is NULL.
#[derive(Debug)]
pub(in super::super) struct CountKernel {
    pub arguments: Vec<usize>,
}

impl Kernel for CountKernel {
    type Cell = i64;

    fn arguments(&self) -> &[usize] {
        &self.arguments
    }

    fn fold(&self, batch: &TickBatch<'_>, selection: Option<&BooleanBuffer>, cells: &mut [i64]) -> Result<()> {
        batch.each(selection, |_, group, weight| cells[group] = cells[group].wrapping_add(weight));
        Ok(())
    }

    fn absorb(&self, cell: &mut i64, other: &i64) {
        *cell = cell.wrapping_add(*other);
    }

    fn same_answer(&self, a: &i64, b: &i64) -> bool {
        a == b
    }

    fn is_legal(&self, cell: &i64, rows: i64) -> bool {
        (0..=rows).contains(cell)
    }

    fn answers<'a>(&self, cells: impl Iterator<Item = &'a i64>) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from_iter_values(cells.copied())))
    }

    fn saved(&self) -> Vec<(&'static str, DataType)> {
        vec![("count", DataType::Int64)]
    }

    fn save<'a>(&self, cells: impl Iterator<Item = &'a i64>) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.answers(cells)?])
    }

    fn restore(&self, columns: &[ArrayRef]) -> Result<Vec<i64>> {
        Ok(columns[0].as_primitive::<Int64Type>().values().to_vec())
    }
}
