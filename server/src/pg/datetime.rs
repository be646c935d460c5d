//! Dates and times between Arrow's counts and Postgres's texts, over the whole range of both.
//!
//! Counts are days or µs since the Unix epoch; Postgres counts from 2000-01-01 on the wire. The calendar is the
//! proleptic Gregorian one: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".

use bytes::{BufMut, BytesMut};

use crate::session::time_zone::TimeZone;

/// Days from the Unix epoch to 2000-01-01.
pub(crate) const EPOCH_DAYS: i32 = 10_957;
/// µs from the Unix epoch to 2000-01-01.
pub(crate) const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * DAY_MICROS;
/// µs in a day.
pub(crate) const DAY_MICROS: i64 = 86_400_000_000;
const SECOND_MICROS: i64 = 1_000_000;

/// The date of a day: (year, month, day); year 0 is 1 BC.
pub(crate) fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = small(day_of_year - (153 * month_from_march + 2) / 5 + 1);
    let month = small(if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 });
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The day of a date; the month must be 1 to 12.
pub(crate) fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The number of days of a month.
pub(crate) fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// `2023-01-31`, `0044-03-15 BC`, `infinity`.
pub(crate) fn write_date(days: i32, out: &mut BytesMut) {
    match days {
        i32::MAX => out.put_slice(b"infinity"),
        i32::MIN => out.put_slice(b"-infinity"),
        days => {
            let before_christ = put_civil(i64::from(days), out);
            if before_christ {
                out.put_slice(b" BC");
            }
        }
    }
}

/// `04:05:06.7`: µs since midnight, the fraction without trailing zeros.
pub(crate) fn write_time(micros: i64, out: &mut BytesMut) {
    let seconds = micros / SECOND_MICROS;
    put_padded(seconds / 3600, 2, out);
    out.put_u8(b':');
    put_padded(seconds / 60 % 60, 2, out);
    out.put_u8(b':');
    put_padded(seconds % 60, 2, out);
    write_fraction(micros % SECOND_MICROS, out);
}

/// `.123` for 123000 µs; nothing for zero.
pub(crate) fn write_fraction(micros: i64, out: &mut BytesMut) {
    if micros == 0 {
        return;
    }
    let (mut fraction, mut digits) = (micros, 6);
    while fraction % 10 == 0 {
        fraction /= 10;
        digits -= 1;
    }
    out.put_u8(b'.');
    put_padded(fraction, digits, out);
}

/// `2023-01-31 04:05:06.7`, ` BC` at the end where it is due.
pub(crate) fn write_timestamp(micros: i64, out: &mut BytesMut) {
    if write_infinity(micros, out) {
        return;
    }
    let before_christ = put_civil(micros.div_euclid(DAY_MICROS), out);
    out.put_u8(b' ');
    write_time(micros.rem_euclid(DAY_MICROS), out);
    if before_christ {
        out.put_slice(b" BC");
    }
}

/// `2023-01-31 04:05:06.7+01`: an instant on the clocks of `zone`.
pub(crate) fn write_timestamptz(micros: i64, zone: TimeZone, out: &mut BytesMut) {
    if write_infinity(micros, out) {
        return;
    }
    let offset = zone.offset_at(micros);
    let local = i128::from(micros) + i128::from(offset) * i128::from(SECOND_MICROS);
    // Only an instant within a day of i64's ends can leave i64; it then shows the last one that fits.
    let local = i64::try_from(local).unwrap_or(micros);
    let before_christ = put_civil(local.div_euclid(DAY_MICROS), out);
    out.put_u8(b' ');
    write_time(local.rem_euclid(DAY_MICROS), out);
    write_offset(offset, out);
    if before_christ {
        out.put_slice(b" BC");
    }
}

/// `+01`, `+05:30`, `-00:44:30`.
fn write_offset(offset: i32, out: &mut BytesMut) {
    out.put_u8(if offset < 0 { b'-' } else { b'+' });
    let seconds = i64::from(offset).abs();
    put_padded(seconds / 3600, 2, out);
    if seconds % 3600 != 0 {
        out.put_u8(b':');
        put_padded(seconds / 60 % 60, 2, out);
    }
    if seconds % 60 != 0 {
        out.put_u8(b':');
        put_padded(seconds % 60, 2, out);
    }
}

fn write_infinity(micros: i64, out: &mut BytesMut) -> bool {
    match micros {
        i64::MAX => out.put_slice(b"infinity"),
        i64::MIN => out.put_slice(b"-infinity"),
        _ => return false,
    }
    true
}

/// Writes `yyyy-mm-dd` and says whether the year is before Christ.
fn put_civil(days: i64, out: &mut BytesMut) -> bool {
    let (year, month, day) = civil_from_days(days);
    put_padded(if year > 0 { year } else { 1 - year }, 4, out);
    out.put_u8(b'-');
    put_padded(i64::from(month), 2, out);
    out.put_u8(b'-');
    put_padded(i64::from(day), 2, out);
    year <= 0
}

/// `value`, never negative, with zeros in front up to `width`.
pub(crate) fn put_padded(value: i64, width: usize, out: &mut BytesMut) {
    let mut digits = [b'0'; 20];
    let (mut rest, mut start) = (value.unsigned_abs(), digits.len());
    while rest > 0 || digits.len() - start < width {
        start -= 1;
        digits[start] = b'0' + digit(rest % 10);
        rest /= 10;
    }
    out.put_slice(&digits[start..]);
}

fn digit(value: u64) -> u8 {
    u8::try_from(value).expect("a remainder of ten")
}

fn small(value: i64) -> u32 {
    u32::try_from(value).expect("a day or a month")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar_turns_both_ways() {
        for days in (-800_000..3_000_000).step_by(97) {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
            assert!(day <= days_in_month(year, month));
        }
        assert_eq!(civil_from_days(i64::from(EPOCH_DAYS)), (2000, 1, 1));
        assert_eq!(civil_from_days(0), (1970, 1, 1));
    }

    #[test]
    fn the_ends_of_the_range_are_written_without_overflow() {
        let mut out = BytesMut::new();
        write_timestamptz(i64::MAX - 1, TimeZone::Fixed(50_000), &mut out);
        out.put_u8(b'|');
        write_timestamptz(i64::MIN + 1, TimeZone::Fixed(-50_000), &mut out);
        assert!(!out.is_empty());
    }
}
