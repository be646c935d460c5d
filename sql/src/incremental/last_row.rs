//! The rewrite of a scan of a source with a primary key: the last row of each key, which retracts.

use std::sync::Arc;

use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::logical_plan::TableScanBuilder;
use datafusion::logical_expr::{Extension, LogicalPlan, TableScan};
use engine::dataflow::scan::DeltaTable;
use engine::dataflow::upsert::UpsertNode;
use engine::ingest::{DELETED_COLUMN, PLACE_COLUMNS};

use super::rewrite::{Node, Rewriter, with_weight};
use crate::error::SqlError;

impl Rewriter {
    /// The rows of `table`, as `scan` projects them. The records are read with the key and their places beside it.
    pub(super) fn last_rows(&mut self, scan: &TableScan, table: &DeltaTable) -> Result<Node, SqlError> {
        let records = table.records();
        let wanted = scan.projected_schema.fields().iter().map(|field| field.name());
        let mut names: Vec<&String> = wanted.collect();
        let output: Vec<usize> = (0..names.len()).collect();
        let beside = table.key.iter().filter(|key| !names.contains(key)).collect::<Vec<_>>();
        names.extend(beside);
        let place = |key: &String| names.iter().position(|name| *name == key);
        let keys: Vec<usize> = table.key.iter().filter_map(place).collect();
        let places = [DELETED_COLUMN].into_iter().chain(PLACE_COLUMNS.iter().map(|(name, _)| *name));
        let all = names.iter().map(|name| name.as_str()).chain(places);
        let projection = all.map(|name| records.schema.index_of(name)).collect::<Result<Vec<_>, _>>();
        let projection = projection.map_err(datafusion::error::DataFusionError::from)?;
        let source = provider_as_source(Arc::new(records));
        let input = TableScanBuilder::new(scan.table_name.clone(), source).with_projection(Some(projection)).build()?;
        let node = UpsertNode {
            id: self.next_operator(),
            input: Arc::new(LogicalPlan::TableScan(input)),
            keys,
            schema: with_weight(&scan.projected_schema)?,
            output,
        };
        let bounds = vec![None; scan.projected_schema.fields().len()];
        let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        Ok(Node { plan, weighted: true, bounds, closes: false })
    }
}
