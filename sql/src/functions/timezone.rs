//! `timezone(zone, time)`, which `time AT TIME ZONE zone` stands for, as Postgres means it.
//!
//! A timestamptz becomes the timestamp a clock in that zone shows; a timestamp is taken for what such a clock shows and
//! becomes a timestamptz. A clock time that comes twice is the second one, one that is skipped is as late after the gap as
//! it would have been. Zones are IANA names, abbreviations of UTC, or offsets such as `+02:00`, whose sign Postgres takes
//! the POSIX way: behind UTC.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, PrimitiveArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Duration, FixedOffset, LocalResult, NaiveDateTime, Offset, TimeZone, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use crate::{SqlError, SqlState, types};

/// The function's name.
pub const NAME: &str = "timezone";

/// See the module.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Timezone {
    signature: Signature,
}

impl Default for Timezone {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

/// A zone a user may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Zone {
    /// One of the IANA's.
    Named(Tz),
    /// One that never changes.
    Fixed(FixedOffset),
}

impl std::fmt::Display for Zone {
    /// The name by which [`Zone::named`] finds it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named(zone) => f.write_str(zone.name()),
            Self::Fixed(offset) => {
                let (seconds, minutes) = (offset.local_minus_utc(), offset.local_minus_utc().abs() / 60);
                write!(f, "{}{:02}:{:02}", if seconds > 0 { '-' } else { '+' }, minutes / 60, minutes % 60)
            }
        }
    }
}

impl Zone {
    /// The zone of a name.
    ///
    /// # Errors
    /// 22023 if there is none.
    pub fn named(name: &str) -> Result<Self, SqlError> {
        let unknown =
            || SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("time zone \"{name}\" not recognized"));
        if let Some(offset) = offset(name) {
            return Ok(Self::Fixed(offset));
        }
        if name.eq_ignore_ascii_case("z") || name.eq_ignore_ascii_case("zulu") {
            return Ok(Self::Named(Tz::UTC));
        }
        let exact = name.parse::<Tz>().ok();
        let any_case = || TZ_VARIANTS.into_iter().find(|zone| zone.name().eq_ignore_ascii_case(name));
        exact.or_else(any_case).map(Self::Named).ok_or_else(unknown)
    }

    /// What a clock in the zone shows at `micros` after 1970 in UTC.
    pub(super) fn to_local(self, micros: i64) -> Option<i64> {
        let time = DateTime::from_timestamp_micros(micros)?;
        let offset = match self {
            Self::Named(zone) => zone.offset_from_utc_datetime(&time.naive_utc()).fix(),
            Self::Fixed(offset) => offset,
        };
        micros.checked_add(i64::from(offset.local_minus_utc()) * 1_000_000)
    }

    /// When a clock in the zone shows `micros`, or a later time, for the first time.
    pub(super) fn earliest_utc(self, micros: i64) -> Option<i64> {
        let Self::Named(zone) = self else { return self.to_utc(micros) };
        let shown = DateTime::from_timestamp_micros(micros)?.naive_utc();
        match zone.from_local_datetime(&shown) {
            LocalResult::Ambiguous(first, _) => Some(first.with_timezone(&Utc).timestamp_micros()),
            _ => self.to_utc(micros),
        }
    }

    /// When a clock in the zone shows `micros`.
    pub(super) fn to_utc(self, micros: i64) -> Option<i64> {
        let shown = DateTime::from_timestamp_micros(micros)?.naive_utc();
        match self {
            Self::Named(zone) => second_or_after(&zone, shown),
            Self::Fixed(offset) => micros.checked_sub(i64::from(offset.local_minus_utc()) * 1_000_000),
        }
    }
}

/// The second time that clocks show `shown`, or how late they would have if it is skipped.
/// When clocks show `shown` for the last time, or how late they would if it is skipped.
fn second_or_after(zone: &Tz, shown: NaiveDateTime) -> Option<i64> {
    let micros = |time: DateTime<Tz>| time.with_timezone(&Utc).timestamp_micros();
    match zone.from_local_datetime(&shown) {
        LocalResult::Single(time) => Some(micros(time)),
        LocalResult::Ambiguous(_, second) => Some(micros(second)),
        LocalResult::None => {
            // Skipped: read it with the offset that held a day earlier, before the gap.
            let before = zone.from_local_datetime(&shown.checked_sub_signed(Duration::days(1))?).latest()?;
            let offset = i64::from(before.offset().fix().local_minus_utc());
            shown.and_utc().timestamp_micros().checked_sub(offset * 1_000_000)
        }
    }
}

/// `+02`, `-03:30`: the POSIX way, so the sign is turned round.
fn offset(name: &str) -> Option<FixedOffset> {
    let sign = match name.chars().next()? {
        '+' => -1,
        '-' => 1,
        _ => return None,
    };
    let (hours, minutes) = name[1..].split_once(':').unwrap_or((&name[1..], "0"));
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    ((0..=15).contains(&hours) && (0..60).contains(&minutes)).then_some(())?;
    FixedOffset::east_opt(sign * (hours * 3600 + minutes * 60))
}

impl ScalarUDFImpl for Timezone {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let time = match arguments {
            [_, DataType::Timestamp(_, None) | DataType::Date32] => types::timestamp(),
            [_, DataType::Timestamp(_, Some(_))] => types::timestamptz(),
            // A literal without a type is a timestamptz, as in Postgres.
            [_, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 | DataType::Null] => types::timestamptz(),
            [_, other] => return plan_err!("Function '{NAME}' expects a timestamp but received {other}"),
            _ => return plan_err!("Function '{NAME}' expects 2 arguments but received {}", arguments.len()),
        };
        Ok(vec![DataType::Utf8View, time])
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [_, DataType::Timestamp(_, None)] => Ok(types::timestamptz()),
            _ => Ok(types::timestamp()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [zone, time] = args.args.as_slice() else {
            return exec_err!("{NAME} takes a zone and a time");
        };
        let ColumnarValue::Scalar(ScalarValue::Utf8View(zone) | ScalarValue::Utf8(zone) | ScalarValue::LargeUtf8(zone)) =
            zone
        else {
            return exec_err!("{NAME} needs a constant zone");
        };
        let times = time.to_array(args.number_rows)?;
        let DataType::Timestamp(TimeUnit::Microsecond, has_zone) = times.data_type() else {
            return exec_err!("{NAME} needs timestamps in microseconds");
        };
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let Some(zone) = zone else {
            let nulls = ScalarValue::try_from(args.return_field.data_type())?;
            return Ok(ColumnarValue::Scalar(nulls));
        };
        let zone = Zone::named(zone.trim()).map_err(|error| DataFusionError::External(Box::new(error)))?;
        let converted: PrimitiveArray<TimestampMicrosecondType> = if has_zone.is_some() {
            times.clone().with_timezone_opt(None::<Arc<str>>).unary_opt(|micros| zone.to_local(micros))
        } else {
            let utc: TimestampMicrosecondArray = times.unary_opt(|micros| zone.to_utc(micros));
            utc.with_timezone("+00:00")
        };
        Ok(ColumnarValue::Array(Arc::new(converted) as ArrayRef))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> i64 {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").expect("a time").and_utc().timestamp_micros()
    }

    #[test]
    fn clocks_show_what_they_show_in_postgres() {
        // From PostgreSQL 15: timestamptz '… +00' AT TIME ZONE 'Europe/Berlin', and back.
        let berlin = Zone::named("europe/BERLIN").expect("known");
        for (utc, local) in [
            ("2026-01-01 12:00", "2026-01-01 13:00"),
            ("2026-07-01 12:00", "2026-07-01 14:00"),
            ("2026-03-29 00:59", "2026-03-29 01:59"),
            ("2026-03-29 01:00", "2026-03-29 03:00"),
            ("2026-10-25 01:30", "2026-10-25 02:30"),
        ] {
            assert_eq!(berlin.to_local(micros(utc)), Some(micros(local)), "{utc}");
            assert_eq!(berlin.to_utc(micros(local)), Some(micros(utc)), "{local}");
        }
        // 02:30 comes twice on that day, and the second counts; in spring it never comes.
        assert_eq!(berlin.to_local(micros("2026-10-25 00:30")), Some(micros("2026-10-25 02:30")));
        assert_eq!(berlin.to_utc(micros("2026-03-29 02:30")), Some(micros("2026-03-29 01:30")));
    }

    #[test]
    fn offsets_count_the_posix_way() {
        let zone = Zone::named("+02:00").expect("known");
        assert_eq!(zone.to_local(micros("2026-01-01 12:00")), Some(micros("2026-01-01 10:00")));
        assert_eq!(zone.to_utc(micros("2026-01-01 10:00")), Some(micros("2026-01-01 12:00")));
        let error = Zone::named("Mars/Olympus").expect_err("unknown");
        assert_eq!((error.state.0, error.message.as_str()), ("22023", "time zone \"Mars/Olympus\" not recognized"));
    }
}
