//! A view driven tick by tick, in this thread, with cuts and restarts as the caller chooses.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::SessionState;
use engine::delta::Delta;
use engine::format::json::JsonDecoder;
use engine::ingest::{DecoderFactory, Ingest, IngestSpec, IngestedTick, UsedColumns};
use engine::source::{Headers, PartitionStatus, RawRecord};
use engine::tick::core::{Core, CoreConfig, RunningView};
use engine::time::Watermark;
use engine::view::MaterializedView;
use server::database::{ingest_spec_of, plan_view};
use sql::catalog::{Catalog, Definition, NewObject};
use sql::statement::Statement;

use super::batch::{Batch, GrowingTable};
use super::stream::{CREATE_SOURCE, Record};

/// A view, its source and the oracle beside it.
pub struct Run {
    core: Core,
    ingest: Ingest,
    /// A second reading that materialises every column: what the oracle takes for the accepted rows.
    all: Ingest,
    table: Arc<GrowingTable>,
    batch: Batch,
    catalog: Arc<Catalog>,
    create: String,
    factory: DecoderFactory,
    next_offsets: BTreeMap<i32, i64>,
    now_micros: i64,
}

/// The catalog with the one source.
pub fn catalog() -> (Arc<Catalog>, IngestSpec) {
    let parsed = sql::parser::parse(CREATE_SOURCE).expect("a valid statement").remove(0);
    let Statement::CreateSource(create) = parsed.statement else { unreachable!("a CREATE SOURCE") };
    let spec = ingest_spec_of(&create).expect("valid options");
    let catalog = Catalog::default().with(NewObject {
        name: create.name.clone(),
        text: CREATE_SOURCE.into(),
        columns: create.columns.clone(),
        definition: Definition::Source(Arc::new(*create)),
        reads: Default::default(),
    });
    (Arc::new(catalog), spec)
}

/// The functions a view may call; made once.
fn state() -> &'static SessionState {
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

impl Run {
    /// A view that has seen nothing, over a topic of so many partitions, all of them known from the start.
    ///
    /// # Errors
    /// What the planner refuses.
    pub fn new(create: &str, partitions: i32, config: CoreConfig) -> Result<Self, String> {
        let (catalog, spec) = catalog();
        let factory: DecoderFactory = Arc::new(|spec| Ok(Box::new(JsonDecoder::new(spec)?)));
        let planned = plan(&catalog, create).map_err(|e| format!("{e} {:?}", e.detail))?;
        let view = RunningView::try_new(&planned.dataflow, &config).map_err(|e| e.to_string())?;
        let mut used = spec.clone();
        let columns = used.decode.columns.iter().enumerate();
        let wanted = planned.dataflow.inputs.get("s").cloned().unwrap_or_default();
        let columns = columns.filter(|(_, field)| wanted.contains(field.name())).map(|(index, _)| index).collect();
        used.set_used(&UsedColumns { columns, metadata: vec![] }).map_err(|e| e.to_string())?;
        let mut every = spec.clone();
        let columns = (0..every.decode.columns.len()).collect();
        every.set_used(&UsedColumns { columns, metadata: vec![] }).map_err(|e| e.to_string())?;
        let table = GrowingTable::new(every.output_schema());
        let mut core = Core::new(config);
        core.add_source("s", &spec);
        core.add_view("v", view);
        Ok(Self {
            core,
            ingest: Ingest::new(used, factory.clone()).map_err(|e| e.to_string())?,
            all: Ingest::new(every, factory.clone()).map_err(|e| e.to_string())?,
            batch: Batch::new(table.clone()),
            table,
            catalog,
            create: create.to_owned(),
            factory,
            next_offsets: (0..partitions).map(|partition| (partition, 0)).collect(),
            now_micros: 0,
        })
    }

    /// The oracle.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The source's watermark as of the last tick.
    pub fn watermark(&self) -> Watermark {
        self.core.sources()["s"].watermark
    }

    /// The core, to look at.
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// Consumes records and runs one tick over them; returns the view's change.
    ///
    /// # Errors
    /// A failed view or a bug.
    pub fn tick(&mut self, records: &[Record]) -> Result<Option<Delta>, String> {
        let mut raw = Vec::with_capacity(records.len());
        for record in records {
            let offset = self.next_offsets.entry(record.partition).or_default();
            raw.push(RawRecord {
                partition: record.partition,
                offset: *offset,
                timestamp_ms: Some(super::stream::START_MICROS / 1000 + 3_600_000_000),
                key: None,
                payload: record.payload.as_deref().map(str::as_bytes),
                headers: Headers::default(),
            });
            *offset += 1;
        }
        self.now_micros += 1_000_000;
        let taken = self.take(&raw).map_err(|e| e.to_string())?;
        let outcome = self.core.tick(self.now_micros, BTreeMap::from([("s".to_owned(), taken)]));
        let outcome = outcome.map_err(|e| e.to_string())?;
        if let Some(error) = &self.core.views()["v"].failed {
            return Err(format!("the view failed: {error}"));
        }
        Ok(outcome.changelogs.into_iter().next().map(|(_, delta)| delta))
    }

    fn take(&mut self, raw: &[RawRecord<'_>]) -> engine::Result<IngestedTick> {
        let end = |(partition, position): (&i32, &i64)| {
            (*partition, PartitionStatus { position: *position, end: Some(*position) })
        };
        let status: BTreeMap<_, _> = self.next_offsets.iter().map(end).collect();
        self.all.push(raw)?;
        let all = self.all.take(self.now_micros, &status)?;
        self.ingest.push(raw)?;
        let taken = self.ingest.take(self.now_micros, &status)?;
        assert_eq!(all.counts, taken.counts, "what is accepted depends on which columns are used: {:?}", all.errors);
        assert_eq!(all.watermark, taken.watermark, "the watermark depends on which columns are used");
        self.table.append(all.batches);
        Ok(taken)
    }

    /// The view's rows.
    ///
    /// # Errors
    /// A bug.
    pub fn rows(&self) -> Result<Vec<RecordBatch>, String> {
        let snapshot = self.core.views()["v"].view.snapshot();
        snapshot.scan(None).collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())
    }

    /// Saves everything, builds the view anew at another parallelism, and restores it.
    ///
    /// # Errors
    /// A bug.
    pub fn restart(&mut self, config: CoreConfig) -> Result<(), String> {
        let internal = |e: engine::Error| e.to_string();
        let old = self.core.remove_view("v").expect("added at the start");
        let saved = old.execution.save().map_err(internal)?;
        let rows = old.view.snapshot().scan(None).collect::<Result<Vec<_>, _>>().map_err(internal)?;
        let planned = plan(&self.catalog, &self.create).map_err(|e| e.to_string())?;
        let mut view = RunningView::try_new(&planned.dataflow, &config).map_err(internal)?;
        view.execution.restore(saved).map_err(internal)?;
        let (tick, _) = self.core.tick_and_now();
        view.view =
            MaterializedView::new(planned.dataflow.schema.clone(), planned.dataflow.append_only).map_err(internal)?;
        view.view.apply(tick, rows.into_iter().map(Delta::inserts).collect()).map_err(internal)?;
        self.core.add_view("v", view);
        let (state, spec) = (self.ingest.save(), self.ingest.spec().clone());
        self.ingest = Ingest::restore(spec, self.factory.clone(), state).map_err(internal)?;
        Ok(())
    }
}
