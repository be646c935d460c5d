//! Casts to and from PostgreSQL's own types. The rewrite puts these where a query says `::regclass`, `::oid`, `::text`.

use arrow::datatypes::DataType;
use chrono::DateTime;
use datafusion::error::Result;
use sql::error::SqlState;

use super::{Call, Definition, stable};
use crate::pg_catalog::PgCatalog;
use crate::pg_catalog::names::refuse;
use crate::pg_catalog::rows::Cell;
use crate::pg_catalog::types::PG_TYPE;

/// The types whose values are objects' OIDs and show as the objects' names.
pub(in crate::pg_catalog) const OBJECT_TYPES: [&str; 10] = [
    "regclass",
    "regtype",
    "regproc",
    "regprocedure",
    "regnamespace",
    "regrole",
    "regoper",
    "regoperator",
    "regconfig",
    "regdictionary",
];

pub(super) static LIST: [Definition; 13] = [
    stable("__oid", "oid", oid),
    stable("__xid", "xid", oid),
    stable("__text", "text", text),
    stable("__regclass", "regclass", |call| object(call, "regclass")),
    stable("__regtype", "regtype", |call| object(call, "regtype")),
    stable("__regproc", "regproc", |call| object(call, "regproc")),
    stable("__regprocedure", "regprocedure", |call| object(call, "regprocedure")),
    stable("__regnamespace", "regnamespace", |call| object(call, "regnamespace")),
    stable("__regrole", "regrole", |call| object(call, "regrole")),
    stable("__regoper", "regoper", |call| object(call, "regoper")),
    stable("__regoperator", "regoperator", |call| object(call, "regoperator")),
    stable("__regconfig", "regconfig", |call| object(call, "regconfig")),
    stable("__regdictionary", "regdictionary", |call| object(call, "regdictionary")),
];

fn oid(call: &Call) -> Result<Cell> {
    let value = call.argument(0);
    match value.oid() {
        Some(oid) => Ok(oid.into()),
        // PostgreSQL reads a negative number as the OID with the same bits.
        None => match value.int().and_then(|number| i32::try_from(number).ok()) {
            Some(number) => Ok((number as u32).into()),
            None => {
                let value = value.render().unwrap_or_default();
                let message = format!("invalid input syntax for type oid: \"{value}\"");
                Err(refuse(SqlState::INVALID_TEXT_REPRESENTATION, message))
            }
        },
    }
}

/// A number is the object's OID; text is that number, `-` for none, or the object's name.
fn object(call: &Call, type_name: &str) -> Result<Cell> {
    if let Some(oid) = call.argument(0).oid() {
        return Ok(oid.into());
    }
    match call.text(0) {
        "-" => Ok(0.into()),
        name => call
            .catalog
            .find_object(type_name, name)
            .map(Cell::from)
            .ok_or_else(|| PgCatalog::no_such_object(type_name, name)),
    }
}

/// A value as PostgreSQL casts it to text; what it is follows from its field.
fn text(call: &Call) -> Result<Cell> {
    let Some(field) = call.fields.first() else { return Ok(Cell::Null) };
    let value = call.argument(0);
    let type_name = field.metadata().get(PG_TYPE).map(String::as_str).unwrap_or_default();
    Ok(match (type_name, value, field.data_type()) {
        (name, Cell::Int(oid), _) if OBJECT_TYPES.contains(&name) => {
            call.catalog.render_object(name, u32::try_from(*oid).unwrap_or(0)).into()
        }
        ("int2vector" | "oidvector", Cell::List(items), _) => {
            items.iter().filter_map(Cell::render).collect::<Vec<_>>().join(" ").into()
        }
        (_, Cell::Int(micros), DataType::Timestamp(_, zone)) => {
            let time = DateTime::from_timestamp_micros(*micros).unwrap_or_default();
            let zone = if zone.is_some() { "+00" } else { "" };
            format!(
                "{}{zone}",
                time.format("%Y-%m-%d %H:%M:%S%.6f").to_string().trim_end_matches('0').trim_end_matches('.')
            )
            .into()
        }
        (_, value, _) => value.render().into(),
    })
}
