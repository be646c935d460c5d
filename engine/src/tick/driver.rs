//! The tick thread: waits for data or for the interval, takes every source's cut, runs the core, publishes.
//!
//! Everything that changes what runs (a source, a view, the interval) comes as a [`Command`] and is done between two
//! ticks, so a tick never sees half a change.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use super::backfill::{Backfill, Position};
use super::core::{Core, RunningView};
use super::interval::TickInterval;
use crate::error::{Error, Result};
use crate::ingest::reader::{ReaderOptions, SourceReader, SourceStatus};
use crate::ingest::{DecoderFactory, Ingest, IngestSpec, IngestedTick, UsedColumns};
use crate::source::{Offsets, Source, SourceOpener};
use crate::time::Clock;
use crate::view::{SnapshotStore, TickStats};

/// How often a tick is considered when no data comes: idle partitions and the clock move watermarks too.
const HEARTBEAT: Duration = Duration::from_millis(50);

/// What the tick thread is asked for; each carries where to answer.
pub enum Command {
    /// Adds a source; it is read from when the first view needs it.
    AddSource(String, Box<SourceHandle>, SyncSender<Result<()>>),
    /// Stops and removes a source.
    RemoveSource(String, SyncSender<Result<()>>),
    /// Where each of these sources is; `None` for one that is not read yet.
    Positions(Vec<String>, SyncSender<Result<BTreeMap<String, Option<Position>>>>),
    /// Lets a view join, in the place of its namesake if there is one.
    AddView(Box<NewView>, SyncSender<Result<()>>),
    /// Removes a view.
    RemoveView(String, SyncSender<Result<()>>),
    /// Paces ticks anew.
    SetInterval(TickInterval),
    /// Runs `ask` between two ticks.
    Ask(Box<dyn FnOnce(&Core) + Send>),
    /// Data came; sent at most once between two ticks.
    Data,
    /// Ends the thread after the tick at hand.
    Stop,
}

/// A source as the driver keeps it.
pub struct SourceHandle {
    /// Its columns, event time and limits.
    pub spec: IngestSpec,
    /// Makes its decoders.
    pub factory: DecoderFactory,
    /// Opens readers of its log.
    pub opener: Arc<dyn SourceOpener>,
    /// Where reading starts, for every partition there was at creation.
    pub start: Offsets,
    /// The live reader, once a view needs it.
    pub reader: Option<Arc<SourceReader>>,
}

/// A view about to join.
pub struct NewView {
    /// Its name.
    pub name: String,
    /// Its plan, state and rows, which hold what `backfills` have read so far.
    pub view: RunningView,
    /// The columns it reads of each source.
    pub used: BTreeMap<String, UsedColumns>,
    /// For each source that is read already: what brings the view to the cut.
    pub backfills: Vec<Backfill>,
    /// For each source that is not: a reader opened at its start.
    pub opened: BTreeMap<String, Box<dyn Source>>,
}

/// The running readers by source, for those outside the tick thread who want to know how a source stands.
pub type Readers = Arc<RwLock<BTreeMap<String, Arc<SourceReader>>>>;

/// The tick thread's own state.
pub struct Driver {
    core: Core,
    clock: Arc<dyn Clock>,
    store: Arc<SnapshotStore>,
    readers: Readers,
    sources: BTreeMap<String, SourceHandle>,
    used: BTreeMap<String, BTreeMap<String, UsedColumns>>,
    interval: TickInterval,
    commands: Receiver<Command>,
    wake: Wake,
}

/// Tells the tick thread that data came, once until it has looked.
#[derive(Clone)]
pub struct Wake {
    sender: Sender<Command>,
    pending: Arc<AtomicBool>,
}

impl Wake {
    /// A wake on this channel.
    pub fn new(sender: Sender<Command>) -> Self {
        Self { sender, pending: Arc::default() }
    }

    /// Data came.
    pub fn data(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            // The thread has ended if nobody receives; then nobody waits for data either.
            let _ = self.sender.send(Command::Data);
        }
    }
}

impl Driver {
    /// A driver around an empty core.
    pub fn new(
        core: Core,
        clock: Arc<dyn Clock>,
        store: Arc<SnapshotStore>,
        readers: Readers,
        interval: TickInterval,
        commands: Receiver<Command>,
        wake: Wake,
    ) -> Self {
        let (sources, used) = (BTreeMap::new(), BTreeMap::new());
        Self { core, clock, store, readers, sources, used, interval, commands, wake }
    }

    /// Runs ticks until told to stop. Should it panic, those who wait for a tick are told that none will come.
    pub fn run(mut self) {
        let store = self.store.clone();
        if catch_unwind(AssertUnwindSafe(|| self.run_ticks())).is_err() {
            tracing::error!("the tick thread panicked: no further tick will come; restart the server");
        }
        // The last handle on a reader stops it.
        self.readers.write().clear();
        self.sources.clear();
        store.close();
    }

    fn run_ticks(&mut self) {
        let mut last_start = Instant::now();
        let mut data = false;
        loop {
            let wait = if data { self.interval.wait(last_start.elapsed()) } else { self.idle_wait(last_start) };
            match self.commands.recv_timeout(wait) {
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(Command::Data) => {
                    data = true;
                    continue;
                }
                Ok(command) => {
                    self.obey(command);
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            last_start = Instant::now();
            data = false;
            self.wake.pending.store(false, Ordering::Release);
            if let Err(error) = self.tick(BTreeMap::new()) {
                tracing::error!(%error, "a tick failed");
            }
        }
    }

    fn idle_wait(&self, last_start: Instant) -> Duration {
        let pace = self.interval.shortest().max(HEARTBEAT);
        pace.saturating_sub(last_start.elapsed())
    }

    fn obey(&mut self, command: Command) {
        // An answer nobody waits for any more is no error: the caller was cancelled.
        match command {
            Command::AddSource(name, source, reply) => {
                self.core.add_source(&name, &source.spec);
                self.sources.insert(name, *source);
                let _ = reply.send(self.publish());
            }
            Command::RemoveSource(name, reply) => {
                self.remove_source(&name);
                let _ = reply.send(self.publish());
            }
            Command::Positions(names, reply) => {
                let positions = names.iter().map(|name| Ok((name.clone(), self.position(name)?)));
                let _ = reply.send(positions.collect());
            }
            Command::AddView(view, reply) => {
                let _ = reply.send(self.add_view(*view));
            }
            Command::RemoveView(name, reply) => {
                self.core.remove_view(&name);
                let _ = reply.send(self.forget_columns(&name).and_then(|()| self.publish()));
            }
            Command::SetInterval(interval) => self.interval = interval,
            Command::Ask(ask) => ask(&self.core),
            Command::Data | Command::Stop => {}
        }
    }

    fn remove_source(&mut self, name: &str) {
        self.readers.write().remove(name);
        self.core.remove_source(name);
        self.sources.remove(name);
    }

    fn position(&self, name: &str) -> Result<Option<Position>> {
        let source = self.sources.get(name).ok_or_else(|| gone(name))?;
        let Some(reader) = &source.reader else { return Ok(None) };
        let tables = self.core.sources().get(name).ok_or_else(|| gone(name))?;
        let offsets = tables.offsets.clone();
        Ok(Some(Position {
            offsets,
            watermark: tables.watermark,
            exclusions: reader.with_ingest(|ingest| ingest.exclusions()),
        }))
    }

    /// Takes every running source's cut and runs one tick, unless nothing moved. `used` changes what sources
    /// materialise from this cut on.
    fn tick(&mut self, mut used: BTreeMap<String, UsedColumns>) -> Result<Vec<(String, Error)>> {
        let now = self.clock.now_micros();
        let mut failed: Vec<(String, Error)> = Vec::new();
        let mut ingested: BTreeMap<String, IngestedTick> = BTreeMap::new();
        for (name, source) in &self.sources {
            let Some(reader) = &source.reader else { continue };
            let taken = match used.remove(name) {
                Some(used) => reader.take_then_use(now, &used),
                None => reader.take(now),
            };
            // One source that cannot be taken must not cost the others the rows they already gave.
            match taken {
                Ok(taken) => _ = ingested.insert(name.clone(), taken),
                Err(error) => {
                    tracing::error!(source = %name, %error, "a source's cut failed");
                    failed.push((name.clone(), error));
                }
            }
        }
        let moved = |(name, tick): (&String, &IngestedTick)| {
            !tick.is_empty() || self.core.sources().get(name).is_some_and(|known| known.watermark != tick.watermark)
        };
        if !ingested.iter().any(moved) {
            return Ok(failed);
        }
        let mut stats = TickStats {
            now_micros: now,
            started_micros: now,
            decode_micros: ingested.values().map(|tick| tick.decode_micros).sum(),
            bytes_in: ingested.values().map(|tick| tick.total().bytes).sum(),
            ..Default::default()
        };
        let outcome = self.core.tick(now, ingested)?;
        let publishing = Instant::now();
        self.publish()?;
        stats.tick = outcome.tick;
        stats.rows_in = outcome.rows;
        stats.rows_changed = outcome.changed;
        stats.compute_micros = micros(outcome.compute);
        stats.publish_micros = micros(publishing.elapsed());
        self.store.record_tick(stats);
        Ok(failed)
    }

    /// Publishes the present state, after a tick or after what exists changed.
    fn publish(&self) -> Result<()> {
        let newest = self.store.newest();
        let statuses: BTreeMap<&str, SourceStatus> = self
            .sources
            .iter()
            .filter_map(|(name, source)| Some((name.as_str(), source.reader.as_ref()?.status())))
            .collect();
        let partition = |source: &str, number: i32| {
            let report = statuses.get(source)?.partitions.get(&number)?;
            Some((report.watermark, report.excluded))
        };
        self.store.publish(self.core.snapshot(&newest, partition))
    }

    fn add_view(&mut self, new: NewView) -> Result<()> {
        let NewView { name, mut view, used, backfills, opened } = new;
        // Until it has joined, the columns of a namesake it replaces are needed as well.
        let joining = format!("{name}\u{1}joining");
        self.used.insert(joining.clone(), used);
        let joined = self.join(&mut view, backfills, opened);
        let used = self.used.remove(&joining).unwrap_or_default();
        if let Err(error) = joined {
            let restored = self.columns_in_use().and_then(|used| self.tick(used));
            if let Err(error) = restored {
                tracing::error!(%error, "the columns of a view that did not join are still decoded");
            }
            return Err(error);
        }
        self.used.insert(name.clone(), used);
        self.core.add_view(&name, view);
        self.publish()
    }

    /// Brings a view to the main line's cut: the tick in which sources begin to materialise its columns too.
    fn join(
        &mut self,
        view: &mut RunningView,
        backfills: Vec<Backfill>,
        opened: BTreeMap<String, Box<dyn Source>>,
    ) -> Result<()> {
        let used = self.columns_in_use()?;
        let failed = self.tick(used.clone())?;
        if let Some((_, error)) = failed.into_iter().find(|(name, _)| view.sources.contains(name)) {
            return Err(error);
        }
        for mut backfill in backfills {
            let position = self.position(backfill.source())?.ok_or_else(|| gone(backfill.source()))?;
            backfill.run(&position, view, &self.core.input(Default::default()), &|| false)?;
        }
        for (name, source) in opened {
            self.start_reading(&name, source, used.get(&name))?;
        }
        let input = Arc::new(self.core.input(Default::default()));
        view.tick(&input);
        view.failed.clone().map_or(Ok(()), |message| Err(Error::data(message)))
    }

    fn start_reading(&mut self, name: &str, opened: Box<dyn Source>, used: Option<&UsedColumns>) -> Result<()> {
        let source = self.sources.get_mut(name).ok_or_else(|| gone(name))?;
        if source.reader.is_some() {
            // Another view came first; this one was built on the promise that nothing was read yet.
            return Err(Error::conflict(format!("source \"{name}\" was started meanwhile; try again")));
        }
        if let Some(used) = used {
            source.spec.set_used(used)?;
        }
        let wake = self.wake.clone();
        let notify = Arc::new(move || wake.data());
        let ingest = Ingest::new(source.spec.clone(), source.factory.clone())?;
        let reader = SourceReader::start(opened, ingest, ReaderOptions::default(), self.clock.clone(), notify)?;
        let reader = Arc::new(reader);
        self.readers.write().insert(name.to_owned(), reader.clone());
        source.reader = Some(reader);
        Ok(())
    }

    /// The columns all views together use, of every source that some view reads.
    fn columns_in_use(&self) -> Result<BTreeMap<String, UsedColumns>> {
        let mut all: BTreeMap<String, UsedColumns> = BTreeMap::new();
        for (name, used) in self.used.values().flatten() {
            let entry = all.entry(name.clone()).or_default();
            entry.columns = union(&entry.columns, &used.columns);
            entry.metadata = union(&entry.metadata, &used.metadata);
        }
        Ok(all)
    }

    fn forget_columns(&mut self, view: &str) -> Result<()> {
        self.used.remove(view);
        let used = self.columns_in_use()?;
        self.tick(used).map(|_| ())
    }
}

fn union(a: &[usize], b: &[usize]) -> Vec<usize> {
    let all: std::collections::BTreeSet<usize> = a.iter().chain(b).copied().collect();
    all.into_iter().collect()
}

fn gone(source: &str) -> Error {
    Error::conflict(format!("source \"{source}\" was dropped"))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
