//! The rows that a source with a primary key has now: its records folded, key by key, as a bounded read comes by them.

use arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Int32Type, Int64Type, SchemaRef, TimestampMicrosecondType};

use super::{DELETED_COLUMN, IngestSpec, PLACE_COLUMNS};
use crate::error::{Error, Result};
use crate::state::last_row::{LastRows, Places};

/// Rows of one batch that comes out.
const BATCH_ROWS: usize = 8 * 1024;

/// What the records so far come to.
#[derive(Debug)]
pub(super) struct PresentRows {
    /// The records' columns.
    records: SchemaRef,
    /// The rows' columns.
    schema: SchemaRef,
    rows: LastRows,
}

impl PresentRows {
    /// No records yet. They will have the columns that `spec` uses, its key and their places among them; of the rows those of
    /// `schema` come out.
    ///
    /// # Errors
    /// `Unsupported` for a type that has no row format.
    pub fn try_new(spec: &IngestSpec, schema: &SchemaRef) -> Result<Self> {
        let records = spec.output_schema();
        let place = |name: &str| Ok::<_, Error>(records.index_of(name)?);
        let keys = spec.key.iter().map(|index| place(spec.decode.columns[*index].name())).collect::<Result<_>>()?;
        let output = schema.fields().iter().map(|field| place(field.name())).collect::<Result<_>>()?;
        let types: Vec<DataType> = records.fields().iter().map(|field| field.data_type().clone()).collect();
        Ok(Self { rows: LastRows::try_new(&types, keys, output)?, records, schema: schema.clone() })
    }

    /// Takes in records.
    ///
    /// # Errors
    /// `Data` for more keys than there is room for.
    pub fn fold(&mut self, batch: &RecordBatch) -> Result<()> {
        let column = |name: &str| Ok::<_, Error>(batch.column(self.records.index_of(name)?));
        let [partition, offset, time] = PLACE_COLUMNS.map(|(name, _)| name);
        let places = Places {
            deleted: column(DELETED_COLUMN)?.as_boolean(),
            partitions: column(partition)?.as_primitive::<Int32Type>(),
            offsets: column(offset)?.as_primitive::<Int64Type>(),
            times: column(time)?.as_primitive::<TimestampMicrosecondType>(),
        };
        debug_assert_eq!(places.deleted.null_count(), 0);
        self.rows.fold(&[(batch.columns(), places)])?;
        self.rows.settle();
        Ok(())
    }

    /// The rows, or the first `limit` of them, in batches.
    pub fn batches(&self, limit: Option<usize>) -> impl Iterator<Item = Result<RecordBatch>> {
        let mut slots = self.rows.slots();
        slots.truncate(limit.unwrap_or(usize::MAX));
        let starts = (0..slots.len()).step_by(BATCH_ROWS);
        starts.map(move |start| {
            let slots = &slots[start..(start + BATCH_ROWS).min(slots.len())];
            let options = RecordBatchOptions::new().with_row_count(Some(slots.len()));
            Ok(RecordBatch::try_new_with_options(self.schema.clone(), self.rows.columns(slots)?, &options)?)
        })
    }
}
