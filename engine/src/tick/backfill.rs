//! Bringing a new view to the cut of a source that is already being read.
//!
//! A backfill reads the source again from its start and judges lateness by the same rule, with the exclusions the live
//! reader recorded, so it accepts exactly the rows the other views saw. It runs beside the main line in ticks of its
//! own until it is near the cut; the rest is done between two ticks of the main line, and the view joins.
//!
//! At every cut it comes to, its counts have to be those of the live reading, partition by partition. They differ only if
//! the log itself gives other records than it did (compaction, a topic written over): then there is no view, rather than
//! one that says something else than those beside it.
//!
//! A source with a primary key may be read from a compacted log: what compaction removes has a later record of its key, so the
//! rows come out the same, provided that those later records were read too. So there a difference in counts must be of records
//! that are gone and of nothing else, none of the records left may be an error (what it was to replace may be gone), and the
//! cut must be at or beyond the log's end as it was when the records were found gone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::RunningView;
use crate::dataflow::runtime::TickInput;
use crate::delta::Delta;
use crate::error::{Error, Result};
use crate::ingest::{Counts, DecoderFactory, Exclusion, Ingest, IngestSpec};
use crate::source::{Offsets, PollBudget, Source, SourceOpener};
use crate::time::Watermark;

/// Rows of one backfill tick.
const TICK_ROWS_MAX: usize = 256 * 1024;

/// Bytes of one backfill tick.
const TICK_BYTES_MAX: usize = 128 << 20;

/// Records of one poll.
const POLL_RECORDS_MAX: usize = 16 * 1024;

/// How long a backfill beside the main line waits for the next record before it gives up on the broker.
pub const SILENCE_MAX: Duration = Duration::from_secs(30);

/// The same, while the main line waits for the view.
pub const JOIN_SILENCE_MAX: Duration = Duration::from_secs(10);

/// Where a source is: its cut as of the last tick, and what lateness rests on besides the log.
#[derive(Debug, Clone)]
pub struct Position {
    /// Next offset of every partition.
    pub offsets: Offsets,
    /// The watermark.
    pub watermark: Watermark,
    /// What became of every partition's offsets up to here.
    pub counts: BTreeMap<i32, Counts>,
    /// Every exclusion so far.
    pub exclusions: Vec<Exclusion>,
}

/// Whether a backfill's ticks carry the source's watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clocked {
    /// They do: windows close and state is dropped on the way.
    Yes,
    /// They do not: other inputs' changes of the same time are still to come.
    No,
}

/// One source's second reading.
pub struct Backfill {
    name: String,
    opener: Arc<dyn SourceOpener>,
    ingest: Ingest,
    start: Offsets,
    gap: Gap,
}

/// What a second reading of a source with a key found gone.
#[derive(Debug, Default)]
enum Gap {
    /// Nothing has been read yet.
    #[default]
    Unknown,
    /// Nothing.
    None,
    /// Something: both readings' counts then, and the log's end afterwards.
    Records { live: BTreeMap<i32, Counts>, again: BTreeMap<i32, Counts>, ends: Offsets },
}

impl Backfill {
    /// A reading from `start` on of the columns `spec` uses.
    ///
    /// # Errors
    /// As for [`Ingest::replay`].
    pub fn new(
        name: &str,
        opener: Arc<dyn SourceOpener>,
        spec: IngestSpec,
        factory: DecoderFactory,
        start: Offsets,
        position: &Position,
    ) -> Result<Self> {
        let ingest = Ingest::replay(spec, factory, &position.exclusions)?;
        Ok(Self { name: name.to_owned(), opener, ingest, start, gap: Gap::default() })
    }

    /// The source.
    pub fn source(&self) -> &str {
        &self.name
    }

    /// Records between here and `position`.
    pub fn behind(&self, position: &Position) -> i64 {
        let reached = self.reached();
        position.offsets.iter().map(|(p, to)| to - reached.get(p).or(self.start.get(p)).copied().unwrap_or(0)).sum()
    }

    /// Tells how much of what lies before `position` has been read.
    pub fn note_progress(&self, position: &Position, view: &RunningView) {
        let start = |partition: &i32| self.start.get(partition).copied().unwrap_or(0);
        let all: i64 = position.offsets.iter().map(|(partition, to)| (to - start(partition)).max(0)).sum();
        let read = all - self.behind(position).clamp(0, all);
        view.progress.note(&self.name, read.unsigned_abs(), all.unsigned_abs());
    }

    fn reached(&self) -> Offsets {
        let mut offsets = self.start.clone();
        offsets.extend(self.ingest.offsets());
        offsets
    }

    /// Reads up to `position` and steps `view` through it. `template` gives the ticks' id and time.
    ///
    /// # Errors
    /// `Cancelled` when `cancelled` says so, `Unavailable` when the broker is silent for `silence_max`, `Data` when the
    /// records that the other views saw are not in the log any more or the view's plan fails on a row.
    pub fn run(
        &mut self,
        position: &Position,
        view: &mut RunningView,
        (template, clocked): (&TickInput, Clocked),
        silence_max: Duration,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<()> {
        self.note_progress(position, view);
        if self.behind(position) <= 0 {
            return Ok(());
        }
        self.ingest.plan(&position.exclusions);
        self.ingest.set_until(Some(position.offsets.clone()));
        let mut source = self.opener.open(&self.reached())?;
        self.ingest.begin(&source.partitions());
        let mut heard = Instant::now();
        while !self.ingest.reached_until() {
            if cancelled() {
                return Err(Error::new(crate::ErrorKind::Cancelled, "the view's creation was cancelled"));
            }
            let (before, polled) = (self.reached(), self.poll(source.as_mut())?);
            if polled > 0 {
                heard = Instant::now();
            } else if heard.elapsed() > silence_max {
                let trouble = source.trouble().unwrap_or_else(|| "no record came".into());
                return Err(Error::unavailable(format!("cannot read source \"{}\" again: {trouble}", self.name)));
            }
            let full = self.ingest.pending_rows() >= TICK_ROWS_MAX || self.ingest.pending_bytes() >= TICK_BYTES_MAX;
            // Positions behind control records, and of partitions without records, are heard of only in a take.
            if full || polled == 0 || self.ingest.reached_until() {
                self.tick(source.as_ref(), view, template, clocked)?;
            }
            if self.reached() != before {
                heard = Instant::now();
                self.note_progress(position, view);
            }
        }
        self.tick(source.as_ref(), view, template, clocked)?;
        self.check_counts(position)?;
        self.note_gap(position)
    }

    fn is_keyed(&self) -> bool {
        !self.ingest.spec().key.is_empty()
    }

    fn counts(&self) -> BTreeMap<i32, Counts> {
        self.ingest.partitions().map(|(partition, read, _)| (partition, read.counts)).collect()
    }

    /// True if the rows read again are those of the live reading at `position`, once all of it is read: records that are gone
    /// were replaced by others before `position`.
    pub fn is_settled(&self, position: &Position) -> bool {
        match &self.gap {
            Gap::Unknown => !self.is_keyed(),
            Gap::None => true,
            Gap::Records { ends, .. } => {
                ends.iter().all(|(partition, end)| position.offsets.get(partition).is_some_and(|offset| offset >= end))
            }
        }
    }

    /// True if a source with a key was not read again so far.
    pub fn is_unread(&self) -> bool {
        self.is_keyed() && matches!(self.gap, Gap::Unknown)
    }

    /// Refuses a view whose rows may be others than those of the views beside it.
    ///
    /// # Errors
    /// `Conflict`, which passes when the live reading has caught up.
    pub fn check_settled(&self, position: &Position) -> Result<()> {
        // What was never read, because there was nothing, is as it was.
        if self.is_settled(position) || self.is_unread() {
            return Ok(());
        }
        Err(Error::conflict(format!(
            "source \"{}\" is compacted and has not been read to its end: try again when its lag is 0",
            self.name
        )))
    }

    /// Notes what is gone, unless it is what was gone before.
    fn note_gap(&mut self, position: &Position) -> Result<()> {
        if !self.is_keyed() {
            return Ok(());
        }
        let again = self.counts();
        let of = |counts: &BTreeMap<i32, Counts>, partition: &i32| counts.get(partition).copied().unwrap_or_default();
        if position.counts.iter().all(|(partition, live)| of(&again, partition) == *live) {
            self.gap = Gap::None;
            return Ok(());
        }
        if let Gap::Records { live: live_then, again: again_then, .. } = &self.gap {
            let same = |(partition, live): (&i32, &Counts)| {
                *live - of(live_then, partition) == of(&again, partition) - of(again_then, partition)
            };
            if position.counts.iter().all(same) {
                return Ok(());
            }
        }
        let ends = self.opener.bounds()?.into_iter().map(|(partition, (_, end))| (partition, end)).collect();
        self.gap = Gap::Records { live: position.counts.clone(), again, ends };
        Ok(())
    }

    /// A reading that accepted other rows than the live one must not become a view.
    fn check_counts(&self, position: &Position) -> Result<()> {
        let counted = self.counts();
        for (partition, live) in &position.counts {
            let again = counted.get(partition).copied().unwrap_or_default();
            if self.is_keyed() && again != *live && only_fewer(*live, again) {
                if again.errors == 0 {
                    continue;
                }
                return Err(Error::data(format!(
                    "source \"{}\" cannot be read a second time: partition {partition} was compacted, and of the records that \
                     are left {} are errors, so the rows that these left as they were may be gone. Write such keys again, \
                     or drop the source with CASCADE and create it and its views again",
                    self.name, again.errors
                )));
            }
            if again != *live {
                let message = format!(
                    "source \"{}\" cannot be read a second time: partition {partition} gave {live}, and now {again}",
                    self.name
                );
                return Err(Error::data(format!(
                    "{message}. Records were removed from the topic, by compaction for one, or it was written over; \
                     to build the view from what it holds now, drop the source with CASCADE and create it and its views again"
                )));
            }
        }
        Ok(())
    }

    fn poll(&mut self, source: &mut dyn Source) -> Result<usize> {
        let budget = PollBudget { records_max: POLL_RECORDS_MAX, wait: Duration::from_millis(100) };
        let mut pushed = Ok(());
        let ingest = &mut self.ingest;
        let polled = source.poll(budget, &mut |records| {
            if pushed.is_ok() {
                pushed = ingest.push(records);
            }
        })?;
        pushed?;
        Ok(polled)
    }

    fn tick(
        &mut self,
        source: &dyn Source,
        view: &mut RunningView,
        template: &TickInput,
        clocked: Clocked,
    ) -> Result<()> {
        let ingested = self.ingest.take(template.now_micros, &source.partitions())?;
        let own = |watermark| (clocked == Clocked::Yes).then(|| (self.name.clone(), watermark)).into_iter().collect();
        let (watermarks, closing) = (own(ingested.watermark), own(ingested.closing));
        let rows: Vec<Delta> = ingested.batches.into_iter().map(Delta::inserts).collect();
        let deltas = HashMap::from([(self.name.clone(), Arc::new(rows))]);
        let input = TickInput { deltas, watermarks, closing, ..template.clone() };
        view.tick(&Arc::new(input));
        view.check()
    }
}

/// True if `again` lacks records of `live` and is otherwise the same: the offsets are those, some without a record.
fn only_fewer(live: Counts, again: Counts) -> bool {
    let fewer = again.accepted <= live.accepted && again.errors <= live.errors && again.tombstones <= live.tombstones;
    fewer && again.consumed() == live.consumed() && again.bytes <= live.bytes
}
