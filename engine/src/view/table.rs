//! A view's snapshot as a DataFusion table.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::view::index_choice::{NamedIndex, choose, is_usable};
use crate::view::scan_exec::SnapshotScanExec;
use crate::view::view_snapshot::ViewSnapshot;

/// Fewer rows than this are not worth a partition of their own.
const PARTITION_ROWS_MIN: u64 = 65_536;

/// One snapshot as a table: every query over it reads the same rows. Projections and limits are pushed into the scan;
/// filters stay with DataFusion, and tell the scan what to look up where there is an index.
#[derive(Debug, Clone)]
pub struct SnapshotTable {
    snapshot: ViewSnapshot,
    indexes: Vec<NamedIndex>,
}

impl SnapshotTable {
    /// The table of `snapshot`'s rows.
    pub fn new(snapshot: ViewSnapshot) -> Self {
        Self { snapshot, indexes: Vec::new() }
    }

    /// The same table, read through those of these indexes that the snapshot has.
    #[must_use]
    pub fn with_indexes(self, indexes: impl IntoIterator<Item = NamedIndex>) -> Self {
        let there = |index: &NamedIndex| self.snapshot.indexes().iter().any(|columns| **columns == *index.columns);
        let indexes = indexes.into_iter().filter(there).collect();
        Self { indexes, ..self }
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
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let lookup = choose(filters, self.snapshot.schema(), &self.indexes);
        let partitions = match &lookup {
            Some(lookup) if lookup.is_point() => 1,
            _ => partition_count(self.snapshot.num_rows(), limit, state.config().target_partitions()),
        };
        let scan = SnapshotScanExec::try_new(self.snapshot.clone(), projection.cloned(), partitions, limit)?;
        Ok(Arc::new(scan.with_lookup(lookup)))
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let one = |filter: &&Expr| match is_usable(filter, self.snapshot.schema(), &self.indexes) {
            // What is looked up may be more than what is wanted.
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(one).collect())
    }
}
