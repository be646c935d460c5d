//! The slow, obvious answer: DataFusion's own batch query over every accepted row.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use engine::dataflow::checked::CheckedPlanner;
use sql::SqlError;
use sql::binder::{Binder, Relation, Relations};
use sql::catalog::Catalog;
use sql::statement::Statement;

/// A table whose rows grow between queries.
#[derive(Debug)]
pub struct GrowingTable {
    schema: SchemaRef,
    rows: std::sync::Mutex<Vec<RecordBatch>>,
}

impl GrowingTable {
    /// An empty table.
    pub fn new(schema: SchemaRef) -> Arc<Self> {
        Arc::new(Self { schema, rows: Default::default() })
    }

    /// Puts these rows in place of all others. Of none there is no batch: DataFusion's count(DISTINCT constant) takes a batch
    /// without rows for a value.
    pub fn replace(&self, rows: impl IntoIterator<Item = RecordBatch>) {
        let batches = rows.into_iter().filter(|batch| batch.num_rows() > 0).collect();
        *self.rows.lock().expect("no holder panics") = batches;
    }

    /// Adds rows.
    pub fn append(&self, rows: impl IntoIterator<Item = RecordBatch>) {
        self.rows.lock().expect("no holder panics").extend(rows);
    }
}

#[async_trait]
impl TableProvider for GrowingTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        let rows = self.rows.lock().expect("no holder panics").clone();
        Ok(MemorySourceConfig::try_new_exec(&[rows], self.schema.clone(), projection.cloned())?)
    }
}

/// The relations, by name.
struct Tables {
    tables: BTreeMap<String, Arc<GrowingTable>>,
    /// What says which of their columns are the time of versions.
    catalog: Option<Arc<Catalog>>,
}

impl Relations for Tables {
    fn relation(&self, _schema: Option<&str>, name: &str) -> Option<Relation> {
        self.tables.get(name).map(|table| Relation::Table(table.clone()))
    }

    fn version_time(&self, _schema: Option<&str>, name: &str) -> Result<String, SqlError> {
        let object = self.catalog.as_ref().and_then(|catalog| catalog.get(name));
        object.ok_or_else(|| SqlError::unsupported("versions without a catalog"))?.version_time()
    }
}

/// Answers queries over growing tables.
pub struct Batch {
    state: SessionState,
    tables: Tables,
}

impl Batch {
    /// Over this table, called `s`.
    pub fn new(table: Arc<GrowingTable>) -> Self {
        Self::over(BTreeMap::from([("s".to_owned(), table)]))
    }

    /// Over these tables.
    pub fn over(tables: BTreeMap<String, Arc<GrowingTable>>) -> Self {
        let config = sql::functions::session_config().with_target_partitions(1);
        let state = sql::functions::session_state(config, Arc::default()).expect("functions that can be registered");
        Self { state, tables: Tables { tables, catalog: None } }
    }

    /// The same, of relations that stand in this catalog.
    #[must_use]
    pub fn with_catalog(mut self, catalog: Arc<Catalog>) -> Self {
        self.tables.catalog = Some(catalog);
        self
    }

    /// Adds a table, in the place of its namesake if there is one.
    pub fn add(&mut self, name: &str, table: Arc<GrowingTable>) {
        self.tables.tables.insert(name.to_owned(), table);
    }

    /// Binds and optimises a query once, or that of a CREATE MATERIALIZED VIEW; it sees rows appended later. In it `now()` is
    /// `now_micros`.
    ///
    /// # Errors
    /// The binder's.
    pub fn plan(&self, text: &str, now_micros: i64) -> Result<LogicalPlan, SqlError> {
        let mut statements = sql::parser::parse(text)?;
        let parsed = statements.remove(0);
        let query = match parsed.statement {
            Statement::Query(query) => query,
            Statement::CreateMaterializedView(create) => create.query,
            _ => return Err(SqlError::unsupported("not a query")),
        };
        let binder = Binder::new(&self.state, &self.tables);
        let now = arrow::temporal_conversions::timestamp_us_to_datetime(now_micros).map(|now| now.and_utc());
        binder.optimize(&binder.bind_query(&query, &parsed.text, &[])?.plan, now)
    }

    /// Binds a view's query once, as a batch that leaves out the rows that the view does.
    ///
    /// # Errors
    /// The binder's, and what cannot be planned so.
    pub fn plan_checked(&self, text: &str, now_micros: i64) -> Result<LogicalPlan, SqlError> {
        let parsed = sql::parser::parse(text)?.remove(0);
        let Statement::Query(query) = parsed.statement else {
            return Err(SqlError::unsupported("not a query"));
        };
        let binder = Binder::new(&self.state, &self.tables);
        sql::incremental::checked_batch(&binder.bind_query(&query, &parsed.text, &[])?.plan, now_micros)
    }

    /// Runs a planned query.
    ///
    /// # Errors
    /// DataFusion's, as text.
    pub fn answer(&self, plan: &LogicalPlan) -> Result<Vec<RecordBatch>, String> {
        futures::executor::block_on(async {
            let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(CheckedPlanner)]);
            let physical = planner.create_physical_plan(plan, &self.state).await;
            let physical = physical.map_err(|e| e.to_string())?;
            datafusion::physical_plan::collect(physical, self.state.task_ctx()).await.map_err(|e| e.to_string())
        })
    }
}
