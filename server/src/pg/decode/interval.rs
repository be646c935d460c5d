//! Intervals from text: `1 year 2 mons -3 days 04:05:06.7`, `@ 1 hour ago`, `P1Y2M3DT4H5M6.7S`.

use arrow::datatypes::IntervalMonthDayNano;
use sql::{SqlError, SqlState};

/// Months, days and µs as they add up.
#[derive(Default)]
struct Sum {
    months: f64,
    days: f64,
    micros: i128,
}

/// Reads an interval.
///
/// # Errors
/// 22007 for what is none, 22008 for what does not fit.
pub(super) fn parse(text: &str) -> Result<IntervalMonthDayNano, SqlError> {
    let lower = text.to_ascii_lowercase();
    let sum = match lower.strip_prefix('p') {
        Some(rest) => iso(rest),
        None => words(&lower),
    };
    let bad = || {
        let message = format!("invalid input syntax for type interval: \"{}\"", super::shown(text));
        SqlError::new(SqlState("22007"), message)
    };
    let range = || SqlError::new(SqlState("22008"), format!("interval out of range: \"{}\"", super::shown(text)));
    finish(sum.ok_or_else(bad)?).ok_or_else(range)
}

/// Fractions of a month become days of 30 to the month, fractions of a day become µs.
fn finish(sum: Sum) -> Option<IntervalMonthDayNano> {
    let months = sum.months.trunc();
    let days = sum.days + (sum.months - months) * 30.0;
    let whole_days = days.trunc();
    let micros = sum.micros + micros_of((days - whole_days) * 86_400.0)?;
    let nanoseconds = i64::try_from(micros.checked_mul(1000)?).ok()?;
    Some(IntervalMonthDayNano::new(whole(months)?, whole(whole_days)?, nanoseconds))
}

fn whole(value: f64) -> Option<i32> {
    // The bounds make the cast exact.
    #[allow(clippy::cast_possible_truncation)]
    (value.abs() <= f64::from(i32::MAX)).then_some(value as i32)
}

fn micros_of(seconds: f64) -> Option<i128> {
    let micros = (seconds * 1e6).round();
    // The bound makes the cast exact enough: f64 holds whole numbers up to 2^53.
    #[allow(clippy::cast_possible_truncation)]
    (micros.abs() < 1e19).then_some(micros as i128)
}

fn words(text: &str) -> Option<Sum> {
    let mut sum = Sum::default();
    let mut tokens = tokens(text)?.into_iter().peekable();
    let mut ago = false;
    let mut seen = false;
    while let Some(token) = tokens.next() {
        match token {
            "@" => continue,
            "ago" => ago = true,
            token if token.contains(':') => sum.micros += clock(token)?,
            token => {
                let number: f64 = number(token)?;
                match tokens.peek().filter(|t| t.starts_with(|c: char| c.is_ascii_alphabetic()) && **t != "ago") {
                    Some(unit) => {
                        add(&mut sum, number, unit)?;
                        tokens.next();
                    }
                    None => add(&mut sum, number, "s")?,
                }
            }
        }
        seen = true;
    }
    if ago {
        sum = Sum { months: -sum.months, days: -sum.days, micros: -sum.micros };
    }
    seen.then_some(sum)
}

/// Splits at blanks and where a number meets its unit.
fn tokens(text: &str) -> Option<Vec<&str>> {
    let mut tokens = Vec::new();
    for word in text.split_ascii_whitespace() {
        match word.find(|c: char| c.is_ascii_alphabetic()) {
            Some(0) | None => tokens.push(word),
            Some(at) => tokens.extend([word.get(..at)?, word.get(at..)?]),
        }
    }
    Some(tokens)
}

/// Digits, a sign, a point; words such as `nan` are no numbers here.
fn number(text: &str) -> Option<f64> {
    let plain = |b: u8| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.');
    text.bytes().all(plain).then(|| text.parse().ok())?
}

fn add(sum: &mut Sum, value: f64, unit: &str) -> Option<()> {
    let singular = if unit.len() > 2 { unit.strip_suffix('s').unwrap_or(unit) } else { unit };
    match singular {
        "microsecond" | "usec" | "us" | "usecond" => sum.micros += micros_of(value / 1e6)?,
        "millisecond" | "msec" | "ms" | "msecond" => sum.micros += micros_of(value / 1e3)?,
        "second" | "sec" | "s" => sum.micros += micros_of(value)?,
        "minute" | "min" | "m" => sum.micros += micros_of(value * 60.0)?,
        "hour" | "hr" | "h" => sum.micros += micros_of(value * 3600.0)?,
        "day" | "d" => sum.days += value,
        "week" | "w" => sum.days += value * 7.0,
        "month" | "mon" => sum.months += value,
        "year" | "yr" | "y" => sum.months += years(value),
        "decade" | "dec" => sum.months += years(value * 10.0),
        "century" | "centurie" | "cent" | "c" => sum.months += years(value * 100.0),
        "millennium" | "millennia" | "mil" => sum.months += years(value * 1000.0),
        _ => return None,
    }
    Some(())
}

/// Fractions of a year are rounded to months.
fn years(value: f64) -> f64 {
    (value * 12.0).round()
}

/// `[±]h:m[:s[.f]]` in µs.
fn clock(text: &str) -> Option<i128> {
    let (negative, text) = match text.split_at_checked(1)? {
        ("-", rest) => (true, rest),
        ("+", rest) => (false, rest),
        _ => (false, text),
    };
    let mut parts = text.split(':');
    let whole = |part: &str| -> Option<i128> {
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<u32>().ok())?.map(i128::from)
    };
    let hours = whole(parts.next()?)?;
    let minutes = whole(parts.next()?).filter(|m| *m < 60)?;
    let seconds = match parts.next() {
        Some(part) if !part.starts_with(['+', '-']) => number(part).filter(|s| *s < 61.0)?,
        Some(_) => return None,
        None => 0.0,
    };
    let micros = (hours * 3600 + minutes * 60) * 1_000_000 + micros_of(seconds)?;
    parts.next().is_none().then_some(if negative { -micros } else { micros })
}

/// After the P: `1y2m3w4dt5h6m7.8s`.
fn iso(text: &str) -> Option<Sum> {
    let mut sum = Sum::default();
    let (dates, times) = text.split_once('t').map_or((text, ""), |(dates, times)| (dates, times));
    for (part, in_time) in [(dates, false), (times, true)] {
        let mut rest = part;
        while !rest.is_empty() {
            let at = rest.find(|c: char| c.is_ascii_alphabetic())?;
            let value = number(rest.get(..at)?)?;
            let unit = match (rest.as_bytes()[at], in_time) {
                (b'y', false) => "year",
                (b'm', false) => "month",
                (b'w', false) => "week",
                (b'd', false) => "day",
                (b'h', true) => "hour",
                (b'm', true) => "minute",
                (b's', true) => "second",
                _ => return None,
            };
            add(&mut sum, value, unit)?;
            rest = rest.get(at + 1..)?;
        }
    }
    (text.len() > 1).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_in_every_style() {
        let is = |text: &str, months, days, micros: i64| {
            assert_eq!(parse(text), Ok(IntervalMonthDayNano::new(months, days, micros * 1000)), "{text}");
        };
        is("1 year 2 mons 3 days 04:05:06.7", 14, 3, 14_706_700_000);
        is("-1 years -2 mons +3 days -04:05:06", -14, 3, -14_706_000_000);
        is("P1Y2M3DT4H5M6.7S", 14, 3, 14_706_700_000);
        is("@ 1 hour ago", 0, 0, -3_600_000_000);
        is("1.5 days", 0, 1, 43_200_000_000);
        is("1.5 months", 1, 15, 0);
        is("10ms", 0, 0, 10_000);
        is("5", 0, 0, 5_000_000);
        is("PT0S", 0, 0, 0);
    }

    #[test]
    fn what_is_no_interval_is_refused() {
        for text in ["", "soon", "1 lightyear", "1:2:3:4", "P", "nan days", "1 dayé", "é", "--1 day"] {
            assert_eq!(parse(text).expect_err(text).state.0, "22007", "{text}");
        }
        assert_eq!(parse("99999999999 years").expect_err("too long").state.0, "22008");
    }
}
