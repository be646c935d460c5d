//! What hangs on what: `pg_rewrite` and `pg_depend`, from which clients read a view's sources, and the comments of
//! `pg_description`.

use arrow::array::RecordBatch;
use datafusion::error::Result;

use crate::pg_catalog::rows::Rows;
use crate::pg_catalog::snapshot::CatalogSnapshot;
use crate::pg_catalog::system::SystemRelation;

/// OID of `pg_class`, where a relation is an object.
const CLASS: u32 = 1259;
/// OID of `pg_rewrite`, where a view's rule is one.
const REWRITE: u32 = 2618;
/// OID of `pg_namespace`.
const NAMESPACE: u32 = 2615;

/// The OID of a view's rule. Rules have no life of their own, so theirs follows from the view's; the top bit keeps
/// them apart from every other OID.
pub(super) fn rule_oid(view: u32) -> u32 {
    view | 0x8000_0000
}

pub(super) fn pg_rewrite(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let mut rows = Rows::new(relation, &["oid", "rulename", "ev_class"]);
    for view in snapshot.relations().iter().filter(|relation| relation.kind.is_view()) {
        rows.push([rule_oid(view.oid).into(), "_RETURN".into(), view.oid.into()]);
    }
    rows.finish()
}

pub(super) fn pg_depend(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let mut rows = Rows::new(relation, &["classid", "objid", "refclassid", "refobjid", "deptype"]);
    for view in snapshot.relations().iter().filter(|relation| relation.kind.is_view()) {
        let rule = rule_oid(view.oid);
        let mut push = |on: u32, kind: &str| {
            rows.push([REWRITE.into(), rule.into(), CLASS.into(), on.into(), kind.into()]);
        };
        push(view.oid, "i");
        view.depends_on.iter().for_each(|on| push(*on, "n"));
    }
    for relation in snapshot.relations() {
        let schema = snapshot.schema_oid(&relation.schema);
        rows.push([CLASS.into(), relation.oid.into(), NAMESPACE.into(), schema.into(), "n".into()]);
    }
    rows.finish()
}

pub(super) fn pg_description(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let mut rows = Rows::new(relation, &["objoid", "classoid", "objsubid", "description"]);
    for (oid, _, comment) in snapshot.schemas() {
        if let Some(comment) = comment {
            rows.push([oid.into(), NAMESPACE.into(), 0.into(), comment.into()]);
        }
    }
    for relation in snapshot.relations() {
        if let Some(comment) = &relation.comment {
            rows.push([relation.oid.into(), CLASS.into(), 0.into(), comment.into()]);
        }
        for (column, comment) in &relation.column_comments {
            rows.push([relation.oid.into(), CLASS.into(), (*column).into(), comment.into()]);
        }
    }
    rows.finish()
}
