//! Key groups: the unit in which keyed state is dealt to partitions.
//!
//! A key's group depends on its values alone, never on how many cores or machines there are, so saved state can be
//! restored at any parallelism. 256 groups, as RisingWave's vnodes; Flink's key groups default to 128.

use arrow::array::{ArrayRef, UInt16Array};
use datafusion::common::hash_utils::{RandomState, create_hashes};

use crate::error::Result;

/// How many key groups there are. Part of the state format: never change it.
pub const KEY_GROUPS: u16 = 256;

/// The key group of each row of `keys` (columns of equal length, `rows` long). Without key columns every row is in group 0.
///
/// # Errors
/// `Data` if a column's type cannot be hashed.
pub fn key_groups(keys: &[ArrayRef], rows: usize) -> Result<UInt16Array> {
    if keys.is_empty() {
        return Ok(UInt16Array::from_value(0, rows));
    }
    let mut hashes = vec![0u64; rows];
    // Fixed seeds: the hash is part of the state format.
    let state = RandomState::with_seed(0x7469_6465);
    create_hashes(keys, &state, &mut hashes)?;
    Ok(hashes.iter().map(|hash| (hash >> 32) as u16 % KEY_GROUPS).collect::<Vec<_>>().into())
}
