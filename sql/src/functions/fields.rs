//! Fields of times and intervals that DataFusion has otherwise than Postgres.
//!
//! - `interval_seconds(interval)`: the seconds beside whole minutes, in microseconds; DataFusion's are without their fraction.
//! - `epoch(time)`: the seconds since 1970-01-01 00:00, or of an interval, as numeric with six digits behind the point, of a date
//!   without. A year of an interval has 365.25 days there, and a month that is not part of one 30.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Decimal128Array, Int32Array};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, DurationMicrosecondType, Int32Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    IntervalUnit, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::interval::{MICROS_PER_DAY, NANOS_PER_MICRO, only};
use crate::types::display_type;

const MICROS_PER_MINUTE: i64 = 60_000_000;
const SECONDS_PER_DAY: i128 = 86_400;

/// See the module.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct IntervalSeconds {
    signature: Signature,
}

impl Default for IntervalSeconds {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for IntervalSeconds {
    fn name(&self) -> &str {
        "interval_seconds"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int32)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let intervals = cast(&only(&args)?, &DataType::Interval(IntervalUnit::MonthDayNano))?;
        let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>();
        let seconds: Int32Array = intervals.unary::<_, Int32Type>(seconds_micros);
        Ok(ColumnarValue::Array(Arc::new(seconds)))
    }
}

fn seconds_micros(interval: IntervalMonthDayNano) -> i32 {
    // Less than a minute.
    i32::try_from(interval.nanoseconds / NANOS_PER_MICRO % MICROS_PER_MINUTE).unwrap_or_default()
}

/// See the module.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Epoch {
    signature: Signature,
}

impl Default for Epoch {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl Epoch {
    /// The function's name.
    pub const NAME: &str = "epoch";
}

impl ScalarUDFImpl for Epoch {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [DataType::Date32] => Ok(DataType::Decimal128(20, 0)),
            [
                DataType::Timestamp(..)
                | DataType::Interval(_)
                | DataType::Duration(_)
                | DataType::Time64(_)
                | DataType::Null,
            ] => Ok(DataType::Decimal128(20, 6)),
            [other] => plan_err!("function extract(unknown, {}) does not exist", display_type(other)),
            _ => plan_err!("one value expected"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let values = only(&args)?;
        let micros: Decimal128Array = match values.data_type() {
            DataType::Date32 => values.as_primitive::<Date32Type>().unary(|days| i128::from(days) * SECONDS_PER_DAY),
            DataType::Timestamp(_, zone) => {
                let times = cast(&values, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
                times.as_primitive::<TimestampMicrosecondType>().unary(i128::from)
            }
            DataType::Duration(_) => {
                let lengths = cast(&values, &DataType::Duration(TimeUnit::Microsecond))?;
                lengths.as_primitive::<DurationMicrosecondType>().unary(i128::from)
            }
            DataType::Time64(_) => {
                let times = cast(&values, &DataType::Time64(TimeUnit::Microsecond))?;
                times.as_primitive::<Time64MicrosecondType>().unary(i128::from)
            }
            _ => {
                let intervals = cast(&values, &DataType::Interval(IntervalUnit::MonthDayNano))?;
                intervals.as_primitive::<IntervalMonthDayNanoType>().unary(micros)
            }
        };
        let scale = if *values.data_type() == DataType::Date32 { 0 } else { 6 };
        let seconds = micros.with_precision_and_scale(20, scale).map_err(|error: ArrowError| error)?;
        Ok(ColumnarValue::Array(Arc::new(seconds)))
    }
}

/// An interval's microseconds as its epoch counts them.
fn micros(interval: IntervalMonthDayNano) -> i128 {
    let months = i128::from(interval.months);
    // A quarter of a day for each year.
    let (days, day) =
        ((months / 12) * 365 + (months % 12) * 30 + i128::from(interval.days), i128::from(MICROS_PER_DAY));
    days * day + (months / 12) * (day / 4) + i128::from(interval.nanoseconds / NANOS_PER_MICRO)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers of `extract(second FROM …)` and `extract(epoch FROM …)` of PostgreSQL 15.
    #[test]
    fn seconds_and_epochs_of_intervals() {
        for (months, days, micros_of_day, second, epoch) in [
            (0, 1, 7_384_567_000, 4_567_000, 93_784_567_000),
            (0, 0, -58_750_000, -58_750_000, -58_750_000),
            (2, 0, 59_999_999, 59_999_999, 5_184_059_999_999),
            (12, 1, 0, 0, 31_644_000_000_000),
            (-25, 0, 0, 0, -65_707_200_000_000),
        ] {
            let interval = IntervalMonthDayNano::new(months, days, micros_of_day * NANOS_PER_MICRO);
            assert_eq!((seconds_micros(interval), micros(interval)), (second, epoch), "{interval:?}");
        }
    }
}
