//! Numbers from their text, exactly: integers and decimals of a declared precision and scale.
//!
//! A number's text is read as a sign, its significant digits and a power of ten, so neither a long fraction nor a large
//! exponent costs more than its own length, and no double stands in between.

use arrow::datatypes::i256;

use super::mismatch::Trouble;

/// A number's text, split: value = ± 0.d₁d₂d₃… × 10^point.
struct Digits<'a> {
    negative: bool,
    /// Digits with no zeros in front, and perhaps a `.` among them; empty for zero.
    text: &'a [u8],
    /// How many digits stand before the decimal point.
    point: i64,
}

/// Splits `[sign] digits [. digits] [e [sign] digits]`; a dot needs digits on one side only, as Postgres reads it.
fn split(text: &[u8]) -> Result<Digits<'_>, Trouble> {
    let (negative, text) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let end = text.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(text.len());
    let (mantissa, exponent) = text.split_at(end);
    let whole = mantissa.iter().position(|&byte| byte == b'.').unwrap_or(mantissa.len());
    let fraction = mantissa.get(whole + 1..).unwrap_or_default();
    let all_digits = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_digit);
    if whole + fraction.len() == 0 || !all_digits(&mantissa[..whole]) || !all_digits(fraction) {
        return Err(Trouble::Type);
    }
    let exponent = if exponent.is_empty() { 0 } else { self::exponent(&exponent[1..])? };
    let Some(first) = mantissa.iter().position(|byte| matches!(byte, b'1'..=b'9')) else {
        return Ok(Digits { negative, text: &[], point: 0 });
    };
    // A leading digit behind the dot lowers the point by the zeros between them.
    let point = if first < whole { (whole - first) as i64 } else { -((first - whole - 1) as i64) };
    Ok(Digits { negative, text: &mantissa[first..], point: point.saturating_add(exponent) })
}

fn exponent(text: &[u8]) -> Result<i64, Trouble> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Trouble::Type);
    }
    // Held well inside an i64: beyond it every number is zero or out of range anyway.
    let magnitude = digits.iter().fold(0i64, |sum, digit| (sum * 10 + i64::from(digit - b'0')).min(1 << 40));
    Ok(if negative { -magnitude } else { magnitude })
}

/// The number scaled by 10^`scale` as up to 76 digits in two halves of 38, rounded half away from zero.
fn scaled(digits: &Digits<'_>, scale: i64, precision: usize) -> Result<(u128, u128), Trouble> {
    let keep = digits.point.saturating_add(scale);
    if digits.text.is_empty() || keep < 0 {
        return Ok((0, 0));
    }
    let keep = usize::try_from(keep).ok().filter(|&keep| keep <= precision).ok_or(Trouble::Range)?;
    let mut following = digits.text.iter().filter(|&&byte| byte != b'.').map(|byte| byte - b'0');
    let (mut high, mut low) = (0u128, 0u128);
    for left in (0..keep).rev() {
        let digit = u128::from(following.next().unwrap_or(0));
        let half = if left >= 38 { &mut high } else { &mut low };
        *half = *half * 10 + digit;
    }
    if following.next().unwrap_or(0) >= 5 {
        low += 1;
        if low == HALF {
            (high, low) = (high + 1, 0);
        }
    }
    Ok((high, low))
}

/// 10^38: one half of a [`scaled`] number stays below it.
const HALF: u128 = 10u128.pow(38);

/// The number in `text` as Decimal128(`precision`, `scale`), rounded half away from zero as Postgres numeric(p,s) does.
pub(super) fn decimal128(text: &[u8], precision: u8, scale: i8) -> Result<i128, Trouble> {
    let digits = split(text)?;
    let (high, low) = scaled(&digits, i64::from(scale), usize::from(precision))?;
    // Rounding may have made one digit more than the precision has.
    if high > 0 || low >= 10u128.pow(u32::from(precision)) {
        return Err(Trouble::Range);
    }
    let magnitude = low as i128;
    Ok(if digits.negative { -magnitude } else { magnitude })
}

/// The number in `text` as Decimal256(`precision`, `scale`), rounded half away from zero.
pub(super) fn decimal256(text: &[u8], precision: u8, scale: i8) -> Result<i256, Trouble> {
    let digits = split(text)?;
    let (high, low) = scaled(&digits, i64::from(scale), usize::from(precision))?;
    let limit = match usize::from(precision).checked_sub(38) {
        Some(more) => (10u128.pow(more as u32), 0),
        None => (0, 10u128.pow(u32::from(precision))),
    };
    if (high, low) >= limit {
        return Err(Trouble::Range);
    }
    let magnitude = i256::from_i128(high as i128)
        .checked_mul(i256::from_i128(HALF as i128))
        .and_then(|high| high.checked_add(i256::from_i128(low as i128)))
        .ok_or(Trouble::Range)?;
    Ok(if digits.negative { magnitude.wrapping_neg() } else { magnitude })
}

/// The integer that a JSON number's `text` writes, with a fraction of zeros or an exponent perhaps.
pub(super) fn integer(text: &[u8]) -> Result<i64, Trouble> {
    let digits = split(text)?;
    if digits.text.is_empty() {
        return Ok(0);
    }
    // Trailing zeros say nothing; what is left must stand before the decimal point.
    let zeros = digits.text.iter().rev().take_while(|&&byte| matches!(byte, b'0' | b'.')).count();
    let significant = digits.text[..digits.text.len() - zeros].iter().filter(|&&byte| byte != b'.').count();
    if digits.point < significant as i64 {
        return Err(Trouble::Type);
    }
    let (high, low) = scaled(&digits, 0, 19)?;
    let magnitude = if high == 0 { low as i128 } else { i128::MAX };
    i64::try_from(if digits.negative { -magnitude } else { magnitude }).map_err(|_| Trouble::Range)
}

/// The integer that a string of digits, with a sign perhaps, writes.
pub(super) fn integer_string(text: &[u8]) -> Result<i64, Trouble> {
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Trouble::Type);
    }
    integer(text)
}
