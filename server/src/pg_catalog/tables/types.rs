//! The tables whose rows a PostgreSQL server is born with and nobody changes here: `pg_type`, `pg_am` and the static
//! files as they are.

use arrow::array::RecordBatch;
use datafusion::error::Result;

use crate::pg_catalog::rows::Rows;
use crate::pg_catalog::system::SystemRelation;
use crate::pg_catalog::tsv::{TYPES, Tsv};

pub(super) fn static_rows(relation: &'static SystemRelation, file: &Tsv) -> Result<RecordBatch> {
    let mut rows = Rows::new(relation, &file.columns);
    for row in &file.rows {
        rows.push_text(row, &file.columns);
    }
    rows.finish()
}

pub(super) fn pg_type(relation: &'static SystemRelation) -> Result<RecordBatch> {
    static_rows(relation, &TYPES)
}

/// Access methods. Nothing here is stored by one; clients that look up `heap` or `btree` to compare with find them.
pub(super) fn pg_am(relation: &'static SystemRelation) -> Result<RecordBatch> {
    let mut rows = Rows::new(relation, &["oid", "amname", "amtype"]);
    rows.push([2.into(), "heap".into(), "t".into()]);
    rows.push([403.into(), "btree".into(), "i".into()]);
    rows.finish()
}
