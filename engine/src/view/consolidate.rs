//! Consolidation: a tick's deltas as one, each changed row once with its weights added up, zeros dropped.
//!
//! A Z-set is unchanged by this at any time and place (Budiu et al., "DBSP", PVLDB 16(7), 2023). Views, sinks and
//! whoever shows changes to people need it, because a row retracted and inserted again in one tick is no change.

use arrow::array::{Int64Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use hashbrown::HashTable;

use crate::delta::{Delta, Weights};
use crate::error::{Error, Result};
use crate::view::batch::{batch_of, take_rows};
use crate::view::canonical::canonical_rows;
use crate::view::row_index::wide;
use crate::view::row_keys::{Keys, RowKeys};

/// One delta equal to `deltas` together: every row once, no weight zero, retractions before inserts, and otherwise in
/// the order rows first came in. Floats are canonical in it: -0.0 is 0.0 and every NaN the same NaN.
///
/// # Errors
/// `Data` if the rows are not of `schema` or a weight does not fit an i64; `Unsupported` for columns that cannot be
/// compared.
pub fn consolidate(schema: &SchemaRef, deltas: &[Delta]) -> Result<Delta> {
    let keys = RowKeys::new(schema)?;
    Consolidated::new(&keys, schema, deltas)?.delta()
}

/// A tick's deltas laid end to end.
struct Gathered {
    rows: RecordBatch,
    /// `None` where all are 1.
    weights: Option<Int64Array>,
}

impl Gathered {
    /// All rows of `deltas` in order, with canonical floats.
    ///
    /// # Errors
    /// `Data` if the rows are not of `schema`, `Internal` if a delta has more or fewer weights than rows.
    fn new(schema: &SchemaRef, deltas: &[Delta]) -> Result<Self> {
        let mut batches = Vec::with_capacity(deltas.len());
        for delta in deltas.iter().filter(|delta| !delta.is_empty()) {
            batches.push(canonical_rows(&delta.rows, schema)?);
        }
        let rows = match batches.len() {
            1 => batches.swap_remove(0),
            _ if schema.fields().is_empty() => {
                batch_of(schema, Vec::new(), batches.iter().map(RecordBatch::num_rows).sum())?
            }
            _ => concat_batches(schema, &batches)?,
        };
        let weights = gather_weights(deltas)?;
        if u32::try_from(rows.num_rows()).is_err() {
            return Err(Error::data(format!("a tick changes {} rows of one view: more than 2^32", rows.num_rows())));
        }
        Ok(Self { rows, weights })
    }

    /// The weight of row `index`.
    pub(super) fn weight(&self, index: usize) -> i64 {
        self.weights.as_ref().map_or(1, |weights| weights.value(index))
    }
}

fn gather_weights(deltas: &[Delta]) -> Result<Option<Int64Array>> {
    let all_ones = deltas.iter().all(|delta| match &delta.weights {
        Weights::Ones => true,
        Weights::Signed(weights) => weights.values().iter().all(|weight| *weight == 1),
    });
    let mut gathered = Vec::new();
    for delta in deltas {
        match &delta.weights {
            Weights::Signed(weights) if weights.len() != delta.num_rows() => {
                return Err(Error::internal(format!("{} weights for {} rows", weights.len(), delta.num_rows())));
            }
            _ if all_ones => {}
            Weights::Ones => gathered.resize(gathered.len() + delta.num_rows(), 1),
            Weights::Signed(weights) => gathered.extend_from_slice(weights.values()),
        }
    }
    Ok((!all_ones).then(|| gathered.into()))
}

/// A row that changed: where it is among the gathered rows, and by how much its count changes.
#[derive(Debug, Clone, Copy)]
pub(super) struct NetRow {
    pub(super) index: u32,
    pub(super) weight: i64,
}

/// A tick's consolidated change, with the keys of the rows it came from.
pub(super) struct Consolidated {
    /// All rows that came in.
    pub(super) rows: RecordBatch,
    /// Their keys.
    pub(super) keys: Keys,
    /// The rows that changed in the end, each once; retractions first.
    pub(super) net: Vec<NetRow>,
}

impl Consolidated {
    /// Consolidates `deltas`.
    ///
    /// # Errors
    /// As for [`consolidate`].
    pub(super) fn new(keys: &RowKeys, schema: &SchemaRef, deltas: &[Delta]) -> Result<Self> {
        let gathered = Gathered::new(schema, deltas)?;
        let keys = keys.encode(&gathered.rows)?;
        let mut net = sum_equal(&gathered, &keys)?;
        net.retain(|row| row.weight != 0);
        net.sort_by_key(|row| row.weight > 0);
        Ok(Self { rows: gathered.rows, keys, net })
    }

    /// As [`new`](Self::new), where no row is there twice and no weight is zero.
    ///
    /// # Errors
    /// As for [`consolidate`].
    pub(super) fn trusted(keys: &RowKeys, schema: &SchemaRef, deltas: &[Delta]) -> Result<Self> {
        let gathered = Gathered::new(schema, deltas)?;
        let keys = keys.encode(&gathered.rows)?;
        let mut net: Vec<NetRow> =
            (0..keys.len()).map(|index| NetRow { index: index as u32, weight: gathered.weight(index) }).collect();
        debug_assert!(
            sum_equal(&gathered, &keys)?.len() == net.len() && net.iter().all(|row| row.weight != 0),
            "a change that was promised to be consolidated is not"
        );
        net.sort_by_key(|row| row.weight > 0);
        Ok(Self { rows: gathered.rows, keys, net })
    }

    /// The change as a delta.
    ///
    /// # Errors
    /// `Data` if the rows cannot be copied.
    pub(super) fn delta(&self) -> Result<Delta> {
        let untouched = self.net.len() == self.rows.num_rows()
            && self.net.iter().enumerate().all(|(at, row)| row.index as usize == at);
        let rows = if untouched {
            self.rows.clone()
        } else {
            take_rows(&self.rows, self.net.iter().map(|row| row.index).collect())?
        };
        let weights = if self.net.iter().all(|row| row.weight == 1) {
            Weights::Ones
        } else {
            Weights::Signed(self.net.iter().map(|row| row.weight).collect::<Vec<_>>().into())
        };
        Ok(Delta { rows, weights })
    }
}

/// Every distinct row with the sum of its weights, which may be zero, in the order rows first came in.
fn sum_equal(gathered: &Gathered, keys: &Keys) -> Result<Vec<NetRow>> {
    let mut net: Vec<NetRow> = Vec::with_capacity(keys.len());
    let mut found: HashTable<u32> = HashTable::with_capacity(keys.len());
    for index in 0..keys.len() {
        let (hash, bytes, weight) = (keys.hash(index), keys.bytes(index), gathered.weight(index));
        let first = |at: &u32| net[*at as usize].index as usize;
        match found.find(wide(hash), |at| keys.hash(first(at)) == hash && keys.bytes(first(at)) == bytes) {
            Some(at) => {
                let row = &mut net[*at as usize];
                row.weight = row.weight.checked_add(weight).ok_or_else(|| {
                    Error::data(format!("weights of one row add up to more than an i64: {} and {weight}", row.weight))
                })?;
            }
            None => {
                let at = net.len() as u32;
                found.insert_unique(wide(hash), at, |at| wide(keys.hash(net[*at as usize].index as usize)));
                net.push(NetRow { index: index as u32, weight });
            }
        }
    }
    Ok(net)
}
