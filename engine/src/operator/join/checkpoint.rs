//! A join's state as tables, and back.
//!
//! Each side has one table: of its rows (key group, keys, time, columns, weight, number of matches), or, where only numbers
//! are kept, of its keys (key group, keys, time, number of rows). A row's key group is that of its key.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray, Int64Array, RecordBatch, UInt16Array};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef};

use super::JoinOperator;
use super::keys::null_keys;
use super::spec::{LEFT, RIGHT};
use crate::error::{Error, Result};
use crate::operator::{KEY_GROUP_COLUMN, SavedState};
use crate::state::canonical::canonical_columns;
use crate::state::key_group::key_groups;

/// Rows saved in one batch.
const ROWS_AT_ONCE: usize = 16 << 10;

impl JoinOperator {
    pub(super) fn save_tables(&self) -> Result<SavedState> {
        let live = self.keys.index.live();
        let mut tables = Vec::new();
        for side in [LEFT, RIGHT] {
            let mut batches = Vec::new();
            if self.spec.keeps_rows(side) {
                let rows = &self.sides[side].rows;
                let entries: Vec<u32> = live.iter().flat_map(|slot| rows.entries(*slot)).collect();
                for entries in entries.chunks(ROWS_AT_ONCE) {
                    batches.push(self.save_rows(side, entries)?);
                }
            } else {
                let counted: Vec<u32> =
                    live.iter().copied().filter(|slot| self.keys.totals(*slot).1[side] != 0).collect();
                for slots in counted.chunks(ROWS_AT_ONCE) {
                    batches.push(self.save_counts(side, slots)?);
                }
            }
            tables.push((self.table(side).to_owned(), batches));
        }
        Ok(SavedState { tables })
    }

    fn table(&self, side: usize) -> &'static str {
        match (side, self.spec.keeps_rows(side)) {
            (LEFT, true) => "rows_left",
            (LEFT, false) => "counts_left",
            (_, true) => "rows_right",
            (_, false) => "counts_right",
        }
    }

    fn saved_schema(&self, side: usize) -> SchemaRef {
        let mut fields = vec![Field::new(KEY_GROUP_COLUMN, DataType::UInt16, false)];
        let keys = self.spec.inputs[side].key_types().into_iter().enumerate();
        fields.extend(keys.map(|(index, key)| Field::new(format!("__key_{index}"), key, true)));
        fields.push(Field::new("__time", DataType::Int64, true));
        if self.spec.keeps_rows(side) {
            let columns = self.spec.inputs[side].columns().iter().enumerate();
            let column = |(index, field): (usize, &FieldRef)| {
                Field::new(format!("__column_{index}"), field.data_type().clone(), true)
            };
            fields.extend(columns.map(column));
        }
        fields.push(Field::new("__weight", DataType::Int64, false));
        fields.push(Field::new("__matches", DataType::Int64, false));
        Arc::new(Schema::new(fields))
    }

    /// Key group, keys and times.
    fn keyed_columns(&self, slots: &[u32], times: Vec<Option<i64>>) -> Result<Vec<ArrayRef>> {
        let keys = self.keys.columns(slots)?;
        let groups = if self.spec.is_single() {
            UInt16Array::from_value(0, slots.len())
        } else {
            key_groups(&canonical_columns(&keys)?, slots.len())?
        };
        let mut columns: Vec<ArrayRef> = vec![Arc::new(groups)];
        columns.extend(keys);
        columns.push(Arc::new(Int64Array::from(times)));
        Ok(columns)
    }

    fn save_rows(&self, side: usize, entries: &[u32]) -> Result<RecordBatch> {
        let rows = &self.sides[side];
        let slots: Vec<u32> = entries.iter().map(|entry| rows.rows.owner(*entry)).collect();
        let time = |(entry, slot): (&u32, &u32)| match self.spec.drops_keys() {
            true => self.keys.past.time(*slot),
            false => rows.past.time(*entry),
        };
        let mut columns = self.keyed_columns(&slots, entries.iter().zip(&slots).map(time).collect())?;
        columns.extend(rows.decode(entries)?);
        columns.push(Arc::new(Int64Array::from_iter_values(entries.iter().map(|entry| rows.weight(*entry)))));
        let degrees = self.degrees[side].as_ref();
        let matches = entries.iter().map(|entry| degrees.map_or(0, |degrees| degrees.now(*entry)));
        columns.push(Arc::new(Int64Array::from_iter_values(matches)));
        Ok(RecordBatch::try_new(self.saved_schema(side), columns)?)
    }

    fn save_counts(&self, side: usize, slots: &[u32]) -> Result<RecordBatch> {
        let times = slots.iter().map(|slot| self.keys.past.time(*slot)).collect();
        let mut columns = self.keyed_columns(slots, times)?;
        let counts = slots.iter().map(|slot| self.keys.totals(*slot).1[side]);
        columns.push(Arc::new(Int64Array::from_iter_values(counts)));
        columns.push(Arc::new(Int64Array::from_value(0, slots.len())));
        Ok(RecordBatch::try_new(self.saved_schema(side), columns)?)
    }

    pub(super) fn restore_tables(&mut self, state: SavedState) -> Result<()> {
        for (name, batches) in state.tables {
            let side = [LEFT, RIGHT].into_iter().find(|side| self.table(*side) == name);
            let side = side.ok_or_else(|| Error::data(format!("saved state has an unknown table {name}")))?;
            let schema = self.saved_schema(side);
            for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
                let found = batch.schema();
                let same = |(a, b): (&FieldRef, &FieldRef)| {
                    a.name() == b.name() && a.data_type().equals_datatype(b.data_type())
                };
                if schema.fields().len() != found.fields().len()
                    || !schema.fields().iter().zip(found.fields()).all(same)
                {
                    return Err(Error::data("saved state is not of this join: its columns differ"));
                }
                self.restore_batch(side, batch)?;
            }
        }
        self.sides.iter_mut().for_each(|side| side.times.clear());
        Ok(())
    }

    fn restore_batch(&mut self, side: usize, batch: &RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        let key_count = self.spec.inputs[side].keys;
        let (keys, rest) = batch.columns()[1..].split_at(key_count);
        let (time, columns) = rest.split_at(1);
        let (columns, numbers) = columns.split_at(columns.len() - 2);
        let time = time[0].as_primitive::<Int64Type>();
        let (weights, matches) = (numbers[0].as_primitive::<Int64Type>(), numbers[1].as_primitive::<Int64Type>());
        let nulls = null_keys(keys).filter(|_| self.spec.null_aware);
        let key_bytes = self.keys.codec.encode(keys, rows)?;
        let keeps = self.spec.keeps_rows(side);
        let row_bytes = if keeps { Some(self.sides[side].codec.encode(columns, rows)?) } else { None };
        for row in 0..rows {
            let weight = weights.value(row);
            let (slot, is_new) = self.keys.touch(key_bytes.row(row).data(), side, weight)?;
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                self.keys.note_null(slot);
            }
            let time = time.is_valid(row).then(|| time.value(row));
            if let Some(time) = time.filter(|_| is_new && self.spec.drops_keys()) {
                self.keys.past.insert(slot, time);
            }
            let rows = &mut self.sides[side];
            rows.total = rows.total.wrapping_add(weight);
            let Some(bytes) = &row_bytes else { continue };
            let tag = rows.times.len() as u32;
            rows.times.push(time);
            // Rows that are kept apart were saved one by one.
            rows.rows.touch(slot, bytes.row(row).data(), tag)?[0] = weight;
        }
        if !self.spec.drops_keys() {
            self.sides[side].note_times();
        }
        if let Some(degrees) = &mut self.degrees[side] {
            let rows = &self.sides[side].rows;
            degrees.grow(rows.entries_end());
            rows.touched().iter().for_each(|touched| degrees.set(touched.entry, matches.value(touched.tag as usize)));
        }
        self.sides[side].rows.settle();
        self.sides[side].times.clear();
        let sides = &self.sides;
        self.keys.settle(|slot| sides.iter().any(|side| side.has_rows(slot)));
        Ok(())
    }
}
