//! `information_schema.routines` and `parameters`.

use arrow::array::RecordBatch;
use datafusion::error::Result;

use super::columns::type_facts;
use super::yes_or_no;
use crate::pg_catalog::rows::{Cell, Rows};
use crate::pg_catalog::snapshot::CatalogSnapshot;
use crate::pg_catalog::system::SystemRelation;
use crate::pg_catalog::tables::function_rows;

pub(super) fn routines(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let specific = ["specific_catalog", "specific_schema", "specific_name"];
    let routine = ["routine_catalog", "routine_schema", "routine_name", "routine_type"];
    let result = ["data_type", "type_udt_catalog", "type_udt_schema", "type_udt_name", "dtd_identifier"];
    let body = ["routine_body", "external_language", "parameter_style", "is_deterministic", "security_type"];
    let mut rows = Rows::new(relation, &[&specific[..], &routine, &result, &body].concat());
    for function in function_rows() {
        let facts = type_facts(function.returns, -1);
        let database = || Cell::from(snapshot.database());
        let schema = || Cell::from("pg_catalog");
        rows.push([
            database(),
            schema(),
            format!("{}_{}", function.name, function.oid).into(),
            database(),
            schema(),
            function.name.into(),
            if function.kind == "f" { "FUNCTION".into() } else { Cell::Null },
            facts.name.into(),
            database(),
            schema(),
            facts.typname.into(),
            "0".into(),
            "EXTERNAL".into(),
            "INTERNAL".into(),
            "GENERAL".into(),
            yes_or_no(function.volatility == "i"),
            "INVOKER".into(),
        ]);
    }
    rows.finish()
}

pub(super) fn parameters(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let specific = ["specific_catalog", "specific_schema", "specific_name", "ordinal_position", "parameter_mode"];
    let typed = ["is_result", "as_locator", "data_type", "udt_catalog", "udt_schema", "udt_name", "dtd_identifier"];
    let mut rows = Rows::new(relation, &[&specific[..], &typed].concat());
    for function in function_rows() {
        for (at, argument) in function.arguments.iter().enumerate() {
            let facts = type_facts(*argument, -1);
            let database = || Cell::from(snapshot.database());
            rows.push([
                database(),
                "pg_catalog".into(),
                format!("{}_{}", function.name, function.oid).into(),
                (at as i32 + 1).into(),
                "IN".into(),
                yes_or_no(false),
                yes_or_no(false),
                facts.name.into(),
                database(),
                "pg_catalog".into(),
                facts.typname.into(),
                (at + 1).to_string().into(),
            ]);
        }
    }
    rows.finish()
}
