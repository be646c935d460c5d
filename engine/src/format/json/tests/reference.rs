//! The slow, obvious decoder: `serde_json` for the syntax, one rule a type, no state.
//!
//! It sees numbers as `serde_json` holds them, so it is exact for up to fifteen digits; [`is_exact`] tells.

use chrono::{NaiveDate, NaiveTime};
use serde_json::Map;

use super::*;

/// True if no number in `record` has more digits or a larger exponent than a double holds exactly.
pub(super) fn is_exact(record: &[u8]) -> bool {
    let text = String::from_utf8_lossy(record);
    let runs = text.split(|c: char| !(c.is_ascii_digit() || c == '.')).all(|run| run.len() <= 16);
    let exponents = text.split(['e', 'E']).skip(1).all(|after| {
        let digits = after.trim_start_matches(['+', '-']);
        digits.chars().take_while(char::is_ascii_digit).count() <= 1
    });
    runs && exponents
}

/// The cells of `record`, or the kind of error.
pub(super) fn decode(columns: &[FieldRef], record: &[u8]) -> Result<Vec<Cell>, ErrorReason> {
    let json: Json = serde_json::from_slice(record).map_err(|_| ErrorReason::Malformed)?;
    if depth(&json) > DEPTH_MAX {
        return Err(ErrorReason::TooDeep);
    }
    let Json::Object(fields) = json else { return Err(ErrorReason::WrongType) };
    object(columns, &fields)
}

fn depth(json: &Json) -> usize {
    match json {
        Json::Array(elements) => 1 + elements.iter().map(depth).max().unwrap_or(0),
        Json::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn object(columns: &[FieldRef], fields: &Map<String, Json>) -> Result<Vec<Cell>, ErrorReason> {
    columns
        .iter()
        .map(|column| match fields.get(column.name()) {
            None | Some(Json::Null) if column.is_nullable() => Ok(Cell::Null),
            None | Some(Json::Null) => Err(ErrorReason::NullValue),
            Some(json) => value(column, json),
        })
        .collect()
}

fn value(column: &FieldRef, json: &Json) -> Result<Cell, ErrorReason> {
    let is_json = column.metadata().contains_key("ARROW:extension:name");
    let cell = match (column.data_type(), json) {
        (DataType::Boolean, Json::Bool(value)) => Some(Cell::Boolean(*value)),
        (DataType::Int16, _) => integer(json).filter(|n| i16::try_from(*n).is_ok()).map(Cell::Integer),
        (DataType::Int32, _) => integer(json).filter(|n| i32::try_from(*n).is_ok()).map(Cell::Integer),
        (DataType::Int64, _) => integer(json).map(Cell::Integer),
        (DataType::Float32, _) => {
            let float = number_text(json).and_then(|text| text.parse::<f32>().ok().filter(|f| fits(*f as f64, &text)));
            float.map(|f| Cell::Float32(if f.is_nan() { f32::NAN } else { f + 0.0 }.to_bits()))
        }
        (DataType::Float64, _) => {
            let float = number_text(json).and_then(|text| text.parse::<f64>().ok().filter(|f| fits(*f, &text)));
            float.map(|f| Cell::Float64(if f.is_nan() { f64::NAN } else { f + 0.0 }.to_bits()))
        }
        (DataType::Decimal128(precision, scale), _) | (DataType::Decimal256(precision, scale), _) => {
            number_text(json).and_then(|text| decimal(&text, *precision, *scale)).map(Cell::Decimal)
        }
        (DataType::Utf8View, _) if is_json => {
            (!json.to_string().replace("\\\\", "").contains("\\u0000")).then(|| Cell::SameJson(json.clone()))
        }
        (DataType::Utf8View, Json::String(text)) => (!text.contains('\0')).then(|| Cell::Text(text.clone())),
        (DataType::Utf8View, json) => Some(Cell::SameJson(json.clone())),
        (DataType::Timestamp(..), Json::String(text)) => timestamp_micros(text).map(Cell::Integer),
        (DataType::Timestamp(..), Json::Number(_)) => {
            let micros = integer(json).and_then(|millis| millis.checked_mul(1_000));
            micros.filter(|micros| in_years(*micros)).map(Cell::Integer)
        }
        (DataType::Date32, Json::String(text)) => date(text).map(Cell::Integer),
        (DataType::Date32, Json::Number(_)) => {
            let days = integer(json).filter(|days| days.checked_mul(86_400_000_000).is_some_and(in_years));
            days.map(Cell::Integer)
        }
        (DataType::Time64(_), Json::String(text)) => match time(text) {
            Some((micros, "")) if micros < 86_400_000_000 => Some(Cell::Integer(micros)),
            _ => None,
        },
        (DataType::Binary, Json::String(text)) => binary(text).map(Cell::Binary),
        (DataType::List(element), Json::Array(elements)) => {
            let fields: Map<String, Json> =
                elements.iter().enumerate().map(|(i, json)| (i.to_string(), json.clone())).collect();
            let columns: Vec<FieldRef> =
                (0..elements.len()).map(|i| Arc::new(element.as_ref().clone().with_name(i.to_string()))).collect();
            return object(&columns, &fields).map(Cell::Many);
        }
        (DataType::Struct(columns), Json::Object(fields)) => return object(columns, fields).map(Cell::Many),
        _ => None,
    };
    cell.ok_or(ErrorReason::WrongType)
}

/// A number's digits without exponent; a string as it is.
fn number_text(json: &Json) -> Option<String> {
    match json {
        Json::Number(number) if number.is_f64() => number.as_f64().map(|f| f.to_string()),
        Json::Number(number) => Some(number.to_string()),
        Json::String(text) => Some(text.clone()),
        _ => None,
    }
}

fn fits(float: f64, text: &str) -> bool {
    !(float.is_infinite() && text.contains(|c: char| c.is_ascii_digit()))
}

fn integer(json: &Json) -> Option<i64> {
    let text = number_text(json)?;
    match json {
        Json::String(_) => text.parse().ok(),
        _ => text.strip_suffix(".0").unwrap_or(&text).parse().ok(),
    }
}

fn decimal(text: &str, precision: u8, scale: i8) -> Option<String> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if fraction.starts_with(['+', '-']) {
        return None;
    }
    let number: i128 = digits.parse().ok()?;
    let shift = i32::from(scale) - fraction.len() as i32 + exponent;
    let power = 10i128.checked_pow(shift.unsigned_abs());
    let scaled = match (shift >= 0, power) {
        (true, Some(power)) => number.checked_mul(power)?,
        (true, None) => return (number == 0).then(|| "0".to_string()),
        (false, Some(power)) => (number.abs() + power / 2) / power * number.signum(),
        (false, None) => 0,
    };
    (scaled.to_string().trim_start_matches('-').len() <= usize::from(precision)).then(|| scaled.to_string())
}

fn in_years(micros: i64) -> bool {
    (-62_135_596_800_000_000..253_402_300_800_000_000).contains(&micros)
}

fn timestamp_micros(text: &str) -> Option<i64> {
    let (days, rest) = split_date(text)?;
    let midnight = days * 86_400_000_000;
    if rest.is_empty() {
        return Some(midnight);
    }
    let (micros, zone) = time(rest.strip_prefix(['T', 't', ' '])?)?;
    let micros = midnight + micros - offset(zone)? * 1_000_000;
    in_years(micros).then_some(micros)
}

fn date(text: &str) -> Option<i64> {
    let (days, rest) = split_date(text)?;
    (rest.is_empty() || timestamp_micros(text).is_some()).then_some(days)
}

fn split_date(text: &str) -> Option<(i64, &str)> {
    let (date, rest) = text.split_at_checked(10)?;
    let parts: Vec<&str> = date.split('-').collect();
    let [year, month, day] = parts[..] else { return None };
    if (year.len(), month.len(), day.len()) != (4, 2, 2) || year == "0000" {
        return None;
    }
    let date = NaiveDate::from_ymd_opt(digits(year)? as i32, digits(month)?, digits(day)?)?;
    Some((date.signed_duration_since(NaiveDate::default()).num_days(), rest))
}

/// µs since midnight, and what follows.
fn time(text: &str) -> Option<(i64, &str)> {
    let (hour, rest) = text.split_at_checked(2)?;
    let (minute, mut rest) = rest.strip_prefix(':')?.split_at_checked(2)?;
    let (mut second, mut fraction) = ("00", String::new());
    if let Some(after) = rest.strip_prefix(':') {
        (second, rest) = after.split_at_checked(2)?;
        if let Some(after) = rest.strip_prefix('.') {
            fraction = after.chars().take_while(char::is_ascii_digit).collect();
            rest = &after[fraction.len()..];
            if !(1..=9).contains(&fraction.len()) {
                return None;
            }
        }
    }
    let micros = i64::from(digits(&format!("{fraction:0<9}"))? / 1_000);
    let clock = match (digits(hour)?, digits(minute)?, digits(second)?) {
        (24, 0, 0) if micros == 0 => return Some((86_400_000_000, rest)),
        (hour, minute, 60) => {
            NaiveTime::from_hms_opt(hour, minute, 59)?.signed_duration_since(NaiveTime::MIN).num_seconds() + 1
        }
        (hour, minute, second) => {
            NaiveTime::from_hms_opt(hour, minute, second)?.signed_duration_since(NaiveTime::MIN).num_seconds()
        }
    };
    Some((clock * 1_000_000 + micros, rest))
}

/// Seconds east of UTC.
fn offset(text: &str) -> Option<i64> {
    if matches!(text, "" | "Z" | "z") {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let text = text.strip_prefix(['+', '-'])?;
    let compact: String = match text.len() {
        2 | 4 | 6 => text.to_string(),
        // One or two colons, each where it belongs.
        5 | 8 if text.as_bytes().iter().skip(2).step_by(3).all(|&b| b == b':') => text.replace(':', ""),
        7 if text.as_bytes()[2] == b':' || text.as_bytes()[4] == b':' => text.replacen(':', "", 1),
        _ => return None,
    };
    if !matches!(compact.len(), 2 | 4 | 6) {
        return None;
    }
    let padded = format!("{compact:0<6}");
    let (hours, rest) = padded.split_at_checked(2)?;
    let (minutes, seconds) = rest.split_at_checked(2)?;
    let (hours, minutes, seconds) = (digits(hours)?, digits(minutes)?, digits(seconds)?);
    let fits = hours <= 15 && minutes <= 59 && seconds <= 59;
    fits.then(|| sign * i64::from(hours * 3_600 + minutes * 60 + seconds))
}

fn digits(text: &str) -> Option<u32> {
    if text.chars().all(|c| c.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn binary(text: &str) -> Option<Vec<u8>> {
    if let Some(digits) = text.strip_prefix("\\x") {
        let pairs: Option<Vec<&str>> = (0..digits.len()).step_by(2).map(|i| digits.get(i..i + 2)).collect();
        let byte = |pair: &str| u8::from_str_radix(pair, 16).ok().filter(|_| !pair.starts_with('+'));
        return pairs?.into_iter().map(byte).collect();
    }
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let unpadded = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
    let bits: Option<String> = unpadded.chars().map(|c| ALPHABET.find(c).map(|value| format!("{value:06b}"))).collect();
    let bits = bits?;
    let (whole, rest) = bits.split_at(bits.len() / 8 * 8);
    if !text.len().is_multiple_of(4)
        || rest.len() >= 6
        || rest.contains('1')
        || text.len() - unpadded.len() != rest.len() / 2
    {
        return None;
    }
    (0..whole.len()).step_by(8).map(|i| u8::from_str_radix(&whole[i..i + 8], 2).ok()).collect()
}
