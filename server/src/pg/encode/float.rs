//! float4 and float8 as text: the shortest digits that read back as the same number, laid out as PostgreSQL does.

use bytes::{BufMut, BytesMut};

use super::super::datetime::put_padded;
use super::scratch::Scratch;

/// Writes a float8. `extra_digits` is the setting extra_float_digits: above 0 shortest, else `15 + extra` digits.
pub(crate) fn write_float8(value: f64, extra_digits: i32, out: &mut BytesMut) {
    if write_special(value, out) {
        return;
    }
    match extra_digits {
        1.. => lay_out(Scratch::new(format_args!("{value:e}")).text(), 15, out),
        _ => write_rounded(value, (15 + extra_digits).max(1), out),
    }
}

/// Writes a float4; like [`write_float8`] with `6 + extra` digits.
pub(crate) fn write_float4(value: f32, extra_digits: i32, out: &mut BytesMut) {
    if write_special(f64::from(value), out) {
        return;
    }
    match extra_digits {
        1.. => lay_out(Scratch::new(format_args!("{value:e}")).text(), 6, out),
        _ => write_rounded(f64::from(value), (6 + extra_digits).max(1), out),
    }
}

fn write_special(value: f64, out: &mut BytesMut) -> bool {
    if value.is_nan() {
        out.put_slice(b"NaN");
    } else if value.is_infinite() {
        out.put_slice(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
    } else {
        return false;
    }
    true
}

/// C's `%.*g`: so many significant digits, trailing zeros dropped.
fn write_rounded(value: f64, digits: i32, out: &mut BytesMut) {
    let precision = usize::try_from(digits - 1).unwrap_or(0);
    lay_out(Scratch::new(format_args!("{value:.precision$e}")).text(), digits, out);
}

/// Writes `d.ddde±x` plainly while the exponent is from -4 up to `exponent_limit`, and as `d.ddde±xx` otherwise.
fn lay_out(scientific: &str, exponent_limit: i32, out: &mut BytesMut) {
    let (mantissa, exponent) = scientific.split_once('e').expect("scientific notation has an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a small number");
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let (first, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    out.put_slice(sign.as_bytes());
    if exponent < -4 || exponent >= exponent_limit {
        out.put_slice(first.as_bytes());
        if !fraction.is_empty() {
            out.put_u8(b'.');
            out.put_slice(fraction.as_bytes());
        }
        out.put_slice(if exponent < 0 { b"e-" } else { b"e+" });
        put_padded(i64::from(exponent.abs()), 2, out);
        return;
    }
    // The digits with the point behind the first of them; it moves `exponent` places.
    match usize::try_from(exponent) {
        Err(_) => {
            out.put_slice(b"0.");
            out.put_bytes(b'0', usize::try_from(-1 - exponent).unwrap_or(0));
            out.put_slice(first.as_bytes());
            out.put_slice(fraction.as_bytes());
        }
        Ok(places) => {
            out.put_slice(first.as_bytes());
            let whole = places.min(fraction.len());
            out.put_slice(&fraction.as_bytes()[..whole]);
            out.put_bytes(b'0', places - whole);
            if whole < fraction.len() {
                out.put_u8(b'.');
                out.put_slice(&fraction.as_bytes()[whole..]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float8(value: f64, extra_digits: i32) -> String {
        let mut out = BytesMut::new();
        write_float8(value, extra_digits, &mut out);
        String::from_utf8(out.to_vec()).expect("text")
    }

    #[test]
    fn rounded_forms_are_those_of_percent_g() {
        // Read off PostgreSQL 15 with extra_float_digits = 0, -15 and -3.
        assert_eq!(float8(0.1 + 0.2, 0), "0.3");
        assert_eq!(float8(1e15, 0), "1e+15");
        assert_eq!(float8(100_000_000_000_000.0, 0), "100000000000000");
        assert_eq!(float8(1234.5, -15), "1e+03");
        assert_eq!(float8(0.0, 0), "0");
        assert_eq!(float8(-0.0, 1), "-0");
        let mut out = BytesMut::new();
        write_float4(123_456.79, 0, &mut out);
        assert_eq!(&out[..], b"123457");
    }

    #[test]
    fn every_float_reads_back_as_itself() {
        let mut bits = 0x9E37_79B9_7F4A_7C15u64;
        for _ in 0..20_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let value = f64::from_bits(bits);
            if value.is_finite() {
                assert_eq!(float8(value, 1).parse::<f64>().expect("a float").to_bits(), value.to_bits());
            }
        }
    }
}
