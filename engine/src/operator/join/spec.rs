//! What a join is told: its kind, its inputs, how rows match, and what follows from that.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use datafusion::common::JoinType;
use datafusion::physical_expr::PhysicalExpr;

use crate::error::{Error, Result};

/// The left input's number.
pub(super) const LEFT: usize = 0;
/// The right input's number.
pub(super) const RIGHT: usize = 1;

/// How many rows the smaller side of a join without keys may hold unless told otherwise: each changed row of one side is
/// held against every row of the other.
pub const NESTED_ROWS_MAX: usize = 10_000;

/// A join of two inputs.
#[derive(Debug, Clone)]
pub struct JoinSpec {
    /// Which rows come out.
    pub kind: JoinType,
    /// Left and right.
    pub inputs: [JoinInput; 2],
    /// True if two NULL keys match, as for set operations; else a row with a NULL key matches nothing.
    pub nulls_match: bool,
    /// NOT IN: a left anti join of one key under SQL's three-valued logic. A NULL on the right leaves no row; a left row with
    /// a NULL key stays only while the right is empty. Exactly one partition may run it.
    pub null_aware: bool,
    /// What must also be true of a pair: a Boolean expression over the left columns, then the right ones.
    pub residual: Option<Arc<dyn PhysicalExpr>>,
    /// Whether a pair on which the residual fails counts as one of which it is not true, and is told as a failure, instead of
    /// failing the operator. The residual as its author knows it.
    pub leaves_out_failures: Option<String>,
    /// The output's columns, without the weight: of the left, of the right, or of both, and for mark joins the mark.
    pub output: SchemaRef,
    /// Rows that the smaller side may hold if there are no keys and pairs have to be looked at.
    pub nested_rows_max: usize,
}

/// One input of a join. Its columns: the keys, the time if `timed`, then those that are kept and put out.
#[derive(Debug, Clone)]
pub struct JoinInput {
    /// All columns, without the weight.
    pub schema: SchemaRef,
    /// How many leading columns are keys; on both sides the same number, of the same types.
    pub keys: usize,
    /// Whether a time follows the keys: a function of the other columns that
    /// [`matched_below`](crate::operator::TickContext::matched_below) is compared with. A NULL time is never below.
    pub timed: bool,
    /// Whether the input can retract.
    pub weighted: bool,
}

impl JoinInput {
    /// The columns that are kept.
    pub(super) fn columns(&self) -> &[FieldRef] {
        &self.schema.fields()[self.keys + usize::from(self.timed)..]
    }

    pub(super) fn key_types(&self) -> Vec<DataType> {
        self.schema.fields().iter().take(self.keys).map(|field| field.data_type().clone()).collect()
    }
}

/// Which rows of a side come out alone, besides pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Presence {
    /// Those that match something.
    pub matched: bool,
    /// Those that match nothing.
    pub unmatched: bool,
}

impl Presence {
    const NONE: Self = Self { matched: false, unmatched: false };
    const MATCHED: Self = Self { matched: true, unmatched: false };
    const UNMATCHED: Self = Self { matched: false, unmatched: true };
    const MARKED: Self = Self { matched: true, unmatched: true };

    pub fn any(self) -> bool {
        self != Self::NONE
    }
}

impl JoinSpec {
    /// True if rows that came out can be retracted.
    pub fn retracts(&self) -> bool {
        let grows = matches!(self.kind, JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi);
        !grows || self.inputs.iter().any(|input| input.weighted)
    }

    /// True if one partition must see all rows: there are no keys to deal them out by, or a NULL anywhere counts.
    pub fn is_single(&self) -> bool {
        self.null_aware || self.inputs[LEFT].keys == 0
    }

    /// True if pairs of rows come out.
    pub(super) fn pairs(&self) -> bool {
        matches!(self.kind, JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full)
    }

    /// True if rows come out with a mark that says whether they match.
    pub(super) fn marks(&self) -> bool {
        matches!(self.kind, JoinType::LeftMark | JoinType::RightMark)
    }

    pub(super) fn presence(&self, side: usize) -> Presence {
        match (self.kind, side) {
            (JoinType::Left | JoinType::Full | JoinType::LeftAnti, LEFT) => Presence::UNMATCHED,
            (JoinType::Right | JoinType::Full | JoinType::RightAnti, RIGHT) => Presence::UNMATCHED,
            (JoinType::LeftSemi, LEFT) | (JoinType::RightSemi, RIGHT) => Presence::MATCHED,
            (JoinType::LeftMark, LEFT) | (JoinType::RightMark, RIGHT) => Presence::MARKED,
            _ => Presence::NONE,
        }
    }

    /// True if pairs have to be looked at one by one.
    pub(super) fn visits_pairs(&self) -> bool {
        self.pairs() || self.residual.is_some()
    }

    /// True if the rows of a side are kept; else their number under each key is enough.
    pub(super) fn keeps_rows(&self, side: usize) -> bool {
        self.visits_pairs() || self.presence(side).any()
    }

    /// True if each row of the side knows how many rows it matches: keys alone do not tell.
    pub(super) fn counts_matches(&self, side: usize) -> bool {
        self.residual.is_some() && self.presence(side).any()
    }

    /// True if whether a row matches follows from its key. Then a key is dropped whole, once neither side can change under
    /// it; else rows are dropped one by one, each when the other side is past it.
    pub(super) fn drops_keys(&self) -> bool {
        self.residual.is_none() && (self.presence(LEFT).any() || self.presence(RIGHT).any())
    }

    /// The columns that pairs are made of.
    pub(super) fn pair_schema(&self) -> SchemaRef {
        let columns = self.inputs.iter().flat_map(JoinInput::columns);
        let nullable = columns.map(|field| FieldRef::new(field.as_ref().clone().with_nullable(true)));
        Arc::new(Schema::new(nullable.collect::<Vec<_>>()))
    }

    /// Checks what the types cannot say.
    pub(super) fn check(&self) -> Result<()> {
        let [left, right] = &self.inputs;
        if left.key_types() != right.key_types() {
            return Err(Error::internal("the keys of a join differ in number or type"));
        }
        if self.null_aware
            && (self.kind != JoinType::LeftAnti || left.keys != 1 || self.residual.is_some() || self.nulls_match)
        {
            return Err(Error::internal("only an anti join of one key and nothing else can be null-aware"));
        }
        if self.null_aware && (left.timed || right.timed) {
            return Err(Error::internal("a null-aware join drops nothing"));
        }
        if self.drops_keys() && left.timed != right.timed {
            return Err(Error::internal("a join by keys alone has one time for both sides"));
        }
        let kept = |side: usize| self.inputs[side].columns().len();
        let columns = match self.kind {
            _ if self.pairs() => kept(LEFT) + kept(RIGHT),
            _ if self.presence(LEFT).any() => kept(LEFT) + usize::from(self.marks()),
            _ => kept(RIGHT) + usize::from(self.marks()),
        };
        if columns != self.output.fields().len() {
            return Err(Error::internal("a join's output is not made of its inputs' columns"));
        }
        Ok(())
    }
}
