//! Stateful operators: plain synchronous structs, tested alone.
//!
//! An operator does no I/O, reads no clock, spawns nothing and is not random: its output is a function of the deltas and
//! tick contexts it was given. One generic `ExecutionPlan` ([`crate::dataflow`]) wraps any of them.
//!
//! # What every operator promises
//! The deltas of an input, added up from the first tick to some tick, are a table. Run over that table as a batch, the operator's
//! query has an answer. What the operator has put out from the first tick to that tick adds up to this answer. So one tick puts out
//!
//! ```text
//! answer(rows before + rows of the tick) - answer(rows before)
//! ```
//! No operator computes both answers whole. Each module says which part of them can differ, and why the rest cancels out. An
//! operator that emits on close answers with the part of the batch answer whose windows have closed.
//!
//! # What may be forgotten
//! State goes only where no later tick can ask for it. Every proof of that rests on a promise about what is still to come:
//!
//! - below [`closed_below`](TickContext::closed_below) no row is inserted or retracted any more: windows and groups end;
//! - below [`matched_below`](TickContext::matched_below) a row meets no later change of the other side: rows of joins end;
//! - [`now_micros`](TickContext::now_micros) never goes back: what a temporal filter has let go does not come again;
//! - rows that only come push others back and never forward: what is behind the last rank asked for stays behind it.
//!
//! To forget is no change: what was put out stays in the answer.
//!
//! # Where to see each of them at work
//! Scripts lie in `tests/ticks` (`.txt`: what every tick changes) and in `tests/slt` (`.slt`: what is read in the end).
//!
//! | operator | answers with | scripts, and the views in them |
//! |---|---|---|
//! | [`aggregate`] | a row for each group | `group_by`, `nested_aggregate`, `tumble_update`, `tumble_close`, `hop_close` |
//! | [`asof_join`] | each left row with the right one closest in time | `versions`; `asof.slt` |
//! | [`constant`] | the rows a view's text names | `except_single` (`x`); `constant.slt` |
//! | [`count_window`] | rows with the window of n rows they lie in | `count_window` |
//! | [`join`] | pairs of rows, rows without a match, rows that have one | `stacked_joins`, `upsert_joins`, `nexmark_joins` |
//! | [`partition_wise`] | rows with what OVER makes of their partition | `upsert_joins` (`ranked`), `accept_late` (`shares`); `over.slt` |
//! | [`session`] | rows with the bounds of the session they lie in | `session_update`, `session_retract`, `session_close` |
//! | [`set_operation`] | rows by how often they are on either side | `except_single` (`y`), `upsert_joins` (`only_here`) |
//! | [`temporal_filter`] | rows for as long as their time lasts | `temporal`, `temporal_retract` |
//! | [`top_n`] | the first rows of each group | `hidden_order`, `upsert` (`best`), `accept_late` (`best`); `over.slt` |
//! | [`upsert`] | the last row of each key | `upsert`, `upsert_partitions`, `debezium` |
//! | [`window_gate`] | rows whose window has closed | `accept_late` |

pub mod aggregate;
pub mod asof_join;
pub mod constant;
pub mod count_window;
pub mod join;
mod keyed;
#[cfg(test)]
mod naive;
pub mod partition_wise;
mod row_layout;
pub mod session;
pub mod set_operation;
pub mod state_bound;
pub mod temporal_filter;
pub mod top_n;
pub mod upsert;
pub mod window_gate;

use arrow::array::{BooleanArray, RecordBatch, UInt16Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;

use self::state_bound::Held;
use crate::delta::Delta;
use crate::error::{Error, Result};
use crate::row_error::Failure;
use crate::time::TickId;

/// What a tick tells an operator besides its deltas.
#[derive(Debug, Clone, Copy, Default)]
pub struct TickContext {
    /// The tick.
    pub tick: TickId,
    /// The tick's time, µs since the Unix epoch; never goes back.
    pub now_micros: i64,
    /// For an operator with a monotone column: every later input row has a value of at least this in that column (as
    /// i64: µs for timestamps, days for dates), so smaller values are final. Never goes back. `None` while nothing is known.
    pub closed_below: Option<i64>,
    /// The same by the watermark by which windows close, for an operator that asks for it: rows of smaller values may still come,
    /// but nobody waits for them. Not below the other, and never goes back.
    pub closing_below: Option<i64>,
    /// For an operator with two inputs that match each other's rows by time: a kept row of input i whose time is below
    /// bound i matches no later row of the other input, inserted or retracted. Units and growth as above.
    pub matched_below: [Option<i64>; 2],
    /// Whether final state may be dropped. Answers are the same either way; a test turns it off to prove that.
    pub evict: bool,
}

/// An operator's state as rows, for checkpoints: named tables, each a list of batches whose first column is
/// [`KEY_GROUP_COLUMN`], so that a restore with another partition count can deal the rows out anew.
#[derive(Debug, Clone, Default)]
pub struct SavedState {
    /// Table name to batches of one schema.
    pub tables: Vec<(String, Vec<RecordBatch>)>,
}

impl SavedState {
    /// Adds the rows of another partition of the same operator.
    pub fn merge(&mut self, other: Self) {
        for (name, batches) in other.tables {
            match self.tables.iter_mut().find(|(known, _)| *known == name) {
                Some((_, all)) => all.extend(batches),
                None => self.tables.push((name, batches)),
            }
        }
    }

    /// Deals the rows to `partitions` by key group; `partition_of(key_group, partitions)` says where a group goes.
    ///
    /// # Errors
    /// `Data` if a table does not begin with [`KEY_GROUP_COLUMN`].
    pub fn split(self, partitions: usize, partition_of: impl Fn(u16, usize) -> usize) -> Result<Vec<Self>> {
        if partitions == 1 {
            return Ok(vec![self]);
        }
        let mut dealt = vec![Self::default(); partitions];
        for (name, batches) in self.tables {
            for (partition, part) in dealt.iter_mut().enumerate() {
                let rows =
                    batches.iter().map(|batch| rows_of(batch, |group| partition_of(group, partitions) == partition));
                part.tables.push((name.clone(), rows.collect::<Result<_>>()?));
            }
        }
        Ok(dealt)
    }
}

/// The rows of a saved batch whose key group is wanted.
fn rows_of(batch: &RecordBatch, wanted: impl Fn(u16) -> bool) -> Result<RecordBatch> {
    let groups = batch.column_by_name(KEY_GROUP_COLUMN).and_then(|c| c.as_any().downcast_ref::<UInt16Array>());
    let groups = groups.ok_or_else(|| Error::data("saved state without a key group column"))?;
    let mask: BooleanArray = groups.values().iter().map(|group| Some(wanted(*group))).collect();
    Ok(filter_record_batch(batch, &mask)?)
}

/// First column of every saved batch: UInt16, not null, the row's key group ([`crate::state::key_group`]).
pub const KEY_GROUP_COLUMN: &str = "__key_group";

/// An incremental operator over one partition of its keys.
pub trait Operator: Send + std::fmt::Debug {
    /// Folds one tick's deltas into the state and returns the change of the answer.
    ///
    /// `inputs[i]`: the batches of input i this tick, any number, not consolidated; columns as the operator's
    /// constructor was told. Called once a tick, also with no input, because a watermark alone may close windows.
    /// The result has the columns of [`output_schema`](Self::output_schema), consolidated per key, any row order.
    ///
    /// # Errors
    /// `Data` for a value the operator cannot hold or a weight that would fall below zero; `Internal` for a bug. After an
    /// error the operator is not used again.
    fn step(&mut self, inputs: Vec<Vec<Delta>>, tick: &TickContext) -> Result<Vec<Delta>>;

    /// What could not be computed in the steps since this was last called, where the operator leaves such things out.
    fn take_failures(&mut self) -> Vec<Failure> {
        Vec::new()
    }

    /// The next tick time, µs, at which the answer changes though no input does; `None` if time alone changes nothing.
    fn due_micros(&self) -> Option<i64> {
        None
    }

    /// The output's columns, without the weight column.
    fn output_schema(&self) -> SchemaRef;

    /// The whole state as rows.
    ///
    /// # Errors
    /// `Internal` only.
    fn save(&mut self) -> Result<SavedState>;

    /// Takes rows saved by [`save`](Self::save), of this or of several partitions, into an empty operator.
    ///
    /// # Errors
    /// `Data` if the rows are not of this operator.
    fn restore(&mut self, state: SavedState) -> Result<()>;

    /// Bytes of state held, accounted rather than guessed.
    fn state_bytes(&self) -> usize;

    /// Keys (groups) of state held.
    fn state_keys(&self) -> usize;

    /// Keys whose state was looked up to be changed, over all steps so far; 0 for an operator that does not count them. One
    /// that does looks each of a step's keys up once, however many rows the key got.
    fn touched_keys(&self) -> u64 {
        0
    }

    /// The state by its parts ([`state_bound`]); together their bytes are [`state_bytes`](Self::state_bytes).
    fn held(&self) -> Vec<Held> {
        vec![Held::exactly(self.state_keys(), self.state_bytes())]
    }
}
