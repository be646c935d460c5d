//! The SQL standard's views of the catalog.
//!
//! Two liberties, the ones RisingWave takes too: `tables` lists materialized views, as `MATERIALIZED VIEW`, and
//! `columns` has their columns, because most tools look nowhere else.

mod columns;
mod routines;

use arrow::array::RecordBatch;
use datafusion::error::Result;

use super::relations::{definition, owner};
use crate::pg_catalog::rows::{Cell, Rows};
use crate::pg_catalog::session::SessionFacts;
use crate::pg_catalog::snapshot::{CatalogSnapshot, Relation, RelationKind};
use crate::pg_catalog::system::{self, SystemRelation};

/// The rows of the view `relation`.
pub(super) fn rows(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    match relation.name {
        "information_schema_catalog_name" => {
            let mut rows = Rows::new(relation, &["catalog_name"]);
            rows.push([snapshot.database().into()]);
            rows.finish()
        }
        "schemata" => schemata(snapshot, relation),
        "tables" => tables(snapshot, relation),
        "columns" => columns::columns(snapshot, relation),
        "views" => views(snapshot, relation),
        "view_table_usage" => view_table_usage(snapshot, relation),
        "applicable_roles" => applicable_roles(snapshot, relation),
        "character_sets" => character_sets(snapshot, relation),
        "collations" => collations(snapshot, relation),
        "routines" => routines::routines(snapshot, relation),
        "parameters" => routines::parameters(snapshot, relation),
        _ => Rows::new(relation, &[]).finish(),
    }
}

/// The roles whose rights the session has.
pub(super) fn enabled_roles(
    snapshot: &CatalogSnapshot,
    facts: &SessionFacts,
    relation: &'static SystemRelation,
) -> Result<RecordBatch> {
    let mut rows = Rows::new(relation, &["role_name"]);
    for name in facts.enabled_roles.iter().filter_map(|role| snapshot.role_name(*role)) {
        rows.push([name.into()]);
    }
    rows.finish()
}

fn schemata(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let mut rows = Rows::new(relation, &["catalog_name", "schema_name", "schema_owner"]);
    for (_, name, _) in snapshot.schemas() {
        rows.push([snapshot.database().into(), name.into(), owner(snapshot).into()]);
    }
    rows.finish()
}

fn tables(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let columns = ["table_catalog", "table_schema", "table_name", "table_type", "is_insertable_into", "is_typed"];
    let mut rows = Rows::new(relation, &columns);
    let mut push = |schema: &str, name: &str, kind: &str, insertable: bool| {
        let database = snapshot.database().into();
        rows.push([database, schema.into(), name.into(), kind.into(), yes_or_no(insertable), yes_or_no(false)]);
    };
    for own in system::relations() {
        push(own.schema, own.name, if own.kind == "v" { "VIEW" } else { "BASE TABLE" }, false);
    }
    for user in snapshot.relations().iter().filter(|user| user.accessible) {
        let kind = match user.kind {
            RelationKind::Source | RelationKind::Table => "BASE TABLE",
            RelationKind::MaterializedView => "MATERIALIZED VIEW",
            RelationKind::View => "VIEW",
        };
        push(&user.schema, &user.name, kind, user.kind == RelationKind::Table);
    }
    rows.finish()
}

fn views(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let named = ["table_catalog", "table_schema", "table_name", "view_definition", "check_option"];
    let flags = ["is_updatable", "is_insertable_into", "is_trigger_updatable", "is_trigger_deletable"];
    let columns = [&named[..], &flags, &["is_trigger_insertable_into"]].concat();
    let mut rows = Rows::new(relation, &columns);
    let mut push = |schema: &str, name: &str, definition: Cell| {
        let database = snapshot.database().into();
        let no = || yes_or_no(false);
        let named: [Cell; 5] = [database, schema.into(), name.into(), definition, "NONE".into()];
        let [a, b, c, d, e] = named;
        rows.push([a, b, c, d, e, no(), no(), no(), no(), no()]);
    };
    system::relations().filter(|own| own.kind == "v").for_each(|own| push(own.schema, own.name, Cell::Null));
    for user in snapshot.relations().iter().filter(|user| user.kind == RelationKind::View && user.accessible) {
        push(&user.schema, &user.name, definition(user));
    }
    rows.finish()
}

fn view_table_usage(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let view = ["view_catalog", "view_schema", "view_name"];
    let mut rows = Rows::new(relation, &[&view[..], &["table_catalog", "table_schema", "table_name"]].concat());
    for user in snapshot.relations().iter().filter(|user| user.kind == RelationKind::View) {
        for (schema, name) in user.depends_on.iter().filter_map(|oid| snapshot.qualified_name(*oid)) {
            let database = || Cell::from(snapshot.database());
            let view = [(&user.schema).into(), (&user.name).into()];
            let [view_schema, view_name] = view;
            rows.push([database(), view_schema, view_name, database(), schema.into(), name.into()]);
        }
    }
    rows.finish()
}

/// A privilege that somebody has on a relation, as these views list it.
pub(super) struct Listed<'a> {
    relation: &'a Relation,
    grantor: &'a str,
    grantee: &'a str,
    privilege: &'static str,
    grantable: bool,
}

/// The privileges that the session's roles gave or have, and with `public` what everybody has.
pub(super) fn listed<'a>(snapshot: &'a CatalogSnapshot, facts: &SessionFacts, public: bool) -> Vec<Listed<'a>> {
    let enabled = |role: u32| facts.enabled_roles.contains(&role);
    let mut found = Vec::new();
    for relation in snapshot.relations() {
        for grant in &relation.grants {
            let grantee = match grant.grantee {
                None if public => "PUBLIC",
                Some(role) if enabled(role) || enabled(grant.grantor) => snapshot.role_name(role).unwrap_or_default(),
                _ => continue,
            };
            let grantor = snapshot.role_name(grant.grantor).unwrap_or_default();
            for privilege in grant.privileges.iter() {
                // An owner may always grant.
                let grantable = grant.grantable.contains(privilege) || grant.grantee == Some(relation.owner);
                found.push(Listed { relation, grantor, grantee, privilege: privilege.word(), grantable });
            }
        }
    }
    found
}

pub(super) fn table_privileges(
    snapshot: &CatalogSnapshot,
    facts: &SessionFacts,
    relation: &'static SystemRelation,
    public: bool,
) -> Result<RecordBatch> {
    let columns = ["grantor", "grantee", "table_catalog", "table_schema", "table_name", "privilege_type"];
    let mut rows = Rows::new(relation, &[&columns[..], &["is_grantable", "with_hierarchy"]].concat());
    for Listed { relation, grantor, grantee, privilege, grantable } in listed(snapshot, facts, public) {
        rows.push([
            grantor.into(),
            grantee.into(),
            snapshot.database().into(),
            (&relation.schema).into(),
            (&relation.name).into(),
            privilege.into(),
            yes_or_no(grantable),
            yes_or_no(privilege == "SELECT"),
        ]);
    }
    rows.finish()
}

fn applicable_roles(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let mut rows = Rows::new(relation, &["grantee", "role_name", "is_grantable"]);
    for role in snapshot.roles() {
        for group in role.member_of.iter() {
            let name = snapshot.role_name(group.role).unwrap_or_default();
            rows.push([(&role.name).into(), name.into(), yes_or_no(group.admin)]);
        }
    }
    rows.finish()
}

fn character_sets(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let columns = ["character_set_name", "character_repertoire", "form_of_use", "default_collate_catalog"];
    let mut rows = Rows::new(relation, &columns);
    rows.push(["UTF8".into(), "UCS".into(), "UTF8".into(), snapshot.database().into()]);
    rows.finish()
}

fn collations(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let columns = ["collation_catalog", "collation_schema", "collation_name", "pad_attribute"];
    let mut rows = Rows::new(relation, &columns);
    for name in ["default", "C", "POSIX"] {
        rows.push([snapshot.database().into(), "pg_catalog".into(), name.into(), "NO PAD".into()]);
    }
    rows.finish()
}

pub(super) use columns::column_privileges;

fn yes_or_no(value: bool) -> Cell {
    if value { "YES" } else { "NO" }.into()
}
