//! Records that change rows: the last record of each key is its row.
//!
//! In: one record's key and payload a call. Out: rows and deletions, told apart by one Boolean column behind the used ones.
//! Which of them is the last of its key is for others to find.
//!
//! ```text
//! UPSERT    key ── record_key ──> values ─┐    payload ──> row, its key columns held against them
//! DEBEZIUM  key ── the same ──────────────┤    payload ── debezium ──> `after`: a row; or a deletion, by key or by `before`
//! ```
//!
//! The values of the primary key are those of the record's key; the payload need not repeat them, and an error tells where it
//! says something else. A record without a key has them in its payload.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, BooleanBufferBuilder};
use arrow::datatypes::{DataType, Field, FieldRef};

use super::debezium::{Change, Debezium};
use super::fault::Found;
use super::record_key::RecordKey;
use super::scan::Value;
use super::{JsonDecoder, utf8};
use crate::error::{Error, Result};
use crate::format::{DecodeError, DecodeSpec, Decoded, Decoder, ErrorReason};

/// What a record's payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Envelope {
    /// The row itself; none deletes it.
    Upsert,
    /// A change event as Debezium writes it, with or without its schema.
    Debezium,
}

/// Decodes the records of a source with a primary key.
#[derive(Debug)]
pub struct JsonKeyedDecoder {
    debezium: Option<Debezium>,
    key: RecordKey,
    key_columns: Vec<usize>,
    rows: JsonDecoder,
    deletions: BooleanBufferBuilder,
    /// An object put together from a payload and a key.
    object: Vec<u8>,
}

impl JsonKeyedDecoder {
    /// A decoder for the columns of `spec`, of which `key` are the primary key, all NOT NULL.
    ///
    /// # Errors
    /// As for [`JsonDecoder::new`]; `Internal` without a key or with an event time.
    pub fn new(spec: DecodeSpec, key: &[usize], envelope: Envelope) -> Result<Self> {
        if key.is_empty() || key.iter().any(|index| *index >= spec.columns.len()) || spec.event_time.is_some() {
            return Err(Error::internal("a keyed decoder has a key among its columns and no event time"));
        }
        let debezium = match envelope {
            Envelope::Upsert => None,
            Envelope::Debezium => Some(Debezium::new(&spec)?),
        };
        Ok(Self {
            debezium,
            key: RecordKey::new(&spec, key)?,
            key_columns: key.to_vec(),
            rows: JsonDecoder::new(spec)?,
            deletions: BooleanBufferBuilder::new(0),
            object: Vec::new(),
        })
    }

    /// Reads a record's key; false if it has none.
    fn read_key(&mut self, key: Option<&[u8]>) -> std::result::Result<bool, DecodeError> {
        key.map_or(Ok(false), |key| self.key.read(key).map(|()| true))
    }

    /// Appends `payload` as a row, whose key columns are those read from the record's key if it `has_key`.
    fn append_row(&mut self, payload: &[u8], has_key: bool) -> std::result::Result<(), DecodeError> {
        let (bytes, text) = self.rows.read(payload)?;
        if has_key && !self.has_this_key(bytes)? {
            let mut object = std::mem::take(&mut self.object);
            object.clear();
            let inside = &bytes[..bytes.len() - 1];
            object.extend_from_slice(inside);
            let is_empty = inside[1..].trim_ascii().is_empty();
            object.extend_from_slice(if is_empty { b"" } else { b"," });
            object.extend_from_slice(self.key.fields());
            object.push(b'}');
            let appended = self.rows.read(&object).and_then(|_| {
                let text = utf8(&object).map_err(|fault| fault.describe(&object, 0))?;
                self.rows.append(&object, text)
            });
            self.object = object;
            appended?;
        } else {
            self.rows.append(bytes, text)?;
        }
        self.deletions.append(false);
        Ok(())
    }

    /// Holds the key columns of the record at hand against its key. False if it lacks some of them.
    fn has_this_key(&mut self, bytes: &[u8]) -> std::result::Result<bool, DecodeError> {
        let Self { rows, key, key_columns, .. } = self;
        let values = || key_columns.iter().map(|column| rows.slots[*column]).enumerate();
        let complete = values().all(|(_, value)| !value.kind().is_null());
        let differs =
            |(index, value): (usize, Value)| !value.kind().is_null() && !key.is_written(index, value.raw(bytes));
        if !values().any(differs) {
            return Ok(complete);
        }
        let mut fields = Vec::new();
        for (index, value) in values() {
            let value = if value.kind().is_null() { key.value(index) } else { value.raw(bytes) };
            key.write_field(index, value, &mut fields);
        }
        match key.difference(&fields) {
            None => Ok(complete),
            Some(detail) => {
                rows.slots.fill(Value::default());
                Err(DecodeError { reason: ErrorReason::KeyMismatch, detail })
            }
        }
    }

    /// Appends the deletion of the key at hand.
    fn append_deletion(&mut self) -> std::result::Result<(), DecodeError> {
        let mut object = std::mem::take(&mut self.object);
        object.clear();
        object.push(b'{');
        object.extend_from_slice(self.key.fields());
        object.push(b'}');
        let read = self.rows.read(&object).map(|_| ());
        let appended = read.and_then(|()| {
            let text = utf8(&object).map_err(|fault| fault.describe(&object, 0))?;
            self.rows.append_partial(&object, text)
        });
        self.object = object;
        appended?;
        self.deletions.append(true);
        Ok(())
    }

    fn decode_tombstone(&mut self, key: Option<&[u8]>) -> std::result::Result<Decoded, DecodeError> {
        if self.debezium.is_some() {
            // It follows a deletion, and is there for the log's compaction alone.
            return Ok(Decoded::Nothing);
        }
        if !self.read_key(key)? {
            let detail = "a record without key and without payload: which row it deletes is not known".to_owned();
            return Err(DecodeError { reason: ErrorReason::NullValue, detail });
        }
        self.append_deletion()?;
        Ok(Decoded::Deletion)
    }

    fn decode_event(&mut self, key: Option<&[u8]>, payload: &[u8]) -> std::result::Result<Decoded, DecodeError> {
        let Some(debezium) = &mut self.debezium else {
            let has_key = self.read_key(key)?;
            return self.append_row(payload, has_key).map(|()| Decoded::Row);
        };
        match debezium.read(payload, &mut self.rows)? {
            Change::Row(after) => {
                let has_key = self.read_key(key)?;
                self.append_row(&payload[after], has_key)?;
            }
            Change::Deletion(before) => {
                if !self.read_key(key)? {
                    self.read_key_of_deleted(before.map(|range| &payload[range]))?;
                }
                self.append_deletion()?;
            }
        }
        Ok(Decoded::Row)
    }

    fn read_key_of_deleted(&mut self, before: Option<&[u8]>) -> std::result::Result<(), DecodeError> {
        let Some(before) = before else {
            let detail = "a deletion without key and without before: which row it deletes is not known".to_owned();
            return Err(DecodeError { reason: ErrorReason::NullValue, detail });
        };
        self.key.read_object(before)
    }
}

impl Decoder for JsonKeyedDecoder {
    fn decode_record(
        &mut self,
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
    ) -> std::result::Result<Decoded, DecodeError> {
        match payload {
            None => self.decode_tombstone(key),
            Some(payload) => self.decode_event(key, payload),
        }
    }

    fn decode(&mut self, payload: &[u8]) -> std::result::Result<(), DecodeError> {
        self.decode_event(None, payload).map(|_| ())
    }

    fn rows(&self) -> usize {
        self.rows.rows()
    }

    fn event_times(&self) -> &[i64] {
        &[]
    }

    fn bytes(&self) -> usize {
        self.rows.bytes() + self.deletions.len() / 8
    }

    fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        let mut columns = self.rows.finish()?;
        columns.push(Arc::new(BooleanArray::new(self.deletions.finish(), None)));
        Ok(columns)
    }
}

/// A decoder that finds fields of these names, whatever they hold; only its slots are of use.
pub(super) fn fields_decoder(names: &[&str], spec: &DecodeSpec) -> Result<JsonDecoder> {
    let column = |name: &&str| FieldRef::from(Field::new(*name, DataType::Utf8View, true));
    let columns = names.iter().map(column).collect();
    JsonDecoder::new(DecodeSpec { columns, used: vec![], event_time: None, ..*spec })
}

/// Where Kafka Connect's wrapper has what.
#[derive(Debug)]
pub(super) struct Wrapped {
    /// The schema.
    pub schema: Range<usize>,
    /// The value itself.
    pub payload: Range<usize>,
}

/// The inside of `{"schema": …, "payload": …}`, read with [`fields_decoder`] of these two; `None` if it is something else.
pub(super) fn wrapped(wrapper: &mut JsonDecoder, bytes: &[u8]) -> Option<Wrapped> {
    wrapper.read(bytes).ok()?;
    let [schema, payload] = [wrapper.slots[0], wrapper.slots[1]];
    wrapper.slots.fill(Value::default());
    let is_wrapped = !schema.kind().is_missing() && !payload.kind().is_missing();
    is_wrapped.then(|| Wrapped { schema: place(schema), payload: place(payload) })
}

/// Where a value stands, a string with its quotes.
pub(super) fn place(value: Value) -> Range<usize> {
    value.offset()..value.end() + value.start() - value.offset()
}

/// A record whose envelope is not what it ought to be.
pub(super) fn not_an_event(reason: ErrorReason, what: &str, found: &[u8]) -> DecodeError {
    let found = if found.is_empty() { String::new() } else { format!(", found {}", Found(found)) };
    DecodeError { reason, detail: format!("{what}{found}") }
}
