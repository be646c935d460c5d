//! The rows of one key, both sides in order of time: which right row is a left row's, before this tick and after it.
//!
//! Times are turned so that a left row's right row is always the last at or before it.

use std::collections::btree_map::Range;
use std::collections::{BTreeMap, BTreeSet};

use crate::state::row_codec::RowCodec;
use crate::state::size::UnitBytes;

/// What an entry of a tree costs beside its row, estimated.
const ENTRY_BYTES: usize = 72;

/// A row's place: its time, then its bytes.
pub(super) type Place = (i64, Box<[u8]>);

/// How often a row is there.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Copies {
    pub before: i64,
    pub now: i64,
}

/// A moment of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Before,
    Now,
}

impl Copies {
    fn at(self, when: When) -> i64 {
        match when {
            When::Before => self.before,
            When::Now => self.now,
        }
    }
}

/// One side's rows. Between ticks no row has no copies.
#[derive(Debug, Default)]
pub(super) struct Side {
    rows: BTreeMap<Place, Copies>,
    touched: BTreeSet<Place>,
    bytes: usize,
}

impl Side {
    /// Adds copies of a row.
    pub fn add(&mut self, place: Place, copies: i64) {
        let bytes = place.1.len() + ENTRY_BYTES;
        let entry = self.rows.entry(place.clone()).or_insert_with(|| {
            self.bytes += bytes;
            Copies::default()
        });
        entry.now += copies;
        self.touched.insert(place);
    }

    /// Ends the tick; false if a row is there less than not at all.
    pub fn settle(&mut self) -> bool {
        let mut legal = true;
        for place in std::mem::take(&mut self.touched) {
            let Some(copies) = self.rows.get_mut(&place) else { continue };
            legal &= copies.now >= 0;
            copies.before = copies.now;
            if copies.now == 0 {
                self.remove(&place);
            }
        }
        legal
    }

    fn remove(&mut self, place: &Place) {
        if self.rows.remove(place).is_some() {
            self.bytes -= place.1.len() + ENTRY_BYTES;
        }
    }

    /// Drops the rows before a time.
    fn drop_before(&mut self, time: i64) {
        while let Some((place, _)) = self.rows.first_key_value().filter(|(place, _)| place.0 < time) {
            let place = place.clone();
            self.remove(&place);
        }
    }

    /// All rows with their copies.
    pub fn rows(&self) -> impl Iterator<Item = (&Place, i64)> {
        self.rows.iter().map(|(place, copies)| (place, copies.now))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    pub left: Side,
    pub right: Side,
    /// What [`count`](Self::count) last found on each side.
    counted: [Count; 2],
}

/// Different rows and their bytes.
type Count = (usize, usize);

/// The rows of a time and of those before it.
fn up_to(rows: &BTreeMap<Place, Copies>, time: i64) -> Range<'_, Place, Copies> {
    match time.checked_add(1) {
        Some(after) => rows.range(..(after, Box::default())),
        None => rows.range::<Place, _>(..),
    }
}

impl Timeline {
    /// The right row of a left one of this time: the last time that has one, and of its rows the first.
    pub fn closest(&self, time: i64, when: When) -> Option<&[u8]> {
        let rows = &self.right.rows;
        let is_there = |(_, copies): &(&Place, &Copies)| copies.at(when) > 0;
        let ((last, _), _) = up_to(rows, time).rev().find(is_there)?;
        let ((_, row), _) = rows.range((*last, Box::default())..).find(is_there)?;
        Some(row)
    }

    /// The left rows that this tick may change: those that changed themselves, and those from a right row that came or went
    /// up to the next that stays. From that one on it is closer, before the tick as after it; before the one that moved, that one
    /// is not looked at.
    pub fn reached(&self) -> BTreeSet<&Place> {
        let mut reached: BTreeSet<&Place> = self.left.touched.iter().collect();
        let right = &self.right.rows;
        let mut done = i64::MIN;
        for place in &self.right.touched {
            let moved = right.get(place).is_some_and(|copies| (copies.before > 0) != (copies.now > 0));
            if !moved || place.0 < done {
                continue;
            }
            let stays = |(_, copies): &(&Place, &Copies)| copies.before > 0 && copies.now > 0;
            let from = (place.0, Box::default());
            let after = place.0.checked_add(1).map(|after| right.range((after, Box::default())..));
            match after.and_then(|mut after| after.find(stays)) {
                Some(((next, _), _)) => {
                    let to: Place = (*next, Box::default());
                    reached.extend(self.left.rows.range(from..to).map(|(place, _)| place));
                    done = *next;
                }
                None => {
                    reached.extend(self.left.rows.range(from..).map(|(place, _)| place));
                    break;
                }
            }
        }
        reached
    }

    /// The copies of a left row.
    pub fn left_copies(&self, place: &Place) -> Copies {
        self.left.rows.get(place).copied().unwrap_or_default()
    }

    /// Drops what no change to come can reach: left rows before `final_before`, and right rows that another one follows by
    /// `superseded_at`. Left rows to come or to go are looked up at `superseded_at` or later, and find that other one, or a later one.
    /// Rows of its own time stay with it: the first of them is the right row, and which one that is they settle.
    pub fn evict(&mut self, final_before: i64, superseded_at: i64) {
        self.left.drop_before(final_before);
        let last = up_to(&self.right.rows, superseded_at).next_back().map(|((time, _), _)| *time);
        if let Some(last) = last {
            self.right.drop_before(last);
        }
    }

    /// True if neither side has rows.
    pub fn is_empty(&self) -> bool {
        self.left.rows.is_empty() && self.right.rows.is_empty()
    }

    /// Of each side, the different rows and their bytes, tree nodes estimated: as they were last counted, and now.
    pub fn count(&mut self) -> [(Count, Count); 2] {
        let now = [&self.left, &self.right].map(|side| (side.rows.len(), side.bytes));
        let before = std::mem::replace(&mut self.counted, now);
        [(before[0], now[0]), (before[1], now[1])]
    }

    /// What a row of `codec` comes to.
    pub fn row_bytes_each(codec: &RowCodec) -> UnitBytes {
        UnitBytes::passing(codec.row_bytes() + ENTRY_BYTES)
    }
}
