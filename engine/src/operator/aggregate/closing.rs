//! When groups become final.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;

use super::spec::unit_scale;
use super::typed::native::native_values;
use crate::error::{Error, Result};
use crate::state::key_index::NEVER;

/// The times of a monotone key column in the watermark's unit: µs for timestamps, days for dates. [`NEVER`] for NULL.
pub(crate) fn times(column: &ArrayRef) -> Result<Vec<i64>> {
    let data = column.to_data();
    let valid = |row: usize, time: i64| if column.is_valid(row) { time } else { NEVER };
    let scaled = |per_unit: i64, units: i64| {
        let times = native_values::<i64>(&data).iter().enumerate();
        // Of nanoseconds only whole microseconds are left, rounded down. The watermark is a whole number of them, so a time is
        // below it if and only if the rounded one is. A time beyond i64 is as good as never.
        times.map(|(row, time)| valid(row, time.div_euclid(units).saturating_mul(per_unit))).collect()
    };
    Ok(match column.data_type() {
        DataType::Timestamp(unit, _) => {
            let (per_micro, per_unit) = unit_scale(*unit);
            scaled(per_unit, per_micro)
        }
        DataType::Date64 => scaled(1, 86_400_000),
        DataType::Date32 => {
            native_values::<i32>(&data).iter().enumerate().map(|(row, day)| valid(row, i64::from(*day))).collect()
        }
        other => return Err(Error::internal(format!("a monotone key of type {other}"))),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date32Array, TimestampNanosecondArray, TimestampSecondArray};

    use super::*;

    #[test]
    fn times_are_micros_and_days() {
        let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![Some(-1), None, Some(1_999)]));
        assert_eq!(times(&nanos).expect("times"), [-1, NEVER, 1]);
        let seconds: ArrayRef = Arc::new(TimestampSecondArray::from(vec![2, i64::MAX]));
        assert_eq!(times(&seconds).expect("times"), [2_000_000, NEVER]);
        let days: ArrayRef = Arc::new(Date32Array::from(vec![-3]));
        assert_eq!(times(&days).expect("times"), [-3]);
    }
}
