//! The handle the server holds: sources and views come and go, snapshots are read, ticks run by themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use crate::checkpoint::durable::{self, Durable};
use crate::checkpoint::manifest::PartKind;
use crate::checkpoint::recovered::Recovered;
use crate::checkpoint::storage::Storage;
use crate::checkpoint::writer::Written;
use crate::dataflow::Dataflow;
use crate::delta::Delta;
use crate::error::{Error, ErrorKind, Result};
use crate::ingest::reader::{ReaderState, SourceStatus};
use crate::ingest::topic_table::{Cut, TopicTable};
use crate::ingest::{DecoderFactory, IngestSpec, UsedColumns};
use crate::source::{Offsets, SourceOpener};
use crate::tick::backfill::{Backfill, Clocked, Position, SILENCE_MAX};
use crate::tick::building::{Buildings, Report};
use crate::tick::core::{Core, CoreConfig, RunningView};
use crate::tick::driver::{Command, Driver, NewView, Readers, SourceHandle, Wake, Write};
use crate::tick::durability::{CheckpointPace, Durability, DurabilityStatus};
use crate::tick::history::{History, Retention};
use crate::tick::interval::TickInterval;
use crate::tick::lease_keeper::LeaseKeeper;
use crate::tick::pin::{self, Pin};
use crate::tick::replay::Replay;
use crate::tick::saving;
use crate::tick::subscription::{Span, Subscription};
use crate::tick::table::{RunningTable, WriteError};
use crate::tick::temporary::{self, TemporaryView};
use crate::time::{Clock, TickId};
use crate::view::{Snapshot, SnapshotStore};

/// A backfill this near to the cut is left to the tick thread at once.
const JOIN_RECORDS_MAX: i64 = 10_000;

/// One this near is left to it after [`APPROACHES_MAX`] more rounds, for records may come as fast as they are read again.
const JOIN_RECORDS_MOST: i64 = 200_000;

/// Changed rows of relations that are left to the tick thread at once.
const RELATION_ROWS_MAX: usize = 10_000;

/// How often a backfill within [`JOIN_RECORDS_MOST`] of the cut tries to come nearer.
const APPROACHES_MAX: usize = 16;

/// How often a caller that waits for the tick thread looks whether it was cancelled.
const CANCEL_LOOK: Duration = Duration::from_millis(10);

/// How long a view over a compacted log waits for the live reading to come to the log's end, and how often it looks.
const SETTLE_PATIENCE: Duration = Duration::from_secs(10);
const SETTLE_LOOK: Duration = Duration::from_millis(20);

/// The stack of a thread that drops or walks plans, whose depth is that of the longest expression accepted.
pub const STACK_BYTES: usize = 8 << 20;

/// How many ticks `SHOW TICKS` can list.
const TICKS_KEPT: usize = 1000;

/// How an engine runs.
#[derive(Debug, Clone, Default)]
pub struct EngineConfig {
    /// Plans, eviction, limits.
    pub core: CoreConfig,
    /// The pace of ticks.
    pub interval: TickInterval,
    /// How long ticks can be read after they were published.
    pub history: Retention,
    /// When checkpoints are written.
    pub checkpoints: CheckpointPace,
    /// How long another engine waits for this one before it takes over, where several reach the storage; `None` for a storage that
    /// is this process's alone.
    pub lease: Option<Duration>,
}

/// A source, ready to be read.
#[derive(Clone)]
pub struct SourceDefinition {
    /// Its number in the catalog, which it keeps for good; 0 if nothing of it is kept.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its columns, event time and limits; no column is in use yet.
    pub spec: IngestSpec,
    /// Makes its decoders.
    pub factory: DecoderFactory,
    /// Opens readers of its log, from its start position where no offset is given.
    pub opener: Arc<dyn SourceOpener>,
}

/// A running engine. Dropping it stops the tick thread.
#[derive(Debug)]
pub struct Engine {
    commands: Mutex<Sender<Command>>,
    store: Arc<SnapshotStore>,
    readers: Readers,
    history: Arc<History>,
    sources: RwLock<BTreeMap<String, Known>>,
    interval: RwLock<TickInterval>,
    config: CoreConfig,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Counts temporary views.
    temporaries: AtomicU64,
    buildings: Buildings,
    /// What the engine before left, until all of it is brought back that can be.
    recovered: RwLock<Option<Arc<Recovered>>>,
    durability: Arc<DurabilityStatus>,
    stopping: Arc<AtomicBool>,
    lease: Mutex<Option<LeaseKeeper>>,
}

/// A source whose log was found, ready for [`Engine::add_source`].
#[derive(Debug, Clone)]
pub struct PreparedSource(Known);

/// A view that stands at the main line's cut and goes along, but is not seen yet. Dropping it removes it.
#[derive(Debug)]
pub struct StagedView {
    name: String,
    commands: Sender<Command>,
    done: bool,
}

impl StagedView {
    /// Shows the view, in the place of its namesake if there is one.
    ///
    /// # Errors
    /// `Unavailable` if the engine has stopped.
    pub fn show(self) -> Result<()> {
        Self::show_all(vec![self])
    }

    /// Shows views all in one tick.
    ///
    /// # Errors
    /// As for [`show`](Self::show).
    pub fn show_all(mut views: Vec<Self>) -> Result<()> {
        views.iter_mut().for_each(|view| view.done = true);
        let Some(commands) = views.first().map(|view| view.commands.clone()) else { return Ok(()) };
        let names = views.iter().map(|view| view.name.clone()).collect();
        let (reply, answer) = sync_channel(1);
        let stopped = || Error::unavailable("the engine has stopped");
        commands.send(Command::ShowViews(names, reply)).map_err(|_| stopped())?;
        answer.recv().map_err(|_| stopped())?
    }

    /// Nothing was staged.
    fn failed(mut self, error: Error) -> Error {
        self.done = true;
        error
    }
}

impl Drop for StagedView {
    fn drop(&mut self) {
        if !self.done {
            // Nothing is staged any more once the engine has stopped.
            let _ = self.commands.send(Command::UnstageView(std::mem::take(&mut self.name)));
        }
    }
}

/// What the handle keeps of a source.
#[derive(Clone)]
struct Known {
    definition: SourceDefinition,
    start: Offsets,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("name", &self.definition.name).field("start", &self.start).finish()
    }
}

impl Engine {
    /// Starts the tick thread, with nothing to do. Nothing of it outlives the process.
    ///
    /// # Errors
    /// `Unavailable` if the system refuses a thread.
    pub fn start(config: EngineConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        Self::launch(config, clock, None)
    }

    /// Takes over a storage, and starts the tick thread. No tick comes before [`begin`](Self::begin): until then sources, tables
    /// and views that were there before come back with their state. `writer` is a word that no other engine has.
    ///
    /// # Errors
    /// As for [`durable::open`].
    pub fn open(config: EngineConfig, clock: Arc<dyn Clock>, storage: Arc<dyn Storage>, writer: &str) -> Result<Self> {
        let (durable, recovered) = durable::open(storage.clone(), writer, clock.now_micros())?;
        let lease = config.lease;
        let mut engine = Self::launch(config, clock, Some((durable, Arc::new(recovered))))?;
        if let Some(lasts) = lease {
            let commands = engine.commands.lock().clone();
            // The tick thread sees that it is halted; if it has ended there is nothing to see.
            let halted = move || _ = commands.send(Command::Checkpointed);
            let keeper = LeaseKeeper::start(storage, writer, lasts, engine.durability.clone(), halted)?;
            engine.lease = Mutex::new(Some(keeper));
        }
        Ok(engine)
    }

    fn launch(config: EngineConfig, clock: Arc<dyn Clock>, durable: Option<(Durable, Arc<Recovered>)>) -> Result<Self> {
        let (sender, receiver) = channel();
        let store = Arc::new(SnapshotStore::new(TICKS_KEPT));
        let readers = Readers::default();
        let core = Core::new(config.core.clone());
        let wake = Wake::new(sender.clone());
        let history = Arc::new(History::new(config.history));
        let (status, stopping) = (Arc::new(DurabilityStatus::default()), Arc::new(AtomicBool::new(false)));
        let recovered = durable.as_ref().map(|(_, recovered)| recovered.clone());
        let written = sender.clone();
        // Nobody waits for a checkpoint once the tick thread has ended.
        let written = move || _ = written.send(Command::Checkpointed);
        let durability = durable.map(|(durable, recovered)| {
            Durability::start(durable, recovered, config.checkpoints, (status.clone(), stopping.clone()), written)
        });
        let durability = durability.transpose()?;
        let (interval, kept) = (config.interval, history.clone());
        let driver =
            Driver::new(core, clock, store.clone(), readers.clone(), kept, interval, receiver, wake, durability);
        let thread =
            std::thread::Builder::new().name("tick".into()).stack_size(STACK_BYTES).spawn(move || driver.run());
        let thread = thread.map_err(|e| Error::unavailable("cannot start the tick thread").with_source(e))?;
        Ok(Self {
            commands: Mutex::new(sender),
            store,
            readers,
            history,
            sources: RwLock::default(),
            interval: RwLock::new(config.interval),
            config: config.core,
            thread: Mutex::new(Some(thread)),
            temporaries: AtomicU64::new(1),
            buildings: Buildings::default(),
            recovered: RwLock::new(recovered),
            durability: status,
            stopping,
            lease: Mutex::default(),
        })
    }

    /// Adds a source, after its log was found and its start resolved to offsets. It is read from when a view needs it.
    ///
    /// # Errors
    /// `Conflict` if the name is taken; the opener's own errors.
    pub fn create_source(&self, definition: SourceDefinition) -> Result<()> {
        if self.sources.read().contains_key(&definition.name) {
            return Err(Error::conflict(format!("source \"{}\" already exists", definition.name)));
        }
        self.add_source(self.prepare_source(definition)?)
    }

    /// Finds a source's log and where reading of it starts. Nothing of it is kept before [`add_source`](Self::add_source).
    ///
    /// # Errors
    /// The opener's own.
    pub fn prepare_source(&self, definition: SourceDefinition) -> Result<PreparedSource> {
        if let Some(start) = self.start_before(definition.id)? {
            return Ok(PreparedSource(Known { definition, start }));
        }
        let opened = definition.opener.open(&Offsets::new())?;
        let start = opened.partitions().iter().map(|(p, status)| (*p, status.position)).collect();
        Ok(PreparedSource(Known { definition, start }))
    }

    /// Where reading of a source began that the engine before had.
    fn start_before(&self, id: u32) -> Result<Option<Offsets>> {
        let recovered = self.recovered.read().clone().filter(|_| id != 0);
        recovered.map_or(Ok(None), |recovered| saving::start_of(&recovered, id))
    }

    /// Adds a source, in the place of its namesake if there is one, which no view may read.
    ///
    /// # Errors
    /// `Unavailable` if the engine has stopped.
    pub fn add_source(&self, PreparedSource(known): PreparedSource) -> Result<()> {
        let Known { definition, start } = &known;
        let name = definition.name.clone();
        let handle = SourceHandle {
            id: definition.id,
            restored: None,
            spec: definition.spec.clone(),
            factory: definition.factory.clone(),
            opener: definition.opener.clone(),
            start: start.clone(),
            reader: None,
        };
        self.ask(|reply| Command::AddSource(name.clone(), Box::new(handle), reply))?;
        self.sources.write().insert(name, known);
        Ok(())
    }

    /// Removes a source; the caller has removed its views.
    ///
    /// # Errors
    /// `Input` if there is none of that name.
    pub fn drop_source(&self, name: &str) -> Result<()> {
        if self.sources.write().remove(name).is_none() {
            return Err(Error::input(format!("source \"{name}\" does not exist")));
        }
        self.ask(|reply| Command::RemoveSource(name.to_owned(), reply))
    }

    /// Adds a view, or puts it in its namesake's place in one tick. Returns when the view holds everything its sources
    /// have consumed and the views it reads hold; `cancelled` is asked now and then meanwhile.
    ///
    /// # Errors
    /// `Unsupported` for a plan that cannot be executed, `Unavailable` if a broker is away, `Cancelled`, and the view's
    /// own first failure.
    pub fn create_view(&self, name: &str, dataflow: &Dataflow, cancelled: &dyn Fn() -> bool) -> Result<()> {
        self.stage_view(name, dataflow, cancelled)?.show()
    }

    /// Builds a view as [`create_view`](Self::create_view) does, but unseen: it goes along with the others until it is
    /// shown or dropped.
    ///
    /// # Errors
    /// As for [`create_view`](Self::create_view).
    pub fn stage_view(&self, name: &str, dataflow: &Dataflow, cancelled: &dyn Fn() -> bool) -> Result<StagedView> {
        let mut view = RunningView::try_new(dataflow, &self.config)?;
        let _building = self.buildings.begin(name, &view.progress);
        let used = self.used_columns(dataflow)?;
        let names: Vec<String> = dataflow.inputs.keys().cloned().collect();
        let mut backfills: Vec<Backfill> = Vec::new();
        let mut opened = BTreeMap::new();
        let relations: Vec<String> = dataflow.relations.iter().cloned().collect();
        let pin = self.ask(|reply| Command::Pin(relations, names.clone(), reply))?;
        for (source, position) in &pin.positions {
            let (source, known) = (source.clone(), self.known(source)?);
            match position {
                Some(position) => backfills.push(self.backfill(&known, &used[&source], position)?),
                None => {
                    let start = self.start_still_kept(&source, &known)?;
                    opened.insert(source, known.definition.opener.open(&start)?);
                }
            }
        }
        for backfill in &backfills {
            if let Some(Some(position)) = pin.positions.get(backfill.source()) {
                backfill.note_progress(position, &view);
            }
        }
        self.catch_up(&pin, &mut backfills, &mut view, cancelled)?;
        self.approach(&names, &mut backfills, &mut view, &pin, cancelled)?;
        let given_up = Arc::new(AtomicBool::new(false));
        let cancel = given_up.clone();
        let new =
            NewView { name: name.to_owned(), view, used, backfills, changes: pin.changes, opened, cancelled: cancel };
        let commands = self.commands.lock().clone();
        let (reply, answer) = sync_channel(1);
        let stopped = || Error::unavailable("the engine has stopped");
        commands.send(Command::StageView(Box::new(new), reply)).map_err(|_| stopped())?;
        let staged = StagedView { name: name.to_owned(), commands, done: false };
        loop {
            match answer.recv_timeout(CANCEL_LOOK) {
                Ok(Ok(())) => return Ok(staged),
                Ok(Err(error)) => return Err(staged.failed(error)),
                Err(RecvTimeoutError::Disconnected) => return Err(staged.failed(stopped())),
                Err(RecvTimeoutError::Timeout) if cancelled() => given_up.store(true, Ordering::Release),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Stages a view that has failed already: one that was there before a restart, and takes more memory than it may. It has no
    /// rows, reads nothing and says why.
    ///
    /// # Errors
    /// `Unsupported` for a plan that cannot be executed, `Unavailable` if the engine has stopped.
    pub fn stage_failed_view(&self, name: &str, dataflow: &Dataflow, cause: String) -> Result<StagedView> {
        let mut view = RunningView::try_new(dataflow, &self.config)?;
        view.fail(cause);
        let (used, backfills, opened) = Default::default();
        let cancelled = Arc::new(AtomicBool::new(false));
        let new = NewView { name: name.to_owned(), view, used, backfills, changes: None, opened, cancelled };
        self.ask(|reply| Command::StageView(Box::new(new), reply))?;
        Ok(StagedView { name: name.to_owned(), commands: self.commands.lock().clone(), done: false })
    }

    /// Brings back a view that the engine before had, with its state; false if there is no such state, or what the view
    /// reads is not as it was: then it has to be built again, after [`begin`](Self::begin).
    ///
    /// # Errors
    /// `Data` naming a file that is missing or damaged; as for [`create_view`](Self::create_view).
    pub fn restore_view(&self, name: &str, dataflow: &Dataflow) -> Result<bool> {
        let Some(recovered) = self.recovered.read().clone() else { return Ok(false) };
        let part = recovered.part(PartKind::View, dataflow.id).filter(|_| dataflow.id != 0);
        let Some(part) = part.filter(|part| part.fingerprint == dataflow.fingerprint()) else { return Ok(false) };
        let mut view = RunningView::try_new(dataflow, &self.config)?;
        saving::restore_view(&recovered, part, &mut view)?;
        let used = self.used_columns(dataflow)?;
        self.ask(|reply| Command::RestoreView(name.to_owned(), Box::new(view), used, reply))
    }

    /// All that comes back with its state is there: sources are read on, and ticks begin. Without a storage nothing happens.
    ///
    /// # Errors
    /// `Unavailable` if a source cannot be read now; this may be tried again.
    pub fn begin(&self) -> Result<()> {
        if self.recovered.read().is_none() {
            return Ok(());
        }
        self.ask(Command::Begin)?;
        *self.recovered.write() = None;
        Ok(())
    }

    /// Writes a checkpoint of a tick not before the newest one now.
    ///
    /// # Errors
    /// `Conflict` without a storage, `Unavailable` if it cannot be written, `Fenced`.
    pub fn checkpoint(&self) -> Result<Written> {
        self.ask(Command::Checkpoint)
    }

    /// How checkpoints and the log stand.
    pub fn durability(&self) -> &Arc<DurabilityStatus> {
        &self.durability
    }

    /// How far the views are that are being built, in the order they began.
    pub fn buildings(&self) -> Vec<Report> {
        self.buildings.reports()
    }

    /// Where a source that nobody has read yet begins: what its log dropped since it was created is not missed.
    fn start_still_kept(&self, name: &str, known: &Known) -> Result<Offsets> {
        let mut start = known.start.clone();
        for (partition, (low, _)) in known.definition.opener.bounds()? {
            start.entry(partition).and_modify(|start| *start = (*start).max(low));
        }
        if let Some(known) = self.sources.write().get_mut(name) {
            known.start.clone_from(&start);
        }
        Ok(start)
    }

    fn backfill(&self, known: &Known, used: &UsedColumns, position: &Position) -> Result<Backfill> {
        let SourceDefinition { name, spec, factory, opener, .. } = &known.definition;
        let mut spec = spec.clone();
        spec.set_used(used)?;
        Backfill::new(name, opener.clone(), spec, factory.clone(), known.start.clone(), position)
    }

    /// Brings a view over maintained relations to the tick at which they were pinned.
    fn catch_up(
        &self,
        pin: &Pin,
        backfills: &mut [Backfill],
        view: &mut RunningView,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<()> {
        let Some(changes) = &pin.changes else { return Ok(()) };
        pin.feed(view, cancelled)?;
        for backfill in backfills.iter_mut() {
            if let Some(Some(position)) = pin.positions.get(backfill.source()) {
                backfill.run(position, view, (&pin.template, Clocked::Yes), SILENCE_MAX, cancelled)?;
            }
        }
        // Without sources, changes can go in as they are; with them, only those up to the cut the sources are read to.
        let mut approaches = 0;
        while backfills.is_empty() && approaches < APPROACHES_MAX && changes.lock().rows() > RELATION_ROWS_MAX {
            let deltas = changes.lock().hand_out()?;
            pin::feed(view, &pin.template, deltas)?;
            approaches += 1;
        }
        Ok(())
    }

    /// Runs backfills until what is left is little enough for the tick thread, which does it while all views wait.
    fn approach(
        &self,
        names: &[String],
        backfills: &mut [Backfill],
        view: &mut RunningView,
        pin: &Pin,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<()> {
        let clocked = if pin.changes.is_some() { Clocked::No } else { Clocked::Yes };
        let (mut approaches, mut waits_since) = (0, None);
        loop {
            let positions = self.positions(names)?;
            let template = self.template()?;
            let (mut most, mut unsettled) = (0, false);
            for backfill in backfills.iter_mut() {
                let Some(Some(position)) = positions.get(backfill.source()) else { continue };
                let behind = backfill.behind(position);
                most = most.max(behind);
                if behind > JOIN_RECORDS_MAX || backfill.is_unread() {
                    backfill.run(position, view, (&template, clocked), SILENCE_MAX, cancelled)?;
                }
                unsettled |= !backfill.is_unread() && !backfill.is_settled(position);
            }
            if cancelled() {
                return Err(Error::new(ErrorKind::Cancelled, "the view's creation was cancelled"));
            }
            if unsettled && waits_since.get_or_insert_with(Instant::now).elapsed() < SETTLE_PATIENCE {
                // The live reading is about to read what it has not, for it is told of new records.
                std::thread::sleep(SETTLE_LOOK);
                continue;
            }
            approaches += usize::from(most <= JOIN_RECORDS_MOST);
            if most <= JOIN_RECORDS_MAX || approaches > APPROACHES_MAX {
                return Ok(());
            }
        }
    }

    fn template(&self) -> Result<crate::dataflow::runtime::TickInput> {
        self.with_core(|core| core.input(Default::default()).unclocked())
    }

    /// The columns a dataflow uses of each source, by index.
    fn used_columns(&self, dataflow: &Dataflow) -> Result<BTreeMap<String, UsedColumns>> {
        let of_source = |(name, columns): (&String, &BTreeSet<String>)| {
            let spec = self.known(name)?.definition.spec;
            let declared = spec.decode.columns.iter().enumerate().filter(|(_, f)| columns.contains(f.name()));
            let included = spec.metadata.iter().enumerate().filter(|(_, column)| columns.contains(&column.name));
            let used = UsedColumns {
                columns: declared.map(|(index, _)| index).collect(),
                metadata: included.map(|(index, _)| index).collect(),
            };
            Ok((name.clone(), used))
        };
        dataflow.inputs.iter().map(of_source).collect()
    }

    fn known(&self, name: &str) -> Result<Known> {
        let known = self.sources.read().get(name).cloned();
        known.ok_or_else(|| Error::input(format!("source \"{name}\" does not exist")))
    }

    fn positions(&self, names: &[String]) -> Result<BTreeMap<String, Option<Position>>> {
        self.ask(|reply| Command::Positions(names.to_vec(), reply))
    }

    /// Gives a source, view or table another name, between two ticks. Those that read it go on; `fingerprints` are those that the
    /// plans of views have with the new name, by the views' names then: a restart plans them so. Snapshots have it under both names
    /// until [`forget_name`](Self::forget_name).
    ///
    /// # Errors
    /// `Unavailable` if the engine has stopped.
    pub fn rename(&self, from: &str, to: &str, fingerprints: Vec<(String, String)>) -> Result<()> {
        self.ask(|reply| Command::Rename(from.to_owned(), to.to_owned(), fingerprints, reply))?;
        let mut sources = self.sources.write();
        if let Some(mut known) = sources.get(from).cloned() {
            to.clone_into(&mut known.definition.name);
            to.clone_into(&mut known.definition.spec.source);
            sources.insert(to.to_owned(), known);
        }
        Ok(())
    }

    /// Nobody looks for what was renamed under its old name any more.
    ///
    /// # Errors
    /// `Unavailable` if the engine has stopped.
    pub fn forget_name(&self, name: &str) -> Result<()> {
        self.sources.write().remove(name);
        self.ask(|reply| Command::ForgetName(name.to_owned(), reply))
    }

    /// Removes a view.
    ///
    /// # Errors
    /// `Unavailable` if the engine has stopped.
    pub fn drop_view(&self, name: &str) -> Result<()> {
        self.ask(|reply| Command::RemoveView(name.to_owned(), reply))
    }

    /// Adds an empty table.
    ///
    /// # Errors
    /// `Unavailable` if the engine has stopped.
    pub fn add_table(&self, name: &str, table: RunningTable) -> Result<()> {
        self.ask(|reply| Command::AddTable(name.to_owned(), Box::new(table), reply))
    }

    /// Removes a table; the caller has removed the views that read it.
    ///
    /// # Errors
    /// `Unavailable` if the engine has stopped.
    pub fn drop_table(&self, name: &str) -> Result<()> {
        self.ask(|reply| Command::RemoveTable(name.to_owned(), reply))
    }

    /// Indexes a view or table by these columns and no others, each list by places in its schema. The rows there are get sorted beside
    /// the ticks. Of a view that is staged and one that it replaces, the staged one is meant.
    ///
    /// # Errors
    /// `Conflict` if there is no such relation; `Data` if a column cannot be sorted.
    pub fn set_indexes(&self, relation: &str, indexes: Vec<Vec<usize>>) -> Result<()> {
        let name = relation.to_owned();
        let rows = self.with_core(move |core| core.maintained(&name).map(|(rows, _)| rows))?;
        let rows = rows.ok_or_else(|| Error::conflict(format!("relation \"{relation}\" was dropped")))?;
        let built = rows.build_indexes(&indexes)?;
        self.ask(|reply| Command::SetIndexes(relation.to_owned(), indexes, built, reply))
    }

    /// Changes the rows of tables, each named once, all in one tick or not at all. Returns when that tick is published.
    ///
    /// # Errors
    /// See [`WriteError`], with the table's place among the changes; after an error nothing has changed.
    pub fn write(&self, changes: Vec<(String, Vec<Delta>)>) -> std::result::Result<(), (usize, WriteError)> {
        let (reply, answer) = sync_channel(1);
        let stopped = || (0, WriteError::Failed(Error::unavailable("the engine has stopped")));
        let write = Write { changes, reply };
        self.commands.lock().send(Command::Write(write)).map_err(|_| stopped())?;
        answer.recv().map_err(|_| stopped())?
    }

    /// Runs `ask` on the tick thread between two ticks and returns its answer.
    ///
    /// # Errors
    /// `Unavailable` if the engine has stopped.
    pub fn with_core<T: Send + 'static>(&self, ask: impl FnOnce(&Core) -> T + Send + 'static) -> Result<T> {
        self.ask(|reply| Command::Ask(Box::new(move |core| _ = reply.send(Ok(ask(core))))))
    }

    fn ask<T>(&self, command: impl FnOnce(SyncSender<Result<T>>) -> Command) -> Result<T> {
        let (reply, answer) = sync_channel(1);
        let stopped = || Error::unavailable("the engine has stopped");
        self.commands.lock().send(command(reply)).map_err(|_| stopped())?;
        answer.recv().map_err(|_| stopped())?
    }

    /// The newest snapshot: all views at one tick.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.store.newest()
    }

    /// The snapshot of a tick that is still kept, with those of its views that have not been replaced since.
    ///
    /// # Errors
    /// `Input` if the tick is not kept, or has not come yet; the message names the ticks that are.
    pub fn snapshot_at(&self, tick: TickId) -> Result<Arc<Snapshot>> {
        self.history.at(tick)
    }

    /// Follows a view.
    ///
    /// # Errors
    /// `Input` if there is no such view, or not at that tick; as for [`snapshot_at`](Self::snapshot_at).
    pub fn subscribe(&self, view: &str, span: Span) -> Result<Subscription> {
        self.ask(|reply| Command::Subscribe(view.to_owned(), span, reply))
    }

    /// Follows the answer of a query: a view of it that nobody has named, and that goes with the subscription.
    ///
    /// # Errors
    /// As for [`create_view`](Self::create_view) and [`subscribe`](Self::subscribe); `Unsupported` for a query over sources
    /// from an earlier tick on.
    pub fn subscribe_query(
        &self,
        dataflow: &Dataflow,
        span: Span,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Subscription> {
        let name = temporary::name_of(self.temporaries.fetch_add(1, Ordering::Relaxed));
        let temporary = |name: String| TemporaryView::new(name, self.commands.lock().clone());
        let Some(tick) = span.from else {
            self.stage_view(&name, dataflow, cancelled)?.show()?;
            let view = temporary(name);
            return Ok(self.subscribe(view.name(), span)?.holding(view));
        };
        if let Some(source) = dataflow.inputs.keys().next() {
            let message = format!("a query over a source (\"{source}\") cannot be followed from an earlier tick on");
            return Err(Error::unsupported(message));
        }
        let view = RunningView::try_new(dataflow, &self.config)?;
        let _building = self.buildings.begin(&name, &view.progress);
        let replay = Replay::begin(view, &self.history, tick, &self.template()?, cancelled)?;
        let followed = self.ask(|reply| Command::FollowReplay(name.clone(), Box::new(replay), span, reply))?;
        Ok(followed.holding(temporary(name)))
    }

    /// How long ticks can be read after they were published.
    pub fn history_retention(&self) -> Retention {
        self.history.retention()
    }

    /// Keeps ticks this long from now on; what is kept no longer is gone at once.
    pub fn set_history_retention(&self, retention: Retention) {
        self.history.set_retention(retention);
    }

    /// The rows of a source that views had at `snapshot`, read from its log again. It is read only when it is scanned.
    ///
    /// # Errors
    /// `Input` if there is no such source, or nothing reads it.
    pub fn accepted_rows(&self, name: &str, snapshot: &Snapshot) -> Result<TopicTable> {
        let Known { definition, start } = self.known(name)?;
        let position = self.positions(&[name.to_owned()])?.remove(name).flatten();
        let unread = || Error::input(format!("source \"{name}\" is not being read"));
        let position = position.ok_or_else(unread)?;
        let reading = snapshot.source(name).ok_or_else(unread)?;
        let cut = Cut {
            offsets: reading.partitions.iter().map(|(number, read)| (*number, read.next_offset)).collect(),
            counts: reading.partitions.iter().map(|(number, read)| (*number, read.counts)).collect(),
            exclusions: position.exclusions,
        };
        let SourceDefinition { spec, factory, opener, .. } = definition;
        Ok(TopicTable::at_cut(spec, factory, opener, start, cut))
    }

    /// Where snapshots are published: to wait for one, or to list the last ticks.
    pub fn store(&self) -> &Arc<SnapshotStore> {
        &self.store
    }

    /// What a source is doing; `None` before its first view.
    pub fn source_status(&self, name: &str) -> Option<SourceStatus> {
        let reader = self.readers.read().get(name).cloned();
        reader.map(|reader| reader.status())
    }

    /// The definition of a source.
    pub fn source(&self, name: &str) -> Option<SourceDefinition> {
        self.sources.read().get(name).map(|known| known.definition.clone())
    }

    /// Where reading of a source began.
    pub fn source_start(&self, name: &str) -> Option<Offsets> {
        self.sources.read().get(name).map(|known| known.start.clone())
    }

    /// The pace of ticks.
    pub fn tick_interval(&self) -> TickInterval {
        *self.interval.read()
    }

    /// Paces ticks anew, from the next on.
    ///
    /// # Errors
    /// `Unavailable` if the engine has stopped.
    pub fn set_tick_interval(&self, interval: TickInterval) -> Result<()> {
        let sent = self.commands.lock().send(Command::SetInterval(interval));
        sent.map_err(|_| Error::unavailable("the engine has stopped"))?;
        *self.interval.write() = interval;
        Ok(())
    }

    /// Waits until the views hold everything that was in their topics when this was called.
    ///
    /// # Errors
    /// `Unavailable` if a broker does not say where its topic ends, or if the engine stops.
    pub fn flush(&self, cancelled: &dyn Fn() -> bool) -> Result<()> {
        let reading: Vec<String> = self.readers.read().keys().cloned().collect();
        let mut ends = BTreeMap::new();
        for name in reading {
            let known = self.known(&name)?;
            // What lies before the source's own start is not waited for: it will never be read.
            let from = |partition: &i32, low: i64| known.start.get(partition).map_or(low, |start| low.max(*start));
            let bounds = known.definition.opener.bounds()?.into_iter();
            let bounds: BTreeMap<i32, (i64, i64)> = bounds.map(|(p, (low, end))| (p, (from(&p, low), end))).collect();
            ends.insert(name, bounds);
        }
        loop {
            let wanted = ends.clone();
            let reached = self.with_core(move |core| {
                wanted.iter().all(|(name, bounds)| {
                    let Some(source) = core.sources().get(name) else { return true };
                    bounds.iter().all(|(p, (start, end))| source.offsets.get(p).copied().unwrap_or(*start) >= *end)
                })
            })?;
            if reached {
                return Ok(());
            }
            for name in ends.keys() {
                if let Some(status) = self.source_status(name).filter(|status| status.state == ReaderState::Halted) {
                    let trouble = status.trouble.unwrap_or_else(|| "no reason is known".into());
                    return Err(Error::unavailable(format!("source \"{name}\" is halted: {trouble}")));
                }
            }
            if cancelled() {
                return Err(Error::new(ErrorKind::Cancelled, "the wait was cancelled"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops the tick thread and the readers, after the tick at hand.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        // Nobody receives any more if the thread has ended.
        let _ = self.commands.lock().send(Command::Stop);
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the tick thread panicked");
        }
        // Only now may another take over without a wait: nothing is written any more.
        *self.lease.lock() = None;
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}
