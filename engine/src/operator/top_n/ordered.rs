//! Rows of groups in order, and the ranks among them.
//!
//! One ordered map holds the rows of all groups: a key is the slot of the group and the row's bytes, so that a group's rows
//! lie together, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::Change;
use super::spec::{Rank, TopNSpec};
use crate::error::Result;
use crate::operator::keyed::retraction_without_insert;
use crate::state::row_codec::RowCodec;
use crate::state::size::UnitBytes;

const SLOT_BYTES: usize = 4;
/// What an entry of the map costs beside its row, estimated.
const ENTRY_BYTES: usize = 56;

/// A row of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ranked {
    /// The row.
    pub row: Box<[u8]>,
    /// Its rank; 0 if ranks are no part of the answer.
    pub rank: u64,
    /// How often it is there.
    pub weight: i64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    weight: i64,
    /// Bytes of the row's part that is ordered by.
    order_length: u32,
}

/// Rows of groups in order.
#[derive(Debug)]
pub(super) struct OrderedRows {
    rank: Rank,
    from: u64,
    to: u64,
    ranks_shown: bool,
    /// Whether rows beyond the last rank can be forgotten.
    append_only: bool,
    /// Whether changes are asked for every tick.
    on_update: bool,
    rows: BTreeMap<Box<[u8]>, Entry>,
    row_bytes: usize,
    /// By slot: the sum of weights.
    counts: Vec<i64>,
    /// The groups touched in this tick, with the answers they had.
    touched: BTreeMap<u32, Vec<Ranked>>,
    /// Rows whose weight fell below zero in this tick; at its end it must not be.
    negative: BTreeSet<Box<[u8]>>,
}

impl OrderedRows {
    /// No rows.
    pub fn new(spec: &TopNSpec) -> Self {
        Self {
            rank: spec.rank,
            from: spec.from,
            to: spec.to.unwrap_or(u64::MAX),
            ranks_shown: spec.rank_column.is_some(),
            append_only: !spec.input_weighted,
            on_update: spec.emit == crate::operator::aggregate::Emit::OnUpdate,
            rows: BTreeMap::new(),
            row_bytes: 0,
            counts: Vec::new(),
            touched: BTreeMap::new(),
            negative: BTreeSet::new(),
        }
    }

    /// Adds weight to a row of a group. `order_length`: the bytes of its part that is ordered by.
    pub fn add(&mut self, slot: u32, row: &[u8], order_length: usize, weight: i64) {
        if self.is_beyond(slot, row) {
            return;
        }
        if !self.touched.contains_key(&slot) {
            let before = if self.on_update { self.answer(slot) } else { Vec::new() };
            self.touched.insert(slot, before);
        }
        self.restore(slot, row, order_length, weight);
        if self.append_only && self.rank == Rank::RowNumber {
            self.cut(slot);
        }
    }

    /// Adds weight to a row without taking it for a change.
    pub fn restore(&mut self, slot: u32, row: &[u8], order_length: usize, weight: i64) {
        if self.counts.len() <= slot as usize {
            self.counts.resize(slot as usize + 1, 0);
        }
        self.counts[slot as usize] += weight;
        let key = key(slot, row);
        let bytes = key.len() + ENTRY_BYTES;
        let entry = self.rows.entry(key);
        let key = entry.key().clone();
        let mut sum = weight;
        entry
            .and_modify(|entry| {
                entry.weight += weight;
                sum = entry.weight;
            })
            .or_insert_with(|| {
                self.row_bytes += bytes;
                Entry { weight, order_length: order_length as u32 }
            });
        if sum == 0 {
            self.rows.remove(&key);
            self.row_bytes -= bytes;
        } else if sum < 0 {
            self.negative.insert(key);
        }
    }

    /// The rows of a group's answer, in order.
    pub fn answer(&self, slot: u32) -> Vec<Ranked> {
        let mut answer = Vec::new();
        self.walk(slot, |row, first, last, weight| {
            if first > self.to {
                return false;
            }
            let row = &row[SLOT_BYTES..];
            let (from, to) = (first.max(self.from), last.min(self.to));
            if from > to {
                return true;
            }
            let shown = |rank| if self.ranks_shown { rank } else { 0 };
            match self.rank {
                Rank::RowNumber if self.ranks_shown => {
                    answer.extend((from..=to).map(|rank| Ranked { row: row.into(), rank, weight: 1 }));
                }
                Rank::RowNumber => {
                    answer.push(Ranked { row: row.into(), rank: 0, weight: (to - from + 1) as i64 });
                }
                _ => answer.push(Ranked { row: row.into(), rank: shown(first), weight }),
            }
            true
        });
        answer
    }

    /// What changed in this tick, and the groups that are empty now.
    ///
    /// # Errors
    /// `Data` if a row was retracted more often than it was inserted.
    pub fn end_tick(&mut self) -> Result<(Vec<Change>, Vec<u32>)> {
        let negative = std::mem::take(&mut self.negative);
        if negative.iter().any(|key| self.rows.get(key).is_some_and(|entry| entry.weight < 0)) {
            return Err(retraction_without_insert());
        }
        let (mut changes, mut empty) = (Vec::new(), Vec::new());
        for (slot, before) in std::mem::take(&mut self.touched) {
            if self.append_only {
                self.cut(slot);
            }
            if self.on_update {
                difference(slot, before, self.answer(slot), &mut changes);
            }
            // What is kept decides, not the count: a count may still have in it the rows that were cut off behind the last rank.
            if self.first_key(slot).is_none() {
                empty.push(slot);
            }
        }
        Ok((changes, empty))
    }

    /// The rows of a group with their weights.
    pub fn rows(&self, slot: u32) -> impl Iterator<Item = (&[u8], i64)> {
        self.group(slot).map(|(key, entry)| (&key[SLOT_BYTES..], entry.weight))
    }

    /// Forgets a group.
    pub fn remove(&mut self, slot: u32) {
        while let Some(key) = self.first_key(slot) {
            self.forget(&key);
        }
        if let Some(count) = self.counts.get_mut(slot as usize) {
            *count = 0;
        }
    }

    /// Bytes allocated, tree nodes estimated.
    pub fn bytes(&self) -> usize {
        self.row_bytes + self.counts.capacity() * size_of::<i64>()
    }

    /// Bytes of the rows alone.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Different rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// What a row of `codec` comes to.
    pub fn bytes_each(codec: &RowCodec) -> UnitBytes {
        UnitBytes::passing(SLOT_BYTES + codec.row_bytes() + ENTRY_BYTES)
    }

    fn group(&self, slot: u32) -> impl DoubleEndedIterator<Item = (&Box<[u8]>, &Entry)> {
        let first = slot.to_be_bytes();
        let after = (slot + 1).to_be_bytes();
        self.rows.range::<[u8], _>((Bound::Included(&first[..]), Bound::Excluded(&after[..])))
    }

    fn first_key(&self, slot: u32) -> Option<Box<[u8]>> {
        self.group(slot).next().map(|(key, _)| key.clone())
    }

    fn last(&self, slot: u32) -> Option<(Box<[u8]>, i64)> {
        self.group(slot).next_back().map(|(key, entry)| (key.clone(), entry.weight))
    }

    /// Calls `each` with a group's rows in order: the row, the ranks of its first and last copy, its weight; until false.
    fn walk(&self, slot: u32, mut each: impl FnMut(&[u8], u64, u64, i64) -> bool) {
        let (mut before, mut rank, mut dense) = (0u64, 0u64, 0u64);
        let mut previous: Option<&[u8]> = None;
        for (key, entry) in self.group(slot) {
            let order = &key[SLOT_BYTES..SLOT_BYTES + entry.order_length as usize];
            if previous != Some(order) {
                (rank, dense) = (before + 1, dense + 1);
            }
            previous = Some(order);
            let weight = entry.weight.max(0) as u64;
            let (first, last) = match self.rank {
                Rank::RowNumber => (before + 1, before + weight),
                Rank::Rank => (rank, rank),
                Rank::DenseRank => (dense, dense),
            };
            if !each(key, first, last, entry.weight) {
                return;
            }
            before += weight;
        }
    }

    /// True for a row behind the last rank of a full group: it can never be part of the answer.
    fn is_beyond(&self, slot: u32, row: &[u8]) -> bool {
        let full = || self.counts.get(slot as usize).is_some_and(|count| *count as u64 >= self.to);
        self.append_only
            && self.rank == Rank::RowNumber
            && full()
            && self.group(slot).next_back().is_none_or(|(last, _)| &last[SLOT_BYTES..] <= row)
    }

    /// Forgets rows of a group of an append-only input that are behind the last rank.
    fn cut(&mut self, slot: u32) {
        if self.rank == Rank::RowNumber {
            while let Some((key, weight)) = self.last(slot) {
                let surplus = (self.counts[slot as usize] as u64).saturating_sub(self.to);
                if surplus == 0 {
                    return;
                }
                let gone = weight.min(i64::try_from(surplus).unwrap_or(i64::MAX));
                self.counts[slot as usize] -= gone;
                if gone == weight {
                    self.forget(&key);
                } else if let Some(entry) = self.rows.get_mut(&key) {
                    entry.weight -= gone;
                }
            }
            return;
        }
        // Rows that tie have one rank, so of ties all stay or all go: the cut is where the first rank is too great.
        let mut beyond = None;
        self.walk(slot, |key, first, _, _| {
            if first > self.to {
                beyond = Some(Box::<[u8]>::from(key));
            }
            beyond.is_none()
        });
        let Some(beyond) = beyond else { return };
        let after = (slot + 1).to_be_bytes();
        let gone = self.rows.range::<[u8], _>((Bound::Included(&beyond[..]), Bound::Excluded(&after[..])));
        let gone: Vec<Box<[u8]>> = gone.map(|(key, _)| key.clone()).collect();
        gone.iter().for_each(|key| self.forget(key));
    }

    fn forget(&mut self, key: &[u8]) {
        if self.rows.remove(key).is_some() {
            self.row_bytes -= key.len() + ENTRY_BYTES;
        }
    }
}

fn key(slot: u32, row: &[u8]) -> Box<[u8]> {
    let mut key = Vec::with_capacity(SLOT_BYTES + row.len());
    key.extend_from_slice(&slot.to_be_bytes());
    key.extend_from_slice(row);
    key.into()
}

/// Appends what leads from one answer to another; both are in order, by row and then by rank, so one walk finds what is in both.
fn difference(slot: u32, before: Vec<Ranked>, after: Vec<Ranked>, changes: &mut Vec<Change>) {
    let mut put = |Ranked { row, rank, .. }: Ranked, weight: i64| {
        if weight != 0 {
            changes.push(Change { slot, row, rank, weight });
        }
    };
    let (mut before, mut after) = (before.into_iter().peekable(), after.into_iter().peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(old), Some(new)) => old.row.cmp(&new.row).then(old.rank.cmp(&new.rank)),
        };
        let old = if order.is_le() { before.next() } else { None };
        let new = if order.is_ge() { after.next() } else { None };
        let weight = new.as_ref().map_or(0, |row| row.weight) - old.as_ref().map_or(0, |row| row.weight);
        if let Some(row) = new.or(old) {
            put(row, weight);
        }
    }
}
