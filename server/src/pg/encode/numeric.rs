//! numeric: Arrow's decimals to Postgres's text and to its base-10000 digits.

use std::fmt::Display;

use bytes::{BufMut, BytesMut};

use super::scratch::Scratch;

/// Writes an unscaled whole number with the point `scale` digits from its end: `12345`, 2 is `123.45`.
pub(crate) fn write_numeric_text(unscaled: &impl Display, scale: i8, out: &mut BytesMut) {
    let scratch = Scratch::new(format_args!("{unscaled}"));
    let text = scratch.text();
    let (sign, digits) = split_sign(text);
    if scale <= 0 {
        out.put_slice(text.as_bytes());
        if digits != "0" {
            out.put_bytes(b'0', usize::from(scale.unsigned_abs()));
        }
        return;
    }
    let scale = usize::from(scale.unsigned_abs());
    out.put_slice(sign.as_bytes());
    match digits.len().checked_sub(scale) {
        None | Some(0) => {
            out.put_slice(b"0.");
            out.put_bytes(b'0', scale - digits.len());
            out.put_slice(digits.as_bytes());
        }
        Some(whole) => {
            out.put_slice(&digits.as_bytes()[..whole]);
            out.put_u8(b'.');
            out.put_slice(&digits.as_bytes()[whole..]);
        }
    }
}

/// Writes the binary form: ndigits, weight, sign, dscale, then digits of base 10000 aligned at the point.
pub(crate) fn write_numeric_binary(unscaled: &impl Display, scale: i8, out: &mut BytesMut) {
    let scratch = Scratch::new(format_args!("{unscaled}"));
    let text = scratch.text();
    let (sign, digits) = split_sign(text);
    let mut padded = digits.to_owned();
    let display_scale = u16::from(scale.max(0).unsigned_abs());
    if scale < 0 {
        padded.extend(std::iter::repeat_n('0', usize::from(scale.unsigned_abs())));
    }
    let fraction = usize::from(display_scale);
    if padded.len() < fraction {
        padded.insert_str(0, &"0".repeat(fraction - padded.len()));
    }
    // Both sides of the point are filled up to whole groups of four digits.
    padded.extend(std::iter::repeat_n('0', (4 - fraction % 4) % 4));
    let whole = padded.len() - fraction.div_ceil(4) * 4;
    padded.insert_str(0, &"0".repeat((4 - whole % 4) % 4));
    let whole_groups = whole.div_ceil(4);

    let groups: Vec<i16> = padded.as_bytes().chunks(4).map(group).collect();
    let leading = groups.iter().take_while(|g| **g == 0).count();
    let significant = groups.len() - groups.iter().rev().take_while(|g| **g == 0).count();
    if leading == groups.len() {
        out.put_slice(&[0; 6]);
        out.put_u16(display_scale);
        return;
    }
    out.put_i16(count(significant - leading));
    out.put_i16(count(whole_groups) - 1 - count(leading));
    out.put_u16(if sign.is_empty() { 0 } else { 0x4000 });
    out.put_u16(display_scale);
    for group in &groups[leading..significant] {
        out.put_i16(*group);
    }
}

fn split_sign(text: &str) -> (&'static str, &str) {
    match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text),
    }
}

fn group(digits: &[u8]) -> i16 {
    digits.iter().fold(0, |value, digit| value * 10 + i16::from(digit - b'0'))
}

fn count(groups: usize) -> i16 {
    i16::try_from(groups).expect("256 bits are a few dozen groups")
}
