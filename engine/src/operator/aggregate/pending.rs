//! A tick's rows on their way into a multiset: encoded, grouped, not yet under slots.

use arrow::buffer::BooleanBuffer;
use arrow::row::Rows;

use super::batch::TickBatch;
use super::hop::Expansion;

/// Rows of one tick, batch by batch.
#[derive(Debug, Default)]
pub(super) struct PendingRows {
    batches: Vec<PendingBatch>,
    /// Set where tick groups are slices, whose rows go into several windows.
    windows: Option<(Vec<usize>, Vec<u32>)>,
}

#[derive(Debug)]
struct PendingBatch {
    rows: Rows,
    groups: Vec<u32>,
    weights: Option<Vec<i64>>,
    /// For each call: the rows it looks at; `None` means all.
    selections: Vec<Option<BooleanBuffer>>,
}

/// One row on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct PendingRow<'a> {
    /// The encoded row.
    pub bytes: &'a [u8],
    /// Its tick group.
    pub group: u32,
    /// Its weight, not zero.
    pub weight: i64,
    selections: &'a [Option<BooleanBuffer>],
    row: usize,
}

impl PendingRow<'_> {
    /// Whether the call looks at this row.
    pub fn selected(&self, call: usize) -> bool {
        self.selections[call].as_ref().is_none_or(|selection| selection.value(self.row))
    }
}

impl PendingRows {
    /// Adds the rows of `batch`, encoded as `rows`.
    pub fn push(&mut self, batch: &TickBatch<'_>, rows: Rows, selections: Vec<Option<BooleanBuffer>>) {
        let groups = batch.groups.iter().map(|group| *group as u32).collect();
        let weights = batch.weights.map(<[i64]>::to_vec);
        self.batches.push(PendingBatch { rows, groups, weights, selections });
    }

    /// From now on the rows of a slice are in each of its windows.
    pub fn expand(&mut self, expansion: &Expansion) {
        self.windows = Some(expansion.to_parts());
    }

    /// All rows that some call looks at, each under each of its groups.
    pub fn rows(&self) -> impl Iterator<Item = PendingRow<'_>> {
        self.batches.iter().flat_map(move |batch| {
            (0..batch.groups.len()).flat_map(move |row| {
                let group = batch.groups[row];
                let weight = batch.weights.as_ref().map_or(1, |weights| weights[row]);
                let pending =
                    PendingRow { bytes: batch.rows.row(row).data(), group, weight, selections: &batch.selections, row };
                let wanted = (0..batch.selections.len()).any(|call| pending.selected(call));
                let groups = if wanted { self.groups(batch, row) } else { &[] };
                groups.iter().map(move |group| PendingRow { group: *group, ..pending })
            })
        })
    }

    fn groups<'a>(&'a self, batch: &'a PendingBatch, row: usize) -> &'a [u32] {
        match &self.windows {
            None => &batch.groups[row..row + 1],
            Some((starts, windows)) => {
                let slice = batch.groups[row] as usize;
                &windows[starts[slice]..starts[slice + 1]]
            }
        }
    }

    /// Forgets the tick.
    pub fn clear(&mut self) {
        self.batches.clear();
        self.windows = None;
    }
}
