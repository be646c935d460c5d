//! Which pairs of rows a tick makes, unmakes or changes in number.
//!
//! With `x` before and `x'` after the tick, the change of a pair's weight is `l'·r' - l·r`. Only pairs with a changed row
//! can change: every changed left row is held against all right rows of its key, every changed right row against the left
//! rows that did not change. So each pair is looked at once, and what a tick makes and unmakes again never shows.
//!
//! All of the tick's rows are in the state by then, so there is no product of two deltas to add or to take away: `l'·r' - l·r` has
//! it in. Of `l = 0, l' = 1` and `r = 0, r' = 1` the pair comes once, though it was found from neither old side.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;

use super::output::{BATCH_ROWS, Output};
use super::side::{Degrees, Side};
use super::spec::{JoinSpec, LEFT, RIGHT};
use crate::error::{Error, ErrorKind, Result};
use crate::row_error::{Failure, row_json};

/// Looks at pairs in batches.
pub(super) struct PairVisitor<'a, 'o> {
    spec: &'a JoinSpec,
    schema: &'a SchemaRef,
    sides: &'a [Side; 2],
    degrees: &'a mut [Option<Degrees>; 2],
    output: &'a mut Output<'o>,
    left: Vec<u32>,
    right: Vec<u32>,
    failures: Vec<Failure>,
}

impl<'a, 'o> PairVisitor<'a, 'o> {
    pub fn new(
        spec: &'a JoinSpec,
        schema: &'a SchemaRef,
        sides: &'a [Side; 2],
        degrees: &'a mut [Option<Degrees>; 2],
        output: &'a mut Output<'o>,
    ) -> Self {
        let failures = Vec::new();
        Self { spec, schema, sides, degrees, output, left: Vec::new(), right: Vec::new(), failures }
    }

    /// Visits every pair that the tick may have changed: puts out its change, and counts it for its rows. Returns what changed
    /// of the pairs on which the residual fails.
    pub fn visit_all(mut self) -> Result<Vec<Failure>> {
        for (side, degrees) in self.degrees.iter_mut().enumerate() {
            let Some(degrees) = degrees else { continue };
            degrees.grow(self.sides[side].rows.entries_end());
            let new = self.sides[side].changed().filter(|row| self.sides[side].weight_before(row.entry) == 0);
            new.for_each(|row| degrees.set(row.entry, 0));
        }
        let [left, right] = self.sides;
        for changed in left.changed() {
            for other in right.rows.entries(left.rows.owner(changed.entry)) {
                self.visit(changed.entry, other)?;
            }
        }
        for changed in right.changed() {
            for other in left.rows.entries(right.rows.owner(changed.entry)) {
                if !left.has_changed(other) {
                    self.visit(other, changed.entry)?;
                }
            }
        }
        self.flush()?;
        Ok(self.failures)
    }

    fn visit(&mut self, left: u32, right: u32) -> Result<()> {
        let (before, now) = self.weights(left, right);
        // A pair that was not there and is not there now is not looked at: the residual may fail on it. One that is there as
        // often as before is, if there is a residual: from `l = 1, r = 2` to `l' = 2, r' = 1` the pair stays two times, but
        // either row matches another number of rows.
        let visible = if self.spec.residual.is_some() { before != 0 || now != 0 } else { before != now };
        if visible {
            self.left.push(left);
            self.right.push(right);
            if self.left.len() >= BATCH_ROWS {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn weights(&self, left: u32, right: u32) -> (i64, i64) {
        let [l, r] = self.sides;
        let before = l.weight_before(left).wrapping_mul(r.weight_before(right));
        (before, l.weight(left).wrapping_mul(r.weight(right)))
    }

    fn flush(&mut self) -> Result<()> {
        let (left, right) = (std::mem::take(&mut self.left), std::mem::take(&mut self.right));
        let rows = left.len();
        if rows == 0 {
            return Ok(());
        }
        let mut columns = self.sides[LEFT].decode(&left)?;
        columns.extend(self.sides[RIGHT].decode(&right)?);
        let matching = self.matching(&columns, (&left, &right))?;
        let mut counted = Vec::with_capacity(rows);
        for row in (0..rows).filter(|row| matching.as_ref().is_none_or(|matching| matching[*row])) {
            let (before, now) = self.weights(left[row], right[row]);
            if before != now {
                counted.push((row as u32, now.wrapping_sub(before)));
            }
            self.count_match(LEFT, left[row], right[row]);
            self.count_match(RIGHT, right[row], left[row]);
        }
        if self.spec.pairs() { self.output.pairs(columns, rows, &counted) } else { Ok(()) }
    }

    /// Counts the change of `other`, which matches, for the row `entry` of `side`.
    fn count_match(&mut self, side: usize, entry: u32, other: u32) {
        let Some(degrees) = &mut self.degrees[side] else { return };
        let others = &self.sides[1 - side];
        // A row that was not there counts what there is now; one that was has counted the rest before. A row that was dropped
        // and is now retracted was not there either: it counts anew, which tells whether it has to be taken back alone.
        let known = if self.sides[side].weight_before(entry) == 0 { 0 } else { others.weight_before(other) };
        let change = others.weight(other).wrapping_sub(known);
        if change != 0 {
            degrees.add(entry, change);
        }
    }

    /// Of which pairs the residual is true; `None` if there is none.
    fn matching(&mut self, columns: &[ArrayRef], (left, right): (&[u32], &[u32])) -> Result<Option<Vec<bool>>> {
        let Some(residual) = &self.spec.residual else { return Ok(None) };
        let options = RecordBatchOptions::new().with_row_count(Some(left.len()));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns.to_vec(), &options)?;
        let Some(text) = &self.spec.leaves_out_failures else { return evaluate(residual, &batch).map(Some) };
        let (mut matching, mut failed) = (Vec::with_capacity(left.len()), Vec::new());
        evaluate_each(residual, &batch, &mut matching, &mut failed)?;
        for (pair, cause) in failed {
            let (before, now) = self.weights(left[pair], right[pair]);
            if before != now {
                let row = row_json(&batch, pair);
                self.failures.push(Failure { expression: text.clone(), cause, row, weight: now.wrapping_sub(before) });
            }
        }
        Ok(Some(matching))
    }
}

/// Of which pairs the residual is true.
fn evaluate(residual: &Arc<dyn PhysicalExpr>, pairs: &RecordBatch) -> Result<Vec<bool>> {
    let matching = residual.evaluate(pairs)?.into_array(pairs.num_rows())?;
    let matching = matching.as_boolean_opt().ok_or_else(|| Error::internal("a join's residual is not Boolean"))?;
    Ok(matching.iter().map(|matching| matching == Some(true)).collect())
}

/// As [`evaluate`], appended to `matching`; pairs on which the residual fails do not match and go to `failed`.
fn evaluate_each(
    residual: &Arc<dyn PhysicalExpr>,
    pairs: &RecordBatch,
    matching: &mut Vec<bool>,
    failed: &mut Vec<(usize, Error)>,
) -> Result<()> {
    match evaluate(residual, pairs) {
        Ok(found) => matching.extend(found),
        Err(cause) if cause.kind() != ErrorKind::Data => return Err(cause),
        Err(cause) if pairs.num_rows() <= 1 => {
            failed.push((matching.len(), cause));
            matching.push(false);
        }
        Err(_) => {
            let half = pairs.num_rows() / 2;
            evaluate_each(residual, &pairs.slice(0, half), matching, failed)?;
            evaluate_each(residual, &pairs.slice(half, pairs.num_rows() - half), matching, failed)?;
        }
    }
    Ok(())
}
