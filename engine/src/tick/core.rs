//! One tick, start to end: step every view over the same input, apply the changes, publish one snapshot.
//!
//! A view that reads views comes after them: their consolidated change of the tick is its input in the same tick. A table's
//! is what statements wrote since the last tick.
//!
//! The core has no thread, clock or I/O; given the same ingested ticks it publishes the same snapshots. A view that
//! fails, by an error, a panic or its [`budget`], is marked FAILED and gives its operators' state back, and so do those that
//! read it; the tick goes on for the others. It keeps its last rows, unless they are over its budget.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::budget;
use super::building::Progress;
use super::recording::Recording;
use super::table::{RunningTable, WriteError};
use crate::dataflow::Dataflow;
use crate::dataflow::execution::{Execution, ExecutionConfig, SavedView};
use crate::dataflow::runtime::{RelationDelta, TickInput};
use crate::delta::Delta;
use crate::error::{Error, Result};
use crate::ingest::quarantine::{errors_schema, late_schema};
use crate::ingest::{Counts, IngestSpec, IngestedTick};
use crate::row_error::{errors_name, row_errors_schema};
use crate::time::{TickId, Watermark};
use crate::view::{
    BuiltIndexes, MaterializedView, PartitionReading, RingTable, Snapshot, SourceReading, ViewReading, ViewSnapshot,
};

/// How the core runs ticks.
#[derive(Debug, Clone)]
pub struct CoreConfig {
    /// How plans are executed.
    pub execution: ExecutionConfig,
    /// Whether operators drop final state. Answers do not depend on it.
    pub evict: bool,
    /// Rows that `<source>_errors` and `<source>_late` keep at most, each; older ones go, counts stay exact.
    pub quarantine_rows_max: usize,
    /// Bytes of rows that they keep at most, each.
    pub quarantine_bytes_max: usize,
}

impl Default for CoreConfig {
    fn default() -> Self {
        Self {
            execution: ExecutionConfig::default(),
            evict: true,
            quarantine_rows_max: 10_000,
            quarantine_bytes_max: 64 << 20,
        }
    }
}

/// One view between ticks: its plan, its operators and its rows.
#[derive(Debug)]
pub struct RunningView {
    /// The plan and its state.
    pub execution: Execution,
    /// The rows.
    pub view: MaterializedView,
    /// The rows that were left out because an expression failed on them; `None` where that fails the view.
    pub errors: Option<MaterializedView>,
    /// What the last tick changed of them, consolidated.
    errors_changelog: Vec<Delta>,
    /// The tick in which they last changed.
    pub(super) errors_changed: TickId,
    /// The sources whose event time it follows: those it reads, and those behind the views it reads.
    pub sources: Vec<String>,
    /// The maintained relations it reads.
    pub relations: Vec<String>,
    /// Why it stopped, if it did.
    pub failed: Option<String>,
    /// The tick in which it last changed.
    pub changed: TickId,
    /// Rows inserted and retracted since it was created.
    pub changes: u64,
    /// Bytes of its operators' state after the last tick.
    state_bytes: usize,
    /// Its number in the catalog; 0 if no checkpoint holds it.
    pub(super) id: u32,
    /// The plan that its state is of.
    pub(super) fingerprint: String,
    /// What these and the rows may take together.
    bytes_max: Option<usize>,
    /// What it has read before it joined.
    pub progress: Progress,
    /// Tells it from a view of the same name that it replaced; given when it joins. Its errors have the number after it.
    instance: u64,
}

impl RunningView {
    /// A view without input yet.
    ///
    /// # Errors
    /// `Unsupported` for a plan that cannot be executed.
    pub fn try_new(dataflow: &Dataflow, config: &CoreConfig) -> Result<Self> {
        Ok(Self {
            execution: Execution::try_new(dataflow, config.execution.clone())?,
            view: MaterializedView::new(dataflow.schema.clone(), dataflow.append_only)?
                .with_consolidated_changes(dataflow.consolidated),
            errors: dataflow.diagnose.map(|_| MaterializedView::new(row_errors_schema(), false)).transpose()?,
            errors_changelog: Vec::new(),
            errors_changed: TickId::default(),
            sources: dataflow.sources.iter().cloned().collect(),
            relations: dataflow.relations.iter().cloned().collect(),
            failed: None,
            changed: TickId::default(),
            changes: 0,
            state_bytes: 0,
            id: dataflow.id,
            fingerprint: if dataflow.id == 0 { String::new() } else { dataflow.fingerprint() },
            bytes_max: dataflow.state_bytes_max,
            progress: Progress::default(),
            instance: 0,
        })
    }

    /// Goes on reading a relation under another name.
    fn rename_relation(&mut self, from: &str, to: &str) {
        self.sources.iter_mut().chain(&mut self.relations).filter(|name| *name == from).for_each(|n| *n = to.into());
        self.execution.rename_relation(from, to);
    }

    /// Steps and applies one tick; returns the change of its rows, consolidated. A failed view stays as it is.
    pub fn tick(&mut self, input: &Arc<TickInput>) -> Vec<Delta> {
        if self.failed.is_some() {
            return Vec::new();
        }
        match self.try_tick(input) {
            Ok(changelog) if self.is_within_budget() => changelog,
            Ok(_) => Vec::new(),
            Err(error) => {
                self.fail(error.to_string());
                Vec::new()
            }
        }
    }

    /// Marks the view as failed; the first cause stays. It never steps again, so its operators' state goes.
    pub fn fail(&mut self, cause: String) {
        self.failed.get_or_insert(cause);
        self.execution.release();
        self.state_bytes = 0;
    }

    /// Counts what the view takes now, and fails it, and lets its rows go as well, if that is more than it may.
    fn is_within_budget(&mut self) -> bool {
        self.state_bytes = self.execution.state_bytes();
        let held = self.state_bytes + self.view.bytes() + self.errors.as_ref().map_or(0, MaterializedView::bytes);
        let Some(bytes_max) = self.bytes_max.filter(|bytes_max| held > *bytes_max) else { return true };
        self.fail(budget::exceeded(held, bytes_max));
        self.view.clear();
        self.errors.iter_mut().for_each(MaterializedView::clear);
        self.errors_changelog.clear();
        false
    }

    /// Why it failed, if it did.
    ///
    /// # Errors
    /// `Limit` if it took more memory than its budget, `Data` otherwise.
    pub fn check(&self) -> Result<()> {
        self.failed.as_deref().map_or(Ok(()), |cause| Err(budget::failure(cause)))
    }

    /// [`tick`](Self::tick), unless what it reads has failed.
    fn tick_after(&mut self, failed: Option<String>, input: &Arc<TickInput>) -> Vec<Delta> {
        if let Some(cause) = failed {
            self.fail(cause);
        }
        self.tick(input)
    }

    /// The view as a reader sees it; the last reading itself if nothing changed since.
    fn reading(&self, last: Option<&Arc<ViewReading>>, watermark: Watermark) -> Arc<ViewReading> {
        let same = |last: &&Arc<ViewReading>| {
            last.instance == self.instance
                && last.applied == self.changed
                && last.watermark == watermark
                && last.state_bytes == self.state_bytes
                && last.error == self.failed
                && Arc::ptr_eq(last.rows.indexes(), self.view.indexes())
        };
        last.filter(same).filter(|_| self.changed.0 > 0).cloned().unwrap_or_else(|| {
            Arc::new(ViewReading {
                instance: self.instance,
                rows: self.view.snapshot(),
                watermark,
                applied: self.changed,
                view_bytes: self.view.bytes(),
                state_bytes: self.state_bytes,
                held: self.execution.held().into_iter().map(|(id, held)| (id.0, held)).collect(),
                error: self.failed.clone(),
            })
        })
    }

    /// The errors as a reader sees them; the last reading itself if nothing changed since.
    fn errors_reading(&self, last: Option<&Arc<ViewReading>>, watermark: Watermark) -> Option<Arc<ViewReading>> {
        let errors = self.errors.as_ref()?;
        let instance = self.instance + 1;
        let same = |last: &&Arc<ViewReading>| {
            last.instance == instance
                && last.applied == self.errors_changed
                && last.watermark == watermark
                && last.error == self.failed
        };
        Some(last.filter(same).cloned().unwrap_or_else(|| {
            Arc::new(ViewReading {
                instance,
                rows: errors.snapshot(),
                watermark,
                applied: self.errors_changed,
                view_bytes: errors.bytes(),
                state_bytes: 0,
                held: vec![],
                error: self.failed.clone(),
            })
        }))
    }

    /// What the last tick changed of the errors, consolidated.
    pub fn take_errors_changelog(&mut self) -> Vec<Delta> {
        std::mem::take(&mut self.errors_changelog)
    }

    fn try_tick(&mut self, input: &Arc<TickInput>) -> Result<Vec<Delta>> {
        // The operators may be left half-way by a panic; a failed view never steps again.
        let step = catch_unwind(AssertUnwindSafe(|| {
            let deltas = self.execution.step(input.clone())?;
            let errors = match (&mut self.errors, self.execution.take_errors()?) {
                (Some(errors), Some(change)) => Some(errors.apply(input.tick, vec![change])?),
                _ => None,
            };
            // Also in a quiet tick: the view tidies up a little.
            Ok((self.view.apply(input.tick, deltas)?, errors))
        }));
        let (applied, errors) = step.unwrap_or_else(|panic| Err(Error::internal(panic_message(&*panic))))?;
        if let Some(errors) = errors.filter(|errors| !errors.changelog.is_empty()) {
            self.errors_changed = input.tick;
            self.errors_changelog = errors.changelog;
        }
        if applied.inserted + applied.deleted > 0 {
            self.changed = input.tick;
            self.changes += applied.inserted + applied.deleted;
        }
        Ok(applied.changelog)
    }
}

/// Why a view cannot go on: the first of the relations it reads that has failed or is gone, found in the first of
/// `among` that has it. Tables do not fail.
fn failed_relation(
    view: &RunningView,
    among: &[&BTreeMap<String, RunningView>],
    tables: &BTreeMap<String, RunningTable>,
) -> Option<String> {
    let failure = |name: &String| match among.iter().find_map(|views| views.get(name)) {
        Some(read) => read.failed.as_ref().map(|cause| failure_of(name, cause)),
        None if tables.contains_key(name) => None,
        None => Some(format!("the materialized view \"{name}\" that it reads is gone")),
    };
    view.relations.iter().find_map(failure)
}

/// The failure of a view that reads one that failed. Of a chain of them the first cause is told, once.
fn failure_of(name: &str, cause: &str) -> String {
    const READS_FAILED: &str = "\" that it reads has failed: ";
    let root = cause.split_once(READS_FAILED).map_or(cause, |(_, root)| root);
    format!("the materialized view \"{name}{READS_FAILED}{root}")
}

fn dropped(table: &str) -> WriteError {
    WriteError::Conflict(Error::conflict(format!("table \"{table}\" was dropped")))
}

/// The views' names, each after those it reads.
fn in_order(views: &BTreeMap<String, RunningView>) -> Vec<String> {
    let (mut order, mut placed) = (Vec::with_capacity(views.len()), BTreeSet::new());
    for name in views.keys() {
        place(name, views, &mut order, &mut placed);
    }
    order
}

/// Nothing reads itself, so this ends.
fn place<'v>(
    name: &'v String,
    views: &'v BTreeMap<String, RunningView>,
    order: &mut Vec<String>,
    placed: &mut BTreeSet<&'v String>,
) {
    let Some(view) = views.get(name).filter(|_| placed.insert(name)) else { return };
    view.relations.iter().for_each(|read| place(read, views, order, placed));
    order.push(name.clone());
}

/// Rows inserted and retracted.
fn total_weight(delta: &Delta) -> u64 {
    (0..delta.num_rows()).map(|row| delta.weight(row).unsigned_abs()).sum()
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref::<String>().cloned());
    format!("an operator panicked: {}", text.unwrap_or_default())
}

/// One source between ticks: what it consumed, and the rows that were not accepted.
#[derive(Debug)]
pub struct SourceTables {
    /// `<source>_errors`.
    pub errors: RingTable,
    /// `<source>_late`.
    pub late: RingTable,
    /// Its watermark as of the last tick.
    pub watermark: Watermark,
    /// The watermark by which its windows close, as of the last tick.
    pub closing: Watermark,
    /// Next offset of every partition as of the last tick.
    pub offsets: BTreeMap<i32, i64>,
    /// What became of every offset consumed so far, by partition.
    pub counts: BTreeMap<i32, Counts>,
}

impl SourceTables {
    /// Nothing consumed yet.
    pub fn new(spec: &IngestSpec, rows_max: usize, bytes_max: usize) -> Self {
        Self {
            errors: RingTable::new(errors_schema(), rows_max, bytes_max),
            late: RingTable::new(late_schema(&spec.decode.columns), rows_max, bytes_max),
            watermark: Watermark::NONE,
            closing: Watermark::NONE,
            offsets: BTreeMap::new(),
            counts: BTreeMap::new(),
        }
    }

    fn reading(&self, partition: impl Fn(i32) -> Option<(Watermark, bool)>) -> SourceReading {
        let read = |(number, next_offset): (&i32, &i64)| {
            let (watermark, idle) = partition(*number).unwrap_or_default();
            let counts = self.counts.get(number).copied().unwrap_or_default();
            (*number, PartitionReading { next_offset: *next_offset, watermark, idle, counts })
        };
        SourceReading {
            partitions: self.offsets.iter().map(read).collect(),
            watermark: self.watermark,
            closing: self.closing,
            errors: Some(self.errors.snapshot()),
            late: Some(self.late.snapshot()),
        }
    }

    fn absorb(&mut self, ingested: &IngestedTick) -> Result<()> {
        (self.watermark, self.closing) = (ingested.watermark, ingested.closing);
        self.offsets.extend(ingested.offsets.iter().map(|(partition, (_, to))| (*partition, *to)));
        for (partition, counts) in &ingested.counts {
            *self.counts.entry(*partition).or_default() += *counts;
        }
        // Last: what cannot be kept is counted all the same.
        if let Some(errors) = &ingested.errors {
            self.errors.append(errors)?;
        }
        if let Some(late) = &ingested.late {
            self.late.append(late)?;
        }
        Ok(())
    }
}

/// What a tick did.
#[derive(Debug, Default)]
pub struct TickOutcome {
    /// The tick.
    pub tick: TickId,
    /// Each changed view's change, as [`Applied::changelog`](crate::view::Applied::changelog) has it.
    pub changelogs: Vec<(String, Vec<Delta>)>,
    /// Accepted rows.
    pub rows: u64,
    /// Rows of views inserted or retracted.
    pub changed: u64,
    /// Time spent in plans and views.
    pub compute: Duration,
}

/// All sources' tables and all views, between ticks.
#[derive(Debug)]
pub struct Core {
    config: CoreConfig,
    tick: TickId,
    now_micros: i64,
    sources: BTreeMap<String, SourceTables>,
    views: BTreeMap<String, RunningView>,
    tables: BTreeMap<String, RunningTable>,
    /// Views that go along but are not seen yet. What they read is found among them first.
    staged: BTreeMap<String, RunningView>,
    /// The views' names, each after what it reads; and those of `staged`.
    order: Vec<String>,
    staged_order: Vec<String>,
    /// Who keeps the changes of relations: new views that have not joined yet.
    recordings: Vec<Weak<Mutex<Recording>>>,
    /// Names that are no more, but can still be read, and what they became.
    old_names: BTreeMap<String, String>,
    instances: u64,
}

impl Core {
    /// Tick 0: nothing.
    pub fn new(config: CoreConfig) -> Self {
        Self {
            config,
            tick: TickId::default(),
            now_micros: 0,
            sources: BTreeMap::new(),
            views: BTreeMap::new(),
            tables: BTreeMap::new(),
            staged: BTreeMap::new(),
            order: Vec::new(),
            staged_order: Vec::new(),
            recordings: Vec::new(),
            old_names: BTreeMap::new(),
            instances: 0,
        }
    }

    /// How ticks are run.
    pub fn config(&self) -> &CoreConfig {
        &self.config
    }

    /// The last tick, and its time in µs.
    pub fn tick_and_now(&self) -> (TickId, i64) {
        (self.tick, self.now_micros)
    }

    /// The next time at which a tick changes a view though nothing comes in.
    pub fn due_micros(&self) -> Option<i64> {
        let running = self.views.values().chain(self.staged.values()).filter(|view| view.failed.is_none());
        running.filter_map(|view| view.execution.due_micros()).min()
    }

    /// The tables by name.
    pub fn tables(&self) -> &BTreeMap<String, RunningTable> {
        &self.tables
    }

    /// Goes on after `tick`, of this time in µs: the next one is the one after it.
    pub(super) fn resume(&mut self, tick: TickId, now_micros: i64) {
        (self.tick, self.now_micros) = (tick, now_micros);
    }

    /// A source, to be brought to where it was.
    pub(super) fn source_mut(&mut self, name: &str) -> Option<&mut SourceTables> {
        self.sources.get_mut(name)
    }

    /// The sources by name.
    pub fn sources(&self) -> &BTreeMap<String, SourceTables> {
        &self.sources
    }

    /// The views by name.
    pub fn views(&self) -> &BTreeMap<String, RunningView> {
        &self.views
    }

    /// Adds a source that has consumed nothing, or lets one begin anew.
    pub fn add_source(&mut self, name: &str, spec: &IngestSpec) {
        let CoreConfig { quarantine_rows_max, quarantine_bytes_max, .. } = self.config;
        let tables = SourceTables::new(spec, quarantine_rows_max, quarantine_bytes_max);
        self.sources.insert(name.to_owned(), tables);
    }

    /// Removes a source; its views must be gone.
    pub fn remove_source(&mut self, name: &str) {
        self.sources.remove(name);
    }

    /// Adds a view that has consumed exactly what its sources have, and the rows of the views it reads as they are.
    pub fn add_view(&mut self, name: &str, mut view: RunningView) {
        view.instance = self.instances + 1;
        self.instances += 2;
        // What it left out before it joined is not the change of a tick.
        view.errors_changelog.clear();
        self.views.insert(name.to_owned(), view);
        self.order = in_order(&self.views);
    }

    /// As [`add_view`](Self::add_view), but nobody sees it before [`show_views`](Self::show_views).
    pub fn stage_view(&mut self, name: &str, view: RunningView) {
        self.staged.insert(name.to_owned(), view);
        self.staged_order = in_order(&self.staged);
    }

    /// Shows staged views, all at once, each in the place of its namesake if there is one. False, and nothing is shown, if
    /// one is not staged.
    pub fn show_views(&mut self, names: &[String]) -> bool {
        if !names.iter().all(|name| self.staged.contains_key(name)) {
            return false;
        }
        let replaced: Vec<&String> = names.iter().filter(|name| self.views.contains_key(*name)).collect();
        for name in replaced {
            self.fail_readers(name, &format!("materialized view \"{name}\" was replaced"));
        }
        for name in names {
            if let Some(view) = self.unstage_view(name) {
                self.add_view(name, view);
            }
        }
        true
    }

    /// Removes a staged view; its namesake stays.
    pub fn unstage_view(&mut self, name: &str) -> Option<RunningView> {
        let view = self.staged.remove(name);
        self.staged_order = in_order(&self.staged);
        view
    }

    /// Adds an empty table.
    pub fn add_table(&mut self, name: &str, mut table: RunningTable) {
        self.instances += 1;
        table.set_instance(self.instances);
        self.tables.insert(name.to_owned(), table);
    }

    /// Removes a table; those that read it must be gone.
    pub fn remove_table(&mut self, name: &str) {
        self.tables.remove(name);
    }

    /// Takes the changes of a statement or transaction into tables, each named once. They are seen with the next tick, which must
    /// be the next thing to come.
    ///
    /// # Errors
    /// See [`WriteError`], with the table's place among the changes; after an error nothing has changed.
    pub fn write(&mut self, changes: &[(String, Vec<Delta>)]) -> std::result::Result<(), (usize, WriteError)> {
        for (place, (table, change)) in changes.iter().enumerate() {
            let Err(error) = self.write_one(table, change) else { continue };
            for (table, change) in &changes[..place] {
                let back = change.iter().map(Delta::negated).collect::<Result<Vec<_>>>();
                let undone = back.map_err(WriteError::from).and_then(|back| self.write_one(table, &back));
                undone.map_err(|error| (place, error))?;
            }
            return Err((place, error));
        }
        Ok(())
    }

    fn write_one(&mut self, table: &str, change: &[Delta]) -> std::result::Result<(), WriteError> {
        let tick = self.tick.next();
        self.tables.get_mut(table).ok_or_else(|| dropped(table))?.write(tick, change)
    }

    /// Says whether a consolidated change would leave a table with a key twice.
    ///
    /// # Errors
    /// See [`RunningTable::check_keys`]; `Conflict` if the table is gone.
    pub fn check_keys(&self, table: &str, change: &Delta) -> std::result::Result<(), WriteError> {
        self.tables.get(table).ok_or_else(|| dropped(table))?.check_keys(change)
    }

    /// True if statements have written something since the last tick.
    pub fn is_written(&self) -> bool {
        self.tables.values().any(RunningTable::has_change)
    }

    /// Fails the views that read `name`, which is not what it was when they were built: temporary ones, for all others go or
    /// are replaced with what they read. Returns their names.
    pub fn fail_readers(&mut self, name: &str, cause: &str) -> Vec<String> {
        let reads = |view: &RunningView| view.relations.iter().chain(&view.sources).any(|read| read == name);
        let mut failed = Vec::new();
        for (reader, view) in self.views.iter_mut().filter(|(reader, view)| *reader != name && reads(view)) {
            view.fail(cause.to_owned());
            failed.push(reader.clone());
        }
        failed
    }

    /// Removes a view; those that read it must be gone.
    pub fn remove_view(&mut self, name: &str) -> Option<RunningView> {
        let view = self.views.remove(name);
        self.order = in_order(&self.views);
        view
    }

    /// Gives a source, view or table another name, for all that read it as well. Nothing may have that name. Snapshots have it
    /// under both until [`forget_name`](Self::forget_name).
    pub fn rename(&mut self, from: &str, to: &str) {
        if let Some(source) = self.sources.remove(from) {
            self.sources.insert(to.to_owned(), source);
        }
        if let Some(view) = self.views.remove(from) {
            self.views.insert(to.to_owned(), view);
        }
        if let Some(table) = self.tables.remove(from) {
            self.tables.insert(to.to_owned(), table);
        }
        self.views.values_mut().for_each(|view| view.rename_relation(from, to));
        self.order = in_order(&self.views);
        self.old_names.insert(from.to_owned(), to.to_owned());
    }

    /// The plans of these views have other fingerprints by now.
    pub(super) fn set_fingerprints(&mut self, fingerprints: Vec<(String, String)>) {
        for (name, fingerprint) in fingerprints {
            if let Some(view) = self.views.get_mut(&name) {
                view.fingerprint = fingerprint;
            }
        }
    }

    /// Nobody looks for what was renamed under its old name any more.
    pub fn forget_name(&mut self, name: &str) {
        self.old_names.remove(name);
    }

    /// The rows of a maintained relation as they are now, and why they stand still if they do. What is staged comes first.
    pub fn maintained(&self, name: &str) -> Option<(ViewSnapshot, Option<&String>)> {
        let view = self.staged.get(name).or_else(|| self.views.get(name));
        match view {
            Some(view) => Some((view.view.snapshot(), view.failed.as_ref())),
            None => self.tables.get(name).map(|table| (table.rows(), None)),
        }
    }

    /// Indexes a maintained relation by these columns and no others; what is staged comes first.
    ///
    /// # Errors
    /// `Conflict` if it is gone; as for [`MaterializedView::set_indexes`].
    pub fn set_indexes(&mut self, name: &str, indexes: &[Vec<usize>], built: &BuiltIndexes) -> Result<()> {
        let view = self.staged.get_mut(name).or_else(|| self.views.get_mut(name));
        match (view, self.tables.get_mut(name)) {
            (Some(view), _) => view.view.set_indexes(indexes, built),
            (None, Some(table)) => table.set_indexes(indexes, built),
            (None, None) => Err(Error::conflict(format!("relation \"{name}\" was dropped"))),
        }
    }

    /// Keeps the changes of these maintained relations from the next tick on, for as long as the recording is held.
    pub fn record(&mut self, relations: impl IntoIterator<Item = String>) -> Arc<Mutex<Recording>> {
        let recording = Arc::new(Mutex::new(Recording::new(relations)));
        self.recordings.push(Arc::downgrade(&recording));
        recording
    }

    /// The watermark of every source.
    pub fn watermarks(&self) -> HashMap<String, Watermark> {
        self.sources.iter().map(|(name, source)| (name.clone(), source.watermark)).collect()
    }

    /// By which windows close, of every source.
    pub fn closing_watermarks(&self) -> HashMap<String, Watermark> {
        self.sources.iter().map(|(name, source)| (name.clone(), source.closing)).collect()
    }

    /// Runs one tick over what the sources ingested. `now_micros` never goes back: an earlier time is taken as the last.
    ///
    /// # Errors
    /// `Internal` only; a view's failure is not an error of the tick.
    pub fn tick(&mut self, now_micros: i64, ingested: BTreeMap<String, IngestedTick>) -> Result<TickOutcome> {
        let started = Instant::now();
        self.tick = self.tick.next();
        self.now_micros = self.now_micros.max(now_micros);
        let mut outcome = TickOutcome { tick: self.tick, ..Default::default() };
        let mut deltas = HashMap::new();
        for (name, ingested) in ingested {
            let Some(source) = self.sources.get_mut(&name) else { continue };
            if let Err(error) = source.absorb(&ingested) {
                tracing::error!(source = %name, %error, "rows of errors or late rows could not be kept");
            }
            outcome.rows += ingested.total().accepted;
            deltas.insert(name, Arc::new(ingested.batches.into_iter().map(Delta::inserts).collect()));
        }
        for (name, table) in self.tables.iter_mut().filter(|(_, table)| table.has_change()) {
            let changelog = table.take_change()?;
            if changelog.is_empty() {
                continue;
            }
            outcome.changed += changelog.iter().map(total_weight).sum::<u64>();
            deltas.insert(name.clone(), Arc::new(changelog.clone()));
            outcome.changelogs.push((name.clone(), changelog));
        }
        let mut input = Arc::new(self.input(deltas));
        for name in &self.order {
            let failed = failed_relation(&self.views[name], &[&self.views], &self.tables);
            let Some(view) = self.views.get_mut(name) else { continue };
            let before = view.changes;
            let changelog = view.tick_after(failed, &input);
            let errors = view.take_errors_changelog();
            if !errors.is_empty() {
                outcome.changelogs.push((errors_name(name), errors));
            }
            if !changelog.is_empty() {
                outcome.changed += view.changes - before;
                let delta = Arc::new(changelog.clone());
                Arc::make_mut(&mut input).deltas.insert(name.clone(), delta);
                outcome.changelogs.push((name.clone(), changelog));
            }
        }
        for name in &self.staged_order {
            let failed = failed_relation(&self.staged[name], &[&self.staged, &self.views], &self.tables);
            let Some(view) = self.staged.get_mut(name) else { continue };
            let delta = Arc::new(view.tick_after(failed, &input));
            view.take_errors_changelog();
            // Its namesake's change is not for those that are to read this one: they come after it, staged as well.
            Arc::make_mut(&mut input).deltas.insert(name.clone(), delta);
        }
        self.record_changes(&input.deltas);
        outcome.changelogs.sort_by(|(a, _), (b, _)| a.cmp(b));
        outcome.compute = started.elapsed();
        Ok(outcome)
    }

    /// The input of the current tick over `deltas`.
    pub fn input(&self, deltas: HashMap<String, RelationDelta>) -> TickInput {
        TickInput {
            tick: self.tick,
            now_micros: self.now_micros,
            deltas,
            watermarks: self.watermarks(),
            closing: self.closing_watermarks(),
            evict: self.config.evict,
        }
    }

    fn record_changes(&mut self, deltas: &HashMap<String, RelationDelta>) {
        self.recordings.retain(|recording| recording.strong_count() > 0);
        for recording in self.recordings.iter().filter_map(Weak::upgrade) {
            let mut recording = recording.lock();
            let failed = |name: &String| {
                let view = self.staged.get(name).or_else(|| self.views.get(name));
                match view {
                    Some(view) => view.failed.clone(),
                    None => (!self.tables.contains_key(name)).then(|| "it is gone".to_owned()),
                }
            };
            recording.take(deltas, failed);
        }
    }

    /// Everything readable now. What did not change is shared with `last`, so the cost is that of the changes and of the
    /// number of views. `partition` adds what only the source's reader knows: its own watermark, and whether it is idle.
    pub fn snapshot(&self, last: &Snapshot, partition: impl Fn(&str, i32) -> Option<(Watermark, bool)>) -> Snapshot {
        let views = self.views.iter().map(|(name, view)| {
            let reading = view.reading(last.view(name), self.watermark_of(view));
            (name.clone(), reading)
        });
        let tables = self.tables.iter().map(|(name, table)| (name.clone(), table.reading(last.view(name))));
        let views = views.chain(tables);
        let sources = self
            .sources
            .iter()
            .map(|(name, source)| (name.clone(), Arc::new(source.reading(|number| partition(name, number)))));
        let errors = self.views.iter().filter_map(|(name, view)| {
            let name = errors_name(name);
            let reading = view.errors_reading(last.errors.get(&name), self.watermark_of(view))?;
            Some((name, reading))
        });
        let mut errors: HashMap<_, _> = errors.collect();
        let (mut views, mut sources): (HashMap<_, _>, HashMap<_, _>) = (views.collect(), sources.collect());
        for (old, new) in &self.old_names {
            let of_new = errors.get(&errors_name(new)).cloned();
            of_new.map(|reading| errors.insert(errors_name(old), reading));
            views.get(new).cloned().map(|view| views.insert(old.clone(), view));
            sources.get(new).cloned().map(|source| sources.insert(old.clone(), source));
        }
        Snapshot { tick: self.tick, now_micros: self.now_micros, views, errors, sources }
    }

    /// The least watermark of a view's sources.
    fn watermark_of(&self, view: &RunningView) -> Watermark {
        let watermarks =
            view.sources.iter().map(|name| self.sources.get(name).map_or(Watermark::NONE, |s| s.watermark));
        watermarks.min().unwrap_or_default()
    }

    /// Every running view's operator state, by view name.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn save(&self) -> Result<BTreeMap<String, SavedView>> {
        let running = self.views.iter().filter(|(_, view)| view.failed.is_none());
        running.map(|(name, view)| Ok((name.clone(), view.execution.save()?))).collect()
    }
}
