//! What a session operator is told: its keys, its time, the gap, when it answers.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef, TimeUnit};

use crate::error::{Error, Result};
use crate::operator::aggregate::Emit;

/// Sessions of one input.
#[derive(Debug, Clone)]
pub struct SessionSpec {
    /// The input's columns, without the weight column.
    pub input: SchemaRef,
    /// The columns by which sessions are kept apart. With none there is one key, and exactly one partition may run the
    /// operator.
    pub keys: Vec<usize>,
    /// The time, a column of timestamps in µs.
    pub time: usize,
    /// How far apart two rows of a session may follow each other, µs, at least 0.
    pub gap_micros: i64,
    /// The two columns that are added: the first row's time, and the last row's time plus the gap. Of the time's type.
    pub bounds: [FieldRef; 2],
    /// Whether the input can retract.
    pub input_weighted: bool,
    /// Whether [`closed_below`](crate::operator::TickContext::closed_below) speaks of the time.
    pub time_is_bounded: bool,
    /// When rows are answered with.
    pub emit: Emit,
}

impl SessionSpec {
    /// The output's columns: the input's, then the session's bounds.
    pub fn output_schema(&self) -> SchemaRef {
        let fields = self.input.fields().iter().chain(&self.bounds).cloned();
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// One line: when it emits, what a tick costs, and what is kept.
    pub fn explain(&self) -> String {
        let emit = if self.emit == Emit::OnClose { "on window close" } else { "on update" };
        let input = if self.input_weighted { "retracting" } else { "append-only" };
        let keeps = if self.time_is_bounded { "the rows of open sessions" } else { "all rows" };
        format!("session: emit {emit}, input {input}, cost: sessions whose bounds move, keeps: {keeps}")
    }

    /// Checks what the types cannot say.
    pub(super) fn check(&self) -> Result<()> {
        let columns = self.input.fields().len();
        if self.keys.iter().chain([&self.time]).any(|column| *column >= columns) {
            return Err(Error::internal("a session names a column that its input does not have"));
        }
        let time = self.input.field(self.time).data_type();
        if !matches!(time, DataType::Timestamp(TimeUnit::Microsecond, _)) {
            return Err(Error::internal("a session's time is not a timestamp in microseconds"));
        }
        if self.bounds.iter().any(|field| field.data_type() != time) || self.gap_micros < 0 {
            return Err(Error::internal("a session's bounds are not of its time's type, or its gap is negative"));
        }
        if self.emit == Emit::OnClose && (!self.time_is_bounded || self.input_weighted) {
            return Err(Error::internal("emit on close needs a bounded time and an append-only input"));
        }
        Ok(())
    }
}
