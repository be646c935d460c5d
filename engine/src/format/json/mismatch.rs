//! A value that does not fit its column, and the sentence that says so.

use arrow::datatypes::Field;

use super::fault::Found;
use super::scan::Value;
use super::types::SqlType;
use crate::format::{DecodeError, ErrorReason};

/// A value that its column cannot take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// Why not.
    pub trouble: Trouble,
    /// The value concerned, which may lie inside the column's own value.
    pub value: Value,
}

/// Why a column cannot take a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is not written as the type is written.
    Type,
    /// It is written rightly but beyond what the type holds.
    Range,
    /// U+0000, which text cannot hold.
    Nul,
    /// It is null, or absent, where the column is NOT NULL or the event time.
    Null,
}

impl Trouble {
    /// This trouble with `value`.
    #[cold]
    pub fn with(self, value: Value) -> Mismatch {
        Mismatch { trouble: self, value }
    }
}

impl Mismatch {
    /// The error of the record `bytes`, whose column `field` cannot take its value.
    #[cold]
    pub fn describe(self, field: &Field, bytes: &[u8]) -> DecodeError {
        let column = field.name();
        let wanted = SqlType(field);
        let found = Found(self.value.raw(bytes));
        let at = self.value.offset();
        let detail = match self.trouble {
            Trouble::Null => {
                let detail = format!("column \"{column}\": null or absent, where a value is needed");
                return DecodeError { reason: ErrorReason::NullValue, detail };
            }
            Trouble::Type => format!("column \"{column}\": expected {wanted}, found {found} at byte {at}"),
            Trouble::Range => {
                format!("column \"{column}\": expected {wanted}, found {found}, out of range, at byte {at}")
            }
            Trouble::Nul => {
                format!("column \"{column}\": expected {wanted}, found {found} with \\u0000 at byte {at}")
            }
        };
        DecodeError { reason: ErrorReason::WrongType, detail }
    }
}
