//! Relations, their columns and their schemas: `pg_class`, `pg_attribute`, `pg_namespace` and the views over them.

use arrow::array::RecordBatch;
use arrow::datatypes::FieldRef;
use datafusion::error::Result;

use crate::pg_catalog::rows::{Cell, Rows};
use crate::pg_catalog::snapshot::{BOOTSTRAP_ROLE, CatalogSnapshot, Relation, RelationKind};
use crate::pg_catalog::system::{self, SystemRelation};
use crate::pg_catalog::types::{self, type_of};

/// OID of the access method of every index.
const BTREE: u32 = 403;

/// Bytes of a page, the unit of `relpages`.
const PAGE_BYTES: u64 = 8192;

pub(super) fn pg_class(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let columns = ["oid", "relname", "relnamespace", "relkind", "relowner", "relnatts", "relhasrules", "relreplident"];
    let more = ["relpages", "reltuples", "relhasindex", "relam", "relacl"];
    let mut rows = Rows::new(relation, &[&columns[..], &more].concat());
    for own in system::relations() {
        rows.push([
            own.oid.into(),
            own.name.into(),
            snapshot.schema_oid(own.schema).into(),
            own.kind.into(),
            BOOTSTRAP_ROLE.into(),
            (own.columns.len() as i32).into(),
            (own.kind == "v").into(),
            "n".into(),
            0.into(),
            0.into(),
            false.into(),
            0.into(),
            // The system's own are everybody's to read.
            Cell::Null,
        ]);
    }
    for (index, on) in snapshot.indexes().iter().filter_map(|index| snapshot.index(index.oid)) {
        rows.push([
            index.oid.into(),
            (&index.name).into(),
            snapshot.schema_oid(&on.schema).into(),
            "i".into(),
            on.owner.into(),
            (index.columns.len() as i32).into(),
            false.into(),
            "n".into(),
            0.into(),
            (on.rows.unwrap_or(0) as f64).into(),
            false.into(),
            BTREE.into(),
            Cell::Null,
        ]);
    }
    for user in snapshot.relations() {
        rows.push([
            user.oid.into(),
            (&user.name).into(),
            snapshot.schema_oid(&user.schema).into(),
            user.kind.relkind().into(),
            user.owner.into(),
            (user.columns.len() as i32).into(),
            user.kind.is_view().into(),
            if user.kind == RelationKind::View { "n" } else { "d" }.into(),
            (user.bytes.unwrap_or(0).div_ceil(PAGE_BYTES) as i64).into(),
            (user.rows.unwrap_or(0) as f64).into(),
            snapshot.indexes().iter().any(|index| index.relation == user.oid).into(),
            0.into(),
            snapshot.acl(user.acl.as_ref()).into(),
        ]);
    }
    rows.finish()
}

pub(super) fn pg_attribute(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let columns = ["attrelid", "attname", "atttypid", "attlen", "attnum", "attndims", "atttypmod", "attbyval"];
    let more = ["attstorage", "attalign", "attnotnull", "attcollation"];
    let mut rows = Rows::new(relation, &[&columns[..], &more].concat());
    let mut push = |oid: u32, at: usize, field: &FieldRef| {
        let (type_oid, typmod) = type_of(field);
        let row = types::by_oid(type_oid);
        rows.push([
            oid.into(),
            field.name().into(),
            type_oid.into(),
            row.map_or(-1, |row| row.length).into(),
            (at as i32 + 1).into(),
            i32::from(row.is_some_and(|row| row.element != 0 && row.length == -1)).into(),
            typmod.into(),
            row.is_some_and(|row| row.by_value).into(),
            row.map_or("x", |row| row.storage).into(),
            row.map_or("i", |row| row.align).into(),
            (!field.is_nullable()).into(),
            row.map_or(0, |row| row.collation).into(),
        ]);
    };
    for own in system::relations() {
        own.arrow.fields().iter().enumerate().for_each(|(at, field)| push(own.oid, at, field));
    }
    for user in snapshot.relations() {
        user.columns.iter().enumerate().for_each(|(at, field)| push(user.oid, at, field));
    }
    for index in snapshot.indexes() {
        snapshot.index_columns(index).iter().enumerate().for_each(|(at, field)| push(index.oid, at, field));
    }
    rows.finish()
}

pub(super) fn pg_namespace(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let mut rows = Rows::new(relation, &["oid", "nspname", "nspacl"]);
    for (oid, name, _) in snapshot.schemas() {
        let acl = snapshot.schema_acl().filter(|_| oid == system::PUBLIC);
        rows.push([oid.into(), name.into(), acl.into()]);
    }
    rows.finish()
}

pub(super) fn pg_tables(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let owner = owner(snapshot);
    let mut rows = Rows::new(relation, &["schemaname", "tablename", "tableowner"]);
    for own in system::relations().filter(|own| own.kind == "r") {
        rows.push([own.schema.into(), own.name.into(), owner.into()]);
    }
    for user in snapshot.relations().iter().filter(|user| !user.kind.is_view()) {
        rows.push([(&user.schema).into(), (&user.name).into(), owner_of(snapshot, user).into()]);
    }
    rows.finish()
}

pub(super) fn pg_views(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let owner = owner(snapshot);
    let mut rows = Rows::new(relation, &["schemaname", "viewname", "viewowner", "definition"]);
    for own in system::relations().filter(|own| own.kind == "v") {
        rows.push([own.schema.into(), own.name.into(), owner.into(), Cell::Null]);
    }
    for user in snapshot.relations().iter().filter(|user| user.kind == RelationKind::View) {
        rows.push([(&user.schema).into(), (&user.name).into(), owner_of(snapshot, user).into(), definition(user)]);
    }
    rows.finish()
}

pub(super) fn pg_matviews(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let mut rows = Rows::new(relation, &["schemaname", "matviewname", "matviewowner", "definition"]);
    for user in snapshot.relations().iter().filter(|user| user.kind == RelationKind::MaterializedView) {
        rows.push([(&user.schema).into(), (&user.name).into(), owner_of(snapshot, user).into(), definition(user)]);
    }
    rows.finish()
}

/// The name of the role that owns a relation.
pub(super) fn owner_of<'a>(snapshot: &'a CatalogSnapshot, relation: &Relation) -> &'a str {
    snapshot.role_name(relation.owner).unwrap_or("unknown")
}

/// The name of the role that owns what the server is born with.
pub(super) fn owner(snapshot: &CatalogSnapshot) -> &str {
    snapshot.role_name(BOOTSTRAP_ROLE).unwrap_or("unknown")
}

/// A view's query as PostgreSQL shows it: with a semicolon.
pub(super) fn definition(relation: &Relation) -> Cell {
    let query = relation.definition.as_ref().filter(|_| relation.kind.is_view());
    query.map(|query| format!("{};", query.trim().trim_end_matches(';'))).into()
}
