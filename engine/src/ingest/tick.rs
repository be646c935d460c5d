//! What one tick takes from one source.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::ingest::exclusion::Exclusion;
use crate::ingest::partition::Counts;
use crate::time::Watermark;

/// One source's share of a cut, and the rows in it.
#[derive(Debug, Clone)]
pub struct IngestedTick {
    /// The tick's time, µs; never goes back.
    pub now_micros: i64,
    /// The columns of `batches`: the used declared columns, then the used metadata.
    pub schema: SchemaRef,
    /// The accepted rows, all inserts; each partition's in offset order, several partitions' as they were polled. Of a source
    /// with a primary key: its changes, each tombstone that deletes among them.
    pub batches: Vec<RecordBatch>,
    /// Every known partition's offsets: first consumed, and next to consume. Equal where nothing came.
    pub offsets: BTreeMap<i32, (i64, i64)>,
    /// No row of a later tick lies below. Never goes back.
    pub watermark: Watermark,
    /// Windows that end at or before it have closed; never behind the watermark, and never goes back. Between the two lie the
    /// rows that are late for their windows and yet accepted.
    pub closing: Watermark,
    /// Rows for `<source>_errors` ([`errors_schema`](super::quarantine::errors_schema)).
    pub errors: Option<RecordBatch>,
    /// Rows for `<source>_late` ([`late_schema`](super::quarantine::late_schema)).
    pub late: Option<RecordBatch>,
    /// What became of every consumed offset.
    pub counts: BTreeMap<i32, Counts>,
    /// Exclusions this tick's watermark rests on that no earlier tick's did. They must be durable before the tick is
    /// published: a replay needs them to accept the same rows.
    pub exclusions: Vec<Exclusion>,
    /// How long decoding took, µs, where somebody measured it.
    pub decode_micros: u64,
}

impl IngestedTick {
    /// Rows of the batches.
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// The counts of all partitions together.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.counts.values().for_each(|counts| total += *counts);
        total
    }

    /// True if no offset was consumed.
    pub fn is_empty(&self) -> bool {
        self.offsets.values().all(|(from, to)| from == to)
    }
}
