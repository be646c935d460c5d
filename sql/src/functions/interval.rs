//! Intervals as lengths, and lengths as intervals.
//!
//! A difference of two times is a length: a number of microseconds, which is compared, added up and averaged exactly. An
//! interval keeps months, days and microseconds apart. Where the two meet, Postgres counts a month as 30 days and a day
//! as 24 hours ([`IntervalLength`]); where a length's fields are asked for, it has days and a time ([`LengthInterval`]).

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, DurationMicrosecondArray, IntervalMonthDayNanoArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, DurationMicrosecondType, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
};
use arrow::error::ArrowError;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

/// Microseconds of 24 hours.
pub(super) const MICROS_PER_DAY: i64 = 86_400_000_000;
/// Nanoseconds, in which intervals keep their time, of a microsecond.
pub(super) const NANOS_PER_MICRO: i64 = 1000;

/// The type of a length.
pub const LENGTH: DataType = DataType::Duration(TimeUnit::Microsecond);

/// An interval's length in µs, with months of 30 days; `None` beyond 64 bits.
pub fn length(interval: IntervalMonthDayNano) -> Option<i64> {
    let days = i64::from(interval.months) * 30 + i64::from(interval.days);
    days.checked_mul(MICROS_PER_DAY)?.checked_add(interval.nanoseconds / NANOS_PER_MICRO)
}

/// Days and a time of the same sign.
pub fn from_length(micros: i64) -> IntervalMonthDayNano {
    let (days, rest) = (micros / MICROS_PER_DAY, micros % MICROS_PER_DAY);
    // 64 bits of microseconds are 107 million days.
    IntervalMonthDayNano::new(0, i32::try_from(days).unwrap_or(i32::MAX), rest * NANOS_PER_MICRO)
}

/// `interval_length(interval)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct IntervalLength {
    signature: Signature,
}

impl Default for IntervalLength {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl IntervalLength {
    /// The function's name.
    pub const NAME: &str = "interval_length";
}

impl ScalarUDFImpl for IntervalLength {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(LENGTH)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let values = only(&args)?;
        if let DataType::Duration(_) = values.data_type() {
            return Ok(ColumnarValue::Array(cast(&values, &LENGTH)?));
        }
        let intervals = cast(&values, &DataType::Interval(IntervalUnit::MonthDayNano))?;
        let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>();
        let lengths: DurationMicrosecondArray = intervals.try_unary(|interval| {
            length(interval).ok_or_else(|| ArrowError::ArithmeticOverflow("interval out of range".into()))
        })?;
        Ok(ColumnarValue::Array(Arc::new(lengths)))
    }
}

/// `length_interval(length)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct LengthInterval {
    signature: Signature,
}

impl Default for LengthInterval {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for LengthInterval {
    fn name(&self) -> &str {
        "length_interval"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Interval(IntervalUnit::MonthDayNano))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let lengths = cast(&only(&args)?, &LENGTH)?;
        let lengths = lengths.as_primitive::<DurationMicrosecondType>();
        let intervals: IntervalMonthDayNanoArray = lengths.unary(from_length);
        Ok(ColumnarValue::Array(Arc::new(intervals)))
    }
}

/// The only argument, a value for each row.
pub(super) fn only(args: &ScalarFunctionArgs) -> Result<ArrayRef> {
    match args.args.as_slice() {
        [value] => value.to_array(args.number_rows),
        _ => exec_err!("one value expected"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_intervals() {
        for (micros, days, nanos) in [
            (0, 0, 0),
            (28 * MICROS_PER_DAY, 28, 0),
            (-MICROS_PER_DAY - 1, -1, -1000),
            (i64::MIN, -106_751_991, -14_454_775_808_000),
        ] {
            let interval = IntervalMonthDayNano::new(0, days, nanos);
            assert_eq!((from_length(micros), length(interval)), (interval, Some(micros)));
        }
        assert_eq!(length(IntervalMonthDayNano::new(1, 0, 0)), Some(30 * MICROS_PER_DAY));
        assert_eq!(length(IntervalMonthDayNano::new(i32::MAX, 0, 0)), None);
    }
}
