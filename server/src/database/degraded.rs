//! What a reader is told of views that leave rows out.

use std::collections::BTreeSet;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use sql::SqlError;
use sql::catalog::{Definition, ERRORS_RELATION};

use super::Reading;
use crate::backend::Notice;

/// One notice for each view that leaves rows out and that `plan` reads, itself or through other views.
///
/// # Errors
/// DataFusion's; there are none.
pub(super) fn notices(plan: &LogicalPlan, reading: &Reading) -> Result<Vec<Notice>, SqlError> {
    if reading.snapshot.errors.values().all(|errors| errors.num_rows() == 0) {
        return Ok(Vec::new());
    }
    let mut open = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && scan.table_name.schema().is_none_or(|schema| schema == "public")
        {
            open.push(scan.table_name.table().to_owned());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let mut read = BTreeSet::new();
    while let Some(name) = open.pop() {
        let Some(object) = reading.catalog.get(&name) else { continue };
        if read.insert(name) {
            open.extend(object.reads.iter().cloned());
        }
    }
    let is_view = |name: &&String| {
        reading.catalog.get(name).is_some_and(|object| matches!(object.definition, Definition::MaterializedView(_)))
    };
    let notice = |name: &String| {
        let rows = reading.snapshot.rows_left_out(name);
        (rows > 0).then(|| left_out(name, rows))
    };
    Ok(read.iter().filter(is_view).filter_map(notice).collect())
}

/// What is told of one view.
pub(super) fn left_out(view: &str, rows: u64) -> Notice {
    let counted = if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") };
    let message = format!("materialized view \"{view}\" leaves out {counted} on which an expression failed");
    let mut notice = Notice::new(message);
    let relation = sql::rename::quoted(&format!("{view}_{ERRORS_RELATION}"));
    notice.message.hint = Some(format!("SELECT * FROM {relation} tells which, and why."));
    notice
}
