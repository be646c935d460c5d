//! State as files: named tables of columns, by section.
//!
//! A section is what is written anew or not at all, such as the rows of one view. Small sections share a segment, a large one is
//! spread over several; a segment is never changed. Its last block is a directory, which says of each block before it whose
//! section's and whose table's rows it holds.

use arrow::array::RecordBatch;
use bytes::Bytes;

use super::columns;
use super::frame::{FileKind, FrameWriter, blocks};
use crate::error::{Error, Result};

/// What segments are.
const KIND: FileKind = FileKind { tag: *b"SEGM", version: 1, noun: "segment" };

/// Bytes of columns that become one block.
const BLOCK_BYTES: usize = 4 << 20;

/// Named tables, each a list of batches of one schema.
pub type Tables = Vec<(String, Vec<RecordBatch>)>;

/// Takes a table's next batch.
pub type TakeBatch<'a> = dyn FnMut(&str, RecordBatch) -> Result<()> + 'a;

/// Gives a section's batches, table by table, when it is their turn to be written.
pub type SectionRows = Box<dyn FnOnce(&mut TakeBatch<'_>) -> Result<()> + Send>;

/// Tables that are there already, as a section's rows.
pub fn ready(tables: Tables) -> SectionRows {
    Box::new(move |take| {
        let batches =
            tables.into_iter().flat_map(|(name, batches)| batches.into_iter().map(move |b| (name.clone(), b)));
        batches.into_iter().try_for_each(|(name, batch)| take(&name, batch))
    })
}

/// A segment being put together.
#[derive(Debug)]
pub struct SegmentWriter {
    frame: FrameWriter,
    directory: Vec<(String, String)>,
    /// Of the section and table that came last: what is not a block yet.
    open: Option<(String, String, Vec<RecordBatch>)>,
    open_bytes: usize,
    bytes: usize,
}

impl Default for SegmentWriter {
    fn default() -> Self {
        Self { frame: FrameWriter::new(KIND), directory: vec![], open: None, open_bytes: 0, bytes: 0 }
    }
}

impl SegmentWriter {
    /// Adds rows to a section's table.
    ///
    /// # Errors
    /// `Internal` for columns that cannot be written.
    pub fn add(&mut self, section: &str, table: &str, batch: RecordBatch) -> Result<()> {
        let goes_on = |(s, t, open): &(String, String, Vec<RecordBatch>)| {
            s == section && t == table && open[0].schema_ref() == batch.schema_ref()
        };
        if !self.open.as_ref().is_some_and(goes_on) {
            self.close_block()?;
        }
        self.open_bytes += batch.get_array_memory_size();
        match &mut self.open {
            Some((_, _, open)) => open.push(batch),
            None => self.open = Some((section.to_owned(), table.to_owned(), vec![batch])),
        }
        if self.open_bytes >= BLOCK_BYTES { self.close_block() } else { Ok(()) }
    }

    fn close_block(&mut self) -> Result<()> {
        self.open_bytes = 0;
        let Some((section, table, batches)) = self.open.take() else { return Ok(()) };
        let block = columns::encode(batches[0].schema_ref(), &batches)?;
        self.bytes += block.len();
        self.directory.push((section, table));
        self.frame.block(&block)
    }

    /// Bytes of the blocks so far.
    pub fn bytes(&self) -> usize {
        self.bytes + self.open_bytes
    }

    /// The file.
    ///
    /// # Errors
    /// As for [`add`](Self::add).
    pub fn finish(mut self) -> Result<Bytes> {
        self.close_block()?;
        let directory = serde_json::to_vec(&self.directory);
        let directory = directory.map_err(|e| Error::internal("a directory cannot be written").with_source(e))?;
        self.frame.block(&directory)?;
        Ok(self.frame.finish())
    }
}

/// A segment that was read, and checked once for all its sections.
#[derive(Debug)]
pub struct Segment {
    location: String,
    directory: Vec<(String, String)>,
    blocks: Vec<Bytes>,
}

impl Segment {
    /// Checks a file.
    ///
    /// # Errors
    /// `Data`, naming the file, if it is damaged in any part.
    pub fn read(location: &str, file: &Bytes) -> Result<Self> {
        let mut blocks = blocks(KIND, location, file)?;
        let directory = blocks.pop().ok_or_else(|| damaged(location, &"it has no directory"))?;
        let directory: Vec<_> = serde_json::from_slice(&directory).map_err(|e| damaged(location, &e))?;
        if directory.len() != blocks.len() {
            return Err(damaged(location, &"its directory is of other blocks"));
        }
        Ok(Self { location: location.to_owned(), directory, blocks })
    }

    /// The tables of one section.
    ///
    /// # Errors
    /// `Data`, naming the file, if its columns cannot be read.
    pub fn section(&self, section: &str) -> Result<Tables> {
        let mut tables: Tables = Vec::new();
        for ((_, table), block) in self.directory.iter().zip(&self.blocks).filter(|((of, _), _)| of == section) {
            let (_, batches) = columns::decode(block).map_err(|e| damaged(&self.location, &e))?;
            match tables.iter_mut().find(|(known, _)| known == table) {
                Some((_, all)) => all.extend(batches),
                None => tables.push((table.clone(), batches)),
            }
        }
        Ok(tables)
    }
}

fn damaged(location: &str, what: &dyn std::fmt::Display) -> Error {
    Error::data(format!("the segment {location} is damaged: {what}"))
}
