//! Stacks of views: random views over views, each equal at every tick to the batch answer over what it reads.
//!
//! Every relation of a stack, the two sources among them, has the columns `k`, `g`, `v` and `ts`, so that any view can
//! stand on any other. What a view reads of views is taken as they are at the same tick; those are held against their own
//! batch answers, so a whole stack is right if each step is. The sources' records may be changes of rows, a table may stand
//! beside them, and views may have conditions on `now()`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use engine::dataflow::Dataflow;
use engine::dataflow::bound::PhysicalBound;
use engine::dataflow::execution::ExecutionConfig;
use engine::delta::Delta;
use engine::ingest::IngestedTick;
use engine::tick::core::{Core, CoreConfig, RunningView};
use engine::tick::pin::Pin;
use engine::tick::table::RunningTable;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use server::database::ingest_spec_of;
use sql::catalog::{Catalog, Definition, NewObject};
use sql::statement::{CreateSource, Statement};

use super::accounting;
use super::batch::{Batch, GrowingTable};
use super::case::{parallelism, random_cuts, shuffled_together, unpanicked};
use super::compare;
use super::feed::{Feed, ROWS};
use super::run::{self, FIRST_TICK_MICROS, Reading};
use super::sabotage::stack::{StackBug, Tampering};
use super::stack_table;
use super::stream::{Record, StreamShape, timestamp};
use super::temporal::Clock;

/// Records of each source: joins over joins multiply them.
const RECORDS_MAX: usize = 60;

/// Views of a stack.
const VIEWS_MAX: usize = 5;

/// The place of `ts` among the columns.
const TS: usize = 3;

/// One view of a stack.
#[derive(Debug, Clone, PartialEq)]
pub struct StackView {
    /// Its name.
    pub name: String,
    /// Its SELECT.
    pub select: String,
    /// EMIT ON WINDOW CLOSE?
    pub emit_on_close: bool,
    /// The tick after which it is created; 0 is before the first. It then reads views alone.
    pub after: usize,
}

impl StackView {
    /// The statement.
    pub fn create_text(&self) -> String {
        let emit = if self.emit_on_close { " EMIT ON WINDOW CLOSE" } else { "" };
        format!("CREATE MATERIALIZED VIEW {} AS {}{emit}", self.name, self.select)
    }
}

/// A stack, its input, and how the input is cut.
#[derive(Debug, Clone)]
pub struct Stack {
    /// The views, each after what it reads.
    pub views: Vec<StackView>,
    /// What the sources' records are.
    feeds: [Feed; 2],
    /// What each tick writes to the table, if there is one.
    writes: Vec<Delta>,
    /// When ticks are.
    clock: Clock,
    partitions: i32,
    records: Vec<Record>,
    cuts: Vec<usize>,
    restarts: Vec<Option<usize>>,
    parallelism: usize,
    evict: bool,
}

impl Stack {
    /// The stack of a seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x57ac);
        let partitions = *[1, 2, 7].choose(&mut rng).expect("not empty");
        // Chosen apart, so that seeds without it make the stacks they made before.
        let mut apart = ChaCha8Rng::seed_from_u64(seed ^ 0x7ab1);
        let mut feed = |rows: Feed| match apart.random_range(0..8) {
            0 => Feed::keyed(&mut apart),
            1..3 => rows.accepting_late(&mut apart),
            _ => rows,
        };
        let feeds = [feed(ROWS), feed(ROWS)];
        let shape = StreamShape::random(&mut rng, partitions);
        let mut first = feeds[0].records(&shape, &mut rng);
        let mut second = feeds[1].records(&StreamShape::random(&mut rng, partitions), &mut rng);
        [&mut first, &mut second].into_iter().for_each(|records| records.truncate(RECORDS_MAX));
        second.iter_mut().for_each(|record| record.of_other = true);
        let records = shuffled_together(&mut rng, first, second);
        let mut cuts = random_cuts(&mut rng, records.len());
        let mut clock = Clock { first: FIRST_TICK_MICROS, steps: vec![FIRST_TICK_MICROS] };
        let clocked = apart.random_range(0..4) == 0;
        if clocked {
            // Time passes without records, too.
            cuts = cuts.into_iter().flat_map(|cut| vec![cut; apart.random_range(1..3)]).collect();
            cuts.extend(vec![records.len(); apart.random_range(0..3)]);
            clock = Clock::over(&mut apart, &shape, records.len(), cuts.len() + 1);
        }
        let has_table = apart.random_range(0..4) == 0;
        let writes = if has_table { stack_table::writes(&mut apart, cuts.len() + 1) } else { Vec::new() };
        let mut restart = || (rng.random_range(0..6) == 0).then(|| parallelism(&mut rng));
        let restarts = cuts.iter().map(|_| restart()).collect();
        let (parallelism, evict) = (parallelism(&mut rng), rng.random_bool(0.8));
        let relations = Beside { feeds, has_table, clocked };
        let views = views(&mut rng, relations, cuts.len());
        Self { views, feeds, writes, clock, partitions, records, cuts, restarts, parallelism, evict }
    }

    /// The same with eviction or without.
    #[must_use]
    pub fn evicting(self, evict: bool) -> Self {
        Self { evict, ..self }
    }

    /// All statements, for a report.
    pub fn text(&self) -> String {
        let view = |view: &StackView| format!("  after tick {}: {}\n", view.after, view.create_text());
        self.views.iter().map(view).collect()
    }

    /// Runs the stack and compares every view with its batch answer at every tick. Returns the rows at every tick.
    ///
    /// # Errors
    /// The first difference, a failed view, a panic.
    pub fn run(&self) -> Result<Vec<Vec<Vec<RecordBatch>>>, String> {
        unpanicked(|| self.drive(&mut StackRun::new(self, None)?))
    }

    /// Runs the stack with a bug in it; says whether the bug changed anything.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    pub fn run_with(&self, bug: StackBug) -> (Result<(), String>, bool) {
        let mut run = match StackRun::new(self, Some(bug)) {
            Ok(run) => run,
            Err(error) => return (Err(error), true),
        };
        let ran = unpanicked(|| self.drive(&mut run).map(|_| ()));
        (ran, run.tampering.is_some_and(|tampering| tampering.acted))
    }

    fn drive(&self, run: &mut StackRun) -> Result<Vec<Vec<Vec<RecordBatch>>>, String> {
        let (mut from, mut rows) = (0, Vec::new());
        for (index, cut) in self.cuts.iter().copied().chain([self.records.len()]).enumerate() {
            run.create(self, index)?;
            let cut = cut.clamp(from, self.records.len());
            let (now, written) = (self.clock.at(index), self.writes.get(index));
            let ticked = run.tick(now, written, &self.records[from..cut]).and_then(|()| run.compare());
            rows.push(ticked.map_err(|e| format!("tick {} (records {from}..{cut}): {e}", index + 1))?);
            from = cut;
            if let Some(Some(parallelism)) = self.restarts.get(index) {
                run.restart(self.config(*parallelism)).map_err(|e| format!("restart after tick {}: {e}", index + 1))?;
            }
        }
        Ok(rows)
    }

    fn config(&self, parallelism: usize) -> CoreConfig {
        let tasks = (parallelism > 1).then(tokio::runtime::Handle::current);
        CoreConfig { execution: ExecutionConfig { parallelism, tasks }, evict: self.evict, ..Default::default() }
    }
}

/// What stands beside the views of a stack.
#[derive(Debug, Clone, Copy)]
struct Beside {
    feeds: [Feed; 2],
    has_table: bool,
    /// Whether ticks pass over the rows' times, so that views may go by them.
    clocked: bool,
}

impl Beside {
    fn catalog(self) -> (Arc<Catalog>, [CreateSource; 2]) {
        let (catalog, sources) = run::catalog(self.feeds);
        (if self.has_table { Arc::new(stack_table::with_table(&catalog)) } else { catalog }, sources)
    }
}

/// Random views; those that the planner has no plan for are replaced, and EMIT stands where it may.
fn views(rng: &mut impl Rng, beside: Beside, ticks: usize) -> Vec<StackView> {
    let (mut catalog, _) = beside.catalog();
    let mut views: Vec<StackView> = Vec::new();
    let mut wide: BTreeSet<String> = BTreeSet::new();
    let count = rng.random_range(2..=VIEWS_MAX);
    while views.len() < count {
        let name = format!("v{}", views.len() + 1);
        let (first, second) = (relation(rng, beside, &views), relation(rng, beside, &views));
        let select = match beside.clocked && rng.random_range(0..4) == 0 {
            true => timed(rng, &first),
            false => select(rng, &first, &second),
        };
        // Joins multiply rows, and so do joins of joins.
        let over_wide = wide.contains(&first) || wide.contains(&second);
        if (select.contains("JOIN") || select.contains("UNION")) && over_wide {
            continue;
        }
        let is_wide = select.contains("JOIN") || wide.contains(&first);
        let closes = select.contains(" GROUP BY") && rng.random_bool(0.6);
        let mut view = StackView { name, select, emit_on_close: closes, after: 0 };
        let mut planned = run::plan(&catalog, &view.create_text());
        if planned.is_err() && closes {
            view.emit_on_close = false;
            planned = run::plan(&catalog, &view.create_text());
        }
        let planned = planned.unwrap_or_else(|e| panic!("{}: {e} {:?}", view.create_text(), e.detail));
        let after = |name: &String| views.iter().find(|view| view.name == *name).map_or(0, |view| view.after);
        view.after = planned.dataflow.relations.iter().map(after).max().unwrap_or(0);
        if planned.dataflow.inputs.is_empty() && rng.random_bool(0.4) {
            view.after = rng.random_range(view.after..=ticks.max(view.after));
        } else if !planned.dataflow.inputs.is_empty() && view.after > 0 {
            continue;
        }
        catalog = with_view(&catalog, &view, &planned.dataflow, planned.columns, planned.reads);
        if is_wide {
            wide.insert(view.name.clone());
        }
        views.push(view);
    }
    views
}

/// A source or a view; the newest view more often than not, for depth is what is to be tried.
fn relation(rng: &mut impl Rng, beside: Beside, views: &[StackView]) -> String {
    if beside.has_table && rng.random_range(0..4) == 0 {
        return stack_table::NAME.to_owned();
    }
    let view = match rng.random_range(0..6) {
        0 => return "s".to_owned(),
        1 => return "o".to_owned(),
        2..4 => views.choose(rng),
        _ => views.last(),
    };
    view.map_or_else(|| "s".to_owned(), |view| view.name.clone())
}

fn select(rng: &mut impl Rng, a: &str, b: &str) -> String {
    let (filter, function) = (pick(rng, &["v > 0", "g = 'a'", "k IS NOT NULL", "v IS NULL OR k < 3"]), call(rng));
    let size = pick(rng, &["4 seconds", "10 seconds", "1 minute"]);
    match rng.random_range(0..18) {
        0 => format!("SELECT k, g, (v + 1)::bigint AS v, ts FROM {a} WHERE {filter}"),
        1 => format!("SELECT k, upper(g) AS g, v::bigint AS v, ts + INTERVAL '5 seconds' AS ts FROM {a}"),
        2 => format!("SELECT k, g, v::bigint AS v, date_trunc('minute', ts) AS ts FROM {a} WHERE {filter}"),
        3..6 => format!(
            "SELECT k, max(g) AS g, {function} AS v, window_end AS ts \
             FROM tumble({a}, ts, INTERVAL '{size}') GROUP BY k, window_end"
        ),
        6 => format!(
            "SELECT k, min(g) AS g, {function} AS v, window_end AS ts \
             FROM hop({a}, ts, INTERVAL '2 seconds', INTERVAL '10 seconds') GROUP BY k, window_end"
        ),
        7 => format!("SELECT k, g, {function} AS v, max(ts) AS ts FROM {a} GROUP BY k, g"),
        8 => format!("SELECT count(*) AS k, max(g) AS g, {function} AS v, min(ts) AS ts FROM {a}"),
        9..11 => format!("SELECT min(k) AS k, max(g) AS g, {function} AS v, ts FROM {a} GROUP BY ts"),
        11 => {
            let kind = pick(rng, &["JOIN", "LEFT JOIN"]);
            format!("SELECT a.k, b.g, a.v::bigint AS v, a.ts FROM {a} a {kind} {b} b ON a.k = b.k AND a.ts = b.ts")
        }
        12 => format!(
            "SELECT a.k, a.g, (a.v - b.v)::bigint AS v, a.ts FROM {a} a JOIN {b} b ON a.k = b.k \
             AND b.ts BETWEEN a.ts - INTERVAL '10 seconds' AND a.ts + INTERVAL '5 seconds'"
        ),
        13 => format!(
            "SELECT k, g, v, ts FROM (SELECT k, g, v::bigint AS v, ts, \
             row_number() OVER (PARTITION BY k ORDER BY v DESC, ts, g) AS rn FROM {a}) AS ranked WHERE rn <= 2"
        ),
        14 => format!(
            "SELECT k, g, v::bigint AS v, ts FROM {a} UNION ALL SELECT k, g, v::bigint AS v, ts FROM {b} WHERE {filter}"
        ),
        15 => format!("SELECT DISTINCT k, g, v::bigint AS v, ts FROM {a}"),
        16 => {
            let not = pick(rng, &["", "NOT "]);
            format!(
                "SELECT k, g, v::bigint AS v, ts FROM {a} a WHERE {not}EXISTS (SELECT 1 FROM {b} b WHERE b.k = a.k AND b.ts = a.ts)"
            )
        }
        _ => format!("SELECT k, g, v::bigint AS v, ts FROM {a} WHERE v = (SELECT max(v) FROM {b})"),
    }
}

/// A view whose rows come and go with the clock.
fn timed(rng: &mut impl Rng, a: &str) -> String {
    let (filter, function) = (pick(rng, &["v > 0", "g = 'a'", "k IS NOT NULL", "v IS NULL OR k < 3"]), call(rng));
    let size = pick(rng, &["4 seconds", "10 seconds", "1 minute"]);
    match rng.random_range(0..3) {
        0 => format!("SELECT k, g, v::bigint AS v, ts FROM {a} WHERE ts > now() - INTERVAL '{size}' AND ({filter})"),
        1 => format!("SELECT k, g, v::bigint AS v, ts FROM {a} WHERE ts <= now()"),
        _ => format!(
            "SELECT k, max(g) AS g, {function} AS v, max(ts) AS ts FROM {a} \
             WHERE ts BETWEEN now() - INTERVAL '{size}' AND now() GROUP BY k"
        ),
    }
}

fn call(rng: &mut impl Rng) -> &'static str {
    pick(rng, &["count(*)", "max(v)::bigint", "min(v)::bigint", "sum(v % 100)::bigint", "count(DISTINCT g)"])
}

fn pick(rng: &mut impl Rng, from: &[&'static str]) -> &'static str {
    from.choose(rng).expect("a list with entries")
}

fn with_view(
    catalog: &Arc<Catalog>,
    view: &StackView,
    dataflow: &Dataflow,
    columns: Vec<arrow::datatypes::FieldRef>,
    reads: BTreeSet<String>,
) -> Arc<Catalog> {
    let text = view.create_text();
    let Statement::CreateMaterializedView(create) =
        sql::parser::parse(&text).expect("it was planned").remove(0).statement
    else {
        unreachable!("a CREATE MATERIALIZED VIEW")
    };
    Arc::new(catalog.with(NewObject {
        name: view.name.clone(),
        text,
        definition: Definition::MaterializedView(Arc::new(*create)),
        columns,
        reads,
        properties: Some(Arc::new(dataflow.properties())),
    }))
}

/// A view at work.
struct Running {
    view: StackView,
    dataflow: Dataflow,
    rows: Arc<GrowingTable>,
    /// The bound of its `ts`, if it emits on close.
    end: Option<PhysicalBound>,
    created: bool,
}

/// A stack at work.
struct StackRun {
    core: Core,
    config: CoreConfig,
    readings: Vec<Reading>,
    batch: Batch,
    views: Vec<Running>,
    now_micros: i64,
    tampering: Option<Tampering>,
    /// The table's rows for the batch, if there is one.
    table: Option<Arc<GrowingTable>>,
}

impl StackRun {
    fn new(stack: &Stack, bug: Option<StackBug>) -> Result<Self, String> {
        let has_table = !stack.writes.is_empty();
        let (mut catalog, sources) = Beside { feeds: stack.feeds, has_table, clocked: false }.catalog();
        let config = stack.config(stack.parallelism);
        let mut tampering = bug.map(Tampering::new);
        let (mut views, mut wanted) = (Vec::new(), BTreeMap::<String, BTreeSet<String>>::new());
        for view in &stack.views {
            let planned = run::plan(&catalog, &view.create_text()).map_err(|e| format!("{}: {e}", view.name))?;
            let dataflow = planned.dataflow;
            for (source, columns) in &dataflow.inputs {
                wanted.entry(source.clone()).or_default().extend(columns.iter().cloned());
            }
            let mut shown = dataflow.clone();
            if let Some(tampering) = &mut tampering {
                tampering.properties(&mut shown);
            }
            catalog = with_view(&catalog, view, &shown, planned.columns, planned.reads);
            let rows = GrowingTable::new(dataflow.schema.clone());
            let end = dataflow.bounds[TS].as_ref().filter(|_| view.emit_on_close);
            let end = end.map(PhysicalBound::try_new).transpose().map_err(text)?;
            views.push(Running { view: view.clone(), dataflow, rows, end, created: false });
        }
        let mut core = Core::new(config.clone());
        let mut readings = Vec::new();
        for (name, source) in ["s", "o"].into_iter().zip(&sources) {
            core.add_source(name, &ingest_spec_of(source).map_err(text)?);
            let wanted = wanted.remove(name).unwrap_or_default();
            readings.push(Reading::new(source, name, &wanted, stack.partitions)?);
        }
        let tables = readings.iter().map(|reading| (reading.name.clone(), reading.table.clone()));
        let tables = tables.chain(views.iter().map(|running| (running.view.name.clone(), running.rows.clone())));
        let mut batch = Batch::over(tables.collect());
        let table = has_table.then(|| GrowingTable::new(stack_table::schema()));
        if let Some(table) = &table {
            core.add_table(stack_table::NAME, RunningTable::try_new(stack_table::schema(), vec![]).map_err(text)?);
            batch.add(stack_table::NAME, table.clone());
        }
        Ok(Self { core, config, readings, batch, views, now_micros: 0, tampering, table })
    }

    /// Creates the views that are due after `tick` ticks, from the rows of what they read.
    fn create(&mut self, stack: &Stack, tick: usize) -> Result<(), String> {
        for index in 0..stack.views.len() {
            let Running { view, dataflow, .. } = &self.views[index];
            if view.after.min(stack.cuts.len()) != tick || self.views[index].created {
                continue;
            }
            let mut running = RunningView::try_new(dataflow, &self.config).map_err(text)?;
            if tick > 0 {
                let template = self.core.input(Default::default()).unclocked();
                let rows = dataflow.relations.iter().map(|name| {
                    let (rows, _) = self.core.maintained(name).expect("created before");
                    (name.clone(), rows)
                });
                let pin = Pin { template, rows: rows.collect(), changes: None, positions: BTreeMap::new() };
                pin.feed(&mut running, &|| false).map_err(text)?;
                if let Some(tampering) = &mut self.tampering {
                    tampering.joining(&mut running, &pin, &dataflow.relations);
                }
                running.tick(&Arc::new(self.core.input(Default::default())));
                running.failed.clone().map_or(Ok(()), |error| Err(format!("{} failed at once: {error}", view.name)))?;
            }
            self.core.add_view(&view.name, running);
            self.views[index].created = true;
        }
        Ok(())
    }

    fn tick(&mut self, now_micros: i64, written: Option<&Delta>, records: &[Record]) -> Result<(), String> {
        self.now_micros = now_micros;
        let mut taken = BTreeMap::new();
        for reading in &mut self.readings {
            let own: Vec<_> = records.iter().filter(|record| record.of_other == (reading.name == "o")).collect();
            taken.insert(reading.name.clone(), reading.take(&own, self.now_micros, None)?);
        }
        if let Some(written) = written {
            let written = (stack_table::NAME.to_owned(), vec![written.clone()]);
            self.core.write(&[written]).map_err(|(_, error)| text(error))?;
        }
        if self.tampering.is_some() {
            self.tick_tampered(taken)?;
        } else {
            self.core.tick(self.now_micros, taken).map_err(text)?;
        }
        if let Some(table) = &self.table {
            let (rows, _) = self.core.maintained(stack_table::NAME).expect("added at the start");
            table.replace(rows.scan(None).collect::<Result<Vec<_>, _>>().map_err(text)?);
        }
        for reading in &self.readings {
            accounting::check_sums(&self.core.sources()[&reading.name], &reading.next_offsets)?;
        }
        let failed = |(name, view): (&String, &RunningView)| Some(format!("{name} failed: {}", view.failed.as_ref()?));
        self.core.views().iter().find_map(failed).map_or(Ok(()), Err)
    }

    /// What [`Core::tick`] does, with hands on what goes from view to view.
    fn tick_tampered(&mut self, taken: BTreeMap<String, IngestedTick>) -> Result<(), String> {
        let created = self.views.iter().filter(|running| running.created).map(|running| running.view.name.clone());
        let mut removed = Vec::new();
        for name in created {
            removed.push((name.clone(), self.core.remove_view(&name).expect("created before")));
        }
        let deltas = |tick: &IngestedTick| tick.batches.iter().cloned().map(Delta::inserts).collect::<Vec<_>>();
        let deltas = taken.iter().map(|(name, tick)| (name.clone(), Arc::new(deltas(tick)))).collect::<Vec<_>>();
        let outcome = self.core.tick(self.now_micros, taken).map_err(text)?;
        // Without views what is told to have changed is the table.
        let written = outcome.changelogs.into_iter().map(|(name, change)| (name, Arc::new(change)));
        let mut input = self.core.input(deltas.into_iter().chain(written).collect());
        let tampering = self.tampering.as_mut().expect("only a tampered run comes here");
        for (name, mut view) in removed {
            let changes = view.tick(&Arc::new(tampering.input(&input, !view.relations.is_empty())));
            input.deltas.insert(name.clone(), Arc::new(tampering.change(&name, changes)));
            self.core.add_view(&name, view);
        }
        Ok(())
    }

    /// Every view's rows, once each equals the batch answer over what it reads.
    fn compare(&mut self) -> Result<Vec<Vec<RecordBatch>>, String> {
        let mut all = Vec::new();
        for running in self.views.iter().filter(|running| running.created) {
            let name = &running.view.name;
            let snapshot = self.core.views()[name].view.snapshot();
            let rows = snapshot.scan(None).collect::<Result<Vec<_>, _>>().map_err(text)?;
            running.rows.replace(rows.clone());
            let text = running.expected_text(&self.core)?;
            let plan = self.batch.plan(&text, self.now_micros).map_err(|e| format!("{name} as a batch: {e}"))?;
            compare::equal(&self.batch.answer(&plan)?, &rows).map_err(|e| format!("{name}: {e}"))?;
            all.push(rows);
        }
        Ok(all)
    }

    fn restart(&mut self, config: CoreConfig) -> Result<(), String> {
        for running in self.views.iter().filter(|running| running.created) {
            let name = &running.view.name;
            let old = self.core.remove_view(name).expect("created before");
            let view = run::rebuilt(&old, &running.dataflow, &config, self.core.tick_and_now().0)?;
            self.core.add_view(name, view);
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
    /// The batch query whose answer it must equal now.
    fn expected_text(&self, core: &Core) -> Result<String, String> {
        let select = &self.view.select;
        let Some(end) = &self.end else { return Ok(select.clone()) };
        Ok(match end.evaluate(&core.closing_watermarks()).map_err(text)? {
            Some(micros) => {
                format!("SELECT * FROM ({select}) AS closed WHERE ts < TIMESTAMP '{}'", timestamp(micros))
            }
            None => format!("SELECT * FROM ({select}) AS closed WHERE false"),
        })
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
