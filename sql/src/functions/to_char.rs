//! `to_char(time, pattern)` with Postgres' patterns; DataFusion's takes another language and gives a pattern it does not
//! know back as text.
//!
//! Read: `YYYY YYY YY Y Y,YYY IYYY CC Q MM MON MONTH WW IW W DDD DD D ID DY DAY HH HH12 HH24 MI SS SSSS MS US FF1…FF6 AM PM J
//! TZ TZH TZM OF`, the prefix `FM`, the suffix `TH`, and text in double quotes. Names follow the pattern's case. Anything
//! else stands for itself, as in Postgres. Numbers have pictures of their own ([`super::number_picture`]).

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, AsArray, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Datelike, NaiveDateTime, Timelike};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::number_picture;
use crate::types;

/// The function's name.
pub const NAME: &str = "to_char";

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// See the module.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct ToChar {
    signature: Signature,
}

impl Default for ToChar {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for ToChar {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        let time = match arguments {
            [DataType::Timestamp(_, None) | DataType::Date32 | DataType::Null, _] => types::timestamp(),
            [DataType::Timestamp(_, Some(_)), _] => types::timestamptz(),
            [number @ DataType::Decimal128(..), _] => number.clone(),
            [number, _] if number.is_integer() => DataType::Decimal128(20, 0),
            [number, _] if number.is_floating() => DataType::Float64,
            [other, _] => return plan_err!("Function '{NAME}' expects a time or a number but received {other}"),
            _ => return plan_err!("Function '{NAME}' expects 2 arguments but received {}", arguments.len()),
        };
        Ok(vec![time, DataType::Utf8View])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [time, pattern] = args.args.as_slice() else {
            return exec_err!("{NAME} takes a time or a number, and a pattern");
        };
        if time.data_type().is_numeric() {
            let values = time.to_array(args.number_rows)?;
            let pictures = pattern.to_array(args.number_rows)?;
            let mut texts = number_picture::write_all(&values, pictures.as_string_view())?;
            return Ok(ColumnarValue::Array(Arc::new(texts.finish())));
        }
        let DataType::Timestamp(_, zone) = time.data_type() else {
            return exec_err!("{NAME} needs a timestamp");
        };
        let times = cast(&time.to_array(args.number_rows)?, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let patterns = pattern.to_array(args.number_rows)?;
        let patterns = patterns.as_string_view();
        let mut builder = StringViewBuilder::with_capacity(times.len());
        let mut known: Option<(String, Vec<Piece>)> = None;
        let mut text = String::new();
        for row in 0..times.len() {
            if times.is_null(row) || patterns.is_null(row) {
                builder.append_null();
                continue;
            }
            let pattern = patterns.value(row);
            if known.as_ref().is_none_or(|(known, _)| known != pattern) {
                known = Some((pattern.to_string(), pieces(pattern)));
            }
            text.clear();
            let time = DateTime::from_timestamp_micros(times.value(row)).map(|time| time.naive_utc());
            if let (Some((_, pieces)), Some(time)) = (&known, time) {
                write_time(&mut text, pieces, &time, zone.is_some());
            }
            builder.append_value(&text);
        }
        Ok(ColumnarValue::Array(Arc::new(builder.finish())))
    }
}

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    Field {
        /// In upper case.
        name: &'static str,
        /// As written, for the case of names.
        written: String,
        /// `FM`: without padding.
        bare: bool,
        /// `TH` or `th` behind it.
        ordinal: Option<&'static str>,
    },
}

/// The fields, every one before those it begins with.
const FIELDS: [&str; 45] = [
    "Y,YYY", "YYYY", "YYY", "YY", "IYYY", "Y", "CC", "Q", "MONTH", "MON", "MM", "MI", "MS", "WW", "IW", "W", "DDD",
    "DD", "DAY", "DY", "D", "ID", "HH24", "HH12", "HH", "SSSSS", "SSSS", "SS", "US", "FF1", "FF2", "FF3", "FF4", "FF5",
    "FF6", "A.M.", "P.M.", "AM", "PM", "J", "TZH", "TZM", "TZ", "OF", "B.C.",
];

fn pieces(pattern: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = pattern;
    let mut bare = false;
    while let Some(first) = rest.chars().next() {
        let upper = |n: usize| rest.get(..n).map(str::to_ascii_uppercase);
        if upper(2).as_deref() == Some("FM") {
            bare = true;
            rest = &rest[2..];
        } else if first == '"' {
            let quoted = &rest[1..];
            let end = quoted.find('"').unwrap_or(quoted.len());
            push_text(&mut pieces, &quoted[..end]);
            rest = quoted.get(end + 1..).unwrap_or("");
        } else if let Some(name) = FIELDS.into_iter().find(|name| upper(name.len()).as_deref() == Some(name)) {
            let written = rest[..name.len()].to_string();
            rest = &rest[name.len()..];
            let ordinal = ["TH", "th"].into_iter().find(|suffix| rest.starts_with(suffix));
            rest = &rest[ordinal.map_or(0, str::len)..];
            pieces.push(Piece::Field { name, written, bare, ordinal });
            bare = false;
        } else {
            push_text(&mut pieces, &rest[..first.len_utf8()]);
            rest = &rest[first.len_utf8()..];
        }
    }
    pieces
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        Some(Piece::Text(last)) => last.push_str(text),
        _ => pieces.push(Piece::Text(text.to_string())),
    }
}

fn write_time(text: &mut String, pieces: &[Piece], time: &NaiveDateTime, has_zone: bool) {
    for piece in pieces {
        match piece {
            Piece::Text(literal) => text.push_str(literal),
            Piece::Field { name, written, bare, ordinal } => {
                write_field(text, name, written, *bare, *ordinal, time, has_zone);
            }
        }
    }
}

fn write_field(
    text: &mut String,
    name: &str,
    written: &str,
    bare: bool,
    ordinal: Option<&str>,
    time: &NaiveDateTime,
    has_zone: bool,
) {
    let year = i64::from(if time.year() > 0 { time.year() } else { 1 - time.year() });
    let hour12 = i64::from(if time.hour().is_multiple_of(12) { 12 } else { time.hour() % 12 });
    let micros = i64::from(time.and_utc().timestamp_subsec_micros());
    let weekday = time.weekday().num_days_from_sunday();
    let (value, width) = match name {
        "YYYY" => (year, 4),
        "YYY" => (year % 1000, 3),
        "YY" => (year % 100, 2),
        "Y" => (year % 10, 1),
        "IYYY" => (i64::from(time.iso_week().year()), 4),
        "CC" => ((year + 99) / 100, 2),
        "Q" => (i64::from(time.month0() / 3 + 1), 1),
        "MM" => (i64::from(time.month()), 2),
        "WW" => (i64::from(time.ordinal0() / 7 + 1), 2),
        "IW" => (i64::from(time.iso_week().week()), 2),
        "W" => (i64::from(time.day0() / 7 + 1), 1),
        "DDD" => (i64::from(time.ordinal()), 3),
        "DD" => (i64::from(time.day()), 2),
        "D" => (i64::from(weekday) + 1, 1),
        "ID" => (i64::from(time.weekday().number_from_monday()), 1),
        "HH24" => (i64::from(time.hour()), 2),
        "HH12" | "HH" => (hour12, 2),
        "MI" => (i64::from(time.minute()), 2),
        "SS" => (i64::from(time.second()), 2),
        "SSSS" | "SSSSS" => (i64::from(time.num_seconds_from_midnight()), 1),
        "MS" | "FF3" => (micros / 1_000, 3),
        "US" | "FF6" => (micros, 6),
        "FF1" => (micros / 100_000, 1),
        "FF2" => (micros / 10_000, 2),
        "FF4" => (micros / 100, 4),
        "FF5" => (micros / 10, 5),
        // Days since 4714-11-24 BC, as chrono counts from the year 1.
        "J" => (i64::from(time.num_days_from_ce()) + 1_721_425, 1),
        _ => {
            write_words(text, name, written, bare, time, has_zone);
            return;
        }
    };
    // A fraction keeps its zeros, which carry its place.
    let width =
        if bare && !matches!(name, "MS" | "US" | "FF1" | "FF2" | "FF3" | "FF4" | "FF5" | "FF6") { 1 } else { width };
    // Writing to a String cannot fail.
    let _ = write!(text, "{value:0width$}");
    if let Some(case) = ordinal {
        let suffix = match (value % 10, value % 100) {
            (_, 11..=13) => "th",
            (1, _) => "st",
            (2, _) => "nd",
            (3, _) => "rd",
            _ => "th",
        };
        text.push_str(&if case == "TH" { suffix.to_ascii_uppercase() } else { suffix.to_string() });
    }
}

fn write_words(text: &mut String, name: &str, written: &str, bare: bool, time: &NaiveDateTime, has_zone: bool) {
    let month = MONTHS[time.month0() as usize % 12];
    let day = DAYS[time.weekday().num_days_from_sunday() as usize % 7];
    let word = match name {
        "MONTH" => in_case(month, written),
        "MON" => in_case(&month[..3], written),
        "DAY" => in_case(day, written),
        "DY" => in_case(&day[..3], written),
        "AM" | "PM" => in_case(if time.hour() < 12 { "AM" } else { "PM" }, written),
        "A.M." | "P.M." => in_case(if time.hour() < 12 { "A.M." } else { "P.M." }, written),
        "B.C." => in_case(if time.year() > 0 { "A.D." } else { "B.C." }, written),
        "Y,YYY" => format!("{},{:03}", time.year() / 1000, time.year().rem_euclid(1000)),
        "TZ" if has_zone => in_case("UTC", written),
        "TZH" | "OF" => "+00".into(),
        "TZM" => "00".into(),
        _ => String::new(),
    };
    // Long names are padded to the longest.
    let width = if bare || !matches!(name, "MONTH" | "DAY") { 0 } else { 9 };
    let _ = write!(text, "{word:width$}");
}

/// `word` in upper case, lower case, or capitalised, as the pattern was written.
fn in_case(word: &str, written: &str) -> String {
    let letters: Vec<char> = written.chars().filter(|c| c.is_ascii_alphabetic()).collect();
    match (letters.first(), letters.get(1)) {
        (Some(first), _) if first.is_ascii_lowercase() => word.to_ascii_lowercase(),
        (_, Some(second)) if second.is_ascii_lowercase() => {
            let mut chars = word.chars();
            chars
                .next()
                .map(|c| c.to_ascii_uppercase())
                .into_iter()
                .chain(chars.map(|c| c.to_ascii_lowercase()))
                .collect()
        }
        _ => word.to_ascii_uppercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From PostgreSQL 15: SELECT to_char(timestamp '…', '…').
    const CASES: [(&str, &str, &str); 72] = [
        ("2026-01-05 03:04:05.0607", "YYYY-MM-DD", "2026-01-05"),
        ("2026-01-05 03:04:05.0607", "YYYY-MM-DD HH24:MI:SS", "2026-01-05 03:04:05"),
        ("2026-01-05 03:04:05.0607", "yyyy/mm/dd hh12:mi AM", "2026/01/05 03:04 AM"),
        ("2026-01-05 03:04:05.0607", "YYYY-MM-DD\"T\"HH24:MI:SS.MS", "2026-01-05T03:04:05.060"),
        ("2026-01-05 03:04:05.0607", "US", "060700"),
        ("2026-01-05 03:04:05.0607", "FF3", "060"),
        ("2026-01-05 03:04:05.0607", "FMMonth DD", "January 05"),
        ("2026-01-05 03:04:05.0607", "Month DD", "January   05"),
        ("2026-01-05 03:04:05.0607", "MON mon Mon", "JAN jan Jan"),
        ("2026-01-05 03:04:05.0607", "DAY|Day|day|FMDay", "MONDAY   |Monday   |monday   |Monday"),
        ("2026-01-05 03:04:05.0607", "Dy DY dy", "Mon MON mon"),
        ("2026-01-05 03:04:05.0607", "DDD D ID W WW IW IYYY", "005 2 1 1 01 02 2026"),
        ("2026-01-05 03:04:05.0607", "Q CC Y YY YYY Y,YYY", "1 21 6 26 026 2,026"),
        ("2026-01-05 03:04:05.0607", "FMDDth DDTH", "5th 05TH"),
        ("2026-01-05 03:04:05.0607", "J SSSS", "2461046 11045"),
        ("2026-01-05 03:04:05.0607", "HH:MI a.m. P.M.", "03:04 a.m. A.M."),
        ("2026-01-05 03:04:05.0607", "FMMM/FMDD/YY", "1/5/26"),
        ("2026-01-05 03:04:05.0607", "\"quoted YYYY\" YYYY", "quoted YYYY 2026"),
        ("2026-01-05 03:04:05.0607", "é YYYY", "é 2026"),
        ("2026-01-05 03:04:05.0607", "", ""),
        ("2026-01-05 03:04:05.0607", "FMMS FMHH24", "060 3"),
        ("2026-01-05 03:04:05.0607", "TZ TZH:TZM OF", " +00:00 +00"),
        ("2026-01-05 03:04:05.0607", "HH24hMI", "03h04"),
        ("2026-01-05 03:04:05.0607", "Dth", "2nd"),
        ("1999-12-31 23:59:59.999999", "YYYY-MM-DD", "1999-12-31"),
        ("1999-12-31 23:59:59.999999", "YYYY-MM-DD HH24:MI:SS", "1999-12-31 23:59:59"),
        ("1999-12-31 23:59:59.999999", "yyyy/mm/dd hh12:mi AM", "1999/12/31 11:59 PM"),
        ("1999-12-31 23:59:59.999999", "YYYY-MM-DD\"T\"HH24:MI:SS.MS", "1999-12-31T23:59:59.999"),
        ("1999-12-31 23:59:59.999999", "US", "999999"),
        ("1999-12-31 23:59:59.999999", "FF3", "999"),
        ("1999-12-31 23:59:59.999999", "FMMonth DD", "December 31"),
        ("1999-12-31 23:59:59.999999", "Month DD", "December  31"),
        ("1999-12-31 23:59:59.999999", "MON mon Mon", "DEC dec Dec"),
        ("1999-12-31 23:59:59.999999", "DAY|Day|day|FMDay", "FRIDAY   |Friday   |friday   |Friday"),
        ("1999-12-31 23:59:59.999999", "Dy DY dy", "Fri FRI fri"),
        ("1999-12-31 23:59:59.999999", "DDD D ID W WW IW IYYY", "365 6 5 5 53 52 1999"),
        ("1999-12-31 23:59:59.999999", "Q CC Y YY YYY Y,YYY", "4 20 9 99 999 1,999"),
        ("1999-12-31 23:59:59.999999", "FMDDth DDTH", "31st 31ST"),
        ("1999-12-31 23:59:59.999999", "J SSSS", "2451544 86399"),
        ("1999-12-31 23:59:59.999999", "HH:MI a.m. P.M.", "11:59 p.m. P.M."),
        ("1999-12-31 23:59:59.999999", "FMMM/FMDD/YY", "12/31/99"),
        ("1999-12-31 23:59:59.999999", "\"quoted YYYY\" YYYY", "quoted YYYY 1999"),
        ("1999-12-31 23:59:59.999999", "é YYYY", "é 1999"),
        ("1999-12-31 23:59:59.999999", "", ""),
        ("1999-12-31 23:59:59.999999", "FMMS FMHH24", "999 23"),
        ("1999-12-31 23:59:59.999999", "TZ TZH:TZM OF", " +00:00 +00"),
        ("1999-12-31 23:59:59.999999", "HH24hMI", "23h59"),
        ("1999-12-31 23:59:59.999999", "Dth", "6th"),
        ("2024-02-29 12:00:00", "YYYY-MM-DD", "2024-02-29"),
        ("2024-02-29 12:00:00", "YYYY-MM-DD HH24:MI:SS", "2024-02-29 12:00:00"),
        ("2024-02-29 12:00:00", "yyyy/mm/dd hh12:mi AM", "2024/02/29 12:00 PM"),
        ("2024-02-29 12:00:00", "YYYY-MM-DD\"T\"HH24:MI:SS.MS", "2024-02-29T12:00:00.000"),
        ("2024-02-29 12:00:00", "US", "000000"),
        ("2024-02-29 12:00:00", "FF3", "000"),
        ("2024-02-29 12:00:00", "FMMonth DD", "February 29"),
        ("2024-02-29 12:00:00", "Month DD", "February  29"),
        ("2024-02-29 12:00:00", "MON mon Mon", "FEB feb Feb"),
        ("2024-02-29 12:00:00", "DAY|Day|day|FMDay", "THURSDAY |Thursday |thursday |Thursday"),
        ("2024-02-29 12:00:00", "Dy DY dy", "Thu THU thu"),
        ("2024-02-29 12:00:00", "DDD D ID W WW IW IYYY", "060 5 4 5 09 09 2024"),
        ("2024-02-29 12:00:00", "Q CC Y YY YYY Y,YYY", "1 21 4 24 024 2,024"),
        ("2024-02-29 12:00:00", "FMDDth DDTH", "29th 29TH"),
        ("2024-02-29 12:00:00", "J SSSS", "2460370 43200"),
        ("2024-02-29 12:00:00", "HH:MI a.m. P.M.", "12:00 p.m. P.M."),
        ("2024-02-29 12:00:00", "FMMM/FMDD/YY", "2/29/24"),
        ("2024-02-29 12:00:00", "\"quoted YYYY\" YYYY", "quoted YYYY 2024"),
        ("2024-02-29 12:00:00", "é YYYY", "é 2024"),
        ("2024-02-29 12:00:00", "", ""),
        ("2024-02-29 12:00:00", "FMMS FMHH24", "000 12"),
        ("2024-02-29 12:00:00", "TZ TZH:TZM OF", " +00:00 +00"),
        ("2024-02-29 12:00:00", "HH24hMI", "12h00"),
        ("2024-02-29 12:00:00", "Dth", "5th"),
    ];

    #[test]
    fn patterns_read_as_in_postgres() {
        for (time, pattern, expected) in CASES {
            let time = NaiveDateTime::parse_from_str(time, "%Y-%m-%d %H:%M:%S%.f").expect("a time");
            let mut text = String::new();
            write_time(&mut text, &pieces(pattern), &time, false);
            assert_eq!(text, expected, "{pattern}");
        }
    }
}
