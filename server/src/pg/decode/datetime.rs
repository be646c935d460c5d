//! Dates and times from text: ISO 8601 with everything around it that PostgreSQL's clients send.

use sql::{SqlError, SqlState};

use super::super::datetime::{DAY_MICROS, days_from_civil, days_in_month};
use crate::session::time_zone::{TimeZone, parse_offset};

/// A date, maybe a time, maybe where.
struct Reading {
    days: i64,
    /// µs since midnight; up to one whole day.
    micros: i64,
    /// Seconds east of Greenwich.
    offset: Option<Zone>,
}

enum Zone {
    Offset(i32),
    Named(TimeZone),
}

/// Days since the Unix epoch.
pub(super) fn date(text: &str) -> Result<i32, SqlError> {
    match special(text) {
        Some(Special::Infinity) => return Ok(i32::MAX),
        Some(Special::MinusInfinity) => return Ok(i32::MIN),
        Some(Special::Epoch) => return Ok(0),
        None => {}
    }
    let reading = read(text, "date")?;
    // PostgreSQL holds dates up to the year 5874897.
    i32::try_from(reading.days).ok().filter(|days| *days < 2_145_031_949).ok_or_else(|| out_of_range("date", text))
}

/// µs since midnight; 24:00:00 is a time.
pub(super) fn time(text: &str) -> Result<i64, SqlError> {
    let (micros, rest) = clock(text).map_err(|fault| fault.error("time", text))?;
    if !rest.trim().is_empty() {
        // A zone after a plain time is read and ignored.
        zone(rest.trim()).ok_or_else(|| bad("time", text))?;
    }
    Ok(micros)
}

/// µs since the Unix epoch; an offset is read and ignored.
pub(super) fn timestamp(text: &str) -> Result<i64, SqlError> {
    match special(text) {
        Some(Special::Infinity) => return Ok(i64::MAX),
        Some(Special::MinusInfinity) => return Ok(i64::MIN),
        Some(Special::Epoch) => return Ok(0),
        None => {}
    }
    let reading = read(text, "timestamp")?;
    local_micros(&reading).ok_or_else(|| out_of_range("timestamp", text))
}

/// µs since the Unix epoch, UTC; without an offset the reading is on the clocks of `session`.
pub(super) fn timestamptz(text: &str, session: TimeZone) -> Result<i64, SqlError> {
    const NAME: &str = "timestamp with time zone";
    match special(text) {
        Some(Special::Infinity) => return Ok(i64::MAX),
        Some(Special::MinusInfinity) => return Ok(i64::MIN),
        Some(Special::Epoch) => return Ok(0),
        None => {}
    }
    let reading = read(text, NAME)?;
    let local = local_micros(&reading).ok_or_else(|| out_of_range(NAME, text))?;
    let offset = match reading.offset {
        Some(Zone::Offset(seconds)) => seconds,
        Some(Zone::Named(zone)) => zone.offset_of_local(local),
        None => session.offset_of_local(local),
    };
    local.checked_sub(i64::from(offset) * 1_000_000).ok_or_else(|| out_of_range(NAME, text))
}

/// The range of both timestamps ends before the counts that stand for infinity.
fn local_micros(reading: &Reading) -> Option<i64> {
    let micros = reading.days.checked_mul(DAY_MICROS)?.checked_add(reading.micros)?;
    // From 4713 BC, as PostgreSQL, to the end of i64 counted from 1970: 28 years short of PostgreSQL's, who counts from
    // 2000. The last count stands for infinity.
    (-210_866_803_200_000_000..i64::MAX).contains(&micros).then_some(micros)
}

enum Special {
    Infinity,
    MinusInfinity,
    Epoch,
}

fn special(text: &str) -> Option<Special> {
    match text.to_ascii_lowercase().as_str() {
        "infinity" | "+infinity" => Some(Special::Infinity),
        "-infinity" => Some(Special::MinusInfinity),
        "epoch" => Some(Special::Epoch),
        _ => None,
    }
}

/// What is wrong with a reading.
enum Fault {
    Syntax,
    Range,
}

impl Fault {
    fn error(self, name: &str, text: &str) -> SqlError {
        match self {
            Self::Syntax => bad(name, text),
            Self::Range => SqlError::new(
                SqlState("22008"),
                format!("date/time field value out of range: \"{}\"", super::shown(text)),
            ),
        }
    }
}

fn bad(name: &str, text: &str) -> SqlError {
    SqlError::new(SqlState("22007"), format!("invalid input syntax for type {name}: \"{}\"", super::shown(text)))
}

fn out_of_range(name: &str, text: &str) -> SqlError {
    SqlError::new(SqlState("22008"), format!("{name} out of range: \"{}\"", super::shown(text)))
}

fn read(text: &str, name: &str) -> Result<Reading, SqlError> {
    reading(text).map_err(|fault| fault.error(name, text))
}

/// `y-m-d[( |T)h:m[:s[.f]]][ ][zone][ BC|AD]`.
fn reading(text: &str) -> Result<Reading, Fault> {
    let lower = text.to_ascii_lowercase();
    let (body, before_christ) = match lower.strip_suffix(" bc") {
        Some(body) => (body.trim_end(), true),
        None => (lower.strip_suffix(" ad").unwrap_or(&lower).trim_end(), false),
    };
    let (year, month, day, rest) = civil(body)?;
    if year < 1 || !(1..=12).contains(&month) || day < 1 {
        return Err(Fault::Range);
    }
    let year = if before_christ { 1 - year } else { year };
    if day > days_in_month(year, month) {
        return Err(Fault::Range);
    }
    let days = days_from_civil(year, month, day);

    let rest = rest.strip_prefix('t').unwrap_or(rest).trim_start();
    if rest.is_empty() {
        return Ok(Reading { days, micros: 0, offset: None });
    }
    let (micros, rest) = if rest.starts_with(|c: char| c.is_ascii_digit()) { clock(rest)? } else { (0, rest) };
    let rest = rest.trim();
    let offset = if rest.is_empty() { None } else { Some(zone(rest).ok_or(Fault::Syntax)?) };
    Ok(Reading { days, micros, offset })
}

/// `yyyy-mm-dd`, `yyyy/mm/dd`, `yyyymmdd`; what follows is returned.
fn civil(text: &str) -> Result<(i64, u32, u32, &str), Fault> {
    let (year, rest) = digits(text, 7).ok_or(Fault::Syntax)?;
    if let Some(separator) = rest.chars().next().filter(|c| matches!(c, '-' | '/')) {
        // A two-digit year would need a guess; day-first orders would too.
        if text.len() - rest.len() < 3 {
            return Err(Fault::Syntax);
        }
        let (month, rest) = digits(&rest[1..], 2).ok_or(Fault::Syntax)?;
        let rest = rest.strip_prefix(separator).ok_or(Fault::Syntax)?;
        let (day, rest) = digits(rest, 2).ok_or(Fault::Syntax)?;
        return Ok((year, field(month), field(day), rest));
    }
    let packed = text.get(..8).filter(|t| t.bytes().all(|b| b.is_ascii_digit())).ok_or(Fault::Syntax)?;
    let number = |range: std::ops::Range<usize>| packed[range].parse::<i64>().map_err(|_| Fault::Syntax);
    Ok((number(0..4)?, field(number(4..6)?), field(number(6..8)?), &text[8..]))
}

/// `h:m[:s[.f]]` to µs; what follows is returned.
fn clock(text: &str) -> Result<(i64, &str), Fault> {
    let (hours, rest) = digits(text, 2).ok_or(Fault::Syntax)?;
    let rest = rest.strip_prefix(':').ok_or(Fault::Syntax)?;
    let (minutes, mut rest) = digits(rest, 2).ok_or(Fault::Syntax)?;
    let (mut seconds, mut fraction) = (0, 0);
    if let Some(tail) = rest.strip_prefix(':') {
        (seconds, rest) = digits(tail, 2).ok_or(Fault::Syntax)?;
        if let Some(tail) = rest.strip_prefix('.') {
            (fraction, rest) = micros(tail);
        }
    }
    let total = (hours * 3600 + minutes * 60 + seconds) * 1_000_000 + fraction;
    if minutes > 59 || seconds > 60 || total > DAY_MICROS { Err(Fault::Range) } else { Ok((total, rest)) }
}

/// The digits after a point as µs, rounded.
fn micros(text: &str) -> (i64, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (taken, rest) = text.split_at(end);
    let mut value = 0;
    for position in 0..6 {
        value = value * 10 + taken.as_bytes().get(position).map_or(0, |b| i64::from(b - b'0'));
    }
    (value + i64::from(taken.as_bytes().get(6).is_some_and(|b| *b >= b'5')), rest)
}

/// `z`, `utc`, `+01`, `-05:30`, `europe/berlin`.
fn zone(text: &str) -> Option<Zone> {
    if text.starts_with(['+', '-']) {
        return parse_offset(text).map(Zone::Offset);
    }
    if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    TimeZone::parse(text).map(Zone::Named)
}

/// One to `most` digits at the start of `text`.
fn digits(text: &str, most: usize) -> Option<(i64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    if end == 0 {
        return None;
    }
    let (number, rest) = text.split_at(end);
    // Too many digits are no such field; the packed form is looked at by its own reader.
    match end <= most {
        true => Some((number.parse().ok()?, rest)),
        false => Some((0, rest)),
    }
}

fn field(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_of_clients_are_understood() {
        let at = |text| timestamptz(text, TimeZone::UTC).ok();
        let instant = at("2023-01-02 03:04:05.6+00");
        assert!(instant.is_some());
        assert_eq!(at("2023-01-02T03:04:05.600Z"), instant);
        assert_eq!(at("20230102 03:04:05.6"), instant);
        assert_eq!(at("2023-01-02 04:04:05.6 Europe/Berlin"), instant);
        assert_eq!(at("2023-01-02 08:34:05.6+05:30"), instant);
        assert_eq!(at("2023/1/2 3:4:05.5999999"), instant);
        assert_eq!(timestamp("2023-01-02T03:04:05.6-09").ok(), instant);
        assert_eq!(time("03:04:05.6+01").ok(), Some(11_045_600_000));
    }

    #[test]
    fn what_is_no_date_is_refused_by_its_state() {
        let state = |text| timestamp(text).expect_err("refused").state.0;
        assert_eq!(state("2023-13-01"), "22008");
        assert_eq!(state("2023-02-29"), "22008");
        assert_eq!(state("0000-01-01"), "22008");
        assert_eq!(state("2023-01-01 25:00:00"), "22008");
        assert_eq!(state("300000-01-01"), "22008");
        assert_eq!(state("soon"), "22007");
        assert_eq!(state(""), "22007");
        assert_eq!(state("2023-01-01 nowhere"), "22007");
        assert_eq!(state("é-01-01"), "22007");
        assert_eq!(state("99999999999999999999"), "22008");
    }
}
