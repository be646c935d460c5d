//! Functions that show how an object is defined.

use datafusion::error::Result;

use super::{Call, Definition, stable};
use crate::pg_catalog::names::quote_identifier;
use crate::pg_catalog::rows::Cell;
use crate::pg_catalog::tables::{self, FunctionRow, function_rows};
use crate::pg_catalog::types;

pub(super) static LIST: [Definition; 16] = [
    stable("pg_get_viewdef", "text", |call| viewdef(call, call.relation(0)?)),
    stable("pg_get_ruledef", "text", |call| {
        // A view's rule bears the view's OID in its lower bits.
        let view = call.oid(0) & 0x7fff_ffff;
        let Cell::Text(query) = viewdef(call, view)? else { return Ok(Cell::Null) };
        let name = call.catalog.render_object("regclass", view);
        Ok(format!("CREATE RULE \"_RETURN\" AS\n    ON SELECT TO {name} DO INSTEAD {query}").into())
    }),
    // A default's stored form is its text.
    stable("pg_get_expr", "text", |call| Ok(call.argument(0).clone())),
    stable("pg_get_indexdef", "text", |call| {
        let snapshot = call.catalog.snapshot();
        let Some((index, on)) = snapshot.index(call.oid(0)) else { return Ok(Cell::Null) };
        let column = call.argument(1).int().unwrap_or(0);
        Ok(match usize::try_from(column) {
            Ok(0) => tables::indexdef(snapshot, index, on).into(),
            // One column alone.
            Ok(column) => {
                snapshot.index_columns(index).get(column - 1).map(|column| quote_identifier(column.name())).into()
            }
            Err(_) => Cell::Null,
        })
    }),
    stable("pg_get_constraintdef", "text", |_| Ok(Cell::Null)),
    stable("pg_get_triggerdef", "text", |_| Ok(Cell::Null)),
    stable("pg_get_partkeydef", "text", |_| Ok(Cell::Null)),
    stable("pg_get_partition_constraintdef", "text", |_| Ok(Cell::Null)),
    stable("pg_get_statisticsobjdef", "text", |_| Ok(Cell::Null)),
    stable("pg_get_statisticsobjdef_columns", "text", |_| Ok(Cell::Null)),
    stable("pg_get_serial_sequence", "text", |_| Ok(Cell::Null)),
    stable("pg_get_function_arguments", "text", |call| Ok(function(call).map(arguments).into())),
    stable("pg_get_function_identity_arguments", "text", |call| Ok(function(call).map(arguments).into())),
    stable("pg_get_function_arg_default", "text", |_| Ok(Cell::Null)),
    stable("pg_get_function_result", "text", |call| Ok(function(call).map(result).into())),
    stable("pg_get_functiondef", "text", |call| Ok(function(call).map(functiondef).into())),
];

fn viewdef(call: &Call, oid: u32) -> Result<Cell> {
    let view = call.catalog.snapshot().relation(oid).filter(|relation| relation.kind.is_view());
    let query = view.and_then(|view| view.definition.as_deref());
    Ok(query.map(|query| format!(" {};", query.trim().trim_end_matches(';'))).into())
}

fn function(call: &Call) -> Option<&'static FunctionRow> {
    let oid = call.oid(0);
    function_rows().iter().find(|row| row.oid == oid)
}

fn arguments(row: &FunctionRow) -> String {
    let last = row.arguments.len().wrapping_sub(1);
    let argument = |(at, oid): (usize, &u32)| {
        let variadic = if row.variadic != 0 && at == last { "VARIADIC " } else { "" };
        format!("{variadic}{}", types::format_type(*oid, -1))
    };
    row.arguments.iter().enumerate().map(argument).collect::<Vec<_>>().join(", ")
}

fn result(row: &FunctionRow) -> String {
    format!("{}{}", if row.returns_set { "SETOF " } else { "" }, types::format_type(row.returns, -1))
}

fn functiondef(row: &FunctionRow) -> String {
    let volatility = match row.volatility {
        "i" => " IMMUTABLE",
        "s" => " STABLE",
        _ => "",
    };
    let strict = if row.strict { " STRICT" } else { "" };
    format!(
        "CREATE OR REPLACE FUNCTION pg_catalog.{name}({arguments})\n RETURNS {result}\n LANGUAGE internal\n\
         {volatility} PARALLEL SAFE{strict}\nAS $function${name}$function$\n",
        name = row.name,
        arguments = arguments(row),
        result = result(row),
    )
}
