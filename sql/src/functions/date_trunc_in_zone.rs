//! `date_trunc(unit, time, zone)`: a time cut to a unit of the calendar by the clocks of a zone.
//!
//! Days and longer units begin at local midnights, as [`local_day`](super::local_day) has them; hours and shorter ones are cut
//! with the offset that holds at the time itself, as Postgres does. A timestamp without a zone is taken as UTC. The binder
//! puts this function where a query says `date_trunc` with three arguments.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::date_bin::{civil_from_days, days_from_civil, out_of_range};
use super::local_day::Calendar;
use super::timezone::Zone;
use crate::{SqlError, SqlState, types};

/// The function's name in plans.
pub const NAME: &str = "date_trunc_in_zone";

/// See the module.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct DateTruncInZone {
    signature: Signature,
}

impl Default for DateTruncInZone {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

/// A unit of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// µs.
    Fixed(i64),
    /// So many days, counted from a day.
    Days(i64, i64),
    /// So many months, counted from a January.
    Months(i64),
}

impl Unit {
    fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "microsecond" | "microseconds" => Self::Fixed(1),
            "millisecond" | "milliseconds" => Self::Fixed(1_000),
            "second" => Self::Fixed(1_000_000),
            "minute" => Self::Fixed(60_000_000),
            "hour" => Self::Fixed(3_600_000_000),
            "day" => Self::Days(1, 0),
            // 1970-01-05 was a Monday.
            "week" => Self::Days(7, 4),
            "month" => Self::Months(1),
            "quarter" => Self::Months(3),
            "year" => Self::Months(12),
            _ => return None,
        })
    }

    fn start(self, time: i64, zone: Zone, days: &Calendar) -> Option<i64> {
        match self {
            Self::Fixed(length) => time.checked_sub(zone.to_local(time)?.rem_euclid(length)),
            Self::Days(size, offset) => days.start(time, size, offset),
            Self::Months(months) => {
                let (year, month, _) = civil_from_days(days.day(time)?);
                days.midnight(days_from_civil(year, (month - 1).div_euclid(months) * months + 1, 1))
            }
        }
    }
}

/// True for a unit whose starts never go back as time goes on: hours do where clocks are set.
pub fn is_monotone(unit: &str) -> bool {
    matches!(Unit::named(unit), Some(Unit::Days(..) | Unit::Months(_)))
}

impl ScalarUDFImpl for DateTruncInZone {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let text = |argument: &DataType| argument.is_null() || argument.is_string();
        match arguments {
            [unit, time, zone] if text(unit) && text(zone) => match time {
                DataType::Timestamp(..) | DataType::Date32 | DataType::Null => {
                    Ok(vec![DataType::Utf8, types::timestamptz(), DataType::Utf8])
                }
                other if text(other) => Ok(vec![DataType::Utf8, types::timestamptz(), DataType::Utf8]),
                other => plan_err!("date_trunc with a time zone needs a timestamp, not {other}"),
            },
            _ => plan_err!("date_trunc takes a unit, a time and an optional time zone"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(types::timestamptz())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [unit, time, zone] = args.args.as_slice() else {
            return exec_err!("date_trunc takes a unit, a time and an optional time zone");
        };
        let (unit, zone) = match (unit, zone) {
            (ColumnarValue::Scalar(ScalarValue::Utf8(unit)), ColumnarValue::Scalar(ScalarValue::Utf8(zone))) => {
                (unit, zone)
            }
            _ => {
                return refuse(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    "the unit and the zone of date_trunc must be constants",
                );
            }
        };
        let (Some(unit), Some(zone)) = (unit, zone) else {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from(args.return_field.data_type())?));
        };
        let Some(cut) = Unit::named(unit) else {
            return refuse(
                SqlState::INVALID_PARAMETER_VALUE,
                &format!("unit \"{unit}\" not recognized for date_trunc"),
            );
        };
        let zone = Zone::named(zone.trim()).map_err(|error| DataFusionError::External(Box::new(error)))?;
        let days = Calendar::new(zone);
        let times = time.to_array(args.number_rows)?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let start = |time| cut.start(time, zone, &days).ok_or_else(out_of_range);
        let starts = times.try_unary::<_, TimestampMicrosecondType, DataFusionError>(start)?;
        Ok(ColumnarValue::Array(Arc::new(starts.with_timezone_opt(times.timezone().map(Arc::from)))))
    }
}

fn refuse<T>(state: SqlState, message: &str) -> Result<T> {
    Err(DataFusionError::External(Box::new(SqlError::new(state, message))))
}

#[cfg(test)]
mod tests;
