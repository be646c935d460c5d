//! Records that are not accepted rows, kept as rows: the tables `<source>_errors` and `<source>_late`.
//!
//! Nothing is dropped here: both tables count towards the memory that pauses reading, and how long they are kept
//! afterwards is decided where they are stored.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Array, Int64Array, RecordBatch, StringArray, StringBuilder, StringViewArray,
    TimestampMicrosecondArray, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};

use crate::error::{Error, Result};
use crate::format::{DecodeError, Decoder};
use crate::ingest::metadata::{record_time_micros, record_time_type, repeat};
use crate::source::RawRecord;

/// Columns of `<source>_errors`: topic, partition, offset, timestamp (the record's), reason, detail, payload (its first
/// bytes), payload_bytes (its full length).
pub fn errors_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("topic", DataType::Utf8View, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("timestamp", record_time_type(), true),
        Field::new("reason", DataType::Utf8, false),
        Field::new("detail", DataType::Utf8, false),
        Field::new("payload", DataType::Binary, false),
        Field::new("payload_bytes", DataType::Int64, false),
    ]))
}

/// Columns of `<source>_late`: every declared column, then topic, partition, offset, timestamp (the record's) and
/// watermark (the bound the event time was below). Where a declared column has one of these names already, ours is
/// written with underscores in front.
pub fn late_schema(columns: &[FieldRef]) -> SchemaRef {
    let names: HashSet<&str> = columns.iter().map(|field| field.name().as_str()).collect();
    let ours = [
        ("topic", DataType::Utf8View, false),
        ("partition", DataType::Int32, false),
        ("offset", DataType::Int64, false),
        ("timestamp", record_time_type(), true),
        ("watermark", record_time_type(), false),
    ];
    let mut fields: Vec<FieldRef> = columns.to_vec();
    for (name, data_type, nullable) in ours {
        let mut free = name.to_owned();
        while names.contains(free.as_str()) {
            free.insert(0, '_');
        }
        fields.push(Arc::new(Field::new(free, data_type, nullable)));
    }
    Arc::new(Schema::new(Fields::from(fields)))
}

/// Collects error rows until the next tick takes them.
#[derive(Debug)]
pub(super) struct ErrorRows {
    schema: SchemaRef,
    topic: StringViewArray,
    payload_bytes_max: usize,
    place: Place,
    reason: StringBuilder,
    detail: StringBuilder,
    payload: BinaryBuilder,
    payload_bytes: Vec<i64>,
}

/// Where a record stands: the columns both tables share.
#[derive(Debug, Default)]
struct Place {
    partition: Vec<i32>,
    offset: Vec<i64>,
    timestamp: TimestampMicrosecondBuilder,
}

impl Place {
    fn append(&mut self, record: &RawRecord<'_>) {
        self.partition.push(record.partition);
        self.offset.push(record.offset);
        self.timestamp.append_option(record_time_micros(record));
    }

    fn rows(&self) -> usize {
        self.offset.len()
    }

    /// topic, partition, offset, timestamp.
    fn finish(&mut self, topic: &StringViewArray) -> Result<Vec<ArrayRef>> {
        let topic = repeat(topic, self.rows())?;
        let timestamp = self.timestamp.finish().with_timezone("+00:00");
        Ok(vec![
            topic,
            Arc::new(Int32Array::from(std::mem::take(&mut self.partition))),
            Arc::new(Int64Array::from(std::mem::take(&mut self.offset))),
            Arc::new(timestamp),
        ])
    }
}

impl ErrorRows {
    pub(super) fn new(topic: &str, payload_bytes_max: usize) -> Self {
        Self {
            schema: errors_schema(),
            topic: StringViewArray::from(vec![topic]),
            payload_bytes_max,
            place: Place::default(),
            reason: StringBuilder::new(),
            detail: StringBuilder::new(),
            payload: BinaryBuilder::new(),
            payload_bytes: Vec::new(),
        }
    }

    pub(super) fn append(&mut self, record: &RawRecord<'_>, error: &DecodeError) {
        let payload = record.payload.unwrap_or_default();
        self.place.append(record);
        self.reason.append_value(error.reason.code());
        self.detail.append_value(&error.detail);
        self.payload.append_value(&payload[..payload.len().min(self.payload_bytes_max)]);
        self.payload_bytes.push(payload.len() as i64);
    }

    pub(super) fn rows(&self) -> usize {
        self.place.rows()
    }

    pub(super) fn bytes(&self) -> usize {
        let text = self.reason.values_slice().len() + self.detail.values_slice().len();
        text + self.payload.values_slice().len() + 64 * self.rows()
    }

    /// The rows since the last call, if there are any.
    pub(super) fn finish(&mut self) -> Result<Option<RecordBatch>> {
        if self.rows() == 0 {
            return Ok(None);
        }
        let mut columns = self.place.finish(&self.topic)?;
        let reason: StringArray = self.reason.finish();
        columns.push(Arc::new(reason));
        columns.push(Arc::new(self.detail.finish()));
        columns.push(Arc::new(self.payload.finish()));
        columns.push(Arc::new(Int64Array::from(std::mem::take(&mut self.payload_bytes))));
        Ok(Some(RecordBatch::try_new(self.schema.clone(), columns)?))
    }
}

/// Collects late rows, decoded anew with every declared column, until the next tick takes them.
pub(super) struct LateRows {
    schema: SchemaRef,
    topic: StringViewArray,
    decoder: Box<dyn Decoder>,
    place: Place,
    bound: Vec<i64>,
}

impl LateRows {
    /// `decoder` materialises every one of `columns`.
    pub(super) fn new(topic: &str, columns: &[FieldRef], decoder: Box<dyn Decoder>) -> Self {
        let topic = StringViewArray::from(vec![topic]);
        Self { schema: late_schema(columns), topic, decoder, place: Place::default(), bound: Vec::new() }
    }

    /// Keeps a record whose event time was below `bound` (µs).
    pub(super) fn append(&mut self, record: &RawRecord<'_>, bound: i64) -> Result<()> {
        self.decoder.decode(record.payload.unwrap_or_default()).map_err(|error| {
            let place = format!("partition {}, offset {}", record.partition, record.offset);
            Error::internal(format!("{place}: decoded once, but not a second time: {}", error.detail))
        })?;
        self.place.append(record);
        self.bound.push(bound);
        Ok(())
    }

    pub(super) fn rows(&self) -> usize {
        self.place.rows()
    }

    pub(super) fn bytes(&self) -> usize {
        self.decoder.bytes() + 64 * self.rows()
    }

    /// The rows since the last call, if there are any.
    pub(super) fn finish(&mut self) -> Result<Option<RecordBatch>> {
        if self.rows() == 0 {
            return Ok(None);
        }
        let mut columns = self.decoder.finish()?;
        columns.extend(self.place.finish(&self.topic)?);
        let bound = TimestampMicrosecondArray::from(std::mem::take(&mut self.bound)).with_timezone("+00:00");
        columns.push(Arc::new(bound));
        Ok(Some(RecordBatch::try_new(self.schema.clone(), columns)?))
    }
}
