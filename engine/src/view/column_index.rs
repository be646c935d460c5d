//! Indexes of a view's columns: each chunk's entries in the order of these columns.
//!
//! ```text
//! chunk    entries as they were stored, some gone      0 1 2 3 4 5
//! index    the same entries by the columns' values     3 0 5 1 4 2     a look-up is a binary search here
//! ```
//! A chunk never changes, so neither does the order of its entries: it is made with the chunk, by the tick that makes the chunk,
//! and every snapshot that has the chunk shares it. Which entries are gone is seen as in a scan. So a reader that holds an earlier
//! tick looks up exactly that tick, and keeping an index in step costs what sorting the chunks costs that a tick writes anyway.
//! A chunk of an older snapshot may have no order; then all of it is read. What is found may be more than what was
//! asked for: whoever looks up still filters.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::make_comparator;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{SortColumn, SortOptions, lexsort_to_indices};
use arrow::datatypes::DataType;

use crate::error::Result;
use crate::view::chunk::Chunk;

/// The columns of an index, by their place in the view's schema, the first the one it is sorted by first.
pub type IndexColumns = Arc<[usize]>;

/// How every index sorts.
const SORT: SortOptions = SortOptions { descending: false, nulls_first: true };

/// True if an index can be over columns of this type: its order is then the one of SQL's comparisons.
pub fn can_be_indexed(data_type: &DataType) -> bool {
    match data_type {
        DataType::Boolean | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => true,
        DataType::Date32 | DataType::Date64 | DataType::Time32(_) | DataType::Time64(_) | DataType::Timestamp(..) => {
            true
        }
        other => other.is_numeric(),
    }
}

/// A chunk's entries, the gone ones included, in the order of an index's columns.
#[derive(Debug)]
pub(super) struct SortedEntries {
    columns: IndexColumns,
    entries: Box<[u16]>,
}

impl SortedEntries {
    /// # Errors
    /// `Data` if a column cannot be sorted; those of [`can_be_indexed`] can.
    fn of(batch: &RecordBatch, columns: &IndexColumns) -> Result<Self> {
        let column = |column: &usize| SortColumn { values: batch.column(*column).clone(), options: Some(SORT) };
        let columns_of_batch: Vec<SortColumn> = columns.iter().map(column).collect();
        let sorted = lexsort_to_indices(&columns_of_batch, None)?;
        // A chunk has at most 8,192 entries.
        Ok(Self { columns: columns.clone(), entries: sorted.values().iter().map(|entry| *entry as u16).collect() })
    }

    /// The columns it is sorted by.
    pub(super) fn columns(&self) -> &IndexColumns {
        &self.columns
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.entries.len() * size_of::<u16>()
    }
}

/// The orders of a chunk's entries by each of `indexes`, taken from `known` where they are there.
///
/// # Errors
/// As for [`SortedEntries::of`].
pub(super) fn sorted(
    batch: &RecordBatch,
    indexes: &[IndexColumns],
    known: &[Arc<SortedEntries>],
) -> Result<Vec<Arc<SortedEntries>>> {
    let one = |columns: &IndexColumns| match known.iter().find(|sorted| sorted.columns == *columns) {
        Some(sorted) => Ok(sorted.clone()),
        None => SortedEntries::of(batch, columns).map(Arc::new),
    };
    indexes.iter().map(one).collect()
}

/// Indexes of a snapshot's chunks, made before the view has them: the bulk of the work, beside the ticks.
#[derive(Debug, Default)]
pub struct BuiltIndexes {
    /// By the chunk's identity; the chunk is kept so that nothing else gets its identity.
    chunks: HashMap<usize, (Chunk, Vec<Arc<SortedEntries>>)>,
}

impl BuiltIndexes {
    /// Sorts the chunks by each of `indexes`.
    ///
    /// # Errors
    /// `Data` if a column cannot be sorted.
    pub(super) fn of<'c>(chunks: impl Iterator<Item = &'c Chunk>, indexes: &[IndexColumns]) -> Result<Self> {
        let one = |chunk: &Chunk| {
            let built = sorted(chunk.batch(), indexes, chunk.sorted())?;
            Ok((chunk.identity(), (chunk.clone(), built)))
        };
        Ok(Self { chunks: chunks.map(one).collect::<Result<_>>()? })
    }

    /// What was made for a chunk.
    pub(super) fn get(&self, chunk: &Chunk) -> &[Arc<SortedEntries>] {
        self.chunks.get(&chunk.identity()).map_or(&[], |(_, built)| built)
    }
}

/// A bound of a range, as an array of one value.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) value: ArrayRef,
    pub(super) inclusive: bool,
}

/// What is looked up in an index: the rows whose first columns have one of several values, and whose next column is in a range.
#[derive(Debug, Clone)]
pub struct Lookup {
    pub(super) columns: IndexColumns,
    /// For each of the first columns, its value in each of the look-up's keys; all of one length.
    pub(super) keys: Vec<ArrayRef>,
    /// How many keys; one where no column has values.
    pub(super) num_keys: usize,
    /// Bounds of the column behind them.
    pub(super) lower: Option<End>,
    pub(super) upper: Option<End>,
    /// The index and the conditions, for EXPLAIN.
    pub(super) text: String,
}

impl Lookup {
    /// The columns of the index it is about.
    pub(super) fn columns(&self) -> &IndexColumns {
        &self.columns
    }

    /// The index and the conditions, in words.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// True if it is about few rows.
    pub(super) fn is_point(&self) -> bool {
        self.lower.is_none() && self.upper.is_none()
    }

    /// The entries of a chunk that are looked up, the gone ones included, in no order.
    ///
    /// # Errors
    /// `Data` if values cannot be compared.
    pub(super) fn find(&self, batch: &RecordBatch, sorted: &SortedEntries) -> Result<Vec<u16>> {
        let compared = |column: usize, with: &ArrayRef| make_comparator(batch.column(column), with, SORT);
        let keys = self.keys.iter().zip(self.columns.iter()).map(|(key, column)| compared(*column, key));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let ranged = self.columns.get(self.keys.len()).copied().unwrap_or_default();
        let end = |end: &Option<End>| end.as_ref().map(|end| Ok((compared(ranged, &end.value)?, end.inclusive)));
        let lower = end(&self.lower).transpose().map_err(|error: arrow::error::ArrowError| error)?;
        let upper = end(&self.upper).transpose().map_err(|error: arrow::error::ArrowError| error)?;
        let mut found = Vec::new();
        for key in 0..self.num_keys {
            let against = |entry: u16| {
                let compare = keys.iter().map(|compare| compare(usize::from(entry), key));
                compare.fold(Ordering::Equal, Ordering::then)
            };
            let is_below = |entry: u16| match &lower {
                Some((compare, inclusive)) => match compare(usize::from(entry), 0) {
                    Ordering::Less => true,
                    Ordering::Equal => !inclusive,
                    Ordering::Greater => false,
                },
                None => false,
            };
            let is_within = |entry: u16| match &upper {
                Some((compare, inclusive)) => match compare(usize::from(entry), 0) {
                    Ordering::Less => true,
                    Ordering::Equal => *inclusive,
                    Ordering::Greater => false,
                },
                None => true,
            };
            let start = sorted.entries.partition_point(|entry| match against(*entry) {
                Ordering::Less => true,
                Ordering::Equal => is_below(*entry),
                Ordering::Greater => false,
            });
            let rest = &sorted.entries[start..];
            let end = rest.partition_point(|entry| match against(*entry) {
                Ordering::Less => true,
                Ordering::Equal => is_within(*entry),
                Ordering::Greater => false,
            });
            found.extend_from_slice(&rest[..end]);
        }
        Ok(found)
    }
}
