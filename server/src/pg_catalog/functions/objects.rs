//! Functions that find an object by name or say something about it: comments, owners, `to_regclass` and its like.

use datafusion::error::Result;

use super::{Call, Definition, stable};
use crate::pg_catalog::names::quote_identifier;
use crate::pg_catalog::rows::Cell;
use crate::pg_catalog::snapshot::{Relation, RelationKind};
use crate::pg_catalog::types::{self, type_of};

pub(super) static LIST: [Definition; 18] = [
    stable("pg_get_userbyid", "name", |call| {
        let oid = call.oid(0);
        let name = call.catalog.snapshot().role_name(oid);
        Ok(name.map_or_else(|| format!("unknown (OID={oid})"), str::to_string).into())
    }),
    stable("to_regclass", "regclass", |call| find(call, "regclass")),
    stable("to_regtype", "regtype", |call| find(call, "regtype")),
    stable("to_regproc", "regproc", |call| find(call, "regproc")),
    stable("to_regprocedure", "regprocedure", |call| find(call, "regprocedure")),
    stable("to_regnamespace", "regnamespace", |call| find(call, "regnamespace")),
    stable("to_regrole", "regrole", |call| find(call, "regrole")),
    stable("obj_description", "text", obj_description),
    stable("col_description", "text", |call| {
        let column = call.argument(1).int().unwrap_or(0);
        let relation = call.catalog.snapshot().relation(call.oid(0));
        let comment = relation.and_then(|relation| {
            relation.column_comments.iter().find(|(at, _)| i64::from(*at) == column).map(|(_, comment)| comment)
        });
        Ok(comment.into())
    }),
    stable("shobj_description", "text", |_| Ok(Cell::Null)),
    stable("format_type", "text", |call| {
        let typmod = call.argument(1).int().and_then(|typmod| i32::try_from(typmod).ok()).unwrap_or(-1);
        Ok(call.argument(0).oid().map(|oid| types::format_type(oid, typmod)).into())
    })
    .with_nulls(),
    stable("pg_typeof", "regtype", |call| Ok(call.fields.first().map(|field| type_of(field).0).into())).with_nulls(),
    stable("pg_relation_is_publishable", "bool", |_| Ok(false.into())),
    stable("pg_relation_is_updatable", "int4", |_| Ok(0.into())),
    stable("pg_column_is_updatable", "bool", |_| Ok(false.into())),
    stable("pg_tablespace_location", "text", |_| Ok("".into())),
    stable("pg_index_column_has_property", "bool", |_| Ok(Cell::Null)),
    stable("pg_describe_object", "text", describe_object),
];

fn find(call: &Call, type_name: &str) -> Result<Cell> {
    let name = call.text(0);
    let spelled = name.parse::<u32>().ok();
    Ok(spelled.or_else(|| call.catalog.find_object(type_name, name)).into())
}

/// `obj_description(oid [, catalog])`: the comment on a relation, or on a schema.
fn obj_description(call: &Call) -> Result<Cell> {
    let oid = call.oid(0);
    let snapshot = call.catalog.snapshot();
    let relation = || snapshot.relation(oid).and_then(|relation: &Relation| relation.comment.as_deref());
    let schema = || snapshot.schemas().into_iter().find(|(schema, _, _)| *schema == oid).and_then(|found| found.2);
    Ok(match call.argument(1).text() {
        Some("pg_class") => relation().into(),
        Some("pg_namespace") => schema().into(),
        Some(_) => Cell::Null,
        None => relation().or_else(schema).into(),
    })
}

/// `pg_describe_object(catalog, oid, column)`: what kind of object, and its name.
fn describe_object(call: &Call) -> Result<Cell> {
    let snapshot = call.catalog.snapshot();
    let (catalog, oid) = (call.oid(0), call.oid(1));
    let described = match snapshot.qualified_name(catalog).map(|(_, name)| name) {
        Some("pg_class") => snapshot.qualified_name(oid).map(|_| {
            let kind = match snapshot.relation(oid).map(|relation| relation.kind) {
                Some(RelationKind::MaterializedView) => "materialized view",
                Some(RelationKind::View) => "view",
                _ => "table",
            };
            format!("{kind} {}", call.catalog.render_object("regclass", oid))
        }),
        Some("pg_namespace") => snapshot.schema_name(oid).map(|name| format!("schema {}", quote_identifier(name))),
        Some("pg_type") => types::by_oid(oid).map(|_| format!("type {}", types::format_type(oid, -1))),
        Some("pg_proc") => Some(format!("function {}", call.catalog.render_object("regprocedure", oid))),
        Some("pg_rewrite") => {
            // A view's rule bears the view's OID in its lower bits.
            let view = oid & 0x7fff_ffff;
            snapshot
                .relation(view)
                .map(|_| format!("rule _RETURN on view {}", call.catalog.render_object("regclass", view)))
        }
        _ => None,
    };
    Ok(described.into())
}
