//! Days by the clocks of a zone, and windows of them.
//!
//! A local day begins when the zone's clocks show midnight: where that is skipped, when they go on behind it; where it comes
//! twice, the second time. That is how Postgres cuts with `date_trunc('day', time, zone)`. Days are 23, 24 or 25 hours long,
//! now and then something else.
//!
//! Days are counted from the local 1970-01-01. A day that clocks leave and come back to, because midnight comes twice and
//! the day before is shown in between (America/St_Johns, 1987 to 2011), begins for good the second time only: so a later
//! time is never of an earlier day, and windows can close. It is the one case in which Postgres has it otherwise, for the
//! minute before the clocks go back.
//!
//! | function | gives |
//! |---|---|
//! | `local_day_start(time, zone, size, offset)` | the start of the window of `size` days that holds the time |
//! | `local_day_end(start, zone, days)` | the midnight so many days after the day of `start` |
//! | `local_day_starts(time, zone, slide, size, offset)` | the starts of all hopping windows that hold the time, a list |
//! | `local_day_ends(time, zone, step, size, offset)` | the ends of all cumulating windows that hold the time, a list |
//! | `local_day_first(time, zone, slide, size, offset)` | the earliest start of a hopping window that takes that time or a later one |
//!
//! Users cannot name them: [`crate::window`] puts them into plans.

use std::cell::Cell;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::date_bin::{DAY, out_of_range};
use super::timezone::Zone;
use super::window_list;

/// What one of the functions gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Function {
    /// The start of a tumbling window.
    Start,
    /// The midnight some days after a start.
    End,
    /// The starts of hopping windows.
    Starts,
    /// The ends of cumulating windows.
    Ends,
    /// The earliest start that a hopping window of later times can have.
    First,
}

impl Function {
    /// Every function.
    pub const ALL: [Self; 5] = [Self::Start, Self::End, Self::Starts, Self::Ends, Self::First];

    /// Its name in plans.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "local_day_start",
            Self::End => "local_day_end",
            Self::Starts => "local_day_starts",
            Self::Ends => "local_day_ends",
            Self::First => "local_day_first",
        }
    }

    fn is_list(self) -> bool {
        matches!(self, Self::Starts | Self::Ends)
    }

    fn arity(self) -> usize {
        match self {
            Self::End => 3,
            Self::Start => 4,
            Self::Starts | Self::Ends | Self::First => 5,
        }
    }
}

/// See the module.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct LocalDays {
    function: Function,
    signature: Signature,
}

impl LocalDays {
    /// One of the functions.
    pub fn new(function: Function) -> Self {
        Self { function, signature: Signature::any(function.arity(), Volatility::Immutable) }
    }
}

/// The local days of a zone.
pub(super) struct Calendar {
    zone: Zone,
    /// The day last asked for, from when to when it lasts at least.
    last: Cell<(i64, i64, i64)>,
}

impl Calendar {
    /// The days of `zone`.
    pub fn new(zone: Zone) -> Self {
        Self { zone, last: Cell::new((0, 0, 0)) }
    }

    /// The day that holds a time; `None` beyond the range of the calendar.
    pub fn day(&self, time: i64) -> Option<i64> {
        let (from, to, day) = self.last.get();
        if from <= time && time < to {
            return Some(day);
        }
        let shown = self.zone.to_local(time)?.div_euclid(DAY);
        let midnight = self.midnight(shown)?;
        if midnight <= time {
            let next = self.zone.earliest_utc(shown.checked_add(1)?.checked_mul(DAY)?)?;
            self.last.set((midnight, next, shown));
            return Some(shown);
        }
        // Before the second of two midnights: on the day itself, unless clocks go back to the day before.
        Some(self.zone.to_local(midnight - 1)?.div_euclid(DAY).min(shown))
    }

    /// When a day begins.
    pub fn midnight(&self, day: i64) -> Option<i64> {
        self.zone.to_utc(day.checked_mul(DAY)?)
    }

    /// The start of the window of `size` days that holds a time.
    pub fn start(&self, time: i64, size: i64, offset: i64) -> Option<i64> {
        self.midnight(first_day(self.day(time)?, size, offset))
    }
}

/// The last of the days `offset + n * size` that is not after `day`.
fn first_day(day: i64, size: i64, offset: i64) -> i64 {
    (day - offset).div_euclid(size) * size + offset
}

/// What a call computes, ready to be asked time by time.
struct Call {
    function: Function,
    calendar: Calendar,
    numbers: Vec<i64>,
}

impl Call {
    fn value(&self, time: i64) -> Option<i64> {
        let days = &self.calendar;
        match (self.function, self.numbers.as_slice()) {
            (Function::Start, [size, offset]) => days.start(time, *size, *offset),
            (Function::End, [after]) => days.midnight(days.zone.to_local(time)?.div_euclid(DAY) + after),
            (Function::First, [slide, size, offset]) => {
                days.midnight(first_day(days.day(time)? - size, *slide, *offset) + slide)
            }
            _ => None,
        }
    }

    fn values(&self, time: i64, values: &mut Vec<i64>) -> Option<()> {
        let [step, size, offset] = self.numbers.as_slice() else { return None };
        let day = self.calendar.day(time)?;
        let (first, last) = match self.function {
            Function::Starts => (first_day(day - size, *step, *offset) + step, day),
            _ => {
                let start = first_day(day, *size, *offset);
                (first_day(day - start, *step, 0) + start + step, start + size)
            }
        };
        let mut next = first;
        while next <= last {
            values.push(self.calendar.midnight(next)?);
            next += step;
        }
        Some(())
    }

    fn scalars(&self, times: &TimestampMicrosecondArray) -> Result<ArrayRef> {
        let value = |time| self.value(time).ok_or_else(out_of_range);
        let values = times.try_unary::<_, TimestampMicrosecondType, DataFusionError>(value)?;
        Ok(Arc::new(values.with_timezone_opt(times.timezone().map(Arc::from))))
    }

    fn lists(&self, times: &TimestampMicrosecondArray) -> Result<ArrayRef> {
        window_list::lists(self.function.name(), times, 1, |time, values| self.values(time, values))
    }
}

impl ScalarUDFImpl for LocalDays {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(if self.function.is_list() { window_list::list_of(&arguments[0]) } else { arguments[0].clone() })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let time = args.arg_fields[0].as_ref();
        Ok(match self.function.is_list() {
            true => window_list::field(self.name(), time.data_type()),
            false => Arc::new(Field::new(self.name(), time.data_type().clone(), time.is_nullable())),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [time, zone, numbers @ ..] = args.args.as_slice() else {
            return exec_err!("{} takes a time and a zone", self.name());
        };
        let ColumnarValue::Scalar(ScalarValue::Utf8(Some(zone)) | ScalarValue::Utf8View(Some(zone))) = zone else {
            return exec_err!("{} needs a constant zone", self.name());
        };
        let number = |value: &ColumnarValue| match value {
            ColumnarValue::Scalar(ScalarValue::Int64(Some(number))) => Ok(*number),
            _ => exec_err!("{} needs constant lengths", self.name()),
        };
        let numbers = numbers.iter().map(number).collect::<Result<Vec<_>>>()?;
        let zone = Zone::named(zone).map_err(|error| DataFusionError::External(Box::new(error)))?;
        let call = Call { function: self.function, calendar: Calendar::new(zone), numbers };
        let times = time.to_array(args.number_rows)?;
        let DataType::Timestamp(TimeUnit::Microsecond, _) = times.data_type() else {
            return exec_err!("{} needs timestamps in microseconds, not {}", self.name(), times.data_type());
        };
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let values = if self.function.is_list() { call.lists(times)? } else { call.scalars(times)? };
        Ok(ColumnarValue::Array(values))
    }
}

#[cfg(test)]
mod tests {
    use chrono::{NaiveDate, NaiveTime, TimeZone};
    use chrono_tz::Tz;

    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn calendar(zone: &str) -> Calendar {
        Calendar::new(Zone::named(zone).expect("known"))
    }

    fn micros(text: &str) -> i64 {
        let time = chrono::DateTime::parse_from_rfc3339(text);
        time.expect("a time").timestamp_micros()
    }

    /// Lengths in hours of the days whose local dates are `date` and the two around it.
    fn hours(zone: &str, date: &str) -> [f64; 3] {
        let date: NaiveDate = date.parse().expect("a date");
        let day = date.signed_duration_since(NaiveDate::default()).num_days();
        let days = calendar(zone);
        [-1, 0, 1].map(|n| {
            let (start, end) =
                (days.midnight(day + n).expect("in range"), days.midnight(day + n + 1).expect("in range"));
            (end - start) as f64 / HOUR as f64
        })
    }

    #[test]
    fn days_are_as_long_as_clocks_make_them() {
        for (zone, date, expected) in [
            ("Europe/Berlin", "2026-03-29", [24.0, 23.0, 24.0]),
            ("Europe/Berlin", "2026-10-25", [24.0, 25.0, 24.0]),
            ("America/New_York", "2026-03-08", [24.0, 23.0, 24.0]),
            ("America/New_York", "2026-11-01", [24.0, 25.0, 24.0]),
            ("Australia/Lord_Howe", "2026-04-05", [24.0, 24.5, 24.0]),
            ("Australia/Lord_Howe", "2026-10-04", [24.0, 23.5, 24.0]),
            ("America/Sao_Paulo", "2018-11-04", [24.0, 23.0, 24.0]),
            ("America/Sao_Paulo", "2018-02-17", [24.0, 25.0, 24.0]),
            ("Africa/Cairo", "2026-04-24", [24.0, 23.0, 24.0]),
            ("Asia/Kolkata", "2026-06-01", [24.0, 24.0, 24.0]),
            // The 30th was left out.
            ("Pacific/Apia", "2011-12-30", [24.0, 0.0, 24.0]),
            ("+02:00", "2026-03-29", [24.0, 24.0, 24.0]),
            // As far as switches are known.
            ("Europe/Berlin", "2099-03-29", [24.0, 23.0, 24.0]),
        ] {
            assert_eq!(hours(zone, date), expected, "{zone} {date}");
        }
    }

    #[test]
    fn days_agree_with_the_calendar_of_the_zone() {
        for name in [
            "Europe/Berlin",
            "America/New_York",
            "Australia/Lord_Howe",
            "America/Sao_Paulo",
            "Africa/Cairo",
            "Asia/Kathmandu",
            "Pacific/Apia",
            "UTC",
        ] {
            let (zone, days): (Tz, _) = (name.parse().expect("known"), calendar(name));
            let (mut time, to) = (micros("1990-01-01T00:00:00Z"), micros("2040-01-01T00:00:00Z"));
            while time < to {
                let shown = zone.timestamp_micros(time).single().expect("an instant has one local time");
                let date = shown.date_naive();
                // The first instant of the date, found by looking.
                let mut first = zone.from_local_datetime(&date.and_time(NaiveTime::MIN)).earliest();
                let mut minute = date.and_time(NaiveTime::MIN);
                while first.is_none() {
                    minute += chrono::Duration::minutes(1);
                    first = zone.from_local_datetime(&minute).earliest();
                }
                let first = first.expect("a date has a first instant").timestamp_micros();
                assert_eq!(days.start(time, 1, 0), Some(first), "{name} {shown}");
                let day = date.signed_duration_since(NaiveDate::default()).num_days();
                assert_eq!(days.day(time), Some(day), "{name} {shown}");
                // A step without a common factor with hours, so that every time of day is seen.
                time += 17 * HOUR + 61_000_003;
            }
        }
    }

    #[test]
    fn a_later_time_is_never_of_an_earlier_day() {
        for zone in ["America/St_Johns", "America/Havana", "Africa/Cairo", "America/Sao_Paulo", "Pacific/Apia"] {
            let days = calendar(zone);
            let mut before = i64::MIN;
            for minute in 0..3 * 366 * 24 * 60 / 5 {
                let time = micros("2009-01-01T00:00:30Z") + minute * 5 * 60_000_000;
                // Every five minutes, and near a switch at midnight each half a minute.
                for time in (0..10).map(|n| time + n * 30_000_000) {
                    let day = days.day(time).expect("in range");
                    assert!(day >= before, "{zone}: {time} is of day {day}, an earlier one of {before}");
                    before = day;
                }
            }
        }
    }

    #[test]
    fn windows_of_days_hold_the_time() {
        let zone = || calendar("Europe/Berlin");
        let call = |function, numbers: &[i64]| Call { function, calendar: zone(), numbers: numbers.to_vec() };
        let date = |text: &str| micros(&format!("{text}+01:00"));
        let summer = |text: &str| micros(&format!("{text}+02:00"));
        // Weeks from Monday: 1970-01-05 was one.
        let week = call(Function::Start, &[7, 4]);
        let start = week.value(summer("2026-03-29T23:59:59")).expect("in range");
        assert_eq!(start, date("2026-03-23T00:00:00"));
        assert_eq!(call(Function::End, &[7]).value(start), Some(summer("2026-03-30T00:00:00")));
        let mut found = Vec::new();
        call(Function::Starts, &[1, 3, 0]).values(summer("2026-03-30T12:00:00"), &mut found).expect("in range");
        assert_eq!(found, [date("2026-03-28T00:00:00"), date("2026-03-29T00:00:00"), summer("2026-03-30T00:00:00")]);
        assert_eq!(call(Function::First, &[1, 3, 0]).value(summer("2026-03-30T12:00:00")), Some(found[0]));
        let mut found = Vec::new();
        call(Function::Ends, &[1, 7, 4]).values(date("2026-03-28T12:00:00"), &mut found).expect("in range");
        assert_eq!(found, [date("2026-03-29T00:00:00"), summer("2026-03-30T00:00:00")]);
        // Slides longer than windows leave gaps.
        let mut found = Vec::new();
        call(Function::Starts, &[7, 1, 4]).values(summer("2026-03-31T12:00:00"), &mut found).expect("in range");
        assert!(found.is_empty());
        assert_eq!(week.value(i64::MAX), None);
    }
}
