//! Deals a tick's rows to dense groups by key.
//!
//! The numbers hold for one tick: folding by them touches the tick's groups alone, however many the state holds.

use std::sync::Arc;

use arrow::array::{ArrayRef, new_empty_array};
use arrow::compute::cast;
use arrow::datatypes::{FieldRef, Schema};
use datafusion::logical_expr::EmitTo;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use crate::error::Result;
use crate::state::size::{column_bytes, hashed};

/// Memory kept from one tick to the next, in groups.
const GROUPS_KEPT_MIN: usize = 1024;

/// An entry of DataFusion's table of groups: a hash and a number.
const TABLE_ENTRY_BYTES: usize = 16;

/// Numbers the keys of one tick.
pub(super) struct Interner {
    fields: Vec<FieldRef>,
    /// None without key columns: then all rows are in group 0.
    values: Option<Box<dyn GroupValues>>,
    /// Groups that memory is kept for from one tick to the next.
    groups_kept: usize,
}

impl std::fmt::Debug for Interner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interner").field("fields", &self.fields).finish_non_exhaustive()
    }
}

impl Interner {
    /// An interner for key columns of `fields`.
    pub fn try_new(fields: &[FieldRef]) -> Result<Self> {
        let schema = Arc::new(Schema::new(fields.to_vec()));
        let values = match fields {
            [] => None,
            _ => Some(new_group_values(schema, &GroupOrdering::None)?),
        };
        Ok(Self { fields: fields.to_vec(), values, groups_kept: 0 })
    }

    /// Puts the group of each of `rows` rows of canonical `keys` into `groups`.
    pub fn intern(&mut self, keys: &[ArrayRef], rows: usize, groups: &mut Vec<usize>) -> Result<()> {
        match &mut self.values {
            Some(values) => values.intern(keys, groups)?,
            None => {
                groups.clear();
                groups.resize(rows, 0);
            }
        }
        Ok(())
    }

    /// Groups so far. Without key columns there is always one.
    pub fn len(&self) -> usize {
        self.values.as_ref().map_or(1, |values| values.len())
    }

    /// The groups' keys, in order. The interner is empty again.
    pub fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        let Some(values) = &mut self.values else { return Ok(Vec::new()) };
        let groups = values.len();
        if groups == 0 {
            return Ok(self.fields.iter().map(|field| new_empty_array(field.data_type())).collect());
        }
        let keys = values.emit(EmitTo::All)?;
        // Emitting leaves the hash table as it was, and clearing it costs its capacity: a small tick must not pay for a
        // large one before it.
        let kept_max = groups.saturating_mul(2).max(GROUPS_KEPT_MIN);
        self.groups_kept = self.groups_kept.max(groups).min(kept_max);
        values.clear_shrink(kept_max);
        let typed = keys.into_iter().zip(&self.fields);
        let typed =
            typed.map(
                |(key, field)| {
                    if key.data_type() == field.data_type() { Ok(key) } else { Ok(cast(&key, field.data_type())?) }
                },
            );
        typed.collect()
    }

    /// Groups that memory is kept for from one tick to the next.
    pub fn groups_kept(&self) -> usize {
        self.groups_kept
    }

    /// What memory for one group comes to.
    pub fn bytes_each(&self) -> usize {
        let key: usize = self.fields.iter().map(|field| column_bytes(field.data_type())).sum();
        hashed(TABLE_ENTRY_BYTES) + key
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.values.as_ref().map_or(0, |values| values.size())
    }
}
