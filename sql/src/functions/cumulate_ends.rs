//! `cumulate_ends(time, step, size[, offset])`: the ends of all cumulating windows a time falls into.
//!
//! Windows begin at `offset + n * size` after 1970-01-01; those of one start end 1, 2, … steps later, the last one after
//! `size`. A time is in every window of its start that ends after it. A NULL time gives one NULL end, so that unnesting
//! keeps the row, as a tumbling window does. An end beyond the range of timestamps is the error 22008.

use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, FieldRef, TimestampMicrosecondType};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::window_list;

/// The function's name.
pub const NAME: &str = "cumulate_ends";
/// Its arguments.
const TAKES: &str = "a time, a step, a size and an optional offset";

/// See the module.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct CumulateEnds {
    signature: Signature,
}

impl Default for CumulateEnds {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

/// Step, size and offset, µs; the size is a multiple of the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cumulate {
    step: i64,
    size: i64,
    offset: i64,
}

impl Cumulate {
    /// Appends the ends of `time`'s windows, ascending. `None` if one is beyond the range of 64 bits.
    fn ends(self, time: i64, ends: &mut Vec<i64>) -> Option<()> {
        let (step, size, offset) = (i128::from(self.step), i128::from(self.size), i128::from(self.offset));
        let since = i128::from(time) - offset;
        let last = since.div_euclid(size) * size + size;
        let mut end = since.div_euclid(step) * step + step;
        while end <= last {
            ends.push(i64::try_from(end + offset).ok()?);
            end += step;
        }
        Some(())
    }
}

impl ScalarUDFImpl for CumulateEnds {
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
        let (step, size, offset) = window_list::lengths(NAME, TAKES, lengths)?;
        if step <= 0 || size <= 0 || size % step != 0 {
            return exec_err!("{NAME} needs a positive step and a size that is a multiple of it");
        }
        let times = time.to_array(args.number_rows)?;
        let Some(times) = times.as_primitive_opt::<TimestampMicrosecondType>() else {
            return exec_err!("{NAME} needs timestamps in microseconds, not {}", times.data_type());
        };
        Ok(ColumnarValue::Array(ends(times, Cumulate { step, size, offset })?))
    }
}

fn ends(times: &TimestampMicrosecondArray, cumulate: Cumulate) -> Result<ArrayRef> {
    let per_row = usize::try_from(cumulate.size / cumulate.step).unwrap_or(1);
    window_list::lists(NAME, times, per_row, |time, ends| cumulate.ends(time, ends))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_every_window_that_has_begun_and_not_ended() {
        for (step, size) in [(1, 1), (1, 4), (2, 6), (5, 5), (3, 12)] {
            for offset in -3..=3 {
                for time in -40..40 {
                    let mut found = Vec::new();
                    Cumulate { step, size, offset }.ends(time, &mut found).expect("in range");
                    let windows = (-50..50).flat_map(|n| {
                        let start = offset + n * size;
                        (1..=size / step).map(move |steps| (start, start + steps * step))
                    });
                    let holding = windows.filter(|(start, end)| (*start..*end).contains(&time));
                    let expected: Vec<i64> = holding.map(|(_, end)| end).collect();
                    assert_eq!(found, expected, "{time}: step {step}, size {size}, offset {offset}");
                }
            }
        }
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let cumulate = Cumulate { step: 10, size: 30, offset: 5 };
        assert_eq!(cumulate.ends(i64::MAX, &mut Vec::new()), None);
        assert_eq!(cumulate.ends(i64::MIN, &mut Vec::new()), Some(()));
    }

    #[test]
    fn a_null_time_keeps_its_row() {
        let times = TimestampMicrosecondArray::from(vec![Some(25), None]);
        let lists = ends(&times, Cumulate { step: 10, size: 20, offset: 0 }).expect("valid");
        let lists = lists.as_list::<i32>();
        let rows: Vec<Vec<Option<i64>>> = lists
            .iter()
            .map(|row| row.expect("never null").as_primitive::<TimestampMicrosecondType>().iter().collect())
            .collect();
        assert_eq!(rows, [vec![Some(30), Some(40)], vec![None]]);
    }
}
