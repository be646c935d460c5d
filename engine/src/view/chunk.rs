//! A chunk: up to [`CHUNK_ENTRIES_MAX`] stored rows that never change, and a bitmap of those that are gone.
//!
//! A stored row is an *entry*: a row of the batch and how many times the view holds it. A thousand equal rows are one
//! entry with count 1000; whoever reads the view sees a thousand rows. The batch and the counts are written once, so a
//! snapshot shares them; only the bitmap changes, and it is copied first where a snapshot still reads it.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::buffer::{BooleanBuffer, Buffer};
use arrow::compute::{FilterBuilder, take};
use arrow::datatypes::SchemaRef;

use crate::error::Result;
use crate::view::batch::batch_of;
use crate::view::column_index::{IndexColumns, Lookup, SortedEntries, sorted};
use crate::view::compact::held_bytes;

/// Entries in a chunk at most. Also the longest batch a scan returns.
pub const CHUNK_ENTRIES_MAX: usize = 8192;

/// Bytes a chunk should stay below, so that rewriting one never takes long; a single huge row may pass it.
pub(super) const CHUNK_BYTES_MAX: usize = 8 << 20;

/// Where an entry is: its chunk's position in the list, and its index in the chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Location {
    position: u32,
    entry: u16,
}

impl Location {
    /// Entry `entry` of the chunk at `position`.
    pub(super) fn new(position: usize, entry: usize) -> Self {
        let position = u32::try_from(position).expect("no memory holds 2^32 chunks");
        Self { position, entry: u16::try_from(entry).expect("a chunk has at most 8,192 entries") }
    }

    /// The chunk's position in the list.
    pub(super) fn position(self) -> usize {
        self.position as usize
    }

    /// The entry's index in the chunk.
    pub(super) fn entry(self) -> usize {
        usize::from(self.entry)
    }
}

/// What a chunk never changes.
struct Stored {
    batch: RecordBatch,
    /// How many times the view holds each entry; `None` where that is once for all of them.
    counts: Option<Vec<u64>>,
    /// The hash of each entry where the view has a row index, so that an entry can move without being hashed again.
    hashes: Option<Vec<u32>>,
    bytes: usize,
}

/// Entries and which of them are gone. Cloning is cheap and shares everything.
#[derive(Clone)]
pub(super) struct Chunk {
    stored: Arc<Stored>,
    /// One bit an entry, set once it is gone; `None` while all are there.
    dead: Option<Arc<Vec<u64>>>,
    live_entries: usize,
    live_rows: u64,
    /// The entries in the order of each index; `None` without indexes.
    sorted: Option<Arc<Vec<Arc<SortedEntries>>>>,
}

/// Sizes only: a view's rows have no place in a log.
impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Chunk");
        text.field("entries", &self.entries()).field("live_entries", &self.live_entries);
        text.field("live_rows", &self.live_rows).field("bytes", &self.bytes()).finish()
    }
}

impl Chunk {
    /// A chunk of `batch`, with `counts` (as many as rows, none zero) where some row is held more than once, and the rows'
    /// `hashes` where they are wanted again.
    pub(super) fn new(batch: RecordBatch, counts: Option<Vec<u64>>, hashes: Option<Vec<u32>>) -> Self {
        debug_assert!(batch.num_rows() <= CHUNK_ENTRIES_MAX);
        debug_assert!(counts.as_ref().is_none_or(|c| c.len() == batch.num_rows() && c.iter().all(|n| *n > 0)));
        let live_entries = batch.num_rows();
        let live_rows = counts.as_ref().map_or(live_entries as u64, |counts| counts.iter().sum());
        let arrays: usize = batch.columns().iter().map(held_bytes).sum();
        let counts_bytes = counts.as_ref().map_or(0, |counts| counts.capacity() * size_of::<u64>());
        let hashes_bytes = hashes.as_ref().map_or(0, |hashes| hashes.capacity() * size_of::<u32>());
        let bytes = arrays + counts_bytes + hashes_bytes;
        let stored = Arc::new(Stored { batch, counts, hashes, bytes });
        Self { stored, dead: None, live_entries, live_rows, sorted: None }
    }

    /// The same entries with these indexes and no others; what `built` has is not sorted again.
    ///
    /// # Errors
    /// `Data` if a column cannot be sorted.
    pub(super) fn with_indexes(&self, indexes: &[IndexColumns], built: &[Arc<SortedEntries>]) -> Result<Self> {
        let sorted = match indexes.is_empty() {
            true => None,
            false => {
                let known: Vec<_> = built.iter().chain(self.sorted()).cloned().collect();
                Some(Arc::new(sorted(self.batch(), indexes, &known)?))
            }
        };
        Ok(Self { sorted, ..self.clone() })
    }

    /// The entries in the order of each index.
    pub(super) fn sorted(&self) -> &[Arc<SortedEntries>] {
        self.sorted.as_ref().map_or(&[], |sorted| sorted)
    }

    /// Tells chunks that are held apart by what they store.
    pub(super) fn identity(&self) -> usize {
        Arc::as_ptr(&self.stored) as usize
    }

    /// The live entries that a look-up finds, as [`read`](Self::read) gives them; all where the chunk has no such index, or where
    /// that is less work.
    ///
    /// # Errors
    /// `Data` if values cannot be compared.
    pub(super) fn look_up(
        &self,
        schema: &SchemaRef,
        projection: Option<&[usize]>,
        lookup: &Lookup,
    ) -> Result<(RecordBatch, Option<Vec<u64>>)> {
        let Some(sorted) = self.sorted().iter().find(|sorted| sorted.columns() == lookup.columns()) else {
            return self.read(schema, projection);
        };
        let mut found = lookup.find(self.batch(), sorted)?;
        if found.len() > self.entries() / 2 {
            return self.read(schema, projection);
        }
        found.retain(|entry| !self.is_dead(usize::from(*entry)));
        found.sort_unstable();
        let counts = self.stored.counts.as_ref();
        let counts = counts.map(|counts| found.iter().map(|entry| counts[usize::from(*entry)]).collect());
        let found = UInt32Array::from_iter_values(found.into_iter().map(u32::from));
        let pick = |column: &ArrayRef| take(column, &found, None);
        let columns = match projection {
            None => self.batch().columns().iter().map(pick).collect::<Result<Vec<_>, _>>()?,
            Some(projection) => {
                projection.iter().map(|index| pick(self.batch().column(*index))).collect::<Result<Vec<_>, _>>()?
            }
        };
        Ok((batch_of(schema, columns, found.len())?, counts))
    }

    /// All entries, the dead ones included.
    pub(super) fn batch(&self) -> &RecordBatch {
        &self.stored.batch
    }

    /// How many entries are stored, the dead ones included.
    pub(super) fn entries(&self) -> usize {
        self.stored.batch.num_rows()
    }

    /// Entries not gone.
    pub(super) fn live_entries(&self) -> usize {
        self.live_entries
    }

    /// Rows a reader sees: the live entries' counts added up.
    pub(super) fn live_rows(&self) -> u64 {
        self.live_rows
    }

    /// True once more than half of the entries are gone.
    pub(super) fn is_sparse(&self) -> bool {
        self.live_entries * 2 < self.entries()
    }

    /// How many times the view holds `entry`.
    pub(super) fn count(&self, entry: usize) -> u64 {
        self.stored.counts.as_ref().map_or(1, |counts| counts[entry])
    }

    /// The hash of `entry`, or 0 where hashes are not kept.
    pub(super) fn hash(&self, entry: usize) -> u32 {
        self.stored.hashes.as_ref().map_or(0, |hashes| hashes[entry])
    }

    /// True if `entry` is gone.
    pub(super) fn is_dead(&self, entry: usize) -> bool {
        self.dead.as_ref().is_some_and(|dead| dead[entry / 64] >> (entry % 64) & 1 == 1)
    }

    /// Marks `entry`, which must be live, as gone. Snapshots taken before still see it.
    pub(super) fn kill(&mut self, entry: usize) {
        debug_assert!(!self.is_dead(entry));
        let words = self.entries().div_ceil(64);
        let dead = self.dead.get_or_insert_with(|| Arc::new(vec![0; words]));
        Arc::make_mut(dead)[entry / 64] |= 1 << (entry % 64);
        self.live_entries -= 1;
        self.live_rows -= self.count(entry);
    }

    /// The live entries, in order.
    pub(super) fn live(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.entries()).filter(|entry| !self.is_dead(*entry))
    }

    /// Bytes held: columns, counts, hashes, bitmap and indexes.
    pub(super) fn bytes(&self) -> usize {
        let dead = self.dead.as_ref().map_or(0, |dead| dead.capacity() * size_of::<u64>());
        let sorted: usize = self.sorted().iter().map(|sorted| sorted.bytes()).sum();
        size_of::<Self>() + size_of::<Stored>() + self.stored.bytes + dead + sorted
    }

    /// The live entries as a batch of the columns in `projection` (all where `None`), which has `schema`, with their
    /// counts where some entry is held more than once. Copies nothing while no entry is gone.
    pub(super) fn read(
        &self,
        schema: &SchemaRef,
        projection: Option<&[usize]>,
    ) -> Result<(RecordBatch, Option<Vec<u64>>)> {
        let columns = match projection {
            None => self.stored.batch.columns().to_vec(),
            Some(projection) => projection.iter().map(|index| self.stored.batch.column(*index).clone()).collect(),
        };
        let Some(dead) = &self.dead else {
            return Ok((batch_of(schema, columns, self.entries())?, self.stored.counts.clone()));
        };
        let live: Vec<u64> = dead.iter().map(|word| (!word).to_le()).collect();
        let live = BooleanArray::from(BooleanBuffer::new(Buffer::from_vec(live), 0, self.entries()));
        debug_assert_eq!(live.true_count(), self.live_entries);
        let mut filter = FilterBuilder::new(&live);
        if columns.len() > 1 {
            filter = filter.optimize();
        }
        let filter = filter.build();
        let columns = columns.iter().map(|column| filter.filter(column)).collect::<Result<Vec<_>, _>>()?;
        let batch = batch_of(schema, columns, self.live_entries)?;
        let counts = self.stored.counts.as_ref().map(|counts| self.live().map(|entry| counts[entry]).collect());
        Ok((batch, counts))
    }
}
