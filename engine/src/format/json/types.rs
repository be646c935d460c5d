//! What a declared column's type and metadata ask of its JSON values.

use std::fmt;

use arrow::datatypes::{DataType, Field, TimeUnit};

use super::mismatch::Trouble;
use super::time;
use crate::error::{Error, Result};

/// Field metadata that makes a Utf8View column jsonb, with [`JSON_EXTENSION`] as its value.
const EXTENSION_NAME: &str = "ARROW:extension:name";
const JSON_EXTENSION: &str = "arrow.json";
/// Field metadata that says what integers in a timestamp column count: `s`, `ms` (the default), `us` or `ns`.
pub const EPOCH_UNIT: &str = "tidemark.epoch_unit";

/// True if `field` is a jsonb column.
pub(super) fn is_json(field: &Field) -> bool {
    field.metadata().get(EXTENSION_NAME).is_some_and(|name| name == JSON_EXTENSION)
}

/// What an integer of a timestamp column counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EpochUnit {
    /// Seconds since the Unix epoch.
    Second,
    /// Milliseconds since the Unix epoch.
    Millisecond,
    /// Microseconds since the Unix epoch.
    Microsecond,
    /// Nanoseconds since the Unix epoch.
    Nanosecond,
}

impl EpochUnit {
    /// The unit that `field` asks for.
    ///
    /// # Errors
    /// `Input` if it names none.
    pub fn of(field: &Field) -> Result<Self> {
        match field.metadata().get(EPOCH_UNIT).map(String::as_str) {
            Some("s") => Ok(Self::Second),
            None | Some("ms") => Ok(Self::Millisecond),
            Some("us") => Ok(Self::Microsecond),
            Some("ns") => Ok(Self::Nanosecond),
            Some(other) => {
                let column = field.name();
                Err(Error::input(format!("column \"{column}\": an epoch unit is s, ms, us or ns, not \"{other}\"")))
            }
        }
    }

    /// `count` of this unit in µs, rounded down.
    pub fn micros(self, count: i64) -> Result<i64, Trouble> {
        let micros = match self {
            Self::Second => count.checked_mul(1_000_000),
            Self::Millisecond => count.checked_mul(1_000),
            Self::Microsecond => Some(count),
            Self::Nanosecond => Some(count.div_euclid(1_000)),
        };
        time::check_micros(micros.ok_or(Trouble::Range)?)
    }
}

/// A field's type as SQL names it.
pub(super) struct SqlType<'a>(pub &'a Field);

impl fmt::Display for SqlType<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0.data_type() {
            DataType::Boolean => "boolean",
            DataType::Int16 => "smallint",
            DataType::Int32 => "integer",
            DataType::Int64 => "bigint",
            DataType::Float32 => "real",
            DataType::Float64 => "double precision",
            DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
                return write!(f, "numeric({precision},{scale})");
            }
            DataType::Utf8View if is_json(self.0) => "jsonb",
            DataType::Utf8View => "text",
            DataType::Timestamp(TimeUnit::Microsecond, None) => "timestamp",
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => "timestamp with time zone",
            DataType::Date32 => "date",
            DataType::Time64(_) => "time",
            DataType::Binary => "bytea",
            DataType::List(element) => return write!(f, "{}[]", SqlType(element)),
            DataType::Struct(_) => "an object",
            other => return write!(f, "{other}"),
        };
        f.write_str(name)
    }
}
