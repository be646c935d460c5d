//! Group aggregates: any call over any groups, answered as rows come and go.
//!
//! A tick touches each of its groups once, however many rows the group got:
//!
//! ```text
//! input batches -> interner: tick groups 0..n -> each call folds its partials -> (hop: slices become windows)
//!   -> key index: slots -> each call merges its partials into its state -> rows whose answer changed
//! ```
//!
//! How a call is computed is chosen once ([`build`](self::build)): by a kernel with one cell a group ([`typed`]), by ordered or
//! distinct values, by a DataFusion accumulator's state ([`merged`]), or by keeping the rows ([`retained`]).
//! In goes one input, out come the group's key columns and one column a call.
//!
//! # The rule
//! A tick changes the answer of no group but those its rows are in. Of each of these the old row and the new one are held
//! against each other: out come `-old` if the group was there and `+new` if it is, or nothing if both are there and equal.
//! Group by group, that is the new batch answer less the old one.
//!
//! ```text
//! SELECT k, count(*), max(v) … GROUP BY k      kept of k = 1       out
//! tick 1   +(1, 10)                            1 row;  10          +(1, 1, 10)
//! tick 2   +(1, 20) +(1, 3)                    3 rows; 3 10 20     -(1, 1, 10) +(1, 3, 20)
//! tick 3   +(1, 7) -(1, 7)                     3 rows; 3 10 20     nothing: what comes and goes in one tick was never there
//! tick 4   -(1, 20)                            2 rows; 3 10        -(1, 3, 20) +(1, 2, 10)
//! tick 5   -(1, 3) -(1, 10)                    no group            -(1, 2, 10)
//! ```
//!
//! # What is kept
//! Of each group the number of its rows, which says whether it is there, and of each call what its next answer follows from:
//!
//! - counts and sums: the total. Sums are exact, floats' too, so that a retraction takes away just what its insert added;
//! - `min` and `max`: the best value, where rows only come; every value, where they go as well, for the second best is the
//!   best when the best goes;
//! - DISTINCT: every value and how often it is there. It enters the call with its first row and leaves it with its last;
//! - any other function: the accumulator's state, where rows only come and states merge; else the rows it is computed of.
//!
//! The old row is what these gave last: a call holds on to it, or to the state it follows from, until the tick ends.
//!
//! # When groups go
//! A group without rows goes at once: it has no answer, and a row that comes later begins it anew. (Without GROUP BY there is one
//! group, which is there without rows, too.) A group whose monotone key is below
//! [`closed_below`](TickContext::closed_below) gets no row any more and loses none, so its state is never read again: it goes
//! after the tick in which it closes is answered. On update its row stays in the view; on close it is put out then, once.

mod answers;
mod batch;
mod build;
mod call;
mod checkpoint;
pub(crate) mod closing;
mod distinct;
mod explain;
mod general;
mod groups;
mod hop;
mod interner;
mod merged;
mod ordered;
mod pending;
mod retained;
mod spec;
#[cfg(test)]
mod tests;
mod typed;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, take};
use arrow::datatypes::{Schema, SchemaRef};
pub use spec::{AggregateCall, AggregateSpec, Emit, Function, HopKey, HopSpec};

use self::batch::TickBatch;
use self::build::{CallStates, call_states};
use self::call::TouchedGroups;
use self::groups::Groups;
use self::hop::{Hopper, timed_rows};
use self::interner::Interner;
use super::state_bound::Held;
use super::{Operator, SavedState, TickContext};
use crate::delta::{Delta, Weights};
use crate::error::{Error, ErrorKind, Result};
use crate::row_error::{Failure, row_json};
use crate::state::canonical::canonical_columns;

/// A group aggregate.
#[derive(Debug)]
pub struct AggregateOperator {
    spec: AggregateSpec,
    output: SchemaRef,
    interner: Interner,
    hopper: Option<Hopper>,
    groups: Groups,
    calls: CallStates,
    tick_rows: TickRows,
    failures: Vec<Failure>,
    touched_keys: u64,
}

/// What a tick's rows have come to so far.
#[derive(Debug, Default)]
struct TickRows {
    /// Tick group of each row of the batch at hand.
    ids: Vec<usize>,
    /// Sum of weights of each tick group.
    counts: Vec<i64>,
}

impl TickRows {
    fn bytes(&self) -> usize {
        self.ids.capacity() * size_of::<usize>()
    }
}

/// The tick's groups once they have slots.
#[derive(Debug)]
struct Touched {
    keys: Vec<ArrayRef>,
    slots: Vec<u32>,
    rows: Vec<i64>,
    /// Whether the group was there before, and is there now.
    was: Vec<bool>,
    is: Vec<bool>,
    /// Whether an answer differs from before.
    changed: Vec<bool>,
}

impl AggregateOperator {
    /// An aggregate without input so far.
    ///
    /// # Errors
    /// `Internal` if `spec` contradicts itself; `Unsupported` if a kept value's type has no row format; what DataFusion says
    /// if it refuses a call.
    pub fn try_new(spec: AggregateSpec) -> Result<Self> {
        spec.check()?;
        let keys = spec.output_keys();
        let hopper = spec.hop.clone().map(|hop| Hopper::try_new(hop, &keys)).transpose()?;
        Ok(Self {
            output: spec.output_schema(),
            interner: Interner::try_new(&spec.input.fields()[..spec.keys])?,
            hopper,
            groups: Groups::try_new(&keys, spec.monotone_key, spec.partition_keys())?,
            calls: call_states(&spec)?,
            tick_rows: TickRows::default(),
            failures: Vec::new(),
            touched_keys: 0,
            spec,
        })
    }

    /// Reads one delta: its rows' groups, and every call's partials.
    fn fold(&mut self, delta: Delta) -> Result<()> {
        let Some(Delta { rows, weights }) = self.countable(delta)? else { return Ok(()) };
        let weights = match &weights {
            Weights::Ones => None,
            Weights::Signed(weights) => Some(weights.values().as_ref()),
        };
        let keys = canonical_columns(&rows.columns()[..self.spec.keys])?;
        self.interner.intern(&keys, rows.num_rows(), &mut self.tick_rows.ids)?;
        let groups = &self.tick_rows.ids;
        let batch = TickBatch { rows: &rows, groups, groups_total: self.interner.len(), weights };
        let counts = &mut self.tick_rows.counts;
        counts.resize(batch.groups_total, 0);
        batch.each(None, |_, group, weight| counts[group] = counts[group].wrapping_add(weight));
        self.calls.iter_mut().try_for_each(|(call, _)| call.fold(&batch))
    }

    /// The rows of `delta` that count at all: of some weight, and in some window. `None` if there are none.
    fn countable(&self, delta: Delta) -> Result<Option<Delta>> {
        let mut delta = delta;
        if let Weights::Signed(weights) = &delta.weights {
            if !self.spec.input_weighted && weights.values().iter().any(|weight| *weight != 1) {
                return Err(Error::internal("a retraction reached an aggregate over append-only input"));
            }
            if weights.values().contains(&0) {
                let counted = BooleanArray::from_unary(weights, |weight| weight != 0);
                delta = filter_delta(&delta, &counted)?;
            }
        }
        if let Some(hop) = &self.spec.hop
            && let Some(timed) = timed_rows(delta.rows.column(hop.slice_key))
        {
            delta = filter_delta(&delta, &timed)?;
        }
        Ok(Some(delta).filter(|delta| !delta.is_empty()))
    }

    /// Gives the tick's groups their slots and folds their partials into the state.
    fn merge(&mut self) -> Result<Touched> {
        let mut keys = self.interner.finish()?;
        let mut counts = std::mem::take(&mut self.tick_rows.counts);
        if self.spec.keys == 0 {
            counts.resize(1, 0);
        }
        if let Some(hopper) = &mut self.hopper {
            let (expansion, windows) = hopper.expand(&keys)?;
            let mut window_counts = vec![0i64; expansion.groups_total()];
            for (slice, count) in counts.iter().enumerate() {
                for window in expansion.windows(slice) {
                    let sum = &mut window_counts[*window as usize];
                    *sum = sum.wrapping_add(*count);
                }
            }
            self.calls.iter_mut().try_for_each(|(call, _)| call.expand(&expansion))?;
            (keys, counts) = (windows, window_counts);
        }
        let mut touched = self.groups.touch(keys, counts)?;
        self.touched_keys += touched.slots.len() as u64;
        let context = TouchedGroups { slots: &touched.slots, rows: &touched.rows, slots_end: self.groups.slots_end() };
        for (call, _) in &mut self.calls {
            call.merge(&context, &mut touched.changed)?;
        }
        Ok(touched)
    }

    /// The change of the answer: rows that are no more, then rows that are new.
    fn changes(&mut self, touched: &Touched) -> Result<Option<Delta>> {
        let groups = 0..touched.slots.len() as u32;
        let differs = |g: &u32| touched.changed[*g as usize] || touched.was[*g as usize] != touched.is[*g as usize];
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for group in groups.filter(differs) {
            if touched.was[group as usize] {
                before.push(group);
            }
            if touched.is[group as usize] {
                after.push(group);
            }
        }
        if before.is_empty() && after.is_empty() {
            return Ok(None);
        }
        let slots_of = |groups: &[u32]| groups.iter().map(|group| touched.slots[*group as usize]).collect::<Vec<_>>();
        let rows = match self.rows(taken(&touched.keys, before.iter().chain(&after))?, &before, &slots_of(&after)) {
            Err(error) if self.leaves_out(&error) => {
                let mut failures = Vec::new();
                let fails = |groups: &[u32], slots: &[u32], group: &u32| {
                    self.failure(taken(&touched.keys, [group].into_iter())?, groups, slots)
                };
                retain(&mut before, -1, &mut failures, |group| fails(&[*group], &[], group))?;
                retain(&mut after, 1, &mut failures, |group| fails(&[], &[touched.slots[*group as usize]], group))?;
                self.failures.extend(failures);
                if before.is_empty() && after.is_empty() {
                    return Ok(None);
                }
                self.rows(taken(&touched.keys, before.iter().chain(&after))?, &before, &slots_of(&after))?
            }
            rows => rows?,
        };
        if before.is_empty() {
            return Ok(Some(Delta::inserts(rows)));
        }
        let weights = std::iter::repeat_n(-1, before.len()).chain(std::iter::repeat_n(1, after.len()));
        Ok(Some(Delta { rows, weights: Weights::Signed(Int64Array::from_iter_values(weights)) }))
    }

    /// Output rows of `keys`: with the answers that the tick groups `before` had, then with the present ones of `slots`.
    fn rows(&self, keys: Vec<ArrayRef>, before: &[u32], slots: &[u32]) -> Result<RecordBatch> {
        let mut columns = keys;
        let first = columns.len();
        columns.resize(first + self.spec.calls.len(), Arc::new(Int64Array::new_null(0)) as ArrayRef);
        for (call, answered) in &self.calls {
            for (index, answer) in answered.iter().zip(call.answers(before, slots)?) {
                columns[first + index] = answer;
            }
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(before.len() + slots.len()));
        let rows = RecordBatch::try_new_with_options(self.output.clone(), columns, &options);
        rows.map_err(|e| Error::internal("an aggregate's answers do not fit its output columns").with_source(e))
    }

    fn leaves_out(&self, error: &Error) -> bool {
        self.spec.leaves_out_failures.is_some() && error.kind() == ErrorKind::Data
    }

    /// Why there is no answer for one group, as it was before this tick (`before`) or as it is (`slots`), if there is none.
    fn failure(&self, keys: Vec<ArrayRef>, before: &[u32], slots: &[u32]) -> Result<Option<Failure>> {
        for (call, answered) in &self.calls {
            let cause = match call.answers(before, slots) {
                Err(cause) if self.leaves_out(&cause) => cause,
                answers => {
                    answers?;
                    continue;
                }
            };
            let names = answered.iter().map(|answer| self.output.field(keys.len() + answer).name().as_str());
            let expression = names.collect::<Vec<_>>().join(", ");
            let known = self.spec.leaves_out_failures.iter().flatten();
            let fields = self.output.fields().iter().zip(known);
            let fields: Vec<_> = fields.map(|(field, name)| field.as_ref().clone().with_name(name)).collect();
            let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(1));
            let row = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), keys, &options)?;
            return Ok(Some(Failure { expression, cause, row: row_json(&row, 0), weight: 1 }));
        }
        Ok(None)
    }

    /// Answers the groups that have become final.
    fn close(&mut self, tick: &TickContext) -> Result<Vec<Delta>> {
        let Some(end) = tick.closed_below else { return Ok(Vec::new()) };
        let slots = self.groups.take_final(end);
        if slots.is_empty() {
            return Ok(Vec::new());
        }
        let rows = match self.rows(self.groups.keys(&slots)?, &[], &slots) {
            Err(error) if self.leaves_out(&error) => {
                let (mut answered, mut failures) = (slots.clone(), Vec::new());
                retain(&mut answered, 1, &mut failures, |slot| {
                    self.failure(self.groups.keys(&[*slot])?, &[], &[*slot])
                })?;
                self.failures.extend(failures);
                self.rows(self.groups.keys(&answered)?, &[], &answered)?
            }
            rows => rows?,
        };
        if tick.evict {
            self.remove_final(&slots);
        } else {
            self.groups.mark_closed(&slots);
        }
        Ok(vec![Delta::inserts(rows)])
    }

    /// Drops groups that nothing can change any more.
    fn evict(&mut self, tick: &TickContext) {
        if let Some(end) = tick.closed_below.filter(|_| tick.evict) {
            let slots = self.groups.take_final(end);
            self.remove_final(&slots);
        }
    }

    fn remove_final(&mut self, slots: &[u32]) {
        self.calls.iter_mut().for_each(|(call, _)| call.remove(slots));
        self.groups.remove_final(slots);
    }

    fn remove(&mut self, slots: &[u32]) {
        self.calls.iter_mut().for_each(|(call, _)| call.remove(slots));
        self.groups.remove(slots);
    }
}

/// The rows of `keys` at `groups`.
fn taken<'a>(keys: &[ArrayRef], groups: impl Iterator<Item = &'a u32>) -> Result<Vec<ArrayRef>> {
    let groups = UInt32Array::from_iter_values(groups.copied());
    keys.iter().map(|key| Ok(take(key, &groups, None)?)).collect()
}

/// Drops the groups without an answer and notes why, with `weight`.
fn retain(
    groups: &mut Vec<u32>,
    weight: i64,
    failures: &mut Vec<Failure>,
    failure: impl Fn(&u32) -> Result<Option<Failure>>,
) -> Result<()> {
    let mut kept = Vec::with_capacity(groups.len());
    for group in groups.iter() {
        match failure(group)? {
            Some(found) => failures.push(Failure { weight, ..found }),
            None => kept.push(*group),
        }
    }
    *groups = kept;
    Ok(())
}

fn filter_delta(delta: &Delta, kept: &BooleanArray) -> Result<Delta> {
    let rows = filter_record_batch(&delta.rows, kept)?;
    let weights = match &delta.weights {
        Weights::Ones => Weights::Ones,
        Weights::Signed(weights) => {
            let kept = weights.values().iter().zip(kept.values()).filter(|(_, kept)| *kept);
            Weights::Signed(Int64Array::from_iter_values(kept.map(|(weight, _)| *weight)))
        }
    };
    Ok(Delta { rows, weights })
}

impl Operator for AggregateOperator {
    fn step(&mut self, inputs: Vec<Vec<Delta>>, tick: &TickContext) -> Result<Vec<Delta>> {
        for delta in inputs.into_iter().flatten() {
            self.fold(delta)?;
        }
        let touched = self.merge()?;
        // First the answers, then what goes: a group can get rows in the very tick that closes it, or lose its last ones.
        let changes = match self.spec.emit {
            Emit::OnUpdate => self.changes(&touched)?.into_iter().collect(),
            Emit::OnClose => Vec::new(),
        };
        self.calls.iter_mut().for_each(|(call, _)| call.end_tick());
        let gone = self.groups.settle(&touched);
        self.remove(&gone);
        let closed = match self.spec.emit {
            Emit::OnUpdate => {
                self.evict(tick);
                Vec::new()
            }
            Emit::OnClose => self.close(tick)?,
        };
        self.groups.advance(tick.closed_below);
        Ok(if self.spec.emit == Emit::OnUpdate { changes } else { closed })
    }

    fn take_failures(&mut self) -> Vec<Failure> {
        std::mem::take(&mut self.failures)
    }

    fn output_schema(&self) -> SchemaRef {
        self.output.clone()
    }

    fn save(&mut self) -> Result<SavedState> {
        self.save_tables()
    }

    fn restore(&mut self, state: SavedState) -> Result<()> {
        self.restore_tables(state)
    }

    fn state_bytes(&self) -> usize {
        self.groups.bytes()
            + self.interner.bytes()
            + self.hopper.as_ref().map_or(0, Hopper::bytes)
            + self.calls.iter().map(|(call, _)| call.bytes()).sum::<usize>()
            + self.tick_rows.bytes()
    }

    fn state_keys(&self) -> usize {
        self.groups.len()
    }

    fn touched_keys(&self) -> u64 {
        self.touched_keys
    }

    fn held(&self) -> Vec<Held> {
        self.held_parts()
    }
}
