//! What the server can say about its use: sessions, tables and the database.
//!
//! Counters this server does not keep are 0, as PostgreSQL's are after a reset.

use arrow::array::RecordBatch;
use datafusion::error::Result;

use crate::pg_catalog::rows::{Cell, Rows};
use crate::pg_catalog::session::SessionFacts;
use crate::pg_catalog::snapshot::{CatalogSnapshot, RelationKind};
use crate::pg_catalog::system::{self, SystemRelation};

pub(super) fn pg_stat_activity(
    snapshot: &CatalogSnapshot,
    facts: &SessionFacts,
    relation: &'static SystemRelation,
) -> Result<RecordBatch> {
    let who = ["datid", "datname", "pid", "usesysid", "usename", "application_name", "client_addr", "client_port"];
    let what = ["backend_start", "xact_start", "query_start", "state_change", "state", "query", "backend_type"];
    let mut rows = Rows::new(relation, &[&who[..], &what].concat());
    for session in facts.access.sessions() {
        let role = snapshot.roles().iter().find(|role| role.name == session.user).map(|role| role.oid);
        rows.push([
            snapshot.database_oid().into(),
            snapshot.database().into(),
            session.pid.into(),
            role.into(),
            session.user.into(),
            session.application_name.into(),
            session.client.map(|client| client.ip().to_string()).into(),
            session.client.map_or(-1, |client| i32::from(client.port())).into(),
            session.backend_start.into(),
            session.transaction_start.into(),
            session.query_start.into(),
            session.state_change.into(),
            Some(session.state).filter(|state| !state.is_empty()).into(),
            session.query.into(),
            "client backend".into(),
        ]);
    }
    rows.finish()
}

pub(super) fn pg_stat_database(
    snapshot: &CatalogSnapshot,
    facts: &SessionFacts,
    relation: &'static SystemRelation,
) -> Result<RecordBatch> {
    let mut rows = Rows::new(relation, &["datid", "datname", "numbackends", "stats_reset"]);
    let sessions = facts.access.sessions().len() as i32;
    let since = facts.server_started;
    rows.push([snapshot.database_oid().into(), snapshot.database().into(), sessions.into(), since.into()]);
    rows.finish()
}

/// `pg_stat_{all,user,sys}_tables`, `pg_statio_…` and `pg_stat_xact_…`: one row a table or materialized view.
pub(super) fn tables(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let counts_rows = relation.columns.iter().any(|column| column.name == "n_live_tup");
    let columns = ["relid", "schemaname", "relname", "n_live_tup"];
    let mut rows = Rows::new(relation, if counts_rows { &columns } else { &columns[..3] });
    let mut push = |oid: u32, schema: &str, name: &str, live: u64| {
        let named: [Cell; 3] = [oid.into(), schema.into(), name.into()];
        match counts_rows {
            true => {
                let [oid, schema, name] = named;
                rows.push([oid, schema, name, (live as i64).into()]);
            }
            false => rows.push(named),
        }
    };
    if !relation.name.contains("_user_") {
        system::relations().filter(|own| own.kind == "r").for_each(|own| push(own.oid, own.schema, own.name, 0));
    }
    if !relation.name.contains("_sys_") {
        for user in snapshot.relations().iter().filter(|user| user.kind != RelationKind::View) {
            push(user.oid, &user.schema, &user.name, user.rows.unwrap_or(0));
        }
    }
    rows.finish()
}
