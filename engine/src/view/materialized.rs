//! A materialized view: the rows a query's deltas add up to, and cheap snapshots of them.
//!
//! ```text
//! deltas of a tick ─> consolidate ─> find each changed row (row index) ─> new count ─> chunk store
//!                                                                                          └─> snapshot
//! ```
//! A row whose count changes is one entry that goes and, unless the count fell to zero, one that comes; entries never
//! change in place, so a snapshot needs no copy of anything. An append-only view has no index and never looks rows up.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::delta::{Delta, Weights};
use crate::error::{Error, Result};
use crate::state::size::column_bytes;
use crate::time::TickId;
use crate::view::assembly::Entry;
use crate::view::batch::interleave_rows;
use crate::view::canonical::canonical_rows;
use crate::view::changelog::row_text;
use crate::view::chunk::{CHUNK_ENTRIES_MAX, Chunk, Location};
use crate::view::chunk_store::{Added, ChunkStore, Order};
use crate::view::column_index::{BuiltIndexes, IndexColumns};
use crate::view::consolidate::Consolidated;
use crate::view::row_index::RowIndex;
#[cfg(test)]
use crate::view::row_keys::RowHasher;
use crate::view::row_keys::{Keys, RowKeys};
use crate::view::view_snapshot::ViewSnapshot;

/// What one tick did to a view.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The tick's changes, floats canonical, no delta empty. Of a retracting view: at most one delta, consolidated,
    /// retractions before inserts. Of an append-only view: the rows as they came, so that equal rows may stand there more
    /// than once.
    pub changelog: Vec<Delta>,
    /// Rows that came: the sum of the changelog's positive weights.
    pub inserted: u64,
    /// Rows that went: the sum of its negative weights, without the sign.
    pub deleted: u64,
}

/// The maintained rows of one view. One thread changes it; readers hold [`ViewSnapshot`]s.
#[derive(Debug)]
pub struct MaterializedView {
    schema: SchemaRef,
    keys: RowKeys,
    store: ChunkStore,
    /// `None` for an append-only view.
    index: Option<RowIndex>,
    /// Whether the rows are a set whose changes come consolidated, but for the order of signs.
    consolidated: bool,
    tick: TickId,
    entries_moved: u64,
}

/// An entry found for a changed row.
#[derive(Debug, Clone, Copy)]
struct Found {
    location: Location,
    count: u64,
}

impl MaterializedView {
    /// An empty view of rows of `schema` (without a weight column). `append_only` if no row will ever be retracted.
    ///
    /// # Errors
    /// `Unsupported` if a column's type cannot be compared.
    pub fn new(schema: SchemaRef, append_only: bool) -> Result<Self> {
        let keys = RowKeys::new(&schema)?;
        Ok(Self::with_keys(schema, append_only, keys))
    }

    /// As [`new`](Self::new), with another hash for the row index.
    #[cfg(test)]
    pub(super) fn with_hasher(schema: SchemaRef, append_only: bool, hasher: RowHasher) -> Result<Self> {
        let keys = RowKeys::with_hasher(&schema, hasher)?;
        Ok(Self::with_keys(schema, append_only, keys))
    }

    fn with_keys(schema: SchemaRef, append_only: bool, keys: RowKeys) -> Self {
        let order = if append_only { Order::Arrival } else { Order::Free };
        let store = ChunkStore::new(schema.clone(), order);
        Self {
            schema,
            keys,
            store,
            index: (!append_only).then(RowIndex::default),
            consolidated: false,
            tick: TickId::default(),
            entries_moved: 0,
        }
    }

    /// The same view, told whether it is a set whose every change comes consolidated (the dataflow says so): it is
    /// then taken as it is, and what it inserts is not looked for.
    #[must_use]
    pub fn with_consolidated_changes(self, consolidated: bool) -> Self {
        Self { consolidated, ..self }
    }

    /// The view's columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows in the view, each as often as the view holds it.
    pub fn num_rows(&self) -> u64 {
        self.store.rows()
    }

    /// The last tick applied.
    pub fn tick(&self) -> TickId {
        self.tick
    }

    /// Bytes of state: chunks and row index. Old snapshots that somebody still holds are not counted.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.store.bytes() + self.index.as_ref().map_or(0, RowIndex::bytes)
    }

    /// What a row of these columns comes to, reckoned from their types.
    pub fn row_bytes_each(schema: &SchemaRef, append_only: bool) -> usize {
        let columns: usize = schema.fields().iter().map(|field| column_bytes(field.data_type())).sum();
        columns + if append_only { 0 } else { RowIndex::bytes_each() + size_of::<u32>() }
    }

    /// Lets all rows go, without a change that says so: for a view that nobody reads any more.
    pub fn clear(&mut self) {
        let order = if self.index.is_none() { Order::Arrival } else { Order::Free };
        self.store = ChunkStore::new(self.schema.clone(), order);
        self.index = self.index.is_some().then(RowIndex::default);
    }

    /// Stored rows copied so far to keep the chunks few and dense: what upkeep costs beside the changes themselves.
    pub fn entries_moved(&self) -> u64 {
        self.entries_moved
    }

    /// The rows as they are now. Costs a few reference counts; later ticks do not change it.
    pub fn snapshot(&self) -> ViewSnapshot {
        let indexes = self.store.indexes().clone();
        ViewSnapshot::new(self.schema.clone(), self.store.list().clone(), self.store.rows()).with_indexes(indexes)
    }

    /// The columns of the view's indexes; another list whenever they were set anew.
    pub fn indexes(&self) -> &Arc<Vec<IndexColumns>> {
        self.store.indexes()
    }

    /// Indexes the view by these columns and no others, each list by places in the schema. What `built` has of the present
    /// rows is not sorted again. Snapshots taken before are without.
    ///
    /// # Errors
    /// `Data` if a column cannot be sorted; those of [`can_be_indexed`](crate::view::can_be_indexed) can. The view is then
    /// as before.
    pub fn set_indexes(&mut self, indexes: &[Vec<usize>], built: &BuiltIndexes) -> Result<()> {
        self.store.set_indexes(indexes.iter().map(|columns| columns.as_slice().into()).collect(), built)
    }

    /// Applies one tick's changes.
    ///
    /// `changes`: rows of the view's schema with weights, any number of deltas, any order, not consolidated. The cost is
    /// that of the changed rows, not of the view; rewriting chunks adds a bounded multiple of that.
    ///
    /// # Errors
    /// `Data` if a row would be held fewer than zero times (an upstream retraction had no insert) or the rows are not of
    /// the schema, `Internal` if an append-only view is to retract or ticks go back. After an error the view is as before.
    ///
    /// Source: Budiu et al., "DBSP: Automatic Incremental View Maintenance", PVLDB 16(7), 2023.
    pub fn apply(&mut self, tick: TickId, changes: Vec<Delta>) -> Result<Applied> {
        if tick < self.tick {
            return Err(Error::internal(format!("tick {tick} applied to a view after tick {}", self.tick)));
        }
        let changelog = if changes.iter().all(Delta::is_empty) && !self.store.has_sparse() {
            Vec::new()
        } else if self.index.is_some() {
            self.apply_weighted(&changes)?
        } else {
            self.append(&changes)?
        };
        self.tick = tick;
        let counts = changelog.iter().map(count_changes);
        let (inserted, deleted) = counts.fold((0, 0), |sum, delta| (sum.0 + delta.0, sum.1 + delta.1));
        Ok(Applied { changelog, inserted, deleted })
    }

    fn append(&mut self, changes: &[Delta]) -> Result<Vec<Delta>> {
        let only_comes = |delta: &Delta| match &delta.weights {
            Weights::Ones => true,
            Weights::Signed(weights) => weights.values().iter().all(|weight| *weight > 0),
        };
        let changelog = if changes.iter().all(only_comes) {
            // Not laid end to end: a large delta becomes chunks as it is.
            let came = changes.iter().filter(|delta| !delta.is_empty());
            came.map(|delta| canonical_delta(delta, &self.schema)).collect::<Result<Vec<_>>>()?
        } else {
            // Weights of one row may still cancel within the tick.
            vec![Consolidated::new(&self.keys, &self.schema, changes)?.delta()?]
        };
        self.check_room(&changelog)?;
        let before = self.store.clone();
        changelog.iter().try_for_each(|delta| self.append_delta(delta)).inspect_err(|_| self.store = before)?;
        Ok(changelog)
    }

    fn append_delta(&mut self, delta: &Delta) -> Result<()> {
        if matches!(delta.weights, Weights::Ones) && self.store.takes_whole(&delta.rows) {
            return self.store.append_whole(&delta.rows);
        }
        let entry = |row| {
            let refuse =
                |_| Error::internal(format!("an append-only view is to retract {}", row_text(&delta.rows, row)));
            Ok(Entry { row, count: u64::try_from(delta.weight(row)).map_err(refuse)?, hash: 0 })
        };
        let entries = (0..delta.num_rows()).map(entry).collect::<Result<Vec<_>>>()?;
        let plan = self.store.plan(&[], &Added { batch: &delta.rows, entries })?;
        self.entries_moved += self.store.commit(plan).moved.len() as u64;
        Ok(())
    }

    fn apply_weighted(&mut self, changes: &[Delta]) -> Result<Vec<Delta>> {
        let change = match self.consolidated {
            true => Consolidated::trusted(&self.keys, &self.schema, changes)?,
            false => Consolidated::new(&self.keys, &self.schema, changes)?,
        };
        let found = self.find(&change)?;
        let mut added = Added { batch: &change.rows, entries: Vec::with_capacity(change.net.len()) };
        let mut killed = Vec::with_capacity(change.net.len());
        for (row, found) in change.net.iter().zip(&found) {
            let held = found.map_or(0, |found| found.count);
            let count = held.checked_add_signed(row.weight).ok_or_else(|| {
                let text = row_text(&change.rows, row.index as usize);
                Error::data(format!("the view holds {text} {held} times and is to change that by {}", row.weight))
            })?;
            killed.extend(found.map(|found| found.location));
            if count > 0 {
                let (row, hash) = (row.index as usize, change.keys.hash(row.index as usize));
                added.entries.push(Entry { row, count, hash });
            }
        }
        let changelog = change.delta()?;
        self.check_room(std::slice::from_ref(&changelog))?;
        let plan = self.store.plan(&killed, &added)?;

        // Nothing fails from here on.
        let placed = self.store.commit(plan);
        let index = self.index.as_mut().expect("a view that is not append-only has an index");
        for (row, found) in change.net.iter().zip(&found) {
            if let Some(found) = found {
                let removed = index.remove(change.keys.hash(row.index as usize), found.location);
                debug_assert!(removed);
            }
        }
        self.entries_moved += placed.moved.len() as u64;
        for entry in placed.moved {
            let relocated = index.relocate(entry.hash, entry.from, entry.to);
            debug_assert!(relocated);
        }
        for (entry, location) in added.entries.iter().zip(placed.added) {
            index.insert(entry.hash, location);
        }
        Ok(if changelog.is_empty() { Vec::new() } else { vec![changelog] })
    }

    /// Refuses a change after which rows could no longer be counted.
    fn check_room(&self, changelog: &[Delta]) -> Result<()> {
        let coming: i128 = changelog.iter().map(|delta| i128::from(count_changes(delta).0)).sum();
        if coming + i128::from(self.num_rows()) > i128::from(i64::MAX) {
            return Err(Error::data(format!("a view of {} rows is to take in {coming} more", self.num_rows())));
        }
        Ok(())
    }

    /// The stored entry of each changed row, where there is one.
    fn find(&self, change: &Consolidated) -> Result<Vec<Option<Found>>> {
        let mut found = vec![None; change.net.len()];
        let Some(index) = &self.index else { return Ok(found) };
        let mut candidates = Vec::with_capacity(change.net.len());
        for (at, row) in change.net.iter().enumerate() {
            // Checked where assertions are: then a row that is there already is found below.
            if self.consolidated && row.weight > 0 && !cfg!(debug_assertions) {
                continue;
            }
            for location in index.candidates(change.keys.hash(row.index as usize)) {
                candidates.push((at, location));
                if candidates.len() == CHUNK_ENTRIES_MAX {
                    self.verify(change, &candidates, &mut found)?;
                    candidates.clear();
                }
            }
        }
        self.verify(change, &candidates, &mut found)?;
        debug_assert!(
            !self.consolidated || change.net.iter().zip(&found).all(|(row, found)| row.weight < 0 || found.is_none()),
            "a row that the view holds is inserted into a set"
        );
        Ok(found)
    }

    /// Compares changed rows with the entries their hashes named, and notes those that are equal.
    fn verify(
        &self,
        change: &Consolidated,
        candidates: &[(usize, Location)],
        found: &mut [Option<Found>],
    ) -> Result<()> {
        if candidates.is_empty() {
            return Ok(());
        }
        let stored = self.keys.encode(&self.entries(candidates)?)?;
        for (nth, (at, location)) in candidates.iter().enumerate() {
            if is_row(&change.keys, change.net[*at].index as usize, &stored, nth) {
                debug_assert!(found[*at].is_none(), "equal rows are one entry");
                let count = self.chunk(*location)?.count(location.entry());
                found[*at] = Some(Found { location: *location, count });
            }
        }
        Ok(())
    }

    /// The entries at the candidates' locations, in order, as one batch.
    fn entries(&self, candidates: &[(usize, Location)]) -> Result<RecordBatch> {
        let mut positions: Vec<usize> = candidates.iter().map(|(_, location)| location.position()).collect();
        positions.sort_unstable();
        positions.dedup();
        let first = |position: usize| Location::new(position, 0);
        let chunks = positions.iter().map(|position| self.chunk(first(*position))).collect::<Result<Vec<_>>>()?;
        let pick = |(_, location): &(usize, Location)| {
            let source = positions.binary_search(&location.position());
            (source.expect("every position was collected above"), location.entry())
        };
        let picks: Vec<(usize, usize)> = candidates.iter().map(pick).collect();
        let sources: Vec<_> = chunks.iter().map(|chunk| chunk.batch()).collect();
        interleave_rows(&self.schema, &sources, &picks)
    }

    fn chunk(&self, location: Location) -> Result<&Chunk> {
        let chunk = self.store.list().get(location.position());
        chunk.ok_or_else(|| Error::internal(format!("the row index names a chunk that is gone: {location:?}")))
    }

    /// Chunks held.
    #[cfg(test)]
    pub(super) fn num_chunks(&self) -> usize {
        self.store.list().iter().count()
    }

    /// Checks that index and chunks agree, for tests.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let mut rows = 0;
        let mut entries = 0;
        for (position, chunk) in self.store.list().iter() {
            let keys = self.keys.encode(chunk.batch()).expect("stored rows are of the schema");
            assert_eq!(chunk.live().count(), chunk.live_entries());
            assert!(chunk.live_entries() > 0, "a chunk without live entries stayed");
            rows += chunk.live_rows();
            entries += chunk.live_entries();
            let Some(index) = &self.index else { continue };
            for entry in chunk.live() {
                let location = Location::new(position, entry);
                assert_eq!(index.candidates(keys.hash(entry)).filter(|other| *other == location).count(), 1);
            }
        }
        assert_eq!(rows, self.store.rows());
        assert!(self.index.as_ref().is_none_or(|index| index.len() == entries));
        self.store.check();
    }
}

/// `delta` with canonical floats, its columns named as the view's.
fn canonical_delta(delta: &Delta, schema: &SchemaRef) -> Result<Delta> {
    Ok(Delta { rows: canonical_rows(&delta.rows, schema)?, weights: delta.weights.clone() })
}

fn is_row(keys: &Keys, row: usize, others: &Keys, other: usize) -> bool {
    keys.bytes(row) == others.bytes(other)
}

/// The sums of positive and of negative weights, both without sign.
fn count_changes(changelog: &Delta) -> (u64, u64) {
    match &changelog.weights {
        Weights::Ones => (changelog.num_rows() as u64, 0),
        Weights::Signed(weights) => weights.values().iter().fold((0, 0), |(inserted, deleted), weight| match weight {
            1.. => (inserted + weight.unsigned_abs(), deleted),
            _ => (inserted, deleted + weight.unsigned_abs()),
        }),
    }
}
