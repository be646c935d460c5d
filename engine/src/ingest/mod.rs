//! From polled records to a tick's rows: decode, decide what is late, count everything.
//!
//! ```text
//! RawRecord -> decode -> event time too far ahead? -> late for its partition? -> accepted rows -> the tick's batches
//!                 |                 |                        |
//!                 +--> error rows <-+                        +--> late rows, with every declared column
//! ```
//!
//! A source with a primary key hands on changes instead of rows, its tombstones among them; see [`IngestSpec::key`].
//!
//! Whether a record is accepted, late or an error depends on its partition's log alone and on the exclusions written
//! down ([`Exclusion`]), never on where polls and ticks cut the stream. [`Ingest`] does no I/O and reads no clock; the
//! thread that feeds it is [`reader::SourceReader`].

mod exclusion;
mod metadata;
mod partition;
mod pending;
mod present_rows;
mod progress;
mod push;
pub mod quarantine;
pub mod reader;
mod spec;
mod state;
#[cfg(test)]
mod tests;
mod tick;
pub mod topic_table;

use std::collections::BTreeMap;
use std::fmt;

pub use exclusion::Exclusion;
pub use metadata::{IncludedColumn, MetadataColumn, record_time_type};
pub use partition::{Counts, PartitionProgress};
pub use spec::{
    DELETED_COLUMN, DecoderFactory, IDLE_TIMEOUT_MICROS, IngestSpec, MAX_FUTURE_SKEW_MICROS, PLACE_COLUMNS,
    UsedColumns, is_reserved,
};
pub use state::IngestState;
pub use tick::IngestedTick;

use crate::error::{Error, Result};
use crate::ingest::partition::Partition;
use crate::ingest::pending::PendingRows;
use crate::ingest::progress::{Delays, Progress};
use crate::ingest::quarantine::{ErrorRows, LateRows};
use crate::source::{Offsets, PartitionStatus};
use crate::time::Watermark;

/// One source between its log and the ticks.
pub struct Ingest {
    spec: IngestSpec,
    factory: DecoderFactory,
    progress: Progress,
    rows: PendingRows,
    errors: ErrorRows,
    late: LateRows,
    /// Per row decoded from the records in hand: which record it came from.
    row_records: Vec<u32>,
    /// Why nothing can be taken any more.
    broken: Option<String>,
}

impl fmt::Debug for Ingest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Ingest");
        fields.field("spec", &self.spec).field("progress", &self.progress);
        fields.field("pending_rows", &self.pending_rows()).field("broken", &self.broken).finish_non_exhaustive()
    }
}

impl Ingest {
    /// A source of which nothing was read.
    ///
    /// # Errors
    /// `Input` for negative spans and what the decoder refuses, `Internal` for column indexes out of range.
    pub fn new(spec: IngestSpec, factory: DecoderFactory) -> Result<Self> {
        spec.validate()?;
        let late = LateRows::new(&spec.topic, &spec.decode.columns, factory(spec.decode_every_column())?);
        Ok(Self {
            progress: Progress::new(
                spec.decode.event_time.is_some(),
                Delays { closing: spec.delay_micros, lateness: spec.lateness_micros() },
                spec.idle_timeout_micros,
            ),
            rows: PendingRows::new(&spec, &factory)?,
            errors: ErrorRows::new(&spec.topic, spec.payload_bytes_max),
            late,
            row_records: Vec::new(),
            broken: None,
            spec,
            factory,
        })
    }

    /// A source read again from anywhere, with the `exclusions` of its first reading: it accepts the same rows at the
    /// same offsets, and reaches the same watermark at the same cut. It excludes nothing by itself.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn replay(mut spec: IngestSpec, factory: DecoderFactory, exclusions: &[Exclusion]) -> Result<Self> {
        spec.idle_timeout_micros = None;
        let mut ingest = Self::new(spec, factory)?;
        ingest.plan(exclusions);
        Ok(ingest)
    }

    /// A source as [`save`](Self::save) found it; reading goes on at [`offsets`](Self::offsets).
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn restore(spec: IngestSpec, factory: DecoderFactory, state: IngestState) -> Result<Self> {
        let mut ingest = Self::new(spec, factory)?;
        let progress = &mut ingest.progress;
        progress.watermark = state.watermark;
        progress.closing = state.closing;
        progress.now_micros = state.now_micros;
        for (number, saved) in state.partitions {
            progress.restore(Partition::restored(number, saved));
        }
        progress.plan(&state.exclusions);
        Ok(ingest)
    }

    /// The state as of the last take, without rows read since.
    pub fn save(&self) -> IngestState {
        let partitions = self.progress.partitions.iter().filter(|known| known.was_taken());
        IngestState {
            watermark: self.progress.watermark,
            closing: self.progress.closing,
            now_micros: self.progress.now_micros,
            partitions: partitions.map(|known| (known.number, known.taken.clone())).collect(),
            exclusions: self.exclusions(),
        }
    }

    /// Adds exclusions of an earlier run that the saved state does not hold; floors rise at their offsets.
    pub fn plan(&mut self, exclusions: &[Exclusion]) {
        self.progress.plan(exclusions);
    }

    /// Every exclusion up to the last take, by partition and offset: what a [`replay`](Self::replay) needs.
    pub fn exclusions(&self) -> Vec<Exclusion> {
        self.progress.log.iter().copied().collect()
    }

    /// Reads up to these offsets and no further, and no partition beside them; `None` reads on. Records beyond are left
    /// unread: to read on, open the source anew at [`offsets`](Self::offsets).
    pub fn set_until(&mut self, until: Option<Offsets>) {
        self.progress.set_until(until);
    }

    /// True if everything before the offsets of [`set_until`](Self::set_until) was read.
    pub fn reached_until(&self) -> bool {
        self.progress.reached_until()
    }

    /// Changes which columns are materialised, for rows read from now on.
    ///
    /// # Errors
    /// `Conflict` if rows wait to be taken, for they lack the columns; otherwise as for [`new`](Self::new).
    pub fn set_used(&mut self, used: &UsedColumns) -> Result<()> {
        if self.rows.rows() > 0 {
            return Err(Error::conflict(format!("source \"{}\": rows wait to be taken", self.spec.source)));
        }
        (self.spec, self.rows) = self.prepare(used)?;
        Ok(())
    }

    fn prepare(&self, used: &UsedColumns) -> Result<(IngestSpec, PendingRows)> {
        let mut spec = self.spec.clone();
        spec.set_used(used)?;
        let rows = PendingRows::new(&spec, &self.factory)?;
        Ok((spec, rows))
    }

    /// The source as declared, with the columns in use.
    pub fn spec(&self) -> &IngestSpec {
        &self.spec
    }

    /// Learns where the source begins to read, before its first record: offsets between the two, of an aborted
    /// transaction for one, then count as skipped.
    pub fn begin(&mut self, status: &BTreeMap<i32, PartitionStatus>) {
        self.progress.hear(status);
    }

    /// Rows that wait to be taken: accepted, late and errors.
    pub fn pending_rows(&self) -> usize {
        self.rows.rows() + self.late.rows() + self.errors.rows()
    }

    /// Memory of the rows that wait to be taken.
    pub fn pending_bytes(&self) -> usize {
        self.rows.bytes() + self.late.bytes() + self.errors.bytes()
    }

    /// Where reading goes on after the last take.
    pub fn offsets(&self) -> Offsets {
        let partitions = self.progress.partitions.iter().filter(|known| known.was_taken());
        partitions.filter_map(|known| Some((known.number, known.taken.next_offset?))).collect()
    }

    /// The watermark of the last take.
    pub fn watermark(&self) -> Watermark {
        self.progress.watermark
    }

    /// The watermark of the last take by which windows close; never behind [`watermark`](Self::watermark).
    pub fn closing(&self) -> Watermark {
        self.progress.closing
    }

    /// When a partition that stays silent is taken for idle, µs of tick time; `None` if no silence is being measured.
    pub fn next_idle_micros(&self) -> Option<i64> {
        self.progress.next_idle_micros()
    }

    /// Every partition as of the last take, with the bound below which none of its rows is accepted.
    pub fn partitions(&self) -> impl Iterator<Item = (i32, &PartitionProgress, Watermark)> {
        let lateness = self.progress.delays.lateness;
        let partitions = self.progress.partitions.iter().filter(|known| known.was_taken());
        partitions.map(move |known| (known.number, &known.taken, Watermark(known.taken.bound(lateness))))
    }

    fn check_usable(&self) -> Result<()> {
        match &self.broken {
            Some(cause) => Err(Error::internal(format!("source \"{}\": {cause}", self.spec.source))),
            None => Ok(()),
        }
    }

    /// Refuses all further use.
    pub(crate) fn mark_broken(&mut self, cause: impl Into<String>) {
        self.broken = Some(cause.into());
    }

    /// Ends a tick at `now_micros` with everything read so far. `status`: what the source knows of its partitions, as
    /// of a poll not before the last record pushed; `end` must be `None` where the source does not hear of new records.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn take(&mut self, now_micros: i64, status: &BTreeMap<i32, PartitionStatus>) -> Result<IngestedTick> {
        self.check_usable()?;
        let exclusions = self.progress.advance(now_micros, status);
        let tick = self.cut(exclusions);
        match &tick {
            Ok(_) => self.progress.taken(),
            Err(error) => self.broken = Some(error.to_string()),
        }
        tick
    }

    /// Ends a tick as [`take`](Self::take) does, and has later rows decoded with the columns `used`.
    ///
    /// # Errors
    /// As for [`set_used`](Self::set_used), before anything is taken; `Internal` otherwise.
    pub fn take_then_use(
        &mut self,
        now_micros: i64,
        status: &BTreeMap<i32, PartitionStatus>,
        used: &UsedColumns,
    ) -> Result<IngestedTick> {
        let prepared = self.prepare(used)?;
        let tick = self.take(now_micros, status)?;
        (self.spec, self.rows) = prepared;
        Ok(tick)
    }

    fn cut(&mut self, exclusions: Vec<Exclusion>) -> Result<IngestedTick> {
        let mut offsets = BTreeMap::new();
        let mut counts = BTreeMap::new();
        for known in &self.progress.partitions {
            let Some(to) = known.progress.next_offset else { continue };
            let news = known.news();
            offsets.insert(known.number, (to - news.consumed() as i64, to));
            counts.insert(known.number, news);
        }
        Ok(IngestedTick {
            now_micros: self.progress.now_micros,
            schema: self.rows.schema().clone(),
            batches: self.rows.take()?,
            offsets,
            watermark: self.progress.watermark,
            closing: self.progress.closing,
            errors: self.errors.finish()?,
            late: self.late.finish()?,
            counts,
            exclusions,
            decode_micros: 0,
        })
    }
}
