//! The last row of each key: what a log of changes comes to.
//!
//! In: a tick's records, in any order, each with its place in the log. Out: for each key whose row is another than before, the
//! old row and the new one. Memory is that of the rows there are; of a key without a row nothing is kept.
//!
//! Within a partition the record with the highest offset counts. A key should be in one partition alone. Where it is in
//! several, each has a last record of its own, and the row is the newest of theirs by the records' own time, the higher
//! partition's where times are equal. That depends on each partition's log up to the cut and on nothing else: not on which
//! partition was read first.
//!
//! ```text
//! key ── index ──> slot ──> row, partition, time              (the row there is)
//!                       └─> partition -> row, time            (rows of other partitions; hardly ever any)
//! ```

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, ArrayRef, BooleanArray, Int32Array, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::DataType;

use crate::error::{Error, Result};
use crate::state::canonical::{canonical_columns, has_floats};
use crate::state::key_index::{KeyIndex, NEVER};
use crate::state::row_codec::RowCodec;
use crate::state::row_store::RowStore;
use crate::state::size::{UnitBytes, grown};

/// The partition of a slot that has no row.
const NO_PARTITION: i32 = -1;

/// What a slot's row came from.
#[derive(Debug, Clone, Copy)]
struct Origin {
    partition: i32,
    /// The record's time, µs; `i64::MIN` if it has none.
    time: i64,
}

/// A row of a key that has a newer one in another partition.
#[derive(Debug)]
struct Shadowed {
    time: i64,
    row: Box<[u8]>,
}

/// The columns that tell where records stand, and which of them delete.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// Partition numbers.
    pub partitions: &'a Int32Array,
    /// Offsets.
    pub offsets: &'a Int64Array,
    /// The records' own times, where they have some.
    pub times: &'a TimestampMicrosecondArray,
    /// True for a record that deletes its key's row.
    pub deleted: &'a BooleanArray,
}

/// A row that goes (-1) or comes (+1).
#[derive(Debug)]
pub struct RowChange {
    /// Its key.
    pub slot: u32,
    /// -1 or +1.
    pub weight: i64,
    row: Vec<u8>,
}

/// A row of some partition, to be written down.
#[derive(Debug, Clone, Copy)]
pub struct KeptRow<'a> {
    /// Its key.
    pub slot: u32,
    /// Its partition.
    pub partition: i32,
    /// Its record's time, µs; `i64::MIN` if it has none.
    pub time: i64,
    /// The row.
    pub row: &'a [u8],
}

/// The last row of each key.
#[derive(Debug)]
pub struct LastRows {
    keys: Vec<usize>,
    /// The columns that come out.
    output: Vec<usize>,
    /// The columns kept beside the key: those that come out and are not in it, or not in the same bits.
    kept: Vec<usize>,
    key_codec: RowCodec,
    row_codec: RowCodec,
    index: KeyIndex,
    rows: RowStore,
    origins: Vec<Origin>,
    shadowed: HashMap<u32, BTreeMap<i32, Shadowed>>,
    shadowed_bytes: usize,
    /// Keys that the last fold left without a row.
    emptied: Vec<u32>,
}

/// One record of a tick, by where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Touch {
    slot: u32,
    partition: i32,
    offset: i64,
    batch: u32,
    row: u32,
}

impl LastRows {
    /// No rows yet. Records have columns of these `types`; `keys` of them are the key, `output` come out.
    ///
    /// # Errors
    /// `Unsupported` for a type that has no row format.
    pub fn try_new(types: &[DataType], keys: Vec<usize>, output: Vec<usize>) -> Result<Self> {
        if keys.is_empty() || keys.iter().chain(&output).any(|column| *column >= types.len()) {
            return Err(Error::internal("last rows need a key among their columns"));
        }
        let in_key = |column: &usize| keys.contains(column) && !has_floats(&types[*column]);
        let kept: Vec<usize> = output.iter().copied().filter(|column| !in_key(column)).collect();
        let codec =
            |columns: &[usize]| RowCodec::try_new(columns.iter().map(|column| types[*column].clone()).collect());
        let (key_codec, row_codec) = (codec(&keys)?, codec(&kept)?);
        Ok(Self {
            index: KeyIndex::new(key_codec.fixed_width()),
            rows: RowStore::new(row_codec.fixed_width()),
            keys,
            output,
            kept,
            key_codec,
            row_codec,
            origins: Vec::new(),
            shadowed: HashMap::new(),
            shadowed_bytes: 0,
            emptied: Vec::new(),
        })
    }

    /// Takes in a tick's records and returns what became of the rows: each key's old row and its new one, if they differ.
    /// Call [`settle`](Self::settle) when the changes were read.
    ///
    /// # Errors
    /// `Data` for more keys or longer rows than there is room for.
    pub fn fold(&mut self, batches: &[(&[ArrayRef], Places<'_>)]) -> Result<Vec<RowChange>> {
        let mut touches = Vec::new();
        let mut encoded = Vec::with_capacity(batches.len());
        for (number, (columns, places)) in batches.iter().enumerate() {
            let rows = places.offsets.len();
            let keys = self.key_codec.encode(&canonical_columns(&pick(columns, &self.keys))?, rows)?;
            encoded.push(self.row_codec.encode(&pick(columns, &self.kept), rows)?);
            for row in 0..rows {
                let (slot, is_new) = self.index.find_or_insert(NEVER, keys.row(row).data())?;
                if is_new {
                    self.vacate(slot);
                }
                let (partition, offset) = (places.partitions.value(row), places.offsets.value(row));
                touches.push(Touch { slot, partition, offset, batch: number as u32, row: row as u32 });
            }
        }
        touches.sort_unstable();
        let mut changes = Vec::new();
        for of_key in touches.chunk_by(|a, b| a.slot == b.slot) {
            let slot = of_key[0].slot;
            let before = self.row(slot).map(<[u8]>::to_vec);
            for of_partition in of_key.chunk_by(|a, b| a.partition == b.partition) {
                let Some(last) = of_partition.last() else { continue };
                let (places, row) = (batches[last.batch as usize].1, last.row as usize);
                let time = if places.times.is_valid(row) { places.times.value(row) } else { i64::MIN };
                let bytes = (!places.deleted.value(row)).then(|| encoded[last.batch as usize].row(row));
                self.put(slot, Origin { partition: last.partition, time }, bytes.as_ref().map(|row| row.data()))?;
            }
            let after = self.row(slot);
            if before.as_deref() != after {
                let change = |weight, row: Vec<u8>| RowChange { slot, weight, row };
                let after = after.map(|row| change(1, row.to_vec()));
                changes.extend(before.map(|row| change(-1, row)));
                changes.extend(after);
            }
        }
        touches.dedup_by_key(|touch| touch.slot);
        self.emptied = touches.iter().map(|touch| touch.slot).filter(|slot| self.row(*slot).is_none()).collect();
        Ok(changes)
    }

    /// Gives up the keys that have no row after the last [`fold`](Self::fold).
    pub fn settle(&mut self) {
        for slot in std::mem::take(&mut self.emptied) {
            self.index.remove(slot);
        }
    }

    /// The output columns of changed rows.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn columns_of(&self, changes: &[RowChange]) -> Result<Vec<ArrayRef>> {
        self.decode(changes.iter().map(|change| (change.slot, change.row.as_slice())))
    }

    /// The slots that have a row, ascending.
    pub fn slots(&self) -> Vec<u32> {
        self.index.live()
    }

    /// The output columns of the rows of `slots`.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn columns(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        self.decode(slots.iter().map(|slot| (*slot, self.row(*slot).unwrap_or_default())))
    }

    fn decode<'a>(&self, rows: impl Iterator<Item = (u32, &'a [u8])> + Clone) -> Result<Vec<ArrayRef>> {
        let keys = self.key_columns(rows.clone().map(|(slot, _)| slot))?;
        let kept = self.row_codec.decode(rows.map(|(_, row)| row))?;
        let find = |column: &usize| match self.kept.iter().position(|kept| kept == column) {
            Some(place) => kept[place].clone(),
            None => {
                let place = self.keys.iter().position(|key| key == column);
                keys[place.expect("an output column is kept or in the key")].clone()
            }
        };
        Ok(self.output.iter().map(find).collect())
    }

    /// The key columns of slots, canonical.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn key_columns(&self, slots: impl Iterator<Item = u32>) -> Result<Vec<ArrayRef>> {
        self.key_codec.decode(slots.map(|slot| self.index.key(slot)))
    }

    /// Every row there is of every partition, by slot, to be written down.
    pub fn kept_rows<'a>(&'a self) -> Vec<KeptRow<'a>> {
        let mut rows = Vec::with_capacity(self.index.len());
        for slot in self.index.live() {
            let Origin { partition, time } = self.origins[slot as usize];
            rows.extend(self.row(slot).map(|row| KeptRow { slot, partition, time, row }));
            let others = self.shadowed.get(&slot).into_iter().flatten();
            let kept = |(partition, other): (&i32, &'a Shadowed)| KeptRow {
                slot,
                partition: *partition,
                time: other.time,
                row: &other.row,
            };
            rows.extend(others.map(kept));
        }
        rows
    }

    /// The types of the key columns, then of the columns kept beside them: how rows are written down.
    pub fn saved_types(&self) -> impl Iterator<Item = &DataType> {
        self.key_codec.types().iter().chain(self.row_codec.types())
    }

    /// The columns of kept rows: the key's, then those beside it.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn saved_columns(&self, rows: &[KeptRow<'_>]) -> Result<Vec<ArrayRef>> {
        let mut columns = self.key_columns(rows.iter().map(|row| row.slot))?;
        columns.extend(self.row_codec.decode(rows.iter().map(|row| row.row))?);
        Ok(columns)
    }

    /// Takes back what [`saved_columns`](Self::saved_columns) gave, with the partitions and times of [`kept_rows`](Self::kept_rows).
    ///
    /// # Errors
    /// `Data` as for [`fold`](Self::fold).
    pub fn restore(&mut self, columns: &[ArrayRef], partitions: &Int32Array, times: &Int64Array) -> Result<()> {
        let (keys, rest) = columns.split_at(self.keys.len());
        let keys = self.key_codec.encode(&canonical_columns(keys)?, partitions.len())?;
        let rows = self.row_codec.encode(rest, partitions.len())?;
        for row in 0..partitions.len() {
            let (slot, is_new) = self.index.find_or_insert(NEVER, keys.row(row).data())?;
            if is_new {
                self.vacate(slot);
            }
            let origin = Origin { partition: partitions.value(row), time: times.value(row) };
            self.put(slot, origin, Some(rows.row(row).data()))?;
        }
        Ok(())
    }

    /// Keys that have a row.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// True if no key has a row.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// All rows there has been room for at one time.
    pub fn len_max(&self) -> usize {
        self.index.slots_end()
    }

    /// What a row comes to whose key is in one partition.
    pub fn bytes_each(&self) -> UnitBytes {
        let origin = UnitBytes::lasting(grown(size_of::<Origin>()));
        KeyIndex::bytes_each(&self.key_codec, false) + self.row_codec.stored_bytes() + origin
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.index.bytes() + self.rows.bytes() + self.origins.capacity() * size_of::<Origin>() + self.shadowed_bytes
    }

    fn row(&self, slot: u32) -> Option<&[u8]> {
        let is_there = self.origins.get(slot as usize).is_some_and(|origin| origin.partition != NO_PARTITION);
        is_there.then(|| self.rows.get(slot))
    }

    fn vacate(&mut self, slot: u32) {
        if self.origins.len() <= slot as usize {
            self.origins.resize(slot as usize + 1, Origin { partition: NO_PARTITION, time: 0 });
        }
        self.origins[slot as usize].partition = NO_PARTITION;
    }

    /// The newest row of a key in one partition, or that it has none there.
    ///
    /// A key that is in no other partition has this for its row. Else the rows of all its partitions are laid side by side: the
    /// newest is the key's row, and the others stay in its shadow, to come out when it goes.
    fn put(&mut self, slot: u32, origin: Origin, row: Option<&[u8]>) -> Result<()> {
        let present = self.origins[slot as usize].partition;
        let alone = !self.shadowed.contains_key(&slot);
        if alone && (present == NO_PARTITION || present == origin.partition) {
            return self.set(slot, row.map(|row| (origin, row)));
        }
        let mut all = self.take_shadowed(slot);
        if let Some(row) = self.row(slot).map(Box::from) {
            all.insert(present, Shadowed { time: self.origins[slot as usize].time, row });
        }
        match row {
            Some(row) => _ = all.insert(origin.partition, Shadowed { time: origin.time, row: row.into() }),
            None => _ = all.remove(&origin.partition),
        }
        let newest = all.iter().map(|(partition, other)| (other.time, *partition)).max();
        let newest = newest.and_then(|(_, partition)| Some((partition, all.remove(&partition)?)));
        match &newest {
            Some((partition, Shadowed { time, row })) => {
                self.set(slot, Some((Origin { partition: *partition, time: *time }, row)))?;
            }
            None => self.set(slot, None)?,
        }
        self.keep_shadowed(slot, all);
        Ok(())
    }

    fn set(&mut self, slot: u32, row: Option<(Origin, &[u8])>) -> Result<()> {
        match row {
            Some((origin, row)) => {
                self.origins[slot as usize] = origin;
                self.rows.set(slot, row)
            }
            None => {
                self.origins[slot as usize].partition = NO_PARTITION;
                self.rows.clear(slot);
                Ok(())
            }
        }
    }

    fn take_shadowed(&mut self, slot: u32) -> BTreeMap<i32, Shadowed> {
        let taken = self.shadowed.remove(&slot).unwrap_or_default();
        self.shadowed_bytes -= bytes_of(&taken);
        taken
    }

    fn keep_shadowed(&mut self, slot: u32, rows: BTreeMap<i32, Shadowed>) {
        if !rows.is_empty() {
            self.shadowed_bytes += bytes_of(&rows);
            self.shadowed.insert(slot, rows);
        }
    }
}

/// What rows in the shadow of another take, their places in the maps included.
fn bytes_of(rows: &BTreeMap<i32, Shadowed>) -> usize {
    let each = size_of::<(i32, Shadowed)>();
    let inside: usize = rows.values().map(|other| each + other.row.len()).sum();
    if rows.is_empty() { 0 } else { size_of::<(u32, BTreeMap<i32, Shadowed>)>() + inside }
}

fn pick(columns: &[ArrayRef], of: &[usize]) -> Vec<ArrayRef> {
    of.iter().map(|column| columns[*column].clone()).collect()
}
