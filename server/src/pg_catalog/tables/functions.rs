//! Functions: `pg_proc` and `pg_aggregate`.

use std::sync::LazyLock;

use arrow::array::RecordBatch;
use datafusion::error::Result;

use crate::pg_catalog::rows::{Cell, Rows};
use crate::pg_catalog::system::SystemRelation;
use crate::pg_catalog::tsv::FUNCTIONS;

/// OID of the language `internal`.
const INTERNAL: u32 = 12;

/// A function's signature.
#[derive(Debug)]
pub(in crate::pg_catalog) struct FunctionRow {
    /// Its OID.
    pub oid: u32,
    /// Its name; several functions can share one.
    pub name: &'static str,
    /// f function, a aggregate, w window.
    pub kind: &'static str,
    /// True where it returns a set.
    pub returns_set: bool,
    /// i, s or v.
    pub volatility: &'static str,
    /// True where a NULL argument makes the result NULL.
    pub strict: bool,
    /// The element type of a variadic last argument, else 0.
    pub variadic: u32,
    /// The type it returns.
    pub returns: u32,
    /// The types of its arguments.
    pub arguments: Vec<u32>,
}

static ROWS: LazyLock<Vec<FunctionRow>> = LazyLock::new(|| {
    let at = |name| FUNCTIONS.column(name).expect("pg_proc.tsv has the column");
    let [oid, name, kind, set] = ["oid", "proname", "prokind", "proretset"].map(at);
    let [volatility, strict, variadic] = ["provolatile", "proisstrict", "provariadic"].map(at);
    let [returns, arguments] = ["prorettype", "proargtypes"].map(at);
    let number = |text: &str| text.parse().unwrap_or_default();
    FUNCTIONS
        .rows
        .iter()
        .map(|row| {
            let text = |at: usize| row[at].unwrap_or_default();
            FunctionRow {
                oid: number(text(oid)),
                name: text(name),
                kind: text(kind),
                returns_set: text(set) == "t",
                volatility: text(volatility),
                strict: text(strict) == "t",
                variadic: number(text(variadic)),
                returns: number(text(returns)),
                arguments: text(arguments).split_whitespace().map(number).collect(),
            }
        })
        .collect()
});

/// Every function listed, by ascending OID.
pub(in crate::pg_catalog) fn function_rows() -> &'static [FunctionRow] {
    &ROWS
}

pub(super) fn pg_proc(relation: &'static SystemRelation) -> Result<RecordBatch> {
    let columns = ["oid", "proname", "prokind", "proretset", "provolatile", "proisstrict", "provariadic"];
    let more = ["prorettype", "proargtypes", "pronargs", "prosrc", "prolang"];
    let mut rows = Rows::new(relation, &[&columns[..], &more].concat());
    for function in function_rows() {
        rows.push([
            function.oid.into(),
            function.name.into(),
            function.kind.into(),
            function.returns_set.into(),
            function.volatility.into(),
            function.strict.into(),
            function.variadic.into(),
            function.returns.into(),
            function.arguments.clone().into(),
            (function.arguments.len() as i32).into(),
            function.name.into(),
            INTERNAL.into(),
        ]);
    }
    rows.finish()
}

pub(super) fn pg_aggregate(relation: &'static SystemRelation) -> Result<RecordBatch> {
    let columns = ["aggfnoid", "aggkind", "aggnumdirectargs", "aggfinalextra", "aggmfinalextra", "aggfinalmodify"];
    let mut rows = Rows::new(relation, &[&columns[..], &["aggmfinalmodify", "aggtranstype"]].concat());
    for function in function_rows().iter().filter(|function| function.kind == "a") {
        rows.push([
            function.oid.into(),
            "n".into(),
            0.into(),
            false.into(),
            false.into(),
            "r".into(),
            "r".into(),
            Cell::from(function.returns),
        ]);
    }
    rows.finish()
}
