//! A record's key as the values of a primary key.
//!
//! In: the key's bytes: an object with the key columns, the same in Kafka Connect's wrapper of `schema` and `payload`, or,
//! where the primary key has one column, its value alone, as JSON or as bare text. Out: those values as JSON, each found
//! to fit its column.

use std::ops::Range;

use arrow::datatypes::{DataType, Field, FieldRef};

use super::keyed::wrapped;
use super::types::is_json;
use super::{JsonDecoder, fault::Found};
use crate::error::Result;
use crate::format::{DecodeError, DecodeSpec, Decoder, ErrorReason};

/// Reads the keys of one source's records.
#[derive(Debug)]
pub(super) struct RecordKey {
    /// Checks the values against their columns, and keeps none.
    checked: JsonDecoder,
    /// Keeps the values, to hold two spellings against each other.
    compared: JsonDecoder,
    wrapper: JsonDecoder,
    /// Whether fields called `schema` and `payload` are a wrapper's, and not the key's own.
    unwraps: bool,
    /// Each column's name with its quotes and the colon behind them.
    names: Vec<Vec<u8>>,
    /// Whether the key is one text: then its bytes need no quotes.
    is_text: bool,
    /// The fields of the key at hand: `"id":7,"region":"eu"`.
    fields: Vec<u8>,
    /// Where each value stands in `fields`.
    values: Vec<Range<usize>>,
}

impl RecordKey {
    /// Keys of these columns of `spec`.
    ///
    /// # Errors
    /// As for [`JsonDecoder::new`].
    pub fn new(spec: &DecodeSpec, columns: &[usize]) -> Result<Self> {
        let not_null = |index: &usize| FieldRef::from(Field::clone(&spec.columns[*index]).with_nullable(false));
        let columns: Vec<FieldRef> = columns.iter().map(not_null).collect();
        let decoder = |used| JsonDecoder::new(DecodeSpec { columns: columns.clone(), used, event_time: None, ..*spec });
        let is_text = |field: &FieldRef| *field.data_type() == DataType::Utf8View && !is_json(field);
        Ok(Self {
            checked: decoder(vec![])?,
            compared: decoder((0..columns.len()).collect())?,
            wrapper: super::keyed::fields_decoder(&["schema", "payload"], spec)?,
            unwraps: !columns.iter().any(|field| ["schema", "payload"].contains(&field.name().as_str())),
            names: columns.iter().map(|field| [quoted(field.name().as_bytes()), vec![b':']].concat()).collect(),
            is_text: columns.len() == 1 && columns.iter().all(is_text),
            fields: Vec::new(),
            values: Vec::new(),
        })
    }

    /// The key at hand as fields of an object, without its braces.
    pub fn fields(&self) -> &[u8] {
        &self.fields
    }

    /// Whether the `index`th value is written as `raw` is.
    pub fn is_written(&self, index: usize, raw: &[u8]) -> bool {
        self.value(index) == raw
    }

    /// The `index`th value, as it is written.
    pub fn value(&self, index: usize) -> &[u8] {
        &self.fields[self.values[index].clone()]
    }

    /// Writes a field with the `index`th column's name behind those before it.
    pub fn write_field(&self, index: usize, value: &[u8], fields: &mut Vec<u8>) {
        if index > 0 {
            fields.push(b',');
        }
        fields.extend_from_slice(&self.names[index]);
        fields.extend_from_slice(value);
    }

    /// Reads a record's key.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(&mut self, key: &[u8]) -> std::result::Result<(), DecodeError> {
        let named = |error: DecodeError| DecodeError { detail: format!("the record's key: {}", error.detail), ..error };
        let key = key.trim_ascii();
        let inner = if self.unwraps && key.starts_with(b"{") { wrapped(&mut self.wrapper, key) } else { None };
        let key = inner.map_or(key, |inner| key[inner.payload].trim_ascii());
        if key.starts_with(b"{") { self.read_object(key) } else { self.read_bare(key) }.map_err(named)
    }

    /// Reads the key's values from an object that has them among its fields.
    ///
    /// # Errors
    /// Why they are none.
    pub fn read_object(&mut self, object: &[u8]) -> std::result::Result<(), DecodeError> {
        let (bytes, text) = self.checked.read(object)?;
        self.fields.clear();
        self.values.clear();
        for (index, name) in self.names.iter().enumerate() {
            if index > 0 {
                self.fields.push(b',');
            }
            self.fields.extend_from_slice(name);
            let start = self.fields.len();
            self.fields.extend_from_slice(self.checked.slots[index].raw(bytes));
            self.values.push(start..self.fields.len());
        }
        self.checked.append(bytes, text)
    }

    /// Reads a value that stands alone.
    fn read_bare(&mut self, value: &[u8]) -> std::result::Result<(), DecodeError> {
        if self.names.len() != 1 {
            let (count, found) = (self.names.len(), Found(value));
            let detail = format!("expected an object with {count} columns of the primary key, found {found}");
            return Err(DecodeError { reason: ErrorReason::WrongType, detail });
        }
        let is_string = value.starts_with(b"\"");
        if self.is_text && !is_string {
            return self.read_value(&quoted(value));
        }
        let as_json = self.read_value(value);
        if as_json.is_err() && !is_string {
            // Dates, numbers beyond JSON's and the like are written without quotes, too.
            return self.read_value(&quoted(value));
        }
        as_json
    }

    fn read_value(&mut self, value: &[u8]) -> std::result::Result<(), DecodeError> {
        let object = [b"{", self.names[0].as_slice(), value, b"}"].concat();
        self.read_object(&object)?;
        // Whatever else came along was no single value.
        if self.is_written(0, value) {
            return Ok(());
        }
        let detail = format!("expected one value, found {}", Found(value));
        Err(DecodeError { reason: ErrorReason::Malformed, detail })
    }

    /// Says how the key differs from `fields`, an object's without its braces; `None` if it says the same in other words,
    /// or if what it differs from is no key at all.
    pub fn difference(&mut self, fields: &[u8]) -> Option<String> {
        let object = |fields: &[u8]| [b"{", fields, b"}"].concat();
        let (own, other) = (object(&self.fields), object(fields));
        self.compared.decode(&own).ok()?;
        let decoded = self.compared.decode(&other).is_ok();
        let columns = self.compared.finish().ok().filter(|_| decoded)?;
        let same = columns.iter().all(|column| column.slice(0, 1).as_ref() == column.slice(1, 1).as_ref());
        (!same).then(|| format!("the record's key has {}, its payload {}", Found(&self.fields), Found(fields)))
    }
}

/// `text` as a JSON string. What is not UTF-8 stays so, and is found when the string is read.
fn quoted(text: &[u8]) -> Vec<u8> {
    let mut string = vec![b'"'];
    for byte in text {
        match byte {
            b'"' | b'\\' => string.extend([b'\\', *byte]),
            0..0x20 => string.extend(format!("\\u{byte:04x}").bytes()),
            _ => string.push(*byte),
        }
    }
    string.push(b'"');
    string
}
