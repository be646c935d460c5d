//! Assembles chunks from entries picked out of chunks and deltas.

use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::error::Result;
use crate::view::batch::{batch_of, interleave_rows};
use crate::view::chunk::{CHUNK_BYTES_MAX, CHUNK_ENTRIES_MAX, Chunk};
use crate::view::compact::{compact, needed_bytes};

/// A row that is to be stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// The row of the batch it is in.
    pub(super) row: usize,
    /// How many times the view is to hold it.
    pub(super) count: u64,
    /// Its hash; of no meaning where hashes are not kept.
    pub(super) hash: u32,
}

/// Batches, and which of their rows are to be chunks, in which order.
pub(super) struct Assembly<'a> {
    schema: SchemaRef,
    keep_hashes: bool,
    sources: Vec<&'a RecordBatch>,
    /// (source, row).
    picks: Vec<(usize, usize)>,
    /// The count of each pick.
    counts: Vec<u64>,
    /// The hash of each pick, where hashes are kept.
    hashes: Vec<u32>,
    /// What the picked rows need, about.
    bytes: usize,
}

impl<'a> Assembly<'a> {
    /// Nothing picked yet.
    pub(super) fn new(schema: SchemaRef, keep_hashes: bool) -> Self {
        let (sources, picks, counts, hashes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { schema, keep_hashes, sources, picks, counts, hashes, bytes: 0 }
    }

    /// Picks rows of `source`.
    pub(super) fn pick(&mut self, source: &'a RecordBatch, entries: impl IntoIterator<Item = Entry>) {
        let before = self.picks.len();
        for entry in entries {
            self.picks.push((self.sources.len(), entry.row));
            self.counts.push(entry.count);
            if self.keep_hashes {
                self.hashes.push(entry.hash);
            }
        }
        self.bytes += share_of(source, self.picks.len() - before);
        self.sources.push(source);
    }

    /// The rows of `batch`, once each, as chunks of about equal size.
    ///
    /// # Errors
    /// `Data` if a column cannot be copied.
    pub(super) fn whole(schema: &SchemaRef, batch: &RecordBatch) -> Result<Vec<Chunk>> {
        let rows = batch.num_rows();
        let size = chunk_rows(rows, share_of(batch, rows));
        let starts = (0..rows).step_by(size);
        starts
            .map(|start| Ok(Chunk::new(compacted(schema, &batch.slice(start, size.min(rows - start)))?, None, None)))
            .collect()
    }

    /// How many rows were picked.
    pub(super) fn len(&self) -> usize {
        self.picks.len()
    }

    /// The picked rows as chunks of about equal size.
    ///
    /// # Errors
    /// `Data` if a column cannot be copied.
    pub(super) fn chunks(self) -> Result<Vec<Chunk>> {
        if self.picks.is_empty() {
            return Ok(Vec::new());
        }
        let size = chunk_rows(self.picks.len(), self.bytes);
        (0..self.picks.len()).step_by(size).map(|start| self.chunk(start..self.picks.len().min(start + size))).collect()
    }

    fn chunk(&self, range: Range<usize>) -> Result<Chunk> {
        let (picks, counts) = (&self.picks[range.clone()], &self.counts[range.clone()]);
        let (source, first) = picks[0];
        // Rows that lie next to each other in one batch need no copy, unless they pin much more than themselves.
        let adjacent = picks.iter().enumerate().all(|(at, pick)| *pick == (source, first + at));
        let batch = if adjacent {
            self.sources[source].slice(first, picks.len())
        } else {
            interleave_rows(&self.schema, &self.sources, picks)?
        };
        let batch = compacted(&self.schema, &batch)?;
        let counts = counts.iter().any(|count| *count != 1).then(|| counts.to_vec());
        let hashes = self.keep_hashes.then(|| self.hashes[range].to_vec());
        Ok(Chunk::new(batch, counts, hashes))
    }
}

/// `batch`, its columns copied where they pin much more than its rows.
fn compacted(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(compact).collect::<Result<Vec<_>>>()?;
    batch_of(schema, columns, batch.num_rows())
}

/// Rows of each of the equal chunks that `rows` rows of `bytes` make, so that none passes its bounds.
fn chunk_rows(rows: usize, bytes: usize) -> usize {
    let chunks = bytes.div_ceil(CHUNK_BYTES_MAX).max(rows.div_ceil(CHUNK_ENTRIES_MAX));
    rows.div_ceil(chunks.max(1)).max(1)
}

/// What `rows` rows of average size of `batch` need, in bytes.
pub(super) fn share_of(batch: &RecordBatch, rows: usize) -> usize {
    if rows == 0 {
        return 0;
    }
    let bytes: usize = batch.columns().iter().map(needed_bytes).sum();
    (bytes as u128 * rows as u128 / batch.num_rows() as u128) as usize
}
