//! Byte rows by number: the memory under keys, kept rows and kept accumulator states.
//!
//! Rows of one width lie side by side, in pages. Rows of any width lie in chunks, each behind a header that names its number, so a
//! chunk that is mostly dead can be emptied alone: work is bounded by a chunk, never by the whole store.
//!
//! ```text
//! places[number] -> (chunk, offset)      chunk: | number u32 | length u32 | bytes ... | number u32 | length u32 | ...
//! ```

use crate::error::{Error, Result};
use crate::state::paged::Paged;
use crate::state::size::{UnitBytes, grown};

const HEADER_BYTES: usize = 8;
const CHUNK_BYTES_MIN: usize = 4 << 10;
const CHUNK_BYTES_MAX: usize = 256 << 10;
/// A chunk is emptied when at most one part in this many of its bytes is alive, so copying is paid for by what died.
const SPARSE: usize = 4;
const NOWHERE: u32 = u32::MAX;

/// Byte rows by number. Numbers are chosen by the caller and should be dense.
#[derive(Debug)]
pub enum RowStore {
    /// All rows have one width.
    Fixed(FixedRows),
    /// Rows of any width.
    Chunked(ChunkedRows),
}

impl RowStore {
    /// A store for rows of `width` bytes, or of any width.
    pub fn new(width: Option<usize>) -> Self {
        match width {
            Some(width) => Self::Fixed(FixedRows { width, bytes: Paged::of_groups(width) }),
            None => Self::Chunked(ChunkedRows::default()),
        }
    }

    /// Stores `row` under `number`, in place of what was there.
    ///
    /// # Errors
    /// `Data` if the row is longer than 4 GiB; `Internal` if it is not of the store's width.
    pub fn set(&mut self, number: u32, row: &[u8]) -> Result<()> {
        match self {
            Self::Fixed(rows) => rows.set(number, row),
            Self::Chunked(rows) => rows.set(number, row),
        }
    }

    /// The row under `number`. A number that was never set, or was cleared, gives an empty or an old row.
    pub fn get(&self, number: u32) -> &[u8] {
        match self {
            Self::Fixed(rows) => rows.get(number),
            Self::Chunked(rows) => rows.get(number).unwrap_or_default(),
        }
    }

    /// Forgets the row under `number`.
    pub fn clear(&mut self, number: u32) {
        if let Self::Chunked(rows) = self {
            rows.clear(number);
        }
    }

    /// What a row of `length` bytes comes to in a store for rows of `width` bytes, or of any width.
    pub fn bytes_each(width: Option<usize>, length: usize) -> UnitBytes {
        match width {
            Some(width) => UnitBytes::lasting(grown(width)),
            None => UnitBytes::passing(HEADER_BYTES + length) + UnitBytes::lasting(grown(size_of::<Place>())),
        }
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Fixed(rows) => rows.bytes.bytes(),
            Self::Chunked(rows) => rows.bytes(),
        }
    }
}

/// Rows of one width, side by side.
#[derive(Debug)]
pub struct FixedRows {
    width: usize,
    bytes: Paged<u8>,
}

impl FixedRows {
    fn set(&mut self, number: u32, row: &[u8]) -> Result<()> {
        if row.len() != self.width {
            return Err(Error::internal(format!("a row of {} bytes in a store of {}", row.len(), self.width)));
        }
        self.bytes.grow(number, 0);
        if let Some(place) = self.bytes.get_mut(number) {
            place.copy_from_slice(row);
        }
        Ok(())
    }

    fn get(&self, number: u32) -> &[u8] {
        self.bytes.get(number).unwrap_or_default()
    }
}

/// Rows of any width, in chunks.
#[derive(Debug, Default)]
pub struct ChunkedRows {
    places: Vec<Place>,
    chunks: Vec<Chunk>,
    empty_chunks: Vec<u32>,
    /// The chunk that takes new rows.
    open: Option<u32>,
    chunk_bytes: usize,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    chunk: u32,
    offset: u32,
}

#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// Bytes of live rows and their headers.
    live: usize,
}

impl Chunk {
    fn length(&self, offset: usize) -> usize {
        read_u32(&self.bytes, offset + 4) as usize
    }
}

impl ChunkedRows {
    /// The row under `number`, if there is one.
    pub fn get(&self, number: u32) -> Option<&[u8]> {
        let place = self.place(number)?;
        let chunk = &self.chunks[place.chunk as usize];
        let start = place.offset as usize + HEADER_BYTES;
        Some(&chunk.bytes[start..start + chunk.length(place.offset as usize)])
    }

    /// Stores `row` under `number`, in place of what was there.
    ///
    /// # Errors
    /// `Data` if the row is longer than 4 GiB.
    pub fn set(&mut self, number: u32, row: &[u8]) -> Result<()> {
        if let Some(place) = self.place(number) {
            let chunk = &mut self.chunks[place.chunk as usize];
            if chunk.length(place.offset as usize) == row.len() {
                let start = place.offset as usize + HEADER_BYTES;
                chunk.bytes[start..start + row.len()].copy_from_slice(row);
                return Ok(());
            }
            self.clear(number);
        }
        if self.places.len() <= number as usize {
            self.places.resize(number as usize + 1, Place { chunk: NOWHERE, offset: 0 });
        }
        self.append(number, row)
    }

    /// Forgets the row under `number`.
    pub fn clear(&mut self, number: u32) {
        let Some(place) = self.place(number) else { return };
        self.places[number as usize].chunk = NOWHERE;
        let chunk = &mut self.chunks[place.chunk as usize];
        chunk.live -= HEADER_BYTES + chunk.length(place.offset as usize);
        let emptied = chunk.live == 0;
        if emptied || (self.open != Some(place.chunk) && self.is_sparse(place.chunk)) {
            self.empty(place.chunk);
        }
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(|chunk| chunk.bytes.capacity()).sum();
        chunks + self.chunks.capacity() * size_of::<Chunk>() + self.places.capacity() * size_of::<Place>()
    }

    fn place(&self, number: u32) -> Option<Place> {
        self.places.get(number as usize).copied().filter(|place| place.chunk != NOWHERE)
    }

    fn append(&mut self, number: u32, row: &[u8]) -> Result<()> {
        let length = u32::try_from(row.len()).map_err(|_| Error::data("a row of state is longer than 4 GiB"))?;
        let needed = HEADER_BYTES + row.len();
        let before = self.open;
        let open = match before {
            Some(open) if self.fits(open, needed) => open,
            _ => self.open_chunk(needed),
        };
        let chunk = &mut self.chunks[open as usize];
        self.places[number as usize] = Place { chunk: open, offset: chunk.bytes.len() as u32 };
        chunk.bytes.extend_from_slice(&number.to_le_bytes());
        chunk.bytes.extend_from_slice(&length.to_le_bytes());
        chunk.bytes.extend_from_slice(row);
        chunk.live += needed;
        // While a chunk is open its dead rows are left alone; once closed they may be worth having back.
        if let Some(closed) = before.filter(|closed| *closed != open)
            && self.is_sparse(closed)
        {
            self.empty(closed);
        }
        Ok(())
    }

    fn fits(&self, chunk: u32, needed: usize) -> bool {
        let bytes = &self.chunks[chunk as usize].bytes;
        bytes.capacity() - bytes.len() >= needed
    }

    fn is_sparse(&self, chunk: u32) -> bool {
        let chunk = &self.chunks[chunk as usize];
        chunk.live * SPARSE <= chunk.bytes.len()
    }

    fn open_chunk(&mut self, needed: usize) -> u32 {
        self.chunk_bytes = (self.chunk_bytes * 2).clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        let number = self.empty_chunks.pop().unwrap_or_else(|| {
            self.chunks.push(Chunk::default());
            (self.chunks.len() - 1) as u32
        });
        self.chunks[number as usize].bytes = Vec::with_capacity(needed.max(self.chunk_bytes));
        self.open = Some(number);
        number
    }

    /// Moves the live rows of a chunk to the open one and gives its memory back.
    fn empty(&mut self, number: u32) {
        let chunk = std::mem::take(&mut self.chunks[number as usize]);
        if self.open == Some(number) {
            self.open = None;
        }
        let mut offset = 0;
        let mut live = chunk.live;
        while live > 0 {
            let row = read_u32(&chunk.bytes, offset);
            let length = chunk.length(offset);
            let bytes = &chunk.bytes[offset + HEADER_BYTES..offset + HEADER_BYTES + length];
            if self.place(row).is_some_and(|p| p.chunk == number && p.offset as usize == offset) {
                live -= HEADER_BYTES + length;
                self.append(row, bytes).expect("a row that was stored before fits its header");
            }
            offset += HEADER_BYTES + length;
        }
        // Only now: a chunk opened meanwhile must not take this number, or old places would look alive.
        self.empty_chunks.push(number);
    }
}

fn read_u32(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes are four bytes"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn rows_survive_churn_and_memory_comes_back() {
        for seed in 0..20 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut store = ChunkedRows::default();
            let mut expected: HashMap<u32, Vec<u8>> = HashMap::new();
            for _ in 0..4_000 {
                let number = random.random_range(0..300);
                if random.random_bool(0.4) {
                    store.clear(number);
                    expected.remove(&number);
                } else {
                    let length = if random.random_bool(0.01) { 9_000 } else { random.random_range(0..60) };
                    let row: Vec<u8> = (0..length).map(|_| random.random()).collect();
                    store.set(number, &row).expect("a short row");
                    expected.insert(number, row);
                }
            }
            for number in 0..300 {
                assert_eq!(store.get(number), expected.get(&number).map(Vec::as_slice), "seed {seed}");
            }
            let alive: usize = expected.values().map(|row| row.len() + HEADER_BYTES).sum();
            assert!(store.bytes() < alive * 8 + 3 * CHUNK_BYTES_MAX, "seed {seed}: {} for {alive}", store.bytes());
            (0..300).for_each(|number| store.clear(number));
            assert!(store.chunks.iter().all(|chunk| chunk.bytes.capacity() == 0), "seed {seed}");
        }
    }

    #[test]
    fn fixed_rows_lie_side_by_side() {
        let mut store = RowStore::new(Some(3));
        store.set(2, b"abc").expect("three bytes");
        store.set(0, b"xyz").expect("three bytes");
        assert_eq!((store.get(0), store.get(2)), (b"xyz".as_slice(), b"abc".as_slice()));
        assert!(store.set(1, b"ab").is_err());
    }
}
