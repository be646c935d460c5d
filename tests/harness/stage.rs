//! Sources and views driven tick by tick for golden scripts, with checks that hold whatever the golden says.
//!
//! At every tick: each consumed offset is accounted for once, a view's changelogs add up to its rows, and a view
//! equals the batch answer, or the part of it that has closed. At the end: a second reading of the whole log, in one tick, with the
//! exclusions of the first, gives the same watermarks, counts and rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::compute::{filter_record_batch, or};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::execution::SessionState;
use engine::dataflow::bound::PhysicalBound;
use engine::delta::Delta;
use engine::ingest::{Counts, DecoderFactory, Ingest, IngestSpec, IngestedTick, UsedColumns};
use engine::row_error::{errors_name, row_errors_schema};
use engine::source::{Headers, PartitionStatus, RawRecord};
use engine::tick::core::{Core, CoreConfig, RunningView};
use engine::time::Watermark;
use engine::view::{changelog, consolidate};
use server::database::{PlannedView, decoder_factory, ingest_spec_of, plan_view, session_state};
use sql::catalog::{Catalog, Definition, NewObject};
use sql::statement::{CreateMaterializedView, CreateSource, Emit, Statement};

use super::batch::{Batch, GrowingTable};
use super::compare;
use super::keyed::LastRecords;
use super::run;
use super::script::DAY;

/// Noon of [`DAY`], µs: when the first tick is if it does not say.
const NOON_MICROS: i64 = 1_767_268_800_000_000;
const SECOND_MICROS: i64 = 1_000_000;

/// A line of a script's log: a record, or offsets without one.
#[derive(Debug, Clone, Default)]
pub struct OwnedRecord {
    /// The source.
    pub source: String,
    /// The partition.
    pub partition: i32,
    /// The record's own time, µs; the tick's if it does not say.
    pub time_micros: Option<i64>,
    /// Offsets without a record; then there is none.
    pub skip: i64,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
}

/// A record at its place.
#[derive(Debug)]
struct Logged {
    partition: i32,
    offset: i64,
    time_micros: i64,
    key: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
}

impl Logged {
    fn raw(&self) -> RawRecord<'_> {
        RawRecord {
            partition: self.partition,
            offset: self.offset,
            timestamp_ms: Some(self.time_micros / 1000),
            key: self.key.as_deref(),
            payload: self.payload.as_deref(),
            headers: Headers::default(),
        }
    }
}

struct Source {
    spec: IngestSpec,
    ingest: Ingest,
    /// A second reading with every column: what the batch answer takes for the accepted rows.
    every: Ingest,
    accepted: Arc<GrowingTable>,
    /// What its records come to, if they are changes of rows.
    keyed: Option<LastRecords>,
    factory: DecoderFactory,
    log: Vec<Logged>,
    next_offsets: BTreeMap<i32, i64>,
    counts: BTreeMap<i32, Counts>,
}

struct View {
    create: CreateMaterializedView,
    text: String,
    /// Its rows, for the batch answers of those that read it.
    rows: Arc<GrowingTable>,
    /// Of a view that emits on window close the columns that say when a row is final, with their bounds.
    closing: Vec<(usize, PhysicalBound)>,
    /// Rows as text with their weights: the sum of all changelogs.
    sum: BTreeMap<String, i64>,
    failed: bool,
}

/// See the module.
pub struct Stage {
    core: Core,
    catalog: Arc<Catalog>,
    sources: BTreeMap<String, Source>,
    views: BTreeMap<String, View>,
    /// The same sums of the views' errors, by the relation that shows them.
    errors: BTreeMap<String, BTreeMap<String, i64>>,
    /// The views' names, each after what it reads.
    order: Vec<String>,
    batch: Batch,
    now_micros: i64,
}

fn state() -> &'static SessionState {
    static STATE: std::sync::OnceLock<SessionState> = std::sync::OnceLock::new();
    STATE.get_or_init(|| session_state().expect("functions that can be registered"))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn config(parallelism: usize) -> CoreConfig {
    let mut config = CoreConfig::default();
    config.execution.parallelism = parallelism;
    config.execution.tasks = (parallelism > 1).then(tokio::runtime::Handle::current);
    config
}

impl Stage {
    /// Sources and views of these statements, one partition a source, nothing read.
    ///
    /// # Errors
    /// What parser or planner refuse.
    pub fn new(statements: &str) -> Result<Self, String> {
        let (mut catalog, mut specs, mut views) = (Arc::new(Catalog::default()), BTreeMap::new(), BTreeMap::new());
        let mut creates: BTreeMap<String, CreateSource> = BTreeMap::new();
        let mut order = Vec::new();
        for parsed in sql::parser::parse(statements).map_err(text)? {
            match parsed.statement {
                Statement::CreateSource(create) => {
                    specs.insert(create.name.clone(), ingest_spec_of(&create).map_err(text)?);
                    creates.insert(create.name.clone(), create.as_ref().clone());
                    catalog = Arc::new(catalog.with(NewObject {
                        name: create.name.clone(),
                        text: parsed.text,
                        columns: create.columns.clone(),
                        definition: Definition::Source(Arc::new(*create)),
                        reads: Default::default(),
                        properties: None,
                    }));
                }
                Statement::CreateMaterializedView(create) => {
                    let planned = plan(&catalog, &create, &parsed.text)?;
                    let closing = closing(&create, &planned)?;
                    catalog = Arc::new(catalog.with(NewObject {
                        name: create.name.clone(),
                        text: parsed.text.clone(),
                        columns: planned.columns,
                        definition: Definition::MaterializedView(Arc::new(create.as_ref().clone())),
                        reads: planned.reads,
                        properties: Some(Arc::new(planned.dataflow.properties())),
                    }));
                    let rows = GrowingTable::new(planned.dataflow.schema.clone());
                    let (name, text, sum, failed) = (create.name.clone(), parsed.text, BTreeMap::new(), false);
                    order.push(name.clone());
                    views.insert(name, View { create: *create, text, rows, closing, sum, failed });
                }
                _ => return Err("a script has only CREATE SOURCE and CREATE MATERIALIZED VIEW".into()),
            }
        }
        let mut core = Core::new(config(1));
        let mut used: BTreeMap<String, UsedColumns> = BTreeMap::new();
        for (name, view) in &views {
            let planned = view.plan(&catalog)?;
            add_used(&mut used, &planned, &specs);
            core.add_view(name, RunningView::try_new(&planned.dataflow, core.config()).map_err(text)?);
        }
        let mut sources = BTreeMap::new();
        for (name, spec) in specs {
            core.add_source(&name, &spec);
            let source = Source::new(&creates[&name], spec, used.get(&name).cloned().unwrap_or_default())?;
            sources.insert(name, source);
        }
        let tables = sources.iter().map(|(name, source)| (name.clone(), source.accepted.clone())).collect();
        let mut batch = Batch::over(tables).with_catalog(catalog.clone());
        views.iter().for_each(|(name, view)| batch.add(name, view.rows.clone()));
        let errors = BTreeMap::new();
        Ok(Self { core, catalog, sources, views, errors, order, batch, now_micros: NOON_MICROS })
    }

    /// Adds partitions up to `count`.
    ///
    /// # Errors
    /// If there is no such source.
    pub fn set_partitions(&mut self, source: &str, count: i32) -> Result<(), String> {
        let source = self.sources.get_mut(source).ok_or("no such source")?;
        (0..count).for_each(|partition| _ = source.next_offsets.entry(partition).or_default());
        Ok(())
    }

    /// Consumes records and runs one tick; returns what came out.
    ///
    /// # Errors
    /// A check that failed, or a bug.
    pub fn tick(
        &mut self,
        now_micros: Option<i64>,
        behind: &[i32],
        deaf: bool,
        records: &[OwnedRecord],
    ) -> Result<Vec<String>, String> {
        self.now_micros = now_micros.unwrap_or(self.now_micros + SECOND_MICROS);
        let logged: BTreeMap<String, usize> =
            self.sources.iter().map(|(name, source)| (name.clone(), source.log.len())).collect();
        for record in records {
            let source = self.sources.get_mut(&record.source).ok_or_else(|| format!("no source {}", record.source))?;
            source.append(record, self.now_micros)?;
        }
        let mut taken = BTreeMap::new();
        let mut lines = Vec::new();
        for (name, source) in &mut self.sources {
            let tick = source.read(logged[name], self.now_micros, behind, deaf)?;
            lines.push(describe_source(name, &source.ingest));
            lines.extend(describe_rejected(name, &tick)?);
            taken.insert(name.clone(), tick);
        }
        let outcome = self.core.tick(self.now_micros, taken).map_err(text)?;
        for (name, deltas) in &outcome.changelogs {
            let schema = match self.core.views().get(name) {
                Some(view) => view.view.schema().clone(),
                None => row_errors_schema(),
            };
            let delta = consolidate(&schema, deltas).map_err(text)?;
            lines.extend(self.changelog(name, &delta)?);
        }
        for (name, view) in self.core.views() {
            let known = self.views.get_mut(name).expect("every view is known");
            if let Some(message) = view.failed.as_ref().filter(|_| !known.failed) {
                known.failed = true;
                lines.push(format!("{name} failed: {message}"));
            }
        }
        self.check_views()?;
        Ok(lines)
    }

    fn changelog(&mut self, name: &str, delta: &Delta) -> Result<Vec<String>, String> {
        let rendered = changelog::render(delta).map_err(text)?;
        let sum = match self.views.get_mut(name) {
            Some(view) => &mut view.sum,
            None => self.errors.entry(name.to_owned()).or_default(),
        };
        for line in rendered.lines() {
            let (weight, row) = line.split_once(" | ").unwrap_or((line, ""));
            let weight: i64 = weight.parse().map_err(|_| format!("not a weight: {line}"))?;
            *sum.entry(row.to_owned()).or_default() += weight;
        }
        sum.retain(|_, weight| *weight != 0);
        Ok(rendered.lines().map(|line| format!("{name} {}", without_day(line))).collect())
    }

    /// Every view is the sum of its changelogs, and the batch answer over what it reads, be it sources or views; on window close
    /// that of the windows that have closed, if they can be told.
    fn check_views(&self) -> Result<(), String> {
        for name in &self.order {
            let (view, rows) = (&self.views[name], rows_of(&self.core, name)?);
            view.rows.replace(rows.clone());
            let found = counted(&rows)?;
            if found != view.sum {
                return Err(format!("{name}: its rows {found:?} are not the sum of its changelogs {:?}", view.sum));
            }
            let errors = counted(&run::errors_of(&self.core.views()[name])?)?;
            let changed = self.errors.get(&errors_name(name)).cloned().unwrap_or_default();
            if errors != changed {
                return Err(format!("{name}: its errors {errors:?} are not the sum of their changelogs {changed:?}"));
            }
            if (view.create.emit == Emit::OnUpdate || !view.closing.is_empty()) && !view.failed {
                let now = self.core.tick_and_now().1;
                let plan = match errors.is_empty() {
                    true => self.batch.plan(&view.create.query_text, now),
                    false => self.batch.plan_checked(&view.create.query_text, now),
                };
                let plan = plan.map_err(|e| format!("{name} as a batch: {e}"))?;
                let answer = self.batch.answer(&plan)?.into_iter().map(|batch| self.closed(view, batch));
                let answer = answer.collect::<Result<Vec<_>, _>>()?;
                compare::equal(&answer, &rows).map_err(|e| format!("{name} as a batch: {e}"))?;
            }
        }
        Ok(())
    }

    /// The rows that a view of these shows by now.
    fn closed(&self, view: &View, rows: RecordBatch) -> Result<RecordBatch, String> {
        let watermarks = self.core.closing_watermarks();
        let are_final = |(column, bound): &(usize, PhysicalBound)| bound.are_final(rows.column(*column), &watermarks);
        let mut closed = view.closing.iter().map(|by| are_final(by).map_err(text));
        let Some(first) = closed.next() else { return Ok(rows) };
        // One such column is the window's; others follow from it, and say it later.
        let closed = closed.try_fold(first?, |one, other| or(&one, &other?).map_err(text))?;
        filter_record_batch(&rows, &closed).map_err(text)
    }

    /// Saves everything, builds the views anew at another parallelism, and restores them.
    ///
    /// # Errors
    /// A bug.
    pub fn restart(&mut self, parallelism: usize) -> Result<(), String> {
        let config = config(parallelism);
        for (name, known) in &self.views {
            let old = self.core.remove_view(name).ok_or("a view is missing")?;
            let planned = known.plan(&self.catalog)?;
            let view = run::rebuilt(&old, &planned.dataflow, &config, self.core.tick_and_now().0)?;
            self.core.add_view(name, view);
        }
        for source in self.sources.values_mut() {
            let (state, spec) = (source.ingest.save(), source.ingest.spec().clone());
            source.ingest = Ingest::restore(spec, source.factory.clone(), state).map_err(text)?;
        }
        Ok(())
    }

    /// Reads everything again in one tick; returns a line for each partition and view.
    ///
    /// # Errors
    /// If the second reading differs from the first.
    pub fn end(&mut self) -> Result<Vec<String>, String> {
        let mut core = Core::new(config(1));
        for (name, view) in &self.views {
            let planned = view.plan(&self.catalog)?;
            core.add_view(name, RunningView::try_new(&planned.dataflow, core.config()).map_err(text)?);
        }
        let (mut taken, mut lines) = (BTreeMap::new(), Vec::new());
        for (name, source) in &self.sources {
            core.add_source(name, &source.spec);
            let tick = source.replay(self.now_micros)?;
            if (tick.watermark, tick.closing) != (source.ingest.watermark(), source.ingest.closing())
                || tick.counts != source.counts
            {
                return Err(format!("{name}: a second reading gives {:?}, {:?}", tick.watermark, tick.counts));
            }
            taken.insert(name.clone(), tick);
            lines.extend(source.counts.iter().map(|(partition, counts)| describe_counts(name, *partition, counts)));
        }
        core.tick(self.now_micros, taken).map_err(text)?;
        for (name, view) in &self.views {
            let rows = rows_of(&self.core, name)?;
            lines.push(format!("{name}: {} rows", rows.iter().map(RecordBatch::num_rows).sum::<usize>()));
            let errors =
                [&self.core, &core].map(|core| run::errors_of(&core.views()[name]).and_then(|rows| counted(&rows)));
            let [errors, again] = errors;
            let (errors, again) = (errors?, again?);
            if !errors.is_empty() {
                lines.push(format!("{}: {} rows", errors_name(name), errors.values().sum::<i64>()));
            }
            if !view.failed && errors != again {
                return Err(format!("{name} read again: errors {again:?} instead of {errors:?}"));
            }
            if !view.failed {
                compare::equal(&rows, &rows_of(&core, name)?).map_err(|e| format!("{name} read again: {e}"))?;
            }
        }
        Ok(lines)
    }
}

fn plan(catalog: &Arc<Catalog>, create: &CreateMaterializedView, text: &str) -> Result<PlannedView, String> {
    plan_view(state(), catalog, create, text).map_err(|e| format!("{}: {e}", create.name))
}

fn closing(create: &CreateMaterializedView, planned: &PlannedView) -> Result<Vec<(usize, PhysicalBound)>, String> {
    // Of count windows the end does not tell whether they are full.
    if create.emit == Emit::OnUpdate || create.query_text.to_lowercase().contains("count_window") {
        return Ok(Vec::new());
    }
    let bounds = planned.dataflow.bounds.iter().enumerate();
    let bounded = bounds.filter_map(|(column, bound)| Some((column, bound.as_ref()?)));
    bounded.map(|(column, bound)| Ok((column, PhysicalBound::try_new(bound).map_err(text)?))).collect()
}

impl View {
    fn plan(&self, catalog: &Arc<Catalog>) -> Result<PlannedView, String> {
        plan(catalog, &self.create, &self.text)
    }
}

/// Rows as text with how often each is there.
fn counted(rows: &[RecordBatch]) -> Result<BTreeMap<String, i64>, String> {
    let mut found: BTreeMap<String, i64> = BTreeMap::new();
    for batch in rows {
        for line in changelog::render(&Delta::inserts(batch.clone())).map_err(text)?.lines() {
            let (weight, row) = line.split_once(" | ").unwrap_or((line, ""));
            *found.entry(row.to_owned()).or_default() += weight.parse::<i64>().map_err(text)?;
        }
    }
    Ok(found)
}

fn rows_of(core: &Core, view: &str) -> Result<Vec<RecordBatch>, String> {
    let view = core.views().get(view).ok_or("a view is missing")?;
    view.view.snapshot().scan(None).collect::<Result<Vec<_>, _>>().map_err(text)
}

/// Adds the columns a view uses of each source.
fn add_used(used: &mut BTreeMap<String, UsedColumns>, planned: &PlannedView, specs: &BTreeMap<String, IngestSpec>) {
    for (name, columns) in &planned.dataflow.inputs {
        let Some(spec) = specs.get(name) else { continue };
        let entry = used.entry(name.clone()).or_default();
        let declared = spec.decode.columns.iter().enumerate().filter(|(_, field)| columns.contains(field.name()));
        entry.columns.extend(declared.map(|(index, _)| index));
        let metadata = spec.metadata.iter().enumerate().filter(|(_, included)| columns.contains(&included.name));
        entry.metadata.extend(metadata.map(|(index, _)| index));
        for list in [&mut entry.columns, &mut entry.metadata] {
            list.sort_unstable();
            list.dedup();
        }
    }
}

impl Source {
    fn new(create: &CreateSource, mut spec: IngestSpec, used: UsedColumns) -> Result<Self, String> {
        let factory = decoder_factory(create).map_err(text)?;
        let mut every = spec.clone();
        every
            .set_used(&UsedColumns {
                columns: (0..spec.decode.columns.len()).collect(),
                metadata: (0..spec.metadata.len()).collect(),
            })
            .map_err(text)?;
        spec.set_used(&used).map_err(text)?;
        let keyed = LastRecords::new(&spec, create.envelope);
        let rows = keyed.as_ref().map_or_else(|| every.output_schema(), |keyed| keyed.schema().clone());
        Ok(Self {
            ingest: Ingest::new(spec.clone(), factory.clone()).map_err(text)?,
            accepted: GrowingTable::new(rows),
            every: Ingest::new(every, factory.clone()).map_err(text)?,
            keyed,
            factory,
            spec,
            log: vec![],
            next_offsets: BTreeMap::from([(0, 0)]),
            counts: BTreeMap::new(),
        })
    }

    fn append(&mut self, record: &OwnedRecord, now_micros: i64) -> Result<(), String> {
        let next = self.next_offsets.get_mut(&record.partition).ok_or("no such partition")?;
        if record.skip > 0 {
            *next += record.skip;
            return Ok(());
        }
        let time_micros = record.time_micros.unwrap_or(now_micros);
        let (partition, key, payload) = (record.partition, record.key.clone(), record.payload.clone());
        self.log.push(Logged { partition, offset: *next, time_micros, key, payload });
        *next += 1;
        Ok(())
    }

    /// Reads the log from its `from`th record and ends a tick.
    fn read(&mut self, from: usize, now: i64, behind: &[i32], deaf: bool) -> Result<IngestedTick, String> {
        let status = self.status(behind, deaf);
        let records: Vec<_> = self.log[from..].iter().map(Logged::raw).collect();
        self.ingest.push(&records).map_err(text)?;
        self.every.push(&records).map_err(text)?;
        let tick = self.ingest.take(now, &status).map_err(text)?;
        let every = self.every.take(now, &status).map_err(text)?;
        if (&every.counts, every.watermark, every.closing) != (&tick.counts, tick.watermark, tick.closing) {
            return Err("what is accepted depends on which columns are used".into());
        }
        match &mut self.keyed {
            None => self.accepted.append(every.batches),
            Some(keyed) => {
                keyed.absorb(&records, &every.batches)?;
                self.accepted.replace([keyed.rows()?]);
            }
        }
        for (partition, (from, to)) in &tick.offsets {
            let counts = tick.counts[partition];
            if counts.consumed() != (to - from) as u64 {
                return Err(format!("partition {partition}: offsets {from}..{to}, but {counts:?}"));
            }
            *self.counts.entry(*partition).or_default() += counts;
        }
        Ok(tick)
    }

    fn status(&self, behind: &[i32], deaf: bool) -> BTreeMap<i32, PartitionStatus> {
        let status = |(partition, position): (&i32, &i64)| {
            let end = position + i64::from(behind.contains(partition));
            (*partition, PartitionStatus { position: *position, end: (!deaf).then_some(end) })
        };
        self.next_offsets.iter().map(status).collect()
    }

    fn replay(&self, now_micros: i64) -> Result<IngestedTick, String> {
        let exclusions = self.ingest.exclusions();
        let mut again = Ingest::replay(self.spec.clone(), self.factory.clone(), &exclusions).map_err(text)?;
        let records: Vec<_> = self.log.iter().map(Logged::raw).collect();
        again.push(&records).map_err(text)?;
        again.take(now_micros, &self.status(&[], false)).map_err(text)
    }
}

/// `s: watermark 12:00:03, closing 12:00:05 | 0: 12:00:03 | 1: 12:00:05 idle`; a partition without a bound is `-`. The closing
/// watermark is told where it is another.
fn describe_source(name: &str, ingest: &Ingest) -> String {
    let mut line = format!("{name}: watermark {}", time(ingest.watermark()));
    if ingest.closing() != ingest.watermark() {
        line.push_str(&format!(", closing {}", time(ingest.closing())));
    }
    for (partition, progress, bound) in ingest.partitions() {
        let idle = if progress.excluded { " idle" } else { "" };
        line.push_str(&format!(" | {partition}: {}{idle}", time(bound)));
    }
    line
}

fn time(watermark: Watermark) -> String {
    let Some(micros) = watermark.micros() else { return "-".into() };
    let time = arrow::temporal_conversions::timestamp_us_to_datetime(micros);
    let time = time.map_or_else(|| micros.to_string(), |time| time.format("%Y-%m-%dT%H:%M:%S%.f").to_string());
    without_day(&time)
}

/// Leaves the day of times of that day away, but not of its midnight.
fn without_day(text: &str) -> String {
    let midnight = format!("{DAY}T00:00:00");
    text.split(&midnight).map(|part| part.replace(&format!("{DAY}T"), "")).collect::<Vec<_>>().join(&midnight)
}

fn describe_counts(source: &str, partition: i32, counts: &Counts) -> String {
    let Counts { accepted, late, errors, tombstones, skipped, .. } = counts;
    let sum =
        format!("accepted {accepted} + late {late} + errors {errors} + tombstones {tombstones} + skipped {skipped}");
    format!("{source} {partition}: consumed {} = {sum}", counts.consumed())
}

/// Late rows with the bound they were below, and error rows.
fn describe_rejected(name: &str, tick: &IngestedTick) -> Result<Vec<String>, String> {
    let mut lines = Vec::new();
    if let Some(late) = &tick.late {
        // The five columns behind the declared ones: topic, partition, offset, timestamp, watermark.
        let declared = late.num_columns() - 5;
        for row in 0..late.num_rows() {
            let cell = |column: usize| cell(late, column, row);
            let (partition, offset, bound) = (cell(declared + 1)?, cell(declared + 2)?, cell(declared + 4)?);
            let row = (0..declared).map(cell).collect::<Result<Vec<_>, _>>()?.join(" | ");
            lines.push(format!("{name} late {partition}@{offset} below {bound}: {row}"));
        }
    }
    if let Some(errors) = &tick.errors {
        for row in 0..errors.num_rows() {
            let cell = |column: usize| cell(errors, column, row);
            let place = format!("{}@{}", cell(1)?, cell(2)?);
            lines.push(format!("{name} error {place} {}, {} bytes: {}", cell(4)?, cell(7)?, cell(5)?));
        }
    }
    Ok(lines)
}

fn cell(batch: &RecordBatch, column: usize, row: usize) -> Result<String, String> {
    let array: &dyn Array = batch.column(column);
    let options = FormatOptions::new().with_null("NULL");
    let formatter = ArrayFormatter::try_new(array, &options).map_err(text)?;
    Ok(without_day(&formatter.value(row).to_string()))
}
