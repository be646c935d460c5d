//! The list of a view's chunks: two levels, copied on write, so that publishing a snapshot copies what changed.
//!
//! ```text
//! list ── Arc ── [leaf, leaf, …]        one pointer for every 32 chunks
//!                  └── Arc ── [chunk, -, chunk, …]   at most 32, empty places allowed
//! ```
//! A clone of the list is one reference count. The first change after a clone copies the upper level (a pointer for
//! every 32 chunks) and each leaf it touches. A chunk keeps its position for as long as it lives, because the row index
//! points at it; only a list without index is trimmed in front.

use std::sync::Arc;

use crate::view::chunk::Chunk;

/// Chunks in a leaf: what one changed chunk costs at the next change, in reference counts.
const LEAF_CHUNKS: usize = 32;

/// Chunks by position.
#[derive(Debug, Clone, Default)]
pub(super) struct ChunkList {
    leaves: Arc<Vec<Arc<Vec<Option<Chunk>>>>>,
    end: usize,
}

impl ChunkList {
    /// One past the last position that may hold a chunk.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// The chunk at `position`, if there is one.
    pub(super) fn get(&self, position: usize) -> Option<&Chunk> {
        self.leaves.get(position / LEAF_CHUNKS)?.get(position % LEAF_CHUNKS)?.as_ref()
    }

    /// The chunks that are there, in order of position.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Chunk)> {
        let places = self.leaves.iter().flat_map(|leaf| leaf.iter());
        places.enumerate().filter_map(|(position, place)| Some((position, place.as_ref()?)))
    }

    /// The place at `position`, to be changed; `None` outside the list.
    pub(super) fn place_mut(&mut self, position: usize) -> Option<&mut Option<Chunk>> {
        let leaves = Arc::make_mut(&mut self.leaves);
        Arc::make_mut(leaves.get_mut(position / LEAF_CHUNKS)?).get_mut(position % LEAF_CHUNKS)
    }

    /// Adds a chunk at the end and returns its position.
    pub(super) fn push(&mut self, chunk: Chunk) -> usize {
        let leaves = Arc::make_mut(&mut self.leaves);
        if self.end / LEAF_CHUNKS == leaves.len() {
            leaves.push(Arc::new(Vec::with_capacity(LEAF_CHUNKS)));
        }
        Arc::make_mut(&mut leaves[self.end / LEAF_CHUNKS]).push(Some(chunk));
        self.end += 1;
        self.end - 1
    }

    /// Gives up empty places at the end, and whole empty leaves in front. Returns by how much that lowers the position of
    /// every chunk.
    pub(super) fn trim(&mut self) -> usize {
        let leaves = Arc::make_mut(&mut self.leaves);
        while let Some(last) = leaves.last_mut() {
            if last.last().is_some_and(Option::is_some) {
                break;
            }
            if last.is_empty() {
                leaves.pop();
            } else {
                Arc::make_mut(last).pop();
                self.end -= 1;
            }
        }
        let empty = leaves.iter().take_while(|leaf| leaf.iter().all(Option::is_none)).count();
        leaves.drain(..empty);
        self.end -= empty * LEAF_CHUNKS;
        empty * LEAF_CHUNKS
    }

    /// Bytes of the list itself.
    pub(super) fn bytes(&self) -> usize {
        self.leaves.len() * (size_of::<usize>() + LEAF_CHUNKS * size_of::<Option<Chunk>>())
    }
}
