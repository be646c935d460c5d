//! The leaves of an incremental plan: a relation's change in the tick, be it a source's accepted rows or another view's
//! change.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream,
};

use super::relation::RelationProperties;
use super::runtime::TickRuntime;
use crate::delta::{self, Delta};
use crate::error::Error;
use crate::ingest::{DELETED_COLUMN, PLACE_COLUMNS};
use crate::operator::state_bound::Growth;

/// Rows a batch is cut to on its way into a plan, so that a large tick's columns stay in cache.
const BATCH_ROWS_MAX: usize = 8 * 1024;

/// A relation as a table whose scan yields its change in one tick. What the scan of a source with a key yields are its records,
/// which [`UpsertNode`](super::upsert::UpsertNode) makes rows.
#[derive(Debug, Clone)]
pub struct DeltaTable {
    /// The relation's name.
    pub relation: String,
    /// All its columns; the weight is the last if `weighted`.
    pub schema: SchemaRef,
    /// What plans over it may build on.
    pub properties: Arc<RelationProperties>,
    /// Whether scans yield weights.
    pub weighted: bool,
    /// The names of the primary key's columns, if it is a source that has one.
    pub key: Vec<String>,
}

impl DeltaTable {
    /// A relation as a query names it: without weights.
    pub fn new(relation: &str, schema: SchemaRef, properties: Arc<RelationProperties>) -> Self {
        Self { relation: relation.to_owned(), schema, properties, weighted: false, key: vec![] }
    }

    /// The same source with a primary key of these columns.
    #[must_use]
    pub fn with_key(self, key: Vec<String>) -> Self {
        Self { key, ..self }
    }

    /// The records behind the rows of a source with a key: its columns, all of which may be NULL, then whether the record
    /// deletes, and its place in the log.
    #[must_use]
    pub fn records(&self) -> Self {
        let columns = self.schema.fields().iter();
        let columns = columns.map(|field| Arc::new(Field::clone(field).with_nullable(true)));
        let deleted = Arc::new(Field::new(DELETED_COLUMN, DataType::Boolean, false));
        let place = PLACE_COLUMNS
            .iter()
            .map(|(name, column)| Arc::new(Field::new(*name, column.data_type(), column.is_nullable())));
        let schema = Arc::new(Schema::new(columns.chain([deleted]).chain(place).collect::<Fields>()));
        let properties = RelationProperties::of_source(&self.relation, &schema, None);
        Self::new(&self.relation, schema, Arc::new(properties))
    }

    /// The leaf of a plan over it: with weights, last, if it can retract.
    #[must_use]
    pub fn as_leaf(&self) -> Self {
        let weighted = !self.properties.append_only;
        let schema = if weighted { delta::weighted(&self.schema) } else { self.schema.clone() };
        Self { schema, weighted, ..self.clone() }
    }
}

#[async_trait]
impl TableProvider for DeltaTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => self.schema.clone(),
        };
        let partitions = state.config().target_partitions();
        let (maintained, rows) = (self.properties.maintained, self.properties.rows);
        Ok(Arc::new(DeltaScanExec::new(self.relation.clone(), schema, maintained, rows, partitions)))
    }
}

/// Yields the tick's change of one relation, projected by column name. Batches are dealt to the partitions in turn.
#[derive(Debug, Clone)]
pub struct DeltaScanExec {
    relation: String,
    /// Whether to say if the relation retracts: of a source it goes without saying.
    maintained: bool,
    rows: Growth,
    properties: Arc<PlanProperties>,
}

impl DeltaScanExec {
    /// A scan of `relation`, whose number of rows grows like `rows`, that yields the columns of `schema`, with the weight
    /// where that is the last.
    pub fn new(relation: String, schema: SchemaRef, maintained: bool, rows: Growth, partitions: usize) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { relation, maintained, rows, properties: Arc::new(properties) }
    }

    /// How the number of the relation's rows grows.
    pub fn rows(&self) -> Growth {
        self.rows
    }

    fn batches(&self, partition: usize, context: &TaskContext) -> crate::Result<Vec<RecordBatch>> {
        let runtime = context.session_config().get_extension::<TickRuntime>();
        let input = runtime.ok_or_else(|| Error::internal("no tick runtime in the task context"))?.input()?;
        let Some(deltas) = input.deltas.get(&self.relation) else { return Ok(vec![]) };
        let (schema, partitions) = (self.schema(), self.properties.partitioning.partition_count());
        let rows_schema = delta::without_weight(&schema);
        let mut batches = Vec::new();
        let mut index = 0;
        for delta in deltas.iter() {
            let edge = projected(delta, &rows_schema)?.into_edge(&schema)?;
            for offset in (0..edge.num_rows()).step_by(BATCH_ROWS_MAX) {
                if index % partitions == partition {
                    batches.push(edge.slice(offset, BATCH_ROWS_MAX.min(edge.num_rows() - offset)));
                }
                index += 1;
            }
        }
        Ok(batches)
    }
}

/// The columns of `schema` of a delta, by name.
fn projected(delta: &Delta, schema: &SchemaRef) -> crate::Result<Delta> {
    let found = delta.rows.schema();
    let columns = schema.fields().iter().map(|field| Ok(delta.rows.column(found.index_of(field.name())?).clone()));
    let columns = columns.collect::<crate::Result<Vec<_>>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(delta.num_rows()));
    let rows = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
    Ok(Delta { rows, weights: delta.weights.clone() })
}

impl DisplayAs for DeltaScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.schema();
        let (weighted, rows) = (delta::is_weighted(&schema), delta::without_weight(&schema));
        let columns: Vec<_> = rows.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "DeltaScan: {} [{}]", self.relation, columns.join(", "))?;
        match (self.maintained, weighted) {
            (false, _) => Ok(()),
            (true, false) => write!(f, ", append-only"),
            (true, true) => write!(f, ", retracting"),
        }
    }
}

impl ExecutionPlan for DeltaScanExec {
    fn name(&self) -> &str {
        "DeltaScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let batches = self.batches(partition, &context)?;
        let stream = futures::stream::iter(batches.into_iter().map(Ok));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }
}
