//! `CREATE MATERIALIZED VIEW`, `CREATE VIEW`, `CREATE SOURCE`, `DROP`: what each would change, checked and prepared.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast;
use engine::dataflow::Dataflow;
use sql::binder::Binder;
use sql::catalog::{Catalog, Definition, NewObject, Object, noun};
use sql::statement::{CreateMaterializedView, CreateSource, CreateView, Drop, ObjectKind};
use sql::{SqlError, SqlState};
use tokio_util::sync::CancellationToken;

use super::change::{Addition, Change, Removal};
use super::relations::DeltaRelations;
use super::{Database, blocking, source};
use crate::backend::{Notice, Outcome};

/// A view's dataflow and what it reads.
#[derive(Debug)]
pub struct PlannedView {
    /// The incremental plan.
    pub dataflow: Dataflow,
    /// The view's columns under their final names.
    pub columns: Vec<FieldRef>,
    /// The objects named in the body, plain views included.
    pub reads: BTreeSet<String>,
}

/// Plans a materialized view against a catalog. Positions in errors count in `text`, the whole statement.
///
/// # Errors
/// The binder's, and 0A000 for what cannot be maintained.
pub fn plan_view(
    state: &SessionState,
    catalog: &Arc<Catalog>,
    create: &CreateMaterializedView,
    text: &str,
) -> Result<PlannedView, SqlError> {
    let relations = DeltaRelations::new(catalog.clone());
    let plan = Binder::new(state, &relations).bind_view(&create.query, text, &create.columns)?;
    let dataflow = sql::incremental::incremental(plan, create.emit)?;
    let columns = dataflow.schema.fields().iter().cloned().collect();
    Ok(PlannedView { dataflow, columns, reads: relations.read() })
}

impl Database {
    pub(super) async fn create_source(&self, create: &CreateSource, text: &str) -> Result<Change, SqlError> {
        let mut catalog = self.catalog();
        if let Some(existing) = catalog.get(&create.name) {
            let message = format!("relation \"{}\" already exists", create.name);
            if create.if_not_exists {
                return Ok(Change::skipped("CREATE SOURCE", format!("{message}, skipping")));
            }
            if !create.or_replace || existing.kind() != ObjectKind::Source {
                return Err(SqlError::new(SqlState::DUPLICATE_TABLE, message));
            }
            self.check_unread(&catalog, &create.name, ObjectKind::Source)?;
            catalog = Arc::new(catalog.without([create.name.as_str()]));
        }
        catalog.check_free(&create.name, ObjectKind::Source)?;
        let definition = source::definition(create)?;
        let engine = self.engine.clone();
        let prepared = blocking(move || engine.prepare_source(definition)).await?;
        let next = catalog.with(NewObject {
            name: create.name.clone(),
            text: text.to_owned(),
            columns: source::columns(create),
            definition: Definition::Source(Arc::new(create.clone())),
            reads: BTreeSet::new(),
        });
        Ok(Change {
            addition: Some(Addition::Source(Box::new(prepared))),
            ..Change::new(Outcome::done("CREATE SOURCE"), next)
        })
    }

    pub(super) async fn create_materialized_view(
        &self,
        create: &CreateMaterializedView,
        text: &str,
        cancel: &CancellationToken,
    ) -> Result<Change, SqlError> {
        let tag = "CREATE MATERIALIZED VIEW";
        let catalog = self.catalog();
        let replaced = catalog.get(&create.name).filter(|_| create.or_replace).cloned();
        match &replaced {
            Some(old) if old.kind() == ObjectKind::MaterializedView => {
                self.check_unread(&catalog, &create.name, ObjectKind::MaterializedView)?;
            }
            _ if catalog.get(&create.name).is_some() && create.if_not_exists => {
                return Ok(Change::skipped(tag, format!("relation \"{}\" already exists, skipping", create.name)));
            }
            _ => catalog.check_free(&create.name, ObjectKind::MaterializedView)?,
        }
        let planned = plan_view(&self.session_state, &catalog, create, text)?;
        let notices = order_by_notice(&create.query);
        let (engine, name, cancel) = (self.engine.clone(), create.name.clone(), cancel.clone());
        let dataflow = planned.dataflow.clone();
        let staged = blocking(move || engine.stage_view(&name, &dataflow, &|| cancel.is_cancelled())).await?;
        let next = catalog.with(NewObject {
            name: create.name.clone(),
            text: text.to_owned(),
            definition: Definition::MaterializedView(Arc::new(create.clone())),
            columns: planned.columns,
            reads: planned.reads,
        });
        let outcome = Outcome { notices, ..Outcome::done(tag) };
        Ok(Change { addition: Some(Addition::View(staged)), ..Change::new(outcome, next) })
    }

    pub(super) fn create_view(&self, create: &CreateView, text: &str) -> Result<Change, SqlError> {
        let catalog = self.catalog();
        match catalog.get(&create.name) {
            Some(_) if create.if_not_exists => {
                let message = format!("relation \"{}\" already exists, skipping", create.name);
                return Ok(Change::skipped("CREATE VIEW", message));
            }
            Some(old) if create.or_replace && old.kind() == ObjectKind::View => {}
            _ => catalog.check_free(&create.name, ObjectKind::View)?,
        }
        let relations = DeltaRelations::for_reading(catalog.clone());
        let plan = Binder::new(&self.session_state, &relations).bind_view(&create.query, text, &create.columns)?;
        let columns: Vec<FieldRef> = plan.schema().fields().iter().cloned().collect();
        let reads = relations.read();
        if catalog.with_readers(std::slice::from_ref(&create.name)).iter().any(|reader| reads.contains(&reader.name)) {
            let message = format!("view \"{}\" would read itself", create.name);
            return Err(SqlError::new(SqlState("42P17"), message));
        }
        if let Some(old) = catalog.get(&create.name) {
            check_replacement(&catalog, old, &columns)?;
        }
        let next = catalog.with(NewObject {
            name: create.name.clone(),
            text: text.to_owned(),
            definition: Definition::View(Arc::new(create.clone())),
            columns,
            reads,
        });
        Ok(Change::new(Outcome::done("CREATE VIEW"), next))
    }

    pub(super) fn drop(&self, drop: &Drop) -> Result<Change, SqlError> {
        let catalog = self.catalog();
        let tag = format!("DROP {}", noun(drop.kind).to_uppercase());
        let mut notices = Vec::new();
        let mut names = Vec::new();
        for name in &drop.names {
            if drop.if_exists && catalog.get(name).is_none() {
                notices.push(Notice::new(format!("{} \"{name}\" does not exist, skipping", noun(drop.kind))));
                continue;
            }
            catalog.expect(name, drop.kind).map_err(|error| {
                match catalog.get(name).map(|object| noun(object.kind())) {
                    Some(found) => {
                        error.hint(format!("it is a {found}: use DROP {} to remove it", found.to_uppercase()))
                    }
                    None => error,
                }
            })?;
            names.push(name.clone());
        }
        let all = catalog.with_readers(&names);
        // The oldest first, as Postgres names them.
        if let Some(reader) = all.iter().rev().find(|object| !names.contains(&object.name)).filter(|_| !drop.cascade) {
            return Err(still_needed(&catalog, &names, &reader.name));
        }
        let mut removals = Vec::new();
        for object in &all {
            match object.kind() {
                ObjectKind::MaterializedView => removals.push(Removal::View(object.name.clone())),
                ObjectKind::Source => removals.push(Removal::Source(object.name.clone())),
                ObjectKind::View => {}
            }
            if !names.contains(&object.name) {
                notices.push(Notice::new(format!("drop cascades to {} {}", noun(object.kind()), object.name)));
            }
        }
        let next = (!all.is_empty()).then(|| catalog.without(all.iter().map(|object| object.name.as_str())));
        Ok(Change { outcome: Outcome { notices, ..Outcome::done(tag) }, next, addition: None, removals })
    }

    fn check_unread(&self, catalog: &Catalog, name: &str, kind: ObjectKind) -> Result<(), SqlError> {
        match catalog.readers(name).first() {
            None => Ok(()),
            Some(reader) => {
                let message = format!("cannot replace {} {name} because other objects depend on it", noun(kind));
                Err(SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
                    .detail(format!("{} {} depends on {} {name}", noun(reader.kind()), reader.name, noun(kind)))
                    .hint("drop what depends on it first"))
            }
        }
    }
}

/// A plain view that others read keeps its columns, as in Postgres, where more may follow; and what a materialized view
/// was built on does not change under it.
fn check_replacement(catalog: &Catalog, old: &Object, columns: &[FieldRef]) -> Result<(), SqlError> {
    let readers = catalog.with_readers(std::slice::from_ref(&old.name));
    if readers.len() == 1 {
        return Ok(());
    }
    if let Some(view) = readers.iter().find(|reader| reader.kind() == ObjectKind::MaterializedView) {
        let message = format!("cannot replace view {} because other objects depend on it", old.name);
        return Err(SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
            .detail(format!("materialized view {} was built on it", view.name))
            .hint("drop the materialized view, replace the view, and create it again"));
    }
    let same = |(old, new): (&FieldRef, &FieldRef)| old.name() == new.name() && old.data_type() == new.data_type();
    if columns.len() >= old.columns.len() && old.columns.iter().zip(columns).all(same) {
        return Ok(());
    }
    Err(SqlError::new(SqlState::INVALID_OBJECT_DEFINITION, "cannot drop or change columns of a view that others read"))
}

fn still_needed(catalog: &Catalog, names: &[String], reader: &str) -> SqlError {
    let describe = |name: &str| catalog.get(name).map_or_else(String::new, |o| format!("{} {name}", noun(o.kind())));
    let needed = names.iter().find(|name| catalog.readers(name).iter().any(|r| r.name == reader));
    let needed = describe(needed.or(names.first()).map_or("", String::as_str));
    let message = format!("cannot drop {needed} because other objects depend on it");
    SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
        .detail(format!("{} depends on {needed}", describe(reader)))
        .hint("Use DROP ... CASCADE to drop the dependent objects too.")
}

fn order_by_notice(query: &ast::Query) -> Vec<Notice> {
    // With a LIMIT or DISTINCT ON it says which rows there are.
    let distinct_on = match query.body.as_ref() {
        ast::SetExpr::Select(select) => matches!(select.distinct, Some(ast::Distinct::On(_))),
        _ => false,
    };
    let chooses = query.limit_clause.is_some() || query.fetch.is_some() || distinct_on;
    if query.order_by.is_none() || chooses {
        return vec![];
    }
    let mut notice = Notice::new("the rows of a materialized view have no order: its ORDER BY has no effect");
    notice.message.hint = Some("put the ORDER BY into the SELECT that reads the view".into());
    vec![notice]
}
