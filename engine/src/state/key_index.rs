//! Numbers keys: bytes of a key to a dense slot, kept while the key lives.
//!
//! Open addressing over (hash, slot) pairs of eight bytes, so a probe touches one cache line before it touches the key.
//! Slots of removed keys are used again. Per-key state lies in vectors indexed by slot, outside.

use std::hash::BuildHasher;

use datafusion::common::hash_utils::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as TableEntry;

use crate::error::{Error, Result};
use crate::state::row_store::RowStore;

/// Part of no format: hashes stay in memory.
const SEED: u64 = 0x6b65_7973;

/// 32 bits of hash for `bytes`.
pub(super) fn short_hash(bytes: &[u8]) -> u32 {
    let hash = RandomState::with_seed(SEED).hash_one(bytes);
    (hash ^ (hash >> 32)) as u32
}

/// The table takes its bucket from the low bits and its tag from the high ones; this fills both from 32.
pub(super) fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// One part in so many of the keys is many.
const MANY: usize = 16;

#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u32,
    slot: u32,
}

/// Keys and their slots.
#[derive(Debug)]
pub struct KeyIndex {
    table: HashTable<Entry>,
    keys: RowStore,
    free: Vec<u32>,
    slots: u32,
}

impl KeyIndex {
    /// An empty index of keys that are `width` bytes long, or of any length.
    pub fn new(width: Option<usize>) -> Self {
        Self { table: HashTable::new(), keys: RowStore::new(width), free: Vec::new(), slots: 0 }
    }

    /// The slot of `key`, and whether it was taken just now.
    ///
    /// # Errors
    /// `Data` if the key is longer than 4 GiB or there are more than 2^32 keys.
    pub fn find_or_insert(&mut self, key: &[u8]) -> Result<(u32, bool)> {
        let hash = short_hash(key);
        let same = |entry: &Entry| entry.hash == hash && self.keys.get(entry.slot) == key;
        match self.table.entry(spread(hash), same, |entry| spread(entry.hash)) {
            TableEntry::Occupied(found) => Ok((found.get().slot, false)),
            TableEntry::Vacant(place) => {
                let slot = match self.free.pop() {
                    Some(slot) => slot,
                    None => {
                        let slot = self.slots;
                        // The last number marks an end elsewhere.
                        self.slots = slot.checked_add(1).filter(|n| *n < u32::MAX).ok_or_else(too_many)?;
                        slot
                    }
                };
                place.insert(Entry { hash, slot });
                self.keys.set(slot, key)?;
                Ok((slot, true))
            }
        }
    }

    /// The slot of `key`, if it has one.
    pub fn find(&self, key: &[u8]) -> Option<u32> {
        let hash = short_hash(key);
        let same = |entry: &Entry| entry.hash == hash && self.keys.get(entry.slot) == key;
        self.table.find(spread(hash), same).map(|entry| entry.slot)
    }

    /// Gives up the key of `slot`; the slot may be taken again.
    pub fn remove(&mut self, slot: u32) {
        let hash = short_hash(self.keys.get(slot));
        if let Ok(found) = self.table.find_entry(spread(hash), |entry| entry.slot == slot) {
            found.remove();
            self.keys.clear(slot);
            self.free.push(slot);
        }
    }

    /// Gives up the keys of `slots`, all of them live. Many at once cost one pass over the table, which beats finding each.
    pub fn remove_all(&mut self, slots: &[u32]) {
        if slots.len() * MANY < self.table.len() {
            slots.iter().for_each(|slot| self.remove(*slot));
            return;
        }
        let mut gone = vec![0u64; self.slots_end().div_ceil(64)];
        slots.iter().for_each(|slot| gone[*slot as usize / 64] |= 1 << (slot % 64));
        self.table.retain(|entry| gone[entry.slot as usize / 64] >> (entry.slot % 64) & 1 == 0);
        slots.iter().for_each(|slot| self.keys.clear(*slot));
        // The lowest on top: keys that come together then lie together.
        let ascending = gone.iter().enumerate().rev().flat_map(|(word, bits)| {
            (0..64).rev().filter(move |bit| bits >> bit & 1 == 1).map(move |bit| (word * 64 + bit) as u32)
        });
        self.free.extend(ascending);
    }

    /// The key of a live slot.
    pub fn key(&self, slot: u32) -> &[u8] {
        self.keys.get(slot)
    }

    /// Live keys.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// True if no key lives.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// All slots ever used are below this.
    pub fn slots_end(&self) -> usize {
        self.slots as usize
    }

    /// The live slots in ascending order.
    pub fn live(&self) -> Vec<u32> {
        let mut slots: Vec<u32> = self.table.iter().map(|entry| entry.slot).collect();
        slots.sort_unstable();
        slots
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.table.allocation_size() + self.keys.bytes() + self.free.capacity() * size_of::<u32>()
    }
}

pub(super) fn too_many() -> Error {
    Error::data("one operator partition holds at most 4294967294 keys or rows")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn many_keys_go_at_once() {
        for seed in 0..20 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut index = KeyIndex::new((seed % 2 == 0).then_some(4));
            let mut live: HashMap<u32, u32> = HashMap::new();
            for _ in 0..50 {
                for _ in 0..random.random_range(0..300) {
                    let key = random.random_range(0..5_000u32);
                    let (slot, inserted) = index.find_or_insert(&key.to_le_bytes()).expect("a short key");
                    assert_eq!(inserted, live.insert(key, slot).is_none(), "seed {seed}");
                }
                let share = *[0.01, 0.2, 1.0].get(random.random_range(0..3)).expect("three");
                let gone: Vec<u32> = live.keys().copied().filter(|_| random.random_bool(share)).collect();
                let slots: Vec<u32> = gone.iter().filter_map(|key| live.remove(key)).collect();
                index.remove_all(&slots);
                assert_eq!(index.len(), live.len(), "seed {seed}");
                assert!(gone.iter().all(|key| index.find(&key.to_le_bytes()).is_none()), "seed {seed}");
                let found = |(key, slot): (&u32, &u32)| index.find(&key.to_le_bytes()) == Some(*slot);
                assert!(live.iter().all(found), "seed {seed}");
            }
            assert!(index.slots_end() <= 5_000, "seed {seed}");
        }
    }

    #[test]
    fn keys_keep_their_slots_under_churn() {
        for seed in 0..20 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let fixed = seed % 2 == 0;
            let mut index = KeyIndex::new(fixed.then_some(4));
            let mut expected: HashMap<Vec<u8>, u32> = HashMap::new();
            for _ in 0..5_000 {
                let mut key = random.random_range(0..400u32).to_le_bytes().to_vec();
                key.truncate(if fixed { 4 } else { random.random_range(2..4) });
                if random.random_bool(0.3) {
                    if let Some(slot) = expected.remove(&key) {
                        assert_eq!(index.find(&key), Some(slot), "seed {seed}");
                        index.remove(slot);
                    }
                    assert_eq!(index.find(&key), None, "seed {seed}");
                } else {
                    let (slot, inserted) = index.find_or_insert(&key).expect("a short key");
                    assert_eq!(inserted, !expected.contains_key(&key), "seed {seed}");
                    assert_eq!(*expected.entry(key.clone()).or_insert(slot), slot, "seed {seed}");
                    assert_eq!(index.key(slot), key, "seed {seed}");
                }
            }
            let mut live: Vec<u32> = expected.values().copied().collect();
            live.sort_unstable();
            assert_eq!(index.live(), live, "seed {seed}");
            assert!(index.slots_end() <= 400 * 2, "seed {seed}");
        }
    }
}
