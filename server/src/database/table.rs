//! `CREATE TABLE`: a table of the engine's under a definition in the catalog.

use std::collections::BTreeSet;
use std::sync::Arc;

use engine::dataflow::relation::RelationProperties;
use engine::tick::table::RunningTable;
use engine::view::BuiltIndexes;
use sql::binder::Binder;
use sql::catalog::{Definition, NewObject};
use sql::statement::CreateTable;
use sql::{SqlError, SqlState};

use super::Database;
use super::change::{Addition, Change};
use super::index::columns_of;
use super::relations::{NoRelations, schema_of};
use crate::backend::Outcome;

impl Database {
    pub(super) fn create_table(&self, create: &CreateTable, text: &str) -> Result<Change, SqlError> {
        let tag = "CREATE TABLE";
        let catalog = self.catalog();
        if create.if_not_exists && catalog.get(&create.name).is_some() {
            return Ok(Change::skipped(tag, format!("relation \"{}\" already exists, skipping", create.name)));
        }
        catalog.check_free(&create.name, &[])?;
        self.check_defaults(create)?;
        let mut table = RunningTable::try_new(schema_of(&create.columns), create.primary_key.clone())?;
        let properties = RelationProperties::of_table(create.columns.len());
        let next = catalog.with(NewObject {
            name: create.name.clone(),
            text: text.to_owned(),
            definition: Definition::Table(Arc::new(create.clone())),
            columns: create.columns.clone(),
            reads: BTreeSet::new(),
            properties: Some(Arc::new(properties)),
        });
        if let Some(object) = next.get(&create.name) {
            table = table.with_id(object.oid);
            table.set_indexes(&columns_of(object), &BuiltIndexes::default())?;
        }
        let outcome = Outcome::done(tag);
        let addition = Some(Addition::Table(create.name.clone(), Box::new(table)));
        Ok(Change { addition, ..Change::new(outcome, next) })
    }

    /// Defaults are constants: expressions without columns that can be cast to the columns' types.
    fn check_defaults(&self, create: &CreateTable) -> Result<(), SqlError> {
        let unplaced = |error: SqlError| SqlError { position: None, ..error };
        let query = sql::write::defaults(create)?;
        let binder = Binder::new(&self.session_state, &NoRelations);
        let bound = binder.bind_query(&query, "", &[]).map_err(|error| match error.state {
            SqlState::UNDEFINED_COLUMN => {
                SqlError::unsupported("cannot use column reference in DEFAULT expression").detail(error.message)
            }
            SqlState::UNDEFINED_TABLE => SqlError::unsupported("cannot use subquery in DEFAULT expression"),
            _ => unplaced(error),
        })?;
        if !bound.parameters.is_empty() {
            return Err(SqlError::new(SqlState::UNDEFINED_PARAMETER, "there is no parameter $1"));
        }
        sql::write::check_defaults(create, bound.plan.schema().fields())?;
        let now = chrono::Utc::now();
        binder.optimize(&bound.plan, Some(now)).map_err(unplaced)?;
        Ok(())
    }
}
