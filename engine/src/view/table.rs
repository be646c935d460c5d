//! A view's snapshot as a DataFusion table.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::view::scan_exec::SnapshotScanExec;
use crate::view::view_snapshot::ViewSnapshot;

/// Fewer rows than this are not worth a partition of their own.
const PARTITION_ROWS_MIN: u64 = 65_536;

/// One snapshot as a table: every query over it reads the same rows. Projections and limits are pushed into the scan;
/// filters stay with DataFusion.
#[derive(Debug, Clone)]
pub struct SnapshotTable {
    snapshot: ViewSnapshot,
}

impl SnapshotTable {
    /// The table of `snapshot`'s rows.
    pub fn new(snapshot: ViewSnapshot) -> Self {
        Self { snapshot }
    }
}

/// In how many partitions to scan `rows` rows.
fn partition_count(rows: u64, limit: Option<usize>, target_partitions: usize) -> usize {
    let rows = limit.map_or(rows, |limit| rows.min(limit as u64));
    target_partitions.clamp(1, rows.div_ceil(PARTITION_ROWS_MIN).max(1) as usize)
}

#[async_trait]
impl TableProvider for SnapshotTable {
    fn schema(&self) -> SchemaRef {
        self.snapshot.schema().clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn statistics(&self) -> Option<Statistics> {
        let rows = Precision::Exact(self.snapshot.num_rows() as usize);
        Some(Statistics::new_unknown(self.snapshot.schema()).with_num_rows(rows))
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let partitions = partition_count(self.snapshot.num_rows(), limit, state.config().target_partitions());
        let scan = SnapshotScanExec::try_new(self.snapshot.clone(), projection.cloned(), partitions, limit)?;
        Ok(Arc::new(scan))
    }
}
