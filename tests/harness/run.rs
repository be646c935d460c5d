//! A view driven tick by tick, in this thread, with cuts and restarts as the caller chooses.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::SessionState;
use engine::dataflow::Dataflow;
use engine::dataflow::execution::SavedView;
use engine::delta::Delta;
use engine::ingest::{DecoderFactory, Ingest, IngestState, IngestedTick, UsedColumns};
use engine::source::{Headers, Offsets, PartitionStatus, RawRecord};
use engine::tick::core::{Core, CoreConfig, RunningView};
use engine::time::{TickId, Watermark};
use engine::view::MaterializedView;
use server::database::{decoder_factory, ingest_spec_of, plan_view};
use sql::catalog::{Catalog, Definition, NewObject};
use sql::statement::{CreateSource, Statement};

use super::accounting;
use super::batch::{Batch, GrowingTable};
use super::feed::Feed;
use super::keyed::LastRecords;
use super::sabotage::{Bug, Sabotage};
use super::stream::{RECORD_TIME_MILLIS, Record};

/// When the first tick is, and how long after it the next, µs.
pub const FIRST_TICK_MICROS: i64 = 1_000_000;

/// A source as views read it, and as the oracle does.
pub struct Reading {
    /// The source.
    pub name: String,
    ingest: Ingest,
    /// A second reading that materialises every column: what the oracle takes for the accepted rows.
    all: Ingest,
    /// Every row accepted so far; of a source with a key its rows.
    pub table: Arc<GrowingTable>,
    /// What its records come to, if they are changes of rows.
    keyed: Option<LastRecords>,
    factory: DecoderFactory,
    /// Where the log ends.
    pub next_offsets: Offsets,
    /// Whether a tick has read from it.
    has_begun: bool,
}

/// A view, its sources and the oracle beside it.
pub struct Run {
    core: Core,
    /// `s`, and `o` if the view reads it.
    readings: Vec<Reading>,
    batch: Batch,
    catalog: Arc<Catalog>,
    create: String,
    now_micros: i64,
    /// What is done to the view's plan, input, output and saved state to see whether the oracle notices.
    sabotage: Option<Sabotage>,
}

/// The catalog with both sources, and these.
pub fn catalog(feeds: [Feed; 2]) -> (Arc<Catalog>, [CreateSource; 2]) {
    let mut catalog = Catalog::default();
    let sources = [(0, "s"), (1, "o")].map(|(index, name)| {
        let text = feeds[index].create(name);
        let parsed = sql::parser::parse(&text).expect("a valid statement").remove(0);
        let Statement::CreateSource(create) = parsed.statement else { unreachable!("a CREATE SOURCE") };
        catalog = catalog.with(NewObject {
            name: create.name.clone(),
            text,
            columns: create.columns.clone(),
            definition: Definition::Source(Arc::new(create.as_ref().clone())),
            reads: Default::default(),
            properties: None,
        });
        *create
    });
    (Arc::new(catalog), sources)
}

/// The functions a view may call; made once.
pub fn state() -> &'static SessionState {
    static STATE: std::sync::OnceLock<SessionState> = std::sync::OnceLock::new();
    STATE.get_or_init(|| server::database::session_state().expect("functions that can be registered"))
}

/// Plans a CREATE MATERIALIZED VIEW text.
///
/// # Errors
/// What the planner refuses.
pub fn plan(catalog: &Arc<Catalog>, create: &str) -> Result<server::database::PlannedView, sql::SqlError> {
    let sql::statement::Parsed { statement, text, .. } = sql::parser::parse(create)?.remove(0);
    let Statement::CreateMaterializedView(create) = statement else {
        return Err(sql::SqlError::unsupported("not a CREATE MATERIALIZED VIEW"));
    };
    plan_view(state(), catalog, &create, &text)
}

impl Reading {
    /// Of the columns `wanted`, nothing read yet.
    ///
    /// # Errors
    /// A bug.
    pub fn new(create: &CreateSource, name: &str, wanted: &BTreeSet<String>, partitions: i32) -> Result<Self, String> {
        let spec = ingest_spec_of(create).map_err(text)?;
        let factory = decoder_factory(create).map_err(text)?;
        let mut used = spec.clone();
        let columns = used.decode.columns.iter().enumerate();
        let columns = columns.filter(|(_, field)| wanted.contains(field.name())).map(|(index, _)| index).collect();
        let metadata = spec.metadata.iter().enumerate().filter(|(_, included)| wanted.contains(&included.name));
        let metadata = metadata.map(|(index, _)| index).collect();
        used.set_used(&UsedColumns { columns, metadata }).map_err(text)?;
        let mut every = spec.clone();
        let columns = (0..every.decode.columns.len()).collect();
        let metadata = (0..every.metadata.len()).collect();
        every.set_used(&UsedColumns { columns, metadata }).map_err(text)?;
        let keyed = LastRecords::new(&spec, create.envelope);
        let table =
            GrowingTable::new(keyed.as_ref().map_or_else(|| every.output_schema(), |keyed| keyed.schema().clone()));
        let ingest = Ingest::new(used, factory.clone()).map_err(text)?;
        let all = Ingest::new(every, factory.clone()).map_err(text)?;
        let next_offsets = (0..partitions).map(|partition| (partition, 0)).collect();
        Ok(Self { name: name.to_owned(), ingest, all, table, keyed, factory, next_offsets, has_begun: false })
    }

    /// Consumes records.
    ///
    /// # Errors
    /// An offset not accounted for, or a bug.
    pub fn take(
        &mut self,
        records: &[&Record],
        now_micros: i64,
        sabotage: Option<&mut Sabotage>,
    ) -> Result<IngestedTick, String> {
        let before = self.next_offsets.clone();
        let mut raw = Vec::with_capacity(records.len());
        for record in records {
            let offset = self.next_offsets.entry(record.partition).or_default();
            // Before the first tick nobody knows where the partition begins.
            *offset += if !self.has_begun && *offset == 0 { 0 } else { record.skipped };
            raw.push(RawRecord {
                partition: record.partition,
                offset: *offset,
                timestamp_ms: Some(RECORD_TIME_MILLIS + record.time_shift),
                key: record.key.as_deref().map(str::as_bytes),
                payload: record.payload.as_deref().map(str::as_bytes),
                headers: Headers::default(),
            });
            *offset += 1;
        }
        self.has_begun = true;
        let end = |(partition, position): (&i32, &i64)| {
            (*partition, PartitionStatus { position: *position, end: Some(*position) })
        };
        let status: BTreeMap<_, _> = self.next_offsets.iter().map(end).collect();
        self.all.push(&raw).map_err(text)?;
        let all = self.all.take(now_micros, &status).map_err(text)?;
        self.ingest.push(&raw).map_err(text)?;
        let mut taken = self.ingest.take(now_micros, &status).map_err(text)?;
        if let Some(sabotage) = sabotage {
            sabotage.ingested(&mut taken);
        }
        accounting::check_tick(&taken, &raw, &before, &self.next_offsets, self.keyed.as_ref())?;
        let decided = |tick: &IngestedTick| (tick.counts.clone(), tick.watermark, tick.closing);
        if decided(&all) != decided(&taken) {
            let (all, used) = (decided(&all), decided(&taken));
            return Err(format!("what is accepted depends on the columns used: {used:?}, with every column {all:?}"));
        }
        match &mut self.keyed {
            None => self.table.append(all.batches),
            Some(keyed) => {
                keyed.absorb(&raw, &all.batches)?;
                self.table.replace([keyed.rows()?]);
            }
        }
        Ok(taken)
    }

    /// Goes on from what was saved.
    ///
    /// # Errors
    /// A bug.
    pub fn restart(&mut self, state: IngestState) -> engine::Result<()> {
        let spec = self.ingest.spec().clone();
        self.ingest = Ingest::restore(spec, self.factory.clone(), state)?;
        Ok(())
    }

    /// What has to be saved.
    pub fn save(&self) -> IngestState {
        self.ingest.save()
    }
}

impl Run {
    /// A view that has seen nothing, over one topic or two of so many partitions, all of them known from the start. With a
    /// `bug` everything but the oracle has it.
    ///
    /// # Errors
    /// What the planner refuses.
    pub fn new(
        create: &str,
        feeds: [Feed; 2],
        reads_other: bool,
        partitions: i32,
        config: CoreConfig,
        bug: Option<Bug>,
    ) -> Result<Self, String> {
        let (catalog, sources) = catalog(feeds);
        let mut sabotage = bug.map(Sabotage::new);
        let dataflow = plan_sabotaged(&catalog, create, sabotage.as_mut())?;
        let view = RunningView::try_new(&dataflow, &config).map_err(text)?;
        let mut core = Core::new(config);
        let mut readings = Vec::new();
        for (name, source) in ["s", "o"].into_iter().zip(&sources).take(1 + usize::from(reads_other)) {
            core.add_source(name, &ingest_spec_of(source).map_err(text)?);
            let wanted = dataflow.inputs.get(name).cloned().unwrap_or_default();
            readings.push(Reading::new(source, name, &wanted, partitions)?);
        }
        core.add_view("v", view);
        let tables = readings.iter().map(|reading| (reading.name.clone(), reading.table.clone()));
        let batch = Batch::over(tables.collect());
        Ok(Self { core, readings, batch, catalog, create: create.to_owned(), now_micros: 0, sabotage })
    }

    /// The oracle.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The watermark of `s` by which windows close, as of the last tick.
    pub fn closing(&self) -> Watermark {
        self.core.sources()["s"].closing
    }

    /// The time of the last tick, µs.
    pub fn now_micros(&self) -> i64 {
        self.now_micros
    }

    /// Keys of the view's operator state.
    pub fn state_keys(&self) -> usize {
        self.core.views()["v"].execution.state_keys()
    }

    /// Whether the bug, if there is one, changed anything so far.
    pub fn was_sabotaged(&self) -> bool {
        self.sabotage.as_ref().is_some_and(Sabotage::has_acted)
    }

    /// Consumes records and runs one tick over them at a time; returns the view's change.
    ///
    /// # Errors
    /// A failed view, an offset not accounted for, or a bug.
    pub fn tick(&mut self, now_micros: i64, records: &[Record]) -> Result<Vec<Delta>, String> {
        self.now_micros = now_micros;
        let mut taken = BTreeMap::new();
        for reading in &mut self.readings {
            let own: Vec<_> = records.iter().filter(|record| record.of_other == (reading.name == "o")).collect();
            let sabotage = self.sabotage.as_mut().filter(|_| reading.name == "s");
            taken.insert(reading.name.clone(), reading.take(&own, self.now_micros, sabotage)?);
        }
        let change = if self.sabotage.is_some() { self.tick_sabotaged(taken)? } else { self.tick_core(taken)? };
        for reading in &self.readings {
            accounting::check_sums(&self.core.sources()[&reading.name], &reading.next_offsets)?;
        }
        Ok(change)
    }

    fn tick_core(&mut self, taken: BTreeMap<String, IngestedTick>) -> Result<Vec<Delta>, String> {
        let outcome = self.core.tick(self.now_micros, taken).map_err(text)?;
        if let Some(error) = &self.core.views()["v"].failed {
            return Err(format!("the view failed: {error}"));
        }
        let own = outcome.changelogs.into_iter().find(|(name, _)| name == "v");
        Ok(own.map(|(_, deltas)| deltas).unwrap_or_default())
    }

    /// What [`Core::tick`] does, with hands on what goes into the view and what comes out of its plan.
    fn tick_sabotaged(&mut self, taken: BTreeMap<String, IngestedTick>) -> Result<Vec<Delta>, String> {
        let mut view = self.core.remove_view("v").expect("added at the start");
        let late = taken["s"].late.clone();
        let deltas = |tick: &IngestedTick| tick.batches.iter().cloned().map(Delta::inserts).collect::<Vec<_>>();
        let rows: HashMap<_, _> = taken.iter().map(|(name, tick)| (name.clone(), Arc::new(deltas(tick)))).collect();
        self.core.tick(self.now_micros, taken).map_err(text)?;
        let mut input = self.core.input(rows);
        let sabotage = self.sabotage.as_mut().expect("only a sabotaged run comes here");
        sabotage.input(&mut input, late.as_ref());
        let tick = input.tick;
        let failed = |e: engine::Error| format!("the view failed: {e}");
        let mut deltas = view.execution.step(Arc::new(input)).map_err(failed)?;
        sabotage.output(&mut deltas);
        let applied = view.view.apply(tick, deltas).map_err(failed)?;
        if let (Some(errors), Some(change)) = (&mut view.errors, view.execution.take_errors().map_err(failed)?) {
            errors.apply(tick, vec![change]).map_err(failed)?;
        }
        self.core.add_view("v", view);
        Ok(applied.changelog)
    }

    /// The view's rows.
    ///
    /// # Errors
    /// A bug.
    pub fn rows(&self) -> Result<Vec<RecordBatch>, String> {
        let snapshot = self.core.views()["v"].view.snapshot();
        snapshot.scan(None).collect::<Result<Vec<_>, _>>().map_err(text)
    }

    /// The rows left out of the view.
    ///
    /// # Errors
    /// A bug.
    pub fn errors(&self) -> Result<Vec<RecordBatch>, String> {
        errors_of(&self.core.views()["v"])
    }

    /// Saves everything, builds the view anew at another parallelism, and restores it.
    ///
    /// # Errors
    /// A bug.
    pub fn restart(&mut self, config: CoreConfig) -> Result<(), String> {
        let old = self.core.remove_view("v").expect("added at the start");
        let mut saved = old.execution.save().map_err(text)?;
        let mut rows = old.view.snapshot().scan(None).collect::<Result<Vec<_>, _>>().map_err(text)?;
        let mut states: Vec<_> = self.readings.iter().map(|reading| reading.ingest.save()).collect();
        let dataflow = plan_sabotaged(&self.catalog, &self.create, self.sabotage.as_mut())?;
        if let Some(sabotage) = &mut self.sabotage {
            sabotage.restart(&mut saved, &mut rows, &mut states[0], config.execution.parallelism);
        }
        let errors = errors_of(&old)?;
        let tick = self.core.tick_and_now().0;
        self.core.add_view("v", restored(&dataflow, &config, saved, rows, errors, tick)?);
        for (reading, state) in self.readings.iter_mut().zip(states) {
            reading.restart(state).map_err(text)?;
        }
        Ok(())
    }
}

/// A view made anew that goes on where `old` was.
///
/// # Errors
/// A bug.
pub fn rebuilt(
    old: &RunningView,
    dataflow: &Dataflow,
    config: &CoreConfig,
    tick: TickId,
) -> Result<RunningView, String> {
    let rows = old.view.snapshot().scan(None).collect::<Result<_, _>>().map_err(text)?;
    let saved = old.execution.save().map_err(text)?;
    restored(dataflow, config, saved, rows, errors_of(old)?, tick)
}

/// A view made anew with this state, these rows, and these that it left out.
fn restored(
    dataflow: &Dataflow,
    config: &CoreConfig,
    saved: SavedView,
    rows: Vec<RecordBatch>,
    errors: Vec<RecordBatch>,
    tick: TickId,
) -> Result<RunningView, String> {
    let inserts = |rows: Vec<RecordBatch>| rows.into_iter().map(Delta::inserts).collect();
    let mut view = RunningView::try_new(dataflow, config).map_err(text)?;
    view.execution.restore(saved, tick).map_err(text)?;
    view.view = MaterializedView::new(dataflow.schema.clone(), dataflow.append_only).map_err(text)?;
    view.view.apply(tick, inserts(rows)).map_err(text)?;
    if let Some(kept) = &mut view.errors {
        kept.apply(tick, inserts(errors)).map_err(text)?;
    }
    Ok(view)
}

/// The rows that a view left out.
///
/// # Errors
/// A bug.
pub fn errors_of(view: &RunningView) -> Result<Vec<RecordBatch>, String> {
    let rows = view.errors.as_ref().map(|errors| errors.snapshot().scan(None).collect::<Result<Vec<_>, _>>());
    rows.transpose().map_err(text).map(Option::unwrap_or_default)
}

fn plan_sabotaged(catalog: &Arc<Catalog>, create: &str, sabotage: Option<&mut Sabotage>) -> Result<Dataflow, String> {
    let planned = plan(catalog, create).map_err(|e| format!("{e} {:?}", e.detail))?;
    let mut dataflow = planned.dataflow;
    if let Some(sabotage) = sabotage {
        sabotage.plan(&mut dataflow).map_err(text)?;
    }
    Ok(dataflow)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
