//! INTERSECT and EXCEPT, with and without ALL: two counts a row.
//!
//! A row that is there `l` times on the left and `r` times on the right is there `min(l, r)` times in INTERSECT ALL and
//! `max(l - r, 0)` times in EXCEPT ALL; without ALL once, or not at all. Both inputs have the same columns; equal NULLs are equal.
//!
//! How often a row is in the answer follows from its own two counts and from no other row. So a tick answers for the rows it
//! touched: what the rule makes of their counts now, less what it made of those before. Either side can move either way:
//!
//! ```text
//! EXCEPT ALL       counts of 'x'     in the answer     out
//! tick 1   l +2    2, 0              2                 +2
//! tick 2   r +3    2, 3              0                 -2     a row that comes on the right takes away
//! tick 3   l +2    4, 3              1                 +1     of two that come, one is still taken up by the right
//! ```
//! Both counts are kept also where they cancel, and where neither input retracts: the next row is judged by both. A row goes when
//! both counts are zero, which is what a new row begins with; or when its monotone column is below
//! [`closed_below`](TickContext::closed_below), since then it neither comes nor goes on either side.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use std::sync::Arc;

use super::keyed::{Keys, SavedRow, retraction_without_insert, save_rows, saved_rows};
use super::state_bound::{Growth, Held, StateBound, StatePart};
use super::{Operator, SavedState, TickContext};
use crate::delta::{Delta, Weights};
use crate::error::{Error, Result};
use crate::state::size::{UnitBytes, grown};

/// Which rows of two inputs are answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd)]
pub enum SetRule {
    /// Those on both sides, once.
    Intersect,
    /// Those on both sides, as often as on the side that has fewer.
    IntersectAll,
    /// Those on the left alone, once.
    Except,
    /// Those on the left, as often as there are more of them than on the right.
    ExceptAll,
}

impl SetRule {
    /// Its name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Intersect => "INTERSECT",
            Self::IntersectAll => "INTERSECT ALL",
            Self::Except => "EXCEPT",
            Self::ExceptAll => "EXCEPT ALL",
        }
    }

    /// How often a row is in the answer that is there so often on the left and on the right.
    pub fn weight(self, [left, right]: [i64; 2]) -> i64 {
        match self {
            Self::Intersect => i64::from(left > 0 && right > 0),
            Self::IntersectAll => left.min(right),
            Self::Except => i64::from(left > 0 && right == 0),
            Self::ExceptAll => (left - right).max(0),
        }
    }
}

/// A set operation over two inputs of the same columns.
#[derive(Debug, Clone)]
pub struct SetOperationSpec {
    /// The columns of both inputs, without the weight column.
    pub input: SchemaRef,
    /// Which rows are answered with.
    pub rule: SetRule,
    /// The column (a timestamp or a date) that [`closed_below`](crate::operator::TickContext::closed_below) speaks of, on
    /// both sides.
    pub monotone_column: Option<usize>,
}

impl SetOperationSpec {
    /// One line: what a tick costs, and what is kept.
    pub fn explain(&self) -> String {
        let bound = if self.monotone_column.is_some() { "of open windows" } else { "of both sides" };
        format!(
            "set operation {}: emit on update, cost: delta, keeps: two counts for each row {bound}",
            self.rule.name()
        )
    }
}

/// Counts the rows of two inputs.
#[derive(Debug)]
pub struct SetOperationOperator {
    spec: SetOperationSpec,
    keys: Keys,
    /// By slot: how often the row is there on the left and on the right.
    counts: Vec<[i64; 2]>,
    /// The rows touched in this tick, with the counts they had.
    touched: BTreeMap<u32, [i64; 2]>,
}

impl SetOperationOperator {
    /// An operator without input so far.
    ///
    /// # Errors
    /// `Unsupported` if a column's type has no row format.
    pub fn try_new(spec: SetOperationSpec) -> Result<Self> {
        if spec.monotone_column.is_some_and(|column| column >= spec.input.fields().len()) {
            return Err(Error::internal("a set operation names a column that its inputs do not have"));
        }
        let keys = Keys::try_new(spec.input.fields(), spec.monotone_column)?;
        Ok(Self { spec, keys, counts: Vec::new(), touched: BTreeMap::new() })
    }

    /// What is kept where the inputs' rows grow like `inputs`: two counts for each different row.
    pub fn state_bound(&self, inputs: [Growth; 2]) -> StateBound {
        let ended = self.spec.monotone_column.is_some();
        let count = if ended { "different rows of open windows" } else { "different rows of both sides" };
        let growth = inputs[0].max(inputs[1]).ended(ended);
        let bytes_each = self.keys.bytes_each() + UnitBytes::lasting(grown(size_of::<[i64; 2]>()));
        let output = match self.spec.rule {
            SetRule::Intersect | SetRule::IntersectAll => inputs[0].paired(inputs[1]),
            SetRule::Except | SetRule::ExceptAll => inputs[0],
        };
        StateBound { parts: vec![StatePart::new("a row", count, growth, bytes_each)], output }
    }

    fn fold(&mut self, side: usize, delta: &Delta) -> Result<()> {
        let slots = self.keys.slots(delta.rows.columns(), delta.num_rows())?;
        for (row, slot) in slots.into_iter().enumerate() {
            let counts = self.counts(slot);
            let before = *counts;
            counts[side] = counts[side].wrapping_add(delta.weight(row));
            self.touched.entry(slot).or_insert(before);
        }
        Ok(())
    }

    fn counts(&mut self, slot: u32) -> &mut [i64; 2] {
        if self.counts.len() <= slot as usize {
            self.counts.resize(slot as usize + 1, [0, 0]);
        }
        &mut self.counts[slot as usize]
    }

    fn remove(&mut self, slot: u32) {
        self.keys.remove(slot);
        self.counts[slot as usize] = [0, 0];
    }

    /// The schema rows are saved with: the input's columns, then which side.
    fn saved_input(&self) -> SchemaRef {
        let side = FieldRef::from(Field::new("__side", DataType::Boolean, false));
        Arc::new(Schema::new(self.spec.input.fields().iter().cloned().chain([side]).collect::<Vec<_>>()))
    }
}

impl Operator for SetOperationOperator {
    fn step(&mut self, inputs: Vec<Vec<Delta>>, tick: &TickContext) -> Result<Vec<Delta>> {
        for (side, deltas) in inputs.iter().enumerate() {
            deltas.iter().try_for_each(|delta| self.fold(side, delta))?;
        }
        let touched = std::mem::take(&mut self.touched);
        let (mut slots, mut weights) = (Vec::new(), Vec::new());
        for (slot, before) in &touched {
            let now = self.counts[*slot as usize];
            if now.iter().any(|count| *count < 0) {
                return Err(retraction_without_insert());
            }
            let change = self.spec.rule.weight(now) - self.spec.rule.weight(*before);
            if change != 0 {
                slots.push(*slot);
                weights.push(change);
            }
        }
        let mut deltas = Vec::new();
        if !slots.is_empty() {
            let columns = self.keys.columns(slots.iter().copied())?;
            let options = RecordBatchOptions::new().with_row_count(Some(slots.len()));
            let rows = RecordBatch::try_new_with_options(self.spec.input.clone(), columns, &options)?;
            deltas.push(Delta { rows, weights: Weights::Signed(Int64Array::from(weights)) });
        }
        // After the answer: a row can come in the tick that makes it final. It is then given up here and once more below,
        // where there is nothing left to give up.
        let end = tick.closed_below.filter(|_| self.spec.monotone_column.is_some());
        if let Some(end) = end.filter(|_| tick.evict) {
            let finished = self.keys.take_final(end);
            finished.into_iter().for_each(|slot| self.remove(slot));
        }
        for slot in touched.into_keys().filter(|slot| self.counts[*slot as usize] == [0, 0]).collect::<Vec<_>>() {
            self.remove(slot);
        }
        self.keys.advance(end);
        Ok(deltas)
    }

    fn output_schema(&self) -> SchemaRef {
        self.spec.input.clone()
    }

    fn save(&mut self) -> Result<SavedState> {
        let both = |slot: &u32| {
            [0, 1].map(|side| {
                (
                    side,
                    SavedRow {
                        slot: *slot,
                        weight: self.counts[*slot as usize][side],
                        closed: self.keys.is_closed(*slot),
                    },
                )
            })
        };
        let rows: Vec<(usize, SavedRow)> =
            self.keys.live().iter().flat_map(both).filter(|(_, row)| row.weight != 0).collect();
        let saved: Vec<SavedRow> = rows.iter().map(|(_, row)| *row).collect();
        let columns = |range: std::ops::Range<usize>| {
            let mut columns = self.keys.columns(rows[range.clone()].iter().map(|(_, row)| row.slot))?;
            let sides = BooleanArray::from_iter(rows[range].iter().map(|(side, _)| Some(*side == 1)));
            columns.push(Arc::new(sides) as ArrayRef);
            Ok(columns)
        };
        let keys: Vec<usize> = (0..self.spec.input.fields().len()).collect();
        save_rows(&keys, &self.saved_input(), &saved, columns)
    }

    fn restore(&mut self, state: SavedState) -> Result<()> {
        for saved in saved_rows(state, &self.saved_input())? {
            let (sides, columns) =
                saved.columns.split_last().ok_or_else(|| Error::data("saved rows without a side"))?;
            let sides = sides.as_any().downcast_ref::<BooleanArray>();
            let sides = sides.ok_or_else(|| Error::data("a side that is not a Boolean"))?;
            let slots = self.keys.restore(columns, &saved.closed)?;
            for (row, slot) in slots.into_iter().enumerate() {
                self.counts(slot)[usize::from(sides.value(row))] += saved.weights.value(row);
            }
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.keys.bytes() + self.counts.capacity() * size_of::<[i64; 2]>()
    }

    fn state_keys(&self) -> usize {
        self.keys.len()
    }

    fn held(&self) -> Vec<Held> {
        vec![Held { units: self.keys.len(), room: self.keys.len_max(), bytes: self.state_bytes() }]
    }
}
