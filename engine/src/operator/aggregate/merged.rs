//! DataFusion aggregates over append-only input whose states merge: keep each group's state, not its rows.
//!
//! A tick's rows make partial states; those of the touched groups and their kept states go into a fresh accumulator, which
//! gives the new states. Evaluating an accumulator empties it, so the answer is read from another one.
//!
//! A state stands for its rows only while none of them goes: what a greatest value was the greatest of, it does not say. Inputs
//! that retract keep their rows instead ([`retained`](super::retained)).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, UInt32Array, new_empty_array};
use arrow::compute::take_arrays;
use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::answers::Answers;
use super::batch::TickBatch;
use super::call::{CallPlan, CallState, TouchedGroups};
use super::general::{accumulator, evaluate};
use super::hop::Expansion;
use crate::error::Result;
use crate::state::row_codec::RowCodec;
use crate::state::row_store::RowStore;
use crate::state::size::UnitBytes;

/// One call that keeps its accumulator's state.
pub(super) struct MergedState {
    name: String,
    expr: Arc<AggregateFunctionExpr>,
    has_keys: bool,
    output: DataType,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<usize>,
    codec: RowCodec,
    /// The state of each slot, its columns as one row.
    states: RowStore,
    partials: Option<Box<dyn GroupsAccumulator>>,
    /// The arguments of no rows.
    no_rows: Vec<ArrayRef>,
    /// None where groups are answered once, when they close.
    answers: Option<Answers>,
}

impl std::fmt::Debug for MergedState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MergedState").field("name", &self.name).field("expr", &self.expr).finish_non_exhaustive()
    }
}

impl MergedState {
    pub fn try_new(
        name: &str,
        expr: Arc<AggregateFunctionExpr>,
        filter: Option<usize>,
        input: &SchemaRef,
        has_keys: bool,
        answers_each_tick: bool,
    ) -> Result<Self> {
        let output = expr.field().data_type().clone();
        let codec = RowCodec::try_new(expr.state_fields()?.iter().map(|field| field.data_type().clone()).collect())?;
        let arguments = expr.expressions();
        let no_rows = arguments.iter().map(|argument| Ok(new_empty_array(&argument.data_type(input)?)));
        Ok(Self {
            name: name.to_owned(),
            has_keys,
            no_rows: no_rows.collect::<Result<_>>()?,
            arguments,
            filter,
            codec,
            states: RowStore::new(None),
            partials: None,
            answers: answers_each_tick.then(|| Answers::try_new(&output)).transpose()?,
            output,
            expr,
        })
    }

    /// Adds the kept states of `slots`, a group each, to an accumulator. Where not all slots have one, the accumulator must
    /// know all groups already: DataFusion's take a first batch without NULLs to have rows of every group.
    fn load(&self, slots: &[u32], into: &mut dyn GroupsAccumulator) -> Result<()> {
        let states = slots.iter().map(|slot| self.states.get(*slot)).enumerate();
        let (groups, states): (Vec<usize>, Vec<&[u8]>) = states.filter(|(_, state)| !state.is_empty()).unzip();
        if !groups.is_empty() {
            into.merge_batch(&self.codec.decode(states.into_iter())?, &groups, slots.len())?;
        }
        Ok(())
    }

    fn compute(&self, slots: &[u32]) -> Result<ArrayRef> {
        if slots.is_empty() {
            return Ok(new_empty_array(&self.output));
        }
        let mut loaded = accumulator(&self.expr, self.has_keys)?;
        self.load(slots, loaded.as_mut())?;
        let answers = loaded.evaluate(EmitTo::All)?;
        Ok(if *answers.data_type() == self.output { answers } else { arrow::compute::cast(&answers, &self.output)? })
    }
}

impl CallState for MergedState {
    fn fold(&mut self, batch: &TickBatch<'_>) -> Result<()> {
        let arguments = self.arguments.iter().map(|argument| evaluate(argument, batch.rows));
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        let filter = self.filter.map(|filter| BooleanArray::new(batch.filter(filter), None));
        let partials = match &mut self.partials {
            Some(partials) => partials,
            None => self.partials.insert(accumulator(&self.expr, self.has_keys)?),
        };
        Ok(partials.update_batch(&arguments, batch.groups, filter.as_ref(), batch.groups_total)?)
    }

    fn expand(&mut self, expansion: &Expansion) -> Result<()> {
        let Some(mut slices) = self.partials.take() else { return Ok(()) };
        let states = slices.state(EmitTo::All)?;
        let slices = states.first().map_or(0, |state| state.len());
        let pairs = (0..slices).flat_map(|slice| expansion.windows(slice).iter().map(move |window| (slice, *window)));
        let (parents, windows): (Vec<u32>, Vec<usize>) = pairs.map(|(s, w)| (s as u32, w as usize)).unzip();
        if windows.is_empty() {
            return Ok(());
        }
        let states = take_arrays(&states, &UInt32Array::from(parents), None)?;
        let mut partials = accumulator(&self.expr, self.has_keys)?;
        partials.merge_batch(&states, &windows, expansion.groups_total())?;
        self.partials = Some(partials);
        Ok(())
    }

    fn merge(&mut self, touched: &TouchedGroups<'_>, changed: &mut [bool]) -> Result<()> {
        let slots = touched.slots;
        if slots.is_empty() {
            return Ok(());
        }
        let mut partials = match self.partials.take() {
            Some(partials) => partials,
            None => {
                let mut none = accumulator(&self.expr, self.has_keys)?;
                none.update_batch(&self.no_rows, &[], None, slots.len())?;
                none
            }
        };
        let mut loaded = accumulator(&self.expr, self.has_keys)?;
        loaded.merge_batch(&partials.state(EmitTo::All)?, &(0..slots.len()).collect::<Vec<_>>(), slots.len())?;
        self.load(slots, loaded.as_mut())?;
        let states = self.codec.encode(&loaded.state(EmitTo::All)?, slots.len())?;
        slots.iter().zip(states.iter()).try_for_each(|(slot, state)| self.states.set(*slot, state.data()))?;
        if self.answers.is_some() {
            let computed = self.compute(slots)?;
            self.answers.as_mut().expect("checked above").replace(slots, &computed, changed)?;
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
        self.partials = None;
        self.answers.iter_mut().for_each(Answers::end_tick);
    }

    fn remove(&mut self, slots: &[u32]) {
        slots.iter().for_each(|slot| self.states.clear(*slot));
        self.answers.iter_mut().for_each(|answers| answers.remove(slots));
    }

    fn saved_columns(&self) -> Vec<FieldRef> {
        let states = self.codec.types().iter().enumerate();
        let states = states.map(|(i, t)| Field::new(format!("{}_state_{i}", self.name), t.clone(), true));
        let answer = Field::new(format!("{}_answer", self.name), self.output.clone(), true);
        states.chain(self.answers.iter().map(|_| answer.clone())).map(FieldRef::from).collect()
    }

    fn save_columns(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns = self.codec.decode(slots.iter().map(|slot| self.states.get(*slot)))?;
        if let Some(answers) = &self.answers {
            columns.push(answers.read(&[], slots)?);
        }
        Ok(columns)
    }

    fn restore_columns(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let (states, answer) = columns.split_at(self.codec.types().len());
        let states = self.codec.encode(states, slots.len())?;
        slots.iter().zip(states.iter()).try_for_each(|(slot, state)| self.states.set(*slot, state.data()))?;
        self.answers.iter_mut().zip(answer).try_for_each(|(answers, column)| answers.restore(slots, column))
    }

    fn bytes(&self) -> usize {
        self.states.bytes() + self.answers.as_ref().map_or(0, Answers::bytes)
    }

    fn bytes_each_group(&self) -> UnitBytes {
        let state = RowStore::bytes_each(None, self.codec.row_bytes());
        state + self.answers.as_ref().map(Answers::bytes_each).unwrap_or_default()
    }

    fn explain(&self) -> Vec<CallPlan> {
        vec![CallPlan { path: "merged state", cost: "touched groups", keeps: "one accumulator state" }]
    }
}
