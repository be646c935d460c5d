//! The thread between a [`Source`] and the ticks: it polls, decodes into an [`Ingest`], and waits when told to.
//!
//! Decoding happens here, so it overlaps with the computation of the tick before. The lock is held for one slice of
//! records at a time and handed on fairly, so a tick waits for at most one slice. What waits to be taken is bounded in
//! rows and bytes: beyond that the thread stops polling, and the log itself is the queue.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::error::{Error, ErrorKind, Result};
use crate::ingest::{Counts, Ingest, IngestState, IngestedTick, UsedColumns};
use crate::source::{Offsets, PartitionStatus, PollBudget, RawRecord, Source};
use crate::time::{Clock, Watermark};

/// Called when rows arrived or the reader's state changed. It must not block.
pub type Notify = Arc<dyn Fn() + Send + Sync>;

/// The reader's limits.
#[derive(Debug, Clone)]
pub struct ReaderOptions {
    /// No poll is made while this many rows wait to be taken.
    pub pending_rows_max: usize,
    /// No poll is made while the rows that wait to be taken hold this many bytes.
    pub pending_bytes_max: usize,
    /// Records of one poll at most; the reader asks for fewer while fewer come.
    pub poll_records_max: usize,
    /// How long one poll waits for the first record, at first; it doubles each time none comes.
    pub poll_wait: Duration,
    /// The longest wait of a poll. Stopping may take as long.
    pub poll_wait_max: Duration,
    /// Records decoded without giving way to a tick.
    pub slice_records_max: usize,
    /// The first wait after the source was away; it doubles each time.
    pub backoff_min: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self {
            pending_rows_max: 1 << 20,
            pending_bytes_max: 256 << 20,
            poll_records_max: 16_384,
            poll_wait: Duration::from_millis(50),
            poll_wait_max: Duration::from_millis(200),
            slice_records_max: 1024,
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(5),
        }
    }
}

/// What the reader is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReaderState {
    /// It reads, or waits for records or for room.
    Running,
    /// The source is away; it is asked again and again.
    Retrying,
    /// It cannot go on without somebody's decision; the trouble says why. Nothing is lost, what was read can be taken.
    Halted,
}

/// One partition, as the views have it: as of the last take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PartitionReport {
    /// The next offset to be taken.
    pub position: i64,
    /// The log's end as last heard.
    pub end: Option<i64>,
    /// Offsets between the two.
    pub lag: Option<u64>,
    /// The newest event time, µs.
    pub event_time_max: Option<i64>,
    /// No row of this partition below is accepted.
    pub watermark: Watermark,
    /// Whether the source's watermark goes on without it, because it is idle.
    pub excluded: bool,
    /// What became of its offsets since the source was created.
    pub counts: Counts,
}

/// A source, as the views have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStatus {
    /// What the reader is doing.
    pub state: ReaderState,
    /// What is wrong, if something is.
    pub trouble: Option<String>,
    /// The source's watermark.
    pub watermark: Watermark,
    /// The watermark by which windows close.
    pub closing: Watermark,
    /// Partition to its report.
    pub partitions: BTreeMap<i32, PartitionReport>,
    /// Rows read that no tick has taken yet.
    pub pending_rows: usize,
    /// Their memory.
    pub pending_bytes: usize,
}

/// Handle on a reader thread. Dropping it stops the thread.
pub struct SourceReader {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    reading: Mutex<Reading>,
    /// Signalled when rows were taken, and to stop.
    changed: Condvar,
    options: ReaderOptions,
    clock: Arc<dyn Clock>,
    notify: Notify,
}

struct Reading {
    /// Given back by `stop`.
    ingest: Option<Ingest>,
    status: BTreeMap<i32, PartitionStatus>,
    state: ReaderState,
    trouble: Option<String>,
    /// Whether the newest poll succeeded and the next follows: only then is silence the producer's.
    listening: bool,
    /// Whether there was a time since the last take without listening.
    deaf: bool,
    /// Partitions that were not caught up at some time since the last take.
    lagging: BTreeSet<i32>,
    stopping: bool,
    decode_micros: u64,
}

impl std::fmt::Debug for SourceReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceReader").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl SourceReader {
    /// Starts reading `source`, which was opened at the offsets `ingest` stands at. `notify` is called when rows arrived.
    ///
    /// # Errors
    /// `Unavailable` if the machine gives no thread.
    pub fn start(
        source: Box<dyn Source>,
        mut ingest: Ingest,
        options: ReaderOptions,
        clock: Arc<dyn Clock>,
        notify: Notify,
    ) -> Result<Self> {
        let name = format!("read {}", ingest.spec().source);
        ingest.begin(&source.partitions());
        let reading = Reading {
            ingest: Some(ingest),
            status: source.partitions(),
            state: ReaderState::Running,
            trouble: None,
            listening: false,
            deaf: true,
            lagging: BTreeSet::new(),
            stopping: false,
            decode_micros: 0,
        };
        let shared = Arc::new(Shared { reading: Mutex::new(reading), changed: Condvar::new(), options, clock, notify });
        let thread = std::thread::Builder::new().name(name).spawn({
            let shared = shared.clone();
            move || shared.run(source)
        });
        let thread = thread.map_err(|error| Error::unavailable("no thread to read a source").with_source(error))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Ends a tick at `now_micros` with everything read so far.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn take(&self, now_micros: i64) -> Result<IngestedTick> {
        self.shared.take(now_micros, None)
    }

    /// Ends a tick, and has every later row decoded with the columns `used`: the tick has the old columns.
    ///
    /// # Errors
    /// `Internal` only; the columns are then as they were.
    pub fn take_then_use(&self, now_micros: i64, used: &UsedColumns) -> Result<IngestedTick> {
        self.shared.take(now_micros, Some(used))
    }

    /// How the source stands.
    pub fn status(&self) -> SourceStatus {
        self.shared.reading.lock().report()
    }

    /// The state as of the last take, for a checkpoint.
    pub fn save(&self) -> IngestState {
        self.shared.reading.lock().ingest().save()
    }

    /// True if everything before the offsets of [`Ingest::set_until`] was read.
    pub fn reached_until(&self) -> bool {
        self.shared.reading.lock().ingest().reached_until()
    }

    /// When a partition that stays silent is taken for idle, µs of tick time; `None` if no silence is being measured.
    pub fn next_idle_micros(&self) -> Option<i64> {
        self.shared.reading.lock().ingest().next_idle_micros()
    }

    /// Tells the thread to stop, and does not wait for it.
    pub fn begin_stop(&self) {
        self.shared.reading.lock().stopping = true;
        self.shared.changed.notify_all();
    }

    /// Calls `with` on the ingest between two slices. Keep it short: reading waits.
    pub fn with_ingest<T>(&self, with: impl FnOnce(&mut Ingest) -> T) -> T {
        with(self.shared.reading.lock().ingest())
    }

    /// Stops reading and gives the ingest back, with the rows no tick has taken.
    pub fn stop(mut self) -> Ingest {
        self.join();
        self.shared.reading.lock().ingest.take().expect("only stop, which ends the handle, takes the ingest")
    }

    fn join(&mut self) {
        self.begin_stop();
        if let Some(thread) = self.thread.take() {
            // A panic in the thread was caught there and halted the reader.
            let _ = thread.join();
        }
    }
}

impl Drop for SourceReader {
    fn drop(&mut self) {
        self.join();
    }
}

impl Reading {
    fn ingest(&mut self) -> &mut Ingest {
        self.ingest.as_mut().expect("the ingest is there until stop ends the handle, after the thread")
    }

    fn is_full(&mut self, options: &ReaderOptions) -> bool {
        let ingest = self.ingest();
        let (rows, bytes) = (ingest.pending_rows(), ingest.pending_bytes());
        // Empty builders hold memory as well; a take would not free it, so it must not stop reading.
        rows > 0 && (rows >= options.pending_rows_max || bytes >= options.pending_bytes_max)
    }

    fn stop_listening(&mut self) {
        (self.listening, self.deaf) = (false, true);
    }

    /// What the ingest may know of the partitions: no end of one that was not listened to, or not caught up, all the time.
    fn heard(&self) -> BTreeMap<i32, PartitionStatus> {
        let mut status = self.status.clone();
        let deaf = self.deaf || self.trouble.is_some();
        for (number, partition) in &mut status {
            if deaf || self.lagging.contains(number) {
                partition.end = None;
            }
        }
        status
    }

    /// Forgets what held until this take, but not what still does.
    fn taken(&mut self) {
        self.deaf = !self.listening;
        self.lagging.clear();
        self.note_lag();
    }

    fn note_lag(&mut self) {
        let lagging = self.status.iter().filter(|(_, partition)| !partition.caught_up());
        self.lagging.extend(lagging.map(|(number, _)| *number));
    }

    fn report(&mut self) -> SourceStatus {
        let ends: BTreeMap<i32, Option<i64>> =
            self.status.iter().map(|(number, status)| (*number, status.end)).collect();
        let ingest = self.ingest();
        let mut partitions = BTreeMap::new();
        for (number, progress, watermark) in ingest.partitions() {
            let position = progress.next_offset.unwrap_or(0);
            let end = ends.get(&number).copied().flatten();
            let report = PartitionReport {
                position,
                end,
                lag: PartitionStatus { position, end }.lag(),
                event_time_max: progress.event_time_max,
                watermark,
                excluded: progress.excluded,
                counts: progress.counts,
            };
            partitions.insert(number, report);
        }
        let (pending_rows, pending_bytes) = (ingest.pending_rows(), ingest.pending_bytes());
        let (watermark, closing) = (ingest.watermark(), ingest.closing());
        let (state, trouble) = (self.state, self.trouble.clone());
        SourceStatus { state, trouble, watermark, closing, partitions, pending_rows, pending_bytes }
    }
}

impl Shared {
    fn take(&self, now_micros: i64, used: Option<&UsedColumns>) -> Result<IngestedTick> {
        let mut reading = self.reading.lock();
        let heard = reading.heard();
        let mut tick = match used {
            Some(used) => reading.ingest().take_then_use(now_micros, &heard, used)?,
            None => reading.ingest().take(now_micros, &heard)?,
        };
        tick.decode_micros = std::mem::take(&mut reading.decode_micros);
        reading.taken();
        drop(reading);
        self.changed.notify_all();
        Ok(tick)
    }

    /// The thread.
    fn run(&self, mut source: Box<dyn Source>) {
        let read = catch_unwind(AssertUnwindSafe(|| self.read(&mut *source)));
        let halted = match read {
            Ok(result) => result.err().map(|error| error.to_string()),
            Err(panic) => {
                let cause = format!("the reader of the source failed: {}", panic_text(&*panic));
                self.reading.lock().ingest().mark_broken(cause.clone());
                Some(cause)
            }
        };
        if let Some(trouble) = halted {
            let mut reading = self.reading.lock();
            reading.stop_listening();
            (reading.state, reading.trouble) = (ReaderState::Halted, Some(trouble));
            drop(reading);
            (self.notify)();
        }
    }

    /// Reads until told to stop, or until somebody must decide.
    fn read(&self, source: &mut dyn Source) -> Result<()> {
        let mut records_max = self.options.slice_records_max;
        let mut backoff = self.options.backoff_min;
        let mut wait = self.options.poll_wait;
        while self.wait_for_room() {
            match self.poll(source, records_max, wait) {
                Ok(handed) => {
                    backoff = self.options.backoff_min;
                    wait = if handed > 0 { self.options.poll_wait } else { wait * 2 };
                    wait = wait.min(self.options.poll_wait_max);
                    records_max = self.adapt(records_max, handed);
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    self.back_off(source, &error, backoff);
                    backoff = (backoff * 2).min(self.options.backoff_max);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Asks for more while more comes, and for less while less does: a short queue is read in short slices.
    fn adapt(&self, records_max: usize, handed: usize) -> usize {
        let adapted = match handed {
            _ if handed >= records_max => records_max * 2,
            _ if handed < records_max / 4 => records_max / 2,
            _ => records_max,
        };
        let lowest = self.options.slice_records_max.min(self.options.poll_records_max);
        adapted.clamp(lowest, self.options.poll_records_max)
    }

    /// Waits until fewer rows wait to be taken than allowed. False if it is time to stop.
    fn wait_for_room(&self) -> bool {
        let mut reading = self.reading.lock();
        while !reading.stopping && reading.is_full(&self.options) {
            reading.stop_listening();
            self.changed.wait(&mut reading);
        }
        !reading.stopping
    }

    fn poll(&self, source: &mut dyn Source, records_max: usize, wait: Duration) -> Result<usize> {
        let mut pushed = Ok(());
        let budget = PollBudget { records_max, wait };
        let polled = source.poll(budget, &mut |records| {
            for slice in records.chunks(self.options.slice_records_max) {
                if pushed.is_ok() {
                    pushed = self.push(slice);
                }
            }
        });
        let handed = pushed.and(polled)?;
        let (status, trouble) = (source.partitions(), source.trouble());
        let mut reading = self.reading.lock();
        let recovered = reading.state != ReaderState::Running;
        // Offsets without a record are consumed too, and partitions without one are found.
        let positions =
            |status: &BTreeMap<i32, PartitionStatus>| status.iter().map(|(p, s)| (*p, s.position)).collect();
        let moved = Offsets::ne(&positions(&reading.status), &positions(&status));
        (reading.status, reading.trouble, reading.state) = (status, trouble, ReaderState::Running);
        reading.note_lag();
        reading.listening = true;
        drop(reading);
        if handed > 0 || recovered || moved {
            (self.notify)();
        }
        Ok(handed)
    }

    fn push(&self, slice: &[RawRecord<'_>]) -> Result<()> {
        let mut reading = self.reading.lock();
        let begin = self.clock.now_micros();
        let pushed = reading.ingest().push(slice);
        reading.decode_micros += u64::try_from(self.clock.now_micros() - begin).unwrap_or(0);
        // A tick that waits for the lock gets it now, rather than when this thread next sleeps.
        MutexGuard::unlock_fair(reading);
        pushed
    }

    fn back_off(&self, source: &dyn Source, error: &Error, wait: Duration) {
        let mut reading = self.reading.lock();
        let known = reading.state == ReaderState::Retrying;
        reading.state = ReaderState::Retrying;
        reading.stop_listening();
        reading.trouble = Some(source.trouble().unwrap_or_else(|| error.to_string()));
        if !known {
            tracing::warn!(topic = reading.ingest().spec().topic, %error, "the source is away");
            MutexGuard::unlocked(&mut reading, || (self.notify)());
        }
        if !reading.stopping {
            self.changed.wait_while_for(&mut reading, |reading| !reading.stopping, wait);
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic")
}
