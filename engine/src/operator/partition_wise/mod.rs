//! Any function over partitions, kept up by computing touched partitions again: OVER with whatever frame and function.
//!
//! The rows of each partition key are kept as a multiset. A tick's touched partitions, as they were and as they are, go
//! through one run each of a DataFusion plan that partitions by the key itself ([`BatchPlan`]); the difference of the two
//! answers is what the tick changes. The old answer is computed, not kept: it is a function of the old rows, and the plan
//! settles every tie, so it comes out as it did before.
//!
//! A function over partitions sees no row of another partition. So the answer for all rows is the answers of all partitions side
//! by side, and those of untouched ones are the same before and after. Of a touched one most rows may be the same too: equal
//! rows of both answers cancel.
//!
//! ```text
//! sum(v) OVER (PARTITION BY k ORDER BY v)      rows of k = 1     answer                  out
//! tick 1   +(1, 5) +(1, 9)                     5 9               (1,5,5) (1,9,14)        both
//! tick 2   +(1, 7)                             5 7 9             (1,5,5) (1,7,12) (1,9,21)   -(1,9,14) +(1,7,12) +(1,9,21)
//! ```
//! All rows of a partition are kept, for any frame may look at any of them. They go with the partition: when it is empty, or when
//! its monotone key is below [`closed_below`](TickContext::closed_below), and no row of it comes or goes any more. A partition
//! without a monotone key is never final.

mod batch_plan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
pub use batch_plan::BatchPlan;

use super::aggregate::Emit;
use super::keyed::{Keys, SavedRow, retraction_without_insert, save_rows, saved_rows, unexpected_retraction};
use super::row_layout::RowLayout;
use super::state_bound::{Growth, Held, StateBound, StatePart};
use super::{Operator, SavedState, TickContext};
use crate::delta::{Delta, Weights};
use crate::error::{Error, ErrorKind, Result};
use crate::row_error::{Failure, row_json};
use crate::state::multiset::Multiset;
use crate::state::row_codec::RowCodec;

/// A function over the partitions of one input.
#[derive(Debug, Clone)]
pub struct PartitionWiseSpec {
    /// The input's columns, without the weight column.
    pub input: SchemaRef,
    /// The output's columns.
    pub output: SchemaRef,
    /// The partition's columns. With none there is one partition, and exactly one operator may run.
    pub keys: Vec<usize>,
    /// Whether the input can retract.
    pub input_weighted: bool,
    /// The key column (a timestamp or a date) that [`closed_below`](crate::operator::TickContext::closed_below) speaks of.
    pub monotone_key: Option<usize>,
    /// When partitions are answered.
    pub emit: Emit,
    /// What is computed, for EXPLAIN.
    pub computes: Vec<String>,
    /// Whether a partition on which the plan fails goes without an answer and is told as a failure, instead of failing the operator.
    pub leaves_out_failures: bool,
}

impl PartitionWiseSpec {
    /// One line: when it emits, what a tick costs, and what is kept; then one for each thing computed.
    pub fn explain(&self) -> String {
        let emit = if self.emit == Emit::OnClose { "on window close" } else { "on update" };
        let input = if self.input_weighted { "retracting" } else { "append-only" };
        let (cost, rows) = match (self.monotone_key, self.keys.as_slice()) {
            (Some(_), _) => ("touched partitions", "open windows"),
            (None, []) => ("whole state", "the one partition"),
            (None, _) => ("touched partitions", "partitions"),
        };
        let mut text = format!("partition-wise: emit {emit}, input {input}, cost: {cost}, keeps: input rows of {rows}");
        self.computes
            .iter()
            .for_each(|call| text.push_str(&format!("\n  {call}: computed again over touched partitions")));
        text
    }

    fn check(&self) -> Result<()> {
        let columns = self.input.fields().len();
        if self.keys.iter().any(|key| *key >= columns) {
            return Err(Error::internal("a partition-wise operator names a column that its input does not have"));
        }
        if self.monotone_key.is_some_and(|key| !self.keys.contains(&key)) {
            return Err(Error::internal("a monotone key is not among the partition's keys"));
        }
        if self.emit == Emit::OnClose && (self.monotone_key.is_none() || self.input_weighted) {
            return Err(Error::internal("emit on close needs a monotone key and an append-only input"));
        }
        Ok(())
    }
}

/// Keeps the rows of partitions and answers by computing them again.
#[derive(Debug)]
pub struct PartitionWiseOperator {
    spec: PartitionWiseSpec,
    plan: BatchPlan,
    layout: RowLayout,
    output_codec: RowCodec,
    keys: Keys,
    rows: Multiset,
    failures: Vec<Failure>,
}

/// A kept row, how often it is there, and its partition.
type Kept<'a> = (u32, &'a [u8], i64);

impl PartitionWiseOperator {
    /// What is kept where the input's rows grow like `input`: partitions and all their rows.
    pub fn state_bound(&self, input: Growth) -> StateBound {
        let (ended, single) = (self.spec.monotone_key.is_some(), self.spec.keys.is_empty());
        let growth = input.ended(ended);
        let (partitions, rows) = match (ended, single) {
            (true, _) => ("partitions of open windows", "input rows of open windows"),
            (false, true) => ("1", "input rows"),
            (false, false) => ("partitions", "input rows"),
        };
        let of_partitions = if single { Growth::Constant } else { growth };
        let parts = vec![
            StatePart::new("a partition", partitions, of_partitions, self.keys.bytes_each()),
            StatePart::new("a row", rows, growth, Multiset::bytes_each(1, self.layout.codec())),
        ];
        StateBound { parts, output: input }
    }

    /// An operator without input so far, that computes with `plan`.
    ///
    /// # Errors
    /// `Internal` if `spec` contradicts itself; `Unsupported` if a column's type has no row format.
    pub fn try_new(spec: PartitionWiseSpec, plan: BatchPlan) -> Result<Self> {
        spec.check()?;
        let layout = RowLayout::try_new(&spec.input, &spec.keys, &[])?;
        let fields: Vec<_> = spec.keys.iter().map(|key| spec.input.fields()[*key].clone()).collect();
        let monotone = spec.monotone_key.and_then(|column| spec.keys.iter().position(|key| *key == column));
        Ok(Self {
            keys: Keys::try_new(&fields, monotone)?,
            rows: Multiset::new(1, layout.fixed_width()),
            output_codec: RowCodec::try_new(spec.output.fields().iter().map(|f| f.data_type().clone()).collect())?,
            layout,
            plan,
            failures: Vec::new(),
            spec,
        })
    }

    fn fold(&mut self, delta: &Delta) -> Result<()> {
        let columns = delta.rows.columns();
        let slots = self.keys.slots(&self.layout.keys(columns), delta.num_rows())?;
        let encoded = self.layout.encode(columns, delta.num_rows(), false)?;
        for (row, slot) in slots.into_iter().enumerate() {
            let weight = delta.weight(row);
            if !self.spec.input_weighted && weight != 1 {
                return Err(unexpected_retraction());
            }
            let sum = &mut self.rows.touch(slot, encoded.row(row), slot)?[0];
            *sum = sum.wrapping_add(weight);
        }
        Ok(())
    }

    /// The partitions this tick touched, ascending, and the weights that touched rows had before.
    fn touched(&self) -> Result<(Vec<u32>, HashMap<u32, i64>)> {
        let (mut slots, mut earlier) = (BTreeSet::new(), HashMap::new());
        for (position, touched) in self.rows.touched().iter().enumerate() {
            let (before, now) = (self.rows.earlier(position)[0], self.rows.weights(touched.entry)[0]);
            if now < 0 {
                return Err(retraction_without_insert());
            }
            earlier.insert(touched.entry, before);
            slots.insert(touched.tag);
        }
        Ok((slots.into_iter().collect(), earlier))
    }

    /// The rows of `slots`, each partition's in one order whatever its history; `weight` says how often an entry counts.
    fn kept<'a>(&'a self, slots: &[u32], weight: impl Fn(u32) -> i64) -> Vec<Kept<'a>> {
        let mut rows = Vec::new();
        for slot in slots {
            let first = rows.len();
            let entries = self.rows.entries(*slot).map(|entry| (*slot, self.rows.row(entry), weight(entry)));
            rows.extend(entries.filter(|(_, _, weight)| *weight != 0));
            rows[first..].sort_unstable();
        }
        rows
    }

    /// The plan's answer for the partitions that consist of `rows`.
    fn answer<'a>(&self, rows: &[Kept<'a>]) -> Result<Vec<RecordBatch>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let copies = |(slot, row, weight): &Kept<'a>| std::iter::repeat_n((*slot, *row), (*weight).max(0) as usize);
        let all: Vec<(u32, &[u8])> = rows.iter().flat_map(copies).collect();
        let columns = self.layout.decode(&self.keys, all.iter().map(|(s, _)| *s), all.iter().map(|(_, row)| *row))?;
        let options = RecordBatchOptions::new().with_row_count(Some(all.len()));
        let input = RecordBatch::try_new_with_options(self.spec.input.clone(), columns, &options)?;
        let batches = self.plan.run(input)?;
        batches.into_iter().map(|batch| self.typed(batch)).collect()
    }

    /// [`answer`](Self::answer) for the partitions on which the plan does not fail; those on which it does are noted with
    /// `weight`.
    fn answers<'a>(&self, rows: &[Kept<'a>], weight: i64, failures: &mut Vec<Failure>) -> Result<Vec<RecordBatch>> {
        let is_left_out = |error: &Error| self.spec.leaves_out_failures && error.kind() == ErrorKind::Data;
        match self.answer(rows) {
            Err(error) if is_left_out(&error) => {}
            answer => return answer,
        }
        let mut answers = Vec::new();
        for partition in rows.chunk_by(|(one, _, _), (other, _, _)| one == other) {
            match self.answer(partition) {
                Err(cause) if is_left_out(&cause) => {
                    let keys = self.layout.decode(
                        &self.keys,
                        std::iter::once(partition[0].0),
                        std::iter::once(partition[0].1),
                    )?;
                    let options = RecordBatchOptions::new().with_row_count(Some(1));
                    let row = RecordBatch::try_new_with_options(self.spec.input.clone(), keys, &options)?;
                    let row = row.project(&self.spec.keys)?;
                    let expression = self.spec.computes.join(", ");
                    failures.push(Failure { expression, cause, row: row_json(&row, 0), weight });
                }
                answer => answers.extend(answer?),
            }
        }
        Ok(answers)
    }

    /// A batch of the plan under the output's own schema.
    fn typed(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let typed = RecordBatch::try_new_with_options(self.spec.output.clone(), batch.columns().to_vec(), &options);
        typed.map_err(|e| Error::internal("a partition's answer does not fit its output columns").with_source(e))
    }

    /// What leads from one answer to another.
    fn difference(&self, before: &[RecordBatch], after: &[RecordBatch]) -> Result<Option<Delta>> {
        let all = concat_batches(&self.spec.output, before.iter().chain(after))?;
        let retracted: usize = before.iter().map(RecordBatch::num_rows).sum();
        let encoded = self.output_codec.encode(all.columns(), all.num_rows())?;
        // For each different row: where it is, and the sum of its weights.
        let mut sums: HashMap<&[u8], (u32, i64)> = HashMap::with_capacity(all.num_rows());
        let encoded: Vec<&[u8]> = (0..all.num_rows()).map(|row| encoded.row(row).data()).collect();
        for (row, bytes) in encoded.iter().enumerate() {
            sums.entry(bytes).or_insert((row as u32, 0)).1 += if row < retracted { -1 } else { 1 };
        }
        let mut changed: Vec<(u32, i64)> = sums.into_values().filter(|(_, weight)| *weight != 0).collect();
        if changed.is_empty() {
            return Ok(None);
        }
        changed.sort_unstable();
        let rows = take_record_batch(&all, &UInt32Array::from_iter_values(changed.iter().map(|(row, _)| *row)))?;
        let weights = Int64Array::from_iter_values(changed.iter().map(|(_, weight)| *weight));
        Ok(Some(Delta { rows, weights: Weights::Signed(weights) }))
    }

    fn remove(&mut self, slots: &[u32]) {
        for slot in slots {
            self.rows.remove_owner(*slot);
            self.keys.remove(*slot);
        }
    }
}

impl Operator for PartitionWiseOperator {
    fn step(&mut self, inputs: Vec<Vec<Delta>>, tick: &TickContext) -> Result<Vec<Delta>> {
        for delta in inputs.iter().flatten() {
            self.fold(delta)?;
        }
        let (slots, earlier) = self.touched()?;
        let now = |entry: u32| self.rows.weights(entry)[0];
        let mut deltas: Vec<Delta> = Vec::new();
        if self.spec.emit == Emit::OnUpdate && !slots.is_empty() {
            let mut failures = Vec::new();
            // Rows that are gone still have their entries until the tick is settled, so what was can be read beside what is.
            let then = |entry: u32| earlier.get(&entry).copied().unwrap_or_else(|| now(entry));
            let before = self.answers(&self.kept(&slots, then), -1, &mut failures)?;
            let after = self.answers(&self.kept(&slots, now), 1, &mut failures)?;
            deltas.extend(self.difference(&before, &after)?);
            self.failures.extend(failures);
        }
        self.rows.settle();
        let end = tick.closed_below.filter(|_| self.spec.monotone_key.is_some());
        let closes = self.spec.emit == Emit::OnClose;
        let finished = match end {
            Some(end) if closes || tick.evict => self.keys.take_final(end),
            _ => Vec::new(),
        };
        if closes {
            let weight = |entry: u32| self.rows.weights(entry)[0];
            let mut failures = Vec::new();
            let answers = self.answers(&self.kept(&finished, weight), 1, &mut failures)?;
            deltas.extend(answers.into_iter().map(Delta::inserts));
            self.failures.extend(failures);
        }
        if tick.evict {
            self.remove(&finished);
        } else {
            self.keys.mark_closed(&finished);
        }
        let finished: BTreeSet<u32> = finished.into_iter().filter(|_| tick.evict).collect();
        let is_empty = |slot: &u32| !finished.contains(slot) && self.rows.entries(*slot).next().is_none();
        let empty: Vec<u32> = slots.into_iter().filter(is_empty).collect();
        self.remove(&empty);
        self.keys.advance(end);
        Ok(deltas)
    }

    fn take_failures(&mut self) -> Vec<Failure> {
        std::mem::take(&mut self.failures)
    }

    fn output_schema(&self) -> SchemaRef {
        Arc::clone(&self.spec.output)
    }

    fn save(&mut self) -> Result<SavedState> {
        let live = self.keys.live();
        let kept = self.kept(&live, |entry| self.rows.weights(entry)[0]);
        let saved: Vec<SavedRow> = kept
            .iter()
            .map(|(slot, _, weight)| SavedRow { slot: *slot, weight: *weight, closed: self.keys.is_closed(*slot) })
            .collect();
        let columns = |range: std::ops::Range<usize>| {
            let of = &kept[range];
            self.layout.decode(&self.keys, of.iter().map(|(slot, _, _)| *slot), of.iter().map(|(_, row, _)| *row))
        };
        save_rows(&self.spec.keys, &self.spec.input, &saved, columns)
    }

    fn restore(&mut self, state: SavedState) -> Result<()> {
        for saved in saved_rows(state, &self.spec.input)? {
            let slots = self.keys.restore(&self.layout.keys(&saved.columns), &saved.closed)?;
            let encoded = self.layout.encode(&saved.columns, slots.len(), false)?;
            for (row, slot) in slots.into_iter().enumerate() {
                self.rows.touch(slot, encoded.row(row), slot)?[0] += saved.weights.value(row);
            }
        }
        self.rows.settle();
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.keys.bytes() + self.rows.bytes()
    }

    fn state_keys(&self) -> usize {
        self.keys.len()
    }

    fn held(&self) -> Vec<Held> {
        let (rows, room, bytes) = (self.rows.len(), self.rows.entries_end(), self.rows.bytes());
        vec![
            Held { units: self.keys.len(), room: self.keys.len_max(), bytes: self.keys.bytes() },
            Held { units: rows, room, bytes },
        ]
    }
}
