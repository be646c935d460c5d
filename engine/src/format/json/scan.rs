//! The syntax of JSON (RFC 8259), strictly: where a value begins and ends, and what kind it is.
//!
//! In: a record's bytes and a position. Out: a [`Value`], which is a place in the record, and the position after it.
//! Nothing is built here. What is accepted is exactly what `serde_json::from_slice::<Value>` accepts, apart from
//! nesting, whose limit is the caller's: lone surrogates, control characters in strings and numbers beyond a double are
//! refused wherever they stand. Nesting is followed with a stack of bits, never by recursion.

use super::fault::{Fault, Syntax};
use super::lanes::{POWERS_OF_TEN, find_stop, leading_digits, load8, parse_digits};

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind(u8);

impl Kind {
    /// The record has no such field.
    pub const MISSING: Self = Self(0);
    /// `null`
    pub const NULL: Self = Self(1);
    /// `true`
    pub const TRUE: Self = Self(2);
    /// `false`
    pub const FALSE: Self = Self(3);
    /// A number without fraction or exponent that fits an i64; it is in [`Value::number`].
    pub const INTEGER: Self = Self(4);
    /// Any other number.
    pub const NUMBER: Self = Self(5);
    /// A string without escapes.
    pub const STRING: Self = Self(6);
    /// A string with escapes.
    pub const ESCAPED_STRING: Self = Self(7);
    /// `{…}`
    pub const OBJECT: Self = Self(8);
    /// `[…]`
    pub const ARRAY: Self = Self(9);

    /// True for `null` and for no value at all.
    #[inline(always)]
    pub fn is_null(self) -> bool {
        self.0 <= Self::NULL.0
    }

    /// True for no value at all.
    pub fn is_missing(self) -> bool {
        self == Self::MISSING
    }

    /// True for strings.
    #[inline(always)]
    pub fn is_string(self) -> bool {
        self.0 & !1 == Self::STRING.0
    }

    /// True for objects and arrays.
    #[inline(always)]
    pub fn is_container(self) -> bool {
        self.0 >= Self::OBJECT.0
    }

    /// A set of this kind alone.
    pub const fn set(self) -> u16 {
        1 << self.0
    }
}

/// Longest record whose places fit a [`Value`].
pub(super) const RECORD_BYTES_LIMIT: usize = 1 << 30;

/// One value: its kind and its place in the record, in two words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Value {
    /// Start in bits 0 to 29, end in bits 30 to 59, kind above.
    place: u64,
    /// An integer's value; of an object or array, 1 if there is whitespace between its tokens.
    pub number: i64,
}

impl Value {
    #[inline(always)]
    fn new(kind: Kind, start: usize, end: usize, number: i64) -> Self {
        debug_assert!(start < RECORD_BYTES_LIMIT && end < RECORD_BYTES_LIMIT);
        Self { place: start as u64 | (end as u64) << 30 | u64::from(kind.0) << 60, number }
    }

    /// A value that is absent from `self`, an object.
    pub fn missing(&self) -> Self {
        Self::new(Kind::MISSING, self.start(), self.end(), 0)
    }

    /// What it is.
    #[inline(always)]
    pub fn kind(&self) -> Kind {
        Kind((self.place >> 60) as u8)
    }

    /// True if its kind is in `set`, a union of [`Kind::set`]s.
    #[inline(always)]
    pub fn is_in(&self, set: u16) -> bool {
        set >> (self.place >> 60) & 1 != 0
    }

    /// First byte; of a string, the byte after the opening quote.
    #[inline(always)]
    pub fn start(&self) -> usize {
        (self.place & 0x3fff_ffff) as usize
    }

    /// The byte after the last; of a string, the closing quote.
    #[inline(always)]
    pub fn end(&self) -> usize {
        (self.place >> 30 & 0x3fff_ffff) as usize
    }

    /// The bytes of the value: a string's without its quotes, escapes as written.
    #[inline(always)]
    pub fn text<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.start()..self.end()).unwrap_or_default()
    }

    /// The bytes of the value as they stand in the record, with a string's quotes.
    pub fn raw<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.offset()..self.end() + self.start() - self.offset()).unwrap_or_default()
    }

    /// Where the value begins in the record, a string at its opening quote.
    pub fn offset(&self) -> usize {
        self.start() - usize::from(self.kind().is_string())
    }
}

/// Follows nesting up to a limit: one bit a level, set for an object.
#[derive(Debug)]
pub(super) struct Nesting {
    levels: Vec<u64>,
    depth_max: usize,
}

impl Nesting {
    /// Accepts up to `depth_max` levels, of which the record itself, never entered here, is the first.
    pub fn new(depth_max: usize) -> Self {
        Self { levels: vec![0; depth_max / 64 + 1], depth_max }
    }

    fn enter(&mut self, depth: usize, object: bool, at: usize) -> Result<(), Fault> {
        if depth > self.depth_max {
            return Err(Fault::new(Syntax::TooDeep, at));
        }
        let (word, bit) = (&mut self.levels[depth / 64], 1 << (depth % 64));
        *word = if object { *word | bit } else { *word & !bit };
        Ok(())
    }

    fn in_object(&self, depth: usize) -> bool {
        self.levels[depth / 64] & 1 << (depth % 64) != 0
    }
}

/// Reads one record.
pub(super) struct Scanner<'a> {
    /// The record.
    pub bytes: &'a [u8],
    /// Where strings end or need a closer look, as [`mark_stops`](super::lanes::mark_stops) tells.
    stops: &'a [u64],
}

impl<'a> Scanner<'a> {
    /// A scanner of `bytes`, whose stops are marked in `stops`; words of a longer record may follow there.
    pub fn new(bytes: &'a [u8], stops: &'a [u64]) -> Self {
        Self { bytes, stops: stops.get(..bytes.len() / 64 + 2).unwrap_or_default() }
    }

    /// The byte at `pos`, zero at the end; zero is no part of JSON's syntax.
    #[inline(always)]
    pub fn byte(&self, pos: usize) -> u8 {
        self.bytes.get(pos).copied().unwrap_or(0)
    }

    /// The first position from `pos` on that holds no whitespace.
    #[inline(always)]
    pub fn skip_space(&self, pos: usize) -> usize {
        if self.byte(pos) > b' ' { pos } else { self.skip_space_run(pos) }
    }

    fn skip_space_run(&self, mut pos: usize) -> usize {
        while matches!(self.byte(pos), b' ' | b'\n' | b'\t' | b'\r') {
            pos += 1;
        }
        pos
    }

    /// Whitespace up to the end of the record from `pos` on, and nothing else.
    #[inline(always)]
    pub fn end(&self, pos: usize) -> Result<(), Fault> {
        let pos = if pos == self.bytes.len() { pos } else { self.skip_space(pos) };
        if pos == self.bytes.len() { Ok(()) } else { Err(Fault::new(Syntax::Trailing, pos)) }
    }

    /// Puts the value that begins at `pos` into `out`: the position after it. `depth` is the nesting that `pos` is in.
    #[inline(always)]
    pub fn value(&self, pos: usize, depth: usize, nesting: &mut Nesting, out: &mut Value) -> Result<u32, Fault> {
        match self.byte(pos) {
            b'"' => {
                let Some(end) = self.plain_string(pos + 1) else {
                    return self.any_string_value(pos + 1, out);
                };
                *out = Value::new(Kind::STRING, pos + 1, end as usize, 0);
                Ok(end + 1)
            }
            b'0'..=b'9' => {
                let Some((number, end)) = self.short_integer(pos) else {
                    return self.any_number(pos, out);
                };
                *out = Value::new(Kind::INTEGER, pos, end, number);
                Ok(end as u32)
            }
            b'-' => self.any_number(pos, out),
            b'{' | b'[' => self.container(pos, depth, nesting, out),
            _ => self.literal(pos, out),
        }
    }

    #[inline(never)]
    fn literal(&self, pos: usize, out: &mut Value) -> Result<u32, Fault> {
        let (kind, end) = match load8(self.bytes, pos) {
            word if word as u32 == u32::from_le_bytes(*b"null") => (Kind::NULL, pos + 4),
            word if word as u32 == u32::from_le_bytes(*b"true") => (Kind::TRUE, pos + 4),
            word if word & 0x00ff_ffff_ffff == u64::from_le_bytes(*b"false\0\0\0") => (Kind::FALSE, pos + 5),
            _ => return Err(self.unexpected(Syntax::Value, pos)),
        };
        *out = Value::new(kind, pos, end, 0);
        Ok(end as u32)
    }

    /// The closing quote of the string whose first byte is at `pos`, if there is nothing to look at before it.
    #[inline(always)]
    fn plain_string(&self, pos: usize) -> Option<u32> {
        let stop = find_stop(self.stops, pos)?;
        if self.byte(stop) == b'"' { Some(stop as u32) } else { None }
    }

    #[inline(never)]
    fn any_string_value(&self, pos: usize, out: &mut Value) -> Result<u32, Fault> {
        let (end, kind) = self.any_string(pos)?;
        *out = Value::new(kind, pos, end as usize, 0);
        Ok(end + 1)
    }

    /// The closing quote of the string whose first byte is at `pos`, and which kind of string it is.
    #[inline(never)]
    fn any_string(&self, mut pos: usize) -> Result<(u32, Kind), Fault> {
        let mut kind = Kind::STRING;
        loop {
            let stop = find_stop(self.stops, pos).ok_or(Fault::new(Syntax::End, self.bytes.len()))?;
            match self.byte(stop) {
                b'"' => return Ok((stop as u32, kind)),
                b'\\' => {
                    pos = self.escape(stop)?;
                    kind = Kind::ESCAPED_STRING;
                }
                _ => return Err(Fault::new(Syntax::Control, stop)),
            }
        }
    }

    /// The position after the escape whose backslash is at `pos`. Surrogates must come in pairs.
    fn escape(&self, pos: usize) -> Result<usize, Fault> {
        match self.byte(pos + 1) {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(pos + 2),
            b'u' => match self.hex(pos + 2)? {
                0xd800..=0xdbff => {
                    if self.byte(pos + 6) != b'\\' || self.byte(pos + 7) != b'u' {
                        return Err(Fault::new(Syntax::Surrogate, pos));
                    }
                    match self.hex(pos + 8)? {
                        0xdc00..=0xdfff => Ok(pos + 12),
                        _ => Err(Fault::new(Syntax::Surrogate, pos)),
                    }
                }
                0xdc00..=0xdfff => Err(Fault::new(Syntax::Surrogate, pos)),
                _ => Ok(pos + 6),
            },
            _ => Err(Fault::new(Syntax::Escape, pos)),
        }
    }

    fn hex(&self, pos: usize) -> Result<u32, Fault> {
        (pos..pos + 4).try_fold(0, |code, at| match char::from(self.byte(at)).to_digit(16) {
            Some(digit) => Ok(code << 4 | digit),
            None => Err(Fault::new(Syntax::Escape, at)),
        })
    }

    /// The integer of at most fifteen digits that begins with the digit at `pos`, and the position after it; `None` if it
    /// is another number, or none after all.
    #[inline(always)]
    fn short_integer(&self, pos: usize) -> Option<(i64, usize)> {
        let word = load8(self.bytes, pos);
        let count = leading_digits(word);
        let (number, count) = if count < 8 {
            (parse_digits(word, count), count)
        } else {
            let after = load8(self.bytes, pos + 8);
            match leading_digits(after) {
                0 => (parse_digits(word, 8), 8),
                8 => return None,
                more => (parse_digits(word, 8) * POWERS_OF_TEN[more] + parse_digits(after, more), 8 + more),
            }
        };
        let end = pos + count;
        let zeros_first = word as u8 == b'0' && count > 1;
        if zeros_first || matches!(self.byte(end), b'.' | b'e' | b'E') {
            return None;
        }
        Some((number as i64, end))
    }

    /// The number that begins at `pos` with a digit or a minus.
    #[inline(never)]
    fn any_number(&self, pos: usize, out: &mut Value) -> Result<u32, Fault> {
        let first = pos + usize::from(self.byte(pos) == b'-');
        let mut end = self.some_digits(pos, first)?;
        if end - first > 1 && self.byte(first) == b'0' {
            return Err(Fault::new(Syntax::Number, pos));
        }
        let integer = end;
        if self.byte(end) == b'.' {
            end = self.some_digits(pos, end + 1)?;
        }
        let exponent = matches!(self.byte(end), b'e' | b'E');
        if exponent {
            end += 1;
            end += usize::from(matches!(self.byte(end), b'+' | b'-'));
            end = self.some_digits(pos, end)?;
        }
        // Without an exponent only a number of some three hundred digits is beyond a double.
        if exponent || end - pos > 300 {
            self.check_range(pos, end)?;
        }
        let text = if end == integer { str::from_utf8(&self.bytes[pos..end]).ok() } else { None };
        *out = match text.and_then(|text| text.parse().ok()) {
            Some(number) => Value::new(Kind::INTEGER, pos, end, number),
            None => Value::new(Kind::NUMBER, pos, end, 0),
        };
        Ok(end as u32)
    }

    fn some_digits(&self, number: usize, pos: usize) -> Result<usize, Fault> {
        let end = self.skip_digits(pos);
        if end == pos { Err(Fault::new(Syntax::Number, number)) } else { Ok(end) }
    }

    fn skip_digits(&self, mut pos: usize) -> usize {
        loop {
            let count = leading_digits(load8(self.bytes, pos));
            pos += count;
            if count < 8 {
                return pos;
            }
        }
    }

    fn check_range(&self, pos: usize, end: usize) -> Result<(), Fault> {
        let value = std::str::from_utf8(&self.bytes[pos..end]).ok().and_then(|text| text.parse::<f64>().ok());
        if value.is_some_and(f64::is_finite) { Ok(()) } else { Err(Fault::new(Syntax::NumberRange, pos)) }
    }

    /// The object or array that begins at `pos`, to its closing bracket.
    #[inline(never)]
    fn container(&self, start: usize, outer: usize, nesting: &mut Nesting, out: &mut Value) -> Result<u32, Fault> {
        let kind = if self.byte(start) == b'{' { Kind::OBJECT } else { Kind::ARRAY };
        let (mut pos, mut depth, mut spaces) = (start, outer, false);
        loop {
            // Here a value begins at `pos`.
            let opened = match self.byte(pos) {
                open @ (b'{' | b'[') => {
                    depth += 1;
                    nesting.enter(depth, open == b'{', pos)?;
                    pos = self.between(pos + 1, &mut spaces);
                    true
                }
                _ => {
                    pos = self.scalar(pos)?;
                    pos = self.between(pos, &mut spaces);
                    false
                }
            };
            // Here a value, or an opening bracket, has ended: close what closes, then find where the next value begins.
            let mut first = opened;
            loop {
                let object = nesting.in_object(depth);
                match self.byte(pos) {
                    b'}' if object => {}
                    b']' if !object => {}
                    b',' if !first => {
                        pos = self.between(pos + 1, &mut spaces);
                        break;
                    }
                    _ if first => break,
                    _ => return Err(self.unexpected(if object { Syntax::ObjectEnd } else { Syntax::ArrayEnd }, pos)),
                }
                pos += 1;
                first = false;
                depth -= 1;
                if depth == outer {
                    *out = Value::new(kind, start, pos, i64::from(spaces));
                    return Ok(pos as u32);
                }
                pos = self.between(pos, &mut spaces);
            }
            if nesting.in_object(depth) {
                pos = self.key(pos)?.1;
                pos = self.between(pos, &mut spaces);
                pos = self.colon(pos)?;
                pos = self.between(pos, &mut spaces);
            }
        }
    }

    #[inline(always)]
    fn between(&self, pos: usize, spaces: &mut bool) -> usize {
        let next = self.skip_space(pos);
        *spaces |= next != pos;
        next
    }

    /// A value that is neither object nor array: the position after it.
    #[inline(always)]
    fn scalar(&self, pos: usize) -> Result<usize, Fault> {
        let mut value = Value::default();
        let end = match self.byte(pos) {
            b'"' => return Ok(self.key(pos)?.1),
            b'0'..=b'9' => match self.short_integer(pos) {
                Some((_, end)) => return Ok(end),
                None => self.any_number(pos, &mut value)?,
            },
            b'-' => self.any_number(pos, &mut value)?,
            _ => self.literal(pos, &mut value)?,
        };
        Ok(end as usize)
    }

    /// The key, or other string, at `pos`: whether it holds escapes, and the position after its closing quote.
    pub fn key(&self, pos: usize) -> Result<(bool, usize), Fault> {
        if self.byte(pos) != b'"' {
            return Err(self.unexpected(Syntax::Key, pos));
        }
        let (end, kind) = match self.plain_string(pos + 1) {
            Some(end) => (end, Kind::STRING),
            None => self.any_string(pos + 1)?,
        };
        Ok((kind == Kind::ESCAPED_STRING, end as usize + 1))
    }

    /// The position after the colon at `pos`.
    pub fn colon(&self, pos: usize) -> Result<usize, Fault> {
        if self.byte(pos) == b':' { Ok(pos + 1) } else { Err(self.unexpected(Syntax::Colon, pos)) }
    }

    /// A fault at `pos`: cut short if the record ends there, else `syntax`.
    pub fn unexpected(&self, syntax: Syntax, pos: usize) -> Fault {
        Fault::new(if pos >= self.bytes.len() { Syntax::End } else { syntax }, pos)
    }
}
