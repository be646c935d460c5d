//! Joins of two inputs that both change.
//!
//! A tick takes in both deltas first and answers then, so what it puts out is its net change: a row that gets its first match
//! in the tick in which it comes is never seen with NULLs.
//!
//! ```text
//! left delta  ─┐  keys: slot, rows of either side under it     ┌─ pairs: l'·r' - l·r, past the residual ([`pairs`])
//!              ├─ rows: bytes under their slot, with weights  ─┤
//! right delta ─┘                                               └─ rows alone: by key or by number of matches ([`presence`])
//! ```
//!
//! Where keys alone decide and a side never comes out, only the number of its rows under each key is kept. Without keys all
//! rows lie under one slot. State is dropped by proof only: [`TickContext::matched_below`].
//!
//! # The rule
//! Rows come out in two ways, and each has its own difference between the old answer and the new one. Let `l` and `r` be how often
//! a left and a right row are there before the tick, `l'` and `r'` after it.
//!
//! - A **pair** that matches is `l·r` times in the old answer and `l'·r'` times in the new one. Only pairs of which one row
//!   changed can differ.
//! - A row **alone**, of an outer, semi, anti or mark join, is `l` times in the answer if it matches nothing (or something, as the
//!   kind has it), else not at all. That can differ if `l` did, or if the row begins or ceases to match.
//!
//! ```text
//! a LEFT JOIN b ON a.k = b.k            kept                      out
//! tick 1   a: +(1, 'x')                 a: (1, 'x')               +(1, 'x', NULL)
//! tick 2   b: +(1, 'y')                 and b: (1, 'y')           +(1, 'x', 'y')  -(1, 'x', NULL): it matches now
//! tick 3   b: -(1, 'y') +(1, 'z')       b: (1, 'z')               -(1, 'x', 'y') +(1, 'x', 'z'), and no NULLs in between
//! ```
//!
//! # What is kept
//! The rows of both sides under their keys, for a row that changes is held against all rows of its key on the other side. Where
//! rows come out alone, it also has to be known whether they match: where keys alone decide, by the number of rows on the other
//! side of the key; where a residual decides as well, each row counts the rows it matches. Rows that match nothing whatever comes
//! (their key is NULL) are answered at once and not kept.

mod absorb;
mod checkpoint;
mod drop;
mod explain;
mod keys;
mod output;
mod pairs;
mod past;
mod presence;
mod side;
mod spec;
#[cfg(test)]
mod tests;

use arrow::datatypes::SchemaRef;
pub use spec::{JoinInput, JoinSpec, NESTED_ROWS_MAX};

use self::keys::Keys;
use self::output::Output;
use self::pairs::PairVisitor;
use self::side::{Degrees, Side};
use self::spec::{LEFT, RIGHT};
use super::state_bound::Held;
use super::{Operator, SavedState, TickContext};
use crate::delta::Delta;
use crate::error::{Error, Result};
use crate::row_error::Failure;
use crate::state::row_codec::RowCodec;

/// A join.
#[derive(Debug)]
pub struct JoinOperator {
    spec: JoinSpec,
    pair_schema: SchemaRef,
    keys: Keys,
    sides: [Side; 2],
    /// For the sides whose rows know how many rows they match.
    degrees: [Option<Degrees>; 2],
    /// Rows on the right before this tick.
    right_total_before: i64,
    failures: Vec<Failure>,
}

impl JoinOperator {
    /// A join without input so far.
    ///
    /// # Errors
    /// `Internal` if `spec` contradicts itself; `Unsupported` if a column's type has no row format.
    pub fn try_new(spec: JoinSpec) -> Result<Self> {
        spec.check()?;
        // Where only one side's rows can go, equal rows of the other would let a pair come and go in one tick.
        let counted = spec.inputs.iter().any(|input| input.weighted);
        let side = |side: usize| {
            let types = spec.inputs[side].columns().iter().map(|field| field.data_type().clone());
            Ok::<_, Error>(Side::new(RowCodec::try_new(types.collect())?, counted))
        };
        let degrees = |side| spec.counts_matches(side).then(Degrees::default);
        Ok(Self {
            pair_schema: spec.pair_schema(),
            keys: Keys::new(RowCodec::try_new(spec.inputs[LEFT].key_types())?),
            sides: [side(LEFT)?, side(RIGHT)?],
            degrees: [degrees(LEFT), degrees(RIGHT)],
            right_total_before: 0,
            failures: Vec::new(),
            spec,
        })
    }

    /// Refuses to compare every row with every other once both sides are large.
    fn check_size(&self) -> Result<()> {
        if self.spec.inputs[LEFT].keys > 0 || !self.spec.visits_pairs() {
            return Ok(());
        }
        let smaller = self.sides[LEFT].rows.len().min(self.sides[RIGHT].rows.len());
        if smaller <= self.spec.nested_rows_max {
            return Ok(());
        }
        Err(Error::data(format!(
            "a join without an equality between its sides may hold {} rows on its smaller side, and now has \
             {smaller}: add an equality to its condition, or narrow one side",
            self.spec.nested_rows_max,
        )))
    }

    fn settle(&mut self) {
        for (side, degrees) in self.sides.iter_mut().zip(&mut self.degrees) {
            side.rows.settle();
            side.times.clear();
            degrees.iter_mut().for_each(Degrees::settle);
        }
        let sides = &self.sides;
        self.keys.settle(|slot| sides.iter().any(|side| side.has_rows(slot)));
    }
}

impl Operator for JoinOperator {
    fn step(&mut self, inputs: Vec<Vec<Delta>>, tick: &TickContext) -> Result<Vec<Delta>> {
        let [left, right]: [Vec<Delta>; 2] =
            inputs.try_into().map_err(|_| Error::internal("a join takes two inputs"))?;
        let mut deltas = Vec::new();
        self.right_total_before = self.sides[RIGHT].total;
        for (side, input) in [left, right].into_iter().enumerate() {
            for delta in input {
                self.absorb(side, &delta, &mut deltas)?;
            }
        }
        self.check_weights(tick)?;
        self.check_size()?;
        let spec = self.spec.clone();
        let mut output = Output::new(&spec, &mut deltas);
        if spec.visits_pairs() {
            let visitor = PairVisitor::new(&spec, &self.pair_schema, &self.sides, &mut self.degrees, &mut output);
            self.failures.extend(visitor.visit_all()?);
        }
        self.visit_presence(&mut output)?;
        if !self.spec.drops_keys() {
            self.sides.iter_mut().for_each(Side::note_times);
        }
        self.settle();
        if tick.evict {
            self.drop_past(tick);
        }
        Ok(deltas)
    }

    fn take_failures(&mut self) -> Vec<Failure> {
        std::mem::take(&mut self.failures)
    }

    fn output_schema(&self) -> SchemaRef {
        self.spec.output.clone()
    }

    fn save(&mut self) -> Result<SavedState> {
        self.save_tables()
    }

    fn restore(&mut self, state: SavedState) -> Result<()> {
        self.restore_tables(state)
    }

    fn state_bytes(&self) -> usize {
        let degrees: usize = self.degrees.iter().flatten().map(Degrees::bytes).sum();
        self.keys.bytes() + self.sides.iter().map(Side::bytes).sum::<usize>() + degrees
    }

    /// Rows kept, and keys of a side of which only numbers are.
    fn state_keys(&self) -> usize {
        let rows: usize = self.sides.iter().map(|side| side.rows.len()).sum();
        let counted = [LEFT, RIGHT].iter().any(|side| !self.spec.keeps_rows(*side));
        rows + if counted { self.keys.index.len() } else { 0 }
    }

    fn held(&self) -> Vec<Held> {
        self.held_parts()
    }
}
