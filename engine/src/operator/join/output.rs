//! The batches a join puts out.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow::compute::take;

use super::side::Side;
use super::spec::{JoinSpec, LEFT, RIGHT};
use crate::delta::{Delta, Weights};
use crate::error::{Error, Result};

/// Rows of one output batch, but for the last.
pub(super) const BATCH_ROWS: usize = 8 * 1024;

/// Collects rows into deltas.
#[derive(Debug)]
pub(super) struct Output<'a> {
    spec: &'a JoinSpec,
    deltas: &'a mut Vec<Delta>,
    retracts: bool,
    /// Rows of one side that wait to be put out alone: entries, whether they match, weights.
    waiting: (Vec<u32>, Vec<bool>, Vec<i64>),
}

impl<'a> Output<'a> {
    pub fn new(spec: &'a JoinSpec, deltas: &'a mut Vec<Delta>) -> Self {
        Self { spec, deltas, retracts: spec.retracts(), waiting: Default::default() }
    }

    /// Puts out pairs: their columns, and which of them count how much.
    pub fn pairs(&mut self, columns: Vec<ArrayRef>, rows: usize, counted: &[(u32, i64)]) -> Result<()> {
        if counted.is_empty() {
            return Ok(());
        }
        let mut indices = Vec::with_capacity(counted.len());
        let mut weights = Vec::with_capacity(counted.len());
        for (row, weight) in counted {
            self.repeat(*weight, |weight| {
                indices.push(*row);
                weights.push(weight);
            })?;
        }
        let all = indices.len() == rows && indices.iter().enumerate().all(|(place, row)| place == *row as usize);
        let indices = UInt32Array::from(indices);
        let taken = |column: &ArrayRef| if all { Ok(column.clone()) } else { Ok(take(column, &indices, None)?) };
        let columns = columns.iter().map(taken).collect::<Result<Vec<_>>>()?;
        self.push(columns, weights)
    }

    /// Puts out a row of `side` alone, sooner or later; [`finish_alone`](Self::finish_alone) ends the side.
    pub fn alone(&mut self, sides: &[Side; 2], side: usize, entry: u32, matched: bool, weight: i64) -> Result<()> {
        let mut waiting = std::mem::take(&mut self.waiting);
        self.repeat(weight, |weight| {
            waiting.0.push(entry);
            waiting.1.push(matched);
            waiting.2.push(weight);
        })?;
        self.waiting = waiting;
        if self.waiting.0.len() >= BATCH_ROWS { self.finish_alone(sides, side) } else { Ok(()) }
    }

    /// Puts out the rows of `side` that wait.
    pub fn finish_alone(&mut self, sides: &[Side; 2], side: usize) -> Result<()> {
        let (entries, matched, weights) = std::mem::take(&mut self.waiting);
        if entries.is_empty() {
            return Ok(());
        }
        let columns = sides[side].decode(&entries)?;
        self.put_alone(side, columns, &matched, weights)
    }

    /// Puts out rows of `side`, of which it is known without looking that they match nothing.
    pub fn unmatched(&mut self, side: usize, columns: &[ArrayRef], rows: &[u32], weights: Vec<i64>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let indices = UInt32Array::from(rows.to_vec());
        let columns = columns.iter().map(|column| Ok(take(column, &indices, None)?)).collect::<Result<_>>()?;
        self.put_alone(side, columns, &vec![false; rows.len()], weights)
    }

    fn put_alone(&mut self, side: usize, own: Vec<ArrayRef>, matched: &[bool], weights: Vec<i64>) -> Result<()> {
        let rows = weights.len();
        let nulls = |side: usize| {
            let columns = self.spec.inputs[side].columns().iter();
            columns.map(|field| new_null_array(field.data_type(), rows)).collect::<Vec<_>>()
        };
        let mut columns = own;
        if self.spec.pairs() {
            columns = match side {
                LEFT => columns.into_iter().chain(nulls(RIGHT)).collect(),
                _ => nulls(LEFT).into_iter().chain(columns).collect(),
            };
        } else if self.spec.marks() {
            columns.push(Arc::new(BooleanArray::from(matched.to_vec())));
        }
        self.push(columns, weights)
    }

    /// A weight as it is, or as so many rows of weight one where no row is ever retracted.
    fn repeat(&self, weight: i64, mut push: impl FnMut(i64)) -> Result<()> {
        match weight {
            0 => {}
            1 => push(1),
            weight if self.retracts => push(weight),
            weight if weight > 0 => (0..weight).for_each(|_| push(1)),
            _ => return Err(Error::internal("a join of inputs that only grow retracts a row")),
        }
        Ok(())
    }

    fn push(&mut self, columns: Vec<ArrayRef>, weights: Vec<i64>) -> Result<()> {
        let options = RecordBatchOptions::new().with_row_count(Some(weights.len()));
        let rows = RecordBatch::try_new_with_options(self.spec.output.clone(), columns, &options);
        let rows = rows.map_err(|e| Error::internal("a join's rows do not fit its output").with_source(e))?;
        let weights = if self.retracts { Weights::Signed(Int64Array::from(weights)) } else { Weights::Ones };
        self.deltas.push(Delta { rows, weights });
        Ok(())
    }
}
