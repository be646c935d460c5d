//! One view over one source, driven on the calling thread: decode, lateness, plan, view, snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::format::json::JsonDecoder;
use engine::ingest::{DecoderFactory, Ingest, IngestSpec, UsedColumns};
use engine::source::{PartitionStatus, RawRecord};
use engine::tick::core::{Core, CoreConfig, RunningView};
use engine::view::Snapshot;
use sql::catalog::{Catalog, Definition, NewObject};
use sql::statement::Statement;

use crate::input::CREATE_SOURCE;

/// The source's ingest, and the views over it.
pub struct Pipeline {
    /// Views and tables.
    pub core: Core,
    /// The source between log and tick.
    pub ingest: Ingest,
    last: Snapshot,
    offset: i64,
    now_micros: i64,
}

fn catalog() -> (Arc<Catalog>, IngestSpec) {
    let parsed = sql::parser::parse(CREATE_SOURCE).expect("a valid statement").remove(0);
    let Statement::CreateSource(create) = parsed.statement else { unreachable!("a CREATE SOURCE") };
    let spec = server::database::ingest_spec_of(&create).expect("valid options");
    let catalog = Catalog::default().with(NewObject {
        name: create.name.clone(),
        text: CREATE_SOURCE.into(),
        columns: create.columns.clone(),
        definition: Definition::Source(Arc::new(*create)),
        reads: Default::default(),
        properties: None,
    });
    (Arc::new(catalog), spec)
}

/// The decoder of every benchmark.
pub fn factory() -> DecoderFactory {
    Arc::new(|spec| Ok(Box::new(JsonDecoder::new(spec)?)))
}

/// The source's ingest with these columns in use.
pub fn spec(columns: &[&str]) -> IngestSpec {
    let (_, mut spec) = catalog();
    let used = spec.decode.columns.iter().enumerate().filter(|(_, field)| columns.contains(&field.name().as_str()));
    let columns = used.map(|(index, _)| index).collect();
    spec.set_used(&UsedColumns { columns, metadata: vec![] }).expect("columns of the source");
    spec
}

impl Pipeline {
    /// A pipeline with one view per SELECT.
    ///
    /// # Panics
    /// If a SELECT cannot be maintained.
    pub fn new(selects: &[&str]) -> Self {
        let (catalog, source) = catalog();
        let state = server::database::session_state().expect("functions that can be registered");
        let config = CoreConfig::default();
        let mut core = Core::new(config.clone());
        core.add_source("bid", &source);
        let mut used = std::collections::BTreeSet::new();
        for (index, select) in selects.iter().enumerate() {
            let text = format!("CREATE MATERIALIZED VIEW v{index} AS {select}");
            let parsed = sql::parser::parse(&text).expect(select).remove(0);
            let Statement::CreateMaterializedView(create) = &parsed.statement else { panic!("{text}") };
            let planned = server::database::plan_view(&state, &catalog, create, &parsed.text).expect(select);
            used.extend(planned.dataflow.inputs.values().flatten().cloned());
            core.add_view(&format!("v{index}"), RunningView::try_new(&planned.dataflow, &config).expect(select));
        }
        let columns: Vec<&str> = used.iter().map(String::as_str).collect();
        let ingest = Ingest::new(spec(&columns), factory()).expect("a valid source");
        Self { core, ingest, last: Snapshot::default(), offset: 0, now_micros: 1_767_225_600_000_000 }
    }

    /// Consumes records and runs one tick over them, snapshot included.
    ///
    /// # Panics
    /// If the tick or a view fails.
    pub fn tick(&mut self, records: &[RawRecord<'_>]) {
        for slice in records.chunks(16 * 1024) {
            self.ingest.push(slice).expect("records in offset order");
        }
        self.offset += records.len() as i64;
        self.now_micros += 5_000;
        let status = BTreeMap::from([(0, PartitionStatus { position: self.offset, end: None })]);
        let taken = self.ingest.take(self.now_micros, &status).expect("rows that can be taken");
        let outcome = self.core.tick(self.now_micros, BTreeMap::from([("bid".to_owned(), taken)]));
        outcome.expect("a tick");
        for view in self.core.views().values() {
            assert_eq!(view.failed, None);
        }
        self.last = self.core.snapshot(&self.last, |_, _| None);
    }

    /// The next offset to feed.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Bytes and keys of all operators' state.
    pub fn state(&self) -> (usize, usize) {
        let views = self.core.views().values();
        views.fold((0, 0), |(bytes, keys), view| {
            (bytes + view.execution.state_bytes(), keys + view.execution.state_keys())
        })
    }
}
