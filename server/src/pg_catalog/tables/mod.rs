//! The rows of every catalog table, made on demand from the snapshot, the session and the static files.
//!
//! One function a table, grouped by what the rows are about. A relation that `static/relations.txt` lists and nothing
//! here fills is there and empty, which is the truth: this server has no such objects.

mod dependencies;
mod functions;
mod indexes;
mod information_schema;
mod relations;
mod roles;
mod settings;
mod statistics;
mod types;

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::error::Result;

pub(super) use functions::{FunctionRow, function_rows};
pub(super) use indexes::indexdef;

use super::rows::Rows;
use super::session::SessionFacts;
use super::snapshot::CatalogSnapshot;
use super::system::{self, SystemRelation};

/// The table `name` of `schema`, both as they are written in the catalog; `None` if there is none.
///
/// # Errors
/// `Internal` where a row does not fit its table: a bug of ours.
pub(super) fn table(
    snapshot: &CatalogSnapshot,
    facts: &SessionFacts,
    schema: &str,
    name: &str,
) -> Result<Option<Arc<dyn TableProvider>>> {
    let Some(relation) = system::find(schema, name) else { return Ok(None) };
    let provider = match live_rows(snapshot, facts, relation)? {
        Some(batch) => provider(batch)?,
        None => snapshot.table(relation.schema, relation.name, || provider(rows(snapshot, relation)?))?,
    };
    Ok(Some(provider))
}

fn provider(batch: RecordBatch) -> Result<Arc<dyn TableProvider>> {
    Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
}

/// The rows of a table that depends on the session or the moment; `None` for any other.
fn live_rows(
    snapshot: &CatalogSnapshot,
    facts: &SessionFacts,
    relation: &'static SystemRelation,
) -> Result<Option<RecordBatch>> {
    Ok(Some(match (relation.schema, relation.name) {
        ("pg_catalog", "pg_settings") => settings::pg_settings(facts, relation)?,
        ("pg_catalog", "pg_timezone_names") => settings::pg_timezone_names(relation)?,
        ("pg_catalog", "pg_stat_activity") => statistics::pg_stat_activity(snapshot, facts, relation)?,
        ("pg_catalog", "pg_stat_database") => statistics::pg_stat_database(snapshot, facts, relation)?,
        ("information_schema", "enabled_roles") => information_schema::enabled_roles(snapshot, facts, relation)?,
        ("information_schema", "table_privileges") => {
            information_schema::table_privileges(snapshot, facts, relation, true)?
        }
        ("information_schema", "role_table_grants") => {
            information_schema::table_privileges(snapshot, facts, relation, false)?
        }
        ("information_schema", "column_privileges") => {
            information_schema::column_privileges(snapshot, facts, relation, true)?
        }
        ("information_schema", "role_column_grants") => {
            information_schema::column_privileges(snapshot, facts, relation, false)?
        }
        _ => return Ok(None),
    }))
}

/// The rows of a table that depends on the snapshot alone.
fn rows(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    if relation.schema == "information_schema" {
        return information_schema::rows(snapshot, relation);
    }
    match relation.name {
        "pg_class" => relations::pg_class(snapshot, relation),
        "pg_attribute" => relations::pg_attribute(snapshot, relation),
        "pg_namespace" => relations::pg_namespace(snapshot, relation),
        "pg_index" => indexes::pg_index(snapshot, relation),
        "pg_indexes" => indexes::pg_indexes(snapshot, relation),
        "pg_tables" => relations::pg_tables(snapshot, relation),
        "pg_views" => relations::pg_views(snapshot, relation),
        "pg_matviews" => relations::pg_matviews(snapshot, relation),
        "pg_description" => dependencies::pg_description(snapshot, relation),
        "pg_rewrite" => dependencies::pg_rewrite(snapshot, relation),
        "pg_depend" => dependencies::pg_depend(snapshot, relation),
        "pg_type" => types::pg_type(relation),
        "pg_range" => types::static_rows(relation, &super::tsv::RANGES),
        "pg_language" => types::static_rows(relation, &super::tsv::LANGUAGES),
        "pg_collation" => types::static_rows(relation, &super::tsv::COLLATIONS),
        "pg_operator" => types::static_rows(relation, &super::tsv::OPERATORS),
        "pg_cast" => types::static_rows(relation, &super::tsv::CASTS),
        "pg_get_keywords" => types::static_rows(relation, &super::tsv::KEYWORDS),
        "pg_am" => types::pg_am(relation),
        "pg_proc" => functions::pg_proc(relation),
        "pg_aggregate" => functions::pg_aggregate(relation),
        "pg_authid" | "pg_roles" => roles::pg_roles(snapshot, relation),
        "pg_user" | "pg_shadow" => roles::pg_user(snapshot, relation),
        "pg_group" => roles::pg_group(snapshot, relation),
        "pg_auth_members" => roles::pg_auth_members(snapshot, relation),
        "pg_db_role_setting" => roles::pg_db_role_setting(snapshot, relation),
        "pg_database" => roles::pg_database(snapshot, relation),
        "pg_tablespace" => roles::pg_tablespace(relation),
        name if name.starts_with("pg_stat") && name.ends_with("_tables") => statistics::tables(snapshot, relation),
        _ => Rows::new(relation, &[]).finish(),
    }
}
