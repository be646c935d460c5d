//! The catalog as PostgreSQL's clients know it: `pg_catalog` and `information_schema`.
//!
//! A client opens with questions about the catalog, written for PostgreSQL's own executor. This module makes DataFusion
//! answer them: tables with PostgreSQL's columns, PostgreSQL's functions, and a rewrite of the query's syntax tree that
//! replaces what DataFusion cannot plan by what it can.
//!
//! # Life of a catalog query
//! 1. [`is_catalog_query`] says whether a statement needs any of this. All others skip the rest.
//! 2. [`PgCatalog::new`] puts the shared [`CatalogSnapshot`] and the session's [`SessionFacts`] together: two `Arc`s.
//! 3. [`PgCatalog::rewrite`] changes the syntax tree: qualifiers, casts, `= ANY('{…}')`, `ARRAY(SELECT …)`, correlated
//!    subqueries, set-returning functions, equal output names. It names every relation of the catalog with its schema
//!    and returns functions made for this query alone.
//! 4. The binder plans the tree. It takes tables from [`PgCatalog::relation`] before its own, and functions from
//!    [`PgCatalog::function`] before DataFusion's, with those of step 3 beside them.
//! 5. [`PgCatalog::present`] puts a projection on top where a column holds `regclass` values and their like, so that the
//!    client sees names. [`output_name`] is what the client is told a column is called.
//!
//! Tables are built when a query first names them and live as long as the snapshot; those about sessions and settings
//! are built each time. A column's PostgreSQL type is in its field's metadata: [`types`].

mod correlated;
mod functions;
mod names;
mod planner;
mod rewrite;
mod rows;
mod session;
mod snapshot;
mod system;
mod tables;
#[cfg(test)]
mod tests;
mod tsv;
pub mod types;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::catalog::TableProvider;
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::{Column, TableReference};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, ScalarUDF};
use datafusion::sql::sqlparser::ast;

pub use rewrite::{is_catalog_query, output_name};
pub use session::{Grantee, SessionAccess, SessionActivity, SessionFacts, Setting};
pub use snapshot::{BOOTSTRAP_ROLE, CatalogSnapshot, Contents, Index, Relation, RelationKind, Role, SchemaEntry};

/// The version of PostgreSQL whose catalog this is; `server_version` must say the same.
///
/// 13 is the last before clients ask for multiranges and other things in ways that only PostgreSQL could answer.
pub const SERVER_VERSION: &str = "13.14";

/// What `version()` says.
pub fn version() -> String {
    let (system, machine) = (std::env::consts::OS, std::env::consts::ARCH);
    let own = env!("CARGO_PKG_VERSION");
    format!("PostgreSQL {SERVER_VERSION} on {machine}-unknown-{system}, compiled by rustc, 64-bit (Tidemark {own})")
}

/// The catalog as one session sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PgCatalog {
    snapshot: Arc<CatalogSnapshot>,
    facts: Arc<SessionFacts>,
}

impl PgCatalog {
    /// The catalog of `snapshot` for a session.
    pub fn new(snapshot: Arc<CatalogSnapshot>, facts: Arc<SessionFacts>) -> Self {
        Self { snapshot, facts }
    }

    /// The picture of the database.
    pub fn snapshot(&self) -> &CatalogSnapshot {
        &self.snapshot
    }

    /// The session.
    pub fn facts(&self) -> &SessionFacts {
        &self.facts
    }

    /// The table `name` of `schema`. Without a schema, the table of `pg_catalog`, which every search path begins with.
    /// Names are as the catalog has them; SQL folds unquoted ones to lower case. `None` if the catalog has no such
    /// table: it may be one of the users'.
    ///
    /// # Errors
    /// `Internal` where a row does not fit its table: a bug of ours.
    pub fn relation(&self, schema: Option<&str>, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        tables::table(&self.snapshot, &self.facts, schema.unwrap_or("pg_catalog"), name)
    }

    /// The system function `name`.
    pub fn function(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        functions::function(self, name).map(Arc::new)
    }

    /// All system functions.
    pub fn functions(&self) -> Vec<Arc<ScalarUDF>> {
        functions::names().filter_map(|name| self.function(name)).collect()
    }

    /// Rewrites a query so that DataFusion can plan it, and returns the functions the new text calls that exist for it
    /// alone.
    ///
    /// # Errors
    /// `Plan` for a name that does not exist, in a constant cast such as `'nothing'::regclass`.
    pub fn rewrite(&self, query: &mut ast::Query) -> Result<Vec<Arc<ScalarUDF>>> {
        rewrite::rewrite(self, query)
    }

    /// Puts a projection over `plan`, where it needs one, that shows the values of the `reg…` types as their objects'
    /// names, and that takes a type off a column which a cast has given another.
    ///
    /// # Errors
    /// Those of planning a projection.
    pub fn present(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let is_object = |name: &str| functions::OBJECT_TYPES.contains(&name);
        let declared = |field: &Field| field.metadata().get(types::PG_TYPE).cloned();
        let is_number = |name: &str| types::arrow_type(name) == DataType::UInt32;
        let lies = |field: &Field| {
            *field.data_type() != DataType::UInt32 && declared(field).is_some_and(|name| is_number(&name))
        };
        let shows = |field: &Field| !lies(field) && declared(field).is_some_and(|name| is_object(&name));
        let Some(to_text) = self.function("__text") else { return Ok(plan) };
        if !plan.schema().fields().iter().any(|field| shows(field) || lies(field)) {
            return Ok(plan);
        }
        let column = |(qualifier, field): (Option<&TableReference>, &Arc<Field>)| {
            let column = Expr::Column(Column::from((qualifier, field)));
            if shows(field) {
                to_text.call(vec![column]).alias(field.name())
            } else if lies(field) {
                let (oid, _) = types::type_of(&Field::new("", field.data_type().clone(), true));
                let name = types::by_oid(oid).map_or("text", |row| row.name);
                let own = BTreeMap::from([(types::PG_TYPE.to_string(), name.to_string())]);
                column.alias_with_metadata(field.name(), Some(FieldMetadata::from(own)))
            } else {
                column
            }
        };
        let columns: Vec<Expr> = plan.schema().iter().map(column).collect();
        LogicalPlanBuilder::from(plan).project(columns)?.build()
    }

    /// True if both are the same catalog for the same session.
    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.snapshot, &other.snapshot) && Arc::ptr_eq(&self.facts, &other.facts)
    }
}
