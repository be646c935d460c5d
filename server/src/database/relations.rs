//! What a name in FROM stands for.
//!
//! In the body of a materialized view a source or another materialized view is the leaf of an incremental plan
//! ([`DeltaRelations`]); in a SELECT a source is its topic, and a view its rows at the read point's tick ([`ReadRelations`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DataFusionError;
use datafusion::datasource::empty::EmptyTable;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use engine::dataflow::scan::DeltaTable;
use engine::engine::Engine;
use engine::ingest::quarantine::{errors_schema, late_schema};
use engine::ingest::topic_table::TopicTable;
use engine::row_error::row_errors_schema;
use engine::tick::budget;
use engine::view::table::SnapshotTable;
use engine::view::{SourceReading, ViewSnapshot};
use parking_lot::Mutex;
use sql::binder::{Relation, Relations};
use sql::catalog::{Catalog, Definition, Object, noun};
use sql::{SqlError, SqlState};

use super::block::ChangedTable;
use super::index::indexes_of;
use super::{Reading, source, system};
use crate::roles::access::Access;

/// True for the schema that users' objects are in, named or not.
fn is_public(schema: Option<&str>) -> bool {
    schema.is_none_or(|schema| schema == "public")
}

/// Relations of a materialized view's body.
pub struct DeltaRelations {
    catalog: Arc<Catalog>,
    read: Mutex<BTreeSet<String>>,
    incremental: bool,
    /// Who asks, if not the server itself.
    access: Option<Access>,
    within: Within,
}

/// The plain views whose queries are being read, the innermost last.
#[derive(Debug, Default)]
struct Within(Mutex<Vec<String>>);

impl Within {
    fn enter(&self, view: &str) {
        self.0.lock().push(view.to_owned());
    }

    fn leave(&self) {
        self.0.lock().pop();
    }

    /// The refusal of a relation that may not be read here.
    fn refusal(&self, access: Option<&Access>, catalog: &Catalog, name: &str) -> Option<Relation> {
        access?.check_read(catalog, name, &self.0.lock()).err().map(Relation::Denied)
    }
}

impl DeltaRelations {
    /// Over the objects of `catalog`.
    pub fn new(catalog: Arc<Catalog>) -> Self {
        Self { catalog, read: Mutex::default(), incremental: true, access: None, within: Within::default() }
    }

    /// The same, of which only what `access` allows can be read, if it is given.
    #[must_use]
    pub(super) fn as_seen_by(self, access: Option<&Access>) -> Self {
        Self { access: access.cloned(), ..self }
    }

    /// For a plain view, of which only the columns matter when it is created.
    pub fn for_reading(catalog: Arc<Catalog>) -> Self {
        Self { incremental: false, ..Self::new(catalog) }
    }

    /// The objects asked for so far.
    pub fn read(&self) -> BTreeSet<String> {
        self.read.lock().clone()
    }
}

impl Relations for DeltaRelations {
    fn relation(&self, schema: Option<&str>, name: &str) -> Option<Relation> {
        if !is_public(schema) {
            return None;
        }
        if let Some(denied) = self.within.refusal(self.access.as_ref(), &self.catalog, name) {
            return Some(denied);
        }
        let Some(object) = self.catalog.get(name) else {
            if let Some(view) = self.catalog.view_of_errors(name) {
                self.read.lock().insert(view.name.clone());
                return Some(Relation::Table(Arc::new(EmptyTable::new(row_errors_schema()))));
            }
            let (source, suffix) = self.catalog.source_relation(name)?;
            self.read.lock().insert(source.name.clone());
            let schema = if suffix == "errors" { errors_schema() } else { late_schema(&declared(source)) };
            return Some(Relation::Table(Arc::new(EmptyTable::new(schema))));
        };
        self.read.lock().insert(name.to_owned());
        Some(match &object.definition {
            Definition::Source(create) if self.incremental => Relation::Table(Arc::new(source::delta_table(create))),
            Definition::View(view) => view_relation(object, &view.query_text),
            _ => Relation::Table(match object.properties.clone().filter(|_| self.incremental) {
                Some(properties) => Arc::new(DeltaTable::new(name, schema_of(&object.columns), properties)),
                None => Arc::new(EmptyTable::new(schema_of(&object.columns))),
            }),
        })
    }

    fn version_time(&self, schema: Option<&str>, name: &str) -> Result<String, SqlError> {
        version_time(&self.catalog, schema, name)
    }

    fn entering(&self, view: &str) {
        self.within.enter(view);
    }

    fn leaving(&self) {
        self.within.leave();
    }
}

/// The time of the versions of a relation of the catalog.
pub(super) fn version_time(catalog: &Catalog, schema: Option<&str>, name: &str) -> Result<String, SqlError> {
    match catalog.get(name).filter(|_| is_public(schema)) {
        Some(object) => object.version_time(),
        None => NoRelations.version_time(schema, name),
    }
}

pub(super) fn view_relation(object: &Object, query: &str) -> Relation {
    let columns = object.columns.iter().map(|field| field.name().clone()).collect();
    Relation::View { query: query.to_owned(), columns }
}

/// No relation at all: for a plan whose names are resolved.
pub struct NoRelations;

impl Relations for NoRelations {
    fn relation(&self, _schema: Option<&str>, _name: &str) -> Option<Relation> {
        None
    }
}

pub(super) fn schema_of(columns: &[FieldRef]) -> Arc<Schema> {
    Arc::new(Schema::new(columns.iter().cloned().collect::<arrow::datatypes::Fields>()))
}

/// A source's declared columns, without the included metadata.
fn declared(object: &Object) -> Vec<FieldRef> {
    match &object.definition {
        Definition::Source(create) => create.columns.clone(),
        _ => vec![],
    }
}

/// A relation that has columns but no rows to be read now: reading it says why, instead of giving rows that are not the
/// answer.
#[derive(Debug)]
struct Unreadable {
    schema: Arc<Schema>,
    error: SqlError,
}

impl Unreadable {
    fn relation(object: &Object, error: SqlError) -> Relation {
        Relation::Table(Arc::new(Self { schema: schema_of(&object.columns), error }))
    }
}

/// What a view that has failed says.
pub(super) fn failed(name: &str, error: &str) -> SqlError {
    let message = format!("materialized view \"{name}\" has failed");
    if budget::is_exceeded(error) {
        return SqlError::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message).detail(system::failure(error)).hint(
            "EXPLAIN (STATE) MATERIALIZED VIEW says what the view keeps; bound that, or create the view again with a larger \
             max_state.",
        );
    }
    SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        .detail(system::failure(error))
        .hint("mend the cause and create the view again with CREATE OR REPLACE MATERIALIZED VIEW")
}

#[async_trait]
impl TableProvider for Unreadable {
    fn schema(&self) -> Arc<Schema> {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        _projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        Err(DataFusionError::External(Box::new(self.error.clone())))
    }
}

/// Relations of a SELECT at one read point.
pub struct ReadRelations<'a> {
    reading: &'a Reading,
    engine: &'a Engine,
    within: Within,
}

impl<'a> ReadRelations<'a> {
    /// At this read point.
    pub fn new(reading: &'a Reading, engine: &'a Engine) -> Self {
        Self { reading, engine, within: Within::default() }
    }

    fn topic(&self, name: &str) -> Option<Relation> {
        let (definition, start) = (self.engine.source(name)?, self.engine.source_start(name)?);
        let table = TopicTable::try_new(definition.spec, definition.factory, definition.opener, start).ok()?;
        Some(Relation::Table(Arc::new(table)))
    }

    /// The rows that a view left out.
    fn left_out(&self, name: &str) -> Option<Relation> {
        let view = self.reading.catalog.view_of_errors(name)?;
        let errors = self.reading.snapshot.view(name);
        if let Some(error) = errors.and_then(|errors| errors.error.as_deref()) {
            let unreadable = Unreadable { schema: row_errors_schema(), error: failed(&view.name, error) };
            return Some(Relation::Table(Arc::new(unreadable)));
        }
        if errors.is_none() && self.reading.earlier {
            let message =
                format!("materialized view \"{}\" was created after tick {}", view.name, self.reading.snapshot.tick);
            let error = SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message);
            return Some(Relation::Table(Arc::new(Unreadable { schema: row_errors_schema(), error })));
        }
        let rows = errors.map_or_else(|| ViewSnapshot::empty(row_errors_schema()), |errors| errors.rows.clone());
        Some(Relation::Table(Arc::new(SnapshotTable::new(rows))))
    }

    fn quarantine(&self, name: &str) -> Option<Relation> {
        let (source, suffix) = self.reading.catalog.source_relation(name)?;
        let errors = suffix == "errors";
        let read = |reading: &Arc<SourceReading>| if errors { reading.errors.clone() } else { reading.late.clone() };
        let schema = || if errors { errors_schema() } else { late_schema(&declared(source)) };
        let rows = self.reading.snapshot.source(&source.name).and_then(read);
        let rows = rows.unwrap_or_else(|| ViewSnapshot::empty(schema()));
        Some(Relation::Table(Arc::new(SnapshotTable::new(rows))))
    }
}

impl Relations for ReadRelations<'_> {
    fn relation(&self, schema: Option<&str>, name: &str) -> Option<Relation> {
        if schema == Some(system::SCHEMA) {
            return system::table(name, self.reading, self.engine).map(Relation::Table);
        }
        if !is_public(schema) {
            return None;
        }
        if let Some(denied) = self.within.refusal(self.reading.access.as_deref(), &self.reading.catalog, name) {
            return Some(denied);
        }
        let Some(object) = self.reading.catalog.get(name) else {
            return self.left_out(name).or_else(|| self.quarantine(name));
        };
        match &object.definition {
            Definition::Source(_) if self.reading.earlier => {
                let message = format!("source \"{name}\" cannot be read at an earlier tick");
                let error = SqlError::unsupported(message).hint("AS OF TICK reads materialized views and tables.");
                Some(Unreadable::relation(object, error))
            }
            Definition::Source(_) => self.topic(name),
            Definition::View(view) => Some(view_relation(object, &view.query_text)),
            Definition::MaterializedView(_) | Definition::Table(_) => {
                let view = self.reading.snapshot.view(name);
                if let Some(error) = view.and_then(|view| view.error.as_deref()) {
                    return Some(Unreadable::relation(object, failed(name, error)));
                }
                if view.is_none() && self.reading.earlier {
                    let tick = self.reading.snapshot.tick;
                    let kind = noun(object.kind());
                    let message = format!("{kind} \"{name}\" was created after tick {tick}");
                    let error = SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message);
                    return Some(Unreadable::relation(object, error));
                }
                let rows = view.map(|view| view.rows.clone());
                let rows = rows.unwrap_or_else(|| ViewSnapshot::empty(schema_of(&object.columns)));
                Some(Relation::Table(match self.reading.own.change_of(name) {
                    Some(change) => Arc::new(ChangedTable::new(rows, change.clone())),
                    None => Arc::new(SnapshotTable::new(rows).with_indexes(indexes_of(object))),
                }))
            }
        }
    }

    fn version_time(&self, schema: Option<&str>, name: &str) -> Result<String, SqlError> {
        version_time(&self.reading.catalog, schema, name)
    }

    fn entering(&self, view: &str) {
        self.within.enter(view);
    }

    fn leaving(&self) {
        self.within.leave();
    }
}
