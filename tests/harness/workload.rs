//! A script of sources and materialized views at work all together, each view held against its batch answer.
//!
//! In: the text of `CREATE SOURCE` and `CREATE MATERIALIZED VIEW` statements, then records, tick by tick. What the planner
//! refuses is listed with its refusal, and the others run on. A view that emits on close has a column `window_end`, and
//! must hold the batch's rows of the windows that are over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::logical_expr::LogicalPlan;
use engine::dataflow::Dataflow;
use engine::dataflow::bound::PhysicalBound;
use engine::dataflow::execution::ExecutionConfig;
use engine::dataflow::state::PlanState;
use engine::tick::core::{Core, CoreConfig, RunningView};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use server::database::ingest_spec_of;
use sql::catalog::{Catalog, Definition, NewObject};
use sql::statement::{CreateSource, Emit, Statement};

use super::batch::{Batch, GrowingTable};
use super::case::{parallelism, unpanicked};
use super::run::{self, FIRST_TICK_MICROS, Reading};
use super::stream::Record;
use super::{accounting, compare};

/// A record and the source it is of.
pub type Produced = (&'static str, Record);

/// The text of a script in `tests/workloads`.
///
/// # Panics
/// If there is no such file.
pub fn script(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Views without a plan, each with the refusal.
    pub refused: BTreeMap<String, String>,
    /// Views that differed from their batch answer, failed, or could not be run as a batch; the first trouble of each.
    pub wrong: BTreeMap<String, String>,
    /// The most rows each view had at a tick that was compared.
    pub rows_max: BTreeMap<String, usize>,
    /// Each view's rows at the last tick that was compared.
    pub rows: BTreeMap<String, Vec<RecordBatch>>,
    /// Bytes of each view's operators at the end.
    pub state_bytes: BTreeMap<String, usize>,
    /// Each view's state at the end: bytes as they were reckoned from its plan for so many units, and as counted.
    pub reckoned: BTreeMap<String, (usize, usize)>,
    /// Records that were late, by source.
    pub late: BTreeMap<String, u64>,
    /// Ticks, and how many of them were compared.
    pub ticks: (usize, usize),
    /// Time spent in ticks, and in batch answers.
    pub spent: (Duration, Duration),
}

/// A view at work.
struct Running {
    name: String,
    dataflow: Dataflow,
    expected: LogicalPlan,
    /// The bound of `window_end` and its place, if it emits on close.
    end: Option<(PhysicalBound, usize)>,
}

/// A script at work.
pub struct Workload {
    core: Core,
    config: CoreConfig,
    readings: Vec<Reading>,
    batch: Batch,
    views: Vec<Running>,
    now_micros: i64,
    report: Report,
}

impl Workload {
    /// What each view's plan says it keeps, for the units there are; and what it keeps.
    fn reckoned(&self) -> Result<BTreeMap<String, (usize, usize)>, String> {
        let mut all = BTreeMap::new();
        for view in &self.views {
            let state = PlanState::of(&view.dataflow).map_err(text)?;
            let held = self.core.views()[&view.name].execution.held();
            let mut reckoned = 0;
            for operator in &state.operators {
                let held = held.iter().find(|(id, _)| *id == operator.id).map(|(_, held)| held.as_slice());
                let parts = operator.parts.iter().zip(held.unwrap_or_default());
                reckoned += parts.map(|(part, held)| part.estimate(*held)).sum::<usize>();
            }
            let counted = held.iter().flat_map(|(_, held)| held).map(|held| held.bytes).sum();
            all.insert(view.name.clone(), (reckoned, counted));
        }
        Ok(all)
    }

    /// Nothing read yet, every topic with so many partitions.
    ///
    /// # Errors
    /// A statement that is neither a source nor a view, or a bug.
    pub fn new(script: &str, partitions: i32, config: CoreConfig) -> Result<Self, String> {
        let (mut catalog, mut sources) = (Arc::new(Catalog::default()), Vec::<CreateSource>::new());
        let mut creates = Vec::new();
        for parsed in sql::parser::parse(script).map_err(text)? {
            match parsed.statement {
                Statement::CreateSource(create) => {
                    catalog = Arc::new(catalog.with(NewObject {
                        name: create.name.clone(),
                        text: parsed.text,
                        columns: create.columns.clone(),
                        definition: Definition::Source(Arc::new(create.as_ref().clone())),
                        reads: BTreeSet::new(),
                        properties: None,
                    }));
                    sources.push(*create);
                }
                Statement::CreateMaterializedView(create) => creates.push((*create, parsed.text)),
                _ => return Err(format!("neither a source nor a view: {}", parsed.text)),
            }
        }
        let mut report = Report::default();
        let mut planned = Vec::new();
        for (create, text) in creates {
            match run::plan(&catalog, &text) {
                Ok(plan) => planned.push((create, text, plan.dataflow)),
                Err(error) => _ = report.refused.insert(create.name, error.to_string()),
            }
        }
        let mut wanted = BTreeMap::<String, BTreeSet<String>>::new();
        for (_, _, dataflow) in &planned {
            for (source, columns) in &dataflow.inputs {
                wanted.entry(source.clone()).or_default().extend(columns.iter().cloned());
            }
        }
        let mut core = Core::new(config.clone());
        let mut readings = Vec::new();
        for source in &sources {
            core.add_source(&source.name, &ingest_spec_of(source).map_err(self::text)?);
            let wanted = wanted.remove(&source.name).unwrap_or_default();
            readings.push(Reading::new(source, &source.name, &wanted, partitions)?);
        }
        let tables = readings.iter().map(|reading| (reading.name.clone(), reading.table.clone()));
        let tables: BTreeMap<String, Arc<GrowingTable>> = tables.collect();
        let mut workload =
            Self { core, config, readings, batch: Batch::over(tables), views: Vec::new(), now_micros: 0, report };
        for (create, text, dataflow) in planned {
            workload.add(create.name, &text, create.emit, dataflow)?;
        }
        Ok(workload)
    }

    fn add(&mut self, name: String, create: &str, emit: Emit, dataflow: Dataflow) -> Result<(), String> {
        let expected = match self.batch.plan(create, self.core.tick_and_now().1) {
            Ok(expected) => expected,
            Err(error) => {
                self.report.wrong.insert(name, format!("as a batch: {error}"));
                return Ok(());
            }
        };
        let end = (emit == Emit::OnWindowClose).then(|| {
            let place = dataflow.schema.index_of("window_end").map_err(text)?;
            let bound = dataflow.bounds[place].as_ref().ok_or("window_end has no bound")?;
            Ok::<_, String>((PhysicalBound::try_new(bound).map_err(text)?, place))
        });
        let end = end.transpose().map_err(|e| format!("{name}: {e}"))?;
        self.core.add_view(&name, RunningView::try_new(&dataflow, &self.config).map_err(|e| format!("{name}: {e}"))?);
        self.views.push(Running { name, dataflow, expected, end });
        Ok(())
    }

    /// Consumes records and runs one tick over them.
    ///
    /// # Errors
    /// An offset not accounted for, or a bug. A view that fails is in the report.
    pub fn tick(&mut self, records: &[Produced]) -> Result<(), String> {
        let began = Instant::now();
        self.now_micros += FIRST_TICK_MICROS;
        let mut taken = BTreeMap::new();
        for reading in &mut self.readings {
            let own: Vec<_> =
                records.iter().filter(|(source, _)| *source == reading.name).map(|(_, record)| record).collect();
            let tick = reading.take(&own, self.now_micros, None)?;
            *self.report.late.entry(reading.name.clone()).or_default() += tick.total().late;
            taken.insert(reading.name.clone(), tick);
        }
        self.core.tick(self.now_micros, taken).map_err(text)?;
        for reading in &self.readings {
            accounting::check_sums(&self.core.sources()[&reading.name], &reading.next_offsets)?;
        }
        for (name, view) in self.core.views() {
            if let Some(error) = &view.failed {
                self.report.wrong.entry(name.clone()).or_insert_with(|| format!("failed: {error}"));
            }
        }
        self.report.ticks.0 += 1;
        self.report.spent.0 += began.elapsed();
        Ok(())
    }

    /// Holds every view against its batch answer.
    ///
    /// # Errors
    /// A bug. A difference is in the report.
    pub fn compare(&mut self) -> Result<(), String> {
        let began = Instant::now();
        for running in &self.views {
            if self.report.wrong.contains_key(&running.name) {
                continue;
            }
            let rows = self.rows(&running.name)?;
            let most = self.report.rows_max.entry(running.name.clone()).or_default();
            *most = rows.iter().map(RecordBatch::num_rows).sum::<usize>().max(*most);
            self.report.rows.insert(running.name.clone(), rows.clone());
            let compared = running.expected(&self.batch, &self.core).and_then(|all| compare::equal(&all, &rows));
            if let Err(error) = compared {
                self.report.wrong.insert(running.name.clone(), format!("tick {}: {error}", self.report.ticks.0));
            }
        }
        self.report.ticks.1 += 1;
        self.report.spent.1 += began.elapsed();
        Ok(())
    }

    fn rows(&self, view: &str) -> Result<Vec<RecordBatch>, String> {
        self.core.views()[view].view.snapshot().scan(None).collect::<Result<_, _>>().map_err(text)
    }

    /// Saves everything, builds each view anew at another parallelism, and restores it.
    ///
    /// # Errors
    /// A bug.
    pub fn restart(&mut self, config: CoreConfig) -> Result<(), String> {
        for Running { name, dataflow, .. } in &self.views {
            let old = self.core.remove_view(name).expect("added at the start");
            if old.failed.is_some() {
                self.core.add_view(name, old);
                continue;
            }
            let view = run::rebuilt(&old, dataflow, &config, self.core.tick_and_now().0);
            self.core.add_view(name, view.map_err(|error| format!("{name}: {error}"))?);
        }
        for reading in &mut self.readings {
            let state = reading.save();
            reading.restart(state).map_err(text)?;
        }
        self.config = config;
        Ok(())
    }
}

impl Running {
    fn expected(&self, batch: &Batch, core: &Core) -> Result<Vec<RecordBatch>, String> {
        let all = batch.answer(&self.expected)?;
        let Some((bound, place)) = &self.end else { return Ok(all) };
        let Some(closed) = bound.evaluate(&core.closing_watermarks()).map_err(text)? else { return Ok(Vec::new()) };
        let is_closed = |batch: RecordBatch| {
            let ends = batch.column(*place).as_primitive::<TimestampMicrosecondType>();
            let keep: BooleanArray = ends.iter().map(|end| end.map(|end| end < closed)).collect();
            filter_record_batch(&batch, &keep).map_err(text)
        };
        all.into_iter().map(is_closed).collect()
    }
}

/// How a workload is driven.
#[derive(Debug, Clone, Copy)]
pub struct Drive {
    /// Decides cuts, restarts and parallelism.
    pub seed: u64,
    /// Partitions of each topic.
    pub partitions: i32,
    /// How many ticks there are, about.
    pub ticks: usize,
    /// How many of them are compared, about; the last always is.
    pub compared: usize,
    /// Whether final state is dropped; if it is not said, now and then it is not.
    pub evict: Option<bool>,
}

impl Drive {
    /// Runs a script over records with random cuts and restarts.
    ///
    /// # Errors
    /// A bug in what is common to all views, or a panic. What is wrong with a view is in the report.
    pub fn run(self, script: &str, records: &[Produced]) -> Result<Report, String> {
        unpanicked(|| self.try_run(script, records))
    }

    fn try_run(self, script: &str, records: &[Produced]) -> Result<Report, String> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let config = self.config(&mut rng);
        let mut workload = Workload::new(script, self.partitions, config)?;
        let mut cuts: Vec<usize> = (1..self.ticks).map(|_| rng.random_range(0..=records.len())).collect();
        cuts.push(records.len());
        cuts.sort_unstable();
        let mut from = 0;
        for (index, cut) in cuts.iter().copied().enumerate() {
            let at = |e: String| format!("tick {} (records {from}..{cut}): {e}", index + 1);
            workload.tick(&records[from..cut]).map_err(at)?;
            if index + 1 == cuts.len() || rng.random_range(0..self.ticks.max(1)) < self.compared {
                workload.compare()?;
            }
            if rng.random_range(0..6) == 0 {
                workload
                    .restart(self.config(&mut rng))
                    .map_err(|e| format!("restart after tick {}: {e}", index + 1))?;
            }
            from = cut;
        }
        let bytes = |(name, view): (&String, &RunningView)| (name.clone(), view.execution.state_bytes());
        workload.report.state_bytes = workload.core.views().iter().map(bytes).collect();
        workload.report.reckoned = workload.reckoned()?;
        Ok(workload.report)
    }

    fn config(self, rng: &mut impl Rng) -> CoreConfig {
        let parallelism = parallelism(rng);
        let tasks = (parallelism > 1).then(tokio::runtime::Handle::current);
        let evict = rng.random_bool(0.8);
        CoreConfig {
            execution: ExecutionConfig { parallelism, tasks },
            evict: self.evict.unwrap_or(evict),
            ..CoreConfig::default()
        }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
