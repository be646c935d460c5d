//! Which rows or keys of a join are past, found without looking at the others.

use std::collections::BTreeMap;

use crate::state::key_index::NEVER;
use crate::state::size::{UnitBytes, grown};

/// Live entries by their time.
#[derive(Debug, Default)]
pub(super) struct PastIndex {
    buckets: BTreeMap<i64, Vec<u32>>,
    /// Time of each entry, and its place in the time's bucket.
    places: Vec<(i64, u32)>,
    /// Bytes of the buckets' entries.
    bucket_bytes: usize,
}

/// What a bucket costs in its tree, estimated.
const BUCKET_BYTES: usize = 48;

/// What a bucket with one entry allocates.
const BUCKET_BYTES_MIN: usize = 4 * size_of::<u32>();

fn entry_bytes(bucket: &Vec<u32>) -> usize {
    bucket.capacity() * size_of::<u32>()
}

impl PastIndex {
    /// Notes that `entry` is past once the bound is above `time`.
    pub fn insert(&mut self, entry: u32, time: i64) {
        let bucket = self.buckets.entry(time).or_default();
        if self.places.len() <= entry as usize {
            self.places.resize(entry as usize + 1, (NEVER, 0));
        }
        self.places[entry as usize] = (time, bucket.len() as u32);
        let before = entry_bytes(bucket);
        bucket.push(entry);
        self.bucket_bytes += entry_bytes(bucket) - before;
    }

    /// Forgets `entry`, if it was noted.
    pub fn remove(&mut self, entry: u32) {
        let Some(place) = self.places.get_mut(entry as usize) else { return };
        let (time, position) = std::mem::replace(place, (NEVER, 0));
        let Some(bucket) = self.buckets.get_mut(&time) else { return };
        if bucket.get(position as usize) != Some(&entry) {
            return;
        }
        bucket.swap_remove(position as usize);
        match bucket.get(position as usize) {
            Some(moved) => self.places[*moved as usize].1 = position,
            None if bucket.is_empty() => {
                self.bucket_bytes -= entry_bytes(bucket);
                self.buckets.remove(&time);
            }
            None => {}
        }
    }

    /// Takes all entries out whose time is below `end`, in the order of time.
    pub fn take_below(&mut self, end: i64) -> Vec<u32> {
        let mut entries = Vec::new();
        while let Some(bucket) = self.buckets.first_entry().filter(|bucket| *bucket.key() < end) {
            let bucket = bucket.remove();
            self.bucket_bytes -= entry_bytes(&bucket);
            entries.extend(bucket);
        }
        entries.iter().for_each(|entry| self.places[*entry as usize] = (NEVER, 0));
        entries
    }

    /// The time of `entry`, if it was noted.
    pub fn time(&self, entry: u32) -> Option<i64> {
        self.places.get(entry as usize).map(|(time, _)| *time).filter(|time| *time != NEVER)
    }

    /// Bytes allocated, tree nodes estimated.
    pub fn bytes(&self) -> usize {
        self.bucket_bytes + self.buckets.len() * BUCKET_BYTES + self.places.capacity() * size_of::<(i64, u32)>()
    }

    /// What an entry comes to that shares its time with no other.
    pub fn bytes_each() -> UnitBytes {
        UnitBytes::passing(BUCKET_BYTES + BUCKET_BYTES_MIN) + UnitBytes::lasting(grown(size_of::<(i64, u32)>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_past_once_and_in_order() {
        let mut index = PastIndex::default();
        for (entry, time) in [(0, 30), (1, 10), (2, 20), (3, 10), (4, 10)] {
            index.insert(entry, time);
        }
        index.remove(1);
        index.remove(1);
        assert_eq!((index.time(0), index.time(1), index.time(9)), (Some(30), None, None));
        assert!(index.take_below(10).is_empty());
        assert_eq!(index.take_below(21), [4, 3, 2]);
        index.insert(1, 5);
        index.remove(3);
        assert_eq!(index.take_below(100), [1, 0]);
        assert!(index.take_below(i64::MAX).is_empty());
        assert_eq!((index.buckets.len(), index.bucket_bytes), (0, 0));
    }
}
