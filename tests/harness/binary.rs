//! Postgres's binary formats as its text formats, read from the documentation and independent of the server's encoders:
//! what a driver sees in binary must say the same as what psql prints.
//!
//! Sources: PostgreSQL's `src/backend/utils/adt/*` send functions; times are counted from 2000-01-01.

use std::error::Error;

use arrow::temporal_conversions::{date32_to_datetime, timestamp_us_to_datetime};
use tokio_postgres::types::{FromSql, Kind, Type};

/// 2000-01-01 in days and µs since 1970.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = 10_957 * 86_400_000_000;

/// A value of any type as text; `None` is NULL.
#[derive(Debug)]
pub struct AsText(pub Option<String>);

impl<'a> FromSql<'a> for AsText {
    fn from_sql(of: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Some(text(of, raw)?)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

type Text = Result<String, Box<dyn Error + Sync + Send>>;

fn text(of: &Type, raw: &[u8]) -> Text {
    if let Kind::Array(element) = of.kind() {
        return array(element, raw);
    }
    Ok(match *of {
        Type::BOOL => if bytes::<1>(raw)?[0] == 1 { "t" } else { "f" }.into(),
        Type::INT2 => i16::from_be_bytes(bytes(raw)?).to_string(),
        Type::INT4 => i32::from_be_bytes(bytes(raw)?).to_string(),
        Type::INT8 => i64::from_be_bytes(bytes(raw)?).to_string(),
        Type::OID | Type::REGCLASS | Type::REGTYPE => u32::from_be_bytes(bytes(raw)?).to_string(),
        Type::FLOAT4 => {
            let value = f32::from_be_bytes(bytes(raw)?);
            float(f64::from(value), &format!("{value:e}"), 6)
        }
        Type::FLOAT8 => {
            let value = f64::from_be_bytes(bytes(raw)?);
            float(value, &format!("{value:e}"), 15)
        }
        Type::NUMERIC => numeric(raw)?,
        Type::BYTEA => raw.iter().fold("\\x".to_owned(), |text, byte| text + &format!("{byte:02x}")),
        Type::DATE => date(i32::from_be_bytes(bytes(raw)?))?,
        Type::TIME => clock(i64::from_be_bytes(bytes(raw)?)),
        Type::TIMESTAMP => timestamp(i64::from_be_bytes(bytes(raw)?))?,
        Type::TIMESTAMPTZ => timestamp(i64::from_be_bytes(bytes(raw)?))? + "+00",
        Type::INTERVAL => interval(bytes::<16>(raw)?),
        Type::UUID => {
            let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
            [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
        }
        Type::JSONB => match raw.split_first() {
            Some((1, text)) => String::from_utf8(text.to_vec())?,
            _ => return Err("jsonb of another version than 1".into()),
        },
        Type::RECORD => record(raw)?,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::CHAR | Type::JSON => {
            String::from_utf8(raw.to_vec())?
        }
        _ => return Err(format!("no text for values of type {of}").into()),
    })
}

fn bytes<const N: usize>(raw: &[u8]) -> Result<[u8; N], String> {
    raw.try_into().map_err(|_| format!("{} bytes where {N} are expected", raw.len()))
}

/// Shortest digits that read back the same; with an exponent below 1e-4 and from 10 to the power `fixed_max` on.
fn float(value: f64, scientific: &str, fixed_max: i32) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.into();
    }
    let (digits, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value == 0.0 || (-4..fixed_max).contains(&exponent) {
        let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
        let digits = digits.replace('.', "");
        let point = exponent + 1;
        return sign.to_owned()
            + &match usize::try_from(point) {
                Ok(point) if point >= digits.len() => digits.clone() + &"0".repeat(point - digits.len()),
                Ok(point) if point > 0 => format!("{}.{}", &digits[..point], &digits[point..]),
                _ => format!("0.{}{digits}", "0".repeat(point.unsigned_abs() as usize)),
            };
    }
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// Groups of four digits: how many, the first one's weight, the sign, and how many digits are shown behind the point.
fn numeric(raw: &[u8]) -> Text {
    let word = |at: usize| raw.get(at * 2..at * 2 + 2).map(|two| i16::from_be_bytes([two[0], two[1]]));
    let header = |at: usize| word(at).ok_or("a numeric cut short");
    let (count, weight, sign, shown) = (header(0)?, header(1)?, header(2)?, header(3)?);
    match sign as u16 {
        0xc000 => return Ok("NaN".into()),
        0xd000 => return Ok("Infinity".into()),
        0xf000 => return Ok("-Infinity".into()),
        _ => {}
    }
    let group = |at: i16| if (0..count).contains(&at) { word(4 + at as usize).unwrap_or(0) } else { 0 };
    let mut whole: String = (0..=weight).map(|at| format!("{:04}", group(at))).collect();
    whole = whole.trim_start_matches('0').to_owned();
    let groups = (shown + 3) / 4;
    let fraction: String = (weight + 1..=weight + groups).map(|at| format!("{:04}", group(at))).collect();
    let whole = if whole.is_empty() { "0".to_owned() } else { whole };
    let sign = if sign as u16 == 0x4000 { "-" } else { "" };
    match shown {
        0 => Ok(format!("{sign}{whole}")),
        shown => Ok(format!("{sign}{whole}.{}", &fraction[..shown as usize])),
    }
}

fn date(days: i32) -> Text {
    Ok(match days {
        i32::MAX => "infinity".into(),
        i32::MIN => "-infinity".into(),
        _ => date32_to_datetime(days + EPOCH_DAYS).ok_or("no such date")?.format("%Y-%m-%d").to_string(),
    })
}

fn timestamp(micros: i64) -> Text {
    Ok(match micros {
        i64::MAX => "infinity".into(),
        i64::MIN => "-infinity".into(),
        _ => {
            let time = timestamp_us_to_datetime(micros + EPOCH_MICROS).ok_or("no such time")?;
            trim_fraction(time.format("%Y-%m-%d %H:%M:%S%.6f").to_string())
        }
    })
}

fn clock(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    trim_fraction(format!("{hours:02}:{minutes:02}:{:02}.{:06}", seconds % 60, micros % 1_000_000))
}

fn trim_fraction(text: String) -> String {
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn interval(raw: [u8; 16]) -> String {
    let part = |range: std::ops::Range<usize>| raw[range].iter().fold(0_i64, |all, byte| (all << 8) | i64::from(*byte));
    let (micros, days, months) = (part(0..8), part(8..12) as i32, part(12..16) as i32);
    let mut parts = Vec::new();
    let mut before_negative = false;
    for (count, name) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if count != 0 {
            let plus = if before_negative && count > 0 { "+" } else { "" };
            parts.push(format!("{plus}{count} {name}{}", if count == 1 { "" } else { "s" }));
            before_negative = count < 0;
        }
    }
    if micros != 0 || parts.is_empty() {
        let sign = if micros < 0 {
            "-"
        } else if before_negative {
            "+"
        } else {
            ""
        };
        parts.push(format!("{sign}{}", clock(micros.unsigned_abs() as i64)));
    }
    parts.join(" ")
}

/// Bytes of a length and that many bytes; a length of -1 is NULL.
fn cell<'a>(raw: &mut &'a [u8]) -> Result<Option<&'a [u8]>, &'static str> {
    let (length, rest) = raw.split_first_chunk::<4>().ok_or("a length cut short")?;
    *raw = rest;
    let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else { return Ok(None) };
    let (cell, rest) = raw.split_at_checked(length).ok_or("a value cut short")?;
    *raw = rest;
    Ok(Some(cell))
}

fn number(raw: &mut &[u8]) -> Result<i32, &'static str> {
    let (number, rest) = raw.split_first_chunk::<4>().ok_or("a number cut short")?;
    *raw = rest;
    Ok(i32::from_be_bytes(*number))
}

fn array(element: &Type, mut raw: &[u8]) -> Text {
    let (dimensions, _nulls, oid) = (number(&mut raw)?, number(&mut raw)?, number(&mut raw)?);
    if oid as u32 != element.oid() {
        return Err(format!("an array of {oid} where {} is expected", element.oid()).into());
    }
    let mut lengths = Vec::new();
    for _ in 0..dimensions {
        lengths.push(number(&mut raw)?);
        number(&mut raw)?;
    }
    dimension(element, &lengths, &mut raw)
}

fn dimension(element: &Type, lengths: &[i32], raw: &mut &[u8]) -> Text {
    let Some((length, deeper)) = lengths.split_first() else { return Ok("{}".into()) };
    let mut items = Vec::new();
    for _ in 0..*length {
        items.push(match deeper {
            [] => match cell(raw)? {
                None => "NULL".to_owned(),
                Some(item) => quoted(text(element, item)?, "{},\"\\", "\\\""),
            },
            _ => dimension(element, deeper, raw)?,
        });
    }
    Ok(format!("{{{}}}", items.join(",")))
}

fn record(mut raw: &[u8]) -> Text {
    let mut fields = Vec::new();
    for _ in 0..number(&mut raw)? {
        let oid = number(&mut raw)? as u32;
        let of = Type::from_oid(oid).ok_or_else(|| format!("a field of the unknown type {oid}"))?;
        fields.push(match cell(&mut raw)? {
            None => String::new(),
            Some(field) => quoted(text(&of, field)?, "(),\"\\", "\"\""),
        });
    }
    Ok(format!("({})", fields.join(",")))
}

fn quoted(text: String, special: &str, quote: &str) -> String {
    let null = quote == "\\\"" && text.eq_ignore_ascii_case("null");
    let plain = |c: char| !special.contains(c) && !c.is_whitespace();
    if !text.is_empty() && !null && text.chars().all(plain) {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', quote))
}
