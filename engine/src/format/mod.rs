//! From a record's bytes to columns.
//!
//! A [`Decoder`] validates every declared column of a record and materialises only those some view uses, so whether a
//! record is accepted never depends on which views exist.

pub mod json;

use arrow::array::ArrayRef;
use arrow::datatypes::FieldRef;

use crate::error::Result;

/// Why a record could not be decoded. The text of [`ErrorReason::code`] is what `<source>_errors.reason` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorReason {
    /// Not well-formed, cut short, or not UTF-8.
    Malformed,
    /// A value does not fit its column's type.
    WrongType,
    /// A NOT NULL column is absent or null, or the event time is null.
    NullValue,
    /// Nested deeper than allowed.
    TooDeep,
    /// Longer than allowed.
    Oversized,
    /// The event time lies further ahead of the broker's time than `max_future_skew`.
    FutureTime,
    /// The record's key says another key than its payload.
    KeyMismatch,
    /// A change event does something that rows cannot follow.
    Operation,
}

impl ErrorReason {
    /// A short, stable name.
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::WrongType => "wrong_type",
            Self::NullValue => "null_value",
            Self::TooDeep => "too_deep",
            Self::Oversized => "oversized",
            Self::FutureTime => "future_time",
            Self::KeyMismatch => "key_mismatch",
            Self::Operation => "operation",
        }
    }
}

/// One record that could not be decoded: the reason, and a sentence naming the column or the byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// The kind of trouble.
    pub reason: ErrorReason,
    /// What exactly, e.g. `column "price": expected bigint, found "abc" at byte 17`.
    pub detail: String,
}

/// What a decoder is asked for.
#[derive(Debug, Clone)]
pub struct DecodeSpec {
    /// The declared columns, in order. Nullability is enforced; a nullable column that is absent reads as NULL.
    pub columns: Vec<FieldRef>,
    /// Indexes into `columns`, ascending, of those to materialise.
    pub used: Vec<usize>,
    /// Index into `columns` of the event time (Timestamp(µs), with or without zone), if the source has a watermark.
    /// It is materialised whether used or not, and null is an error.
    pub event_time: Option<usize>,
    /// Longest record accepted, bytes.
    pub record_bytes_max: usize,
    /// Deepest nesting accepted.
    pub depth_max: usize,
}

/// What a record became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// A row was appended.
    Row,
    /// A row was appended that says its key has no row any more: only its key columns count.
    Deletion,
    /// Nothing was appended, and nothing is wrong.
    Nothing,
}

/// Decodes records of one source into columns, one call a record.
pub trait Decoder: Send {
    /// Appends one record, given whole: its key and its payload, of which a tombstone has none. A decoder that does not look at
    /// keys appends the payload as a row, and nothing for a tombstone.
    ///
    /// # Errors
    /// As for [`decode`](Self::decode).
    fn decode_record(
        &mut self,
        _key: Option<&[u8]>,
        payload: Option<&[u8]>,
    ) -> std::result::Result<Decoded, DecodeError> {
        match payload {
            Some(payload) => self.decode(payload).map(|()| Decoded::Row),
            None => Ok(Decoded::Nothing),
        }
    }

    /// Appends one record as a row, or leaves everything as it was and says why not.
    ///
    /// # Errors
    /// The reason the record is an error row.
    fn decode(&mut self, payload: &[u8]) -> std::result::Result<(), DecodeError>;

    /// Rows appended since the last [`finish`](Self::finish).
    fn rows(&self) -> usize;

    /// The event times (µs) of the rows since the last `finish`, one a row; empty if the source has no event time.
    fn event_times(&self) -> &[i64];

    /// Bytes held in builders, for back-pressure.
    fn bytes(&self) -> usize;

    /// The rows since the last call as one array for each of `used`, in that order; the builders start anew. A decoder that
    /// appends [deletions](Decoded::Deletion) adds one Boolean array more: which rows they are.
    ///
    /// # Errors
    /// `Internal` only.
    fn finish(&mut self) -> Result<Vec<ArrayRef>>;
}
