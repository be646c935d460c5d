//! The hot path: decode a stretch of records, then decide in one pass what became of its rows.

use crate::error::{Error, Result};
use crate::format::{DecodeError, Decoded, ErrorReason};
use crate::ingest::Ingest;
use crate::ingest::metadata::record_time_micros;
use crate::ingest::pending::PendingRows;
use crate::source::RawRecord;

impl Ingest {
    /// Reads `records`, in offset order within each partition.
    ///
    /// # Errors
    /// `Internal` if a partition's offsets go back (what came before is read, the rest is not), or for a bug below;
    /// after the latter nothing can be taken any more.
    pub fn push(&mut self, records: &[RawRecord<'_>]) -> Result<()> {
        self.check_usable()?;
        records.chunk_by(|a, b| a.partition == b.partition).try_for_each(|run| self.push_run(run))
    }

    /// One partition's records, cut where a floor rises, where reading ends, and where a batch is full.
    fn push_run(&mut self, mut run: &[RawRecord<'_>]) -> Result<()> {
        let Some(at) = self.progress.locate(run[0].partition, Some(run[0].offset)) else { return Ok(()) };
        while let Some(first) = run.first() {
            let partition = &mut self.progress.partitions[at];
            partition.apply_planned(first.offset);
            if first.offset >= partition.until {
                partition.skip_to(partition.until);
                return Ok(());
            }
            let end = partition.planned_offset().min(partition.until);
            let mut length = run.len().min(self.spec.batch_rows_max - self.rows.decoder.rows());
            if run[length - 1].offset >= end {
                length = run[..length].partition_point(|record| record.offset < end).max(1);
            }
            let (stretch, rest) = run.split_at(length);
            self.push_stretch(at, stretch)?;
            if self.rows.decoder.rows() >= self.spec.batch_rows_max {
                self.rows.seal().inspect_err(|error| self.broken = Some(error.to_string()))?;
            }
            run = rest;
        }
        Ok(())
    }

    fn push_stretch(&mut self, at: usize, stretch: &[RawRecord<'_>]) -> Result<()> {
        let first_row = self.rows.decoder.rows();
        let read = self.decode(at, stretch);
        let described = self.rows.metadata.append(stretch, &self.row_records);
        let judged = described.and_then(|()| self.judge(at, stretch, first_row));
        if let Err(error) = &judged {
            self.broken = Some(error.to_string());
        }
        judged.and(read)
    }

    /// Decodes records until an offset goes back, and counts all but what becomes of the rows.
    fn decode(&mut self, at: usize, stretch: &[RawRecord<'_>]) -> Result<()> {
        let progress = &mut self.progress.partitions[at].progress;
        let counts = &mut progress.counts;
        let decoder = &mut self.rows.decoder;
        let mut next = progress.next_offset.unwrap_or(stretch[0].offset);
        let mut read = Ok(());
        self.row_records.clear();
        for (index, record) in stretch.iter().enumerate() {
            if record.offset != next {
                if record.offset < next {
                    let place = format!("partition {}: offset {} after {}", record.partition, record.offset, next - 1);
                    read = Err(Error::internal(format!("source \"{}\", {place}", self.spec.source)));
                    break;
                }
                counts.skipped += (record.offset - next) as u64;
            }
            next = record.offset + 1;
            counts.bytes += record.payload.map_or(0, <[u8]>::len) as u64;
            match decoder.decode_record(record.key, record.payload) {
                Ok(decoded) => {
                    // Counted by what they are in the log, whatever they do to rows.
                    counts.tombstones += u64::from(record.payload.is_none());
                    if decoded != Decoded::Nothing {
                        self.row_records.push(index as u32);
                    }
                }
                Err(error) => {
                    counts.errors += 1;
                    self.errors.append(record, &error);
                }
            }
        }
        progress.next_offset = Some(next);
        read
    }

    /// Decides what becomes of the rows from `first_row` on.
    fn judge(&mut self, at: usize, stretch: &[RawRecord<'_>], first_row: usize) -> Result<()> {
        let partition = &mut self.progress.partitions[at];
        let rows = self.row_records.len();
        if self.spec.decode.event_time.is_none() {
            let is_tombstone = |record: &&u32| stretch[**record as usize].payload.is_none();
            let keyed = !self.spec.key.is_empty();
            let deletions = if keyed { self.row_records.iter().filter(is_tombstone).count() } else { 0 };
            partition.progress.counts.accepted += (rows - deletions) as u64;
            return Ok(());
        }
        let (mut late, mut future) = (0, 0);
        let mut judge = partition.judge(self.progress.delays.lateness);
        let skew = self.spec.max_future_skew_micros;
        let PendingRows { decoder, dropped, .. } = &mut self.rows;
        let event_times = &decoder.event_times()[first_row..];
        for (row, (event_time, record)) in event_times.iter().zip(&self.row_records).enumerate() {
            let record = &stretch[*record as usize];
            if let Some(skew) = skew
                && let Some(ahead) = ahead_of_record(*event_time, record, skew)
            {
                future += 1;
                self.errors.append(record, &ahead);
                dropped.push(first_row + row);
            } else if let Some(bound) = judge.late_below(*event_time) {
                late += 1;
                self.late.append(record, bound)?;
                dropped.push(first_row + row);
            }
        }
        if rows > future {
            partition.judged(judge);
        }
        let counts = &mut partition.progress.counts;
        counts.errors += future as u64;
        counts.late += late as u64;
        counts.accepted += (rows - future - late) as u64;
        Ok(())
    }
}

/// An event time further beyond its record's own time than allowed. Without a record time nothing can be said.
#[inline]
fn ahead_of_record(event_time: i64, record: &RawRecord<'_>, skew_max: i64) -> Option<DecodeError> {
    let ahead = event_time.saturating_sub(record_time_micros(record)?);
    (ahead > skew_max).then(|| DecodeError {
        reason: ErrorReason::FutureTime,
        detail: format!("the event time is {ahead} µs ahead of the record's time, {skew_max} µs are allowed"),
    })
}
