//! `CREATE INDEX` and `DROP INDEX`, and which indexes a relation has for the engine and for readers.
//!
//! An index is part of the relation it is on: it goes with it, keeps its name when the relation gets another, and is there again
//! after CREATE OR REPLACE. A table's primary key is an index as well.

use engine::view::{NamedIndex, can_be_indexed};
use sql::catalog::{Catalog, Definition, Object};
use sql::statement::{CreateIndex, DropIndex, Place};
use sql::write::constraint_name;
use sql::{SqlError, SqlState};

use super::Database;
use super::change::{Addition, Change, Removal};
use crate::backend::{Notice, Outcome};

/// Columns an index can have, as in Postgres.
const COLUMNS_MAX: usize = 32;

/// Longest name of ours, bytes, as in Postgres.
const NAME_BYTES_MAX: usize = 63;

impl Database {
    /// # Errors
    /// 42P01, 42809, 42703, 42704 for a column that cannot be sorted, 42P07, 54011.
    pub(super) fn create_index(&self, create: &CreateIndex) -> Result<Change, SqlError> {
        let tag = "CREATE INDEX";
        let catalog = self.catalog();
        if let Some(name) = create.name.as_ref().filter(|name| create.if_not_exists && is_there(&catalog, name)) {
            return Ok(Change::skipped(tag, format!("relation \"{name}\" already exists, skipping")));
        }
        let object = indexable(&catalog, &create.relation)?;
        if create.columns.len() > COLUMNS_MAX {
            let message = format!("cannot use more than {COLUMNS_MAX} columns in an index");
            return Err(SqlError::new(SqlState("54011"), message));
        }
        for place in &create.columns {
            let Some(column) = object.columns.iter().find(|column| *column.name() == place.name) else {
                let message = format!("column \"{}\" does not exist", place.name);
                return Err(SqlError::new(SqlState::UNDEFINED_COLUMN, message).at(place.position));
            };
            if !can_be_indexed(column.data_type()) {
                let data_type = sql::types::display(column);
                let message =
                    format!("data type {data_type} has no default operator class for access method \"btree\"");
                return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message).at(place.position));
            }
        }
        let columns: Vec<String> = create.columns.iter().map(|place| place.name.clone()).collect();
        let name = create.name.clone().unwrap_or_else(|| free_name(&catalog, &object.name, &columns));
        catalog.check_free(&name, &[])?;
        let next = catalog.with_index(&object.name, &name, columns);
        let indexes = next.get(&object.name).map(|object| columns_of(object)).unwrap_or_default();
        let addition = Some(Addition::Indexes(object.name.clone(), indexes));
        Ok(Change { addition, ..Change::new(Outcome::done(tag), next) })
    }

    /// # Errors
    /// 42704, 42809.
    pub(super) fn drop_index(&self, drop: &DropIndex) -> Result<Change, SqlError> {
        let catalog = self.catalog();
        let mut next = Catalog::clone(&catalog);
        let (mut notices, mut relations) = (Vec::new(), Vec::new());
        for name in &drop.names {
            match (next.index(name), catalog.get(name)) {
                (Some((object, _)), _) => {
                    relations.push(object.name.clone());
                    next = next.without_index(name);
                }
                (None, Some(_)) => {
                    return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{name}\" is not an index")));
                }
                (None, None) if drop.if_exists => {
                    notices.push(Notice::new(format!("index \"{name}\" does not exist, skipping")));
                }
                (None, None) => {
                    let message = format!("index \"{name}\" does not exist");
                    return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
                }
            }
        }
        let outcome = Outcome { notices, ..Outcome::done("DROP INDEX") };
        relations.dedup();
        let left = |name: &String| {
            let object = next.get(name)?;
            Some(Removal::Indexes(name.clone(), columns_of(object)))
        };
        let removals = relations.iter().filter_map(left).collect();
        Ok(Change { removals, ..Change::new(outcome, next) })
    }
}

/// The view or table that can have an index.
fn indexable<'c>(catalog: &'c Catalog, place: &Place) -> Result<&'c Object, SqlError> {
    let name = &place.name;
    let Some(object) = catalog.get(name) else {
        let (state, message) = match catalog.source_relation(name).is_some() || catalog.view_of_errors(name).is_some() {
            true => (SqlState::WRONG_OBJECT_TYPE, format!("cannot create index on relation \"{name}\"")),
            false => (SqlState::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist")),
        };
        return Err(SqlError::new(state, message).at(place.position));
    };
    let kind = match object.definition {
        Definition::MaterializedView(_) | Definition::Table(_) => return Ok(object),
        Definition::Source(_) => "sources",
        Definition::View(_) => "views",
    };
    let message = format!("cannot create index on relation \"{name}\"");
    Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message)
        .detail(format!("This operation is not supported for {kind}."))
        .hint("Materialized views and tables can have indexes.")
        .at(place.position))
}

fn is_there(catalog: &Catalog, name: &str) -> bool {
    catalog.get(name).is_some() || catalog.index(name).is_some()
}

/// The name of an index that was given none, as Postgres makes it.
fn free_name(catalog: &Catalog, relation: &str, columns: &[String]) -> String {
    let stem = format!("{relation}_{}", columns.join("_"));
    let named = |number: usize| {
        let suffix = if number == 0 { "_idx".to_owned() } else { format!("_idx{number}") };
        let mut end = stem.len().min(NAME_BYTES_MAX - suffix.len());
        while !stem.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}{suffix}", &stem[..end])
    };
    let mut number = 0;
    while catalog.check_free(&named(number), &[]).is_err() {
        number += 1;
    }
    named(number)
}

/// The indexes of a relation by name, the primary key's first.
pub(super) fn indexes_of(object: &Object) -> Vec<NamedIndex> {
    let position = |name: &String| object.columns.iter().position(|column| column.name() == name);
    let key = match &object.definition {
        Definition::Table(table) if !table.primary_key.is_empty() => {
            let sortable = |column: &usize| can_be_indexed(object.columns[*column].data_type());
            let (name, columns) = (constraint_name(&object.name), table.primary_key.clone());
            columns.iter().all(sortable).then_some(NamedIndex { name, columns })
        }
        _ => None,
    };
    let declared = object.indexes.iter().filter_map(|index| {
        let columns = index.columns.iter().map(position).collect::<Option<Vec<_>>>()?;
        Some(NamedIndex { name: index.name.clone(), columns })
    });
    key.into_iter().chain(declared).collect()
}

/// The columns of a relation's indexes, each list once.
pub(super) fn columns_of(object: &Object) -> Vec<Vec<usize>> {
    let mut columns: Vec<Vec<usize>> = Vec::new();
    for index in indexes_of(object) {
        if !columns.contains(&index.columns) {
            columns.push(index.columns);
        }
    }
    columns
}

/// Refuses a new definition of a view that lacks a column one of its indexes is over.
///
/// # Errors
/// 2BP01.
pub(super) fn check_indexes(new: &Object) -> Result<(), SqlError> {
    let sorted = |name: &String| {
        let column = new.columns.iter().find(|column| column.name() == name);
        column.is_some_and(|column| can_be_indexed(column.data_type()))
    };
    let broken = |name: &&String| !sorted(name);
    match new.indexes.iter().find_map(|index| Some((index, index.columns.iter().find(broken)?))) {
        None => Ok(()),
        Some((index, column)) => {
            let message = format!("cannot replace materialized view {} because other objects depend on it", new.name);
            Err(SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
                .detail(format!(
                    "index {} is over column \"{column}\", which it could not be over any more",
                    index.name
                ))
                .hint("keep the column, or drop the index first"))
        }
    }
}
