//! `date_bin(stride, time[, origin])`: the start of the stretch of time that `time` falls into.
//!
//! Computed in microseconds, so every time a source accepts (the years 0001 to 9999) has a stretch. DataFusion's function
//! of the same name computes in nanoseconds and gives NULL outside the years 1677 to 2262: a row would fall out of its
//! window without a word. A result beyond the range of timestamps is the error 22008, never NULL. Times of day, which
//! Postgres does not know here, are left to DataFusion's function.

use std::cell::Cell;
use std::sync::Arc;

use arrow::array::{AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalUnit, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, plan_err};
use datafusion::functions::datetime::date_bin::DateBinFunc;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use crate::{SqlError, SqlState};

/// The function's name.
pub const NAME: &str = "date_bin";

/// µs in a day.
pub(super) const DAY: i64 = 86_400_000_000;

/// See the module.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct DateBin {
    signature: Signature,
    of_times_of_day: DateBinFunc,
}

impl Default for DateBin {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable), of_times_of_day: DateBinFunc::new() }
    }
}

/// How long a stretch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stride {
    /// µs, above 0.
    Micros(i64),
    /// Calendar months, above 0.
    Months(i64),
}

impl Stride {
    fn of(interval: IntervalMonthDayNano) -> Result<Self> {
        let IntervalMonthDayNano { months, days, nanoseconds } = interval;
        if months != 0 && (days != 0 || nanoseconds != 0) {
            return refuse(
                SqlState::FEATURE_NOT_SUPPORTED,
                "a stride of months together with days or a time is not supported",
            );
        }
        if nanoseconds % 1_000 != 0 {
            return refuse(SqlState::INVALID_PARAMETER_VALUE, "a stride must be of whole microseconds");
        }
        let stride = if months != 0 {
            Self::Months(i64::from(months))
        } else {
            let micros = i64::from(days).checked_mul(DAY).and_then(|days| days.checked_add(nanoseconds / 1_000));
            Self::Micros(micros.ok_or_else(out_of_range)?)
        };
        match stride {
            Self::Micros(length) | Self::Months(length) if length <= 0 => {
                refuse(SqlState::DATETIME_FIELD_OVERFLOW, "stride must be greater than zero")
            }
            _ => Ok(stride),
        }
    }

    /// The last start at or before `time`, counted from `origin`; `None` if it is before all timestamps.
    fn start(self, time: i64, origin: i64) -> Option<i64> {
        match self {
            Self::Micros(micros) => {
                let (since, micros) = (i128::from(time) - i128::from(origin), i128::from(micros));
                i64::try_from(i128::from(origin) + since.div_euclid(micros) * micros).ok()
            }
            Self::Months(months) => {
                let since = month_of(time) - month_of(origin);
                let start = since.div_euclid(months) * months;
                // An origin after the first of a month can lie beyond `time` in the same month.
                match add_months(origin, start)? {
                    found if found <= time => Some(found),
                    _ => add_months(origin, start - months),
                }
            }
        }
    }
}

fn refuse<T>(state: SqlState, message: &str) -> Result<T> {
    Err(DataFusionError::External(Box::new(SqlError::new(state, message))))
}

pub(super) fn out_of_range() -> DataFusionError {
    DataFusionError::External(Box::new(SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp out of range")))
}

/// Months since year 0 of the calendar month that holds `micros`.
fn month_of(micros: i64) -> i64 {
    let (year, month, _) = civil_from_days(micros.div_euclid(DAY));
    year * 12 + month - 1
}

/// The same day and time of day `months` later; the month's last day if it has no such day. `None` beyond 64 bits.
fn add_months(micros: i64, months: i64) -> Option<i64> {
    let (year, month, day) = civil_from_days(micros.div_euclid(DAY));
    let moved = year * 12 + month - 1 + months;
    let first = |month: i64| days_from_civil(month.div_euclid(12), month.rem_euclid(12) + 1, 1);
    let days_in_month = first(moved + 1) - first(moved);
    let days = first(moved) + day.min(days_in_month) - 1;
    days.checked_mul(DAY)?.checked_add(micros.rem_euclid(DAY))
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
pub(super) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is the last of its year.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, month) = (year.div_euclid(400), (month + 9) % 12);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month (1 to 12) and day of a day since 1970-01-01; the inverse of [`days_from_civil`].
pub(super) fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = (month + 2) % 12 + 1;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

impl ScalarUDFImpl for DateBin {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let [stride, time, origin @ ..] = arguments else {
            return plan_err!("{NAME} takes a stride, a time and an optional origin");
        };
        let text = |argument: &DataType| argument.is_null() || argument.is_string();
        if origin.len() > 1 || !(matches!(stride, DataType::Interval(_)) || text(stride)) {
            return plan_err!("{NAME} takes a stride, a time and an optional origin");
        }
        let time = match time {
            DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
            DataType::Time32(_) | DataType::Time64(_) => time.clone(),
            DataType::Date32 | DataType::Date64 => DataType::Timestamp(TimeUnit::Microsecond, None),
            other if text(other) => DataType::Timestamp(TimeUnit::Microsecond, None),
            other => return plan_err!("{NAME} needs a timestamp, not {other}"),
        };
        let is_time = |argument: &DataType| matches!(argument, DataType::Timestamp(..) | DataType::Date32);
        if let Some(other) = origin.iter().find(|argument| !is_time(argument) && !text(argument) && **argument != time)
        {
            return plan_err!("{NAME} needs a timestamp as its origin, not {other}");
        }
        let mut types = vec![DataType::Interval(IntervalUnit::MonthDayNano)];
        types.resize(arguments.len(), time);
        Ok(types)
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments[1].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [stride, time, origin @ ..] = args.args.as_slice() else {
            return exec_err!("{NAME} takes a stride, a time and an optional origin");
        };
        let data_type = time.data_type();
        if !matches!(data_type, DataType::Timestamp(TimeUnit::Microsecond, _)) {
            return self.of_times_of_day.invoke_with_args(args);
        }
        let null = || Ok(ColumnarValue::Scalar(ScalarValue::try_from(&data_type)?));
        let stride = match stride {
            ColumnarValue::Scalar(ScalarValue::IntervalMonthDayNano(Some(interval))) => Stride::of(*interval)?,
            ColumnarValue::Scalar(stride) if stride.is_null() => return null(),
            _ => return refuse(SqlState::FEATURE_NOT_SUPPORTED, "the stride of date_bin must be a constant interval"),
        };
        let origin = match origin {
            [] => 0,
            [ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(Some(origin), _))] => *origin,
            [ColumnarValue::Scalar(origin)] if origin.is_null() => return null(),
            _ => return refuse(SqlState::FEATURE_NOT_SUPPORTED, "the origin of date_bin must be a constant"),
        };
        bin(time, args.number_rows, stride, origin)
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        self.of_times_of_day.output_ordering(input)
    }
}

/// The start of the stretch that each of the times, timestamps in µs, falls into.
pub(super) fn bin(time: &ColumnarValue, rows: usize, stride: Stride, origin: i64) -> Result<ColumnarValue> {
    if let ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(time, zone)) = time {
        let start = time.map(|time| stride.start(time, origin).ok_or_else(out_of_range)).transpose()?;
        return Ok(ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(start, zone.clone())));
    }
    let times = time.to_array(rows)?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let starts = starts(times, stride, origin)?;
    Ok(ColumnarValue::Array(Arc::new(starts.with_timezone_opt(times.timezone()))))
}

fn starts(times: &TimestampMicrosecondArray, stride: Stride, origin: i64) -> Result<TimestampMicrosecondArray> {
    // Most strides are of fixed length, and most rows of one batch fall into the stretch of the row before.
    let last = Cell::new((0_i64, 0_i64));
    times.try_unary::<_, TimestampMicrosecondType, _>(|time| {
        let (from, to) = last.get();
        if from <= time && time < to {
            return Ok(from);
        }
        let start = stride.start(time, origin).ok_or_else(out_of_range)?;
        if let Stride::Micros(micros) = stride {
            last.set((start, start.saturating_add(micros)));
        }
        Ok(start)
    })
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Datelike, Months, Utc};

    use super::*;

    fn micros(text: &str) -> i64 {
        let time = text.parse::<DateTime<Utc>>();
        time.expect("a time").timestamp_micros()
    }

    #[test]
    fn fixed_strides_are_floors_at_any_distance() {
        let stride = Stride::Micros(10);
        for (time, origin, start) in [
            (25, 0, Some(20)),
            (-1, 0, Some(-10)),
            (-10, 0, Some(-10)),
            (4, 5, Some(-5)),
            (i64::MAX, 0, Some(i64::MAX - 7)),
            (i64::MIN + 8, 0, Some(i64::MIN + 8)),
            (i64::MIN + 7, 0, None),
            (i64::MAX, i64::MIN, Some(i64::MAX - 5)),
        ] {
            assert_eq!(stride.start(time, origin), start, "{time} from {origin}");
        }
        let day = Stride::Micros(DAY);
        for year in ["0001", "1500", "1677", "2262", "2263", "9999"] {
            let start = micros(&format!("{year}-12-31T00:00:00Z"));
            assert_eq!(day.start(start + DAY - 1, 0), Some(start), "{year}");
        }
    }

    #[test]
    fn months_agree_with_the_calendar() {
        let (first, last) = (micros("0001-01-01T00:00:00Z"), micros("9999-12-31T00:00:00Z"));
        let steps_of = |from: DateTime<Utc>, start: i64| {
            let date = DateTime::from_timestamp_micros(start).expect("in range");
            i64::from(date.year() - from.year()) * 12 + i64::from(date.month()) - i64::from(from.month())
        };
        let after = |from: DateTime<Utc>, count: i64| {
            let months = Months::new(u32::try_from(count.unsigned_abs()).expect("few months"));
            let moved = if count < 0 { from.checked_sub_months(months) } else { from.checked_add_months(months) };
            moved.expect("in range").timestamp_micros()
        };
        // Steps without a common factor with a day visit every day of the month and every time of day.
        for (round, time) in (first..last).step_by(39_916_801_000_003).enumerate() {
            let origin = first + (round as i64 * 87_178_291_199_999) % (last - first);
            let months = 1 + round as i64 % 49;
            let start = Stride::Months(months).start(time, origin).expect("in range");
            let from = DateTime::from_timestamp_micros(origin).expect("in range");
            let (steps, place) = (steps_of(from, start), format!("{months} months, {time} from {origin}"));
            assert_eq!(steps % months, 0, "{place}");
            assert_eq!(after(from, steps), start, "{place}");
            assert!(start <= time && time < after(from, steps + months), "{place}");
        }
    }

    #[test]
    fn dates_go_both_ways() {
        for days in (-110_000_000..110_000_000).step_by(997) {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
        assert_eq!(civil_from_days(0), (1970, 1, 1));
        assert_eq!(civil_from_days(-719_162), (1, 1, 1));
        assert_eq!(civil_from_days(2_932_896), (9999, 12, 31));
    }
}
