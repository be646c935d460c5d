//! The leaves of an incremental plan: a source's accepted rows of the tick.

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

use super::runtime::TickRuntime;
use crate::error::Error;
use crate::ingest::{DELETED_COLUMN, PLACE_COLUMNS};

/// Rows a batch is cut to on its way into a plan, so that a large tick's columns stay in cache.
const BATCH_ROWS_MAX: usize = 8 * 1024;

/// A source as a table whose scan yields one tick's accepted rows. All inserts: such sources are append-only. What the scan of
/// one with a key yields are changes, which [`UpsertNode`](super::upsert::UpsertNode) makes rows.
#[derive(Debug, Clone)]
pub struct DeltaTable {
    /// The source's name.
    pub source: String,
    /// All its columns, declared and included.
    pub schema: SchemaRef,
    /// The event time column, if it has a watermark.
    pub event_time: Option<String>,
    /// The names of its primary key's columns, if it has one.
    pub key: Vec<String>,
}

impl DeltaTable {
    /// The records behind the rows of a source with a key: its columns, all of which may be NULL, then whether the record
    /// deletes, and its place in the log.
    pub fn records(&self) -> Self {
        let columns = self.schema.fields().iter();
        let columns = columns.map(|field| Arc::new(Field::clone(field).with_nullable(true)));
        let deleted = Arc::new(Field::new(DELETED_COLUMN, DataType::Boolean, false));
        let place = PLACE_COLUMNS
            .iter()
            .map(|(name, column)| Arc::new(Field::new(*name, column.data_type(), column.is_nullable())));
        let schema = Arc::new(Schema::new(columns.chain([deleted]).chain(place).collect::<Fields>()));
        Self { source: self.source.clone(), schema, event_time: None, key: vec![] }
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
        Ok(Arc::new(DeltaScanExec::new(self.source.clone(), schema, partitions)))
    }
}

/// Yields the tick's rows of one source, projected by column name. Batches are dealt to the partitions in turn.
#[derive(Debug, Clone)]
pub struct DeltaScanExec {
    source: String,
    properties: Arc<PlanProperties>,
}

impl DeltaScanExec {
    /// A scan of `source` that yields the columns of `schema`.
    pub fn new(source: String, schema: SchemaRef, partitions: usize) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { source, properties: Arc::new(properties) }
    }

    fn batches(&self, partition: usize, context: &TaskContext) -> crate::Result<Vec<RecordBatch>> {
        let runtime = context.session_config().get_extension::<TickRuntime>();
        let input = runtime.ok_or_else(|| Error::internal("no tick runtime in the task context"))?.input()?;
        let Some(rows) = input.rows.get(&self.source) else { return Ok(vec![]) };
        let (schema, partitions) = (self.schema(), self.properties.partitioning.partition_count());
        let mut batches = Vec::new();
        let mut index = 0;
        for batch in rows.iter() {
            let found = batch.schema();
            let columns = schema.fields().iter().map(|field| Ok(batch.column(found.index_of(field.name())?).clone()));
            let columns = columns.collect::<crate::Result<Vec<_>>>()?;
            let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
            for offset in (0..batch.num_rows()).step_by(BATCH_ROWS_MAX) {
                if index % partitions == partition {
                    batches.push(batch.slice(offset, BATCH_ROWS_MAX.min(batch.num_rows() - offset)));
                }
                index += 1;
            }
        }
        Ok(batches)
    }
}

impl DisplayAs for DeltaScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<_> = self.schema().fields().iter().map(|field| field.name().clone()).collect();
        write!(f, "DeltaScan: {} [{}]", self.source, columns.join(", "))
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
