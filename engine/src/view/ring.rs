//! A bounded table of the newest rows: what a source could not decode, what came late.
//!
//! Rows are appended; past a bound, of rows or of their bytes, the oldest go first. Everything ever appended is counted,
//! so a row that is no longer there is still accounted for.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::error::Result;
use crate::view::assembly::Entry;
use crate::view::batch::batch_of;
use crate::view::chunk::Location;
use crate::view::chunk_store::{Added, ChunkStore, Order};
use crate::view::compact::needed_bytes;
use crate::view::view_snapshot::ViewSnapshot;

/// The last rows appended, at most so many rows and bytes of them, oldest first.
#[derive(Debug)]
pub struct RingTable {
    schema: SchemaRef,
    store: ChunkStore,
    rows_max: usize,
    bytes_max: usize,
    /// What each row needs, oldest first.
    row_bytes: VecDeque<usize>,
    rows_bytes: usize,
    total_rows: u64,
}

impl RingTable {
    /// An empty table that keeps the last `rows_max` rows, or fewer if these need more than `bytes_max` bytes.
    pub fn new(schema: SchemaRef, rows_max: usize, bytes_max: usize) -> Self {
        let store = ChunkStore::new(schema.clone(), Order::Arrival);
        Self { schema, store, rows_max, bytes_max, row_bytes: VecDeque::new(), rows_bytes: 0, total_rows: 0 }
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Appends rows; the oldest rows beyond the bounds go. A row that alone is beyond the bound in bytes is counted and not
    /// kept. The cost is that of the rows appended.
    ///
    /// # Errors
    /// `Data` if the rows are not of the schema. The table is then as before.
    pub fn append(&mut self, rows: &RecordBatch) -> Result<()> {
        let batch = batch_of(&self.schema, rows.columns().to_vec(), rows.num_rows())?;
        let (mut kept, mut bytes) = (VecDeque::new(), 0);
        // Of what was there before nothing stays once a newer row had to go.
        let mut rows_max = self.rows_max;
        for row in (0..batch.num_rows()).rev() {
            let needed = batch.columns().iter().map(|column| needed_bytes(&column.slice(row, 1))).sum::<usize>();
            if needed > self.bytes_max {
                continue;
            }
            if kept.len() == self.rows_max || bytes + needed > self.bytes_max {
                rows_max = kept.len();
                break;
            }
            bytes += needed;
            kept.push_front((row, needed));
        }
        let entries = kept.iter().map(|(row, _)| Entry { row: *row, count: 1, hash: 0 }).collect();
        self.change(rows_max - kept.len(), self.bytes_max - bytes, &Added { batch: &batch, entries })?;
        self.row_bytes.extend(kept.into_iter().map(|(_, needed)| needed));
        self.rows_bytes += bytes;
        self.total_rows += rows.num_rows() as u64;
        Ok(())
    }

    /// Takes rows that were kept before, of `total_rows` ever appended, into an empty table.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn restore(&mut self, rows: &[RecordBatch], total_rows: u64) -> Result<()> {
        rows.iter().try_for_each(|rows| self.append(rows))?;
        self.total_rows = total_rows;
        Ok(())
    }

    /// Moves the bound; the oldest rows beyond a smaller one go at once.
    ///
    /// # Errors
    /// `Data` if rows cannot be copied. The table is then as before.
    pub fn set_rows_max(&mut self, rows_max: usize) -> Result<()> {
        let none = RecordBatch::new_empty(self.schema.clone());
        self.change(rows_max, self.bytes_max, &Added { batch: &none, entries: Vec::new() })?;
        self.rows_max = rows_max;
        Ok(())
    }

    /// Drops the oldest rows until at most `rows` of them are left that need at most `bytes`, then adds `added`.
    fn change(&mut self, rows: usize, bytes: usize, added: &Added<'_>) -> Result<()> {
        let (mut over, mut left) = (0, self.rows_bytes);
        while self.row_bytes.len() - over > rows || left > bytes {
            left -= self.row_bytes[over];
            over += 1;
        }
        let chunks = self.store.list().iter();
        let entries =
            chunks.flat_map(|(position, chunk)| chunk.live().map(move |entry| Location::new(position, entry)));
        let oldest: Vec<Location> = entries.take(over).collect();
        let plan = self.store.plan(&oldest, added)?;
        self.store.commit(plan);
        self.row_bytes.drain(..over);
        self.rows_bytes = left;
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
        size_of::<Self>() + self.row_bytes.capacity() * size_of::<usize>() + self.store.bytes()
    }

    /// The rows as they are now, scanned oldest first.
    pub fn snapshot(&self) -> ViewSnapshot {
        ViewSnapshot::new(self.schema.clone(), self.store.list().clone(), self.store.rows())
    }
}
