//! One input batch of a tick, seen by the calls: rows, the tick group of each row, weights.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::buffer::BooleanBuffer;

/// One input batch of a tick, its rows dealt to tick groups: dense numbers that hold for this tick only.
#[derive(Debug, Clone, Copy)]
pub(super) struct TickBatch<'a> {
    /// All input columns.
    pub rows: &'a RecordBatch,
    /// The tick group of each row.
    pub groups: &'a [usize],
    /// Tick groups so far, this batch included.
    pub groups_total: usize,
    /// Weights, none of them zero; `None` where all are +1.
    pub weights: Option<&'a [i64]>,
}

impl TickBatch<'_> {
    /// The rows a call looks at: `filter` is true and none of `arguments` is NULL. `None` means all rows.
    pub fn selection(&self, filter: Option<usize>, arguments: &[usize]) -> Option<BooleanBuffer> {
        let mut selection = filter.map(|filter| self.filter(filter));
        for argument in arguments {
            if let Some(nulls) = self.rows.column(*argument).logical_nulls().filter(|nulls| nulls.null_count() > 0) {
                selection = Some(selection.map_or_else(|| nulls.inner().clone(), |s| &s & nulls.inner()));
            }
        }
        selection
    }

    /// The rows where the Boolean column `filter` is true.
    pub fn filter(&self, filter: usize) -> BooleanBuffer {
        let filter = self.rows.column(filter).as_boolean();
        match filter.nulls() {
            Some(nulls) => filter.values() & nulls.inner(),
            None => filter.values().clone(),
        }
    }

    /// Calls `visit(row, group, weight)` for the selected rows.
    // Inlined so that `visit` is compiled into four loops, the first of them without branches or weights.
    #[inline(always)]
    pub fn each(&self, selection: Option<&BooleanBuffer>, mut visit: impl FnMut(usize, usize, i64)) {
        match (selection, self.weights) {
            (None, None) => self.groups.iter().enumerate().for_each(|(row, group)| visit(row, *group, 1)),
            (None, Some(weights)) => {
                let pairs = self.groups.iter().zip(weights).enumerate();
                pairs.for_each(|(row, (group, weight))| visit(row, *group, *weight));
            }
            (Some(selected), None) => selected.set_indices().for_each(|row| visit(row, self.groups[row], 1)),
            (Some(selected), Some(weights)) => {
                selected.set_indices().for_each(|row| visit(row, self.groups[row], weights[row]));
            }
        }
    }
}
