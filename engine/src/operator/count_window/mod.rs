//! Windows of a number of rows: the first n rows of a key in order of time are one, the next n another.
//!
//! ```text
//! input rows -> keys: slots -> rows of each key in order -> windows of n rows -> rows whose window moved, -old +new
//!                                     watermark -> windows that are full and behind it are final: counted, and dropped
//! ```
//! The order is that of time and, among equal times, of the columns the operator is told, so windows are a function of the
//! rows. A row can only come where the watermark has not been yet; there it pushes those behind it on. The last window of a
//! key may not be full yet: it has the rows there are.
//!
//! The window's number and its first and last times are columns of its rows, so a row that is pushed on is taken back and comes
//! again, and so do rows whose window gets another first or last row. Of each key that got rows, all windows kept are laid out as
//! they were and as they are, and what is in both cancels. Keys that got none have the windows they had.
//!
//! ```text
//! windows of 2     rows by time            windows                        out
//! tick 1           05 07 09                1: 05–07, 2: 09–09             +05 +07 of 1, +09 of 2
//! tick 2  +01      01 05 07 09             1: 01–05, 2: 07–09             -05 -07 -09 as they were, +01 +05 of 1, +07 +09 of 2
//! watermark 08     07 09                   2: 07–09                       1 is final: forgotten, but for that it was there
//! ```
//! A full window whose last time is below [`closed_below`](TickContext::closed_below) is final: every later row has a time at or
//! after the bound and comes behind it in the order. So are all windows before it, which end no later. Of windows forgotten the
//! number is kept, for the next one is numbered after them. At the bound itself a row of equal time could still come before.

mod queue;
mod spec;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt16Array};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
pub use spec::CountWindowSpec;

use self::queue::{Placed, Queue};
use super::aggregate::Emit;
use super::keyed::{Keys, ROWS_TABLE, SavedRow, save_rows, saved_rows, unexpected_retraction};
use super::row_layout::RowLayout;
use super::state_bound::{Growth, Held, StateBound, StatePart};
use super::{KEY_GROUP_COLUMN, Operator, SavedState, TickContext};
use crate::delta::{Delta, Weights};
use crate::error::{Error, Result};
use crate::state::canonical::canonical_columns;
use crate::state::key_group::key_groups;
use crate::state::size::{UnitBytes, grown};

/// The table of the keys' counts.
const COUNTS_TABLE: &str = "counts";

/// Assigns rows to windows of a number of rows.
#[derive(Debug)]
pub struct CountWindowOperator {
    spec: CountWindowSpec,
    output: SchemaRef,
    layout: RowLayout,
    keys: Keys,
    /// By slot.
    queues: Vec<Queue>,
    /// Different rows of all queues, and their bytes.
    rows: usize,
    row_bytes: usize,
    /// The end of each slot's first window that is full and not answered finally.
    due: BTreeSet<(i64, u32)>,
    /// What earlier ticks said of later rows' times.
    closed_below: i64,
}

/// A row that came into a window or left it.
#[derive(Debug)]
struct Change {
    slot: u32,
    placed: Placed,
    weight: i64,
}

impl CountWindowOperator {
    /// An operator without input so far.
    ///
    /// # Errors
    /// `Internal` if `spec` contradicts itself; `Unsupported` if a column's type has no row format.
    pub fn try_new(spec: CountWindowSpec) -> Result<Self> {
        spec.check()?;
        let fields: Vec<_> = spec.keys.iter().map(|key| spec.input.fields()[*key].clone()).collect();
        Ok(Self {
            output: spec.output_schema(),
            layout: RowLayout::try_new(&spec.input, &spec.keys, &spec.order)?,
            keys: Keys::try_new(&fields, None)?,
            queues: Vec::new(),
            rows: 0,
            row_bytes: 0,
            due: BTreeSet::new(),
            closed_below: i64::MIN,
            spec,
        })
    }

    /// What is kept where the input's rows grow like `input`: the number of each key's windows so far, for good, and the rows
    /// of windows that are not final.
    pub fn state_bound(&self, input: Growth) -> StateBound {
        let (count, keys) = if self.spec.keys.is_empty() { ("1", Growth::Constant) } else { ("keys", input) };
        let key = self.keys.bytes_each() + UnitBytes::lasting(grown(size_of::<Queue>()));
        let row = Queue::bytes_each(self.layout.codec());
        let rows = format!("rows within reach + up to {} x {count}", self.spec.rows);
        let parts = vec![
            StatePart::new("a key's count", count, keys, key),
            StatePart::new("a row", rows, keys.max(input.ended(true)), row),
        ];
        StateBound { parts, output: input }
    }

    /// Takes in a delta; `before` gets the windows that each key had before this tick.
    fn fold(&mut self, delta: &Delta, before: &mut BTreeMap<u32, Vec<Placed>>) -> Result<()> {
        let columns = delta.rows.columns();
        let slots = self.keys.slots(&self.layout.keys(columns), delta.num_rows())?;
        let encoded = self.layout.encode(columns, delta.num_rows(), false)?;
        let times = columns[self.spec.time()].as_primitive::<TimestampMicrosecondType>();
        for (row, slot) in slots.into_iter().enumerate() {
            if delta.weight(row) != 1 {
                return Err(unexpected_retraction());
            }
            if times.is_null(row) || times.value(row) < self.closed_below {
                return Err(Error::internal(
                    "a row without a time, or with one that was final, came to a count window",
                ));
            }
            let (time, rows) = (times.value(row), self.spec.rows);
            let on_update = self.spec.emit == Emit::OnUpdate;
            let queue = self.queue(slot);
            let windows = || if on_update { queue.windows(rows).collect() } else { Vec::new() };
            before.entry(slot).or_insert_with(windows);
            self.add(slot, time, encoded.row(row), 1);
        }
        Ok(())
    }

    fn add(&mut self, slot: u32, time: i64, row: &[u8], weight: i64) {
        let queue = self.queue(slot);
        let before = (queue.len(), queue.row_bytes());
        queue.add(time, row, weight);
        let (rows, bytes) = (queue.len() - before.0, queue.row_bytes() - before.1);
        self.rows += rows;
        self.row_bytes += bytes;
    }

    fn queue(&mut self, slot: u32) -> &mut Queue {
        if self.queues.len() <= slot as usize {
            self.queues.resize_with(slot as usize + 1, Queue::default);
        }
        &mut self.queues[slot as usize]
    }

    /// Notes when the first window of `slot` that is not answered finally ends, if it is full.
    fn note_due(&mut self, slot: u32) {
        let queue = &mut self.queues[slot as usize];
        let end = queue.first_end(self.spec.rows);
        if end != queue.due {
            queue.due.map(|end| self.due.remove(&(end, slot)));
            end.map(|end| self.due.insert((end, slot)));
            queue.due = end;
        }
    }

    /// What leads from the windows before the tick to the present ones.
    fn changes(&self, before: BTreeMap<u32, Vec<Placed>>) -> Vec<Change> {
        let mut changes = Vec::new();
        for (slot, before) in before {
            let mut weights: BTreeMap<Placed, i64> = BTreeMap::new();
            before.into_iter().for_each(|placed| {
                let weight = placed.weight;
                *weights.entry(Placed { weight: 0, ..placed }).or_default() -= weight;
            });
            self.queues[slot as usize].windows(self.spec.rows).for_each(|placed| {
                let weight = placed.weight;
                *weights.entry(Placed { weight: 0, ..placed }).or_default() += weight;
            });
            let moved = weights.into_iter().filter(|(_, weight)| *weight != 0);
            changes.extend(moved.map(|(placed, weight)| Change { slot, placed, weight }));
        }
        // Rows leave before they come, as everywhere.
        changes.sort_by_key(|change| change.weight > 0);
        changes
    }

    /// Takes the windows that are final: answers with them if that is asked for, and drops them.
    fn close(&mut self, tick: &TickContext) -> Vec<Change> {
        let Some(end) = tick.closed_below else { return Vec::new() };
        let closes = self.spec.emit == Emit::OnClose;
        let mut answered = Vec::new();
        if !closes && !tick.evict {
            return answered;
        }
        while let Some((first, slot)) = self.due.first().copied().filter(|(first, _)| *first < end) {
            debug_assert!(first < end);
            let queue = &mut self.queues[slot as usize];
            let before = (queue.len(), queue.row_bytes());
            let rows = queue.take_first(self.spec.rows, tick.evict);
            self.rows -= before.0 - queue.len();
            self.row_bytes -= before.1 - queue.row_bytes();
            if closes {
                for placed in rows {
                    let copies = usize::try_from(placed.weight).unwrap_or_default();
                    let copy = |_| Change { slot, placed: Placed { weight: 1, ..placed.clone() }, weight: 1 };
                    answered.extend((0..copies).map(copy));
                }
            }
            self.note_due(slot);
        }
        answered
    }

    fn delta(&self, changes: &[Change]) -> Result<Option<Delta>> {
        if changes.is_empty() {
            return Ok(None);
        }
        let slots = changes.iter().map(|change| change.slot);
        let rows = changes.iter().map(|change| change.placed.row.as_ref());
        let mut columns = self.layout.decode(&self.keys, slots, rows)?;
        let zone = columns[self.spec.time()].as_primitive::<TimestampMicrosecondType>().timezone().map(Arc::from);
        let starts = TimestampMicrosecondArray::from_iter_values(changes.iter().map(|change| change.placed.start));
        let ends = TimestampMicrosecondArray::from_iter_values(changes.iter().map(|change| change.placed.end));
        columns.push(Arc::new(starts.with_timezone_opt(zone.clone())));
        columns.push(Arc::new(ends.with_timezone_opt(zone)));
        columns.push(Arc::new(Int64Array::from_iter_values(changes.iter().map(|change| change.placed.number))));
        let rows = RecordBatch::try_new(self.output.clone(), columns);
        let rows = rows.map_err(|e| Error::internal("a count window's rows do not fit its output").with_source(e))?;
        let weights = Int64Array::from_iter_values(changes.iter().map(|change| change.weight));
        Ok(Some(Delta { rows, weights: Weights::Signed(weights) }))
    }

    fn counts_schema(&self) -> SchemaRef {
        let own = |name: &str, data_type| FieldRef::from(Field::new(name, data_type, false));
        let mut fields = vec![own(KEY_GROUP_COLUMN, DataType::UInt16)];
        let keys = self.spec.keys.iter().enumerate();
        let key = |(n, key): (usize, &usize)| {
            FieldRef::from(Field::new(format!("__key_{n}"), self.spec.input.field(*key).data_type().clone(), true))
        };
        fields.extend(keys.map(key));
        fields.extend([own("__dropped", DataType::Int64), own("__answered", DataType::Int64)]);
        Arc::new(Schema::new(fields))
    }

    /// The keys' counts as a table.
    fn save_counts(&self) -> Result<RecordBatch> {
        let slots = self.keys.live();
        let keys = self.keys.columns(slots.iter().copied())?;
        let groups: UInt16Array = key_groups(&canonical_columns(&keys)?, slots.len())?;
        let count = |of: fn(&Queue) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(slots.iter().map(|slot| of(&self.queues[*slot as usize]))))
        };
        let mut columns: Vec<ArrayRef> = vec![Arc::new(groups)];
        columns.extend(keys);
        columns.extend([count(|queue| queue.dropped), count(|queue| queue.answered)]);
        Ok(RecordBatch::try_new(self.counts_schema(), columns)?)
    }

    fn restore_counts(&mut self, batch: &RecordBatch) -> Result<()> {
        let expected = self.counts_schema();
        let same = |(field, column): (&FieldRef, &ArrayRef)| field.data_type().equals_datatype(column.data_type());
        if expected.fields().len() != batch.num_columns() || !expected.fields().iter().zip(batch.columns()).all(same) {
            return Err(Error::data("saved state is not of this operator: its columns differ"));
        }
        let end = batch.num_columns() - 2;
        let slots = self.keys.slots(&batch.columns()[1..end], batch.num_rows())?;
        let (dropped, answered) = (batch.column(end), batch.column(end + 1));
        let (dropped, answered) = (dropped.as_primitive::<Int64Type>(), answered.as_primitive::<Int64Type>());
        for (row, slot) in slots.into_iter().enumerate() {
            let queue = self.queue(slot);
            (queue.dropped, queue.answered) = (dropped.value(row), answered.value(row));
        }
        Ok(())
    }
}

impl Operator for CountWindowOperator {
    fn step(&mut self, inputs: Vec<Vec<Delta>>, tick: &TickContext) -> Result<Vec<Delta>> {
        let mut before = BTreeMap::new();
        for delta in inputs.iter().flatten() {
            self.fold(delta, &mut before)?;
        }
        let touched: Vec<u32> = before.keys().copied().collect();
        let mut changes = if self.spec.emit == Emit::OnUpdate { self.changes(before) } else { Vec::new() };
        touched.into_iter().for_each(|slot| self.note_due(slot));
        changes.extend(self.close(tick));
        let delta = self.delta(&changes)?;
        self.closed_below = self.closed_below.max(tick.closed_below.unwrap_or(i64::MIN));
        Ok(delta.into_iter().collect())
    }

    fn output_schema(&self) -> SchemaRef {
        self.output.clone()
    }

    fn save(&mut self) -> Result<SavedState> {
        let of = |slot: u32| self.queues[slot as usize].rows().map(move |(row, weight)| (slot, row, weight));
        let kept: Vec<(u32, &[u8], i64)> = self.keys.live().into_iter().flat_map(of).collect();
        let saved = kept.iter().map(|(slot, _, weight)| SavedRow { slot: *slot, weight: *weight, closed: false });
        let columns = |range: std::ops::Range<usize>| {
            let of = &kept[range];
            self.layout.decode(&self.keys, of.iter().map(|(slot, ..)| *slot), of.iter().map(|(_, row, _)| *row))
        };
        let mut state = save_rows(&self.spec.keys, &self.spec.input, &saved.collect::<Vec<_>>(), columns)?;
        state.tables.push((COUNTS_TABLE.to_owned(), vec![self.save_counts()?]));
        Ok(state)
    }

    fn restore(&mut self, state: SavedState) -> Result<()> {
        let (rows, counts): (Vec<_>, Vec<_>) = state.tables.into_iter().partition(|(name, _)| name == ROWS_TABLE);
        for (name, batches) in counts {
            if name != COUNTS_TABLE {
                return Err(Error::data(format!("saved state has an unknown table {name}")));
            }
            batches.iter().filter(|batch| batch.num_rows() > 0).try_for_each(|batch| self.restore_counts(batch))?;
        }
        for saved in saved_rows(SavedState { tables: rows }, &self.spec.input)? {
            let slots = self.keys.slots(&self.layout.keys(&saved.columns), saved.closed.len())?;
            let encoded = self.layout.encode(&saved.columns, slots.len(), false)?;
            let times = saved.columns[self.spec.time()].as_primitive::<TimestampMicrosecondType>();
            for (row, slot) in slots.into_iter().enumerate() {
                self.add(slot, times.value(row), encoded.row(row), saved.weights.value(row));
            }
        }
        self.keys.live().into_iter().for_each(|slot| self.note_due(slot));
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.keys.bytes() + self.queues.capacity() * size_of::<Queue>() + self.row_bytes
    }

    fn state_keys(&self) -> usize {
        self.rows + self.keys.len()
    }

    fn held(&self) -> Vec<Held> {
        let keys = self.keys.bytes() + self.queues.capacity() * size_of::<Queue>();
        vec![
            Held { units: self.keys.len(), room: self.keys.len_max(), bytes: keys },
            Held::exactly(self.rows, self.row_bytes),
        ]
    }
}
