//! The plan node that reads a view's snapshot.
//!
//! ```text
//! chunks of the snapshot     [0 1 2 3 4 5 6 7 8]
//! partition 0 streams         0 1 2              each chunk when it is asked for: live rows,
//! partition 1                       3 4 5        the wanted columns, until the fetch is reached
//! partition 2                             6 7 8
//! ```
//! Nothing is spawned and nothing is read ahead, so a stream that is dropped has stopped. Each batch takes a unit of the
//! task's cooperative budget, so a long scan lets other tasks run.

use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Statistics, internal_err};
use datafusion::error::Result;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions, SchedulingType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::Stream;

use crate::view::column_index::Lookup;
use crate::view::view_snapshot::{ViewScan, ViewSnapshot};

/// Reads columns of a snapshot in one or more partitions.
#[derive(Debug, Clone)]
pub struct SnapshotScanExec {
    snapshot: ViewSnapshot,
    projection: Option<Vec<usize>>,
    /// Positions and rows of each partition.
    partitions: Vec<(Range<usize>, u64)>,
    /// Rows each partition gives at most.
    fetch: Option<usize>,
    /// What is read of each chunk, at least; `None` is all.
    lookup: Option<Arc<Lookup>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SnapshotScanExec {
    /// Reads the columns in `projection` in up to `partitions` partitions, each of at most `fetch` rows.
    ///
    /// # Errors
    /// If the projection names a column that is not there.
    pub fn try_new(
        snapshot: ViewSnapshot,
        projection: Option<Vec<usize>>,
        partitions: usize,
        fetch: Option<usize>,
    ) -> Result<Self> {
        let schema = match &projection {
            None => snapshot.schema().clone(),
            Some(projection) => Arc::new(snapshot.schema().project(projection)?),
        };
        let partitions = snapshot.split(partitions);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(Self { snapshot, projection, partitions, fetch, lookup: None, properties: Arc::new(properties), metrics })
    }

    /// The same scan of what a look-up finds.
    pub(super) fn with_lookup(self, lookup: Option<Lookup>) -> Self {
        Self { lookup: lookup.map(Arc::new), ..self }
    }

    /// Rows partition `partition` gives, exactly.
    fn rows_of(&self, partition: usize) -> u64 {
        let rows = self.partitions[partition].1;
        self.fetch.map_or(rows, |fetch| rows.min(fetch as u64))
    }
}

impl DisplayAs for SnapshotScanExec {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.properties.eq_properties.schema();
        let columns: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let columns = columns.join(", ");
        match kind {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "SnapshotScanExec: projection=[{columns}], rows={}", self.snapshot.num_rows())?;
                write!(f, ", partitions={}", self.partitions.len())?;
                if let Some(lookup) = &self.lookup {
                    write!(f, ", index={}", lookup.text())?;
                }
                self.fetch.map_or(Ok(()), |fetch| write!(f, ", fetch={fetch}"))
            }
            DisplayFormatType::TreeRender => {
                write!(f, "projection={columns}\nrows={}", self.snapshot.num_rows())
            }
        }
    }
}

impl ExecutionPlan for SnapshotScanExec {
    fn name(&self) -> &str {
        "SnapshotScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some((positions, _)) = self.partitions.get(partition) else {
            return internal_err!("SnapshotScanExec has {} partitions, not {partition}", self.partitions.len());
        };
        let stream = ScanStream {
            schema: self.properties.eq_properties.schema().clone(),
            scan: (self.snapshot.scan_positions(self.projection.as_deref(), positions.clone()))
                .with_lookup(self.lookup.clone()),
            rows_left: self.fetch,
            metrics: BaselineMetrics::new(&self.metrics, partition),
        };
        Ok(Box::pin(cooperative(stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(&self, _inputs: &[Arc<Statistics>], args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let rows: u64 = match args.partition() {
            Some(partition) if partition >= self.partitions.len() => {
                return internal_err!("SnapshotScanExec has {} partitions, not {partition}", self.partitions.len());
            }
            Some(partition) => self.rows_of(partition),
            None => (0..self.partitions.len()).map(|partition| self.rows_of(partition)).sum(),
        };
        let unknown = Statistics::new_unknown(self.properties.eq_properties.schema());
        let rows = match &self.lookup {
            None => Precision::Exact(rows as usize),
            Some(_) => Precision::Inexact(rows as usize),
        };
        Ok(Arc::new(unknown.with_num_rows(rows)))
    }

    fn with_fetch(&self, fetch: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(Self { fetch, metrics: ExecutionPlanMetricsSet::new(), ..self.clone() }))
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }
}

/// One partition's batches.
struct ScanStream {
    schema: SchemaRef,
    scan: ViewScan,
    /// Rows still wanted; `None` for all.
    rows_left: Option<usize>,
    metrics: BaselineMetrics,
}

impl ScanStream {
    fn next_batch(&mut self) -> Option<Result<RecordBatch>> {
        if self.rows_left == Some(0) {
            return None;
        }
        let batch = match self.scan.next()? {
            Ok(batch) => batch,
            Err(error) => return Some(Err(error.into())),
        };
        let rows = self.rows_left.map_or(batch.num_rows(), |left| left.min(batch.num_rows()));
        self.rows_left = self.rows_left.map(|left| left - rows);
        Some(Ok(batch.slice(0, rows)))
    }
}

impl Stream for ScanStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let elapsed = this.metrics.elapsed_compute().clone();
        let timer = elapsed.timer();
        let batch = this.next_batch();
        drop(timer);
        this.metrics.record_poll(Poll::Ready(batch))
    }
}

impl RecordBatchStream for ScanStream {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}
