//! What a Top-N is told: its groups, their order, which ranks it answers with, and when.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};

use crate::error::{Error, Result};
use crate::operator::aggregate::Emit;

/// The first rows of each group of one input.
#[derive(Debug, Clone)]
pub struct TopNSpec {
    /// The input's columns, without the weight column.
    pub input: SchemaRef,
    /// The group's columns. With none there is one group, and exactly one partition may run the operator.
    pub keys: Vec<usize>,
    /// What rows of a group are ordered by; the other columns settle ties, in order, ascending, NULL last.
    pub order: Vec<(usize, SortOptions)>,
    /// How rows are numbered.
    pub rank: Rank,
    /// The first rank answered with; ranks begin at 1.
    pub from: u64,
    /// The last rank answered with; `None` for all.
    pub to: Option<u64>,
    /// The last output column, UInt64, if ranks are part of the answer.
    pub rank_column: Option<FieldRef>,
    /// Whether the input can retract.
    pub input_weighted: bool,
    /// The key column (a timestamp or a date) that [`closed_below`](crate::operator::TickContext::closed_below) speaks of.
    pub monotone_key: Option<usize>,
    /// When groups are answered.
    pub emit: Emit,
}

/// How rows of a group are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd)]
pub enum Rank {
    /// Every row has a number of its own.
    RowNumber,
    /// Rows that tie in the order have one number, and leave a gap behind.
    Rank,
    /// Rows that tie in the order have one number, without gaps.
    DenseRank,
}

impl Rank {
    /// Its name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::RowNumber => "row_number",
            Self::Rank => "rank",
            Self::DenseRank => "dense_rank",
        }
    }
}

impl TopNSpec {
    /// The output's columns: the input's, then the rank where it is asked for.
    pub fn output_schema(&self) -> SchemaRef {
        let fields = self.input.fields().iter().chain(&self.rank_column).cloned();
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// Whether one row a group is all that has to be kept.
    pub(super) fn keeps_one_row(&self) -> bool {
        !self.input_weighted && self.rank == Rank::RowNumber && (self.from, self.to) == (1, Some(1))
    }

    /// Checks what the types cannot say.
    pub(super) fn check(&self) -> Result<()> {
        let columns = self.input.fields().len();
        let named = self.keys.iter().chain(self.order.iter().map(|(column, _)| column)).chain(&self.monotone_key);
        if named.into_iter().any(|column| *column >= columns) {
            return Err(Error::internal("a Top-N names a column that its input does not have"));
        }
        if self.rank_column.as_ref().is_some_and(|field| *field.data_type() != DataType::UInt64) || self.from == 0 {
            return Err(Error::internal("a Top-N's ranks are numbers from 1 of type UInt64"));
        }
        if self.monotone_key.is_some_and(|key| !self.keys.contains(&key)) {
            return Err(Error::internal("a Top-N's monotone key is not among its keys"));
        }
        if self.emit == Emit::OnClose && (self.monotone_key.is_none() || self.input_weighted) {
            return Err(Error::internal("emit on close needs a monotone key and an append-only input"));
        }
        Ok(())
    }
}
