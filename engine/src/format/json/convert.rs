//! From one JSON value to one value of a column's type, apart from lists and objects.
//!
//! Numbers may also come as strings, because many producers write what a double cannot hold that way.

use arrow::datatypes::i256;

use super::decimal;
use super::mismatch::{Mismatch, Trouble};
use super::scan::{Kind, Nesting, Value};
use super::text::unescape;
use super::time::{self, LastMinute};
use super::types::EpochUnit;

/// The record being decoded, and memory reused from one record to the next.
pub(super) struct Record<'a> {
    /// The record, found well-formed.
    pub bytes: &'a [u8],
    /// Where its strings end or need a closer look.
    pub stops: &'a [u64],
    /// The record as text, or nothing if no column keeps texts.
    pub text: &'a str,
    /// Scratch memory.
    pub scratch: &'a mut Scratch,
}

/// Memory reused from one record to the next.
#[derive(Debug)]
pub(super) struct Scratch {
    /// A text that is not in the record as it should be: escapes undone, whitespace removed, bytes decoded.
    pub text: Vec<u8>,
    /// The stack of brackets.
    pub nesting: Nesting,
}

impl Record<'_> {
    /// What the string `value` says, escapes undone; `None` if it is no string.
    #[inline(always)]
    pub fn string(&mut self, value: Value) -> Option<&[u8]> {
        match value.kind() {
            Kind::STRING => Some(value.text(self.bytes)),
            Kind::ESCAPED_STRING => {
                self.scratch.text.clear();
                unescape(value.text(self.bytes), &mut self.scratch.text);
                Some(&self.scratch.text)
            }
            _ => None,
        }
    }

    /// The text of a number, or of a string that may hold one; `None` if `value` is neither.
    fn number_text(&mut self, value: Value) -> Option<&[u8]> {
        match value.kind() {
            Kind::INTEGER | Kind::NUMBER => Some(value.text(self.bytes)),
            _ => self.string(value),
        }
    }
}

/// `true` or `false`.
pub(super) fn boolean(value: Value) -> Result<bool, Mismatch> {
    match value.kind() {
        Kind::TRUE => Ok(true),
        Kind::FALSE => Ok(false),
        _ => Err(Trouble::Type.with(value)),
    }
}

/// An integral number, or a string of digits.
#[inline(always)]
pub(super) fn integer(value: Value, record: &mut Record<'_>) -> Result<i64, Mismatch> {
    if value.kind() == Kind::INTEGER { Ok(value.number) } else { integer_any_form(value, record) }
}

fn integer_any_form(value: Value, record: &mut Record<'_>) -> Result<i64, Mismatch> {
    let number = match value.kind() {
        Kind::NUMBER => decimal::integer(value.text(record.bytes)),
        _ => record.string(value).ok_or(Trouble::Type).and_then(decimal::integer_string),
    };
    number.map_err(|trouble| trouble.with(value))
}

/// An integer of a narrower type.
#[inline(always)]
pub(super) fn narrow_integer<T: TryFrom<i64>>(value: Value, record: &mut Record<'_>) -> Result<T, Mismatch> {
    T::try_from(integer(value, record)?).map_err(|_| Trouble::Range.with(value))
}

/// A number as a double, or a string that holds one, `NaN`, `Infinity` or `-Infinity`.
pub(super) fn float64(value: Value, record: &mut Record<'_>) -> Result<f64, Mismatch> {
    if value.kind() == Kind::INTEGER {
        return Ok(value.number as f64);
    }
    let number: f64 = float(value, record)?;
    check_float(value, record, number.is_infinite())?;
    // One bit pattern for all NaNs, and adding zero leaves none for negative zero.
    Ok(if number.is_nan() { f64::NAN } else { number + 0.0 })
}

/// As [`float64`], rounded once, from the text.
pub(super) fn float32(value: Value, record: &mut Record<'_>) -> Result<f32, Mismatch> {
    if value.kind() == Kind::INTEGER {
        return Ok(value.number as f32);
    }
    let number: f32 = float(value, record)?;
    check_float(value, record, number.is_infinite())?;
    Ok(if number.is_nan() { f32::NAN } else { number + 0.0 })
}

fn float<T: std::str::FromStr>(value: Value, record: &mut Record<'_>) -> Result<T, Mismatch> {
    let text = record.number_text(value).and_then(|text| std::str::from_utf8(text).ok());
    text.and_then(|text| text.parse().ok()).ok_or_else(|| Trouble::Type.with(value))
}

/// Refuses a number that became infinite; only the word may.
fn check_float(value: Value, record: &mut Record<'_>, infinite: bool) -> Result<(), Mismatch> {
    let written = infinite && record.number_text(value).unwrap_or_default().iter().any(u8::is_ascii_digit);
    if written { Err(Trouble::Range.with(value)) } else { Ok(()) }
}

/// A number, or a string that holds one, as Decimal128.
pub(super) fn decimal128(value: Value, record: &mut Record<'_>, precision: u8, scale: i8) -> Result<i128, Mismatch> {
    let text = record.number_text(value).ok_or(Trouble::Type);
    text.and_then(|text| decimal::decimal128(text, precision, scale)).map_err(|trouble| trouble.with(value))
}

/// A number, or a string that holds one, as Decimal256.
pub(super) fn decimal256(value: Value, record: &mut Record<'_>, precision: u8, scale: i8) -> Result<i256, Mismatch> {
    let text = record.number_text(value).ok_or(Trouble::Type);
    text.and_then(|text| decimal::decimal256(text, precision, scale)).map_err(|trouble| trouble.with(value))
}

/// A timestamp string, or an integer that counts `unit`s since the Unix epoch: µs.
#[inline(always)]
pub(super) fn timestamp(
    value: Value,
    record: &mut Record<'_>,
    unit: EpochUnit,
    last: &mut LastMinute,
) -> Result<i64, Mismatch> {
    let micros = match value.kind() {
        Kind::STRING => time::timestamp(record.bytes, value.start(), value.end(), last),
        Kind::INTEGER => unit.micros(value.number),
        Kind::NUMBER => decimal::integer(value.text(record.bytes)).and_then(|count| unit.micros(count)),
        _ => record.string(value).ok_or(Trouble::Type).and_then(time::timestamp_any_form),
    };
    micros.map_err(|trouble| trouble.with(value))
}

/// A date string, the date of a timestamp string, or an integer that counts days since the Unix epoch.
pub(super) fn date(value: Value, record: &mut Record<'_>) -> Result<i32, Mismatch> {
    let days = match value.kind() {
        Kind::INTEGER => time::check_days(value.number),
        Kind::NUMBER => decimal::integer(value.text(record.bytes)).and_then(time::check_days),
        _ => record.string(value).ok_or(Trouble::Type).and_then(time::date_of),
    };
    days.map_err(|trouble| trouble.with(value))
}

/// A time string: µs since midnight.
pub(super) fn time(value: Value, record: &mut Record<'_>) -> Result<i64, Mismatch> {
    record.string(value).ok_or(Trouble::Type).and_then(time::time_of_day).map_err(|trouble| trouble.with(value))
}

/// A string of `\x` and hexadecimal digits, else of base64 (RFC 4648 section 4, with its padding), appended to `out`.
/// On an error `out` may have grown.
pub(super) fn binary(value: Value, record: &mut Record<'_>, out: &mut Vec<u8>) -> Result<(), Mismatch> {
    let decoded = record.string(value).and_then(|text| match text.strip_prefix(b"\\x") {
        Some(digits) => hex(digits, out),
        None => base64(text, out),
    });
    decoded.ok_or_else(|| Trouble::Type.with(value))
}

fn hex(digits: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (pairs, rest) = digits.as_chunks::<2>();
    for pair in pairs {
        let digit = |i: usize| char::from(pair[i]).to_digit(16);
        out.push((digit(0)? << 4 | digit(1)?) as u8);
    }
    rest.is_empty().then_some(())
}

fn base64(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (groups, rest) = text.as_chunks::<4>();
    for (i, group) in groups.iter().enumerate() {
        let padding =
            if i + 1 == groups.len() { group.iter().rev().take_while(|&&byte| byte == b'=').count() } else { 0 };
        let kept = 3usize.checked_sub(padding).filter(|&kept| kept > 0)?;
        let bits = group[..=kept].iter().try_fold(0, |bits, &digit| Some(bits << 6 | base64_digit(digit)?))?;
        let bytes = (bits << (6 * padding)).to_be_bytes();
        // What the padding cuts off must be zero, so that each text has one meaning and each meaning one text.
        if bytes[kept + 1..].iter().any(|&byte| byte != 0) {
            return None;
        }
        out.extend_from_slice(&bytes[1..=kept]);
    }
    rest.is_empty().then_some(())
}

fn base64_digit(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}
