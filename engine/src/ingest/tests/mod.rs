//! Ingest against a slow and obvious model, and golden scenes of idleness.
//!
//! Records are lines `event time,a,b`; the decoder here is the simplest that keeps the contract.

mod cost;
mod idle;
mod limits;
mod model;
mod random;
mod reader;
mod replay;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Builder, RecordBatch, StringViewBuilder, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};

use super::*;
use crate::format::{DecodeError, DecodeSpec, Decoder, ErrorReason};
use crate::source::{Headers, RawRecord};

/// Decodes `event time,a,b`: µs not null, bigint, text. An empty `a` is NULL.
struct LineDecoder {
    spec: DecodeSpec,
    times: Vec<i64>,
    a: Int64Builder,
    b: StringViewBuilder,
}

impl Decoder for LineDecoder {
    fn decode(&mut self, payload: &[u8]) -> std::result::Result<(), DecodeError> {
        let fail = |reason, detail: &str| Err(DecodeError { reason, detail: detail.to_owned() });
        let Ok(line) = std::str::from_utf8(payload) else { return fail(ErrorReason::Malformed, "not UTF-8") };
        let fields: Vec<_> = line.split(',').collect();
        let [time, a, b] = fields[..] else { return fail(ErrorReason::Malformed, "not three fields") };
        if time.is_empty() {
            return fail(ErrorReason::NullValue, "no event time");
        }
        let Ok(time) = time.parse() else { return fail(ErrorReason::WrongType, "event time") };
        let Ok(a) = Some(a).filter(|a| !a.is_empty()).map(str::parse).transpose() else {
            return fail(ErrorReason::WrongType, "a");
        };
        self.times.push(time);
        self.a.append_option(a);
        self.b.append_value(b);
        Ok(())
    }

    fn rows(&self) -> usize {
        self.times.len()
    }

    fn event_times(&self) -> &[i64] {
        if self.spec.event_time.is_some() { &self.times } else { &[] }
    }

    fn bytes(&self) -> usize {
        self.times.len() * 40
    }

    fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        let times = TimestampMicrosecondArray::from(std::mem::take(&mut self.times));
        let every: [ArrayRef; 3] = [Arc::new(times), Arc::new(self.a.finish()), Arc::new(self.b.finish())];
        Ok(self.spec.used.iter().map(|&index| every[index].clone()).collect())
    }
}

pub(super) fn line_decoder() -> DecoderFactory {
    Arc::new(|spec| {
        Ok(Box::new(LineDecoder { spec, times: Vec::new(), a: Int64Builder::new(), b: StringViewBuilder::new() }))
    })
}

/// A source `ts timestamp not null, a bigint, b text` with every metadata column included, and all columns used.
pub(super) fn line_spec() -> IngestSpec {
    let columns = vec![
        Arc::new(Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), false)),
        Arc::new(Field::new("a", DataType::Int64, true)),
        Arc::new(Field::new("b", DataType::Utf8View, true)),
    ];
    let decode =
        DecodeSpec { columns, used: vec![0, 1, 2], event_time: Some(0), record_bytes_max: 1 << 20, depth_max: 64 };
    let metadata = [
        (MetadataColumn::Partition, "p"),
        (MetadataColumn::Offset, "o"),
        (MetadataColumn::Timestamp, "at"),
        (MetadataColumn::Key, "k"),
        (MetadataColumn::Headers, "h"),
        (MetadataColumn::Topic, "t"),
    ];
    let metadata = metadata.map(|(column, name)| IncludedColumn { column, name: name.to_owned(), used: true });
    IngestSpec { metadata: metadata.into(), ..IngestSpec::new("lines", "the topic", decode) }
}

/// A record of a test's log.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) timestamp_ms: Option<i64>,
    pub(super) payload: Option<String>,
}

impl Line {
    pub(super) fn raw(&self) -> RawRecord<'_> {
        RawRecord {
            partition: self.partition,
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            key: None,
            payload: self.payload.as_deref().map(str::as_bytes),
            headers: Headers(None),
        }
    }
}

/// An accepted row at `offset`, with contents that tell where it came from.
pub(super) fn line(partition: i32, offset: i64, event_time: i64) -> Line {
    let payload = format!("{event_time},{},b{partition}-{offset}", offset * 10 + i64::from(partition));
    Line { partition, offset, timestamp_ms: Some(event_time / 1000), payload: Some(payload) }
}

pub(super) fn push(ingest: &mut Ingest, lines: &[&Line]) {
    let records: Vec<_> = lines.iter().map(|line| line.raw()).collect();
    ingest.push(&records).expect("the offsets are in order");
}

/// What the source would say of partitions read up to `position` of `end`.
pub(super) fn status(partitions: &[(i32, i64, Option<i64>)]) -> BTreeMap<i32, PartitionStatus> {
    let status = |(number, position, end): &(i32, i64, Option<i64>)| {
        (*number, PartitionStatus { position: *position, end: *end })
    };
    partitions.iter().map(status).collect()
}

/// Partition, offset and event time of the rows of a batch that has them as columns with these names.
fn places(batch: &RecordBatch, partition: &str, offset: &str) -> Vec<(i32, i64, i64)> {
    let column = |name: &str| batch.column_by_name(name).expect("a test's column");
    let partitions = column(partition).as_primitive::<Int32Type>();
    let offsets = column(offset).as_primitive::<Int64Type>();
    let times = column("ts").as_primitive::<TimestampMicrosecondType>();
    let (a, b) = (column("a").as_primitive::<Int64Type>(), column("b").as_string_view());
    let rows = 0..batch.num_rows();
    let row = |row| {
        let (partition, offset) = (partitions.value(row), offsets.value(row));
        assert_eq!(b.value(row), format!("b{partition}-{offset}"), "the row holds another record's columns");
        assert_eq!(a.value(row), offset * 10 + i64::from(partition), "the row holds another record's columns");
        (partition, offset, times.value(row))
    };
    rows.map(row).collect()
}

/// Partition, offset and event time of the accepted rows.
pub(super) fn accepted(tick: &IngestedTick) -> Vec<(i32, i64, i64)> {
    tick.batches.iter().flat_map(|batch| places(batch, "p", "o")).collect()
}

/// Partition, offset, event time and bound of the late rows.
pub(super) fn late(tick: &IngestedTick) -> Vec<(i32, i64, i64, i64)> {
    let Some(batch) = &tick.late else { return Vec::new() };
    let bounds =
        batch.column_by_name("watermark").expect("late rows have it").as_primitive::<TimestampMicrosecondType>();
    let rows = places(batch, "partition", "offset").into_iter().zip(bounds.values());
    rows.map(|((partition, offset, time), bound)| (partition, offset, time, *bound)).collect()
}

/// Partition, offset and reason of the error rows.
pub(super) fn errors(tick: &IngestedTick) -> Vec<(i32, i64, String)> {
    let Some(batch) = &tick.errors else { return Vec::new() };
    let partitions = batch.column(1).as_primitive::<Int32Type>();
    let offsets = batch.column(2).as_primitive::<Int64Type>();
    let reasons = batch.column(4).as_string::<i32>();
    (0..batch.num_rows())
        .map(|row| (partitions.value(row), offsets.value(row), reasons.value(row).to_owned()))
        .collect()
}

/// Every consumed offset is accepted, late, an error, a tombstone or skipped; and the tables hold as many rows.
pub(super) fn assert_accounted(tick: &IngestedTick) {
    assert_eq!(tick.offsets.keys().collect::<Vec<_>>(), tick.counts.keys().collect::<Vec<_>>());
    for (partition, (from, to)) in &tick.offsets {
        let counts = tick.counts[partition];
        let sum = counts.accepted + counts.late + counts.errors + counts.tombstones + counts.skipped;
        assert_eq!((to - from) as u64, sum, "partition {partition}: {counts:?}");
    }
    let total = tick.total();
    let rows = |table: &Option<RecordBatch>| table.as_ref().map_or(0, RecordBatch::num_rows) as u64;
    assert_eq!(tick.rows() as u64, total.accepted);
    assert_eq!(rows(&tick.late), total.late);
    assert_eq!(rows(&tick.errors), total.errors);
    assert!(tick.batches.iter().all(|batch| batch.schema() == tick.schema && batch.num_rows() > 0));
}
