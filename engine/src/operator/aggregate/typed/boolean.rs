//! `bool_and`, `bool_or`, and `min` and `max` of Booleans, which are the same two.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Int64Type};

use super::Kernel;
use crate::error::Result;
use crate::operator::aggregate::batch::TickBatch;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum BooleanRule {
    /// True if no value is false.
    And,
    /// True if a value is true.
    Or,
}

/// Counts both values, so that a retraction is as easy as an insert.
#[derive(Debug)]
pub(in super::super) struct BooleanKernel {
    pub argument: [usize; 1],
    pub rule: BooleanRule,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in super::super) struct BooleanCell {
    trues: i64,
    falses: i64,
}

impl BooleanKernel {
    fn answer(&self, cell: &BooleanCell) -> Option<bool> {
        let answer = match self.rule {
            BooleanRule::And => cell.falses == 0,
            BooleanRule::Or => cell.trues > 0,
        };
        (cell.trues > 0 || cell.falses > 0).then_some(answer)
    }
}

impl Kernel for BooleanKernel {
    type Cell = BooleanCell;

    fn arguments(&self) -> &[usize] {
        &self.argument
    }

    fn fold(&self, batch: &TickBatch<'_>, selection: Option<&BooleanBuffer>, cells: &mut [BooleanCell]) -> Result<()> {
        let values = batch.rows.column(self.argument[0]).as_boolean().values();
        batch.each(selection, |row, group, weight| {
            let cell = &mut cells[group];
            let count = if values.value(row) { &mut cell.trues } else { &mut cell.falses };
            *count = count.wrapping_add(weight);
        });
        Ok(())
    }

    fn absorb(&self, cell: &mut BooleanCell, other: &BooleanCell) {
        cell.trues = cell.trues.wrapping_add(other.trues);
        cell.falses = cell.falses.wrapping_add(other.falses);
    }

    fn same_answer(&self, a: &BooleanCell, b: &BooleanCell) -> bool {
        self.answer(a) == self.answer(b)
    }

    fn is_legal(&self, cell: &BooleanCell, rows: i64) -> bool {
        cell.trues >= 0 && cell.falses >= 0 && cell.trues.saturating_add(cell.falses) <= rows
    }

    fn answers<'a>(&self, cells: impl Iterator<Item = &'a BooleanCell>) -> Result<ArrayRef> {
        Ok(Arc::new(cells.map(|cell| self.answer(cell)).collect::<BooleanArray>()))
    }

    fn saved(&self) -> Vec<(&'static str, DataType)> {
        vec![("trues", DataType::Int64), ("falses", DataType::Int64)]
    }

    fn save<'a>(&self, cells: impl Iterator<Item = &'a BooleanCell>) -> Result<Vec<ArrayRef>> {
        let (trues, falses): (Vec<_>, Vec<_>) = cells.map(|cell| (cell.trues, cell.falses)).unzip();
        Ok(vec![Arc::new(Int64Array::from(trues)), Arc::new(Int64Array::from(falses))])
    }

    fn restore(&self, columns: &[ArrayRef]) -> Result<Vec<BooleanCell>> {
        let [trues, falses] = [0, 1].map(|i: usize| columns[i].as_primitive::<Int64Type>());
        let cell = |i| BooleanCell { trues: trues.value(i), falses: falses.value(i) };
        Ok((0..trues.len()).map(cell).collect())
    }
}
