//! What a temporal filter is told: its conditions, each a time of the row against a limit that moves with the clock.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};

use crate::error::{Error, Result};

/// A time that only goes forward as the tick's time does.
pub trait Limit: fmt::Debug + Send + Sync {
    /// The limit at a tick's time, in the unit of the column it is held against: µs for a timestamp of any unit, days for a
    /// date. Never smaller at a later time.
    ///
    /// # Errors
    /// `Data` if there is no such time.
    fn at(&self, now_micros: i64) -> Result<i64>;
}

/// How a row's time is to be to the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd)]
pub enum Comparison {
    /// `time > limit`: the row goes when the limit reaches its time.
    After,
    /// `time >= limit`: the row goes when the limit passes its time.
    AtOrAfter,
    /// `time < limit`: the row comes when the limit has passed its time.
    Before,
    /// `time <= limit`: the row comes when the limit reaches its time.
    AtOrBefore,
}

impl Comparison {
    /// The same with its sides the other way round: of `limit < time` it makes `time > limit`.
    #[must_use]
    pub fn turned(self) -> Self {
        match self {
            Self::After => Self::Before,
            Self::AtOrAfter => Self::AtOrBefore,
            Self::Before => Self::After,
            Self::AtOrBefore => Self::AtOrAfter,
        }
    }

    /// True if rows go, false if they come, as time passes.
    pub fn ends(self) -> bool {
        matches!(self, Self::After | Self::AtOrAfter)
    }
}

/// One condition. It does not hold of a NULL.
#[derive(Debug, Clone)]
pub struct Condition {
    /// The input column with the row's time.
    pub column: usize,
    /// How that is to be to the limit.
    pub comparison: Comparison,
    /// The limit.
    pub limit: Arc<dyn Limit>,
}

/// The rows of one input that meet all conditions.
#[derive(Debug, Clone)]
pub struct TemporalFilterSpec {
    /// The input's columns, without the weight column; the output has the same.
    pub input: SchemaRef,
    /// At least one.
    pub conditions: Vec<Condition>,
}

impl TemporalFilterSpec {
    /// The columns by which rows are dealt to partitions.
    pub fn partition_columns(&self) -> Vec<usize> {
        self.conditions.first().map(|condition| condition.column).into_iter().collect()
    }

    /// One line: what a tick costs, and what is kept.
    pub fn explain(&self) -> String {
        let ends = self.conditions.iter().any(|condition| condition.comparison.ends());
        let keeps = if ends { "rows until their time is over" } else { "rows until their time comes" };
        format!("temporal filter: cost: changed rows and those whose time comes or is over, keeps: {keeps}")
    }

    /// Checks what the types cannot say.
    pub(super) fn check(&self) -> Result<()> {
        let is_time = |condition: &Condition| {
            let field = self.input.fields().get(condition.column);
            field.is_some_and(|field| {
                matches!(field.data_type(), DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
            })
        };
        if self.conditions.is_empty() || !self.conditions.iter().all(is_time) {
            return Err(Error::internal("a temporal filter has no condition, or one on a column that is not a time"));
        }
        Ok(())
    }
}
