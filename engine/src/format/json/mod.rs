//! JSON records to columns.
//!
//! In: one record's bytes a call, an object at the top. Out: Arrow arrays of the used columns, a batch at a time.
//!
//! A record is read in two steps. The first, [`scan`], walks it once from brace to brace, checks its syntax to the last
//! byte, and notes for each declared column where its value stands; [`shape`] guesses each key, so keys cost one
//! comparison. The second, [`column`], checks every noted value against its column's type and appends those that some
//! view uses. So a field that comes twice counts as it stands last, a record that is not well-formed is never also
//! wrongly typed, and values nobody uses are neither copied nor parsed further than their syntax.
//!
//! ```text
//! bytes ── scan + shape ──> one Value (kind, place) a column ── convert ──> column builders ── finish ──> arrays
//!              │ Fault                                            │ Mismatch
//!              └──────────────> DecodeError <─────────────────────┘  (the builders are cut back to whole rows)
//! ```
//!
//! Syntax is RFC 8259 as `serde_json::from_slice::<Value>` reads it, nesting up to the limit in [`DecodeSpec`].
//! How each type may be written is told in [`convert`] and [`time`].

mod column;
mod convert;
mod debezium;
mod decimal;
mod fault;
mod inside;
pub mod keyed;
mod lanes;
mod mismatch;
mod record_key;
mod scan;
mod shape;
#[cfg(test)]
mod tests;
mod text;
mod time;
mod types;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef, TimeUnit};

use self::column::Column;
use self::convert::{Record, Scratch};
use self::fault::{Fault, Syntax};
use self::lanes::mark_stops;
use self::scan::{Nesting, RECORD_BYTES_LIMIT, Scanner, Value};
use self::shape::Shape;
pub use self::types::EPOCH_UNIT;
use super::{DecodeError, DecodeSpec, Decoder, ErrorReason};
use crate::error::{Error, Result};

/// Decodes the JSON records of one source.
#[derive(Debug)]
pub struct JsonDecoder {
    columns: Vec<Column>,
    used: Vec<usize>,
    /// The columns whose values are kept late.
    late: Vec<usize>,
    event_time: Option<usize>,
    record_bytes_max: usize,
    depth_max: usize,
    shape: Shape,
    /// The record's value for each column, then one for all else.
    slots: Vec<Value>,
    /// One bit for each byte of the record at hand, set where a string ends or needs a closer look.
    stops: Vec<u64>,
    scratch: Scratch,
    rows: usize,
}

impl JsonDecoder {
    /// A decoder for the columns of `spec`. A Utf8View column with the metadata `ARROW:extension:name` = `arrow.json`
    /// is jsonb; `tidemark.epoch_unit` = `s`, `ms`, `us` or `ns` says what integers in a timestamp column count,
    /// milliseconds if it is absent.
    ///
    /// # Errors
    /// `Unsupported` for a column type JSON is not decoded to, `Input` for options or limits that make no sense,
    /// `Internal` for indexes that name no column.
    pub fn new(spec: DecodeSpec) -> Result<Self> {
        check(&spec)?;
        let column = |(index, field): (usize, &FieldRef)| {
            let is_event_time = spec.event_time == Some(index);
            let keep = spec.used.contains(&index) || is_event_time;
            Column::new(field, keep, field.is_nullable() && !is_event_time)
        };
        let columns = spec.columns.iter().enumerate().map(column).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            shape: Shape::new(spec.columns.iter().map(|field| field.name().as_str())),
            slots: vec![Value::default(); columns.len() + 1],
            stops: Vec::new(),
            late: (0..columns.len()).filter(|&index| columns[index].keeps_late()).collect(),
            columns,
            used: spec.used,
            event_time: spec.event_time,
            record_bytes_max: spec.record_bytes_max,
            depth_max: spec.depth_max,
            scratch: Scratch { text: Vec::new(), nesting: Nesting::new(spec.depth_max) },
            rows: 0,
        })
    }

    /// Checks the record's syntax and notes where each column's value stands. Whether all of it is UTF-8 is left to
    /// check if this returns true.
    #[inline(never)]
    fn scan(&mut self, bytes: &[u8]) -> std::result::Result<bool, Fault> {
        let Self { shape, slots, stops, scratch, .. } = self;
        let not_ascii = mark_stops(bytes, stops);
        let scanner = Scanner::new(bytes, stops);
        let mut pos = scanner.skip_space(0);
        if scanner.byte(pos) != b'{' {
            return Err(scanner.unexpected(Syntax::Record, pos));
        }
        pos += 1;
        let mut place = shape.begin();
        while let Some(value) = shape.advance(&scanner, pos, &mut place)? {
            pos = scanner.value(value, 1, &mut scratch.nesting, &mut slots[place.slot()])? as usize;
            if scanner.byte(pos) == b'}' {
                break;
            }
        }
        // No further field: what stands here is the closing brace.
        scanner.end(scanner.skip_space(pos) + 1)?;
        Ok(not_ascii)
    }

    /// Checks the noted values and appends those used. `text` is the record, or empty if no column keeps texts.
    #[inline(never)]
    fn append(&mut self, bytes: &[u8], text: &str) -> std::result::Result<(), DecodeError> {
        let Self { columns, slots, stops, scratch, late, .. } = self;
        let mut record = Record { bytes, stops, text, scratch };
        for (column, value) in columns.iter_mut().zip(slots.iter()) {
            if let Err(mismatch) = column.check(*value, &mut record) {
                let error = mismatch.describe(column.field(), bytes);
                self.cut_back();
                return Err(error);
            }
        }
        for &index in late.iter() {
            columns[index].append(slots[index], &mut record);
        }
        slots.fill(Value::default());
        self.rows += 1;
        Ok(())
    }

    /// As [`append`](Self::append), but what the record lacks is NULL, whatever its column is declared.
    fn append_partial(&mut self, bytes: &[u8], text: &str) -> std::result::Result<(), DecodeError> {
        let Self { columns, slots, stops, scratch, late, .. } = self;
        let mut record = Record { bytes, stops, text, scratch };
        for (column, value) in columns.iter_mut().zip(slots.iter()) {
            if value.kind().is_null() {
                if !column.keeps_late() {
                    column.append_missing();
                }
            } else if let Err(mismatch) = column.check(*value, &mut record) {
                let error = mismatch.describe(column.field(), bytes);
                self.cut_back();
                return Err(error);
            }
        }
        for &index in late.iter() {
            match slots[index] {
                value if value.kind().is_null() => columns[index].append_missing(),
                value => columns[index].append(value, &mut record),
            }
        }
        slots.fill(Value::default());
        self.rows += 1;
        Ok(())
    }

    /// Forgets the record at hand.
    #[cold]
    fn cut_back(&mut self) {
        self.columns.iter_mut().filter(|column| column.keeps()).for_each(|column| column.truncate(self.rows));
        self.slots.fill(Value::default());
    }

    /// Checks a record's length and syntax; its values then stand in the slots. Returns the record without the whitespace
    /// behind it, and the same as text if some column keeps texts.
    #[inline]
    fn read<'a>(&mut self, payload: &'a [u8]) -> std::result::Result<(&'a [u8], &'a str), DecodeError> {
        if payload.len() > self.record_bytes_max {
            let (length, max) = (payload.len(), self.record_bytes_max);
            let detail = format!("a record of {length} bytes, where {max} are allowed");
            return Err(DecodeError { reason: ErrorReason::Oversized, detail });
        }
        let payload = without_space_after(payload);
        let scanned = self.scan(payload).and_then(|not_ascii| match not_ascii || !self.late.is_empty() {
            true => utf8(payload),
            false => Ok(""),
        });
        match scanned {
            Ok(text) => Ok((payload, text)),
            Err(fault) => Err(self.refuse(fault, payload)),
        }
    }

    /// The error of a record that is not well-formed, or not an object.
    #[cold]
    fn refuse(&mut self, fault: Fault, bytes: &[u8]) -> DecodeError {
        self.slots.fill(Value::default());
        let fault = match fault.syntax() {
            // Of text that is no object it is still to be told whether it is JSON.
            Syntax::Record => self.scan_any_value(bytes, fault),
            _ => fault,
        };
        fault.describe(bytes, self.depth_max)
    }

    fn scan_any_value(&mut self, bytes: &[u8], fault: Fault) -> Fault {
        let scanner = Scanner::new(bytes, &self.stops);
        let start = scanner.skip_space(0);
        scanner
            .value(start, 0, &mut self.scratch.nesting, &mut Value::default())
            .and_then(|end| scanner.end(end as usize))
            .and_then(|()| utf8(bytes).map(|_| ()))
            .err()
            .unwrap_or(fault)
    }
}

/// Checks that `spec` makes sense.
fn check(spec: &DecodeSpec) -> Result<()> {
    if spec.record_bytes_max >= RECORD_BYTES_LIMIT {
        return Err(Error::input(format!("records of {RECORD_BYTES_LIMIT} bytes or more are never accepted")));
    }
    if spec.depth_max == 0 {
        return Err(Error::input("a record is one level deep at least"));
    }
    let count = spec.columns.len();
    if spec.used.iter().chain(&spec.event_time).any(|&index| index >= count) || !spec.used.is_sorted_by(|a, b| a < b) {
        return Err(Error::internal("a decode spec must name its columns in ascending order"));
    }
    for (i, field) in spec.columns.iter().enumerate() {
        let name = field.name();
        if spec.columns[..i].iter().any(|other| other.name() == name) {
            return Err(Error::input(format!("column \"{name}\" is declared twice")));
        }
    }
    let event_time = spec.event_time.map(|index| &spec.columns[index]);
    match event_time.map(|field| (field.name(), field.data_type())) {
        None | Some((_, DataType::Timestamp(TimeUnit::Microsecond, _))) => Ok(()),
        Some((name, _)) => Err(Error::input(format!("column \"{name}\": an event time must be a timestamp"))),
    }
}

/// The record without the whitespace behind it: a line end, which many producers leave there, would else be the one
/// control character that every string must be searched for.
fn without_space_after(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\n' | b'\t' | b'\r'] = bytes {
        bytes = rest;
    }
    bytes
}

fn utf8(bytes: &[u8]) -> std::result::Result<&str, Fault> {
    simdutf8::basic::from_utf8(bytes).map_err(|_| {
        let valid = simdutf8::compat::from_utf8(bytes).err().map_or(0, |error| error.valid_up_to());
        Fault::new(Syntax::Utf8, valid)
    })
}

impl Decoder for JsonDecoder {
    fn decode(&mut self, payload: &[u8]) -> std::result::Result<(), DecodeError> {
        let (bytes, text) = self.read(payload)?;
        self.append(bytes, text)
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn event_times(&self) -> &[i64] {
        self.event_time.map_or(&[], |index| self.columns[index].micros())
    }

    fn bytes(&self) -> usize {
        self.columns.iter().filter(|column| column.keeps()).map(Column::bytes).sum()
    }

    fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        self.rows = 0;
        let arrays = self.used.iter().map(|&index| self.columns[index].finish()).collect();
        if let Some(index) = self.event_time.filter(|index| !self.used.contains(index)) {
            self.columns[index].truncate(0);
        }
        arrays
    }
}
