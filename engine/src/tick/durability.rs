//! The ticks' side of checkpoints and the log: what must be durable before a tick, and what may be so later.
//!
//! A tick that rests on something no topic holds (rows written to tables, exclusions, a tick's number that nobody has reserved)
//! waits until the log has it. Checkpoints are written by a thread of their own while ticks go on; one is at work at a time.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::interval::parse_duration;
use super::saving::SECTIONS;
use crate::checkpoint::durable::Durable;
use crate::checkpoint::log::{Entry, Log};
use crate::checkpoint::manifest::{Manifest, PartKind};
use crate::checkpoint::recovered::Recovered;
use crate::checkpoint::writer::{Checkpointer, Job, Written};
use crate::error::{Error, ErrorKind, Result};
use crate::time::TickId;

/// Ticks reserved at a time: after a restart, ticks go on behind them.
const TICKS_RESERVED: u64 = 100_000;

/// Checkpoints listed.
const LISTED: usize = 100;

/// Waits between two tries to append to a log that does not answer.
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// When checkpoints are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointPace {
    /// So long after the last one was begun, if anything happened since.
    pub interval: Duration,
    /// Earlier, if so many bytes were read or written since.
    pub bytes: u64,
}

impl Default for CheckpointPace {
    fn default() -> Self {
        Self { interval: Duration::from_secs(10), bytes: 256 << 20 }
    }
}

/// The shortest and the longest time between checkpoints.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

impl FromStr for CheckpointPace {
    type Err = Error;

    /// The interval: a time such as `10s` or `5 minutes`; a bare number is milliseconds.
    fn from_str(text: &str) -> Result<Self> {
        let interval = parse_duration(&text.trim().to_ascii_lowercase());
        let interval = interval.filter(|interval| (INTERVAL_MIN..=INTERVAL_MAX).contains(interval));
        let refuse = || {
            let message = "write a time from 100ms to 24h, such as 10s or 1min";
            Error::input(format!("invalid checkpoint interval \"{text}\": {message}"))
        };
        Ok(Self { interval: interval.ok_or_else(refuse)?, ..Self::default() })
    }
}

/// A checkpoint that was written, or could not be.
#[derive(Debug, Clone)]
pub struct CheckpointReport {
    /// What was written.
    pub written: std::result::Result<Written, String>,
    /// The tick it is of.
    pub tick: TickId,
    /// When it was begun, µs since the Unix epoch.
    pub began_micros: i64,
    /// How long the ticks waited for it.
    pub held_up: Duration,
    /// How long it took in all.
    pub took: Duration,
}

/// How checkpoints and the log stand, for everyone.
#[derive(Debug, Default)]
pub struct DurabilityStatus {
    reports: Mutex<VecDeque<CheckpointReport>>,
    trouble: Mutex<Option<String>>,
    halted: Mutex<Option<String>>,
}

impl DurabilityStatus {
    /// The last checkpoints, oldest first.
    pub fn reports(&self) -> Vec<CheckpointReport> {
        self.reports.lock().iter().cloned().collect()
    }

    /// What keeps the log from taking more, if something does; ticks wait for it.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    /// Why the engine has stopped, if another has taken over.
    pub fn halted(&self) -> Option<String> {
        self.halted.lock().clone()
    }

    fn report(&self, report: CheckpointReport) {
        let mut reports = self.reports.lock();
        if reports.len() == LISTED {
            reports.pop_front();
        }
        reports.push_back(report);
    }

    pub(super) fn halt(&self, error: &Error) {
        self.halted.lock().get_or_insert_with(|| error.to_string());
    }
}

/// Who waits for a checkpoint.
type Waiting = SyncSender<Result<Written>>;

/// What the thread is given.
struct Order {
    job: Job,
    held_up: Duration,
    reply: SyncSender<Result<Written>>,
}

/// Tokens of the sections of one checkpoint, with their parts' fingerprints.
type Tokens = HashMap<(PartKind, u32, &'static str), (String, u64)>;

/// A checkpoint at work.
struct Pending {
    answer: Receiver<Result<Written>>,
    tokens: Tokens,
    waiting: Vec<Waiting>,
}

/// The tick thread's hold on the log and the checkpoints.
pub struct Durability {
    log: Log,
    recovered: Option<Arc<Recovered>>,
    ticks_reserved: u64,
    pace: CheckpointPace,
    last: Instant,
    /// Bytes read and written since the last checkpoint was begun, and whether a tick came.
    bytes: u64,
    ticked: bool,
    kept: Tokens,
    pending: Option<Pending>,
    /// Who waits for the one after.
    waiting: Vec<Waiting>,
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    status: Arc<DurabilityStatus>,
    /// Set before the tick thread is told to stop.
    stopping: Arc<AtomicBool>,
}

impl fmt::Debug for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durability")
            .field("log", &self.log)
            .field("pending", &self.pending.is_some())
            .finish_non_exhaustive()
    }
}

impl Durability {
    /// Starts the thread that writes checkpoints; it calls `written` after each. `stopping` ends a wait for the log.
    ///
    /// # Errors
    /// `Unavailable` if the system refuses a thread.
    pub fn start(
        durable: Durable,
        recovered: Arc<Recovered>,
        pace: CheckpointPace,
        (status, stopping): (Arc<DurabilityStatus>, Arc<AtomicBool>),
        written: impl Fn() + Send + 'static,
    ) -> Result<Self> {
        let Durable { log, checkpointer } = durable;
        let (orders, received) = channel();
        let reports = status.clone();
        let thread = std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || write_checkpoints(checkpointer, &received, &reports, &written))
            .map_err(|e| Error::unavailable("cannot start the checkpoint thread").with_source(e))?;
        Ok(Self {
            log,
            ticks_reserved: recovered.tick_shown(),
            recovered: Some(recovered),
            pace,
            last: Instant::now(),
            bytes: 0,
            ticked: false,
            kept: Tokens::new(),
            pending: None,
            waiting: Vec::new(),
            orders: Some(orders),
            thread: Some(thread),
            status,
            stopping,
        })
    }

    /// What is still to be brought back; `None` once all is.
    pub fn recovered(&self) -> Option<&Arc<Recovered>> {
        self.recovered.as_ref()
    }

    /// All is brought back. What was in the checkpoint as it is now need not be written again.
    pub fn end_recovery(&mut self) {
        let Some(recovered) = self.recovered.take() else { return };
        self.kept = tokens_of(recovered.manifest());
    }

    /// Makes what the next tick rests on durable, trying until it is, or the engine is stopping: its number, and these entries.
    ///
    /// # Errors
    /// `Fenced` if another engine has taken over, after which no tick may come; `Cancelled`; `Internal`.
    pub fn before_tick(&mut self, next: TickId, mut entries: Vec<Entry>) -> Result<()> {
        if next.0 > self.ticks_reserved {
            self.ticks_reserved = next.0 + TICKS_RESERVED;
            entries.push(Entry::Reserve { tick: self.ticks_reserved });
        }
        if entries.is_empty() {
            return Ok(());
        }
        let mut wait = RETRY_MIN;
        loop {
            let Err(error) = self.log.append(&entries) else {
                if self.status.trouble.lock().take().is_some() {
                    tracing::info!("the log answers again");
                }
                return Ok(());
            };
            match error.kind() {
                ErrorKind::Unavailable if self.stopping.load(Ordering::Acquire) => {
                    return Err(Error::new(ErrorKind::Cancelled, error.to_string()));
                }
                ErrorKind::Unavailable => {
                    if self.status.trouble.lock().replace(error.to_string()).is_none() {
                        tracing::error!(%error, "the log does not answer: ticks wait");
                    }
                    std::thread::sleep(wait);
                    wait = (wait * 2).min(RETRY_MAX);
                }
                _ => {
                    self.status.halt(&error);
                    return Err(error);
                }
            }
        }
    }

    /// Notes that a tick came which read so many bytes.
    pub fn ticked(&mut self, bytes: u64) {
        self.ticked = true;
        self.bytes += bytes;
    }

    /// True if a checkpoint is to be begun now: it is due, or somebody waits for one, and none is at work.
    pub fn is_due(&mut self) -> bool {
        self.poll();
        if self.pending.is_some() || self.recovered.is_some() {
            return false;
        }
        let due = self.last.elapsed() >= self.pace.interval || self.bytes >= self.pace.bytes;
        !self.waiting.is_empty() || (self.ticked && due)
    }

    /// When the next checkpoint is due, if anything happened.
    pub fn due_in(&self) -> Option<Duration> {
        (self.ticked && self.pending.is_none()).then(|| self.pace.interval.saturating_sub(self.last.elapsed()))
    }

    /// True if the last checkpoint has this section as it is.
    pub fn is_kept(&self, kind: PartKind, id: u32, fingerprint: &str, section: &'static str, token: u64) -> bool {
        let kept = self.kept.get(&(kind, id, section));
        kept.is_some_and(|(of, known)| of == fingerprint && *known == token)
    }

    /// The number of the log from which on nothing is in the state, and the ticks reserved.
    pub fn position(&self) -> (u64, u64) {
        (self.log.next(), self.ticks_reserved)
    }

    /// Tells `waiting` of the next checkpoint.
    pub fn wait_for_next(&mut self, waiting: Waiting) {
        self.waiting.push(waiting);
    }

    /// Hands a checkpoint to the thread; the ticks waited for it for `held_up`.
    pub fn begin(&mut self, job: Job, held_up: Duration) {
        let mut tokens = Tokens::new();
        for part in &job.parts {
            for section in &part.sections {
                tokens.insert((part.kind, part.id, section.name), (part.fingerprint.clone(), section.token));
            }
        }
        (self.last, self.bytes, self.ticked) = (Instant::now(), 0, false);
        let (reply, answer) = sync_channel(1);
        self.pending = Some(Pending { answer, tokens, waiting: std::mem::take(&mut self.waiting) });
        if let Some(orders) = &self.orders {
            // Should the thread be gone, the answer says so.
            let _ = orders.send(Order { job, held_up, reply });
        }
    }

    /// A checkpoint that could not even be begun.
    pub fn refuse(&mut self, error: &Error) {
        tracing::error!(%error, "a checkpoint cannot be made");
        self.last = Instant::now();
        for waiting in self.waiting.drain(..) {
            let _ = waiting.send(Err(Error::new(error.kind(), error.to_string())));
        }
    }

    /// Takes the answer of the checkpoint at work, if there is one.
    fn poll(&mut self) {
        let Some(pending) = &self.pending else { return };
        match pending.answer.try_recv() {
            Ok(answer) => self.finish(answer),
            Err(TryRecvError::Disconnected) => {
                self.finish(Err(Error::internal("the checkpoint thread has ended")));
            }
            Err(TryRecvError::Empty) => {}
        }
    }

    /// Waits for the checkpoint at work.
    pub fn settle(&mut self) {
        let Some(pending) = &self.pending else { return };
        let answer = pending.answer.recv();
        self.finish(answer.unwrap_or_else(|_| Err(Error::internal("the checkpoint thread has ended"))));
    }

    fn finish(&mut self, answer: Result<Written>) {
        let Some(pending) = self.pending.take() else { return };
        match &answer {
            Ok(_) => self.kept = pending.tokens,
            Err(error) if error.kind() == ErrorKind::Fenced => self.status.halt(error),
            // What was to be kept is tried again, all of it that the last good one lacks.
            Err(_) => self.ticked = true,
        }
        for waiting in pending.waiting {
            let _ = waiting.send(match &answer {
                Ok(written) => Ok(*written),
                Err(error) => Err(Error::new(error.kind(), error.to_string())),
            });
        }
    }

    /// Why no tick may come any more, if so.
    pub fn halted(&self) -> Option<String> {
        self.status.halted()
    }
}

impl Drop for Durability {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the checkpoint thread panicked");
        }
    }
}

fn tokens_of(manifest: &Manifest) -> Tokens {
    // Sections that this release does not have are not asked for.
    let sections = manifest.parts.iter().flat_map(|part| part.sections.iter().map(move |section| (part, section)));
    let known = sections.filter_map(|(part, section)| {
        let name = SECTIONS.into_iter().find(|name| *name == section.name)?;
        Some(((part.kind, part.id, name), (part.fingerprint.clone(), section.token)))
    });
    known.collect()
}

fn write_checkpoints(
    mut checkpointer: Checkpointer,
    orders: &Receiver<Order>,
    status: &DurabilityStatus,
    notify: &dyn Fn(),
) {
    while let Ok(Order { job, held_up, reply }) = orders.recv() {
        let (tick, began_micros, began) = (TickId(job.tick), job.written_micros, Instant::now());
        // A panic is one checkpoint's failure: the next is written under other names.
        let written = catch_unwind(AssertUnwindSafe(|| checkpointer.write(job))).unwrap_or_else(|_| {
            checkpointer.pass_over_segments();
            Err(Error::internal("writing a checkpoint panicked"))
        });
        if let Err(error) = &written {
            tracing::error!(%error, "a checkpoint was not written; the last one stands");
        }
        let shown = written.as_ref().map(|written| *written).map_err(ToString::to_string);
        status.report(CheckpointReport {
            written: shown,
            tick,
            began_micros,
            held_up,
            took: held_up + began.elapsed(),
        });
        // Nobody waits for it once the engine stops.
        let _ = reply.send(written);
        notify();
    }
}

/// The writes of the log after a checkpoint, by the tables' numbers.
pub fn writes_of(entries: &[Entry]) -> impl Iterator<Item = &Vec<(u32, Vec<crate::delta::Delta>)>> {
    entries.iter().filter_map(|entry| match entry {
        Entry::Write { changes } => Some(changes),
        _ => None,
    })
}

/// A change by the tables' names, of those that are still there.
pub fn named<T: Clone>(changes: &[(u32, T)], names: &BTreeMap<u32, String>) -> Vec<(String, T)> {
    changes.iter().filter_map(|(id, change)| Some((names.get(id)?.clone(), change.clone()))).collect()
}
