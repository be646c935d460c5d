//! One row a group: the least of all that came. What is greater can be forgotten, for the least never goes.

use std::collections::HashMap;

use super::Change;
use crate::error::Result;
use crate::state::row_store::RowStore;

/// The first row of each group of an append-only input.
#[derive(Debug)]
pub(super) struct FirstRows {
    rows: RowStore,
    /// By slot: whether there is a row.
    present: Vec<bool>,
    /// The slots whose row changed in this tick, with the row they had.
    changed: HashMap<u32, Option<Box<[u8]>>>,
}

impl FirstRows {
    /// No rows, of `width` bytes or of any length.
    pub fn new(width: Option<usize>) -> Self {
        Self { rows: RowStore::new(width), present: Vec::new(), changed: HashMap::new() }
    }

    /// Puts `row` in place of a later one.
    pub fn add(&mut self, slot: u32, row: &[u8]) -> Result<()> {
        if self.present.len() <= slot as usize {
            self.present.resize(slot as usize + 1, false);
        }
        let present = std::mem::replace(&mut self.present[slot as usize], true);
        if present && self.rows.get(slot) <= row {
            return Ok(());
        }
        let rows = &self.rows;
        // Only the first change of a tick notes the row: it is the one that was put out, and those in between never were.
        self.changed.entry(slot).or_insert_with(|| present.then(|| rows.get(slot).into()));
        self.rows.set(slot, row)
    }

    /// The row of `slot`.
    pub fn row(&self, slot: u32) -> &[u8] {
        self.rows.get(slot)
    }

    /// What changed in this tick.
    pub fn end_tick(&mut self) -> Vec<Change> {
        let mut changes = Vec::with_capacity(self.changed.len() * 2);
        let mut changed: Vec<_> = self.changed.drain().collect();
        changed.sort_unstable_by_key(|(slot, _)| *slot);
        for (slot, before) in changed {
            changes.extend(before.map(|row| Change { slot, row, rank: 1, weight: -1 }));
            changes.push(Change { slot, row: self.rows.get(slot).into(), rank: 1, weight: 1 });
        }
        changes
    }

    /// Forgets the row of `slot`.
    pub fn remove(&mut self, slot: u32) {
        self.rows.clear(slot);
        self.present[slot as usize] = false;
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.rows.bytes() + self.present.capacity()
    }
}
