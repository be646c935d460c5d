//! `hop_starts(time, slide, size[, offset])`: the starts of all windows a time falls into.
//!
//! Windows begin at `offset + n * slide` after 1970-01-01 and are `size` long, half-open. With a size above the slide a
//! time is in several windows, with a size below it in one or none. A NULL time gives one NULL start, so that unnesting
//! keeps the row, as a tumbling window does. A start beyond the range of timestamps is the error 22008.

use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, FieldRef, TimestampMicrosecondType};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::window_list;

/// The function's name.
pub const NAME: &str = "hop_starts";
/// Its arguments.
const TAKES: &str = "a time, a slide, a size and an optional offset";

/// See the module.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct HopStarts {
    signature: Signature,
}

impl Default for HopStarts {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

/// Slide, size and offset, µs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hop {
    pub slide: i64,
    pub size: i64,
    pub offset: i64,
}

impl Hop {
    /// Calls `each` with the starts of `time`'s windows, ascending. `None` if one is beyond the range of 64 bits: it is not
    /// left out, for a row must not fall out of a window without a word.
    pub fn starts(&self, time: i64, mut each: impl FnMut(i64)) -> Option<()> {
        let (slide, size) = (i128::from(self.slide), i128::from(self.size));
        let since = i128::from(time) - i128::from(self.offset);
        let last = since.div_euclid(slide) * slide;
        // The first start above `since - size`.
        let mut start = (since - size).div_euclid(slide) * slide + slide;
        while start <= last {
            each(i64::try_from(start + i128::from(self.offset)).ok()?);
            start += slide;
        }
        Some(())
    }
}

impl ScalarUDFImpl for HopStarts {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        window_list::coerced(NAME, TAKES, arguments)
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(window_list::list_of(&arguments[0]))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(window_list::field(NAME, args.arg_fields[0].data_type()))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [time, lengths @ ..] = args.args.as_slice() else {
            return exec_err!("{NAME} takes {TAKES}");
        };
        let (slide, size, offset) = window_list::lengths(NAME, TAKES, lengths)?;
        if slide <= 0 || size <= 0 {
            return exec_err!("{NAME} needs a positive slide and size");
        }
        let times = time.to_array(args.number_rows)?;
        let Some(times) = times.as_primitive_opt::<TimestampMicrosecondType>() else {
            return exec_err!("{NAME} needs timestamps in microseconds, not {}", times.data_type());
        };
        Ok(ColumnarValue::Array(starts(times, Hop { slide, size, offset })?))
    }
}

fn starts(times: &TimestampMicrosecondArray, hop: Hop) -> Result<ArrayRef> {
    let per_row = usize::try_from(hop.size / hop.slide + 1).unwrap_or(1);
    window_list::lists(NAME, times, per_row, |time, starts| hop.starts(time, |start| starts.push(start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(hop: Hop, time: i64) -> Vec<i64> {
        let mut starts = Vec::new();
        hop.starts(time, |start| starts.push(start)).expect("in range");
        starts
    }

    #[test]
    fn a_time_is_in_every_window_that_covers_it() {
        for slide in 1..=7 {
            for size in 1..=15 {
                for offset in -3..=3 {
                    let hop = Hop { slide, size, offset };
                    for time in -40..40 {
                        let expected: Vec<i64> = (-100..100)
                            .map(|n| offset + n * slide)
                            .filter(|start| *start <= time && time < start + size)
                            .collect();
                        assert_eq!(all(hop, time), expected, "{hop:?} at {time}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let hop = Hop { slide: 10, size: 30, offset: 5 };
        assert_eq!(hop.starts(i64::MIN, |_| {}), None);
        assert_eq!(all(hop, i64::MAX).len(), 3);
    }

    #[test]
    fn a_null_time_keeps_its_row() {
        let times = TimestampMicrosecondArray::from(vec![Some(25), None, Some(-1)]);
        let lists = starts(&times, Hop { slide: 10, size: 20, offset: 0 }).expect("valid");
        let lists = lists.as_list::<i32>();
        let rows: Vec<Vec<Option<i64>>> = lists
            .iter()
            .map(|row| row.expect("never null").as_primitive::<TimestampMicrosecondType>().iter().collect())
            .collect();
        assert_eq!(rows, [vec![Some(10), Some(20)], vec![None], vec![Some(-20), Some(-10)]]);
    }
}
