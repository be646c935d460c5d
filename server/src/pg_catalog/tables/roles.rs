//! Who there is and what the cluster is made of: roles, their memberships, the database and the tablespaces.

use arrow::array::RecordBatch;
use datafusion::error::Result;

use crate::pg_catalog::rows::{Cell, Rows};
use crate::pg_catalog::snapshot::{BOOTSTRAP_ROLE, CatalogSnapshot};
use crate::pg_catalog::system::SystemRelation;

/// `pg_roles` and `pg_authid`, which differ in nothing that has rows here.
pub(super) fn pg_roles(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let columns = ["oid", "rolname", "rolsuper", "rolcreaterole", "rolcreatedb", "rolcanlogin", "rolconnlimit"];
    let mut rows = Rows::new(relation, &columns);
    for role in snapshot.roles() {
        rows.push([
            role.oid.into(),
            (&role.name).into(),
            role.superuser.into(),
            role.superuser.into(),
            role.superuser.into(),
            role.login.into(),
            role.connection_limit.into(),
        ]);
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
        let members = snapshot.roles().iter().filter(|role| role.member_of.contains(&group.oid));
        let members: Vec<u32> = members.map(|role| role.oid).collect();
        rows.push([(&group.name).into(), group.oid.into(), members.into()]);
    }
    rows.finish()
}

pub(super) fn pg_auth_members(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let mut rows = Rows::new(relation, &["roleid", "member", "grantor", "admin_option"]);
    for role in snapshot.roles() {
        for group in &role.member_of {
            rows.push([(*group).into(), role.oid.into(), BOOTSTRAP_ROLE.into(), false.into()]);
        }
    }
    rows.finish()
}

pub(super) fn pg_database(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let mut rows = Rows::new(relation, &["oid", "datname"]);
    rows.push([snapshot.database_oid().into(), snapshot.database().into()]);
    rows.finish()
}

pub(super) fn pg_tablespace(relation: &'static SystemRelation) -> Result<RecordBatch> {
    let mut rows = Rows::new(relation, &["oid", "spcname"]);
    rows.push([Cell::Int(1663), "pg_default".into()]);
    rows.push([Cell::Int(1664), "pg_global".into()]);
    rows.finish()
}
