//! The keys of an operator that keeps rows under each: which slot a key has, and which keys are final.
//!
//! Key columns go in, slots come out. A key with a monotone column below what the watermark allows is final: no later row
//! can have it, so its rows may go (eviction) or its answer may be given (emit on close).

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt16Array};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef};

use std::sync::Arc;

use super::aggregate::closing::times;
use super::{KEY_GROUP_COLUMN, SavedState};
use crate::error::{Error, Result};
use crate::state::canonical::canonical_columns;
use crate::state::key_group::key_groups;
use crate::state::key_index::{KeyIndex, NEVER};
use crate::state::row_codec::RowCodec;
use crate::state::size::{UnitBytes, grown};

/// The table that rows under keys are saved in.
pub(super) const ROWS_TABLE: &str = "rows";
/// Rows saved in one batch.
const ROWS_AT_ONCE: usize = 16 << 10;

/// Keys and their slots.
#[derive(Debug)]
pub(super) struct Keys {
    codec: RowCodec,
    /// Its sections are the times of the monotone column.
    index: KeyIndex,
    /// Which key column is monotone.
    monotone: Option<usize>,
    /// What earlier ticks said is final.
    closed_below: Option<i64>,
    /// Keys whose time is below have been taken as final.
    taken_below: i64,
    /// By slot: answered finally, and kept only because eviction is off.
    closed: Vec<bool>,
}

impl Keys {
    /// No keys yet, of columns of these fields; `monotone` is one of them.
    pub fn try_new(fields: &[FieldRef], monotone: Option<usize>) -> Result<Self> {
        let codec = RowCodec::try_new(fields.iter().map(|field| field.data_type().clone()).collect())?;
        let index = KeyIndex::new(codec.fixed_width());
        Ok(Self { codec, index, monotone, closed_below: None, taken_below: i64::MIN, closed: Vec::new() })
    }

    /// The slot of each row's key, taken where it is new.
    pub fn slots(&mut self, keys: &[ArrayRef], rows: usize) -> Result<Vec<u32>> {
        let times = self.times(keys)?;
        let end = self.closed_below.unwrap_or(i64::MIN);
        if times.as_ref().is_some_and(|times| times.iter().any(|time| *time < end)) {
            return Err(Error::internal("a row came for a key that was final"));
        }
        let encoded = self.codec.encode(&canonical_columns(keys)?, rows)?;
        let mut slots = Vec::with_capacity(rows);
        for row in 0..rows {
            let section = times.as_ref().map_or(NEVER, |times| times[row]);
            let (slot, inserted) = self.index.find_or_insert(section, encoded.row(row).data())?;
            if inserted {
                self.place(slot, false);
            }
            slots.push(slot);
        }
        Ok(slots)
    }

    /// The slots of saved keys.
    pub fn restore(&mut self, keys: &[ArrayRef], closed: &BooleanArray) -> Result<Vec<u32>> {
        let times = self.times(keys)?;
        let encoded = self.codec.encode(&canonical_columns(keys)?, closed.len())?;
        let mut slots = Vec::with_capacity(closed.len());
        for row in 0..closed.len() {
            let section = times.as_ref().filter(|_| !closed.value(row)).map_or(NEVER, |times| times[row]);
            let (slot, inserted) = self.index.find_or_insert(section, encoded.row(row).data())?;
            if inserted {
                self.place(slot, closed.value(row));
            }
            slots.push(slot);
        }
        Ok(slots)
    }

    /// Notes what this tick said is final, for the next.
    pub fn advance(&mut self, closed_below: Option<i64>) {
        self.closed_below = self.closed_below.max(closed_below);
    }

    /// The keys whose monotone column is below `end`, each told once, in the order of time. NULL is never below.
    pub fn take_final(&mut self, end: i64) -> Vec<u32> {
        let from = self.taken_below;
        self.taken_below = from.max(end);
        if from >= end { Vec::new() } else { self.index.slots_in(from..end) }
    }

    /// Notes that `slots` were answered finally.
    pub fn mark_closed(&mut self, slots: &[u32]) {
        slots.iter().for_each(|slot| self.closed[*slot as usize] = true);
    }

    /// Whether the key of `slot` was answered finally.
    pub fn is_closed(&self, slot: u32) -> bool {
        self.closed[slot as usize]
    }

    /// Gives up `slot`.
    pub fn remove(&mut self, slot: u32) {
        self.index.remove(slot);
    }

    /// The key columns of `slots`, canonical.
    pub fn columns(&self, slots: impl Iterator<Item = u32>) -> Result<Vec<ArrayRef>> {
        self.codec.decode(slots.map(|slot| self.index.key(slot)))
    }

    /// The live slots, ascending.
    pub fn live(&self) -> Vec<u32> {
        self.index.live()
    }

    /// Live keys.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Keys there is room for.
    pub fn len_max(&self) -> usize {
        self.index.slots_end()
    }

    /// What a key comes to.
    pub fn bytes_each(&self) -> UnitBytes {
        KeyIndex::bytes_each(&self.codec, self.monotone.is_some()) + UnitBytes::lasting(grown(size_of::<bool>()))
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.index.bytes() + self.closed.capacity()
    }

    fn place(&mut self, slot: u32, closed: bool) {
        if self.closed.len() <= slot as usize {
            self.closed.resize(slot as usize + 1, false);
        }
        self.closed[slot as usize] = closed;
    }

    fn times(&self, keys: &[ArrayRef]) -> Result<Option<Vec<i64>>> {
        self.monotone.map(|key| times(&keys[key])).transpose()
    }
}

/// A saved row's owner and weight; its columns are beside it.
#[derive(Debug, Clone, Copy)]
pub(super) struct SavedRow {
    /// The slot of its key.
    pub slot: u32,
    /// Its weight.
    pub weight: i64,
    /// Whether it was answered finally, and is kept only because eviction is off.
    pub closed: bool,
}

/// Writes rows under keys as a table: the key group, the rows' columns, whether they were answered finally, the weight.
///
/// `columns` gives the columns (of `input`) of some of the rows; `key_columns` says which of them are the key.
pub(super) fn save_rows(
    key_columns: &[usize],
    input: &SchemaRef,
    rows: &[SavedRow],
    columns: impl Fn(std::ops::Range<usize>) -> Result<Vec<ArrayRef>>,
) -> Result<SavedState> {
    let schema = saved_schema(input);
    let mut batches = Vec::new();
    for start in (0..rows.len()).step_by(ROWS_AT_ONCE) {
        let range = start..(start + ROWS_AT_ONCE).min(rows.len());
        let of = &rows[range.clone()];
        let values = columns(range)?;
        // Dealt out as the exchange does it: by canonical values.
        let dealt: Vec<_> = key_columns.iter().map(|key| values[*key].clone()).collect();
        let groups: UInt16Array = key_groups(&canonical_columns(&dealt)?, of.len())?;
        let mut all: Vec<ArrayRef> = vec![Arc::new(groups)];
        all.extend(values);
        all.push(Arc::new(BooleanArray::from_iter(of.iter().map(|row| Some(row.closed)))));
        all.push(Arc::new(Int64Array::from_iter_values(of.iter().map(|row| row.weight))));
        batches.push(RecordBatch::try_new(schema.clone(), all)?);
    }
    Ok(SavedState { tables: vec![(ROWS_TABLE.to_owned(), batches)] })
}

/// One batch of saved rows.
#[derive(Debug)]
pub(super) struct SavedRows {
    /// The rows' columns.
    pub columns: Vec<ArrayRef>,
    /// Whether each row was answered finally.
    pub closed: BooleanArray,
    /// The rows' weights.
    pub weights: Int64Array,
}

/// Reads what [`save_rows`] wrote, batch by batch.
pub(super) fn saved_rows(state: SavedState, input: &SchemaRef) -> Result<Vec<SavedRows>> {
    let expected = saved_schema(input);
    let mut all = Vec::new();
    for (name, batches) in state.tables {
        if name != ROWS_TABLE {
            return Err(Error::data(format!("saved state has an unknown table {name}")));
        }
        for batch in batches.into_iter().filter(|batch| batch.num_rows() > 0) {
            let same = expected.fields().len() == batch.num_columns()
                && expected
                    .fields()
                    .iter()
                    .zip(batch.columns())
                    .all(|(field, column)| field.data_type().equals_datatype(column.data_type()));
            if !same {
                return Err(Error::data("saved state is not of this operator: its columns differ"));
            }
            let columns = batch.columns();
            let end = columns.len() - 2;
            all.push(SavedRows {
                columns: columns[1..end].to_vec(),
                closed: columns[end].as_boolean().clone(),
                weights: columns[end + 1].as_primitive::<Int64Type>().clone(),
            });
        }
    }
    Ok(all)
}

fn saved_schema(input: &SchemaRef) -> SchemaRef {
    let own = |name: &str, data_type| FieldRef::from(Field::new(name, data_type, false));
    // Names of columns may repeat and mean nothing here.
    let columns = input.fields().iter().enumerate();
    let columns =
        columns.map(|(i, field)| FieldRef::from(Field::new(format!("__column_{i}"), field.data_type().clone(), true)));
    let mut fields = vec![own(KEY_GROUP_COLUMN, DataType::UInt16)];
    fields.extend(columns);
    fields.extend([own("__closed", DataType::Boolean), own("__row_weight", DataType::Int64)]);
    Arc::new(Schema::new(fields))
}

/// A retraction reached an operator whose input does not retract.
pub(super) fn unexpected_retraction() -> Error {
    Error::internal("a retraction reached an operator over append-only input")
}

/// A row was retracted more often than it was inserted.
pub(super) fn retraction_without_insert() -> Error {
    Error::data("a retraction had no insert")
}
