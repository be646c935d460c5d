//! Numbers keys: bytes of a key to a dense slot, kept while the key lives.
//!
//! Open addressing over (hash, slot) pairs of eight bytes, so a probe touches one cache line before it touches the key.
//! Slots of removed keys are used again. Per-key state lies in vectors indexed by slot, outside.
//!
//! Keys lie in sections, each a table of its own: keys that close at one time are found in a table that is as small as
//! they are few, and go with it as a whole.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as SectionEntry;
use std::hash::BuildHasher;

use datafusion::common::hash_utils::RandomState;
use hashbrown::HashTable;

use crate::error::{Error, Result};
use crate::state::row_codec::RowCodec;
use crate::state::row_store::RowStore;
use crate::state::size::{UnitBytes, grown, hashed};

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

#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u32,
    slot: u32,
}

/// What a section costs besides its table.
const SECTION_BYTES: usize = size_of::<(i64, HashTable<Entry>)>();

/// The section of keys that never close.
pub const NEVER: i64 = i64::MAX;

/// Keys and their slots.
#[derive(Debug)]
pub struct KeyIndex {
    /// The keys of each section; none empty.
    sections: BTreeMap<i64, HashTable<Entry>>,
    /// The section of each slot; slots behind the end are in [`NEVER`].
    section_of: Vec<i64>,
    keys: RowStore,
    free: Vec<u32>,
    slots: u32,
    live: usize,
    /// Bytes of all sections' tables.
    table_bytes: usize,
}

impl KeyIndex {
    /// An empty index of keys that are `width` bytes long, or of any length.
    pub fn new(width: Option<usize>) -> Self {
        let (sections, keys) = (BTreeMap::new(), RowStore::new(width));
        Self { sections, section_of: Vec::new(), keys, free: Vec::new(), slots: 0, live: 0, table_bytes: 0 }
    }

    /// The slot of `key` in `section`, and whether it was taken just now. A key belongs to one section.
    ///
    /// # Errors
    /// `Data` if the key is longer than 4 GiB or there are more than 2^32 keys.
    pub fn find_or_insert(&mut self, section: i64, key: &[u8]) -> Result<(u32, bool)> {
        let hash = short_hash(key);
        let same = |entry: &Entry| entry.hash == hash && self.keys.get(entry.slot) == key;
        let table = match self.sections.entry(section) {
            SectionEntry::Occupied(table) => table.into_mut(),
            SectionEntry::Vacant(place) => {
                self.table_bytes += SECTION_BYTES;
                place.insert(HashTable::new())
            }
        };
        if let Some(found) = table.find(spread(hash), same) {
            return Ok((found.slot, false));
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = self.slots;
                // The last number marks an end elsewhere.
                self.slots = slot.checked_add(1).filter(|n| *n < u32::MAX).ok_or_else(too_many)?;
                slot
            }
        };
        let before = table.allocation_size();
        table.insert_unique(spread(hash), Entry { hash, slot }, |entry| spread(entry.hash));
        self.table_bytes += table.allocation_size() - before;
        self.keys.set(slot, key)?;
        self.live += 1;
        self.set_section(slot, section);
        Ok((slot, true))
    }

    fn set_section(&mut self, slot: u32, section: i64) {
        let slot = slot as usize;
        if section != NEVER && self.section_of.len() <= slot {
            self.section_of.resize(slot + 1, NEVER);
        }
        if let Some(place) = self.section_of.get_mut(slot) {
            *place = section;
        }
    }

    /// The slot of `key` in `section`, if it has one.
    pub fn find(&self, section: i64, key: &[u8]) -> Option<u32> {
        let hash = short_hash(key);
        let same = |entry: &Entry| entry.hash == hash && self.keys.get(entry.slot) == key;
        self.sections.get(&section)?.find(spread(hash), same).map(|entry| entry.slot)
    }

    /// Gives up the key of `slot`; the slot may be taken again.
    pub fn remove(&mut self, slot: u32) {
        let hash = short_hash(self.keys.get(slot));
        let section = self.section_of.get(slot as usize).copied().unwrap_or(NEVER);
        let Some(table) = self.sections.get_mut(&section) else { return };
        if let Ok(found) = table.find_entry(spread(hash), |entry| entry.slot == slot) {
            found.remove();
            self.keys.clear(slot);
            self.free.push(slot);
            self.live -= 1;
        }
        if table.is_empty() {
            self.table_bytes -= SECTION_BYTES + table.allocation_size();
            self.sections.remove(&section);
        }
    }

    /// The slots of the sections in `range`, section by section, ascending in each.
    pub fn slots_in(&self, range: std::ops::Range<i64>) -> Vec<u32> {
        let mut slots = Vec::new();
        for table in self.sections.range(range).map(|(_, table)| table) {
            let start = slots.len();
            slots.extend(table.iter().map(|entry| entry.slot));
            sort(&mut slots[start..]);
        }
        slots
    }

    /// Gives up all keys of the sections below `end`, which are `slots`.
    pub fn remove_below(&mut self, end: i64, slots: &[u32]) {
        let kept = self.sections.split_off(&end);
        let gone = std::mem::replace(&mut self.sections, kept);
        self.table_bytes -= gone.values().map(|table| SECTION_BYTES + table.allocation_size()).sum::<usize>();
        slots.iter().for_each(|slot| self.keys.clear(*slot));
        self.live -= slots.len();
        // The first on top: keys that come together then lie together again.
        self.free.extend(slots.iter().rev());
    }

    /// The key of a live slot.
    pub fn key(&self, slot: u32) -> &[u8] {
        self.keys.get(slot)
    }

    /// Live keys.
    pub fn len(&self) -> usize {
        self.live
    }

    /// True if no key lives.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// All slots ever used are below this.
    pub fn slots_end(&self) -> usize {
        self.slots as usize
    }

    /// The live slots in ascending order.
    pub fn live(&self) -> Vec<u32> {
        let mut slots: Vec<u32> = self.sections.values().flatten().map(|entry| entry.slot).collect();
        slots.sort_unstable();
        slots
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        let slots = self.free.capacity() * size_of::<u32>() + self.section_of.capacity() * size_of::<i64>();
        self.table_bytes + self.keys.bytes() + slots
    }

    /// What a key of `codec` comes to; `sections` if keys close.
    pub fn bytes_each(codec: &RowCodec, sections: bool) -> UnitBytes {
        let entry = hashed(size_of::<Entry>());
        codec.stored_bytes()
            + match sections {
                // A section's table goes with its last key.
                true => UnitBytes::passing(entry) + UnitBytes::lasting(grown(size_of::<i64>())),
                false => UnitBytes::lasting(entry),
            }
    }
}

/// Sorts slots, all different: by marking them where they are many for their range, which is the rule.
fn sort(slots: &mut [u32]) {
    let (Some(least), Some(most)) = (slots.iter().min().copied(), slots.iter().max().copied()) else { return };
    let words = (most - least) as usize / 64 + 1;
    if words > slots.len() {
        return slots.sort_unstable();
    }
    let mut marks = vec![0u64; words];
    slots.iter().for_each(|slot| marks[(slot - least) as usize / 64] |= 1 << ((slot - least) % 64));
    let mut place = slots.iter_mut();
    for (word, mut bits) in marks.into_iter().enumerate() {
        while bits != 0 {
            let slot = least + word as u32 * 64 + bits.trailing_zeros();
            *place.next().expect("as many marks as slots") = slot;
            bits &= bits - 1;
        }
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

    impl KeyIndex {
        fn counted_table_bytes(&self) -> usize {
            self.sections.values().map(|table| SECTION_BYTES + table.allocation_size()).sum()
        }
    }

    #[test]
    fn sections_go_as_a_whole() {
        for seed in 0..20 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut index = KeyIndex::new((seed % 2 == 0).then_some(4));
            let mut live: HashMap<u32, u32> = HashMap::new();
            let section = |key: u32| if key % 7 == 0 { NEVER } else { i64::from(key / 50) };
            let mut end = 0;
            for _ in 0..60 {
                for _ in 0..random.random_range(0..300) {
                    let key = end as u32 * 50 + random.random_range(0..500u32);
                    let (slot, inserted) = index.find_or_insert(section(key), &key.to_le_bytes()).expect("a short key");
                    assert_eq!(inserted, live.insert(key, slot).is_none(), "seed {seed}");
                }
                let gone: Vec<u32> = live.keys().copied().filter(|_| random.random_bool(0.05)).collect();
                gone.iter().filter_map(|key| live.remove(key)).for_each(|slot| index.remove(slot));
                end += random.random_range(0..3);
                let slots = index.slots_in(i64::MIN..end);
                index.remove_below(end, &slots);
                let closed = live.extract_if(|key, _| section(*key) < end);
                let mut closed: Vec<u32> = closed.map(|(_, slot)| slot).collect();
                closed.sort_unstable();
                let mut slots = slots;
                slots.sort_unstable();
                assert_eq!(slots, closed, "seed {seed}");
                assert_eq!(index.len(), live.len(), "seed {seed}");
                assert!(gone.iter().all(|key| index.find(section(*key), &key.to_le_bytes()).is_none()), "seed {seed}");
                let found = |(key, slot): (&u32, &u32)| index.find(section(*key), &key.to_le_bytes()) == Some(*slot);
                assert!(live.iter().all(found), "seed {seed}");
                let mut slots: Vec<u32> = live.values().copied().collect();
                slots.sort_unstable();
                assert_eq!(index.live(), slots, "seed {seed}");
            }
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
                        assert_eq!(index.find(NEVER, &key), Some(slot), "seed {seed}");
                        index.remove(slot);
                    }
                    assert_eq!(index.find(NEVER, &key), None, "seed {seed}");
                } else {
                    let (slot, inserted) = index.find_or_insert(NEVER, &key).expect("a short key");
                    assert_eq!(inserted, !expected.contains_key(&key), "seed {seed}");
                    assert_eq!(*expected.entry(key.clone()).or_insert(slot), slot, "seed {seed}");
                    assert_eq!(index.key(slot), key, "seed {seed}");
                }
            }
            let mut live: Vec<u32> = expected.values().copied().collect();
            live.sort_unstable();
            assert_eq!(index.live(), live, "seed {seed}");
            assert_eq!(index.table_bytes, index.counted_table_bytes(), "seed {seed}");
            assert!(index.slots_end() <= 400 * 2, "seed {seed}");
        }
    }
}
