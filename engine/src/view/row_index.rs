//! Where each row of a retracting view is stored: hash to location.
//!
//! The index holds hashes, not rows: a candidate it names must be compared with the row looked for, and rows whose
//! hashes collide are simply several candidates. 32 bits of hash are enough for that: among a hundred million rows,
//! one lookup in forty names a row too many. The index is split into shards by the hash, so that growing never rehashes
//! the whole view in one tick.

use hashbrown::HashTable;

use crate::state::size::hashed;
use crate::view::chunk::Location;

/// Shards: each doubles by itself, and an even hash spreads those moments over many ticks.
const SHARDS: usize = 256;

/// A shard of fewer buckets is never shrunk.
const SHRINK_BUCKETS_MIN: usize = 64;

#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u32,
    location: Location,
}

impl Entry {
    fn wide_hash(&self) -> u64 {
        wide(self.hash)
    }
}

/// Hash of a row to the locations of stored rows with that hash.
#[derive(Debug)]
pub(super) struct RowIndex {
    shards: Vec<HashTable<Entry>>,
}

impl Default for RowIndex {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| HashTable::new()).collect() }
    }
}

impl RowIndex {
    /// Locations of the stored rows with this hash.
    pub(super) fn candidates(&self, hash: u32) -> impl Iterator<Item = Location> + '_ {
        let entries = self.shards[shard(hash)].iter_hash(wide(hash));
        entries.filter(move |entry| entry.hash == hash).map(|entry| entry.location)
    }

    /// Adds a stored row.
    pub(super) fn insert(&mut self, hash: u32, location: Location) {
        self.shards[shard(hash)].insert_unique(wide(hash), Entry { hash, location }, Entry::wide_hash);
    }

    /// Forgets a stored row; false if it was not there.
    pub(super) fn remove(&mut self, hash: u32, location: Location) -> bool {
        let shard = &mut self.shards[shard(hash)];
        let Ok(found) = shard.find_entry(wide(hash), |entry| entry.location == location) else { return false };
        found.remove();
        if shard.num_buckets() > SHRINK_BUCKETS_MIN && shard.len() * 8 < shard.capacity() {
            shard.shrink_to(shard.len() * 2, Entry::wide_hash);
        }
        true
    }

    /// Notes that a stored row was moved; false if it was not there.
    pub(super) fn relocate(&mut self, hash: u32, from: Location, to: Location) -> bool {
        let found = self.shards[shard(hash)].find_mut(wide(hash), |entry| entry.location == from);
        let Some(entry) = found else { return false };
        entry.location = to;
        true
    }

    /// Stored rows.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(HashTable::len).sum()
    }

    /// What a row comes to.
    pub(super) fn bytes_each() -> usize {
        hashed(size_of::<Entry>())
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let tables: usize = self.shards.iter().map(HashTable::allocation_size).sum();
        tables + SHARDS * size_of::<HashTable<Entry>>()
    }
}

/// The hash as the tables want it, whose tags are its highest bits and whose buckets are its lowest: an odd multiplier
/// (2^64 over the golden ratio) keeps the low bits as even as they were and mixes all of them into the high ones.
pub(super) fn wide(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// From bits that neither choose a bucket in a table of ordinary size nor tag it.
fn shard(hash: u32) -> usize {
    (wide(hash) >> 40) as usize % SHARDS
}
