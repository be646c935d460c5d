//! An aggregate's state as tables, and back.
//!
//! One table holds the groups: keys, row count, and the cells, states and answers of the calls. Each call that keeps rows has
//! a table of its own: keys, rows, weights. Every row carries its key group, so tables of several partitions can be dealt out
//! anew and restored together.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef};

use super::AggregateOperator;
use super::groups::Group;
use crate::error::{Error, Result};
use crate::operator::{KEY_GROUP_COLUMN, SavedState};

const GROUPS_TABLE: &str = "groups";
/// Groups saved in one batch.
const GROUPS_AT_ONCE: usize = 16 << 10;

impl AggregateOperator {
    pub(super) fn save_tables(&mut self) -> Result<SavedState> {
        let live = self.groups.live();
        let chunks = || live.chunks(GROUPS_AT_ONCE);
        let schema = self.groups_schema();
        let groups = chunks().map(|slots| self.save_groups(&schema, slots)).collect::<Result<_>>()?;
        let mut tables = vec![(GROUPS_TABLE.to_owned(), groups)];
        for call in 0..self.calls.len() {
            if let Some(schema) = self.rows_schema(call) {
                let batches = chunks().map(|slots| self.save_rows(&schema, call, slots));
                let batches = batches.collect::<Result<Vec<_>>>()?;
                let batches = batches.into_iter().filter(|batch| batch.num_rows() > 0).collect();
                tables.push((rows_table(call), batches));
            }
        }
        Ok(SavedState { tables })
    }

    pub(super) fn restore_tables(&mut self, state: SavedState) -> Result<()> {
        // Groups first, whatever the order of tables: rows are put under them.
        let is_groups = |name: &str| name == GROUPS_TABLE;
        for (_, batches) in state.tables.iter().filter(|(name, _)| is_groups(name)) {
            let schema = self.groups_schema();
            for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
                check_schema(&schema, batch)?;
                self.restore_groups(batch)?;
            }
        }
        for (name, batches) in state.tables.iter().filter(|(name, _)| !is_groups(name)) {
            let call = (0..self.calls.len()).find(|call| rows_table(*call) == *name);
            let table = call.and_then(|call| Some((call, self.rows_schema(call)?)));
            let (call, schema) =
                table.ok_or_else(|| Error::data(format!("saved state has an unknown table {name}")))?;
            for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
                check_schema(&schema, batch)?;
                self.restore_rows(call, batch)?;
            }
        }
        Ok(())
    }

    fn groups_schema(&self) -> SchemaRef {
        let own = [
            Field::new("__rows", DataType::Int64, false),
            Field::new("__answered", DataType::Boolean, false),
            Field::new("__closed", DataType::Boolean, false),
        ];
        let calls = self.calls.iter().flat_map(|(call, _)| call.saved_columns());
        self.keyed_schema(own.into_iter().map(FieldRef::from).chain(calls))
    }

    fn rows_schema(&self, call: usize) -> Option<SchemaRef> {
        let columns = self.calls[call].0.saved_rows();
        (!columns.is_empty()).then(|| self.keyed_schema(columns))
    }

    fn keyed_schema(&self, columns: impl IntoIterator<Item = FieldRef>) -> SchemaRef {
        let key_group = Field::new(KEY_GROUP_COLUMN, DataType::UInt16, false);
        // Names of keys may repeat and mean nothing here.
        let keys = self.spec.output_keys().into_iter().enumerate();
        let keys = keys.map(|(i, key)| Field::new(format!("__key_{i}"), key.data_type().clone(), true).into());
        Arc::new(Schema::new([key_group.into()].into_iter().chain(keys).chain(columns).collect::<Vec<FieldRef>>()))
    }

    fn save_groups(&self, schema: &SchemaRef, slots: &[u32]) -> Result<RecordBatch> {
        let mut columns = self.keyed_columns(slots)?;
        let groups: Vec<Group> = slots.iter().map(|slot| self.groups.group(*slot)).collect();
        columns.push(Arc::new(Int64Array::from_iter_values(groups.iter().map(|group| group.rows))));
        columns.push(Arc::new(groups.iter().map(|group| Some(group.answered)).collect::<BooleanArray>()));
        columns.push(Arc::new(groups.iter().map(|group| Some(group.closed)).collect::<BooleanArray>()));
        for (call, _) in &self.calls {
            columns.extend(call.save_columns(slots)?);
        }
        Ok(RecordBatch::try_new(schema.clone(), columns)?)
    }

    fn save_rows(&self, schema: &SchemaRef, call: usize, slots: &[u32]) -> Result<RecordBatch> {
        let (owners, rows) = self.calls[call].0.save_rows(slots)?;
        let mut columns = self.keyed_columns(&owners)?;
        columns.extend(rows);
        Ok(RecordBatch::try_new(schema.clone(), columns)?)
    }

    fn keyed_columns(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let keys = self.groups.keys(slots)?;
        let key_groups: ArrayRef = Arc::new(self.groups.key_groups(&keys, slots.len())?);
        Ok([key_groups].into_iter().chain(keys).collect())
    }

    fn restore_groups(&mut self, batch: &RecordBatch) -> Result<()> {
        let (keys, columns) = self.split(batch);
        let (rows, answered, closed) =
            (columns[0].as_primitive::<Int64Type>(), columns[1].as_boolean(), columns[2].as_boolean());
        let group =
            |row: usize| Group { rows: rows.value(row), answered: answered.value(row), closed: closed.value(row) };
        let slots = self.groups.restore(keys, (0..batch.num_rows()).map(group), batch.num_rows())?;
        let mut columns = &columns[3..];
        for (call, _) in &mut self.calls {
            let own;
            (own, columns) = columns.split_at(call.saved_columns().len());
            call.restore_columns(&slots, own)?;
        }
        Ok(())
    }

    fn restore_rows(&mut self, call: usize, batch: &RecordBatch) -> Result<()> {
        let (keys, columns) = self.split(batch);
        let slots = self.groups.find(keys, batch.num_rows())?;
        self.calls[call].0.restore_rows(&slots, columns)
    }

    /// A saved batch's keys and the columns after them.
    fn split<'a>(&self, batch: &'a RecordBatch) -> (&'a [ArrayRef], &'a [ArrayRef]) {
        batch.columns()[1..].split_at(self.spec.output_keys().len())
    }
}

fn rows_table(call: usize) -> String {
    format!("rows_{call}")
}

fn check_schema(expected: &SchemaRef, batch: &RecordBatch) -> Result<()> {
    let schema = batch.schema();
    let same = |(a, b): (&FieldRef, &FieldRef)| a.name() == b.name() && a.data_type().equals_datatype(b.data_type());
    if expected.fields().len() == schema.fields().len() && expected.fields().iter().zip(schema.fields()).all(same) {
        return Ok(());
    }
    Err(Error::data("saved state is not of this aggregate: its columns differ"))
}
