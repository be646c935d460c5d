//! Who may do what, and which names are visible.
//!
//! Every role may read everything today, so a privilege on a thing that exists is held; one on a thing that does not
//! is the error PostgreSQL gives.

use datafusion::error::Result;

use super::{Call, Definition, stable};
use crate::pg_catalog::PgCatalog;
use crate::pg_catalog::rows::Cell;
use crate::pg_catalog::tables::function_rows;
use crate::pg_catalog::types;

pub(super) static LIST: [Definition; 26] = [
    stable("has_table_privilege", "bool", |call| on_relation(call, 2)),
    stable("has_any_column_privilege", "bool", |call| on_relation(call, 2)),
    stable("has_sequence_privilege", "bool", |call| on_relation(call, 2)),
    stable("has_column_privilege", "bool", |call| on_relation(call, 3)),
    stable("has_schema_privilege", "bool", |call| on_object(call, "regnamespace")),
    stable("has_type_privilege", "bool", |call| on_object(call, "regtype")),
    stable("pg_has_role", "bool", |call| on_object(call, "regrole")),
    stable("has_function_privilege", "bool", held),
    stable("has_database_privilege", "bool", held),
    stable("has_language_privilege", "bool", held),
    stable("has_server_privilege", "bool", held),
    stable("has_tablespace_privilege", "bool", held),
    stable("has_foreign_data_wrapper_privilege", "bool", held),
    stable("pg_table_is_visible", "bool", |call| Ok(call.catalog.is_visible(call.oid(0)).into())),
    stable("pg_type_is_visible", "bool", |call| Ok(types::by_oid(call.oid(0)).map(|_| true).into())),
    stable("pg_function_is_visible", "bool", |call| {
        Ok(function_rows().iter().any(|row| row.oid == call.oid(0)).then_some(true).into())
    }),
    stable("pg_operator_is_visible", "bool", held),
    stable("pg_collation_is_visible", "bool", held),
    stable("pg_conversion_is_visible", "bool", held),
    stable("pg_opclass_is_visible", "bool", held),
    stable("pg_opfamily_is_visible", "bool", held),
    stable("pg_statistics_obj_is_visible", "bool", held),
    stable("pg_ts_config_is_visible", "bool", held),
    stable("pg_ts_dict_is_visible", "bool", held),
    stable("pg_ts_parser_is_visible", "bool", held),
    stable("pg_ts_template_is_visible", "bool", held),
];

fn held(_: &Call) -> Result<Cell> {
    Ok(true.into())
}

/// `has_…([role,] relation, …, privilege)`: the relation is the `from_end`th argument from the end.
fn on_relation(call: &Call, from_end: usize) -> Result<Cell> {
    let oid = call.relation(call.arguments.len().saturating_sub(from_end))?;
    Ok(call.catalog.snapshot().qualified_name(oid).map(|_| true).into())
}

/// The same for an object that is not a relation; it stands before the privilege.
fn on_object(call: &Call, type_name: &str) -> Result<Cell> {
    let at = call.arguments.len().saturating_sub(2);
    match call.argument(at) {
        Cell::Text(name) if call.argument(at).oid().is_none() => {
            let found = call.catalog.find_object(type_name, name);
            found.map(|_| true.into()).ok_or_else(|| PgCatalog::no_such_object(type_name, name))
        }
        _ => held(call),
    }
}
