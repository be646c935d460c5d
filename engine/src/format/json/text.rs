//! Strings: undoing escapes, and building columns of views.
//!
//! Everything here works on text that was found well-formed before.

use std::sync::Arc;

use arrow::array::{ArrayBuilder, ArrayRef, StringViewBuilder};

/// Longest text that a view holds itself.
const INLINE_BYTES_MAX: usize = 12;
/// Blocks of longer texts have one size for a batch: about what the batch before it took, within these limits.
const BLOCK_BYTES_MIN: usize = 8 << 10;
const BLOCK_BYTES_MAX: usize = 2 << 20;

/// The texts of one column in Arrow's view layout.
#[derive(Debug)]
pub(super) struct Texts {
    builder: StringViewBuilder,
    /// Bytes of the texts that are too long for a view.
    long_bytes: usize,
}

impl Default for Texts {
    fn default() -> Self {
        Self { builder: builder(0, 0), long_bytes: 0 }
    }
}

fn builder(texts: usize, long_bytes: usize) -> StringViewBuilder {
    // A little more, so that a batch like the one before fits one block.
    let block = (long_bytes + long_bytes / 8).clamp(BLOCK_BYTES_MIN, BLOCK_BYTES_MAX) as u32;
    StringViewBuilder::with_capacity(texts).with_fixed_block_size(block)
}

impl Texts {
    /// Appends NULL.
    pub fn push_null(&mut self) {
        self.builder.append_null();
    }

    /// Appends `text`.
    #[inline]
    pub fn push(&mut self, text: &str) {
        if text.len() > INLINE_BYTES_MAX {
            self.long_bytes += text.len();
        }
        self.builder.append_value(text);
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.builder.len() * 16 + self.long_bytes
    }

    /// The texts as an array; the builder starts anew.
    pub fn finish(&mut self) -> ArrayRef {
        let next = builder(self.builder.len(), self.long_bytes);
        self.long_bytes = 0;
        Arc::new(std::mem::replace(&mut self.builder, next).finish())
    }
}

/// The vector's content without much unused memory; the vector is left empty, with room for as much again.
pub(super) fn take<T>(values: &mut Vec<T>) -> Vec<T> {
    let mut taken = std::mem::replace(values, Vec::with_capacity(values.len()));
    if taken.capacity() / 2 > taken.len() {
        taken.shrink_to_fit();
    }
    taken
}

/// Appends to `out` what the string written as `text` says. Returns false if that holds U+0000.
pub(super) fn unescape(text: &[u8], out: &mut Vec<u8>) -> bool {
    let mut rest = text;
    let mut no_nul = true;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let escape = rest.get(at + 1).copied().unwrap_or(b'\\');
        rest = rest.get(at + 2..).unwrap_or_default();
        match escape {
            b'u' => {
                let (character, length) = escaped_character(rest);
                no_nul &= character != '\0';
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = rest.get(length..).unwrap_or_default();
            }
            b'b' => out.push(0x08),
            b'f' => out.push(0x0c),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            other => out.push(other),
        }
    }
    out.extend_from_slice(rest);
    no_nul
}

/// The character whose escape continues with `rest` after `\u`, and how many bytes of `rest` it takes.
fn escaped_character(rest: &[u8]) -> (char, usize) {
    let unit = |at: usize| {
        let digits = rest.get(at..at + 4).unwrap_or_default();
        digits.iter().fold(0, |code, &digit| code << 4 | char::from(digit).to_digit(16).unwrap_or(0))
    };
    let first = unit(0);
    let (code, length) = if (0xd800..0xdc00).contains(&first) {
        // The scan saw that `\u` and the other half follow.
        (0x10000 + ((first - 0xd800) << 10 | (unit(6) & 0x3ff)), 10)
    } else {
        (first, 4)
    };
    (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), length)
}

/// True if a string within the JSON text `json` holds U+0000, which only an escape can write.
pub(super) fn escapes_nul(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        if rest[at + 1..].starts_with(b"u0000") {
            return true;
        }
        // What a backslash escapes is skipped with it, so `\\u0000` is a backslash and five letters.
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    false
}

/// Appends the JSON text `json` to `out` without the whitespace between its tokens.
pub(super) fn compact(json: &[u8], out: &mut Vec<u8>) {
    let mut pos = 0;
    while let Some(&byte) = json.get(pos) {
        let run = match byte {
            b' ' | b'\n' | b'\t' | b'\r' => {
                pos += 1;
                continue;
            }
            b'"' => string_length(&json[pos..]),
            _ => json[pos..]
                .iter()
                .position(|byte| matches!(byte, b' ' | b'\n' | b'\t' | b'\r' | b'"'))
                .unwrap_or(json.len() - pos),
        };
        out.extend_from_slice(&json[pos..pos + run]);
        pos += run;
    }
}

/// The length, with both quotes, of the string that `json` begins with.
fn string_length(json: &[u8]) -> usize {
    let mut pos = 1;
    while let Some(at) = memchr::memchr2(b'"', b'\\', json.get(pos..).unwrap_or_default()) {
        pos += at;
        if json[pos] == b'"' {
            return pos + 1;
        }
        pos += 2;
    }
    json.len()
}
