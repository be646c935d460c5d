//! Who there is and what the cluster is made of: roles, their memberships, the database and the tablespaces.

use arrow::array::RecordBatch;
use datafusion::error::Result;

use crate::pg_catalog::rows::{Cell, Rows};
use crate::pg_catalog::snapshot::CatalogSnapshot;
use crate::pg_catalog::system::SystemRelation;

/// `pg_roles` and `pg_authid`, which differ in nothing that has rows here.
pub(super) fn pg_roles(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let columns = ["oid", "rolname", "rolsuper", "rolcreaterole", "rolcreatedb", "rolcanlogin", "rolconnlimit"];
    // The table has no settings; they are in pg_db_role_setting.
    let has_settings = relation.columns.iter().any(|column| column.name == "rolconfig");
    let more = ["rolinherit", "rolvaliduntil", "rolconfig"];
    let more = if has_settings { &more[..] } else { &more[..2] };
    let mut rows = Rows::new(relation, &[&columns[..], more].concat());
    for role in snapshot.roles() {
        let row: [Cell; 9] = [
            role.oid.into(),
            (&role.name).into(),
            role.superuser.into(),
            role.superuser.into(),
            role.superuser.into(),
            role.login.into(),
            role.connection_limit.into(),
            role.inherit.into(),
            role.valid_until.into(),
        ];
        if has_settings {
            let settings = (!role.settings.is_empty()).then(|| role.settings.clone());
            let [a, b, c, d, e, f, g, h, i] = row;
            rows.push([a, b, c, d, e, f, g, h, i, settings.into()]);
        } else {
            rows.push(row);
        }
    }
    rows.finish()
}

/// `pg_user` and `pg_shadow`: the roles that can connect.
pub(super) fn pg_user(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let mut rows = Rows::new(relation, &["usename", "usesysid", "usecreatedb", "usesuper"]);
    for role in snapshot.roles().iter().filter(|role| role.login) {
        rows.push([(&role.name).into(), role.oid.into(), role.superuser.into(), role.superuser.into()]);
    }
    rows.finish()
}

/// The roles that cannot connect, with their members.
pub(super) fn pg_group(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let mut rows = Rows::new(relation, &["groname", "grosysid", "grolist"]);
    for group in snapshot.roles().iter().filter(|role| !role.login) {
        let members = snapshot.roles().iter().filter(|role| role.member_of.iter().any(|m| m.role == group.oid));
        let members: Vec<u32> = members.map(|role| role.oid).collect();
        rows.push([(&group.name).into(), group.oid.into(), members.into()]);
    }
    rows.finish()
}

pub(super) fn pg_auth_members(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let mut rows = Rows::new(relation, &["roleid", "member", "grantor", "admin_option"]);
    for role in snapshot.roles() {
        for group in &role.member_of {
            rows.push([group.role.into(), role.oid.into(), group.grantor.into(), group.admin.into()]);
        }
    }
    rows.finish()
}

/// What sessions of a role start with.
pub(super) fn pg_db_role_setting(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let mut rows = Rows::new(relation, &["setdatabase", "setrole", "setconfig"]);
    for role in snapshot.roles().iter().filter(|role| !role.settings.is_empty()) {
        rows.push([0.into(), role.oid.into(), role.settings.clone().into()]);
    }
    rows.finish()
}

pub(super) fn pg_database(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let mut rows = Rows::new(relation, &["oid", "datname", "datacl"]);
    rows.push([snapshot.database_oid().into(), snapshot.database().into(), snapshot.database_acl().into()]);
    rows.finish()
}

pub(super) fn pg_tablespace(relation: &'static SystemRelation) -> Result<RecordBatch> {
    let mut rows = Rows::new(relation, &["oid", "spcname"]);
    rows.push([Cell::Int(1663), "pg_default".into()]);
    rows.push([Cell::Int(1664), "pg_global".into()]);
    rows.finish()
}
