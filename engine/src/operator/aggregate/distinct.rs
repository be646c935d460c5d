//! `count`, `sum` and `avg` of distinct values.
//!
//! Calls over the same arguments share one table of (group, value), which counts for each call how often its filter let the
//! value through. Only when that count leaves or reaches zero does the value enter or leave the call, and then an ordinary
//! kernel does the rest. Over append-only input a count is one bit: was it seen?

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, SchemaRef};

use super::batch::TickBatch;
use super::call::{CallPlan, CallState, KeptValues, TouchedGroups, retraction_without_insert};
use super::hop::Expansion;
use super::pending::PendingRows;
use crate::error::Result;
use crate::operator::state_bound::Held;
use crate::state::canonical::canonical_columns;
use crate::state::multiset::Multiset;
use crate::state::row_codec::RowCodec;
use crate::state::size::UnitBytes;

/// Calls that share a table have one bit each.
pub(super) const CALLS_MAX: usize = 63;

/// One call over distinct values.
#[derive(Debug)]
pub(super) struct DistinctCall {
    pub name: String,
    pub filter: Option<usize>,
    /// The kernel; its argument is column 0 of the distinct values.
    pub kernel: Box<dyn CallState>,
}

/// Calls over the distinct values of the same arguments.
#[derive(Debug)]
pub(super) struct DistinctState {
    arguments: Vec<usize>,
    schema: SchemaRef,
    codec: RowCodec,
    calls: Vec<DistinctCall>,
    weighted: bool,
    values: Multiset,
    pending: PendingRows,
}

/// Values that enter or leave a call: the tick group, the entry, +1 or -1.
#[derive(Debug, Default)]
struct Moves {
    groups: Vec<usize>,
    entries: Vec<u32>,
    weights: Vec<i64>,
}

impl DistinctState {
    /// `arguments` are columns of `input`.
    pub fn try_new(input: &SchemaRef, arguments: Vec<usize>, weighted: bool, calls: Vec<DistinctCall>) -> Result<Self> {
        let schema = Arc::new(input.project(&arguments)?);
        let codec = RowCodec::try_new(schema.fields().iter().map(|field| field.data_type().clone()).collect())?;
        let values = Multiset::new(if weighted { calls.len() } else { 1 }, codec.fixed_width());
        Ok(Self { arguments, schema, codec, calls, weighted, values, pending: PendingRows::default() })
    }

    /// Whether the value counts for `call`, by its table entry.
    fn present(&self, weights: &[i64], call: usize) -> bool {
        if self.weighted { weights[call] > 0 } else { weights[0] >> call & 1 == 1 }
    }

    fn count_pending(&mut self, touched: &TouchedGroups<'_>) -> Result<()> {
        for row in self.pending.rows() {
            let weights = self.values.touch(touched.slots[row.group as usize], row.bytes, row.group)?;
            for call in (0..self.calls.len()).filter(|call| row.selected(*call)) {
                if self.weighted {
                    weights[call] = weights[call].wrapping_add(row.weight);
                } else {
                    weights[0] |= 1 << call;
                }
            }
        }
        if self.weighted {
            for touched in self.values.touched() {
                if let Some(call) = self.values.weights(touched.entry).iter().position(|weight| *weight < 0) {
                    return Err(retraction_without_insert(&self.calls[call].name));
                }
            }
        }
        Ok(())
    }

    /// A value moves when it is there now and was not before the tick, or the other way round: the second copy of a value
    /// moves nothing, nor does a value that goes and comes back.
    fn moves(&self, call: usize) -> Moves {
        let mut moves = Moves::default();
        for (position, touched) in self.values.touched().iter().enumerate() {
            let before = self.present(self.values.earlier(position), call);
            let after = self.present(self.values.weights(touched.entry), call);
            if before != after {
                moves.groups.push(touched.tag as usize);
                moves.entries.push(touched.entry);
                moves.weights.push(if after { 1 } else { -1 });
            }
        }
        moves
    }

    fn values_of(&self, entries: &[u32]) -> Result<RecordBatch> {
        let columns = self.codec.decode(entries.iter().map(|entry| self.values.row(*entry)))?;
        let options = RecordBatchOptions::new().with_row_count(Some(entries.len()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

impl CallState for DistinctState {
    fn fold(&mut self, batch: &TickBatch<'_>) -> Result<()> {
        let columns: Vec<_> = self.arguments.iter().map(|argument| Arc::clone(batch.rows.column(*argument))).collect();
        let rows = self.codec.encode(&canonical_columns(&columns)?, batch.groups.len())?;
        let selections = self.calls.iter().map(|call| batch.selection(call.filter, &self.arguments)).collect();
        self.pending.push(batch, rows, selections);
        Ok(())
    }

    fn expand(&mut self, expansion: &Expansion) -> Result<()> {
        self.pending.expand(expansion);
        Ok(())
    }

    fn merge(&mut self, touched: &TouchedGroups<'_>, changed: &mut [bool]) -> Result<()> {
        self.count_pending(touched)?;
        for call in 0..self.calls.len() {
            let moves = self.moves(call);
            let rows = self.values_of(&moves.entries)?;
            let batch = TickBatch {
                rows: &rows,
                groups: &moves.groups,
                groups_total: touched.slots.len(),
                weights: Some(&moves.weights),
            };
            self.calls[call].kernel.fold(&batch)?;
            self.calls[call].kernel.merge(touched, changed)?;
        }
        self.values.settle();
        Ok(())
    }

    fn answers(&self, before: &[u32], slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let answers = self.calls.iter().map(|call| call.kernel.answers(before, slots));
        Ok(answers.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    fn end_tick(&mut self) {
        self.pending.clear();
        self.calls.iter_mut().for_each(|call| call.kernel.end_tick());
    }

    fn remove(&mut self, slots: &[u32]) {
        slots.iter().for_each(|slot| self.values.remove_owner(*slot));
        self.calls.iter_mut().for_each(|call| call.kernel.remove(slots));
    }

    fn saved_columns(&self) -> Vec<FieldRef> {
        Vec::new()
    }

    fn save_columns(&self, _: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(Vec::new())
    }

    // The kernels' cells follow from the values, so they are not saved; a group without values gets empty ones.
    fn restore_columns(&mut self, slots: &[u32], _: &[ArrayRef]) -> Result<()> {
        let slots_end = slots.iter().max().map_or(0, |slot| *slot as usize + 1);
        let touched = TouchedGroups { slots, rows: &vec![i64::MAX; slots.len()], slots_end };
        for call in &mut self.calls {
            call.kernel.merge(&touched, &mut vec![false; slots.len()])?;
            call.kernel.end_tick();
        }
        Ok(())
    }

    fn saved_rows(&self) -> Vec<FieldRef> {
        let prefix = &self.calls[0].name;
        let values = self.schema.fields().iter().enumerate();
        let values =
            values.map(|(i, field)| Field::new(format!("{prefix}_value_{i}"), field.data_type().clone(), true));
        let width = if self.weighted { self.calls.len() } else { 1 };
        let weights = (0..width).map(|i| Field::new(format!("{prefix}_weight_{i}"), DataType::Int64, false));
        values.chain(weights).map(FieldRef::from).collect()
    }

    fn save_rows(&self, slots: &[u32]) -> Result<(Vec<u32>, Vec<ArrayRef>)> {
        let entries = slots.iter().flat_map(|slot| self.values.entries(*slot).map(|entry| (*slot, entry)));
        let (owners, entries): (Vec<u32>, Vec<u32>) = entries.unzip();
        let mut columns = self.values_of(&entries)?.columns().to_vec();
        let width = if self.weighted { self.calls.len() } else { 1 };
        for weight in 0..width {
            let weights = entries.iter().map(|entry| self.values.weights(*entry)[weight]);
            columns.push(Arc::new(Int64Array::from_iter_values(weights)));
        }
        Ok((owners, columns))
    }

    fn restore_rows(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let (values, weights) = columns.split_at(self.arguments.len());
        let rows = self.codec.encode(values, slots.len())?;
        for (row, slot) in slots.iter().enumerate() {
            let restored = self.values.touch(*slot, rows.row(row).data(), row as u32)?;
            for (weight, column) in restored.iter_mut().zip(weights) {
                *weight = column.as_primitive::<Int64Type>().value(row);
            }
        }
        // Every row is a tick group of its own here; merging adds them up by slot.
        let slots_end = slots.iter().max().map_or(0, |slot| *slot as usize + 1);
        let touched = TouchedGroups { slots, rows: &vec![i64::MAX; slots.len()], slots_end };
        for call in 0..self.calls.len() {
            let moves = self.moves(call);
            let rows = self.values_of(&moves.entries)?;
            let batch = TickBatch {
                rows: &rows,
                groups: &moves.groups,
                groups_total: slots.len(),
                weights: Some(&moves.weights),
            };
            let kernel = &mut self.calls[call].kernel;
            kernel.fold(&batch)?;
            kernel.merge(&touched, &mut vec![false; slots.len()])?;
            kernel.end_tick();
        }
        self.values.settle();
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.values.bytes() + self.calls.iter().map(|call| call.kernel.bytes()).sum::<usize>()
    }

    fn bytes_each_group(&self) -> UnitBytes {
        self.calls.iter().map(|call| call.kernel.bytes_each_group()).sum()
    }

    fn kept_values(&self) -> Option<KeptValues> {
        let held = Held { units: self.values.len(), room: self.values.entries_end(), bytes: self.values.bytes() };
        let weights = if self.weighted { self.calls.len() } else { 1 };
        Some(KeptValues { unit: "a distinct value", bytes_each: Multiset::bytes_each(weights, &self.codec), held })
    }

    fn explain(&self) -> Vec<CallPlan> {
        let plan = CallPlan { path: "typed over distinct values", cost: "delta", keeps: "distinct values" };
        vec![plan; self.calls.len()]
    }
}
