//! The rewrite of a catalog query's syntax tree.
//!
//! Four passes, each over the whole query: [`labels`] names output columns while expressions are still as the client
//! wrote them, [`spelling`] replaces what is only spelt differently, [`sets`] moves functions of FROM into the relation
//! they read, [`subqueries`] resolves names and takes correlated subqueries apart.

mod aggregates;
mod build;
mod casts;
mod labels;
mod scope;
mod sets;
mod spelling;
mod subqueries;

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ScalarUDF;
use datafusion::sql::sqlparser::ast::{DataType, Expr, ObjectName, Query, Statement, Visit, VisitMut, Visitor};

use self::build::{fold, fold_name};
use self::scope::{Ctes, function_name, is_unquoted};
use super::PgCatalog;
use super::functions::{OBJECT_TYPES, is_function};

pub use labels::output_name;

/// True if a statement asks about the catalog or is spelt in a way that only [`PgCatalog::rewrite`] understands.
pub fn is_catalog_query(statement: &Statement) -> bool {
    matches!(statement, Statement::Query(_)) && statement.visit(&mut Needs { spelling: true }).is_break()
}

/// Runs all passes.
pub(super) fn rewrite(catalog: &PgCatalog, query: &mut Query) -> Result<Vec<Arc<ScalarUDF>>> {
    let asks = Visit::visit(&*query, &mut Needs { spelling: false }).is_break();
    labels::name_columns(catalog, query);
    let mut spelling = spelling::Spelling { catalog, ctes: Ctes::new() };
    if let ControlFlow::Break(error) = query.visit(&mut spelling) {
        return Err(error);
    }
    sets::move_lateral(catalog, query);
    // The subqueries of a query that is only spelt so are nobody's but its own.
    if !asks {
        return Ok(Vec::new());
    }
    let mut subqueries = subqueries::Subqueries::new(catalog);
    let _: ControlFlow<(), ()> = query.visit(&mut subqueries);
    Ok::<_, DataFusionError>(subqueries.functions)
}

/// Stops at the first thing that needs the rewrite: the catalog, or with `spelling` what is only spelt differently, too.
struct Needs {
    spelling: bool,
}

impl Visitor for Needs {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let parts = fold_name(relation).unwrap_or_default();
        match parts.as_slice() {
            [name] if PgCatalog::is_catalog_relation(name) => ControlFlow::Break(()),
            [.., schema, _] if schema == "pg_catalog" || schema == "information_schema" => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let needs = match expr {
            Expr::Function(function) => {
                let name = function_name(function);
                // JSON is made of anybody's columns.
                (is_function(&name) && name != "json_build_object")
                    || name == "array"
                    || function.name.0.first().and_then(|part| part.as_ident()).map(fold).as_deref()
                        == Some("pg_catalog")
            }
            Expr::Identifier(ident) => is_unquoted(ident) && spelling::BARE_FUNCTIONS.contains(&fold(ident).as_str()),
            Expr::Cast { data_type, .. } => is_own_type(data_type),
            Expr::TypedString(typed) => is_own_type(&typed.data_type),
            Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => {
                self.spelling && !matches!(right.as_ref(), Expr::Subquery(_))
            }
            Expr::Collate { .. } => self.spelling,
            Expr::Like { escape_char, .. } | Expr::ILike { escape_char, .. } => self.spelling && escape_char.is_some(),
            Expr::BinaryOp { op, .. } => {
                self.spelling
                    && matches!(op, datafusion::sql::sqlparser::ast::BinaryOperator::PGCustomBinaryOperator(_))
            }
            _ => false,
        };
        if needs { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// True for a type that only the catalog knows.
fn is_own_type(data_type: &DataType) -> bool {
    match data_type {
        DataType::Regclass => true,
        DataType::Custom(name, _) => {
            let parts = fold_name(name).unwrap_or_default();
            let last = parts.last().map(String::as_str).unwrap_or_default();
            parts.len() > 1
                || OBJECT_TYPES.contains(&last)
                || matches!(last, "oid" | "xid" | "cid" | "name" | "char" | "cstring" | "timestamptz")
        }
        DataType::Array(datafusion::sql::sqlparser::ast::ArrayElemTypeDef::SquareBracket(..)) => true,
        _ => false,
    }
}
