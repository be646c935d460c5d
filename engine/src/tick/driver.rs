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

use parking_lot::{Mutex, RwLock};

use super::backfill::{Backfill, Clocked, JOIN_SILENCE_MAX, Position};
use super::budget;
use super::core::{Core, RunningView};
use super::durability::Durability;
use super::history::History;
use super::interval::TickInterval;
use super::pin::{self, Pin};
use super::recording::Recording;
use super::replay::Replay;
use super::subscription::{Span, Subscription, Subscriptions};
use super::table::{RunningTable, WriteError};
use crate::checkpoint::log::Entry;
use crate::checkpoint::writer::Written;
use crate::delta::Delta;
use crate::error::{Error, Result};
use crate::ingest::reader::{ReaderOptions, SourceReader, SourceStatus};
use crate::ingest::{DecoderFactory, Ingest, IngestSpec, IngestState, IngestedTick, UsedColumns};
use crate::source::{Offsets, Source, SourceOpener};
use crate::time::{Clock, TickId};
use crate::view::{BuiltIndexes, Snapshot, SnapshotStore, TickStats, ViewReading};

/// How soon after data a tick is considered though none comes: idle partitions and the clock move watermarks too. Each
/// such look waits twice as long as the one before.
const LOOK_MIN: Duration = Duration::from_millis(50);

/// The longest wait between two looks.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// While all partitions of a source are idle, a look comes this many times in an idle timeout: then it is the clock that
/// moves the watermark.
const LOOKS_PER_IDLE_TIMEOUT: u32 = 4;

/// What the tick thread is asked for; each carries where to answer.
pub enum Command {
    /// Adds a source; it is read from when the first view needs it.
    AddSource(String, Box<SourceHandle>, SyncSender<Result<()>>),
    /// Stops and removes a source.
    RemoveSource(String, SyncSender<Result<()>>),
    /// Where each of these sources is; `None` for one that is not read yet.
    Positions(Vec<String>, SyncSender<Result<BTreeMap<String, Option<Position>>>>),
    /// Pins these maintained relations, and tells where these sources are at the same tick.
    Pin(Vec<String>, Vec<String>, SyncSender<Result<Pin>>),
    /// Lets a view join, unseen.
    StageView(Box<NewView>, SyncSender<Result<()>>),
    /// Shows staged views, all in one tick, each in the place of its namesake if there is one.
    ShowViews(Vec<String>, SyncSender<Result<()>>),
    /// Removes a staged view.
    UnstageView(String),
    /// Removes a view.
    RemoveView(String, SyncSender<Result<()>>),
    /// Adds an empty table.
    AddTable(String, Box<RunningTable>, SyncSender<Result<()>>),
    /// Removes a table.
    RemoveTable(String, SyncSender<Result<()>>),
    /// Indexes a maintained relation by these columns and no others, most of which is done already.
    SetIndexes(String, Vec<Vec<usize>>, BuiltIndexes, SyncSender<Result<()>>),
    /// Writes to a table.
    Write(Write),
    /// Follows a view.
    Subscribe(String, Span, SyncSender<Result<Subscription>>),
    /// Lets a view join that began at an earlier tick, under a temporary name, and follows it from there.
    FollowReplay(String, Box<Replay>, Span, SyncSender<Result<Subscription>>),
    /// Gives a source, view or table another name; it can be read under both. With the fingerprints that views' plans have then.
    Rename(String, String, Vec<(String, String)>, SyncSender<Result<()>>),
    /// Nobody reads it under the old name any more.
    ForgetName(String, SyncSender<Result<()>>),
    /// Brings a view to where it was; false if what it reads is not there as it was.
    RestoreView(String, Box<RunningView>, BTreeMap<String, UsedColumns>, SyncSender<Result<bool>>),
    /// All that can be brought back is: ticks begin.
    Begin(SyncSender<Result<()>>),
    /// Writes a checkpoint.
    Checkpoint(SyncSender<Result<Written>>),
    /// A checkpoint was written, or could not be.
    Checkpointed,
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
    /// Its number in the catalog; 0 if nothing of it is kept.
    pub id: u32,
    /// Its columns, event time and limits.
    pub spec: IngestSpec,
    /// Makes its decoders.
    pub factory: DecoderFactory,
    /// Opens readers of its log.
    pub opener: Arc<dyn SourceOpener>,
    /// Where reading starts, for every partition there was at creation.
    pub start: Offsets,
    /// Where it was when the engine before ended, until it is read again.
    pub restored: Option<IngestState>,
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
    /// If it reads maintained relations: their changes since it took in their rows.
    pub changes: Option<Arc<Mutex<Recording>>>,
    /// For each source that is not: a reader opened at its start.
    pub opened: BTreeMap<String, Box<dyn Source>>,
    /// Set when nobody wants the view any more.
    pub cancelled: Arc<AtomicBool>,
}

/// What one statement or transaction writes to tables. It is answered when the tick that holds it is published.
pub struct Write {
    /// Tables, each once, and their changes.
    pub changes: Vec<(String, Vec<Delta>)>,
    /// Where to answer; an error with the table's place among the changes.
    pub reply: SyncSender<std::result::Result<(), (usize, WriteError)>>,
}

/// The running readers by source, for those outside the tick thread who want to know how a source stands.
pub type Readers = Arc<RwLock<BTreeMap<String, Arc<SourceReader>>>>;

/// The tick thread's own state.
pub struct Driver {
    pub(super) core: Core,
    pub(super) clock: Arc<dyn Clock>,
    store: Arc<SnapshotStore>,
    readers: Readers,
    history: Arc<History>,
    subscriptions: Subscriptions,
    pub(super) sources: BTreeMap<String, SourceHandle>,
    pub(super) used: BTreeMap<String, BTreeMap<String, UsedColumns>>,
    interval: TickInterval,
    commands: Receiver<Command>,
    wake: Wake,
    /// What the next tick writes to tables.
    writes: Vec<Write>,
    /// How long the next look waits at most, and when it is due earlier because a partition becomes idle or the rows of a
    /// view come or go by the clock.
    look: Duration,
    look_due: Option<Instant>,
    pub(super) durability: Option<Durability>,
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
    /// A driver around an empty core. With `durability` it waits for [`Command::Begin`].
    pub fn new(
        mut core: Core,
        clock: Arc<dyn Clock>,
        store: Arc<SnapshotStore>,
        readers: Readers,
        history: Arc<History>,
        interval: TickInterval,
        commands: Receiver<Command>,
        wake: Wake,
        durability: Option<Durability>,
    ) -> Self {
        let (sources, used, subscriptions) = (BTreeMap::new(), BTreeMap::new(), Subscriptions::default());
        let (look, look_due) = (LOOK_MIN, None);
        if let Some(recovered) = durability.as_ref().and_then(Durability::recovered) {
            core.resume(TickId(recovered.tick_shown()), recovered.manifest().now_micros);
        }
        Self {
            core,
            clock,
            store,
            readers,
            history,
            subscriptions,
            sources,
            used,
            interval,
            commands,
            wake,
            writes: Vec::new(),
            look,
            look_due,
            durability,
        }
    }

    /// Runs ticks until told to stop. Should it panic, those who wait for a tick are told that none will come.
    pub fn run(mut self) {
        let store = self.store.clone();
        if catch_unwind(AssertUnwindSafe(|| self.run_ticks())).is_err() {
            tracing::error!("the tick thread panicked: no further tick will come; restart the server");
        }
        self.last_checkpoint();
        // The last handle on a reader stops it; all are told before any is waited for.
        self.sources.values().flat_map(|source| &source.reader).for_each(|reader| reader.begin_stop());
        self.readers.write().clear();
        self.sources.clear();
        store.close();
    }

    fn run_ticks(&mut self) {
        let mut last_start = Instant::now();
        let mut data = false;
        while self.durability.as_ref().is_none_or(|durability| durability.halted().is_none()) {
            if self.is_held() {
                match self.commands.recv() {
                    Ok(Command::Stop) | Err(_) => return,
                    Ok(command) => self.obey(command),
                }
                continue;
            }
            let wait = if data { self.interval.wait(last_start.elapsed()) } else { self.idle_wait(last_start) };
            match self.commands.recv_timeout(wait) {
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(Command::Data) => {
                    data = true;
                    continue;
                }
                Ok(Command::Write(write)) => {
                    self.writes.push(write);
                    data = true;
                    continue;
                }
                Ok(command) => {
                    self.obey(command);
                    self.checkpoint_if_due();
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            last_start = Instant::now();
            self.look = if data { LOOK_MIN } else { (self.look * 2).min(self.look_max()) };
            data = false;
            self.wake.pending.store(false, Ordering::Release);
            if let Err(error) = self.tick(BTreeMap::new(), false) {
                tracing::error!(%error, "a tick failed");
            }
            self.look_due = self.next_due();
            self.checkpoint_if_due();
        }
    }

    /// How long to wait when no data comes.
    fn idle_wait(&self, last_start: Instant) -> Duration {
        let due = self.look_due.map_or(self.look, |due| due.saturating_duration_since(last_start).min(self.look));
        let wait = due.max(LOOK_MIN).max(self.interval.shortest()).saturating_sub(last_start.elapsed());
        let checkpoint = self.durability.as_ref().and_then(Durability::due_in);
        checkpoint.map_or(wait, |due| wait.min(due.max(LOOK_MIN)))
    }

    fn look_max(&self) -> Duration {
        let running = self.sources.values().filter(|source| source.reader.is_some());
        let shortest = running.filter_map(|source| source.spec.idle_timeout_micros).min();
        let shortest = shortest.map(|micros| Duration::from_micros(micros.unsigned_abs()) / LOOKS_PER_IDLE_TIMEOUT);
        shortest.map_or(LOOK_MAX, |wait| wait.clamp(LOOK_MIN, LOOK_MAX))
    }

    /// When the next partition becomes idle, or a view changes by the clock, if no record comes before.
    fn next_due(&self) -> Option<Instant> {
        let now_micros = self.clock.now_micros();
        let readers = self.sources.values().filter_map(|source| source.reader.as_ref());
        let due = readers.filter_map(|reader| reader.next_idle_micros()).chain(self.core.due_micros()).min()?;
        Instant::now().checked_add(Duration::from_micros(u64::try_from(due.saturating_sub(now_micros)).unwrap_or(0)))
    }

    fn obey(&mut self, command: Command) {
        // An answer nobody waits for any more is no error: the caller was cancelled.
        match command {
            Command::AddSource(name, source, reply) => {
                let added = self.add_source(&name, *source);
                let _ = reply.send(added.and_then(|()| self.publish(&[])));
            }
            Command::RemoveSource(name, reply) => {
                self.remove_source(&name);
                self.fail_readers(&name, &format!("source \"{name}\" was dropped"));
                let _ = reply.send(self.publish(&[]));
            }
            Command::Positions(names, reply) => {
                let _ = reply.send(self.positions(&names));
            }
            Command::StageView(view, reply) => {
                self.look = LOOK_MIN;
                self.look_due = None;
                let name = view.name.clone();
                // Whoever asked is gone: then nobody will show the view either.
                if reply.send(self.stage_view(*view)).is_err() {
                    self.unstage_view(&name);
                }
            }
            Command::Pin(relations, sources, reply) => {
                let _ = reply.send(self.pin(&relations, &sources));
            }
            Command::ShowViews(names, reply) => {
                self.note_definition();
                let _ = reply.send(self.show_views(&names));
            }
            Command::Rename(from, to, fingerprints, reply) => {
                self.rename(&from, &to);
                self.core.set_fingerprints(fingerprints);
                self.note_definition();
                let _ = reply.send(self.publish(&[]));
            }
            Command::ForgetName(name, reply) => {
                self.core.forget_name(&name);
                let _ = reply.send(self.publish(&[]));
            }
            Command::UnstageView(name) => self.unstage_view(&name),
            Command::RemoveView(name, reply) => {
                self.core.remove_view(&name);
                self.fail_readers(&name, &format!("materialized view \"{name}\" was dropped"));
                let _ = reply.send(self.forget_columns(&name).and_then(|()| self.publish(&[])));
            }
            Command::AddTable(name, table, reply) => {
                let added = self.add_table(&name, *table);
                let _ = reply.send(added.and_then(|()| self.publish(&[])));
            }
            Command::RemoveTable(name, reply) => {
                self.core.remove_table(&name);
                self.fail_readers(&name, &format!("table \"{name}\" was dropped"));
                let _ = reply.send(self.publish(&[]));
            }
            Command::SetIndexes(name, indexes, built, reply) => {
                let set = self.core.set_indexes(&name, &indexes, &built);
                let _ = reply.send(set.and_then(|()| self.publish(&[])));
            }
            Command::Write(write) => self.writes.push(write),
            Command::Subscribe(view, span, reply) => {
                let _ = reply.send(self.subscribe(&view, span));
            }
            Command::FollowReplay(name, replay, span, reply) => {
                let followed = self.follow_replay(&name, *replay, span);
                // Whoever asked is gone: then nobody would drop the view either.
                if reply.send(followed).is_err() {
                    self.core.remove_view(&name);
                }
            }
            Command::RestoreView(name, view, used, reply) => {
                let _ = reply.send(self.restore_view(&name, *view, used));
            }
            Command::Begin(reply) => {
                let _ = reply.send(self.begin());
            }
            Command::Checkpoint(reply) => match &mut self.durability {
                Some(durability) => durability.wait_for_next(reply),
                None => {
                    let message = "there is nothing to write a checkpoint to: start the server with a data directory";
                    let _ = reply.send(Err(Error::conflict(message)));
                }
            },
            Command::Checkpointed => {}
            Command::SetInterval(interval) => self.interval = interval,
            Command::Ask(ask) => ask(&self.core),
            Command::Data | Command::Stop => {}
        }
    }

    fn remove_source(&mut self, name: &str) {
        self.stop_reading(name);
        self.core.remove_source(name);
        self.sources.remove(name);
    }

    /// Stops a source's reader, beside the ticks: it may be in the middle of a poll.
    pub(super) fn stop_reading(&mut self, name: &str) {
        self.readers.write().remove(name);
        let Some(reader) = self.sources.get_mut(name).and_then(|source| source.reader.take()) else { return };
        reader.begin_stop();
        let thread = std::thread::Builder::new().name(format!("stop {name}"));
        // Without a thread the closure is dropped here, and the reader with it.
        if let Err(error) = thread.spawn(move || drop(reader)) {
            tracing::warn!(source = %name, %error, "no thread to stop a reader");
        }
    }

    fn positions(&self, names: &[String]) -> Result<BTreeMap<String, Option<Position>>> {
        names.iter().map(|name| Ok((name.clone(), self.position(name)?))).collect()
    }

    fn pin(&mut self, relations: &[String], sources: &[String]) -> Result<Pin> {
        self.check_standing(relations)?;
        let rows = relations.iter().filter_map(|name| Some((name.clone(), self.core.maintained(name)?.0))).collect();
        let template = self.core.input(Default::default()).unclocked();
        let positions = self.positions(sources)?;
        let changes = (!relations.is_empty()).then(|| self.core.record(relations.iter().cloned()));
        Ok(Pin { template, rows, changes, positions })
    }

    fn rename(&mut self, from: &str, to: &str) {
        if let Some(mut source) = self.sources.remove(from) {
            to.clone_into(&mut source.spec.source);
            self.sources.insert(to.to_owned(), source);
        }
        let reader = self.readers.write().remove(from);
        if let Some(reader) = reader {
            self.readers.write().insert(to.to_owned(), reader);
        }
        if let Some(used) = self.used.remove(from) {
            self.used.insert(to.to_owned(), used);
        }
        for used in self.used.values_mut() {
            if let Some(columns) = used.remove(from) {
                used.insert(to.to_owned(), columns);
            }
        }
        self.core.rename(from, to);
    }

    fn position(&self, name: &str) -> Result<Option<Position>> {
        let source = self.sources.get(name).ok_or_else(|| gone(name))?;
        let Some(reader) = &source.reader else { return Ok(None) };
        let tables = self.core.sources().get(name).ok_or_else(|| gone(name))?;
        let offsets = tables.offsets.clone();
        Ok(Some(Position {
            offsets,
            watermark: tables.watermark,
            counts: tables.counts.clone(),
            exclusions: reader.with_ingest(|ingest| ingest.exclusions()),
        }))
    }

    /// Takes every running source's cut and all writes, and runs one tick, unless nothing moved. `used` changes what
    /// sources materialise from this cut on. For one that `reads_clock` the time moves in any case.
    pub(super) fn tick(
        &mut self,
        used: BTreeMap<String, UsedColumns>,
        reads_clock: bool,
    ) -> Result<Vec<(String, Error)>> {
        let (mut written, mut entries) = (Vec::new(), Vec::new());
        for Write { changes, reply } in std::mem::take(&mut self.writes) {
            match self.core.write(&changes) {
                Ok(()) => {
                    written.push(reply);
                    entries.extend(self.entry_of(changes));
                }
                // An answer nobody waits for any more is no error: the caller was cancelled.
                Err(error) => _ = reply.send(Err(error)),
            }
        }
        let ticked = self.tick_over(used, reads_clock, entries);
        for reply in written {
            let _ = reply.send(match &ticked {
                Ok(_) => Ok(()),
                Err(error) => Err((0, WriteError::Failed(Error::internal(format!("the tick failed: {error}"))))),
            });
        }
        ticked
    }

    fn tick_over(
        &mut self,
        mut used: BTreeMap<String, UsedColumns>,
        reads_clock: bool,
        mut entries: Vec<Entry>,
    ) -> Result<Vec<(String, Error)>> {
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
                Ok(taken) => {
                    if source.id != 0 && !taken.exclusions.is_empty() {
                        entries.push(Entry::Exclusions { source: source.id, exclusions: taken.exclusions.clone() });
                    }
                    ingested.insert(name.clone(), taken);
                }
                Err(error) => {
                    tracing::error!(source = %name, %error, "a source's cut failed");
                    failed.push((name.clone(), error));
                }
            }
        }
        if let Some(durability) = &mut self.durability {
            let next = self.core.tick_and_now().0.next();
            durability.before_tick(next, entries)?;
        }
        let moved = |(name, tick): (&String, &IngestedTick)| {
            !tick.is_empty()
                || self
                    .core
                    .sources()
                    .get(name)
                    .is_some_and(|known| (known.watermark, known.closing) != (tick.watermark, tick.closing))
        };
        let is_due = reads_clock || self.core.due_micros().is_some_and(|due| due <= now);
        if !ingested.iter().any(moved) && !self.core.is_written() && !is_due {
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
        self.publish(&outcome.changelogs)?;
        stats.tick = outcome.tick;
        stats.rows_in = outcome.rows;
        stats.rows_changed = outcome.changed;
        stats.compute_micros = micros(outcome.compute);
        stats.publish_micros = micros(publishing.elapsed());
        if let Some(durability) = &mut self.durability {
            durability.ticked(stats.bytes_in);
        }
        self.store.record_tick(stats);
        Ok(failed)
    }

    fn subscribe(&mut self, view: &str, Span { from, until }: Span) -> Result<Subscription> {
        let newest = self.store.newest();
        let (start, missed) = match from {
            None => (newest.clone(), Vec::new()),
            Some(tick) if tick == newest.tick => (newest.clone(), Vec::new()),
            Some(tick) => (self.history.at(tick)?, self.history.since(tick, view)?),
        };
        self.subscriptions.add(view, start, &newest, missed, until)
    }

    fn follow_replay(&mut self, name: &str, mut replay: Replay, span: Span) -> Result<Subscription> {
        replay.go_on(&self.history, &|| false)?;
        let Replay { mut view, start, rows, mut missed, .. } = replay;
        self.check_standing(&view.relations)?;
        let input = self.core.input(Default::default());
        let tick = input.tick;
        let changes = view.tick(&Arc::new(input));
        view.check()?;
        match missed.last_mut() {
            _ if changes.is_empty() => {}
            Some((last, deltas)) if *last == tick => deltas.extend(changes),
            _ => missed.push((tick, changes)),
        }
        self.core.add_view(name, view);
        self.publish(&[])?;
        let newest = self.store.newest();
        let reading = newest.view(name).ok_or_else(|| Error::internal("a view that joined is not there"))?;
        let mut start = Snapshot::clone(&start);
        start.views.insert(name.to_owned(), Arc::new(ViewReading { rows, ..ViewReading::clone(reading) }));
        self.subscriptions.add(name, Arc::new(start), &newest, missed, span.until)
    }

    /// Fails what reads a relation that is no more what it was.
    pub(super) fn fail_readers(&mut self, name: &str, cause: &str) {
        for reader in self.core.fail_readers(name, cause) {
            self.used.remove(&reader);
        }
    }

    /// Refuses relations that are gone or have failed.
    fn check_standing(&self, relations: &[String]) -> Result<()> {
        for name in relations {
            let missing = || Error::conflict(format!("materialized view \"{name}\" was dropped"));
            if let (_, Some(cause)) = self.core.maintained(name).ok_or_else(missing)? {
                let message = format!("materialized view \"{name}\" has failed: {cause}");
                return Err(match budget::is_exceeded(cause) {
                    true => budget::failure(message),
                    false => Error::conflict(message),
                });
            }
        }
        Ok(())
    }

    /// Publishes the present state, after a tick that made these changes or after what exists changed.
    pub(super) fn publish(&mut self, changes: &[(String, Vec<Delta>)]) -> Result<()> {
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
        let snapshot = Arc::new(self.core.snapshot(&newest, partition));
        self.store.publish(snapshot.clone())?;
        self.subscriptions.publish(&snapshot, changes);
        self.history.record(snapshot, changes);
        Ok(())
    }

    fn stage_view(&mut self, new: NewView) -> Result<()> {
        let NewView { name, mut view, used, backfills, changes, opened, cancelled } = new;
        // Until it is shown, the columns of a namesake it replaces are needed as well.
        if self.used.contains_key(&staged(&name)) {
            return Err(Error::conflict(format!("view \"{name}\" is being created already")));
        }
        self.used.insert(staged(&name), used);
        // One that has failed before it came has nothing to catch up with.
        if view.failed.is_none()
            && let Err(error) =
                self.join(&mut view, (backfills, changes), opened, &|| cancelled.load(Ordering::Acquire))
        {
            self.forget_staged_columns(&name);
            return Err(error);
        }
        self.core.stage_view(&name, view);
        Ok(())
    }

    fn show_views(&mut self, names: &[String]) -> Result<()> {
        if !self.core.show_views(names) {
            return Err(Error::internal(format!("views {} were not prepared", names.join(", "))));
        }
        for name in names {
            let used = self.used.remove(&staged(name)).unwrap_or_default();
            self.used.insert(name.clone(), used);
        }
        self.stop_unused();
        self.publish(&[])
    }

    fn unstage_view(&mut self, name: &str) {
        if self.core.unstage_view(name).is_some() {
            self.forget_staged_columns(name);
        }
    }

    fn forget_staged_columns(&mut self, name: &str) {
        if let Err(error) = self.forget_columns(&staged(name)) {
            tracing::error!(%error, "the columns of a view that did not join are still decoded");
        }
    }

    /// Brings a view to the main line's cut: the tick in which sources begin to materialise its columns too.
    fn join(
        &mut self,
        view: &mut RunningView,
        (backfills, changes): (Vec<Backfill>, Option<Arc<Mutex<Recording>>>),
        opened: BTreeMap<String, Box<dyn Source>>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<()> {
        let used = self.columns_in_use()?;
        let failed = self.tick(used.clone(), view.execution.reads_clock())?;
        if let Some((_, error)) = failed.into_iter().find(|(name, _)| view.sources.contains(name)) {
            return Err(error);
        }
        let template = self.core.input(Default::default());
        // Relations' changes are not in yet, so no watermark may count before all is.
        let clocked = if changes.is_some() { Clocked::No } else { Clocked::Yes };
        for mut backfill in backfills {
            let position = self.position(backfill.source())?.ok_or_else(|| gone(backfill.source()))?;
            backfill.run(&position, view, (&template, clocked), JOIN_SILENCE_MAX, cancelled)?;
            backfill.check_settled(&position)?;
        }
        if let Some(changes) = changes {
            pin::feed(view, &template, changes.lock().hand_out()?)?;
        }
        for (name, source) in opened {
            self.start_reading(&name, source, used.get(&name))?;
        }
        let input = Arc::new(self.core.input(Default::default()));
        view.tick(&input);
        view.check()
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
        let ingest = Ingest::new(source.spec.clone(), source.factory.clone())?;
        // A source that was read before begins anew, and counts anew.
        self.core.add_source(name, &source.spec);
        self.read(name, opened, ingest)
    }

    pub(super) fn read(&mut self, name: &str, opened: Box<dyn Source>, ingest: Ingest) -> Result<()> {
        let source = self.sources.get_mut(name).ok_or_else(|| gone(name))?;
        let wake = self.wake.clone();
        let notify = Arc::new(move || wake.data());
        let reader = SourceReader::start(opened, ingest, ReaderOptions::default(), self.clock.clone(), notify)?;
        let reader = Arc::new(reader);
        self.readers.write().insert(name.to_owned(), reader.clone());
        source.reader = Some(reader);
        Ok(())
    }

    /// The columns all views together use, of every source that some view reads.
    pub(super) fn columns_in_use(&self) -> Result<BTreeMap<String, UsedColumns>> {
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
        self.stop_unused();
        let used = self.columns_in_use()?;
        self.tick(used, false).map(|_| ())
    }

    /// Stops the readers of sources that no view reads any more. What they counted and quarantined stays to be seen.
    fn stop_unused(&mut self) {
        let used = |name: &String| self.used.values().any(|sources| sources.contains_key(name));
        let running = self.sources.iter().filter(|(_, source)| source.reader.is_some());
        let unused: Vec<String> = running.map(|(name, _)| name).filter(|name| !used(name)).cloned().collect();
        unused.iter().for_each(|name| self.stop_reading(name));
    }
}

/// The name under which the columns of a view are kept that is not seen yet; no view can have it.
fn staged(view: &str) -> String {
    format!("{view}\u{1}staged")
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
