//! A view's rows at one tick, immutable for as long as somebody holds them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::error::{Error, Result};
use crate::view::batch::take_rows;
use crate::view::chunk::CHUNK_ENTRIES_MAX;
use crate::view::chunk_list::ChunkList;
use crate::view::column_index::{BuiltIndexes, IndexColumns, Lookup};

/// An immutable reading of a view. Cloning it, and dropping all but the last clone, costs a few reference counts.
#[derive(Clone)]
pub struct ViewSnapshot {
    schema: SchemaRef,
    chunks: ChunkList,
    rows: u64,
    /// What the chunks are sorted by.
    indexes: Arc<Vec<IndexColumns>>,
}

/// Sizes only: plans that hold a snapshot are printed.
impl fmt::Debug for ViewSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewSnapshot").field("schema", &self.schema).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl ViewSnapshot {
    pub(super) fn new(schema: SchemaRef, chunks: ChunkList, rows: u64) -> Self {
        Self { schema, chunks, rows, indexes: Arc::default() }
    }

    /// The same rows, told what their chunks are sorted by.
    pub(super) fn with_indexes(self, indexes: Arc<Vec<IndexColumns>>) -> Self {
        Self { indexes, ..self }
    }

    /// The columns of the indexes that rows can be looked up in.
    pub fn indexes(&self) -> &Arc<Vec<IndexColumns>> {
        &self.indexes
    }

    /// Sorts the rows by these columns, for [`MaterializedView::set_indexes`](crate::view::MaterializedView::set_indexes).
    ///
    /// # Errors
    /// `Data` if a column cannot be sorted.
    pub fn build_indexes(&self, indexes: &[Vec<usize>]) -> Result<BuiltIndexes> {
        let indexes: Vec<IndexColumns> = indexes.iter().map(|columns| columns.as_slice().into()).collect();
        BuiltIndexes::of(self.chunks.iter().map(|(_, chunk)| chunk), &indexes)
    }

    /// No rows.
    pub fn empty(schema: SchemaRef) -> Self {
        Self::new(schema, ChunkList::default(), 0)
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows, exactly.
    pub fn num_rows(&self) -> u64 {
        self.rows
    }

    /// The rows of the columns in `projection` (indexes into the schema, any order; all columns where `None`), a chunk
    /// at a time as they are asked for: batches of 1 to 8,192 rows, in no promised order. The scan keeps the rows alive
    /// by itself.
    ///
    /// An index outside the schema is one `Internal` error and the end of the scan.
    pub fn scan(&self, projection: Option<&[usize]>) -> ViewScan {
        self.scan_positions(projection, 0..self.chunks.end())
    }

    /// As [`scan`](Self::scan), of the chunks at `positions` alone.
    pub(super) fn scan_positions(&self, projection: Option<&[usize]>, positions: Range<usize>) -> ViewScan {
        let projected = match projection {
            None => Ok(self.schema.clone()),
            Some(projection) => self.schema.project(projection).map(Arc::new),
        };
        let chunks = self.chunks.clone();
        let projection = projection.map(<[usize]>::to_vec);
        match projected {
            Ok(schema) => ViewScan { chunks, schema, projection, positions, lookup: None, repeat: None, failed: None },
            Err(error) => {
                let error = Error::internal("a scan asks for a column that is not in the view").with_source(error);
                let schema = self.schema.clone();
                let (lookup, repeat, failed) = (None, None, Some(error));
                ViewScan { chunks, schema, projection, positions: 0..0, lookup, repeat, failed }
            }
        }
    }

    /// Up to `parts` ranges of positions that cover all chunks, with about as many rows in each, and how many.
    pub(super) fn split(&self, parts: usize) -> Vec<(Range<usize>, u64)> {
        let rows_each = self.rows.div_ceil(parts.max(1) as u64).max(1);
        let mut split = Vec::with_capacity(parts);
        let (mut start, mut rows) = (0, 0);
        for (position, chunk) in self.chunks.iter() {
            rows += chunk.live_rows();
            if rows >= rows_each {
                split.push((start..position + 1, rows));
                (start, rows) = (position + 1, 0);
            }
        }
        if rows > 0 || split.is_empty() {
            split.push((start..self.chunks.end(), rows));
        }
        split
    }
}

/// A scan under way; see [`ViewSnapshot::scan`].
pub struct ViewScan {
    chunks: ChunkList,
    /// The schema of the batches to come.
    schema: SchemaRef,
    projection: Option<Vec<usize>>,
    /// Chunks not read yet.
    positions: Range<usize>,
    /// What is wanted of each chunk, at least; `None` is all.
    lookup: Option<Arc<Lookup>>,
    /// A chunk being read whose rows are held more than once.
    repeat: Option<Repeat>,
    failed: Option<Error>,
}

impl fmt::Debug for ViewScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewScan").field("chunks_left", &self.positions).finish_non_exhaustive()
    }
}

impl Iterator for ViewScan {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        let batch = self.advance().transpose();
        if matches!(batch, Some(Err(_))) {
            // A scan that failed has ended.
            (self.positions, self.repeat) = (0..0, None);
        }
        batch
    }
}

impl ViewScan {
    /// The same scan of what a look-up finds.
    pub(super) fn with_lookup(self, lookup: Option<Arc<Lookup>>) -> Self {
        Self { lookup, ..self }
    }

    fn advance(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(repeat) = &mut self.repeat {
                if let Some(batch) = repeat.next()? {
                    return Ok(Some(batch));
                }
                self.repeat = None;
            }
            let Some(position) = self.positions.next() else { return Ok(None) };
            let Some(chunk) = self.chunks.get(position).filter(|chunk| chunk.live_entries() > 0) else { continue };
            let projection = self.projection.as_deref();
            let read = match &self.lookup {
                None => chunk.read(&self.schema, projection)?,
                Some(lookup) => chunk.look_up(&self.schema, projection, lookup)?,
            };
            match read {
                (batch, _) if batch.num_rows() == 0 => {}
                (batch, None) => return Ok(Some(batch)),
                (batch, Some(counts)) => self.repeat = Some(Repeat { batch, counts, entry: 0, done: 0 }),
            }
        }
    }
}

/// Entries given out as often as they are held.
struct Repeat {
    batch: RecordBatch,
    counts: Vec<u64>,
    /// The entry to go on with, and how often it was given out.
    entry: usize,
    done: u64,
}

impl Repeat {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        let mut rows: Vec<u32> = Vec::new();
        while rows.len() < CHUNK_ENTRIES_MAX && self.entry < self.counts.len() {
            let room = (CHUNK_ENTRIES_MAX - rows.len()) as u64;
            let times = room.min(self.counts[self.entry] - self.done);
            rows.resize(rows.len() + times as usize, self.entry as u32);
            self.done += times;
            if self.done == self.counts[self.entry] {
                (self.entry, self.done) = (self.entry + 1, 0);
            }
        }
        if rows.is_empty() {
            return Ok(None);
        }
        Ok(Some(take_rows(&self.batch, rows)?))
    }
}
