//! Rows under owners, counted: what is kept when an answer needs its input rows.
//!
//! One hash table holds the rows of all owners (groups), so a group with one row costs one entry, not one table. The entries
//! of an owner form a list, so that its rows can be read or dropped together. A row has one or several weights (one per call
//! that shares the table). A tick adds weights in any order; only their sum at the tick's end has to be a legal count.

use std::hash::{BuildHasher, Hasher};

use datafusion::common::hash_utils::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as TableEntry;

use crate::error::Result;
use crate::state::key_index::{spread, too_many};
use crate::state::row_codec::RowCodec;
use crate::state::row_store::RowStore;
use crate::state::size::{UnitBytes, grown, hashed};

/// The end of a list, and the mark of an entry not touched in this tick.
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u32,
    entry: u32,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    owner: u32,
    next: u32,
    previous: u32,
    /// Where in `touched` this entry is noted, while a tick is under way.
    mark: u32,
}

/// An entry that this tick added weight to.
#[derive(Debug, Clone, Copy)]
pub struct Touched {
    /// The entry.
    pub entry: u32,
    /// What the caller gave with the first addition.
    pub tag: u32,
}

/// Counted rows under owners.
#[derive(Debug)]
pub struct Multiset {
    table: HashTable<Slot>,
    rows: RowStore,
    links: Vec<Link>,
    /// `width` weights an entry.
    weights: Vec<i64>,
    width: usize,
    heads: Vec<u32>,
    free: Vec<u32>,
    touched: Vec<Touched>,
    /// The weights that touched entries had when the tick began, `width` each.
    earlier: Vec<i64>,
}

impl Multiset {
    /// An empty multiset whose rows carry `width` weights and are `row_width` bytes long, or of any length.
    pub fn new(width: usize, row_width: Option<usize>) -> Self {
        Self {
            table: HashTable::new(),
            rows: RowStore::new(row_width),
            links: Vec::new(),
            weights: Vec::new(),
            width,
            heads: Vec::new(),
            free: Vec::new(),
            touched: Vec::new(),
            earlier: Vec::new(),
        }
    }

    /// The weights of `row` under `owner`, to be changed; zero if it was not there. Notes the entry as touched, with `tag`.
    ///
    /// # Errors
    /// `Data` if the row is longer than 4 GiB or there are more than 2^32 of them.
    pub fn touch(&mut self, owner: u32, row: &[u8], tag: u32) -> Result<&mut [i64]> {
        let entry = self.entry(owner, row)?;
        Ok(self.touch_entry(entry, tag))
    }

    /// As [`touch`](Self::touch), of an entry that is there.
    pub fn touch_entry(&mut self, entry: u32, tag: u32) -> &mut [i64] {
        let start = entry as usize * self.width;
        if self.links[entry as usize].mark == NONE {
            self.links[entry as usize].mark = self.touched.len() as u32;
            self.touched.push(Touched { entry, tag });
            self.earlier.extend_from_slice(&self.weights[start..start + self.width]);
        }
        &mut self.weights[start..start + self.width]
    }

    /// The entries touched since [`settle`](Self::settle), each once.
    pub fn touched(&self) -> &[Touched] {
        &self.touched
    }

    /// Weights that the touched entry at `position` had before this tick.
    pub fn earlier(&self, position: usize) -> &[i64] {
        &self.earlier[position * self.width..(position + 1) * self.width]
    }

    /// An entry's weights.
    pub fn weights(&self, entry: u32) -> &[i64] {
        &self.weights[entry as usize * self.width..(entry as usize + 1) * self.width]
    }

    /// Weights that an entry had before this tick.
    pub fn weights_before(&self, entry: u32) -> &[i64] {
        match self.links[entry as usize].mark {
            NONE => self.weights(entry),
            mark => self.earlier(mark as usize),
        }
    }

    /// The owner of an entry.
    pub fn owner(&self, entry: u32) -> u32 {
        self.links[entry as usize].owner
    }

    /// All entries ever used are below this.
    pub fn entries_end(&self) -> usize {
        self.links.len()
    }

    /// An entry's row.
    pub fn row(&self, entry: u32) -> &[u8] {
        self.rows.get(entry)
    }

    /// The entries of `owner`, in no particular order.
    pub fn entries(&self, owner: u32) -> impl Iterator<Item = u32> {
        let head = self.heads.get(owner as usize).copied().unwrap_or(NONE);
        std::iter::successors((head != NONE).then_some(head), |entry| {
            Some(self.links[*entry as usize].next).filter(|next| *next != NONE)
        })
    }

    /// Ends the tick: entries whose weights are all zero go.
    pub fn settle(&mut self) {
        for position in 0..self.touched.len() {
            let entry = self.touched[position].entry;
            self.links[entry as usize].mark = NONE;
            if self.weights(entry).iter().all(|weight| *weight == 0) {
                self.remove(entry);
            }
        }
        self.touched.clear();
        self.earlier.clear();
    }

    /// Drops all rows of `owner`. Not between a touch and [`settle`](Self::settle).
    pub fn remove_owner(&mut self, owner: u32) {
        while let Some(entry) = self.heads.get(owner as usize).copied().filter(|head| *head != NONE) {
            self.remove(entry);
        }
    }

    /// Rows held, duplicates counted once.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// True if no row is held.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// What a row of `codec` with `width` weights comes to.
    pub fn bytes_each(width: usize, codec: &RowCodec) -> UnitBytes {
        let grows = size_of::<Link>() + width * size_of::<i64>() + size_of::<u32>();
        codec.stored_bytes() + UnitBytes::lasting(hashed(size_of::<Slot>()) + grown(grows))
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.table.allocation_size()
            + self.rows.bytes()
            + self.links.capacity() * size_of::<Link>()
            + (self.weights.capacity() + self.earlier.capacity()) * size_of::<i64>()
            + (self.heads.capacity() + self.free.capacity()) * size_of::<u32>()
            + self.touched.capacity() * size_of::<Touched>()
    }

    /// The entry of `row` under `owner`, made where it is new; then it has to be touched.
    ///
    /// # Errors
    /// As for [`touch`](Self::touch).
    pub fn entry(&mut self, owner: u32, row: &[u8]) -> Result<u32> {
        let hash = hash(owner, row);
        let same = |slot: &Slot| {
            slot.hash == hash && self.links[slot.entry as usize].owner == owner && self.rows.get(slot.entry) == row
        };
        let place = match self.table.entry(spread(hash), same, |slot| spread(slot.hash)) {
            TableEntry::Occupied(found) => return Ok(found.get().entry),
            TableEntry::Vacant(place) => place,
        };
        if self.heads.len() <= owner as usize {
            self.heads.resize(owner as usize + 1, NONE);
        }
        let link = Link { owner, next: self.heads[owner as usize], previous: NONE, mark: NONE };
        let entry = match self.free.pop() {
            Some(entry) => {
                self.links[entry as usize] = link;
                self.weights[entry as usize * self.width..(entry as usize + 1) * self.width].fill(0);
                entry
            }
            None => {
                let entry = u32::try_from(self.links.len()).ok().filter(|e| *e < NONE).ok_or_else(too_many)?;
                self.links.push(link);
                self.weights.extend(std::iter::repeat_n(0, self.width));
                entry
            }
        };
        place.insert(Slot { hash, entry });
        if link.next != NONE {
            self.links[link.next as usize].previous = entry;
        }
        self.heads[owner as usize] = entry;
        self.rows.set(entry, row)?;
        Ok(entry)
    }

    /// Drops an entry, whatever its weights. Not between a touch and [`settle`](Self::settle).
    pub fn remove(&mut self, entry: u32) {
        let Link { owner, next, previous, .. } = self.links[entry as usize];
        let hash = hash(owner, self.rows.get(entry));
        if let Ok(found) = self.table.find_entry(spread(hash), |slot| slot.entry == entry) {
            found.remove();
        }
        match previous {
            NONE => self.heads[owner as usize] = next,
            previous => self.links[previous as usize].next = next,
        }
        if next != NONE {
            self.links[next as usize].previous = previous;
        }
        self.rows.clear(entry);
        self.free.push(entry);
    }
}

fn hash(owner: u32, row: &[u8]) -> u32 {
    let mut hasher = RandomState::with_seed(0x726f_7773).build_hasher();
    hasher.write_u32(owner);
    hasher.write(row);
    let hash = hasher.finish();
    (hash ^ (hash >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn counts_are_those_of_a_plain_map() {
        for seed in 0..20 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut set = Multiset::new(2, None);
            let mut expected: BTreeMap<(u32, Vec<u8>), [i64; 2]> = BTreeMap::new();
            for _tick in 0..60 {
                let before = expected.clone();
                for _ in 0..40 {
                    let owner = random.random_range(0..8);
                    let row = vec![b'r'; random.random_range(0..12)];
                    let deltas = [random.random_range(-2..3), random.random_range(-2..3)];
                    let weights = set.touch(owner, &row, owner).expect("a short row");
                    let sums = expected.entry((owner, row)).or_default();
                    for call in 0..2 {
                        weights[call] += deltas[call];
                        sums[call] += deltas[call];
                    }
                }
                for (position, touched) in set.touched().to_vec().into_iter().enumerate() {
                    let key = (touched.tag, set.row(touched.entry).to_vec());
                    let earlier = before.get(&key).copied().unwrap_or_default();
                    assert_eq!(set.earlier(position), earlier, "seed {seed}");
                    assert_eq!(set.weights(touched.entry), expected[&key], "seed {seed}");
                }
                set.settle();
                expected.retain(|_, weights| *weights != [0, 0]);
                if random.random_bool(0.2) {
                    let owner = random.random_range(0..8);
                    set.remove_owner(owner);
                    expected.retain(|(o, _), _| *o != owner);
                }
                let held: BTreeMap<_, _> = (0..8)
                    .flat_map(|owner| set.entries(owner).map(move |entry| (owner, entry)))
                    .map(|(owner, entry)| ((owner, set.row(entry).to_vec()), set.weights(entry).to_vec()))
                    .collect();
                let expected: BTreeMap<_, _> = expected.iter().map(|(k, w)| (k.clone(), w.to_vec())).collect();
                assert_eq!(held, expected, "seed {seed}");
                assert_eq!(set.len(), expected.len(), "seed {seed}");
            }
        }
    }
}
