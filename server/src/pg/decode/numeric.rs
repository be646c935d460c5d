//! numeric from text and from its base-10000 digits to a decimal of the scale it was written with.

use arrow::datatypes::{DataType, i256};
use datafusion::common::ScalarValue;
use sql::{SqlError, SqlState};

use super::binary::Reader;
use super::{bad_syntax, out_of_range};

/// Digits a 128-bit and a 256-bit decimal hold.
const DIGITS_128: usize = 38;
const DIGITS_256: usize = 76;

/// `[±]digits[.digits][e[±]digits]`.
///
/// # Errors
/// 22P02 for what is no number; 22003 for NaN, infinities and more than 76 digits, which no decimal holds.
pub(super) fn parse_text(text: &str, data_type: &DataType) -> Result<ScalarValue, SqlError> {
    let bad = || bad_syntax(data_type, text);
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned.to_ascii_lowercase().as_str(), "nan" | "inf" | "infinity") {
        return Err(out_of_range(data_type, text));
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| bad())?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return Err(bad());
    }
    let digits = format!("{whole}{fraction}");
    let fraction_digits = i32::try_from(fraction.len()).map_err(|_| out_of_range(data_type, text))?;
    let scale = fraction_digits.saturating_sub(exponent);
    decimal(text.starts_with('-'), &digits, scale).ok_or_else(|| out_of_range(data_type, text))
}

/// ndigits, weight, sign, dscale, digits.
///
/// # Errors
/// 22P03 for a malformed value; 22003 as [`parse_text`].
pub(super) fn parse_binary(bytes: &[u8]) -> Result<ScalarValue, SqlError> {
    let malformed = || SqlError::new(SqlState("22P03"), "incorrect binary data format");
    let mut reader = Reader(bytes);
    let groups = usize::from(reader.u16()?);
    let weight = i32::from(reader.i16()?);
    let sign = reader.u16()?;
    let display_scale = i32::from(reader.u16()?);
    if !matches!(sign, 0 | 0x4000) {
        let message = "NaN and infinite numerics cannot be held";
        return Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message));
    }
    if reader.0.len() != groups * 2 {
        return Err(malformed());
    }
    let mut digits = String::with_capacity(groups * 4);
    for _ in 0..groups {
        let group = Some(reader.u16()?).filter(|g| *g < 10_000).ok_or_else(malformed)?;
        digits.push_str(&format!("{group:04}"));
    }
    // The digits end this many places after the point.
    let scale = (i32::try_from(groups).map_err(|_| malformed())? - weight - 1) * 4;
    let refuse = || SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "numeric has more digits than can be held");
    let (digits, scale) = match scale - display_scale {
        // Places beyond the display scale are the filling of the last group.
        surplus @ 1.. => {
            let keep = digits.len().saturating_sub(usize::try_from(surplus).map_err(|_| refuse())?);
            (digits[..keep].to_owned(), display_scale)
        }
        missing => (digits + &"0".repeat(usize::try_from(-missing).map_err(|_| refuse())?.min(4096)), display_scale),
    };
    decimal(sign != 0, if digits.is_empty() { "0" } else { &digits }, scale).ok_or_else(refuse)
}

/// `digits` with the point `scale` places from their end, as the narrowest decimal that holds them.
fn decimal(negative: bool, digits: &str, scale: i32) -> Option<ScalarValue> {
    let significant = digits.trim_start_matches('0');
    let mut unscaled = if significant.is_empty() { "0".to_owned() } else { significant.to_owned() };
    let mut scale = scale;
    if scale < 0 {
        let zeros = usize::try_from(-scale).ok().filter(|zeros| *zeros <= DIGITS_256)?;
        if unscaled != "0" {
            unscaled.extend(std::iter::repeat_n('0', zeros));
        }
        scale = 0;
    }
    let places = usize::try_from(scale).ok()?;
    let precision = unscaled.len().max(places);
    let sign = if negative { "-" } else { "" };
    let (text, scale) = (format!("{sign}{unscaled}"), i8::try_from(scale).ok()?);
    if precision <= DIGITS_128 {
        return Some(ScalarValue::Decimal128(Some(text.parse().ok()?), 38, scale));
    }
    let fits = precision <= DIGITS_256;
    fits.then(|| Some(ScalarValue::Decimal256(Some(i256::from_string(&text)?), 76, scale)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numeric_keeps_the_scale_it_was_written_with() {
        let read = |text: &str| parse_text(text, &DataType::Decimal128(38, 10));
        assert_eq!(read("-1.50"), Ok(ScalarValue::Decimal128(Some(-150), 38, 2)));
        assert_eq!(read("1e3"), Ok(ScalarValue::Decimal128(Some(1000), 38, 0)));
        assert_eq!(read("1.5e-3"), Ok(ScalarValue::Decimal128(Some(15), 38, 4)));
        assert_eq!(read(".5"), Ok(ScalarValue::Decimal128(Some(5), 38, 1)));
        assert!(matches!(read(&"9".repeat(76)), Ok(ScalarValue::Decimal256(Some(_), 76, 0))));
        for (text, state) in [("", "22P02"), (".", "22P02"), ("1.2.3", "22P02"), ("NaN", "22003"), ("1e99", "22003")] {
            assert_eq!(read(text).expect_err(text).state.0, state, "{text}");
        }
        assert_eq!(read(&"9".repeat(77)).expect_err("too long").state.0, "22003");
    }
}
