//! Calls with a kernel of their own: one cell of fixed shape a group, changed in place.
//!
//! A tick's rows are first added up in cells of their own, one for each tick group, with their weights: a retraction is an
//! addition of weight -1. Then each is added to the cell kept. So the cell is that of all rows so far, whatever their order, and
//! rows that come and go in one tick leave no trace. Where the answer moves, the tick's cell takes over the old one: from it
//! the row to retract is made.

mod boolean;
mod count;
mod exact_sum;
mod float_sum;
mod min_max;
mod min_max_bytes;
pub(super) mod native;
mod sum;

use std::fmt::Debug;

use arrow::array::ArrayRef;
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, FieldRef};

pub(super) use boolean::{BooleanKernel, BooleanRule};
pub(super) use count::CountKernel;
pub(super) use float_sum::FloatSumKernel;
pub(super) use min_max::MinMaxKernel;
pub(super) use min_max_bytes::{MinMaxBytesKernel, byte_array, byte_column};
pub(super) use sum::{Narrow, SumKernel, Wide, needs_wide};

use super::batch::TickBatch;
use super::call::{CallPlan, CallState, TouchedGroups, retraction_without_insert};
use super::hop::Expansion;
use crate::error::Result;
use crate::state::size::{UnitBytes, grown};

/// How one function folds rows into cells and reads answers from them.
pub(super) trait Kernel: Debug + Send + 'static {
    /// What one group needs. The default is the empty group.
    type Cell: Clone + Default + Debug + Send;

    /// Input columns that hold the arguments; a row in which one is NULL is not folded.
    fn arguments(&self) -> &[usize];

    /// Folds the selected rows into the cells of their groups.
    fn fold(&self, batch: &TickBatch<'_>, selection: Option<&BooleanBuffer>, cells: &mut [Self::Cell]) -> Result<()>;

    /// Adds `other` to `cell`.
    fn absorb(&self, cell: &mut Self::Cell, other: &Self::Cell);

    /// True if the two cells give the same answer.
    fn same_answer(&self, a: &Self::Cell, b: &Self::Cell) -> bool;

    /// True if `cell` can be that of a group of `rows` rows, every one of them inserted before it was retracted.
    fn is_legal(&self, cell: &Self::Cell, rows: i64) -> bool;

    /// The answers of `cells`.
    fn answers<'a>(&self, cells: impl Iterator<Item = &'a Self::Cell>) -> Result<ArrayRef>;

    /// Adds `part` to `state`. If the answer changes, `part` becomes what `state` was, and the result is true.
    fn merge(&self, state: &mut Self::Cell, part: &mut Self::Cell) -> bool {
        let mut merged = state.clone();
        self.absorb(&mut merged, part);
        let changed = !self.same_answer(&merged, state);
        *part = std::mem::replace(state, merged);
        changed
    }

    /// Names (to follow the call's) and types of the columns a cell is saved in.
    fn saved(&self) -> Vec<(&'static str, DataType)>;

    /// Those columns for `cells`.
    fn save<'a>(&self, cells: impl Iterator<Item = &'a Self::Cell>) -> Result<Vec<ArrayRef>>;

    /// Cells from those columns.
    fn restore(&self, columns: &[ArrayRef]) -> Result<Vec<Self::Cell>>;

    /// Bytes that a cell owns elsewhere.
    fn heap_bytes(&self, cell: &Self::Cell) -> usize {
        let _ = cell;
        0
    }

    /// The same of a cell with a value of the size that values are taken to have.
    fn heap_bytes_each(&self) -> usize {
        0
    }
}

/// One call computed by a kernel.
#[derive(Debug)]
pub(super) struct TypedState<K: Kernel> {
    kernel: K,
    name: String,
    filter: Option<usize>,
    /// One cell a slot.
    cells: Vec<K::Cell>,
    /// One cell a tick group: first the tick's own, after the merge the old state where `changed`.
    partials: Vec<K::Cell>,
    changed: Vec<bool>,
    slots: Vec<u32>,
    heap_bytes: usize,
}

impl<K: Kernel> TypedState<K> {
    pub fn new(kernel: K, name: &str, filter: Option<usize>) -> Self {
        Self {
            kernel,
            name: name.to_owned(),
            filter,
            cells: Vec::new(),
            partials: Vec::new(),
            changed: Vec::new(),
            slots: Vec::new(),
            heap_bytes: 0,
        }
    }

    fn before(&self, group: u32) -> &K::Cell {
        let group = group as usize;
        if self.changed[group] { &self.partials[group] } else { &self.cells[self.slots[group] as usize] }
    }
}

impl<K: Kernel> CallState for TypedState<K> {
    fn fold(&mut self, batch: &TickBatch<'_>) -> Result<()> {
        self.partials.resize(batch.groups_total, K::Cell::default());
        let selection = batch.selection(self.filter, self.kernel.arguments());
        self.kernel.fold(batch, selection.as_ref(), &mut self.partials)
    }

    fn expand(&mut self, expansion: &Expansion) -> Result<()> {
        let mut windows = vec![K::Cell::default(); expansion.groups_total()];
        for (slice, partial) in self.partials.iter().enumerate() {
            for window in expansion.windows(slice) {
                self.kernel.absorb(&mut windows[*window as usize], partial);
            }
        }
        self.partials = windows;
        Ok(())
    }

    fn merge(&mut self, touched: &TouchedGroups<'_>, changed: &mut [bool]) -> Result<()> {
        self.cells.resize(touched.slots_end.max(self.cells.len()), K::Cell::default());
        self.partials.resize(touched.slots.len(), K::Cell::default());
        self.slots.extend_from_slice(touched.slots);
        for (group, (slot, partial)) in touched.slots.iter().zip(&mut self.partials).enumerate() {
            let cell = &mut self.cells[*slot as usize];
            let heap_before = self.kernel.heap_bytes(cell);
            let differs = self.kernel.merge(cell, partial);
            self.heap_bytes = self.heap_bytes - heap_before + self.kernel.heap_bytes(cell);
            if !self.kernel.is_legal(cell, touched.rows[group]) {
                return Err(retraction_without_insert(&self.name));
            }
            self.changed.push(differs);
            changed[group] |= differs;
        }
        Ok(())
    }

    fn answers(&self, before: &[u32], slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let before = before.iter().map(|group| self.before(*group));
        let present = slots.iter().map(|slot| &self.cells[*slot as usize]);
        let answers = self.kernel.answers(before.chain(present));
        Ok(vec![answers.map_err(|e| crate::Error::new(e.kind(), self.name.clone()).with_source(e))?])
    }

    fn end_tick(&mut self) {
        self.partials.clear();
        self.changed.clear();
        self.slots.clear();
    }

    fn remove(&mut self, slots: &[u32]) {
        for slot in slots {
            if let Some(cell) = self.cells.get_mut(*slot as usize) {
                self.heap_bytes -= self.kernel.heap_bytes(cell);
                *cell = K::Cell::default();
            }
        }
    }

    fn saved_columns(&self) -> Vec<FieldRef> {
        let column =
            |(suffix, data_type): (&str, DataType)| Field::new(format!("{}_{suffix}", self.name), data_type, true);
        self.kernel.saved().into_iter().map(|saved| column(saved).into()).collect()
    }

    fn save_columns(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        self.kernel.save(slots.iter().map(|slot| &self.cells[*slot as usize]))
    }

    fn restore_columns(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        for (slot, cell) in slots.iter().zip(self.kernel.restore(columns)?) {
            let slot = *slot as usize;
            self.cells.resize(self.cells.len().max(slot + 1), K::Cell::default());
            self.heap_bytes += self.kernel.heap_bytes(&cell);
            self.cells[slot] = cell;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        (self.cells.capacity() + self.partials.capacity()) * size_of::<K::Cell>()
            + self.changed.capacity()
            + self.slots.capacity() * size_of::<u32>()
            + self.heap_bytes
    }

    fn bytes_each_group(&self) -> UnitBytes {
        UnitBytes::lasting(grown(size_of::<K::Cell>())) + UnitBytes::passing(self.kernel.heap_bytes_each())
    }

    fn explain(&self) -> Vec<CallPlan> {
        vec![CallPlan { path: "typed", cost: "delta", keeps: "one value" }]
    }
}
