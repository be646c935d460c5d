//! From a log of changes to rows: the last row of each key, and what each tick changes of them.
//!
//! Its input are a source's records, each an upsert or a deletion, with their places in the log; its output are `-old +new`,
//! once a tick for each key whose row changed. Rows go when they are deleted, and for no other reason. [`LastRows`] says which
//! record is the last.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};

use super::{KEY_GROUP_COLUMN, Operator, SavedState, TickContext};
use crate::delta::{Delta, Weights};
use crate::error::{Error, Result};
use crate::state::key_group::key_groups;
use crate::state::last_row::{KeptRow, LastRows, Places};

/// Columns behind the records' own: deleted, partition, offset, timestamp.
pub const PLACE_COLUMNS: usize = 4;

/// The table that rows are saved in.
const ROWS_TABLE: &str = "rows";
/// Rows saved in one batch.
const ROWS_AT_ONCE: usize = 16 << 10;

/// What an upsert operator reads and writes.
#[derive(Debug, Clone)]
pub struct UpsertSpec {
    /// The records' columns, then whether they delete (Boolean), their partitions (Int32), offsets (Int64) and times
    /// (Timestamp(µs)).
    pub input: SchemaRef,
    /// The columns that are the key.
    pub keys: Vec<usize>,
    /// The columns that come out.
    pub output: Vec<usize>,
    /// How these are called and typed, without the weight column.
    pub schema: SchemaRef,
}

impl UpsertSpec {
    /// One line: what a tick costs, and what is kept.
    pub fn explain(&self) -> String {
        let names: Vec<_> = self.keys.iter().map(|key| self.input.field(*key).name().as_str()).collect();
        format!("last row by ({}): emit on update, cost: delta, keeps: one row a key, bounded by keys", names.join(", "))
    }
}

/// The last row of each key of one partition of them.
#[derive(Debug)]
pub struct UpsertOperator {
    spec: UpsertSpec,
    rows: LastRows,
}

impl UpsertOperator {
    /// An operator without rows.
    ///
    /// # Errors
    /// `Unsupported` for a type that has no row format, `Internal` for columns that are not there.
    pub fn try_new(spec: UpsertSpec) -> Result<Self> {
        let own = spec.input.fields().len().checked_sub(PLACE_COLUMNS);
        let own = own.ok_or_else(|| Error::internal("records without their places"))?;
        let types: Vec<DataType> = spec.input.fields()[..own].iter().map(|field| field.data_type().clone()).collect();
        Ok(Self { rows: LastRows::try_new(&types, spec.keys.clone(), spec.output.clone())?, spec })
    }

    fn saved_schema(&self) -> SchemaRef {
        let own = |name: &str, data_type| FieldRef::from(Field::new(name, data_type, false));
        let mut fields = vec![own(KEY_GROUP_COLUMN, DataType::UInt16)];
        let columns = self.rows.saved_types().enumerate();
        fields.extend(columns.map(|(n, data_type)| FieldRef::from(Field::new(format!("__column_{n}"), data_type.clone(), true))));
        fields.extend([own("__partition", DataType::Int32), own("__time", DataType::Int64)]);
        Arc::new(Schema::new(fields))
    }

    fn save_batch(&self, schema: &SchemaRef, rows: &[KeptRow<'_>]) -> Result<RecordBatch> {
        let columns = self.rows.saved_columns(rows)?;
        // The first of them are the key, canonical, as the exchange deals it out.
        let groups = key_groups(&columns[..self.spec.keys.len()], rows.len())?;
        let mut all: Vec<ArrayRef> = vec![Arc::new(groups)];
        all.extend(columns);
        all.push(Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.partition))));
        all.push(Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.time))));
        Ok(RecordBatch::try_new(schema.clone(), all)?)
    }
}

/// A batch's own columns and its places.
fn split(batch: &RecordBatch) -> Result<(&[ArrayRef], Places<'_>)> {
    let wrong = || Error::internal("records without their places");
    let own = batch.num_columns().checked_sub(PLACE_COLUMNS).ok_or_else(wrong)?;
    let (columns, places) = batch.columns().split_at(own);
    let places = Places {
        deleted: places[0].as_boolean_opt().ok_or_else(wrong)?,
        partitions: places[1].as_primitive_opt::<Int32Type>().ok_or_else(wrong)?,
        offsets: places[2].as_primitive_opt::<Int64Type>().ok_or_else(wrong)?,
        times: places[3].as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(wrong)?,
    };
    Ok((columns, places))
}

impl Operator for UpsertOperator {
    fn step(&mut self, inputs: Vec<Vec<Delta>>, _tick: &TickContext) -> Result<Vec<Delta>> {
        let records: Vec<&RecordBatch> = inputs.iter().flatten().map(|delta| &delta.rows).collect();
        let records = records.into_iter().map(split).collect::<Result<Vec<_>>>()?;
        let changes = self.rows.fold(&records)?;
        let mut deltas = Vec::new();
        if !changes.is_empty() {
            let options = RecordBatchOptions::new().with_row_count(Some(changes.len()));
            let columns = self.rows.columns_of(&changes)?;
            let rows = RecordBatch::try_new_with_options(self.spec.schema.clone(), columns, &options)?;
            let weights = Int64Array::from_iter_values(changes.iter().map(|change| change.weight));
            deltas.push(Delta { rows, weights: Weights::Signed(weights) });
        }
        self.rows.settle();
        Ok(deltas)
    }

    fn output_schema(&self) -> SchemaRef {
        self.spec.schema.clone()
    }

    fn save(&mut self) -> Result<SavedState> {
        let (schema, rows) = (self.saved_schema(), self.rows.kept_rows());
        let batches = rows.chunks(ROWS_AT_ONCE).map(|rows| self.save_batch(&schema, rows)).collect::<Result<_>>()?;
        Ok(SavedState { tables: vec![(ROWS_TABLE.to_owned(), batches)] })
    }

    fn restore(&mut self, state: SavedState) -> Result<()> {
        let expected = self.saved_schema();
        let wrong = || Error::data("saved state is not of this operator: its columns differ");
        for (name, batches) in state.tables {
            if name != ROWS_TABLE {
                return Err(Error::data(format!("saved state has an unknown table {name}")));
            }
            for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
                let types = |schema: &SchemaRef| -> Vec<DataType> {
                    schema.fields().iter().map(|field| field.data_type().clone()).collect()
                };
                if types(&expected) != types(&batch.schema()) {
                    return Err(wrong());
                }
                let end = batch.num_columns() - 2;
                let (partitions, times) = (batch.column(end).as_primitive(), batch.column(end + 1).as_primitive());
                if partitions.null_count() + times.null_count() > 0 {
                    return Err(wrong());
                }
                self.rows.restore(&batch.columns()[1..end], partitions, times)?;
            }
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.rows.bytes()
    }

    fn state_keys(&self) -> usize {
        self.rows.len()
    }
}
