//! Rows under owners, counted: what is kept when an answer needs its input rows.
//!
//! One hash table holds the rows of all owners (groups), so a group with one row costs one entry, not one table. The entries
//! of an owner form a list, so that its rows can be read or dropped together. A row has one or several weights (one per call
//! that shares the table). A tick adds weights in any order; only their sum at the tick's end has to be a legal count.
//!
//! Where rows only ever come, nobody has to find the entry of a row again: equal rows are entries of their own, there is no hash
//! table, and the weight of every entry is one.

use std::hash::{BuildHasher, Hasher};

use datafusion::common::hash_utils::RandomState;
use hashbrown::HashTable;

use crate::error::Result;
use crate::state::key_index::{spread, too_many};
use crate::state::paged::Paged;
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

/// The place of a link that was never used.
const UNLINKED: Link = Link { owner: NONE, next: NONE, previous: NONE, mark: NONE };

/// How equal rows are told and counted.
#[derive(Debug)]
enum Counting {
    /// Each distinct row is one entry, with `width` weights.
    Distinct { table: HashTable<Slot>, weights: Paged<i64> },
    /// Each row is an entry of its own. Between ticks its weight is one; the touched have theirs here, in their order.
    Apart { touched: Vec<i64> },
}

/// Counted rows under owners.
#[derive(Debug)]
pub struct Multiset {
    counting: Counting,
    rows: RowStore,
    links: Paged<Link>,
    entries: u32,
    live: usize,
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
        Self::with(Counting::Distinct { table: HashTable::new(), weights: Paged::of_groups(width) }, width, row_width)
    }

    /// An empty multiset for rows that only come: one weight, equal rows apart from each other.
    pub fn of_inserts(row_width: Option<usize>) -> Self {
        Self::with(Counting::Apart { touched: Vec::new() }, 1, row_width)
    }

    fn with(counting: Counting, width: usize, row_width: Option<usize>) -> Self {
        Self {
            counting,
            rows: RowStore::new(row_width),
            links: Paged::of_groups(1),
            entries: 0,
            live: 0,
            width,
            heads: Vec::new(),
            free: Vec::new(),
            touched: Vec::new(),
            earlier: Vec::new(),
        }
    }

    fn link(&self, entry: u32) -> &Link {
        self.links.get(entry).map_or(&UNLINKED, |link| &link[0])
    }

    fn link_mut(&mut self, entry: u32) -> &mut Link {
        &mut self.links.get_mut(entry).expect("an entry in use")[0]
    }

    /// The weights of `row` under `owner`, to be changed; zero if it was not there. Notes the entry as touched, with `tag`.
    /// Where equal rows are kept apart, always those of a new entry, to be set to one.
    ///
    /// # Errors
    /// `Data` if the row is longer than 4 GiB or there are more than 2^32 of them.
    pub fn touch(&mut self, owner: u32, row: &[u8], tag: u32) -> Result<&mut [i64]> {
        let entry = self.entry(owner, row)?;
        Ok(self.touch_entry(entry, tag))
    }

    /// As [`touch`](Self::touch), of an entry that is there; where equal rows are kept apart, of one that is new in this tick.
    pub fn touch_entry(&mut self, entry: u32, tag: u32) -> &mut [i64] {
        if self.link(entry).mark == NONE {
            self.link_mut(entry).mark = self.touched.len() as u32;
            self.touched.push(Touched { entry, tag });
            match &mut self.counting {
                Counting::Distinct { weights, .. } => {
                    self.earlier.extend_from_slice(weights.get(entry).unwrap_or_default());
                }
                Counting::Apart { touched } => {
                    self.earlier.push(0);
                    touched.push(0);
                }
            }
        }
        let mark = self.link(entry).mark;
        match &mut self.counting {
            Counting::Distinct { weights, .. } => weights.get_mut(entry).unwrap_or_default(),
            Counting::Apart { touched } => &mut touched[mark as usize..mark as usize + 1],
        }
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
        match &self.counting {
            Counting::Distinct { weights, .. } => weights.get(entry).unwrap_or_default(),
            Counting::Apart { touched } => match self.link(entry).mark {
                NONE => &[1],
                mark => &touched[mark as usize..mark as usize + 1],
            },
        }
    }

    /// Weights that an entry had before this tick.
    pub fn weights_before(&self, entry: u32) -> &[i64] {
        match self.link(entry).mark {
            NONE => self.weights(entry),
            mark => self.earlier(mark as usize),
        }
    }

    /// The owner of an entry.
    pub fn owner(&self, entry: u32) -> u32 {
        self.link(entry).owner
    }

    /// All entries ever used are below this.
    pub fn entries_end(&self) -> usize {
        self.entries as usize
    }

    /// An entry's row.
    pub fn row(&self, entry: u32) -> &[u8] {
        self.rows.get(entry)
    }

    /// The entries of `owner`, in no particular order.
    pub fn entries(&self, owner: u32) -> impl Iterator<Item = u32> {
        let head = self.heads.get(owner as usize).copied().unwrap_or(NONE);
        std::iter::successors((head != NONE).then_some(head), |entry| {
            Some(self.link(*entry).next).filter(|next| *next != NONE)
        })
    }

    /// Ends the tick: entries whose weights are all zero go.
    pub fn settle(&mut self) {
        for position in 0..self.touched.len() {
            let entry = self.touched[position].entry;
            let gone = self.weights(entry).iter().all(|weight| *weight == 0);
            debug_assert!(
                matches!(self.counting, Counting::Distinct { .. }) || gone || self.weights(entry) == [1],
                "rows that are kept apart weigh one"
            );
            self.link_mut(entry).mark = NONE;
            if gone {
                self.remove(entry);
            }
        }
        self.touched.clear();
        self.earlier.clear();
        if let Counting::Apart { touched } = &mut self.counting {
            touched.clear();
        }
    }

    /// Drops all rows of `owner`. Not between a touch and [`settle`](Self::settle).
    pub fn remove_owner(&mut self, owner: u32) {
        while let Some(entry) = self.heads.get(owner as usize).copied().filter(|head| *head != NONE) {
            self.remove(entry);
        }
    }

    /// Rows held; duplicates counted once, unless equal rows are kept apart.
    pub fn len(&self) -> usize {
        self.live
    }

    /// True if no row is held.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// What a row of `codec` with `width` weights comes to.
    pub fn bytes_each(width: usize, codec: &RowCodec) -> UnitBytes {
        let weights = grown(width * size_of::<i64>());
        Self::bytes_each_apart(codec) + UnitBytes::lasting(hashed(size_of::<Slot>()) + weights)
    }

    /// The same where equal rows are kept apart.
    pub fn bytes_each_apart(codec: &RowCodec) -> UnitBytes {
        codec.stored_bytes() + UnitBytes::lasting(grown(size_of::<Link>() + size_of::<u32>()))
    }

    /// True if equal rows are kept apart.
    pub fn is_apart(&self) -> bool {
        matches!(self.counting, Counting::Apart { .. })
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        let counting = match &self.counting {
            Counting::Distinct { table, weights } => table.allocation_size() + weights.bytes(),
            Counting::Apart { touched } => touched.capacity() * size_of::<i64>(),
        };
        counting
            + self.rows.bytes()
            + self.links.bytes()
            + self.earlier.capacity() * size_of::<i64>()
            + (self.heads.capacity() + self.free.capacity()) * size_of::<u32>()
            + self.touched.capacity() * size_of::<Touched>()
    }

    /// The entry of `row` under `owner`, made where it is new; then it has to be touched. Where equal rows are kept apart, always
    /// a new one.
    ///
    /// # Errors
    /// As for [`touch`](Self::touch).
    pub fn entry(&mut self, owner: u32, row: &[u8]) -> Result<u32> {
        let Counting::Distinct { table, .. } = &self.counting else { return self.add(owner, row) };
        let hash = hash(owner, row);
        let same =
            |slot: &Slot| slot.hash == hash && self.owner(slot.entry) == owner && self.rows.get(slot.entry) == row;
        if let Some(found) = table.find(spread(hash), same) {
            return Ok(found.entry);
        }
        let entry = self.add(owner, row)?;
        if let Counting::Distinct { table, weights } = &mut self.counting {
            table.insert_unique(spread(hash), Slot { hash, entry }, |slot| spread(slot.hash));
            weights.grow(entry, 0);
            weights.get_mut(entry).unwrap_or_default().fill(0);
        }
        Ok(entry)
    }

    /// A new entry at the head of its owner's list.
    fn add(&mut self, owner: u32, row: &[u8]) -> Result<u32> {
        if self.heads.len() <= owner as usize {
            self.heads.resize(owner as usize + 1, NONE);
        }
        let entry = match self.free.pop() {
            Some(entry) => entry,
            None => {
                let entry = self.entries;
                self.entries = entry.checked_add(1).filter(|end| *end < NONE).ok_or_else(too_many)?;
                self.links.grow(entry, UNLINKED);
                entry
            }
        };
        let next = std::mem::replace(&mut self.heads[owner as usize], entry);
        *self.link_mut(entry) = Link { owner, next, previous: NONE, mark: NONE };
        if next != NONE {
            self.link_mut(next).previous = entry;
        }
        self.live += 1;
        self.rows.set(entry, row)?;
        Ok(entry)
    }

    /// Drops an entry, whatever its weights. Not between a touch and [`settle`](Self::settle).
    pub fn remove(&mut self, entry: u32) {
        let Link { owner, next, previous, .. } = *self.link(entry);
        if let Counting::Distinct { table, .. } = &mut self.counting {
            let hash = hash(owner, self.rows.get(entry));
            if let Ok(found) = table.find_entry(spread(hash), |slot| slot.entry == entry) {
                found.remove();
            }
        }
        match previous {
            NONE => self.heads[owner as usize] = next,
            previous => self.link_mut(previous).next = next,
        }
        if next != NONE {
            self.link_mut(next).previous = previous;
        }
        self.live -= 1;
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
    #[test]
    fn equal_rows_apart_are_as_many_as_came() {
        for seed in 0..20 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut set = Multiset::of_inserts((seed % 2 == 0).then_some(3));
            let mut expected: BTreeMap<(u32, Vec<u8>), i64> = BTreeMap::new();
            for _tick in 0..60 {
                for _ in 0..random.random_range(0..40) {
                    let (owner, row) = (random.random_range(0..8), vec![random.random_range(0..4u8); 3]);
                    let stays = random.random_bool(0.9);
                    set.touch(owner, &row, owner).expect("a short row")[0] += i64::from(stays);
                    *expected.entry((owner, row)).or_default() += i64::from(stays);
                }
                let new = |touched: &Touched| set.weights_before(touched.entry) == [0];
                assert!(set.touched().iter().all(new), "seed {seed}");
                set.settle();
                if random.random_bool(0.3) {
                    let owner = random.random_range(0..8);
                    let one = set.entries(owner).nth(2);
                    if random.random_bool(0.5) {
                        set.remove_owner(owner);
                        expected.retain(|(o, _), _| *o != owner);
                    } else if let Some(entry) = one {
                        *expected.get_mut(&(owner, set.row(entry).to_vec())).expect("a row that came") -= 1;
                        set.remove(entry);
                    }
                }
                expected.retain(|_, count| *count != 0);
                let mut held: BTreeMap<(u32, Vec<u8>), i64> = BTreeMap::new();
                for owner in 0..8 {
                    for entry in set.entries(owner) {
                        assert_eq!((set.weights(entry), set.weights_before(entry)), ([1].as_slice(), [1].as_slice()));
                        *held.entry((owner, set.row(entry).to_vec())).or_default() += 1;
                    }
                }
                assert_eq!(held, expected, "seed {seed}");
                assert_eq!(set.len() as i64, expected.values().sum::<i64>(), "seed {seed}");
            }
        }
    }
}
