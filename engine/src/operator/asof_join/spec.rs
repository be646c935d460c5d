//! What an ASOF join is told: its inputs' columns, which side of a row's time it looks to, which rows come out.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef, TimeUnit};

use crate::error::{Error, Result};
use crate::operator::aggregate::closing::times;

/// How the left row's time is to be to the right row's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd)]
pub enum Closest {
    /// `left >= right`: the last right row up to the left one.
    AtOrBefore,
    /// `left > right`: the last right row before it.
    Before,
    /// `left <= right`: the first right row from it on.
    AtOrAfter,
    /// `left < right`: the first right row after it.
    After,
}

impl Closest {
    /// True if the right row is one of those before.
    pub fn looks_back(self) -> bool {
        matches!(self, Self::AtOrBefore | Self::Before)
    }

    /// How it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::AtOrBefore => ">=",
            Self::Before => ">",
            Self::AtOrAfter => "<=",
            Self::After => "<",
        }
    }
}

/// An ASOF join: each left row with the right row of its keys that is closest to it in time.
#[derive(Debug, Clone)]
pub struct AsofJoinSpec {
    /// The columns of left and right: the keys, the time, and those that are put out. Of right rows with one time the first
    /// by the columns that are put out is taken, ascending, NULL last.
    pub inputs: [SchemaRef; 2],
    /// How many leading columns are keys. With none exactly one partition may run the operator.
    pub keys: usize,
    /// Which right row is the closest.
    pub closest: Closest,
    /// Whether left rows without a right one come out, with NULLs.
    pub outer: bool,
    /// The columns that are put out: left ones, then right ones.
    pub output: SchemaRef,
}

impl AsofJoinSpec {
    /// One line: what a tick costs, and what is kept.
    pub fn explain(&self, bounded: bool) -> String {
        let kept = match bounded && self.closest.looks_back() {
            true => "rows that a change to come can reach, bounded by both watermarks as keys change",
            false => "both sides' rows, bounded by its rows",
        };
        format!("asof join: cost: changed rows and left rows between a changed right row and the next, keeps: {kept}")
    }

    /// Checks what the types cannot say.
    pub(super) fn check(&self) -> Result<()> {
        for input in &self.inputs {
            let time = input.fields().get(self.keys).map(|field| field.data_type());
            if !time.is_some_and(is_supported) {
                return Err(Error::internal("an ASOF join's time is missing, or of a type it does not compare"));
            }
        }
        Ok(())
    }
}

/// True for the types an ASOF join compares.
pub fn is_supported(data_type: &DataType) -> bool {
    let is_fine = matches!(data_type, DataType::Timestamp(TimeUnit::Nanosecond, _));
    let is_time = matches!(data_type, DataType::Timestamp(..) | DataType::Date32);
    (is_time && !is_fine) || matches!(data_type, DataType::Int16 | DataType::Int32 | DataType::Int64)
}

/// The values of a time column as the watermark counts them, integers as they are.
pub(super) fn values(column: &ArrayRef) -> Result<Vec<Option<i64>>> {
    if !column.data_type().is_integer() {
        let there = |(row, time): (usize, i64)| column.is_valid(row).then_some(time);
        return Ok(times(column)?.into_iter().enumerate().map(there).collect());
    }
    let wide = cast(column, &DataType::Int64)?;
    Ok(wide.as_primitive::<Int64Type>().iter().collect())
}

/// Where a left row looks among the right ones, and where a right row is kept: chosen so that the right row of a left one is
/// always the last at or before its place. Looking back the place is the time. Looking forward it is the time's complement, which
/// turns the order round as a negation would, and every time has one: of the times after, the first is then the last before.
/// A strict comparison looks one unit earlier: `l > r` is `l - 1 >= r`. Before the first of all times there is nothing.
pub(super) fn placed(value: Option<i64>, closest: Closest, side: usize) -> Option<i64> {
    let turned = if closest.looks_back() { value? } else { !value? };
    let strict = side == 0 && matches!(closest, Closest::Before | Closest::After);
    turned.checked_sub(i64::from(strict))
}
