//! The schema `tidemark`: the engine's own state as tables, at the read point's tick.
//!
//! `SHOW SOURCES` and its kin are SELECTs over these, so whatever they print can also be filtered, joined and charted.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Field, FieldRef, Schema};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use engine::Error;
use engine::checkpoint::writer::Written;
use engine::engine::Engine;
use engine::ingest::reader::ReaderState;
use engine::tick::building::Report;
use engine::tick::temporary::title_of;
use engine::time::Watermark;
use sql::SqlError;
use sql::catalog::{Definition, noun};
use sql::statement::ObjectKind;

use super::Reading;

/// The schema's name.
pub const SCHEMA: &str = "tidemark";

/// The tables' names.
pub const TABLES: [&str; 9] = [
    "sources",
    "source_partitions",
    "frontier",
    "materialized_views",
    "views",
    "relations",
    "ticks",
    "backfills",
    "checkpoints",
];

/// The table of this name.
pub fn table(name: &str, reading: &Reading, engine: &Engine) -> Option<Arc<dyn TableProvider>> {
    let batch = match name {
        "sources" => sources(reading, engine),
        "source_partitions" => source_partitions(reading, engine),
        "frontier" => frontier(reading),
        "materialized_views" => materialized_views(reading),
        "views" => views(reading),
        "relations" => relations(reading),
        "ticks" => ticks(engine),
        "backfills" => backfills(engine),
        "checkpoints" => checkpoints(engine),
        _ => return None,
    };
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).expect("a batch of its own schema");
    Some(Arc::new(table))
}

/// The columns of a table, for the catalog.
pub fn columns(name: &str, reading: &Reading, engine: &Engine) -> Vec<FieldRef> {
    table(name, reading, engine).map(|table| table.schema().fields().iter().cloned().collect()).unwrap_or_default()
}

/// A table under construction: columns by name.
#[derive(Default)]
pub(super) struct Columns(Vec<(Field, ArrayRef)>);

impl Columns {
    fn add(mut self, name: &str, array: impl arrow::array::Array + 'static) -> Self {
        let field = Field::new(name, array.data_type().clone(), true);
        self.0.push((field, Arc::new(array)));
        self
    }

    pub(super) fn text<T: AsRef<str>>(self, name: &str, values: impl IntoIterator<Item = Option<T>>) -> Self {
        self.add(name, values.into_iter().collect::<StringViewArray>())
    }

    pub(super) fn bigint(self, name: &str, values: impl IntoIterator<Item = Option<i64>>) -> Self {
        self.add(name, values.into_iter().collect::<Int64Array>())
    }

    fn time(self, name: &str, values: impl IntoIterator<Item = Option<i64>>) -> Self {
        let array = values.into_iter().collect::<TimestampMicrosecondArray>().with_timezone("+00:00");
        self.add(name, array)
    }

    pub(super) fn batch(self) -> RecordBatch {
        let (fields, arrays): (Vec<_>, Vec<_>) = self.0.into_iter().unzip();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("columns of equal length")
    }
}

fn count(value: u64) -> Option<i64> {
    Some(i64::try_from(value).unwrap_or(i64::MAX))
}

/// Event time has no zone of its own; like the sources' plain timestamps it is shown without one.
fn watermark_column(values: impl IntoIterator<Item = Watermark>) -> TimestampMicrosecondArray {
    values.into_iter().map(Watermark::micros).collect()
}

fn state_name(state: ReaderState) -> &'static str {
    match state {
        ReaderState::Running => "running",
        ReaderState::Retrying => "retrying",
        ReaderState::Halted => "halted",
    }
}

fn sources(reading: &Reading, engine: &Engine) -> RecordBatch {
    let found: Vec<_> = reading
        .catalog
        .objects()
        .filter(|object| object.kind() == ObjectKind::Source)
        .map(|object| {
            let status = engine.source_status(&object.name);
            (object.name.clone(), reading.snapshot.source(&object.name).cloned(), status, engine.source(&object.name))
        })
        .collect();
    let counts: Vec<_> =
        found.iter().map(|(_, read, ..)| read.as_ref().map(|r| r.counts()).unwrap_or_default()).collect();
    let lag = |index: usize| {
        let status = found[index].2.as_ref()?;
        count(status.partitions.values().map(|partition| partition.lag.unwrap_or(0)).sum())
    };
    let rows = 0..found.len();
    Columns::default()
        .text("name", found.iter().map(|(name, ..)| Some(name)))
        .text("topic", found.iter().map(|(.., source)| source.as_ref().map(|s| s.opener.topic().to_owned())))
        .text(
            "state",
            found.iter().map(|(_, _, status, _)| Some(status.as_ref().map_or("unread", |s| state_name(s.state)))),
        )
        .bigint(
            "partitions",
            found.iter().map(|(_, read, ..)| read.as_ref().and_then(|r| count(r.partitions.len() as u64))),
        )
        .bigint("lag", rows.clone().map(lag))
        .add(
            "watermark",
            watermark_column(found.iter().map(|(_, r, ..)| r.as_ref().map_or(Watermark::NONE, |r| r.watermark))),
        )
        .add(
            "closing_watermark",
            watermark_column(found.iter().map(|(_, r, ..)| r.as_ref().map_or(Watermark::NONE, |r| r.closing))),
        )
        .bigint("accepted", counts.iter().map(|c| count(c.accepted)))
        .bigint("late", counts.iter().map(|c| count(c.late)))
        .bigint("errors", counts.iter().map(|c| count(c.errors)))
        .bigint("tombstones", counts.iter().map(|c| count(c.tombstones)))
        .bigint("skipped", counts.iter().map(|c| count(c.skipped)))
        .text(
            "trouble",
            found.iter().map(|(name, _, status, _)| {
                // It names brokers.
                status.as_ref().and_then(|s| s.trouble.clone()).filter(|_| reading.may_see(name))
            }),
        )
        .batch()
}

fn source_partitions(reading: &Reading, engine: &Engine) -> RecordBatch {
    let mut found = Vec::new();
    for (name, source) in &reading.snapshot.sources {
        let status = engine.source_status(name);
        for (partition, read) in &source.partitions {
            let live = status.as_ref().and_then(|s| s.partitions.get(partition).copied());
            found.push((name.clone(), *partition, *read, live));
        }
    }
    found.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    let read = || found.iter().map(|(_, _, read, _)| read);
    let end = |index: usize| found[index].3.and_then(|live| live.end);
    let lag = |index: usize| end(index).map(|end| (end - found[index].2.next_offset).max(0));
    Columns::default()
        .text("source", found.iter().map(|(name, ..)| Some(name)))
        .add("partition", found.iter().map(|(_, partition, ..)| Some(*partition)).collect::<Int32Array>())
        .bigint("next_offset", read().map(|r| Some(r.next_offset)))
        .bigint("end_offset", (0..found.len()).map(end))
        .bigint("lag", (0..found.len()).map(lag))
        .add("watermark", watermark_column(read().map(|r| r.watermark)))
        .add("idle", read().map(|r| Some(r.idle)).collect::<BooleanArray>())
        .bigint("consumed", read().map(|r| count(r.counts.consumed())))
        .bigint("accepted", read().map(|r| count(r.counts.accepted)))
        .bigint("late", read().map(|r| count(r.counts.late)))
        .bigint("errors", read().map(|r| count(r.counts.errors)))
        .bigint("tombstones", read().map(|r| count(r.counts.tombstones)))
        .bigint("skipped", read().map(|r| count(r.counts.skipped)))
        .bigint("bytes", read().map(|r| count(r.counts.bytes)))
        .batch()
}

/// What the tick that is read holds: every record below these offsets.
fn frontier(reading: &Reading) -> RecordBatch {
    let snapshot = &reading.snapshot;
    let of_source = |(name, source): (&String, &Arc<engine::view::SourceReading>)| {
        let row = |(partition, read): (&i32, &engine::view::PartitionReading)| (name.clone(), *partition, *read);
        source.partitions.iter().map(row).collect::<Vec<_>>()
    };
    let mut found: Vec<_> = snapshot.sources.iter().flat_map(of_source).collect();
    found.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    Columns::default()
        .bigint("tick", found.iter().map(|_| count(snapshot.tick.0)))
        .text("source", found.iter().map(|(name, ..)| Some(name)))
        .add("partition", found.iter().map(|(_, partition, _)| Some(*partition)).collect::<Int32Array>())
        .bigint("next_offset", found.iter().map(|(.., read)| Some(read.next_offset)))
        .add("watermark", watermark_column(found.iter().map(|(.., read)| read.watermark)))
        .batch()
}

fn materialized_views(reading: &Reading) -> RecordBatch {
    let (mut found, mut budgets): (Vec<_>, Vec<_>) = (Vec::new(), Vec::new());
    for object in reading.catalog.objects().filter(|object| object.kind() == ObjectKind::MaterializedView) {
        found.push((object.name.clone(), reading.snapshot.view(&object.name).cloned()));
        budgets.push(match &object.definition {
            Definition::MaterializedView(create) => create.max_state.map(|budget| budget.to_string()),
            _ => None,
        });
    }
    let left_out = |name: &String| reading.snapshot.rows_left_out(name);
    let view = || found.iter().map(|(_, view)| view.as_ref());
    let state = |(name, view): &(String, Option<Arc<engine::view::ViewReading>>)| match view {
        None => "building",
        Some(view) if view.error.is_some() => "failed",
        Some(_) if left_out(name) > 0 => "degraded",
        Some(_) => "running",
    };
    Columns::default()
        .text("name", found.iter().map(|(name, _)| Some(name)))
        .text("state", found.iter().map(|found| Some(state(found))))
        .bigint("rows", view().map(|v| count(v?.num_rows())))
        .bigint("tick", view().map(|v| count(v?.applied.0)))
        .add("watermark", watermark_column(view().map(|v| v.map_or(Watermark::NONE, |v| v.watermark))))
        .bigint("view_bytes", view().map(|v| count(v?.view_bytes as u64)))
        .bigint("state_bytes", view().map(|v| count(v?.state_bytes as u64)))
        // It may hold values of rows.
        .text(
            "error",
            found.iter().map(|(name, v)| {
                v.as_ref().filter(|_| reading.may_see(name)).and_then(|v| v.error.as_deref().map(failure))
            }),
        )
        .bigint("degraded", found.iter().map(|(name, view)| view.as_ref().and_then(|_| count(left_out(name)))))
        .text("max_state", budgets.iter().map(Option::as_deref))
        .batch()
}

/// Why a view stands still, in SQL's words.
pub(super) fn failure(message: &str) -> String {
    const READS_FAILED: &str = "\" that it reads has failed: ";
    let in_words = |cause: &str| SqlError::from(Error::data(cause)).message;
    match message.split_once(READS_FAILED) {
        Some((view, cause)) => format!("{view}{READS_FAILED}{}", in_words(cause)),
        None => in_words(message),
    }
}

fn views(reading: &Reading) -> RecordBatch {
    let found: Vec<_> = reading.catalog.objects().filter(|object| object.kind() == ObjectKind::View).collect();
    let body = |object: &sql::catalog::Object| match &object.definition {
        Definition::View(view) if reading.may_see(&object.name) => Some(view.query_text.clone()),
        _ => None,
    };
    Columns::default()
        .text("name", found.iter().map(|object| Some(&object.name)))
        .text("definition", found.iter().map(|object| body(object)))
        .batch()
}

fn relations(reading: &Reading) -> RecordBatch {
    let mut found: Vec<(String, &str)> = Vec::new();
    for object in reading.catalog.objects() {
        found.push((object.name.clone(), noun(object.kind())));
        let companions = object.definition.companions().iter();
        found.extend(companions.map(|suffix| (format!("{}_{suffix}", object.name), "table")));
    }
    found.sort();
    Columns::default()
        .text("name", found.iter().map(|(name, _)| Some(name)))
        .text("kind", found.iter().map(|(_, kind)| Some(kind)))
        .batch()
}

/// Views that are being built now, and how far they are; estimates follow the average pace so far.
fn backfills(engine: &Engine) -> RecordBatch {
    let found = engine.buildings();
    let tenths = |value: f64| (value * 10.0).round() / 10.0;
    let float = |value: fn(&Report) -> Option<f64>| {
        found.iter().map(|report| value(report).map(tenths)).collect::<Float64Array>()
    };
    Columns::default()
        .text("view", found.iter().map(|report| Some(title_of(&report.view).unwrap_or(&report.view))))
        .bigint("rows_read", found.iter().map(|report| count(report.rows_read)))
        .bigint("rows_to_read", found.iter().map(|report| count(report.rows_to_read)))
        .add("percent", float(Report::percent))
        .add("rows_per_second", float(Report::rows_per_second))
        .add("seconds", float(|report| Some(report.elapsed.as_secs_f64())))
        .add("seconds_left", float(Report::seconds_left))
        .batch()
}

/// The last checkpoints: those written, and those that could not be, with the reason.
fn checkpoints(engine: &Engine) -> RecordBatch {
    let found = engine.durability().reports();
    let written =
        |value: fn(&Written) -> u64| found.iter().map(move |r| r.written.as_ref().ok().and_then(|w| count(value(w))));
    let micros = |value: std::time::Duration| count(u64::try_from(value.as_micros()).unwrap_or(u64::MAX));
    Columns::default()
        .bigint("number", written(|written| written.sequence))
        .bigint("tick", found.iter().map(|report| count(report.tick.0)))
        .time("at", found.iter().map(|report| Some(report.began_micros)))
        .bigint("bytes_written", written(|written| written.bytes_written))
        .bigint("bytes", written(|written| written.bytes))
        .bigint("segments", written(|written| written.segments as u64))
        .bigint("ticks_waited_us", found.iter().map(|report| micros(report.held_up)))
        .bigint("took_us", found.iter().map(|report| micros(report.took)))
        .text("error", found.iter().map(|report| report.written.as_ref().err()))
        .batch()
}

fn ticks(engine: &Engine) -> RecordBatch {
    let found = engine.store().recent_ticks();
    let each = || found.iter().rev();
    Columns::default()
        .bigint("tick", each().map(|t| count(t.tick.0)))
        .time("at", each().map(|t| Some(t.now_micros)))
        .bigint("rows", each().map(|t| count(t.rows_in)))
        .bigint("changes", each().map(|t| count(t.rows_changed)))
        .bigint("bytes", each().map(|t| count(t.bytes_in)))
        .bigint("decode_us", each().map(|t| count(t.decode_micros)))
        .bigint("compute_us", each().map(|t| count(t.compute_micros)))
        .bigint("publish_us", each().map(|t| count(t.publish_micros)))
        .batch()
}
