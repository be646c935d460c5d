//! `age(a, b)`: the time from `b` to `a` in years, months, days and a time, as a calendar has it.
//!
//! Field by field, as PostgreSQL's `timestamp_age` does: what is missing in a field is borrowed from the next, a month of days with
//! the length of the month in which the earlier of the two falls.

use std::sync::Arc;

use arrow::array::{Array, AsArray, IntervalMonthDayNanoBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalUnit, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Datelike, NaiveDateTime};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::interval::{MICROS_PER_DAY, NANOS_PER_MICRO};
use crate::types;

/// See the module.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Age {
    signature: Signature,
}

impl Default for Age {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Age {
    fn name(&self) -> &str {
        "age"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        use DataType as T;
        let is_time = |of: &T| matches!(of, T::Timestamp(..) | T::Date32 | T::Null | T::Utf8 | T::Utf8View);
        match arguments {
            [a, b] if is_time(a) && is_time(b) => {
                let zoned = [a, b].iter().any(|of| matches!(of, T::Timestamp(_, Some(_))));
                let time = if zoned { types::timestamptz() } else { types::timestamp() };
                Ok(vec![time.clone(), time])
            }
            _ => plan_err!("Function 'age' expects two times"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Interval(IntervalUnit::MonthDayNano))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [later, earlier] = args.args.as_slice() else {
            return exec_err!("age takes two times");
        };
        let micros = |times: &ColumnarValue| {
            let times = times.to_array(args.number_rows)?;
            Ok::<_, datafusion::error::DataFusionError>(cast(
                &times,
                &DataType::Timestamp(TimeUnit::Microsecond, None),
            )?)
        };
        let (later, earlier) = (micros(later)?, micros(earlier)?);
        let (later, earlier) =
            (later.as_primitive::<TimestampMicrosecondType>(), earlier.as_primitive::<TimestampMicrosecondType>());
        let mut builder = IntervalMonthDayNanoBuilder::with_capacity(later.len());
        for row in 0..later.len() {
            if later.is_null(row) || earlier.is_null(row) {
                builder.append_null();
                continue;
            }
            match age(later.value(row), earlier.value(row)) {
                Some(interval) => builder.append_value(interval),
                None => return exec_err!("timestamp out of range"),
            }
        }
        Ok(ColumnarValue::Array(Arc::new(builder.finish())))
    }
}

/// The age of `a` at `b`, both in µs; `None` beyond the calendar.
fn age(a: i64, b: i64) -> Option<IntervalMonthDayNano> {
    let (negative, later, earlier) = if a < b { (true, b, a) } else { (false, a, b) };
    let (later_time, earlier_time) = (civil(later)?, civil(earlier)?);
    let month = |time: &NaiveDateTime| i64::from(time.year()) * 12 + i64::from(time.month0());
    let mut months = month(&later_time) - month(&earlier_time);
    let mut days = i64::from(later_time.day()) - i64::from(earlier_time.day());
    let mut micros = later.rem_euclid(MICROS_PER_DAY) - earlier.rem_euclid(MICROS_PER_DAY);
    if micros < 0 {
        micros += MICROS_PER_DAY;
        days -= 1;
    }
    while days < 0 {
        days += i64::from(earlier_time.date().num_days_in_month());
        months -= 1;
    }
    let sign = if negative { -1 } else { 1 };
    let (months, days) = (i32::try_from(sign * months).ok()?, i32::try_from(sign * days).ok()?);
    Some(IntervalMonthDayNano::new(months, days, sign * micros * NANOS_PER_MICRO))
}

fn civil(micros: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_micros(micros).map(|time| time.naive_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PostgreSQL 15's answers.
    #[test]
    fn ages() {
        for (a, b, months, days, micros) in [
            ("2024-03-01T00:00:00", "2024-01-15T00:00:00", 1, 17, 0),
            ("2024-03-01T00:00:00", "2024-01-31T00:00:00", 1, 1, 0),
            ("2023-03-01T00:00:00", "2023-01-30T00:00:00", 1, 2, 0),
            ("2024-03-30T00:00:00", "2024-02-29T00:00:01", 1, 0, 86_399_000_000),
            ("2024-05-01T00:00:00", "2024-01-31T12:00:00", 3, 0, 43_200_000_000),
            ("2024-02-29T00:00:00", "2023-12-31T00:00:01", 1, 28, 86_399_000_000),
            ("2024-07-01T00:00:00", "2024-02-28T05:00:00", 4, 1, 68_400_000_000),
            ("1969-12-31T23:59:59.5", "1968-02-29T00:00:00", 22, 2, 86_399_500_000),
        ] {
            let micros_of = |text: &str| {
                let time: NaiveDateTime = text.parse().expect("a time");
                time.and_utc().timestamp_micros()
            };
            let of = |sign: i32| {
                IntervalMonthDayNano::new(sign * months, sign * days, i64::from(sign) * micros * NANOS_PER_MICRO)
            };
            assert_eq!(age(micros_of(a), micros_of(b)), Some(of(1)), "{a} {b}");
            assert_eq!(age(micros_of(b), micros_of(a)), Some(of(-1)), "{b} {a}");
        }
    }
}
