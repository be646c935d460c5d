//! What is known of one partition: how far it was read, its newest event time, its floor, and the exact counts.

use std::collections::VecDeque;
use std::fmt;
use std::ops::{AddAssign, Sub};

use crate::ingest::exclusion::Exclusion;

/// What became of a partition's offsets. Every consumed offset is counted once:
/// `consumed = accepted + late + errors + tombstones + skipped`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Bytes of payload read.
    pub bytes: u64,
    /// Rows handed to views.
    pub accepted: u64,
    /// Rows below the watermark of their partition.
    pub late: u64,
    /// Records that are no row of the source.
    pub errors: u64,
    /// Records without a payload, but for those that are errors.
    pub tombstones: u64,
    /// Offsets without a record: control records, aborted transactions, compaction.
    pub skipped: u64,
}

impl Counts {
    /// Records read.
    pub fn records(&self) -> u64 {
        self.accepted + self.late + self.errors + self.tombstones
    }

    /// Offsets passed.
    pub fn consumed(&self) -> u64 {
        self.records() + self.skipped
    }

    /// Records that told the time of an event.
    fn timed(&self) -> u64 {
        self.accepted + self.late
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, accepted, late, errors, tombstones, skipped } = self;
        write!(f, "{accepted} accepted, {late} late, {errors} errors, {tombstones} tombstones, {skipped} skipped")?;
        write!(f, " ({bytes} bytes)")
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.accepted += other.accepted;
        self.late += other.late;
        self.errors += other.errors;
        self.tombstones += other.tombstones;
        self.skipped += other.skipped;
    }
}

impl Sub for Counts {
    type Output = Self;

    /// What was counted since `earlier`.
    fn sub(self, earlier: Self) -> Self {
        Self {
            bytes: self.bytes - earlier.bytes,
            accepted: self.accepted - earlier.accepted,
            late: self.late - earlier.late,
            errors: self.errors - earlier.errors,
            tombstones: self.tombstones - earlier.tombstones,
            skipped: self.skipped - earlier.skipped,
        }
    }
}

/// How far one partition has come. Plain data: this is what a checkpoint keeps of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartitionProgress {
    /// The next offset to read; `None` until the source named a position or handed over a record.
    pub next_offset: Option<i64>,
    /// The newest event time of its accepted and late rows, µs.
    pub event_time_max: Option<i64>,
    /// No row below this is accepted: the watermark that went on without the partition, µs.
    pub floor: Option<i64>,
    /// The closing watermark that went on without the partition, µs; at least the floor.
    pub closing_floor: Option<i64>,
    /// Whether the watermark goes on without it.
    pub excluded: bool,
    /// Whether the newest entry of the exclusion log still grows: no row came since.
    pub exclusion_open: bool,
    /// Since when it is caught up and silent, µs of tick time; `None` before its first tick.
    pub idle_since_micros: Option<i64>,
    /// Counts since the source was created.
    pub counts: Counts,
}

impl PartitionProgress {
    /// No row below this will be accepted; `i64::MIN` while nothing is known.
    pub(super) fn bound(&self, lateness: i64) -> i64 {
        let own = self.event_time_max.map_or(i64::MIN, |newest| newest.saturating_sub(lateness));
        own.max(self.floor.unwrap_or(i64::MIN))
    }

    /// Windows need not wait for rows of it below this; `i64::MIN` while nothing is known.
    pub(super) fn closing_bound(&self, delay: i64) -> i64 {
        let own = self.event_time_max.map_or(i64::MIN, |newest| newest.saturating_sub(delay));
        own.max(self.closing_floor.unwrap_or(i64::MIN))
    }
}

/// A partition while it is read.
#[derive(Debug, Clone)]
pub(super) struct Partition {
    pub(super) number: i32,
    pub(super) progress: PartitionProgress,
    /// `progress` as of the last take.
    pub(super) taken: PartitionProgress,
    /// Floors of exclusions known beforehand, for offsets not reached yet.
    planned: VecDeque<Exclusion>,
    /// Records at this offset and beyond are left alone.
    pub(super) until: i64,
}

/// The lateness rule over one partition's rows, in offset order: a row is late iff its event time is below the
/// partition's running maximum minus the lateness it allows, or below its floor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judge {
    newest: i64,
    bound: i64,
    lateness: i64,
}

impl Judge {
    /// Takes the next row. Returns the bound it is below, if it is late.
    #[inline]
    pub(super) fn late_below(&mut self, event_time: i64) -> Option<i64> {
        let late = (event_time < self.bound).then_some(self.bound);
        if event_time > self.newest {
            self.newest = event_time;
            self.bound = self.bound.max(event_time.saturating_sub(self.lateness));
        }
        late
    }
}

impl Partition {
    /// A partition read from `next_offset` on, of which nothing else is known.
    pub(super) fn discovered(number: i32, next_offset: Option<i64>) -> Self {
        Self::restored(number, PartitionProgress { next_offset, ..PartitionProgress::default() })
    }

    pub(super) fn restored(number: i32, progress: PartitionProgress) -> Self {
        Self { number, taken: progress.clone(), progress, planned: VecDeque::new(), until: i64::MAX }
    }

    /// The lateness rule as it stands before the next row.
    pub(super) fn judge(&self, lateness: i64) -> Judge {
        let newest = self.progress.event_time_max.unwrap_or(i64::MIN);
        Judge { newest, bound: self.bound(lateness), lateness }
    }

    /// Keeps what `judge` learnt from at least one row. A row ends an exclusion: the next floor is another entry of the log.
    pub(super) fn judged(&mut self, judge: Judge) {
        self.progress.event_time_max = Some(judge.newest);
        self.progress.exclusion_open = false;
    }

    /// No row below this will be accepted; `i64::MIN` while nothing is known.
    pub(super) fn bound(&self, lateness: i64) -> i64 {
        self.progress.bound(lateness)
    }

    /// Windows need not wait for rows of it below this; `i64::MIN` while nothing is known.
    pub(super) fn closing_bound(&self, delay: i64) -> i64 {
        self.progress.closing_bound(delay)
    }

    /// Raises the floors to those of an exclusion.
    pub(super) fn raise_floors(&mut self, exclusion: &Exclusion) {
        self.progress.floor = self.progress.floor.max(Some(exclusion.floor_micros));
        self.progress.closing_floor = self.progress.closing_floor.max(Some(exclusion.closing_floor_micros));
    }

    /// Adds an exclusion known beforehand.
    pub(super) fn plan(&mut self, exclusion: Exclusion) {
        let at = self.planned.partition_point(|known| known.offset <= exclusion.offset);
        self.planned.insert(at, exclusion);
        self.apply_planned(self.progress.next_offset.unwrap_or(i64::MIN));
    }

    /// Raises the floors as exclusions known beforehand say for the record at `offset`.
    pub(super) fn apply_planned(&mut self, offset: i64) {
        while let Some(exclusion) = self.planned.pop_front_if(|planned| planned.offset <= offset) {
            self.raise_floors(&exclusion);
        }
    }

    /// The first offset the rule changes at, beyond the one last applied.
    pub(super) fn planned_offset(&self) -> i64 {
        self.planned.front().map_or(i64::MAX, |planned| planned.offset)
    }

    /// Passes offsets up to `offset` that hold no record.
    pub(super) fn skip_to(&mut self, offset: i64) {
        let offset = offset.min(self.until);
        if let Some(next) = self.progress.next_offset.filter(|next| *next < offset) {
            self.progress.counts.skipped += (offset - next) as u64;
        }
        self.progress.next_offset = self.progress.next_offset.max(Some(offset));
    }

    /// Whether a tick knows of it.
    pub(super) fn was_taken(&self) -> bool {
        self.taken.idle_since_micros.is_some()
    }

    /// Whether a row came since the last take.
    pub(super) fn has_news(&self) -> bool {
        self.progress.counts.timed() != self.taken.counts.timed()
    }

    /// What was counted since the last take.
    pub(super) fn news(&self) -> Counts {
        self.progress.counts - self.taken.counts
    }
}
