//! The groups that live: their keys, slots, row counts, and when they close.

use arrow::array::{ArrayRef, UInt16Array};
use arrow::datatypes::{DataType, FieldRef};

use super::Touched;
use super::call::retraction_without_insert;
use super::closing::times;
use crate::error::{Error, Result};
use crate::state::key_group::key_groups;
use crate::state::key_index::{KeyIndex, NEVER};
use crate::state::row_codec::RowCodec;
use crate::state::size::{UnitBytes, grown};

/// Boolean keys of so many columns make at most 3^n groups, which is a number and not a growth.
const FEW_KEYS: usize = 4;

/// What is known of a group apart from its calls.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Group {
    /// Sum of its rows' weights.
    pub rows: i64,
    /// Whether it has been answered. The group of an aggregate without keys is, even without rows.
    pub answered: bool,
    /// Whether it was answered finally, and is kept only because eviction is off.
    pub closed: bool,
}

/// Live groups.
#[derive(Debug)]
pub(super) struct Groups {
    codec: RowCodec,
    /// Its sections are the times of the monotone key.
    index: KeyIndex,
    groups: Vec<Group>,
    monotone_key: Option<usize>,
    partition_keys: Vec<usize>,
    /// What earlier ticks said is final.
    closed_below: Option<i64>,
    /// Groups whose time is below have been taken as final.
    taken_below: i64,
}

impl Groups {
    pub fn try_new(keys: &[FieldRef], monotone_key: Option<usize>, partition_keys: Vec<usize>) -> Result<Self> {
        let codec = RowCodec::try_new(keys.iter().map(|key| key.data_type().clone()).collect())?;
        Ok(Self {
            index: KeyIndex::new(codec.fixed_width()),
            codec,
            groups: Vec::new(),
            monotone_key,
            partition_keys,
            closed_below: None,
            taken_below: i64::MIN,
        })
    }

    /// Finds or makes the slots of a tick's groups and adds `counts` to their rows.
    pub fn touch(&mut self, keys: Vec<ArrayRef>, counts: Vec<i64>) -> Result<Touched> {
        let times = self.times(&keys, counts.len())?;
        let rows = self.codec.encode(&keys, counts.len())?;
        let always = self.codec.types().is_empty();
        let mut touched = Touched {
            keys,
            slots: Vec::with_capacity(counts.len()),
            rows: counts,
            was: Vec::with_capacity(rows.num_rows()),
            is: Vec::with_capacity(rows.num_rows()),
            changed: vec![false; rows.num_rows()],
        };
        for (tick_group, key) in rows.iter().enumerate() {
            let section = times.as_ref().map_or(NEVER, |times| times[tick_group]);
            let (slot, inserted) = self.index.find_or_insert(section, key.data())?;
            if inserted {
                self.place(slot, Group::default());
            }
            let group = &mut self.groups[slot as usize];
            group.rows = group.rows.wrapping_add(touched.rows[tick_group]);
            // All of the tick's rows are in this sum: a retraction may be read before its insert, if both are of one tick.
            if group.rows < 0 {
                return Err(retraction_without_insert("a group"));
            }
            touched.rows[tick_group] = group.rows;
            touched.was.push(group.answered);
            group.answered = always || group.rows > 0;
            touched.is.push(group.answered);
            touched.slots.push(slot);
        }
        Ok(touched)
    }

    /// The slots of touched groups that are empty now. A group without keys stays.
    pub fn settle(&self, touched: &Touched) -> Vec<u32> {
        let gone = touched.slots.iter().zip(&touched.is).filter(|(_, is)| !**is);
        gone.map(|(slot, _)| *slot).collect()
    }

    /// Notes what this tick said is final, for the next.
    pub fn advance(&mut self, closed_below: Option<i64>) {
        self.closed_below = self.closed_below.max(closed_below);
    }

    /// The groups whose monotone key is below `end`, each told once, in the order of time. NULL is never below.
    pub fn take_final(&mut self, end: i64) -> Vec<u32> {
        let from = self.taken_below;
        self.taken_below = from.max(end);
        if from >= end { Vec::new() } else { self.index.slots_in(from..end) }
    }

    /// Notes that `slots` have been answered finally.
    pub fn mark_closed(&mut self, slots: &[u32]) {
        slots.iter().for_each(|slot| self.groups[*slot as usize].closed = true);
    }

    /// Drops `slots`.
    pub fn remove(&mut self, slots: &[u32]) {
        slots.iter().for_each(|slot| self.index.remove(*slot));
    }

    /// Drops `slots`, which [`take_final`](Self::take_final) told last.
    pub fn remove_final(&mut self, slots: &[u32]) {
        self.index.remove_below(self.taken_below, slots);
    }

    /// The key columns of `slots`.
    pub fn keys(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        self.codec.decode(slots.iter().map(|slot| self.index.key(*slot)))
    }

    /// The key groups of rows of `keys`.
    pub fn key_groups(&self, keys: &[ArrayRef], rows: usize) -> Result<UInt16Array> {
        key_groups(&self.partition_keys.iter().map(|key| keys[*key].clone()).collect::<Vec<_>>(), rows)
    }

    /// Takes a saved group back.
    pub fn restore(&mut self, keys: &[ArrayRef], groups: impl Iterator<Item = Group>, rows: usize) -> Result<Vec<u32>> {
        let times = self.times(keys, rows)?;
        let keys = self.codec.encode(keys, rows)?;
        let mut slots = Vec::with_capacity(rows);
        for (row, group) in groups.enumerate() {
            let section = times.as_ref().filter(|_| !group.closed).map_or(NEVER, |times| times[row]);
            let (slot, inserted) = self.index.find_or_insert(section, keys.row(row).data())?;
            if !inserted {
                return Err(Error::data("a saved group is there twice"));
            }
            self.place(slot, group);
            slots.push(slot);
        }
        Ok(slots)
    }

    /// The slots of saved keys.
    pub fn find(&self, keys: &[ArrayRef], rows: usize) -> Result<Vec<u32>> {
        let times = self.times(keys, rows)?;
        let keys = self.codec.encode(keys, rows)?;
        let slot = |row| {
            let (key, time) = (keys.row(row), times.as_ref().map_or(NEVER, |times| times[row]));
            // A group restored as closed is among those that close no more.
            self.index.find(time, key.data()).or_else(|| self.index.find(NEVER, key.data()))
        };
        let slots = (0..rows).map(|row| slot(row).ok_or_else(|| Error::data("a saved row has no saved group")));
        slots.collect()
    }

    /// The live slots, ascending.
    pub fn live(&self) -> Vec<u32> {
        self.index.live()
    }

    /// A live group.
    pub fn group(&self, slot: u32) -> Group {
        self.groups[slot as usize]
    }

    /// Live groups.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// All slots are below this.
    pub fn slots_end(&self) -> usize {
        self.index.slots_end()
    }

    /// Groups there is room for.
    pub fn len_max(&self) -> usize {
        self.index.slots_end()
    }

    /// What a group comes to apart from its calls.
    pub fn bytes_each(&self) -> UnitBytes {
        KeyIndex::bytes_each(&self.codec, self.monotone_key.is_some()) + UnitBytes::lasting(grown(size_of::<Group>()))
    }

    /// Whether the keys' types have so few values that all groups there can be are a few.
    pub fn are_few(&self) -> bool {
        self.codec.types().len() <= FEW_KEYS && self.codec.types().iter().all(|key| *key == DataType::Boolean)
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.index.bytes() + self.groups.capacity() * size_of::<Group>()
    }

    fn place(&mut self, slot: u32, group: Group) {
        if self.groups.len() <= slot as usize {
            self.groups.resize(slot as usize + 1, Group::default());
        }
        self.groups[slot as usize] = group;
    }

    /// The times of the monotone key; none of them may be final already.
    fn times(&self, keys: &[ArrayRef], rows: usize) -> Result<Option<Vec<i64>>> {
        let Some(key) = self.monotone_key else { return Ok(None) };
        let times = times(&keys[key])?;
        debug_assert_eq!(times.len(), rows);
        let end = self.closed_below.unwrap_or(i64::MIN);
        if times.iter().any(|time| *time < end) {
            return Err(Error::internal("a row came for a group that was final"));
        }
        Ok(Some(times))
    }
}
