//! Partitions, watermark and idleness: the bookkeeping of a source, without its rows.
//!
//! In flow, per tick: the tick's time and what the source knows of each partition. Out: the watermark, and the
//! exclusions that must be durable before the tick is published, because lateness depends on them.
//!
//! The rule, after Flink's watermark alignment but with the exclusions written down (FLIP-471 tells of sources taken
//! for idle because their reader was slow): `W = max(W before, min over active partitions of their bound)`, where a
//! partition's bound is its newest event time minus the lateness it allows, or its floor if that is higher. A partition that is
//! caught up and silent for the idle timeout does not count; its floor follows W instead. So every partition's bound is
//! at least W, always, and no row below a published W is ever accepted.
//!
//! The closing watermark is the same with the delay in place of the lateness, which is no shorter. Windows close by it, and are
//! corrected by rows between the two. It has a floor of its own, so a replay without idleness reaches it at the same cut.

use std::collections::BTreeMap;

use crate::ingest::exclusion::{Exclusion, ExclusionLog};
use crate::ingest::partition::Partition;
use crate::source::{Offsets, PartitionStatus};
use crate::time::Watermark;

/// See the module.
#[derive(Debug)]
pub(super) struct Progress {
    /// Sorted by number.
    pub(super) partitions: Vec<Partition>,
    pub(super) watermark: Watermark,
    /// The watermark by which windows close; never behind the other.
    pub(super) closing: Watermark,
    pub(super) now_micros: i64,
    pub(super) log: ExclusionLog,
    pub(super) delays: Delays,
    pub(super) idle_timeout: Option<i64>,
    /// Whether the source has an event time at all.
    timed: bool,
    /// Floors of partitions found since the last tick; they enter the log with the next one.
    found: Vec<Exclusion>,
    until: Option<Offsets>,
    /// Where the partition asked for last stands in `partitions`.
    located: usize,
}

/// How far behind a partition's newest event time rows may be, µs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delays {
    /// And windows still wait for them.
    pub(super) closing: i64,
    /// And they are accepted; no less.
    pub(super) lateness: i64,
}

impl Progress {
    pub(super) fn new(timed: bool, delays: Delays, idle_timeout: Option<i64>) -> Self {
        Self {
            partitions: Vec::new(),
            watermark: Watermark::NONE,
            closing: Watermark::NONE,
            now_micros: i64::MIN,
            log: ExclusionLog::default(),
            delays,
            idle_timeout,
            timed,
            found: Vec::new(),
            until: None,
            located: 0,
        }
    }

    /// Puts a saved partition in its place.
    pub(super) fn restore(&mut self, partition: Partition) {
        let at = self.partitions.partition_point(|known| known.number < partition.number);
        self.partitions.insert(at, partition);
    }

    /// Adds exclusions known beforehand: floors rise at their offsets.
    pub(super) fn plan(&mut self, exclusions: &[Exclusion]) {
        for exclusion in exclusions {
            self.log.merge(*exclusion);
            if let Some(partition) = self.partitions.iter_mut().find(|known| known.number == exclusion.partition) {
                partition.plan(*exclusion);
            }
        }
    }

    /// Leaves records at these offsets and beyond alone, and partitions not named altogether; `None` reads on.
    pub(super) fn set_until(&mut self, until: Option<Offsets>) {
        self.until = until;
        for partition in &mut self.partitions {
            partition.until = until_of(self.until.as_ref(), partition.number).unwrap_or(i64::MIN);
        }
    }

    /// True if every offset before the limits was read.
    pub(super) fn reached_until(&self) -> bool {
        self.until.iter().flatten().all(|(number, until)| {
            let found = self.partitions.binary_search_by_key(number, |known| known.number);
            found.is_ok_and(|at| self.partitions[at].progress.next_offset >= Some(*until))
        })
    }

    /// Where partition `number` stands in `partitions`; a new one starts at `next_offset`. `None` if it is not to be read.
    #[inline]
    pub(super) fn locate(&mut self, number: i32, next_offset: Option<i64>) -> Option<usize> {
        if self.partitions.get(self.located).is_none_or(|known| known.number != number) {
            self.located = match self.partitions.binary_search_by_key(&number, |known| known.number) {
                Ok(at) => at,
                Err(at) => self.discover(at, number, next_offset)?,
            };
        }
        Some(self.located)
    }

    /// The exclusion that brings a partition up to the watermarks, if it is behind one of them.
    fn floors_above(&self, partition: &Partition) -> Option<Exclusion> {
        let floor_micros = self.watermark.micros()?;
        let closing_floor_micros = self.closing.micros()?;
        let is_behind = partition.bound(self.delays.lateness) < floor_micros
            || partition.closing_bound(self.delays.closing) < closing_floor_micros;
        is_behind.then(|| Exclusion {
            partition: partition.number,
            offset: partition.progress.next_offset.unwrap_or(0),
            floor_micros,
            closing_floor_micros,
            now_micros: self.now_micros,
        })
    }

    /// A partition found late must not reopen what the watermark closed: its floor is the watermark.
    fn discover(&mut self, at: usize, number: i32, next_offset: Option<i64>) -> Option<usize> {
        let until = until_of(self.until.as_ref(), number)?;
        let mut partition = Partition::discovered(number, next_offset);
        partition.until = until;
        self.log.of(number).iter().for_each(|known| partition.plan(*known));
        if let Some(exclusion) = self.floors_above(&partition) {
            self.found.push(exclusion);
            partition.raise_floors(&exclusion);
        }
        self.partitions.insert(at, partition);
        Some(at)
    }

    /// Hears from the source: partitions it found, and offsets it passed that hold no record.
    pub(super) fn hear(&mut self, status: &BTreeMap<i32, PartitionStatus>) {
        for (number, status) in status {
            let position = (status.position >= 0).then_some(status.position);
            let Some(at) = self.locate(*number, position) else { continue };
            let partition = &mut self.partitions[at];
            if let Some(position) = position {
                partition.skip_to(position);
            }
            partition.apply_planned(partition.progress.next_offset.unwrap_or(i64::MIN));
        }
    }

    /// Ends a tick at `now_micros`. Returns the exclusions it rests on that were not so before.
    pub(super) fn advance(&mut self, now_micros: i64, status: &BTreeMap<i32, PartitionStatus>) -> Vec<Exclusion> {
        self.now_micros = self.now_micros.max(now_micros);
        self.hear(status);
        let mut exclusions = Vec::new();
        self.found.sort_unstable_by_key(|found| found.partition);
        for found in std::mem::take(&mut self.found) {
            exclusions.push(self.log.write(found, false));
        }
        self.judge_idleness(status);
        if self.timed {
            let Delays { closing, lateness } = self.delays;
            self.watermark = self.watermark.max(self.least(lateness, |active| active.bound(lateness)));
            self.closing = self.closing.max(self.least(closing, |active| active.closing_bound(closing)));
            self.raise_floors(&mut exclusions);
        }
        exclusions
    }

    /// The idle timeout runs only while a partition is caught up, so being slow, paused or cut off never counts as
    /// silence of the producer. While reading up to given offsets idleness is history, told by planned exclusions.
    fn judge_idleness(&mut self, status: &BTreeMap<i32, PartitionStatus>) {
        let now = self.now_micros;
        let timeout = self.idle_timeout.filter(|_| self.timed && self.until.is_none());
        for partition in &mut self.partitions {
            let silent = !partition.has_news() && is_caught_up(partition, status.get(&partition.number));
            let progress = &mut partition.progress;
            let since = progress.idle_since_micros.filter(|_| silent).unwrap_or(now);
            progress.idle_since_micros = Some(since);
            progress.excluded = silent && timeout.is_some_and(|timeout| now.saturating_sub(since) >= timeout);
        }
    }

    /// When the first of the partitions that are not idle will be, if it stays silent from now on.
    pub(super) fn next_idle_micros(&self) -> Option<i64> {
        let timeout = self.idle_timeout.filter(|_| self.timed && self.until.is_none())?;
        let active = self.partitions.iter().filter(|known| !known.progress.excluded);
        active.filter_map(|known| known.progress.idle_since_micros).min().map(|since| since.saturating_add(timeout))
    }

    /// The least bound of the partitions that are not idle.
    fn least(&self, delay: i64, bound: impl Fn(&Partition) -> i64) -> Watermark {
        let active = self.partitions.iter().filter(|known| !known.progress.excluded);
        Watermark(active.map(bound).min().unwrap_or_else(|| self.bound_by_clock(delay)))
    }

    /// The watermark when every partition is idle: event time goes on with the clock from the last arrival. It stays
    /// below the newest event time and `now` minus the delay, whichever is later, however far ahead event times ran.
    fn bound_by_clock(&self, delay: i64) -> i64 {
        let newest = self.partitions.iter().filter_map(|known| known.progress.event_time_max).max();
        let arrival = self.partitions.iter().filter_map(|known| known.progress.idle_since_micros).max();
        let (Some(newest), Some(arrival)) = (newest, arrival) else { return i64::MIN };
        let silence = self.now_micros.saturating_sub(arrival);
        let moved = newest.saturating_sub(delay).saturating_add(silence);
        moved.min(newest.max(self.now_micros.saturating_sub(delay)))
    }

    fn raise_floors(&mut self, exclusions: &mut Vec<Exclusion>) {
        for at in 0..self.partitions.len() {
            let excluded = Some(&self.partitions[at]).filter(|partition| partition.progress.excluded);
            let Some(exclusion) = excluded.and_then(|partition| self.floors_above(partition)) else { continue };
            let partition = &mut self.partitions[at];
            partition.raise_floors(&exclusion);
            exclusions.push(self.log.write(exclusion, partition.progress.exclusion_open));
            partition.progress.exclusion_open = true;
        }
    }

    /// Remembers this moment as the last take.
    pub(super) fn taken(&mut self) {
        for partition in &mut self.partitions {
            partition.taken.clone_from(&partition.progress);
        }
    }
}

fn is_caught_up(partition: &Partition, status: Option<&PartitionStatus>) -> bool {
    // The status may be older than what was read since.
    let end = status.and_then(|status| status.end.map(|end| (end, status.position)));
    end.zip(partition.progress.next_offset).is_some_and(|((end, position), next)| position.max(next) >= end)
}

/// The first offset of partition `number` that is not to be read; `None` if none of it is.
fn until_of(until: Option<&Offsets>, number: i32) -> Option<i64> {
    until.map_or(Some(i64::MAX), |until| until.get(&number).copied())
}
