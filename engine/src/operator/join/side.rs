//! One side of a join: its rows under their keys, and what each of them knows.

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;
use datafusion::common::HashMap;

use super::past::PastIndex;
use crate::error::Result;
use crate::state::multiset::{Multiset, Touched};
use crate::state::row_codec::RowCodec;
use crate::state::size::{UnitBytes, grown};

/// No row: its columns are NULL.
pub(super) const NO_ROW: u32 = u32::MAX;

const UNLOGGED: u32 = u32::MAX;

/// The rows of a side, as bytes under the slots of their keys, with their weights.
#[derive(Debug)]
pub(super) struct Side {
    pub rows: Multiset,
    pub codec: RowCodec,
    /// When rows are past the other side, if rows are dropped one by one.
    pub past: PastIndex,
    /// Weights of all rows, also where only their numbers are kept.
    pub total: i64,
    /// The times of this tick's rows, by the tag they were touched with.
    pub times: Vec<Option<i64>>,
}

impl Side {
    /// No rows yet; `counted` if equal rows are to be one entry with a weight.
    pub fn new(codec: RowCodec, counted: bool) -> Self {
        let width = codec.fixed_width();
        Self {
            rows: if counted { Multiset::new(1, width) } else { Multiset::of_inserts(width) },
            codec,
            past: PastIndex::default(),
            total: 0,
            times: Vec::new(),
        }
    }

    pub fn weight_before(&self, entry: u32) -> i64 {
        self.rows.weights_before(entry)[0]
    }

    pub fn weight(&self, entry: u32) -> i64 {
        self.rows.weights(entry)[0]
    }

    /// True if rows are kept under the key.
    pub fn has_rows(&self, slot: u32) -> bool {
        self.rows.entries(slot).next().is_some()
    }

    /// True if the tick changed the entry's weight.
    pub fn has_changed(&self, entry: u32) -> bool {
        self.weight(entry) != self.weight_before(entry)
    }

    /// The rows whose weight this tick changed.
    pub fn changed(&self) -> impl Iterator<Item = Touched> {
        self.rows.touched().iter().copied().filter(|touched| self.has_changed(touched.entry))
    }

    /// The columns of rows, by entry; [`NO_ROW`] gives NULLs. Each distinct row is decoded once.
    pub fn decode(&self, entries: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut places: HashMap<u32, u32> = HashMap::with_capacity(entries.len().min(1024));
        let mut distinct = Vec::new();
        let mut indices = Vec::with_capacity(entries.len());
        let mut last = (NO_ROW, None);
        for entry in entries {
            if *entry != last.0 {
                let place = (*entry != NO_ROW).then(|| {
                    *places.entry(*entry).or_insert_with(|| {
                        distinct.push(*entry);
                        distinct.len() as u32 - 1
                    })
                });
                last = (*entry, place);
            }
            indices.push(last.1);
        }
        let columns = self.codec.decode(distinct.iter().map(|entry| self.rows.row(*entry)))?;
        if distinct.len() == entries.len() {
            return Ok(columns);
        }
        let indices = UInt32Array::from(indices);
        columns.iter().map(|column| Ok(take(column, &indices, None)?)).collect()
    }

    /// Notes when the rows that are new become past, and forgets those that are gone.
    pub fn note_times(&mut self) {
        for position in 0..self.rows.touched().len() {
            let Touched { entry, tag } = self.rows.touched()[position];
            match (self.weight_before(entry), self.weight(entry)) {
                (0, 0) => {}
                (0, _) => {
                    if let Some(time) = self.times[tag as usize] {
                        self.past.insert(entry, time);
                    }
                }
                (_, 0) => self.past.remove(entry),
                _ => {}
            }
        }
    }

    /// What a row comes to; `past` if rows are dropped one by one.
    pub fn bytes_each(&self, past: bool) -> UnitBytes {
        let past = if past { PastIndex::bytes_each() } else { UnitBytes::default() };
        let row = match self.rows.is_apart() {
            true => Multiset::bytes_each_apart(&self.codec),
            false => Multiset::bytes_each(1, &self.codec),
        };
        row + past
    }

    pub fn bytes(&self) -> usize {
        self.rows.bytes() + self.past.bytes() + self.times.capacity() * size_of::<Option<i64>>()
    }
}

/// How many rows of the other side each row of a side matches, by entry.
#[derive(Debug, Default)]
pub(super) struct Degrees {
    counts: Vec<i64>,
    marks: Vec<u32>,
    logged: Vec<(u32, i64)>,
}

impl Degrees {
    /// Makes room for entries below `end`.
    pub fn grow(&mut self, end: usize) {
        if self.counts.len() < end {
            self.counts.resize(end, 0);
            self.marks.resize(end, UNLOGGED);
        }
    }

    /// Sets the count of an entry that is new, or restored.
    pub fn set(&mut self, entry: u32, count: i64) {
        self.counts[entry as usize] = count;
    }

    pub fn add(&mut self, entry: u32, count: i64) {
        let place = entry as usize;
        if self.marks[place] == UNLOGGED {
            self.marks[place] = self.logged.len() as u32;
            self.logged.push((entry, self.counts[place]));
        }
        self.counts[place] = self.counts[place].wrapping_add(count);
    }

    pub fn now(&self, entry: u32) -> i64 {
        self.counts[entry as usize]
    }

    pub fn before(&self, entry: u32) -> i64 {
        match self.marks[entry as usize] {
            UNLOGGED => self.counts[entry as usize],
            mark => self.logged[mark as usize].1,
        }
    }

    /// The entries whose counts were added to in this tick.
    pub fn touched(&self) -> impl Iterator<Item = u32> {
        self.logged.iter().map(|(entry, _)| *entry)
    }

    pub fn settle(&mut self) {
        self.logged.iter().for_each(|(entry, _)| self.marks[*entry as usize] = UNLOGGED);
        self.logged.clear();
    }

    /// What a row's number of matches comes to.
    pub fn bytes_each() -> UnitBytes {
        UnitBytes::lasting(grown(size_of::<i64>() + size_of::<u32>()))
    }

    pub fn bytes(&self) -> usize {
        self.counts.capacity() * size_of::<i64>()
            + self.marks.capacity() * size_of::<u32>()
            + self.logged.capacity() * size_of::<(u32, i64)>()
    }
}
