//! `min` and `max` of numbers, times and decimals over append-only input.

use std::marker::PhantomData;

use arrow::array::{Array, ArrayRef};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::DataType;

use super::Kernel;
use super::native::{Native, native_array, native_values};
use crate::error::Result;
use crate::operator::aggregate::batch::TickBatch;

/// Keeps the best value so far, as its ordinal.
#[derive(Debug)]
pub(in super::super) struct MinMaxKernel<N> {
    argument: [usize; 1],
    data_type: DataType,
    is_max: bool,
    native: PhantomData<fn() -> N>,
}

impl<N: Native> MinMaxKernel<N> {
    /// `N` must be the machine number of `data_type`.
    pub fn new(argument: usize, data_type: DataType, is_max: bool) -> Self {
        Self { argument: [argument], data_type, is_max, native: PhantomData }
    }

    fn fold_with<F: Fn(N::Ordinal, N::Ordinal) -> bool>(
        &self,
        batch: &TickBatch<'_>,
        selection: Option<&BooleanBuffer>,
        cells: &mut [Option<N::Ordinal>],
        better: F,
    ) {
        let data = batch.rows.column(self.argument[0]).to_data();
        let values = native_values::<N>(&data);
        batch.each(selection, |row, group, _| {
            let value = values[row].ordinal();
            match &mut cells[group] {
                Some(best) if !better(value, *best) => {}
                cell => *cell = Some(value),
            }
        });
    }
}

impl<N: Native> Kernel for MinMaxKernel<N> {
    type Cell = Option<N::Ordinal>;

    fn arguments(&self) -> &[usize] {
        &self.argument
    }

    fn fold(&self, batch: &TickBatch<'_>, selection: Option<&BooleanBuffer>, cells: &mut [Self::Cell]) -> Result<()> {
        if self.is_max {
            self.fold_with(batch, selection, cells, |value, best| value > best);
        } else {
            self.fold_with(batch, selection, cells, |value, best| value < best);
        }
        Ok(())
    }

    fn absorb(&self, cell: &mut Self::Cell, other: &Self::Cell) {
        let better = |a: N::Ordinal, b: N::Ordinal| if self.is_max { a > b } else { a < b };
        if other.is_some_and(|value| cell.is_none_or(|best| better(value, best))) {
            *cell = *other;
        }
    }

    fn same_answer(&self, a: &Self::Cell, b: &Self::Cell) -> bool {
        a == b
    }

    fn is_legal(&self, _cell: &Self::Cell, _rows: i64) -> bool {
        true
    }

    fn answers<'a>(&self, cells: impl Iterator<Item = &'a Self::Cell>) -> Result<ArrayRef> {
        native_array(&self.data_type, cells.map(|cell| cell.map(N::from_ordinal)))
    }

    fn saved(&self) -> Vec<(&'static str, DataType)> {
        vec![("best", self.data_type.clone())]
    }

    fn save<'a>(&self, cells: impl Iterator<Item = &'a Self::Cell>) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.answers(cells)?])
    }

    fn restore(&self, columns: &[ArrayRef]) -> Result<Vec<Self::Cell>> {
        let data = columns[0].to_data();
        let values = native_values::<N>(&data).iter().enumerate();
        Ok(values.map(|(row, value)| columns[0].is_valid(row).then(|| value.ordinal())).collect())
    }
}
