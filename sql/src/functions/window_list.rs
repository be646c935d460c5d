//! Lists of instants, one list for each time: the windows a time falls into, before they are unnested.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, TimestampMicrosecondArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::ColumnarValue;

use super::date_bin;

/// The list type of instants like `time`.
pub(super) fn list_of(time: &DataType) -> DataType {
    DataType::List(item(time))
}

/// The field of a function's lists: never NULL itself.
pub(super) fn field(name: &str, time: &DataType) -> FieldRef {
    Arc::new(Field::new(name, list_of(time), false))
}

fn item(time: &DataType) -> FieldRef {
    Arc::new(Field::new_list_field(time.clone(), true))
}

/// What the arguments of `name(time, length, size[, offset])` are cast to; `takes` lists them in words.
///
/// # Errors
/// A planning error for a wrong number of arguments, or a first one that is no time.
pub(super) fn coerced(name: &str, takes: &str, arguments: &[DataType]) -> Result<Vec<DataType>> {
    if !(3..=4).contains(&arguments.len()) {
        return plan_err!("{name} takes {takes}");
    }
    let zone = match &arguments[0] {
        DataType::Timestamp(_, zone) => zone.clone(),
        DataType::Date32 | DataType::Null => None,
        other => return plan_err!("{name} needs a timestamp, not {other}"),
    };
    let mut types = vec![DataType::Timestamp(TimeUnit::Microsecond, zone)];
    types.resize(arguments.len(), DataType::Interval(IntervalUnit::MonthDayNano));
    Ok(types)
}

/// The constants behind the time, µs: two lengths, and the offset or 0.
///
/// # Errors
/// An execution error for another number of them, and for lengths that vary.
pub(super) fn lengths(name: &str, takes: &str, arguments: &[ColumnarValue]) -> Result<(i64, i64, i64)> {
    let micros = |length: &ColumnarValue| match length {
        ColumnarValue::Scalar(ScalarValue::IntervalMonthDayNano(Some(interval))) if interval.months == 0 => {
            Ok(i64::from(interval.days) * 86_400_000_000 + interval.nanoseconds / 1_000)
        }
        _ => exec_err!("{name} needs constant lengths without months"),
    };
    match arguments.iter().map(micros).collect::<Result<Vec<_>>>()?.as_slice() {
        [step, size] => Ok((*step, *size, 0)),
        [step, size, offset] => Ok((*step, *size, *offset)),
        _ => exec_err!("{name} takes {takes}"),
    }
}

/// A list for each time: what `windows` appends for it, or one NULL for a NULL time, so that unnesting keeps the row. About
/// `per_row` instants are expected for each.
///
/// # Errors
/// 22008 where `windows` gives `None`: an instant is beyond the range of timestamps.
pub(super) fn lists(
    name: &str,
    times: &TimestampMicrosecondArray,
    per_row: usize,
    mut windows: impl FnMut(i64, &mut Vec<i64>) -> Option<()>,
) -> Result<ArrayRef> {
    let mut values = Vec::with_capacity(times.len().saturating_mul(per_row.min(16)));
    let mut valid = Vec::new();
    let mut offsets = Vec::with_capacity(times.len() + 1);
    offsets.push(0_i32);
    for time in times {
        match time {
            Some(time) => windows(time, &mut values).ok_or_else(date_bin::out_of_range)?,
            None => {
                valid.resize(values.len(), true);
                values.push(0);
                valid.push(false);
            }
        }
        let Ok(end) = i32::try_from(values.len()) else {
            return exec_err!("{name}: too many windows in one batch");
        };
        offsets.push(end);
    }
    let nulls = if valid.is_empty() {
        None
    } else {
        valid.resize(values.len(), true);
        Some(NullBuffer::from(valid))
    };
    let values = TimestampMicrosecondArray::new(ScalarBuffer::from(values), nulls)
        .with_timezone_opt(times.timezone().map(Arc::from));
    let field = item(values.data_type());
    Ok(Arc::new(ListArray::new(field, OffsetBuffer::new(ScalarBuffer::from(offsets)), Arc::new(values), None)))
}
