//! What a count window is told: its keys, its order, how many rows, when it answers.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef, TimeUnit};

use crate::error::{Error, Result};
use crate::operator::aggregate::Emit;

/// Windows of a number of rows over one append-only input whose time
/// [`closed_below`](crate::operator::TickContext::closed_below) speaks of.
#[derive(Debug, Clone)]
pub struct CountWindowSpec {
    /// The input's columns.
    pub input: SchemaRef,
    /// The columns by which rows are counted apart. With none there is one key, and exactly one partition may run the operator.
    pub keys: Vec<usize>,
    /// What rows of a key are ordered by, the time first: a column of timestamps in µs, ascending, never NULL. The columns
    /// not named settle ties.
    pub order: Vec<(usize, SortOptions)>,
    /// How many rows a window has, at least 1.
    pub rows: i64,
    /// The three columns that are added: the times of the window's first and last row, and its number.
    pub added: [FieldRef; 3],
    /// When rows are answered with.
    pub emit: Emit,
}

impl CountWindowSpec {
    /// The output's columns: the input's, then the window's.
    pub fn output_schema(&self) -> SchemaRef {
        let fields = self.input.fields().iter().chain(&self.added).cloned();
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// One line: when it emits, what a tick costs, and what is kept.
    pub fn explain(&self) -> String {
        let emit = if self.emit == Emit::OnClose { "on window close" } else { "on update" };
        let keeps = "a count for each key, the rows of windows that are not full or not behind the watermark";
        format!("count window: emit {emit}, input append-only, cost: touched keys, keeps: {keeps}")
    }

    /// The time's column.
    pub(super) fn time(&self) -> usize {
        self.order.first().map_or(0, |(time, _)| *time)
    }

    /// Checks what the types cannot say.
    pub(super) fn check(&self) -> Result<()> {
        let columns = self.input.fields().len();
        let mut named = self.keys.iter().chain(self.order.iter().map(|(column, _)| column));
        if self.order.is_empty() || named.any(|column| *column >= columns) {
            return Err(Error::internal("a count window names a column that its input does not have, or has no order"));
        }
        let time = self.input.field(self.time()).data_type();
        if !matches!(time, DataType::Timestamp(TimeUnit::Microsecond, _)) {
            return Err(Error::internal("a count window's time is not a timestamp in microseconds"));
        }
        let [start, end, number] = &self.added;
        if start.data_type() != time || end.data_type() != time || *number.data_type() != DataType::Int64 {
            return Err(Error::internal("a count window's columns are not of their types"));
        }
        if self.rows < 1 { Err(Error::internal("a count window without rows")) } else { Ok(()) }
    }
}
