//! interval as text, in the two styles of IntervalStyle that are written: `postgres` and `iso_8601`.

use bytes::{BufMut, BytesMut};

use super::super::datetime::{put_padded, write_fraction};
use super::IntervalStyle;

const SECOND_MICROS: i64 = 1_000_000;

/// Writes an interval of months, days and µs, each with its own sign.
pub(crate) fn write_interval(months: i32, days: i32, micros: i64, style: IntervalStyle, out: &mut BytesMut) {
    match style {
        IntervalStyle::Postgres => write_postgres(months, days, micros, out),
        IntervalStyle::Iso8601 => write_iso(months, days, micros, out),
    }
}

/// `1 year 2 mons -3 days +04:05:06.7`: a part after a negative one carries its plus sign.
fn write_postgres(months: i32, days: i32, micros: i64, out: &mut BytesMut) {
    let mut first = true;
    let mut after_negative = false;
    for (value, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if value == 0 {
            continue;
        }
        let space = if first { "" } else { " " };
        let plus = if after_negative && value > 0 { "+" } else { "" };
        let plural = if value == 1 { "" } else { "s" };
        out.put_slice(format!("{space}{plus}{value} {unit}{plural}").as_bytes());
        after_negative = value < 0;
        first = false;
    }
    if micros == 0 && !first {
        return;
    }
    if !first {
        out.put_u8(b' ');
    }
    match micros < 0 {
        true => out.put_u8(b'-'),
        false if after_negative => out.put_u8(b'+'),
        false => {}
    }
    let seconds = (micros / SECOND_MICROS).abs();
    put_padded(seconds / 3600, 2, out);
    out.put_u8(b':');
    put_padded(seconds / 60 % 60, 2, out);
    out.put_u8(b':');
    put_padded(seconds % 60, 2, out);
    write_fraction((micros % SECOND_MICROS).abs(), out);
}

/// `P1Y2M-3DT4H5M6.7S`; zero is `PT0S`.
fn write_iso(months: i32, days: i32, micros: i64, out: &mut BytesMut) {
    if months == 0 && days == 0 && micros == 0 {
        return out.put_slice(b"PT0S");
    }
    out.put_u8(b'P');
    for (value, unit) in [(months / 12, 'Y'), (months % 12, 'M'), (days, 'D')] {
        if value != 0 {
            out.put_slice(format!("{value}{unit}").as_bytes());
        }
    }
    if micros == 0 {
        return;
    }
    out.put_u8(b'T');
    let seconds = micros / SECOND_MICROS;
    for (value, unit) in [(seconds / 3600, 'H'), (seconds / 60 % 60, 'M')] {
        if value != 0 {
            out.put_slice(format!("{value}{unit}").as_bytes());
        }
    }
    let (second, fraction) = (seconds % 60, micros % SECOND_MICROS);
    if second != 0 || fraction != 0 {
        if micros < 0 {
            out.put_u8(b'-');
        }
        out.put_slice(second.abs().to_string().as_bytes());
        write_fraction(fraction.abs(), out);
        out.put_u8(b'S');
    }
}
