//! Indexes: `pg_index` and the view over it.

use arrow::array::RecordBatch;
use datafusion::error::Result;

use crate::pg_catalog::names::quote_identifier;
use crate::pg_catalog::rows::{Cell, Rows};
use crate::pg_catalog::snapshot::{CatalogSnapshot, Index, Relation};
use crate::pg_catalog::system::SystemRelation;

/// The statement that makes an index, as PostgreSQL shows it.
pub(in crate::pg_catalog) fn indexdef(snapshot: &CatalogSnapshot, index: &Index, on: &Relation) -> String {
    let columns = snapshot.index_columns(index);
    let columns: Vec<_> = columns.iter().map(|column| quote_identifier(column.name())).collect();
    format!(
        "CREATE {}INDEX {} ON {}.{} USING btree ({})",
        if index.is_primary { "UNIQUE " } else { "" },
        quote_identifier(&index.name),
        quote_identifier(&on.schema),
        quote_identifier(&on.name),
        columns.join(", ")
    )
}

fn all(snapshot: &CatalogSnapshot) -> impl Iterator<Item = (&Index, &Relation)> {
    snapshot.indexes().iter().filter_map(|index| snapshot.index(index.oid))
}

pub(super) fn pg_index(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let named = ["indexrelid", "indrelid", "indnatts", "indnkeyatts", "indisunique", "indisprimary", "indisexclusion"];
    let flags = ["indimmediate", "indisclustered", "indisvalid", "indcheckxmin", "indisready", "indislive"];
    let lists = ["indisreplident", "indkey", "indcollation", "indclass", "indoption"];
    let mut rows = Rows::new(relation, &[&named[..], &flags, &lists].concat());
    for (index, on) in all(snapshot) {
        let columns = index.columns.len();
        let zeros = || Cell::List(vec![Cell::Int(0); columns]);
        rows.push([
            index.oid.into(),
            on.oid.into(),
            (columns as i32).into(),
            (columns as i32).into(),
            index.is_primary.into(),
            index.is_primary.into(),
            false.into(),
            true.into(),
            false.into(),
            true.into(),
            false.into(),
            true.into(),
            true.into(),
            false.into(),
            index.columns.clone().into(),
            zeros(),
            zeros(),
            zeros(),
        ]);
    }
    rows.finish()
}

pub(super) fn pg_indexes(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let mut rows = Rows::new(relation, &["schemaname", "tablename", "indexname", "indexdef"]);
    for (index, on) in all(snapshot) {
        let definition = indexdef(snapshot, index, on);
        rows.push([(&on.schema).into(), (&on.name).into(), (&index.name).into(), definition.into()]);
    }
    rows.finish()
}
