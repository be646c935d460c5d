//! `sum` and `avg` of floats: exact totals, rounded once when answered.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Float64Array, Int64Array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Float64Type, Int64Type};

use super::Kernel;
use super::exact_sum::ExactSum;
use super::native::{Native, native_values};
use crate::error::{Error, Result};
use crate::operator::aggregate::batch::TickBatch;

/// Sums floats of machine number `N`; answers are Float64.
#[derive(Debug)]
pub(in super::super) struct FloatSumKernel<N> {
    argument: [usize; 1],
    is_average: bool,
    native: PhantomData<fn() -> N>,
}

#[derive(Debug, Clone, Default)]
pub(in super::super) struct FloatSumCell {
    sum: ExactSum,
    count: i64,
}

impl<N: Native + Into<f64>> FloatSumKernel<N> {
    /// `N` must be the machine number of the argument's type.
    pub fn new(argument: usize, is_average: bool) -> Self {
        Self { argument: [argument], is_average, native: PhantomData }
    }

    fn answer(&self, cell: &FloatSumCell) -> Option<f64> {
        let divisor = if self.is_average { cell.count as f64 } else { 1.0 };
        (cell.count != 0).then(|| cell.sum.value() / divisor)
    }
}

impl<N: Native + Into<f64>> Kernel for FloatSumKernel<N> {
    type Cell = FloatSumCell;

    fn arguments(&self) -> &[usize] {
        &self.argument
    }

    fn fold(&self, batch: &TickBatch<'_>, selection: Option<&BooleanBuffer>, cells: &mut [Self::Cell]) -> Result<()> {
        let data = batch.rows.column(self.argument[0]).to_data();
        let values = native_values::<N>(&data);
        batch.each(selection, |row, group, weight| {
            let cell = &mut cells[group];
            cell.sum.add_weighted(values[row].into(), weight);
            cell.count = cell.count.wrapping_add(weight);
        });
        Ok(())
    }

    fn absorb(&self, cell: &mut Self::Cell, other: &Self::Cell) {
        cell.sum.absorb(&other.sum);
        cell.sum.settle();
        cell.count = cell.count.wrapping_add(other.count);
    }

    fn same_answer(&self, a: &Self::Cell, b: &Self::Cell) -> bool {
        self.answer(a).map(f64::to_bits) == self.answer(b).map(f64::to_bits)
    }

    fn is_legal(&self, cell: &Self::Cell, rows: i64) -> bool {
        (0..=rows).contains(&cell.count) && cell.sum.is_legal() && (cell.count > 0 || cell.sum.is_empty())
    }

    fn answers<'a>(&self, cells: impl Iterator<Item = &'a Self::Cell>) -> Result<ArrayRef> {
        Ok(Arc::new(cells.map(|cell| self.answer(cell)).collect::<Float64Array>()))
    }

    fn saved(&self) -> Vec<(&'static str, DataType)> {
        vec![
            ("high", DataType::Float64),
            ("low", DataType::Float64),
            ("rest", DataType::Binary),
            ("count", DataType::Int64),
        ]
    }

    fn save<'a>(&self, cells: impl Iterator<Item = &'a Self::Cell>) -> Result<Vec<ArrayRef>> {
        let (parts, counts): (Vec<_>, Vec<_>) = cells.map(|cell| (cell.sum.to_parts(), cell.count)).unzip();
        let high = Float64Array::from_iter_values(parts.iter().map(|(high, _, _)| *high));
        let low = Float64Array::from_iter_values(parts.iter().map(|(_, low, _)| *low));
        let rest: BinaryArray = parts.iter().map(|(_, _, rest)| rest.as_deref()).collect();
        Ok(vec![Arc::new(high), Arc::new(low), Arc::new(rest), Arc::new(Int64Array::from(counts))])
    }

    fn restore(&self, columns: &[ArrayRef]) -> Result<Vec<Self::Cell>> {
        let [high, low] = [0, 1].map(|i: usize| columns[i].as_primitive::<Float64Type>());
        let (rest, counts) = (columns[2].as_binary::<i32>(), columns[3].as_primitive::<Int64Type>());
        let cell = |row: usize| {
            let rest = rest.is_valid(row).then(|| rest.value(row));
            let sum = ExactSum::from_parts(high.value(row), low.value(row), rest);
            let sum = sum.ok_or_else(|| Error::data("a saved float sum is broken"))?;
            Ok(FloatSumCell { sum, count: counts.value(row) })
        };
        (0..counts.len()).map(cell).collect()
    }

    fn heap_bytes(&self, cell: &Self::Cell) -> usize {
        cell.sum.heap_bytes()
    }
}
