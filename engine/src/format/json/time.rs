//! Dates and times as text: ISO 8601 in the forms Postgres and JSON libraries write.
//!
//! In: a string inside a record. Out: days or microseconds since the Unix epoch. Years are 0001 to 9999, written with
//! four digits. A fraction has up to nine digits, of which those beyond the microsecond are dropped. As in Postgres a
//! timestamp's second may be 60 and its day may end at 24:00:00; both roll over.

use super::lanes::{POWERS_OF_TEN, leading_digits, load8, load16, parse_digits};
use super::mismatch::Trouble;

/// Microseconds in a second.
pub(super) const SECOND: i64 = 1_000_000;
/// Microseconds in a day.
pub(super) const DAY: i64 = 86_400 * SECOND;
/// 0001-01-01, days since the Unix epoch.
const DAYS_MIN: i64 = -719_162;
/// 9999-12-31, days since the Unix epoch.
const DAYS_MAX: i64 = 2_932_896;

/// `days` if it lies in the years 0001 to 9999.
pub(super) fn check_days(days: i64) -> Result<i32, Trouble> {
    if (DAYS_MIN..=DAYS_MAX).contains(&days) { Ok(days as i32) } else { Err(Trouble::Range) }
}

/// `micros` if it lies in the years 0001 to 9999.
#[inline(always)]
pub(super) fn check_micros(micros: i64) -> Result<i64, Trouble> {
    if (DAYS_MIN * DAY..(DAYS_MAX + 1) * DAY).contains(&micros) { Ok(micros) } else { Err(Trouble::Range) }
}

/// The last minute read. Records that follow one another mostly share it, so it is read once a minute, not once a row.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LastMinute {
    /// `2026-11-22T15:00`
    text: u128,
    micros: i64,
}

/// The timestamp string at `bytes[start..end]`: µs since the Unix epoch, in UTC. One without an offset is taken as UTC.
///
/// The common form, `2026-11-22T15:00:04` with an optional fraction and an optional `Z`, is read in three loads; every
/// other takes the way of [`timestamp_any_form`], which accepts the common form with the same result.
#[inline(always)]
pub(super) fn timestamp(bytes: &[u8], start: usize, end: usize, last: &mut LastMinute) -> Result<i64, Trouble> {
    if let Some(micros) = timestamp_common_form(bytes, start, end, last) {
        return Ok(micros);
    }
    let text = bytes.get(start..end).unwrap_or_default();
    let micros = timestamp_any_form(text)?;
    // Hour 24 has no minute of its own.
    if let Some(minute) = text.first_chunk::<16>().filter(|minute| minute[11..13] != *b"24")
        && let Ok(micros) = timestamp_any_form(minute)
    {
        *last = LastMinute { text: u128::from_le_bytes(*minute), micros };
    }
    Ok(micros)
}

#[inline(always)]
fn timestamp_common_form(bytes: &[u8], start: usize, end: usize, last: &LastMinute) -> Option<i64> {
    // What is read past the end of the string is told apart by its length.
    if load16(bytes, start) != last.text {
        return None;
    }
    let word = load8(bytes, start + 16);
    let (tens, ones) = ((word >> 8) as u8 ^ b'0', (word >> 16) as u8 ^ b'0');
    if word as u8 != b':' || tens > 5 || ones > 9 {
        return None;
    }
    let second = i64::from(tens) * 10 + i64::from(ones);
    let (fraction, length) = if (word >> 24) as u8 == b'.' {
        let word = load8(bytes, start + 20);
        match leading_digits(word) {
            count @ 1..=6 => ((parse_digits(word, count) * POWERS_OF_TEN[6 - count]) as i64, 20 + count),
            _ => return None,
        }
    } else {
        (0, 19)
    };
    let zone = usize::from(load8(bytes, start + length) as u8 == b'Z');
    if start + length + zone != end {
        return None;
    }
    Some(last.micros + second * SECOND + fraction)
}

/// A timestamp string in any form accepted: a date, then perhaps `T` or a space and a time of day, then perhaps `Z` or
/// an offset.
pub(super) fn timestamp_any_form(text: &[u8]) -> Result<i64, Trouble> {
    let (days, clock) = split_date(text)?;
    let Some((separator, clock)) = clock.split_first() else {
        return check_micros(i64::from(days) * DAY);
    };
    if !matches!(separator, b'T' | b't' | b' ') {
        return Err(Trouble::Type);
    }
    let (micros, zone) = split_time_of_day(clock)?;
    check_micros(i64::from(days) * DAY + micros - offset(zone)?)
}

/// A date: `YYYY-MM-DD`, days since the Unix epoch; of a timestamp string, the date as it is written there.
pub(super) fn date_of(text: &[u8]) -> Result<i32, Trouble> {
    let (days, rest) = split_date(text)?;
    if !rest.is_empty() {
        timestamp_any_form(text)?;
    }
    Ok(days)
}

/// A time of day: µs since midnight. It is less than a day: Arrow's readers know no 24:00:00.
pub(super) fn time_of_day(text: &[u8]) -> Result<i64, Trouble> {
    let (micros, rest) = split_time_of_day(text)?;
    match rest.is_empty() {
        true if micros < DAY => Ok(micros),
        true => Err(Trouble::Range),
        false => Err(Trouble::Type),
    }
}

fn split_date(text: &[u8]) -> Result<(i32, &[u8]), Trouble> {
    let (date, rest) = text.split_first_chunk::<10>().ok_or(Trouble::Type)?;
    Ok((self::date(date)?, rest))
}

fn date(text: &[u8; 10]) -> Result<i32, Trouble> {
    if text[4] != b'-' || text[7] != b'-' {
        return Err(Trouble::Type);
    }
    let year = number(&text[..4])?;
    let (month, day) = (number(&text[5..7])?, number(&text[8..])?);
    if year == 0 || !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return Err(Trouble::Range);
    }
    Ok(days_from_civil(year, month, day) as i32)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since the Unix epoch of a date in the proleptic Gregorian calendar, year 1 or later.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // The year begins in March, so the leap day is its last.
    let year = if month <= 2 { year - 1 } else { year };
    let (century, month) = (year / 400, (month + 9) % 12);
    let year_of_era = year - century * 400;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    century * 146_097 + day_of_era - 719_468
}

/// `HH:MM[:SS[.fraction]]`: µs since midnight, up to 24 hours, and what follows it.
fn split_time_of_day(text: &[u8]) -> Result<(i64, &[u8]), Trouble> {
    let (hour, text) = split_two_digits(text)?;
    let (minute, mut text) = split_two_digits(text.strip_prefix(b":").ok_or(Trouble::Type)?)?;
    let (mut second, mut fraction) = (0, 0);
    if let Some(rest) = text.strip_prefix(b":") {
        (second, text) = split_two_digits(rest)?;
        if let Some(rest) = text.strip_prefix(b".") {
            let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if count == 0 || count > 9 {
                return Err(Trouble::Type);
            }
            let kept = count.min(6);
            fraction = number(&rest[..kept])? * POWERS_OF_TEN[6 - kept] as i64;
            text = &rest[count..];
        }
    }
    let micros = ((hour * 60 + minute) * 60 + second) * SECOND + fraction;
    if hour > 24 || minute > 59 || second > 60 || (hour == 24 && micros > DAY) {
        return Err(Trouble::Range);
    }
    Ok((micros, text))
}

/// An offset from UTC in µs, east positive: nothing, `Z`, or `±hh[[:]mm[[:]ss]]`.
fn offset(text: &[u8]) -> Result<i64, Trouble> {
    let Some((sign, mut rest)) = text.split_first() else {
        return Ok(0);
    };
    let sign = match sign {
        b'Z' | b'z' if rest.is_empty() => return Ok(0),
        b'+' => 1,
        b'-' => -1,
        _ => return Err(Trouble::Type),
    };
    let mut parts = [0; 3];
    for (i, part) in parts.iter_mut().enumerate() {
        if i > 0 && rest.is_empty() {
            break;
        }
        let digits = if i > 0 { rest.strip_prefix(b":").unwrap_or(rest) } else { rest };
        (*part, rest) = split_two_digits(digits)?;
    }
    if !rest.is_empty() {
        return Err(Trouble::Type);
    }
    // Postgres allows offsets up to 15:59:59.
    if parts[0] > 15 || parts[1] > 59 || parts[2] > 59 {
        return Err(Trouble::Range);
    }
    Ok(sign * ((parts[0] * 60 + parts[1]) * 60 + parts[2]) * SECOND)
}

fn split_two_digits(text: &[u8]) -> Result<(i64, &[u8]), Trouble> {
    let (digits, rest) = text.split_first_chunk::<2>().ok_or(Trouble::Type)?;
    Ok((number(digits)?, rest))
}

/// The number written by `digits`, at most nine of them.
fn number(digits: &[u8]) -> Result<i64, Trouble> {
    digits.iter().try_fold(0, |number, digit| match digit {
        b'0'..=b'9' => Ok(number * 10 + i64::from(digit - b'0')),
        _ => Err(Trouble::Type),
    })
}
