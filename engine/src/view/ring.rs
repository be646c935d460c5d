//! A bounded table of the newest rows: what a source could not decode, what came late.
//!
//! Rows are appended; past the bound the oldest go first. Everything ever appended is counted, so a row that is no longer
//! there is still accounted for.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::error::Result;
use crate::view::assembly::Entry;
use crate::view::batch::batch_of;
use crate::view::chunk::Location;
use crate::view::chunk_store::{Added, ChunkStore, Order};
use crate::view::view_snapshot::ViewSnapshot;

/// The last rows appended, at most so many of them, oldest first.
#[derive(Debug)]
pub struct RingTable {
    schema: SchemaRef,
    store: ChunkStore,
    rows_max: usize,
    total_rows: u64,
}

impl RingTable {
    /// An empty table that keeps the last `rows_max` rows.
    pub fn new(schema: SchemaRef, rows_max: usize) -> Self {
        let store = ChunkStore::new(schema.clone(), Order::Arrival);
        Self { schema, store, rows_max, total_rows: 0 }
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Appends rows; the oldest rows beyond the bound go. The cost is that of the rows appended.
    ///
    /// # Errors
    /// `Data` if the rows are not of the schema. The table is then as before.
    pub fn append(&mut self, rows: &RecordBatch) -> Result<()> {
        let kept = rows.num_rows().min(self.rows_max);
        let first = rows.num_rows() - kept;
        let batch = batch_of(&self.schema, rows.columns().to_vec(), rows.num_rows())?;
        let entries = (first..rows.num_rows()).map(|row| Entry { row, count: 1, hash: 0 }).collect();
        self.change(self.rows_max - kept, &Added { batch: &batch, entries })?;
        self.total_rows += rows.num_rows() as u64;
        Ok(())
    }

    /// Moves the bound; the oldest rows beyond a smaller one go at once.
    ///
    /// # Errors
    /// `Data` if rows cannot be copied. The table is then as before.
    pub fn set_rows_max(&mut self, rows_max: usize) -> Result<()> {
        let none = RecordBatch::new_empty(self.schema.clone());
        self.change(rows_max, &Added { batch: &none, entries: Vec::new() })?;
        self.rows_max = rows_max;
        Ok(())
    }

    /// Drops the oldest rows until `keep` are left, then adds `added`.
    fn change(&mut self, keep: usize, added: &Added<'_>) -> Result<()> {
        let over = self.num_rows().saturating_sub(keep as u64) as usize;
        let chunks = self.store.list().iter();
        let entries =
            chunks.flat_map(|(position, chunk)| chunk.live().map(move |entry| Location::new(position, entry)));
        let oldest: Vec<Location> = entries.take(over).collect();
        let plan = self.store.plan(&oldest, added)?;
        self.store.commit(plan);
        Ok(())
    }

    /// Rows in the table now.
    pub fn num_rows(&self) -> u64 {
        self.store.rows()
    }

    /// Rows ever appended.
    pub fn total_rows(&self) -> u64 {
        self.total_rows
    }

    /// Rows kept at most.
    pub fn rows_max(&self) -> usize {
        self.rows_max
    }

    /// Bytes of state.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.store.bytes()
    }

    /// The rows as they are now, scanned oldest first.
    pub fn snapshot(&self) -> ViewSnapshot {
        ViewSnapshot::new(self.schema.clone(), self.store.list().clone(), self.store.rows())
    }
}
