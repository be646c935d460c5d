//! The store of one view's chunks: adds entries, drops entries, and keeps the chunks few and dense.
//!
//! A change is planned first and committed after, because planning copies and may fail while committing cannot: after an
//! error the store is as it was.
//!
//! ```text
//! plan:    kill ─> choose what to absorb ─> assemble [absorbed entries…, added entries…] into chunks
//! commit:  let go of absorbed and empty chunks, put the new ones in their places
//! ```
//! Two rules say what is absorbed. Small chunks are merged once there are eight of about one size, so an entry is copied
//! a logarithmic number of times (the log-structured method, Bentley and Saxe, J. Algorithms 1(4), 1980). A chunk more
//! than half dead is rewritten, so each dead entry pays for at most one copy. Both are bounded per change, so that no
//! tick pays for many ticks before it.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::error::{Error, Result};
use crate::view::assembly::{Assembly, Entry, share_of};
use crate::view::chunk::{CHUNK_BYTES_MAX, CHUNK_ENTRIES_MAX, Chunk, Location};
use crate::view::chunk_list::ChunkList;
use crate::view::column_index::{BuiltIndexes, IndexColumns};

/// Chunks of about one size that are merged into one.
const FAN_IN: usize = 8;

/// In what order a store keeps its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// In the order they were added; room is given back only at the front and the end. Nothing points at an entry.
    Arrival,
    /// In any; places of chunks let go are used again. A row index points at the entries by their hashes.
    Free,
}

/// Chunks, and which of them want attention.
#[derive(Debug, Clone)]
pub(super) struct ChunkStore {
    schema: SchemaRef,
    order: Order,
    list: ChunkList,
    /// Positions of chunks small enough to be merged, oldest first.
    tail: Vec<usize>,
    /// Positions of chunks more than half dead that no plan had room for yet.
    sparse: BTreeSet<usize>,
    /// Places to use again.
    free: Vec<usize>,
    rows: u64,
    chunk_bytes: usize,
    /// What every chunk is sorted by.
    indexes: Arc<Vec<IndexColumns>>,
}

/// Entries to add, and the batch that has their rows.
pub(super) struct Added<'a> {
    pub(super) batch: &'a RecordBatch,
    pub(super) entries: Vec<Entry>,
}

/// A change worked out but not made.
pub(super) struct Plan {
    /// The list with the kills done.
    list: ChunkList,
    /// Positions of the chunks with kills.
    touched: Vec<usize>,
    /// Positions of chunks that end with this change.
    ended: Vec<usize>,
    chunks: Vec<Chunk>,
    /// The hashes of the absorbed entries and where they were; they come first in `chunks`.
    moved_from: Vec<(u32, Location)>,
}

/// Where a change put things.
pub(super) struct Placed {
    /// Every entry that moved.
    pub(super) moved: Vec<Move>,
    /// Where the added entries are, in the order given.
    pub(super) added: Vec<Location>,
}

/// An entry that moved.
pub(super) struct Move {
    pub(super) hash: u32,
    pub(super) from: Location,
    pub(super) to: Location,
}

impl ChunkStore {
    /// An empty store.
    pub(super) fn new(schema: SchemaRef, order: Order) -> Self {
        Self {
            schema,
            order,
            list: ChunkList::default(),
            tail: Vec::new(),
            sparse: BTreeSet::new(),
            free: Vec::new(),
            rows: 0,
            chunk_bytes: 0,
            indexes: Arc::default(),
        }
    }

    /// What every chunk is sorted by; another list after every [`set_indexes`](Self::set_indexes).
    pub(super) fn indexes(&self) -> &Arc<Vec<IndexColumns>> {
        &self.indexes
    }

    /// Sorts every chunk by these columns, from now on as well; what `built` has is not sorted again.
    ///
    /// # Errors
    /// `Data` if a column cannot be sorted. The store is then as before.
    pub(super) fn set_indexes(&mut self, indexes: Vec<IndexColumns>, built: &BuiltIndexes) -> Result<()> {
        let one = |(position, chunk): (usize, &Chunk)| Ok((position, chunk.with_indexes(&indexes, built.get(chunk))?));
        let chunks = self.list.iter().map(one).collect::<Result<Vec<_>>>()?;
        for (position, chunk) in chunks {
            self.forget_size(position);
            if let Some(place) = self.list.place_mut(position) {
                *place = Some(chunk);
            }
            self.count_size(position);
        }
        self.indexes = Arc::new(indexes);
        Ok(())
    }

    /// A new chunk, with the indexes.
    fn indexed(&self, chunk: Chunk) -> Result<Chunk> {
        if self.indexes.is_empty() { Ok(chunk) } else { chunk.with_indexes(&self.indexes, &[]) }
    }

    /// The chunks as they are now.
    pub(super) fn list(&self) -> &ChunkList {
        &self.list
    }

    /// Rows a reader sees.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.chunk_bytes + self.list.bytes()
    }

    /// True if a change, even an empty one, would rewrite chunks that are more than half dead.
    pub(super) fn has_sparse(&self) -> bool {
        !self.sparse.is_empty()
    }

    /// True if `batch` makes chunks that are large enough to be left alone, without other rows.
    pub(super) fn takes_whole(&self, batch: &RecordBatch) -> bool {
        is_full(batch.num_rows(), share_of(batch, batch.num_rows()))
    }

    /// Adds all rows of `batch`, once each, as chunks of their own: without a copy where the batch pins little more than
    /// its rows. Of a store in order of arrival.
    ///
    /// # Errors
    /// `Data` if rows cannot be copied; some may have been added.
    pub(super) fn append_whole(&mut self, batch: &RecordBatch) -> Result<()> {
        debug_assert_eq!(self.order, Order::Arrival);
        for chunk in Assembly::whole(&self.schema, batch)? {
            let chunk = self.indexed(chunk)?;
            self.put(chunk);
        }
        Ok(())
    }

    /// Works out a change: `killed` entries go, `added` come.
    ///
    /// # Errors
    /// `Data` if rows cannot be copied; `Internal` if an entry to kill is not there.
    pub(super) fn plan(&self, killed: &[Location], added: &Added<'_>) -> Result<Plan> {
        let mut list = self.list.clone();
        let mut touched: Vec<usize> = killed.iter().map(|location| location.position()).collect();
        touched.sort_unstable();
        touched.dedup();
        for location in killed {
            let chunk = list.place_mut(location.position()).and_then(Option::as_mut);
            let chunk = chunk.filter(|chunk| location.entry() < chunk.entries() && !chunk.is_dead(location.entry()));
            chunk.ok_or_else(|| Error::internal(format!("no entry to remove at {location:?}")))?.kill(location.entry());
        }
        let changed = killed.len() + added.entries.len();
        let mut choice = Choice::new(&list, added);
        if self.order == Order::Free {
            let sparse = touched.iter().filter(|position| {
                !self.sparse.contains(position) && list.get(**position).is_some_and(Chunk::is_sparse)
            });
            choice.take_sparse(self.sparse.iter().chain(sparse), 2 * changed);
        }
        choice.take_empty(&touched);
        choice.take_tail(&self.tail);
        let Choice { absorbed, empty, .. } = choice;

        let mut moved_from = Vec::new();
        let mut assembly = Assembly::new(self.schema.clone(), self.order == Order::Free);
        for (position, chunk) in absorbed.iter().filter_map(|position| Some((*position, list.get(*position)?))) {
            let entry = |row| Entry { row, count: chunk.count(row), hash: chunk.hash(row) };
            assembly.pick(chunk.batch(), chunk.live().map(entry));
            moved_from.extend(chunk.live().map(|entry| (chunk.hash(entry), Location::new(position, entry))));
        }
        debug_assert_eq!(assembly.len(), moved_from.len());
        assembly.pick(added.batch, added.entries.iter().copied());
        let chunks = assembly.chunks()?.into_iter().map(|chunk| self.indexed(chunk)).collect::<Result<_>>()?;
        let ended = absorbed.into_iter().chain(empty).collect();
        Ok(Plan { list, touched, ended, chunks, moved_from })
    }

    /// Makes the change.
    pub(super) fn commit(&mut self, plan: Plan) -> Placed {
        for position in &plan.touched {
            self.forget_size(*position);
        }
        self.list = plan.list;
        for position in &plan.touched {
            self.count_size(*position);
            if self.list.get(*position).is_some_and(Chunk::is_sparse) {
                self.sparse.insert(*position);
            }
        }
        for position in &plan.ended {
            self.let_go(*position);
        }
        if self.order == Order::Arrival {
            let lowered = self.list.trim();
            self.tail.iter_mut().for_each(|position| *position -= lowered);
        }
        let mut places = Vec::with_capacity(plan.moved_from.len());
        for chunk in plan.chunks {
            let entries = chunk.entries();
            let position = self.put(chunk);
            places.extend((0..entries).map(|entry| Location::new(position, entry)));
        }
        if self.order == Order::Free {
            // Only now, so that no entry moves to where another one moves away from: the row index is told one by one.
            self.free.extend(plan.ended);
        }
        let added = places.split_off(plan.moved_from.len());
        let moved = plan.moved_from.into_iter().zip(places).map(|((hash, from), to)| Move { hash, from, to });
        Placed { moved: moved.collect(), added }
    }

    fn let_go(&mut self, position: usize) {
        self.forget_size(position);
        self.tail.retain(|other| *other != position);
        self.sparse.remove(&position);
        if let Some(place) = self.list.place_mut(position) {
            *place = None;
        }
    }

    fn put(&mut self, chunk: Chunk) -> usize {
        let full = is_full(chunk.live_entries(), chunk.bytes());
        let position = match self.free.pop() {
            Some(position) => {
                *self.list.place_mut(position).expect("a free place is inside the list") = Some(chunk);
                position
            }
            None => self.list.push(chunk),
        };
        self.count_size(position);
        if !full {
            self.tail.push(position);
        } else if self.order == Order::Arrival {
            // Small chunks before this one can no longer be merged with later ones.
            self.tail.clear();
        }
        position
    }

    /// Checks what the store knows about its chunks, for tests.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let bytes: usize = self.list.iter().map(|(_, chunk)| chunk.bytes()).sum();
        assert_eq!(bytes, self.chunk_bytes);
        let sparse = self.list.iter().filter(|(_, chunk)| chunk.is_sparse()).map(|(position, _)| position);
        assert!(self.order == Order::Arrival || sparse.eq(self.sparse.iter().copied()));
        assert!(self.tail.iter().chain(&self.sparse).all(|position| self.list.get(*position).is_some()));
        assert!(self.free.iter().all(|position| self.list.get(*position).is_none()));
    }

    fn forget_size(&mut self, position: usize) {
        if let Some(chunk) = self.list.get(position) {
            self.rows -= chunk.live_rows();
            self.chunk_bytes -= chunk.bytes();
        }
    }

    fn count_size(&mut self, position: usize) {
        if let Some(chunk) = self.list.get(position) {
            self.rows += chunk.live_rows();
            self.chunk_bytes += chunk.bytes();
        }
    }
}

/// Which chunks a change takes along.
struct Choice<'a> {
    list: &'a ChunkList,
    /// To be rewritten, in the order their entries are to follow each other.
    absorbed: Vec<usize>,
    /// Without live entries: nothing to rewrite.
    empty: Vec<usize>,
    /// Entries and bytes of the chunk about to be made.
    entries: usize,
    bytes: usize,
}

impl<'a> Choice<'a> {
    fn new(list: &'a ChunkList, added: &Added<'_>) -> Self {
        let entries = added.entries.len();
        let bytes = share_of(added.batch, entries);
        Self { list, absorbed: Vec::new(), empty: Vec::new(), entries, bytes }
    }

    fn live(&self, position: usize) -> usize {
        self.list.get(position).map_or(0, Chunk::live_entries)
    }

    /// About what the live part of a chunk needs.
    fn live_bytes(&self, position: usize) -> usize {
        let chunk = self.list.get(position);
        chunk.map_or(0, |chunk| chunk.bytes() / chunk.entries().max(1) * chunk.live_entries())
    }

    fn absorb(&mut self, position: usize) {
        self.entries += self.live(position);
        self.bytes += self.live_bytes(position);
        self.absorbed.push(position);
    }

    /// Takes chunks more than half dead: one, and more as far as their live entries fit `budget`.
    fn take_sparse<'p>(&mut self, positions: impl Iterator<Item = &'p usize>, budget: usize) {
        let mut taken = 0;
        for position in positions {
            let live = self.live(*position);
            if live == 0 {
                continue;
            }
            if taken > 0 && taken + live > budget {
                break;
            }
            taken += live;
            self.absorb(*position);
        }
    }

    /// Takes those of `positions` that have no live entry.
    fn take_empty(&mut self, positions: &[usize]) {
        self.empty = positions.iter().copied().filter(|position| self.live(*position) == 0).collect();
    }

    /// Merges the newest small chunks where enough of about one size came together, or fill a chunk together.
    fn take_tail(&mut self, tail: &[usize]) {
        let is_left = |position: &usize| self.live(*position) > 0 && !self.absorbed.contains(position);
        let mut left: Vec<usize> = tail.iter().copied().filter(is_left).collect();
        let sparse = self.absorbed.len();
        while self.entries > 0 && !is_full(self.entries, self.bytes) {
            let class = size_class(self.entries);
            let run: Vec<usize> =
                left.iter().rev().copied().take_while(|position| size_class(self.live(*position)) <= class).collect();
            let entries = self.entries + run.iter().map(|position| self.live(*position)).sum::<usize>();
            let bytes = self.bytes + run.iter().map(|position| self.live_bytes(*position)).sum::<usize>();
            let fits = |choice: &Self, position: usize| {
                choice.entries + choice.live(position) <= CHUNK_ENTRIES_MAX
                    && choice.bytes + choice.live_bytes(position) <= CHUNK_BYTES_MAX
            };
            if run.len() + 1 < FAN_IN && entries < CHUNK_ENTRIES_MAX && bytes < CHUNK_BYTES_MAX {
                break;
            }
            let before = left.len();
            for position in run {
                if !fits(self, position) {
                    break;
                }
                self.absorb(position);
                left.pop();
            }
            if left.len() == before {
                break;
            }
        }
        // They were taken newest first; arrival order is oldest first.
        self.absorbed[sparse..].reverse();
    }
}

/// 0 for up to 7 entries, 1 for up to 63, and so on: by powers of [`FAN_IN`].
fn size_class(entries: usize) -> u32 {
    entries.max(1).ilog2() / FAN_IN.ilog2()
}

/// True if a chunk is large enough to be left alone.
fn is_full(entries: usize, bytes: usize) -> bool {
    entries * 2 >= CHUNK_ENTRIES_MAX || bytes * 2 >= CHUNK_BYTES_MAX
}
