//! Who may do what, and which names are visible.
//!
//! Privileges on what the server is born with, but the schema public, are everybody's. One on a thing that does not exist
//! is the error PostgreSQL gives.

use datafusion::error::Result;
use sql::administration::Privilege;
use sql::error::SqlState;

use super::{Call, Definition, stable};
use crate::pg_catalog::names::refuse;
use crate::pg_catalog::rows::Cell;
use crate::pg_catalog::system::PUBLIC;
use crate::pg_catalog::tables::function_rows;
use crate::pg_catalog::types;
use crate::pg_catalog::{Grantee, PgCatalog};
use crate::roles::Securable;

pub(super) static LIST: [Definition; 26] = [
    stable("has_table_privilege", "bool", |call| on_relation(call, 2)),
    stable("has_any_column_privilege", "bool", |call| on_relation(call, 2)),
    stable("has_sequence_privilege", "bool", |call| on_relation(call, 2)),
    stable("has_column_privilege", "bool", |call| on_relation(call, 3)),
    stable("has_schema_privilege", "bool", on_schema),
    stable("has_type_privilege", "bool", |call| on_object(call, "regtype")),
    stable("pg_has_role", "bool", on_role),
    stable("has_function_privilege", "bool", held),
    stable("has_database_privilege", "bool", on_database),
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

/// Whose privileges a call asks for: those of its first argument, if what they are on is not the first.
fn grantee(call: &Call, at: usize) -> Result<Grantee> {
    if at == 0 {
        return Ok(Grantee::Asker);
    }
    match (call.argument(0), call.argument(0).oid()) {
        (_, Some(0)) => Ok(Grantee::Public),
        (_, Some(oid)) => Ok(Grantee::Role(oid)),
        (Cell::Text(name), None) if name == "public" => Ok(Grantee::Public),
        (Cell::Text(name), None) => match call.catalog.snapshot().roles().iter().find(|role| role.name == *name) {
            Some(role) => Ok(Grantee::Role(role.oid)),
            None => Err(refuse(SqlState::UNDEFINED_OBJECT, format!("role \"{name}\" does not exist"))),
        },
        _ => Ok(Grantee::Asker),
    }
}

/// True if one of the privileges in the last argument is held: `SELECT, UPDATE WITH GRANT OPTION`.
fn holds_any(call: &Call, on: Securable, grantee: Grantee) -> Result<bool> {
    let access = &call.catalog.facts().access;
    let mut held = false;
    for word in call.text(call.arguments.len().saturating_sub(1)).split(',') {
        let word = word.trim().to_ascii_uppercase();
        let (word, grantable) = match word.strip_suffix(" WITH GRANT OPTION") {
            Some(word) => (word.trim_end(), true),
            None => (word.as_str(), false),
        };
        let privilege = Privilege::of_word(word).filter(|privilege| on.all().contains(*privilege));
        if privilege.is_none() && !NEEDED_BY_NOTHING.contains(&word) {
            let message = format!("unrecognized privilege type: \"{}\"", word.to_ascii_lowercase());
            return Err(refuse(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        held |= access.holds(grantee, on, privilege, grantable);
    }
    Ok(held)
}

/// Privileges of PostgreSQL's that nothing here asks for.
const NEEDED_BY_NOTHING: [&str; 8] =
    ["REFERENCES", "TRIGGER", "RULE", "TEMP", "TEMPORARY", "EXECUTE", "USAGE", "CREATE"];

/// `has_…([role,] relation, …, privilege)`: the relation is the `from_end`th argument from the end.
fn on_relation(call: &Call, from_end: usize) -> Result<Cell> {
    let at = call.arguments.len().saturating_sub(from_end);
    let (oid, grantee) = (call.relation(at)?, grantee(call, at)?);
    let snapshot = call.catalog.snapshot();
    if snapshot.qualified_name(oid).is_none() {
        return Ok(Cell::Null);
    }
    // The system's own are everybody's to read, and nobody's to write.
    let is_public = snapshot.relation(oid).is_none_or(|relation| relation.schema != "public");
    if is_public && call.text(call.arguments.len().saturating_sub(1)).trim().eq_ignore_ascii_case("select") {
        return Ok(true.into());
    }
    Ok(holds_any(call, Securable::Relation(oid), grantee)?.into())
}

/// `has_schema_privilege([role,] schema, privilege)`.
fn on_schema(call: &Call) -> Result<Cell> {
    let at = call.arguments.len().saturating_sub(2);
    let oid = match call.argument(at) {
        Cell::Text(name) if call.argument(at).oid().is_none() => call
            .catalog
            .find_object("regnamespace", name)
            .ok_or_else(|| PgCatalog::no_such_object("regnamespace", name))?,
        other => other.oid().unwrap_or(0),
    };
    if oid != PUBLIC && call.text(at + 1).trim().eq_ignore_ascii_case("usage") {
        return Ok(true.into());
    }
    Ok(holds_any(call, Securable::Schema, grantee(call, at)?)?.into())
}

/// `has_database_privilege([role,] database, privilege)`.
fn on_database(call: &Call) -> Result<Cell> {
    let at = call.arguments.len().saturating_sub(2);
    Ok(holds_any(call, Securable::Database, grantee(call, at)?)?.into())
}

/// `pg_has_role([role,] role, privilege)`.
fn on_role(call: &Call) -> Result<Cell> {
    let at = call.arguments.len().saturating_sub(2);
    let of = match call.argument(at) {
        Cell::Text(name) if call.argument(at).oid().is_none() => {
            call.catalog.find_object("regrole", name).ok_or_else(|| PgCatalog::no_such_object("regrole", name))?
        }
        other => other.oid().unwrap_or(0),
    };
    let word = call.text(at + 1).trim().to_ascii_uppercase();
    let admin = word.ends_with("WITH ADMIN OPTION") || word.ends_with("WITH GRANT OPTION");
    Ok(call.catalog.facts().access.is_member(grantee(call, at)?, of, word.starts_with("USAGE"), admin).into())
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
