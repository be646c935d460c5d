//! What a record says about itself beside its payload: the columns of `INCLUDE PARTITION, OFFSET, …`.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryBuilder, Int32Array, Int64Array, ListBuilder, StringViewArray, StringViewBuilder,
    StructBuilder, TimestampMicrosecondBuilder, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

use crate::error::{Error, Result};
use crate::source::RawRecord;

/// One thing a record carries beside its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetadataColumn {
    /// The partition number: Int32, not null.
    Partition,
    /// The offset within the partition: Int64, not null.
    Offset,
    /// The record's time in the log: Timestamp(µs, "+00:00").
    Timestamp,
    /// The record's key: Binary.
    Key,
    /// The record's headers in log order: List<Struct<name Utf8View, value Binary>>, not null.
    Headers,
    /// The topic's name: Utf8View, not null.
    Topic,
}

/// A metadata column a source includes, under the name the user gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncludedColumn {
    /// What it holds.
    pub column: MetadataColumn,
    /// Its name in SQL.
    pub name: String,
    /// Whether some view reads it.
    pub used: bool,
}

/// The type of every time a record carries: µs, UTC.
pub fn record_time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
}

/// The record's time in µs.
pub(super) fn record_time_micros(record: &RawRecord<'_>) -> Option<i64> {
    record.timestamp_ms.map(|ms| ms.saturating_mul(1000))
}

impl MetadataColumn {
    /// Its Arrow type.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Partition => DataType::Int32,
            Self::Offset => DataType::Int64,
            Self::Timestamp => record_time_type(),
            Self::Key => DataType::Binary,
            Self::Headers => DataType::List(header_item()),
            Self::Topic => DataType::Utf8View,
        }
    }

    /// Whether a record may lack it.
    pub fn is_nullable(self) -> bool {
        matches!(self, Self::Timestamp | Self::Key)
    }
}

impl From<&IncludedColumn> for Field {
    fn from(included: &IncludedColumn) -> Self {
        Self::new(&included.name, included.column.data_type(), included.column.is_nullable())
    }
}

fn header_fields() -> Fields {
    Fields::from(vec![Field::new("name", DataType::Utf8View, false), Field::new("value", DataType::Binary, true)])
}

fn header_item() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Struct(header_fields()), false))
}

/// Collects the used metadata of each decoded record, row for row beside the decoder's builders.
pub(super) struct MetadataBuilder {
    topic: StringViewArray,
    columns: Vec<ColumnBuilder>,
}

enum ColumnBuilder {
    Partition(Vec<i32>),
    Offset(Vec<i64>),
    Timestamp(TimestampMicrosecondBuilder),
    Key(BinaryBuilder),
    Headers(ListBuilder<StructBuilder>),
    Topic,
}

impl MetadataBuilder {
    pub(super) fn new<'a>(topic: &str, included: impl IntoIterator<Item = &'a IncludedColumn>) -> Self {
        let used = included.into_iter().filter(|included| included.used);
        let columns = used.map(|included| ColumnBuilder::new(included.column)).collect();
        Self { topic: StringViewArray::from(vec![topic]), columns }
    }

    /// Appends the records at `rows`, indexes into `records`.
    pub(super) fn append(&mut self, records: &[RawRecord<'_>], rows: &[u32]) -> Result<()> {
        self.columns.iter_mut().try_for_each(|column| column.append(records, rows))
    }

    pub(super) fn bytes(&self) -> usize {
        self.columns.iter().map(ColumnBuilder::bytes).sum()
    }

    /// One array a used column, `rows` long; the builders start anew.
    pub(super) fn finish(&mut self, rows: usize) -> Result<Vec<ArrayRef>> {
        let topic = &self.topic;
        self.columns.iter_mut().map(|column| column.finish(topic, rows)).collect()
    }
}

impl ColumnBuilder {
    fn new(column: MetadataColumn) -> Self {
        match column {
            MetadataColumn::Partition => Self::Partition(Vec::new()),
            MetadataColumn::Offset => Self::Offset(Vec::new()),
            MetadataColumn::Timestamp => {
                Self::Timestamp(TimestampMicrosecondBuilder::new().with_data_type(record_time_type()))
            }
            MetadataColumn::Key => Self::Key(BinaryBuilder::new()),
            MetadataColumn::Headers => {
                let entry = StructBuilder::from_fields(header_fields(), 0);
                Self::Headers(ListBuilder::new(entry).with_field(header_item()))
            }
            MetadataColumn::Topic => Self::Topic,
        }
    }

    fn append(&mut self, records: &[RawRecord<'_>], rows: &[u32]) -> Result<()> {
        let mut appended = rows.iter().map(|row| &records[*row as usize]);
        match self {
            Self::Partition(values) => values.extend(appended.map(|record| record.partition)),
            Self::Offset(values) => values.extend(appended.map(|record| record.offset)),
            Self::Timestamp(values) => values.extend(appended.map(record_time_micros)),
            Self::Key(values) => appended.for_each(|record| values.append_option(record.key)),
            Self::Headers(values) => appended.try_for_each(|record| append_headers(values, record))?,
            Self::Topic => {}
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Partition(values) => values.len() * size_of::<i32>(),
            Self::Offset(values) => values.len() * size_of::<i64>(),
            Self::Timestamp(values) => size_of_val(values.values_slice()),
            Self::Key(values) => values.values_slice().len() + size_of_val(values.offsets_slice()),
            // Names and values lie in nested builders; the offsets stand for them, 64 bytes a header.
            Self::Headers(values) => values.offsets_slice().last().map_or(0, |end| 64 * *end as usize),
            Self::Topic => 0,
        }
    }

    fn finish(&mut self, topic: &StringViewArray, rows: usize) -> Result<ArrayRef> {
        Ok(match self {
            Self::Partition(values) => Arc::new(Int32Array::from(std::mem::take(values))),
            Self::Offset(values) => Arc::new(Int64Array::from(std::mem::take(values))),
            Self::Timestamp(values) => Arc::new(values.finish()),
            Self::Key(values) => Arc::new(values.finish()),
            Self::Headers(values) => Arc::new(values.finish()),
            Self::Topic => repeat(topic, rows)?,
        })
    }
}

/// `value`'s only row, `rows` times; all views share its one buffer.
pub(super) fn repeat(value: &dyn Array, rows: usize) -> Result<ArrayRef> {
    Ok(arrow::compute::take(value, &UInt32Array::from_value(0, rows), None)?)
}

fn append_headers(list: &mut ListBuilder<StructBuilder>, record: &RawRecord<'_>) -> Result<()> {
    let entries = list.values();
    let mut fits = true;
    if let Some(headers) = record.headers.0 {
        headers.for_each(&mut |name, value| {
            match entries.field_builder::<StringViewBuilder>(0) {
                Some(names) => names.append_value(name),
                None => fits = false,
            }
            match entries.field_builder::<BinaryBuilder>(1) {
                Some(values) => values.append_option(value),
                None => fits = false,
            }
            entries.append(true);
        });
    }
    list.append(true);
    if fits { Ok(()) } else { Err(Error::internal("the header builders are not of the header fields' types")) }
}
