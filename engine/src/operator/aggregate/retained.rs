//! Any DataFusion aggregate over any input: keep each group's argument rows, and for touched groups run the accumulator again.
//!
//! Rows are fed in one order (the call's ORDER BY, ties broken by the arguments), so an answer is a function of the multiset of
//! rows. DataFusion's own retraction is not used: for several functions it assumes that rows leave in the order they came.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, new_empty_array};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::answers::Answers;
use super::batch::TickBatch;
use super::call::{CallPlan, CallState, KeptValues, TouchedGroups, retraction_without_insert};
use super::general::KeptColumns;
use super::hop::Expansion;
use super::pending::PendingRows;
use crate::error::{Error, Result};
use crate::operator::state_bound::Held;
use crate::state::canonical::canonical_columns;
use crate::state::multiset::Multiset;
use crate::state::row_codec::RowCodec;
use crate::state::size::UnitBytes;

/// Groups are evaluated together until they have this many rows, to bound what is decoded at once.
const ROWS_AT_ONCE: usize = 32 << 10;

/// One call that keeps its rows.
#[derive(Debug)]
pub(super) struct RetainedState {
    name: String,
    expr: Arc<AggregateFunctionExpr>,
    output: DataType,
    filter: Option<usize>,
    kept: KeptColumns,
    codec: RowCodec,
    rows: Multiset,
    pending: PendingRows,
    /// None where groups are answered once, when they close: then nothing is computed before.
    answers: Option<Answers>,
}

impl RetainedState {
    pub fn try_new(
        name: &str,
        expr: Arc<AggregateFunctionExpr>,
        filter: Option<usize>,
        input: &SchemaRef,
        answers_each_tick: bool,
    ) -> Result<Self> {
        let kept = KeptColumns::new(&expr);
        let codec = RowCodec::try_ordered(kept.types(input)?)?;
        // Rows will come sorted, so the accumulator need not sort them again, and keeps our order among ties.
        let expr = match expr.order_bys() {
            [] => expr,
            _ => Arc::clone(&expr).with_beneficial_ordering(true)?.map_or(expr, Arc::new),
        };
        let output = expr.field().data_type().clone();
        Ok(Self {
            name: name.to_owned(),
            filter,
            kept,
            rows: Multiset::new(1, codec.fixed_width()),
            codec,
            pending: PendingRows::default(),
            answers: answers_each_tick.then(|| Answers::try_new(&output)).transpose()?,
            output,
            expr,
        })
    }

    /// The answers of `slots`, from their rows.
    fn compute(&self, slots: &[u32]) -> Result<ArrayRef> {
        let mut answers = Vec::with_capacity(slots.len());
        let mut rows: Vec<&[u8]> = Vec::new();
        let mut ends = Vec::new();
        for (index, slot) in slots.iter().enumerate() {
            self.append_rows(*slot, &mut rows)?;
            ends.push(rows.len());
            if rows.len() >= ROWS_AT_ONCE || index + 1 == slots.len() {
                self.run(&rows, &ends, &mut answers)?;
                rows.clear();
                ends.clear();
            }
        }
        if answers.is_empty() {
            return Ok(new_empty_array(&self.output));
        }
        let answers = ScalarValue::iter_to_array(answers)?;
        Ok(if *answers.data_type() == self.output { answers } else { arrow::compute::cast(&answers, &self.output)? })
    }

    /// Appends the rows of a slot in order, each as often as it is there.
    fn append_rows<'a>(&'a self, slot: u32, rows: &mut Vec<&'a [u8]>) -> Result<()> {
        let mut entries: Vec<(&[u8], i64)> =
            self.rows.entries(slot).map(|entry| (self.rows.row(entry), self.rows.weights(entry)[0])).collect();
        entries.sort_unstable();
        for (row, weight) in entries {
            let times = if self.expr.is_distinct() { 1 } else { weight };
            let times = usize::try_from(times).ok().filter(|times| rows.len() + times <= u32::MAX as usize);
            let times = times.ok_or_else(|| Error::data(format!("{}: a group has too many rows", self.name)))?;
            rows.extend(std::iter::repeat_n(row, times));
        }
        Ok(())
    }

    fn run(&self, rows: &[&[u8]], ends: &[usize], answers: &mut Vec<ScalarValue>) -> Result<()> {
        let kept = self.codec.decode(rows.iter().copied())?;
        let arguments = self.kept.arguments(&kept, rows.len())?;
        let mut start = 0;
        for end in ends {
            let mut accumulator = self.expr.create_accumulator()?;
            if start < *end {
                let group: Vec<_> = arguments.iter().map(|column| column.slice(start, end - start)).collect();
                accumulator.update_batch(&group)?;
            }
            answers.push(accumulator.evaluate()?);
            start = *end;
        }
        Ok(())
    }
}

impl CallState for RetainedState {
    fn fold(&mut self, batch: &TickBatch<'_>) -> Result<()> {
        let mut columns = self.kept.evaluate(batch.rows)?;
        if self.expr.is_distinct() {
            columns = canonical_columns(&columns)?;
        }
        let rows = self.codec.encode(&columns, batch.groups.len())?;
        self.pending.push(batch, rows, vec![batch.selection(self.filter, &[])]);
        Ok(())
    }

    fn expand(&mut self, expansion: &Expansion) -> Result<()> {
        self.pending.expand(expansion);
        Ok(())
    }

    fn merge(&mut self, touched: &TouchedGroups<'_>, changed: &mut [bool]) -> Result<()> {
        for row in self.pending.rows() {
            let weights = self.rows.touch(touched.slots[row.group as usize], row.bytes, row.group)?;
            weights[0] = weights[0].wrapping_add(row.weight);
        }
        if self.rows.touched().iter().any(|touched| self.rows.weights(touched.entry)[0] < 0) {
            return Err(retraction_without_insert(&self.name));
        }
        self.rows.settle();
        if self.answers.is_some() {
            let computed = self.compute(touched.slots)?;
            let answers = self.answers.as_mut().expect("checked above");
            answers.replace(touched.slots, &computed, changed)?;
        }
        Ok(())
    }

    fn answers(&self, before: &[u32], slots: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![match &self.answers {
            Some(answers) => answers.read(before, slots)?,
            None => self.compute(slots)?,
        }])
    }

    fn end_tick(&mut self) {
        self.pending.clear();
        self.answers.iter_mut().for_each(Answers::end_tick);
    }

    fn remove(&mut self, slots: &[u32]) {
        slots.iter().for_each(|slot| self.rows.remove_owner(*slot));
        self.answers.iter_mut().for_each(|answers| answers.remove(slots));
    }

    fn saved_columns(&self) -> Vec<FieldRef> {
        let answer = Field::new(format!("{}_answer", self.name), self.output.clone(), true);
        self.answers.iter().map(|_| answer.clone().into()).collect()
    }

    fn save_columns(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        self.answers.iter().map(|answers| answers.read(&[], slots)).collect()
    }

    fn restore_columns(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        self.answers.iter_mut().zip(columns).try_for_each(|(answers, column)| answers.restore(slots, column))
    }

    fn saved_rows(&self) -> Vec<FieldRef> {
        let columns = self.codec.types().iter().enumerate();
        let columns = columns.map(|(i, t)| Field::new(format!("{}_value_{i}", self.name), t.clone(), true));
        let weight = Field::new(format!("{}_weight", self.name), DataType::Int64, false);
        columns.chain([weight]).map(FieldRef::from).collect()
    }

    fn save_rows(&self, slots: &[u32]) -> Result<(Vec<u32>, Vec<ArrayRef>)> {
        let entries = slots.iter().flat_map(|slot| self.rows.entries(*slot).map(|entry| (*slot, entry)));
        let (owners, entries): (Vec<u32>, Vec<u32>) = entries.unzip();
        let mut columns = self.codec.decode(entries.iter().map(|entry| self.rows.row(*entry)))?;
        let weights = entries.iter().map(|entry| self.rows.weights(*entry)[0]);
        columns.push(Arc::new(Int64Array::from_iter_values(weights)));
        Ok((owners, columns))
    }

    fn restore_rows(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let (weights, values) = columns.split_last().ok_or_else(|| Error::data("saved rows without weights"))?;
        let (rows, weights) = (self.codec.encode(values, slots.len())?, weights.as_primitive::<Int64Type>());
        for (row, slot) in slots.iter().enumerate() {
            self.rows.touch(*slot, rows.row(row).data(), 0)?[0] += weights.value(row);
        }
        self.rows.settle();
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.rows.bytes() + self.answers.as_ref().map_or(0, Answers::bytes)
    }

    fn bytes_each_group(&self) -> UnitBytes {
        self.answers.as_ref().map(Answers::bytes_each).unwrap_or_default()
    }

    fn kept_values(&self) -> Option<KeptValues> {
        let held = Held { units: self.rows.len(), room: self.rows.entries_end(), bytes: self.rows.bytes() };
        Some(KeptValues { unit: "an input row", bytes_each: Multiset::bytes_each(1, &self.codec), held })
    }

    fn explain(&self) -> Vec<CallPlan> {
        vec![CallPlan { path: "retained rows", cost: "touched groups", keeps: "input rows" }]
    }
}
