//! What can be wrong with a record's syntax, and the sentence that says so.
//!
//! While a record is read, a [`Fault`] is eight bytes; its sentence is written once, when the record is given up.

use std::fmt::{self, Write};

use crate::format::{DecodeError, ErrorReason};

/// The most of a record's own text that a sentence repeats, in characters.
const FOUND_CHARS_MAX: usize = 40;

/// A record that is not well-formed: what was wrong and at which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    syntax: Syntax,
    at: u32,
}

/// What the syntax asked for and did not find, or found and must not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    /// The record is not an object.
    Record,
    /// The record ends inside a value.
    End,
    /// A value was due.
    Value,
    /// A string key was due.
    Key,
    /// A colon was due.
    Colon,
    /// A comma or closing brace was due.
    ObjectEnd,
    /// A comma or closing bracket was due.
    ArrayEnd,
    /// Nothing was due after the record's object.
    Trailing,
    /// A control character stands in a string.
    Control,
    /// An escape that JSON does not have.
    Escape,
    /// Half of a surrogate pair.
    Surrogate,
    /// A number that JSON does not have.
    Number,
    /// A number no double can hold.
    NumberRange,
    /// Not UTF-8.
    Utf8,
    /// Nested deeper than allowed.
    TooDeep,
}

impl Fault {
    /// `syntax` is violated at byte `at`.
    pub fn new(syntax: Syntax, at: usize) -> Self {
        Self { syntax, at: at as u32 }
    }

    /// What is violated.
    pub fn syntax(self) -> Syntax {
        self.syntax
    }

    /// The error of the record `bytes`.
    #[cold]
    pub fn describe(self, bytes: &[u8], depth_max: usize) -> DecodeError {
        let at = self.at as usize;
        let expected = match self.syntax {
            Syntax::TooDeep => {
                let detail = format!("nested deeper than {depth_max} levels at byte {at}");
                return DecodeError { reason: ErrorReason::TooDeep, detail };
            }
            Syntax::Record => {
                let found = Found(bytes.get(at..).unwrap_or_default());
                let detail = format!("expected an object, found {found} at byte {at}");
                return DecodeError { reason: ErrorReason::WrongType, detail };
            }
            Syntax::End => return malformed(format!("the record is cut short at byte {at}")),
            Syntax::Utf8 => return malformed(format!("not UTF-8 at byte {at}")),
            Syntax::Control => return malformed(format!("a control character in a string at byte {at}")),
            Syntax::Escape => "a valid escape",
            Syntax::Surrogate => "a pair of surrogates",
            Syntax::Number => "a number as JSON writes it",
            Syntax::NumberRange => "a number a double can hold",
            Syntax::Value => "a value",
            Syntax::Key => "a key in quotes",
            Syntax::Colon => "':'",
            Syntax::ObjectEnd => "',' or '}'",
            Syntax::ArrayEnd => "',' or ']'",
            Syntax::Trailing => "the end of the record",
        };
        malformed(format!("expected {expected}, found {} at byte {at}", Found(bytes.get(at..).unwrap_or_default())))
    }
}

fn malformed(detail: String) -> DecodeError {
    DecodeError { reason: ErrorReason::Malformed, detail }
}

/// A piece of the record, short and on one line.
pub(super) struct Found<'a>(pub &'a [u8]);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A character takes up to four bytes, so this much is enough and the rest is never looked at.
        let piece = &self.0[..self.0.len().min(4 * FOUND_CHARS_MAX + 4)];
        let text = String::from_utf8_lossy(piece);
        for (count, character) in text.chars().enumerate() {
            if count + 1 == FOUND_CHARS_MAX && text.chars().nth(FOUND_CHARS_MAX).is_some() {
                return f.write_char('…');
            }
            if count == FOUND_CHARS_MAX {
                return Ok(());
            }
            f.write_char(if character.is_control() { ' ' } else { character })?;
        }
        Ok(())
    }
}
