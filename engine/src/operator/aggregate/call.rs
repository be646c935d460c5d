//! What every way of computing a call has in common.

use std::fmt::Debug;

use arrow::array::ArrayRef;
use arrow::datatypes::FieldRef;

use super::batch::TickBatch;
use super::hop::Expansion;
use crate::error::{Error, Result};
use crate::operator::state_bound::Held;
use crate::state::size::UnitBytes;

/// The groups that a tick touched.
#[derive(Debug, Clone, Copy)]
pub(super) struct TouchedGroups<'a> {
    /// The slot of each tick group.
    pub slots: &'a [u32],
    /// Rows in each tick group after this tick.
    pub rows: &'a [i64],
    /// All slots in use are below this.
    pub slots_end: usize,
}

/// State of one call, or of several that share it.
///
/// A tick goes: [`fold`](Self::fold) each batch into partials by tick group; perhaps [`expand`](Self::expand) them;
/// [`merge`](Self::merge) them into the state by slot; read [`answers`](Self::answers); [`end_tick`](Self::end_tick).
pub(super) trait CallState: Debug + Send {
    /// Adds one batch to the tick's partials.
    fn fold(&mut self, batch: &TickBatch<'_>) -> Result<()>;

    /// Replaces the partials of slices by those of windows.
    fn expand(&mut self, expansion: &Expansion) -> Result<()>;

    /// Moves the tick's partials into the state and marks tick groups whose answer differs from before. A tick group
    /// without partials is merged too, so that it has an answer.
    fn merge(&mut self, touched: &TouchedGroups<'_>, changed: &mut [bool]) -> Result<()>;

    /// For each call: the answers that the tick groups `before` had before this tick, then the present ones of `slots`.
    fn answers(&self, before: &[u32], slots: &[u32]) -> Result<Vec<ArrayRef>>;

    /// Forgets the tick's partials and old answers.
    fn end_tick(&mut self);

    /// Drops the state of `slots`.
    fn remove(&mut self, slots: &[u32]);

    /// Columns that this state adds to the saved table of groups.
    fn saved_columns(&self) -> Vec<FieldRef>;

    /// The values of [`saved_columns`](Self::saved_columns) for `slots`.
    fn save_columns(&self, slots: &[u32]) -> Result<Vec<ArrayRef>>;

    /// Takes saved values back; `slots` are empty so far.
    fn restore_columns(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()>;

    /// Columns of the saved table of rows under groups; none if this state keeps no rows.
    fn saved_rows(&self) -> Vec<FieldRef> {
        Vec::new()
    }

    /// The rows kept under `slots`, and the slot of each.
    fn save_rows(&self, slots: &[u32]) -> Result<(Vec<u32>, Vec<ArrayRef>)> {
        let _ = slots;
        Ok((Vec::new(), Vec::new()))
    }

    /// Takes saved rows back under the slot of each.
    fn restore_rows(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let _ = (slots, columns);
        Ok(())
    }

    /// Bytes allocated.
    fn bytes(&self) -> usize;

    /// What is kept for each group comes to, reckoned from the types; kept values are not among it.
    fn bytes_each_group(&self) -> UnitBytes;

    /// The values kept under groups, if any are: what one comes to, and how many there are.
    fn kept_values(&self) -> Option<KeptValues> {
        None
    }

    /// How the calls are computed, for EXPLAIN: one entry a call.
    fn explain(&self) -> Vec<CallPlan>;
}

/// How a call is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallPlan {
    /// The way.
    pub path: &'static str,
    /// What a tick costs.
    pub cost: &'static str,
    /// What is kept for each group.
    pub keeps: &'static str,
}

/// Values kept under groups.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeptValues {
    /// One of them, with its article.
    pub unit: &'static str,
    /// What one comes to, reckoned from the types.
    pub bytes_each: UnitBytes,
    /// How many there are, and their bytes.
    pub held: Held,
}

/// A weight fell below zero.
pub(super) fn retraction_without_insert(call: &str) -> Error {
    Error::data(format!("{call}: a retraction had no insert"))
}
