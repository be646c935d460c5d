//! The keys of a join, and how many rows each side has under them.
//!
//! Both sides share one index: a key has one slot, under which the rows of either side are found.

use arrow::array::{Array, ArrayRef};

use super::past::PastIndex;
use crate::error::Result;
use crate::state::key_index::{KeyIndex, NEVER};
use crate::state::row_codec::RowCodec;
use crate::state::size::{UnitBytes, grown};

const UNTOUCHED: u32 = u32::MAX;

/// A key that a tick added rows to or took rows from.
#[derive(Debug, Clone, Copy)]
pub(super) struct TouchedKey {
    pub slot: u32,
    /// Rows of either side before the tick.
    pub before: [i64; 2],
}

/// Keys, their rows' numbers, and their times.
#[derive(Debug)]
pub(super) struct Keys {
    pub index: KeyIndex,
    pub codec: RowCodec,
    totals: Vec<[i64; 2]>,
    marks: Vec<u32>,
    touched: Vec<TouchedKey>,
    /// When keys become final, if keys are dropped whole.
    pub past: PastIndex,
    /// The key that is NULL, while it has rows; kept for NOT IN alone.
    null: Option<u32>,
}

impl Keys {
    pub fn new(codec: RowCodec) -> Self {
        Self {
            index: KeyIndex::new(codec.fixed_width()),
            codec,
            totals: Vec::new(),
            marks: Vec::new(),
            touched: Vec::new(),
            past: PastIndex::default(),
            null: None,
        }
    }

    /// The slot of `key`, with `weight` more rows on `side`, and whether the key is new.
    pub fn touch(&mut self, key: &[u8], side: usize, weight: i64) -> Result<(u32, bool)> {
        let (slot, inserted) = self.index.find_or_insert(NEVER, key)?;
        let place = slot as usize;
        if self.totals.len() <= place {
            self.totals.resize(place + 1, [0; 2]);
            self.marks.resize(place + 1, UNTOUCHED);
        }
        if self.marks[place] == UNTOUCHED {
            self.marks[place] = self.touched.len() as u32;
            self.touched.push(TouchedKey { slot, before: self.totals[place] });
        }
        let total = &mut self.totals[place][side];
        *total = total.wrapping_add(weight);
        Ok((slot, inserted))
    }

    /// Notes which key is NULL.
    pub fn note_null(&mut self, slot: u32) {
        self.null = Some(slot);
    }

    /// The key that is NULL, while it has rows.
    pub fn null(&self) -> Option<u32> {
        self.null
    }

    /// Rows of either side under a key, before the tick and now.
    pub fn totals(&self, slot: u32) -> ([i64; 2], [i64; 2]) {
        let now = self.totals[slot as usize];
        match self.marks[slot as usize] {
            UNTOUCHED => (now, now),
            mark => (self.touched[mark as usize].before, now),
        }
    }

    /// Takes rows away that were dropped; `has_rows` says whether others are left under the key.
    pub fn take_away(&mut self, slot: u32, side: usize, weight: i64, has_rows: bool) {
        let total = &mut self.totals[slot as usize][side];
        *total = total.wrapping_sub(weight);
        if self.totals[slot as usize] == [0; 2] && !has_rows {
            self.remove(slot);
        }
    }

    /// Drops a key with all its rows' numbers.
    pub fn drop_key(&mut self, slot: u32) {
        self.totals[slot as usize] = [0; 2];
        self.remove(slot);
    }

    /// The keys touched in this tick, each once.
    pub fn touched(&self) -> &[TouchedKey] {
        &self.touched
    }

    /// Ends the tick: keys without rows go. `has_rows` says whether rows are kept under a key, whatever their weights.
    pub fn settle(&mut self, has_rows: impl Fn(u32) -> bool) {
        for touched in std::mem::take(&mut self.touched) {
            self.marks[touched.slot as usize] = UNTOUCHED;
            if self.totals[touched.slot as usize] == [0; 2] && !has_rows(touched.slot) {
                self.remove(touched.slot);
            }
        }
    }

    fn remove(&mut self, slot: u32) {
        self.index.remove(slot);
        self.past.remove(slot);
        if self.null == Some(slot) {
            self.null = None;
        }
    }

    /// The key columns of slots.
    pub fn columns(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        self.codec.decode(slots.iter().map(|slot| self.index.key(*slot)))
    }

    /// What a key comes to; `past` if keys are dropped whole.
    pub fn bytes_each(&self, past: bool) -> UnitBytes {
        let grows = UnitBytes::lasting(grown(size_of::<[i64; 2]>() + size_of::<u32>()));
        let past = if past { PastIndex::bytes_each() } else { UnitBytes::default() };
        KeyIndex::bytes_each(&self.codec, false) + grows + past
    }

    pub fn bytes(&self) -> usize {
        self.index.bytes()
            + self.totals.capacity() * size_of::<[i64; 2]>()
            + self.marks.capacity() * size_of::<u32>()
            + self.touched.capacity() * size_of::<TouchedKey>()
            + self.past.bytes()
    }
}

/// Whether any key of a row is NULL; `None` if none of any row is.
pub(super) fn null_keys(keys: &[ArrayRef]) -> Option<arrow::buffer::NullBuffer> {
    let nulls = keys.iter().map(|key| key.logical_nulls());
    let nulls = nulls.fold(None, |all, nulls| arrow::buffer::NullBuffer::union(all.as_ref(), nulls.as_ref()));
    nulls.filter(|nulls| nulls.null_count() > 0)
}
