//! Views over sources, driven on the calling thread: decode, lateness, plan, views, snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use engine::format::Decoder;
use engine::format::json::JsonDecoder;
use engine::ingest::{DecoderFactory, Ingest, IngestSpec, UsedColumns};
use engine::source::{PartitionStatus, RawRecord};
use engine::tick::core::{Core, CoreConfig, RunningView};
use engine::view::Snapshot;
use sql::catalog::{Catalog, Definition, NewObject};
use sql::statement::Statement;

use crate::input::CREATE_SOURCE;

/// The sources' ingest, and the views over them.
pub struct Pipeline {
    /// Views and tables.
    pub core: Core,
    /// The sources between log and tick, each with the next offset to feed.
    sources: BTreeMap<String, (Ingest, i64)>,
    specs: BTreeMap<String, IngestSpec>,
    last: Snapshot,
    now_micros: i64,
    column_bytes: usize,
}

/// The sources of a script, and what each wants of its ingest.
fn catalog(script: &str) -> (Arc<Catalog>, BTreeMap<String, IngestSpec>) {
    let (mut catalog, mut specs) = (Catalog::default(), BTreeMap::new());
    for parsed in sql::parser::parse(script).expect("valid statements") {
        let Statement::CreateSource(create) = parsed.statement else { panic!("not a CREATE SOURCE: {}", parsed.text) };
        specs.insert(create.name.clone(), server::database::ingest_spec_of(&create).expect("valid options"));
        catalog = catalog.with(NewObject {
            name: create.name.clone(),
            text: parsed.text,
            columns: create.columns.clone(),
            definition: Definition::Source(Arc::new(*create)),
            reads: BTreeSet::new(),
            properties: None,
        });
    }
    (Arc::new(catalog), specs)
}

/// The decoder of every benchmark.
pub fn factory() -> DecoderFactory {
    Arc::new(|spec| Ok(Box::new(JsonDecoder::new(spec)?)))
}

/// The ingest of the source of bids with these columns in use.
pub fn spec(columns: &[&str]) -> IngestSpec {
    let (_, mut specs) = catalog(CREATE_SOURCE);
    with_columns(specs.remove("bid").expect("the source of bids"), &columns.iter().map(|name| (*name).into()).collect())
}

fn with_columns(mut spec: IngestSpec, names: &BTreeSet<String>) -> IngestSpec {
    let columns = spec.decode.columns.iter().enumerate().filter(|(_, field)| names.contains(field.name()));
    let columns = columns.map(|(index, _)| index).collect();
    let metadata = spec.metadata.iter().enumerate().filter(|(_, included)| names.contains(&included.name));
    let metadata = metadata.map(|(index, _)| index).collect();
    spec.set_used(&UsedColumns { columns, metadata }).expect("columns of the source");
    spec
}

impl Pipeline {
    /// A pipeline over the bids, with one view per SELECT.
    ///
    /// # Panics
    /// If a SELECT cannot be maintained.
    pub fn new(selects: &[&str]) -> Self {
        Self::over(CREATE_SOURCE, selects)
    }

    /// A pipeline over the sources of a script of `CREATE SOURCE`, with one view per SELECT. Only the columns that the
    /// views use are decoded, and a source that none reads is not fed.
    ///
    /// # Panics
    /// If a SELECT cannot be maintained.
    pub fn over(script: &str, selects: &[&str]) -> Self {
        let (catalog, specs) = catalog(script);
        let state = server::database::session_state().expect("functions that can be registered");
        let config = CoreConfig::default();
        let mut core = Core::new(config.clone());
        let mut used = BTreeMap::<String, BTreeSet<String>>::new();
        for (index, select) in selects.iter().enumerate() {
            let text = format!("CREATE MATERIALIZED VIEW v{index} AS {select}");
            let parsed = sql::parser::parse(&text).expect(select).remove(0);
            let Statement::CreateMaterializedView(create) = &parsed.statement else { panic!("{text}") };
            let planned = server::database::plan_view(&state, &catalog, create, &parsed.text).expect(select);
            for (source, columns) in &planned.dataflow.inputs {
                if !used.contains_key(source) {
                    core.add_source(source, &specs[source]);
                }
                used.entry(source.clone()).or_default().extend(columns.iter().cloned());
            }
            core.add_view(&format!("v{index}"), RunningView::try_new(&planned.dataflow, &config).expect(select));
        }
        let used_spec = |(source, columns)| (source, with_columns(specs[source].clone(), columns));
        let specs: BTreeMap<String, IngestSpec> =
            used.iter().map(used_spec).map(|(name, spec)| (name.clone(), spec)).collect();
        let ingest = |spec: &IngestSpec| Ingest::new(spec.clone(), factory()).expect("a valid source");
        let sources = specs.iter().map(|(name, spec)| (name.clone(), (ingest(spec), 0))).collect();
        Self { core, sources, specs, last: Snapshot::default(), now_micros: 1_767_225_600_000_000, column_bytes: 0 }
    }

    /// True if a view reads the source.
    pub fn reads(&self, source: &str) -> bool {
        self.sources.contains_key(source)
    }

    /// Consumes bids and runs one tick over them, snapshot included.
    ///
    /// # Panics
    /// If the tick or a view fails.
    pub fn tick(&mut self, bids: &[RawRecord<'_>]) {
        self.tick_of(&[("bid", bids)]);
    }

    /// The same with records of several sources. Those of a source that no view reads are passed over.
    ///
    /// # Panics
    /// If the tick or a view fails.
    pub fn tick_of(&mut self, records: &[(&str, &[RawRecord<'_>])]) {
        self.now_micros += 5_000;
        let mut taken = BTreeMap::new();
        for (name, records) in records {
            let Some((ingest, offset)) = self.sources.get_mut(*name) else { continue };
            for slice in records.chunks(16 * 1024) {
                ingest.push(slice).expect("records in offset order");
            }
            *offset += records.len() as i64;
            let status = BTreeMap::from([(0, PartitionStatus { position: *offset, end: None })]);
            let tick = ingest.take(self.now_micros, &status).expect("rows that can be taken");
            self.column_bytes += tick.batches.iter().map(column_bytes).sum::<usize>();
            taken.insert((*name).to_owned(), tick);
        }
        self.core.tick(self.now_micros, taken).expect("a tick");
        for view in self.core.views().values() {
            assert_eq!(view.failed, None);
        }
        self.last = self.core.snapshot(&self.last, |_, _| None);
    }

    /// A decoder of each source's used columns, for measuring decoding alone.
    ///
    /// # Panics
    /// If the source's format refuses its columns.
    pub fn decoders(&self) -> Vec<(String, Box<dyn Decoder>)> {
        let decoder =
            |(name, spec): (&String, &IngestSpec)| (name.clone(), factory()(spec.decode.clone()).expect("a decoder"));
        self.specs.iter().map(decoder).collect()
    }

    /// The next offset of a source to feed.
    pub fn offset(&self, source: &str) -> i64 {
        self.sources.get(source).map_or(0, |(_, offset)| *offset)
    }

    /// Bytes of the columns that the views use, of all rows accepted so far: fixed widths, and the bytes of texts.
    pub fn column_bytes(&self) -> usize {
        self.column_bytes
    }

    /// Keys touched by all ticks so far, over all operators that count them.
    pub fn touched_keys(&self) -> u64 {
        self.core.views().values().map(|view| view.execution.touched_keys()).sum()
    }

    /// Bytes and keys of all operators' state.
    pub fn state(&self) -> (usize, usize) {
        let views = self.core.views().values();
        views.fold((0, 0), |(bytes, keys), view| {
            (bytes + view.execution.state_bytes(), keys + view.execution.state_keys())
        })
    }
}

/// Bytes of a batch's values: what they are, not what they are kept in.
fn column_bytes(batch: &RecordBatch) -> usize {
    let of_column = |column: &ArrayRef| match column.as_string_view_opt() {
        Some(texts) => texts.lengths().map(|length| length as usize).sum(),
        None => column.data_type().primitive_width().unwrap_or(1) * column.len(),
    };
    batch.columns().iter().map(of_column).sum()
}
