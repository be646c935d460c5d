//! The first rows of each group in an order: Top-N, `ORDER BY … LIMIT`, DISTINCT ON, and keeping one row a key.
//!
//! ```text
//! input rows -> keys: slots -> kept rows of each group, in order -> the ranks asked for, before and after -> what moved
//! ```
//!
//! Over an append-only input a row beyond the last rank asked for can never come back, so only so many are kept
//! ([`first`]: one row a key, in place; [`ordered`]: several). An input that retracts keeps every row in order.
//!
//! # The rule
//! A tick changes the answer of no group but those its rows are in. Of each of these the answer is written down when the tick
//! first touches it, and held against the one at the tick's end: rows of the old alone go, rows of the new alone come. Where the
//! rank is a column, a row that moves is another row: `-(row, 1) +(row, 2)`. Where it is none, a row that moves and stays within
//! the ranks asked for is in both answers, and nothing is said of it.
//!
//! ```text
//! the first 2 by v, downwards     rows in order     out
//! tick 1   +5 +9 +7               9 7 | 5           +9 +7
//! tick 2   +8                     9 8 | 7 5         -7 +8
//! tick 3   -9                     8 7 | 5           -9 +7      7 comes back: this is why an input that retracts keeps all
//! ```
//!
//! # What is kept, and when it goes
//! Each kind of rank counts rows (or different orders) that stand before, so where rows only come a rank can only grow. What is
//! behind the last rank asked for is forgotten at once, and what comes behind it is not taken in. (The other columns settle ties, so
//! the order is one and the same however rows arrive.) A group goes when it has no rows, or when its monotone key is below
//! [`closed_below`](TickContext::closed_below): no row of it comes or goes then, and its answer has been put out, or is in
//! this tick.

mod explain;
mod first;
mod ordered;
mod spec;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::datatypes::SchemaRef;
pub use spec::{Rank, TopNSpec};

use self::first::FirstRows;
use self::ordered::{OrderedRows, Ranked};
use super::aggregate::Emit;
use super::keyed::{Keys, SavedRow, save_rows, saved_rows, unexpected_retraction};
use super::row_layout::RowLayout;
use super::state_bound::Held;
use super::{Operator, SavedState, TickContext};
use crate::delta::{Delta, Weights};
use crate::error::{Error, Result};

/// The first rows of each group.
#[derive(Debug)]
pub struct TopNOperator {
    spec: TopNSpec,
    output: SchemaRef,
    layout: RowLayout,
    keys: Keys,
    kept: Kept,
}

/// The rows kept.
#[derive(Debug)]
enum Kept {
    First(FirstRows),
    Ordered(OrderedRows),
}

/// A row of the answer that came or went.
#[derive(Debug)]
struct Change {
    slot: u32,
    row: Box<[u8]>,
    rank: u64,
    weight: i64,
}

impl TopNOperator {
    /// A Top-N without input so far.
    ///
    /// # Errors
    /// `Internal` if `spec` contradicts itself; `Unsupported` if a column's type has no row format.
    pub fn try_new(spec: TopNSpec) -> Result<Self> {
        spec.check()?;
        let layout = RowLayout::try_new(&spec.input, &spec.keys, &spec.order)?;
        let fields: Vec<_> = spec.keys.iter().map(|key| spec.input.fields()[*key].clone()).collect();
        let monotone = spec.monotone_key.and_then(|column| spec.keys.iter().position(|key| *key == column));
        let kept = if spec.keeps_one_row() {
            Kept::First(FirstRows::new(layout.fixed_width()))
        } else {
            Kept::Ordered(OrderedRows::new(&spec))
        };
        Ok(Self { output: spec.output_schema(), layout, keys: Keys::try_new(&fields, monotone)?, kept, spec })
    }

    fn fold(&mut self, delta: &Delta) -> Result<()> {
        let rows = delta.num_rows();
        let columns = delta.rows.columns();
        let slots = self.keys.slots(&self.layout.keys(columns), rows)?;
        let encoded = self.layout.encode(columns, rows, self.spec.rank != Rank::RowNumber)?;
        for (row, slot) in slots.into_iter().enumerate() {
            let weight = delta.weight(row);
            if !self.spec.input_weighted && weight != 1 {
                return Err(unexpected_retraction());
            }
            match &mut self.kept {
                Kept::First(first) => first.add(slot, encoded.row(row))?,
                Kept::Ordered(ordered) => ordered.add(slot, encoded.row(row), encoded.order_length(row), weight),
            }
        }
        Ok(())
    }

    /// The batch of some changes, in order of weight.
    fn delta(&self, changes: &[Change]) -> Result<Option<Delta>> {
        if changes.is_empty() {
            return Ok(None);
        }
        let slots = changes.iter().map(|change| change.slot);
        let mut columns = self.layout.decode(&self.keys, slots, changes.iter().map(|change| change.row.as_ref()))?;
        if self.spec.rank_column.is_some() {
            let ranks = UInt64Array::from_iter_values(changes.iter().map(|change| change.rank));
            columns.push(Arc::new(ranks) as ArrayRef);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(changes.len()));
        let rows = RecordBatch::try_new_with_options(self.output.clone(), columns, &options);
        let rows = rows.map_err(|e| Error::internal("a Top-N's rows do not fit its output").with_source(e))?;
        let weights = Int64Array::from_iter_values(changes.iter().map(|change| change.weight));
        Ok(Some(Delta { rows, weights: Weights::Signed(weights) }))
    }

    /// The whole answer of `slots`, each copy of a row by itself, as it goes over an edge without weights.
    fn answers(&self, slots: &[u32]) -> Vec<Change> {
        let mut changes = Vec::new();
        for slot in slots {
            let ranked = match &self.kept {
                Kept::First(first) => vec![Ranked { row: first.row(*slot).into(), rank: 1, weight: 1 }],
                Kept::Ordered(ordered) => ordered.answer(*slot),
            };
            for Ranked { row, rank, weight } in ranked {
                let copies = std::iter::repeat_n(row, usize::try_from(weight).unwrap_or_default());
                changes.extend(copies.map(|row| Change { slot: *slot, row, rank, weight: 1 }));
            }
        }
        changes
    }

    fn remove(&mut self, slots: &[u32]) {
        for slot in slots {
            match &mut self.kept {
                Kept::First(first) => first.remove(*slot),
                Kept::Ordered(ordered) => ordered.remove(*slot),
            }
            self.keys.remove(*slot);
        }
    }
}

impl Operator for TopNOperator {
    fn step(&mut self, inputs: Vec<Vec<Delta>>, tick: &TickContext) -> Result<Vec<Delta>> {
        for delta in inputs.iter().flatten() {
            self.fold(delta)?;
        }
        let (mut changes, empty) = match &mut self.kept {
            Kept::First(first) => (first.end_tick(), Vec::new()),
            Kept::Ordered(ordered) => ordered.end_tick()?,
        };
        let end = tick.closed_below.filter(|_| self.spec.monotone_key.is_some());
        let closes = self.spec.emit == Emit::OnClose;
        let finished = match end {
            Some(end) if closes || tick.evict => self.keys.take_final(end),
            _ => Vec::new(),
        };
        if closes {
            changes = self.answers(&finished);
        }
        let delta = self.delta(&changes)?;
        if tick.evict {
            self.remove(&finished);
        } else {
            self.keys.mark_closed(&finished);
        }
        let finished: std::collections::HashSet<u32> = finished.into_iter().filter(|_| tick.evict).collect();
        let empty: Vec<u32> = empty.into_iter().filter(|slot| !finished.contains(slot)).collect();
        self.remove(&empty);
        self.keys.advance(end);
        Ok(delta.into_iter().collect())
    }

    fn output_schema(&self) -> SchemaRef {
        self.output.clone()
    }

    fn save(&mut self) -> Result<SavedState> {
        let mut saved = Vec::new();
        let mut rows: Vec<&[u8]> = Vec::new();
        for slot in self.keys.live() {
            let closed = self.keys.is_closed(slot);
            match &self.kept {
                Kept::First(first) => {
                    saved.push(SavedRow { slot, weight: 1, closed });
                    rows.push(first.row(slot));
                }
                Kept::Ordered(ordered) => {
                    for (row, weight) in ordered.rows(slot) {
                        saved.push(SavedRow { slot, weight, closed });
                        rows.push(row);
                    }
                }
            }
        }
        let columns = |range: std::ops::Range<usize>| {
            let slots = saved[range.clone()].iter().map(|row| row.slot);
            self.layout.decode(&self.keys, slots, rows[range].iter().copied())
        };
        save_rows(&self.spec.keys, &self.spec.input, &saved, columns)
    }

    fn restore(&mut self, state: SavedState) -> Result<()> {
        for saved in saved_rows(state, &self.spec.input)? {
            let slots = self.keys.restore(&self.layout.keys(&saved.columns), &saved.closed)?;
            let encoded = self.layout.encode(&saved.columns, slots.len(), self.spec.rank != Rank::RowNumber)?;
            for (row, slot) in slots.into_iter().enumerate() {
                match &mut self.kept {
                    Kept::First(first) => first.add(slot, encoded.row(row))?,
                    Kept::Ordered(ordered) => {
                        ordered.restore(slot, encoded.row(row), encoded.order_length(row), saved.weights.value(row));
                    }
                }
            }
        }
        if let Kept::First(first) = &mut self.kept {
            first.end_tick();
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        let rows = match &self.kept {
            Kept::First(first) => first.bytes(),
            Kept::Ordered(ordered) => ordered.bytes(),
        };
        self.keys.bytes() + rows
    }

    fn state_keys(&self) -> usize {
        self.keys.len()
    }

    fn held(&self) -> Vec<Held> {
        self.held_parts()
    }
}
