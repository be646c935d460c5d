//! `CREATE MATERIALIZED VIEW`, `CREATE VIEW`, `CREATE SOURCE`, `DROP`: what each would change, checked and prepared.
//!
//! A materialized view that others read is replaced together with them: all are planned anew, built beside, and shown in
//! one tick.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast;
use engine::ErrorKind;
use engine::dataflow::Dataflow;
use engine::dataflow::state::PlanState;
use sql::binder::Binder;
use sql::catalog::{Catalog, Definition, NewObject, Object, SOURCE_RELATIONS, noun};
use sql::state_budget::StateBudget;
use sql::statement::{CreateMaterializedView, CreateSource, CreateView, Drop, Emit, ObjectKind, OnError};
use sql::{SqlError, SqlState};
use tokio_util::sync::CancellationToken;

use super::change::{Addition, Change, Removal};
use super::index::{check_indexes, columns_of};
use super::recovery::{Phase, oid_of};
use super::relations::DeltaRelations;
use super::secrets::Secrets;
use super::{Database, blocking, source, state};
use crate::backend::{Notice, Outcome};
use crate::roles::access::Access;

/// A view's dataflow and what it reads.
#[derive(Debug)]
pub struct PlannedView {
    /// The incremental plan.
    pub dataflow: Dataflow,
    /// The view's columns under their final names.
    pub columns: Vec<FieldRef>,
    /// The objects named in the body, plain views included.
    pub reads: BTreeSet<String>,
    /// What it keeps.
    pub state: PlanState,
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
    plan_view_as(state, catalog, create, text, None)
}

/// The same, reading only what `access` allows, if it is given.
pub(super) fn plan_view_as(
    state: &SessionState,
    catalog: &Arc<Catalog>,
    create: &CreateMaterializedView,
    text: &str,
    access: Option<&Access>,
) -> Result<PlannedView, SqlError> {
    let relations = DeltaRelations::new(catalog.clone()).as_seen_by(access);
    plan(state, relations, (&create.query, &create.columns), text, (create.emit, create.on_error, create.max_state))
}

/// Plans a query that is followed: as a materialized view that fails where a SELECT would.
///
/// # Errors
/// As for [`plan_view`].
pub(super) fn plan_followed(
    state: &SessionState,
    catalog: &Arc<Catalog>,
    query: &ast::Query,
    text: &str,
    access: Option<&Access>,
) -> Result<PlannedView, SqlError> {
    let relations = DeltaRelations::new(catalog.clone()).as_seen_by(access);
    plan(state, relations, (query, &[]), text, (Emit::OnUpdate, OnError::Fail, None))
}

fn plan(
    state: &SessionState,
    relations: DeltaRelations,
    (query, columns): (&ast::Query, &[String]),
    text: &str,
    (emit, on_error, max_state): (Emit, OnError, Option<StateBudget>),
) -> Result<PlannedView, SqlError> {
    let plan = Binder::new(state, &relations).bind_view(query, text, columns)?;
    let mut dataflow = sql::incremental::incremental(plan, emit, on_error)?;
    let columns = dataflow.schema.fields().iter().cloned().collect();
    let state = PlanState::of(&dataflow)?;
    dataflow.rows = state.rows.growth;
    dataflow.state_bytes_max = max_state.and_then(StateBudget::bytes);
    Ok(PlannedView { dataflow, columns, reads: relations.read(), state })
}

impl Database {
    pub(super) async fn create_source(
        &self,
        create: &CreateSource,
        text: &str,
        secrets: Option<&Secrets>,
    ) -> Result<Change, SqlError> {
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
        catalog.check_free(&create.name, &SOURCE_RELATIONS)?;
        let mut definition = source::definition(create, secrets.unwrap_or(&self.secrets()))?;
        let next = catalog.with(NewObject {
            name: create.name.clone(),
            text: text.to_owned(),
            columns: source::columns(create),
            definition: Definition::Source(Arc::new(create.clone())),
            reads: BTreeSet::new(),
            properties: None,
        });
        definition.id = oid_of(&next, &create.name);
        let engine = self.engine.clone();
        let prepared = blocking(move || engine.prepare_source(definition)).await?;
        Ok(Change {
            addition: Some(Addition::Source(Box::new(prepared))),
            ..Change::new(Outcome::done("CREATE SOURCE"), next)
        })
    }

    pub(super) async fn create_materialized_view(
        &self,
        create: &CreateMaterializedView,
        text: &str,
        access: &Access,
        cancel: &CancellationToken,
    ) -> Result<Change, SqlError> {
        let tag = "CREATE MATERIALIZED VIEW";
        let catalog = self.catalog();
        let replaced = catalog.get(&create.name).filter(|_| create.or_replace).cloned();
        match &replaced {
            Some(old) if old.kind() == ObjectKind::MaterializedView => {
                catalog.without([create.name.as_str()]).check_free(&create.name, create.companions())?;
            }
            _ if catalog.get(&create.name).is_some() && create.if_not_exists => {
                return Ok(Change::skipped(tag, format!("relation \"{}\" already exists, skipping", create.name)));
            }
            _ => catalog.check_free(&create.name, create.companions())?,
        }
        let planned = plan_view_as(&self.session_state, &catalog, create, text, Some(access))?;
        let mut notices = order_by_notice(&create.query, "the rows of a materialized view");
        notices.extend(state::notice(create, &planned)?);
        check_no_circle(&catalog, &create.name, ObjectKind::MaterializedView, &planned.reads)?;
        let (kept, text) = state::kept(create, text)?;
        let mut next = catalog.with(NewObject {
            name: create.name.clone(),
            text: text.into_owned(),
            definition: Definition::MaterializedView(Arc::new(kept.into_owned())),
            columns: planned.columns,
            reads: planned.reads,
            properties: Some(Arc::new(planned.dataflow.properties())),
        });
        if let Some(new) = next.get(&create.name) {
            check_indexes(new)?;
        }
        let mut dataflows = vec![(create.name.clone(), planned.dataflow)];
        if replaced.is_some() {
            dataflows.extend(self.rebuild_readers(&catalog, &mut next, &create.name)?);
        }
        dataflows.iter_mut().for_each(|(name, dataflow)| dataflow.id = oid_of(&next, name));
        let (engine, cancel) = (self.engine.clone(), cancel.clone());
        let recovering = self.phase() != Phase::Over;
        let restoring = self.phase() == Phase::Restore;
        // Each is built over those before it, unseen like itself; if one fails, they all go again.
        let indexes = |name: &String| next.get(name).map(|object| columns_of(object)).unwrap_or_default();
        let dataflows: Vec<_> =
            dataflows.into_iter().map(|(name, dataflow)| (indexes(&name), name, dataflow)).collect();
        if restoring {
            return self.restore_view(dataflows, next, tag).await;
        }
        let staged = blocking(move || {
            let stage = |(indexes, name, dataflow): &(Vec<Vec<usize>>, String, Dataflow)| {
                let staged = match engine.stage_view(name, dataflow, &|| cancel.is_cancelled()) {
                    // It is over its budget, or its past cannot be read again: that is no reason not to start.
                    Err(error) if recovering && matches!(error.kind(), ErrorKind::Limit | ErrorKind::Data) => {
                        tracing::warn!(view = %name, %error, "a view comes back as one that has failed");
                        engine.stage_failed_view(name, dataflow, error.to_string())
                    }
                    Err(error) if error.kind() == ErrorKind::Limit => {
                        let message = format!("materialized view \"{name}\" cannot be built");
                        Err(engine::Error::new(ErrorKind::Limit, message).with_source(error))
                    }
                    staged => staged,
                }?;
                if !indexes.is_empty() {
                    engine.set_indexes(name, indexes.clone())?;
                }
                Ok(staged)
            };
            dataflows.iter().map(stage).collect::<engine::Result<Vec<_>>>()
        })
        .await?;
        let outcome = Outcome { notices, ..Outcome::done(tag) };
        Ok(Change { addition: Some(Addition::Views(staged)), ..Change::new(outcome, next) })
    }

    /// At the start: views as they were, or not yet.
    async fn restore_view(
        &self,
        dataflows: Vec<(Vec<Vec<usize>>, String, Dataflow)>,
        next: Catalog,
        tag: &str,
    ) -> Result<Change, SqlError> {
        let engine = self.engine.clone();
        let restored = blocking(move || {
            for (_, name, dataflow) in &dataflows {
                if !engine.restore_view(name, dataflow)? {
                    return Ok(false);
                }
            }
            Ok(true)
        });
        match restored.await? {
            true => Ok(Change::new(Outcome::done(tag), next)),
            false => Ok(Change::put_off(tag)),
        }
    }

    pub(super) fn create_view(&self, create: &CreateView, text: &str) -> Result<Change, SqlError> {
        let catalog = self.catalog();
        match catalog.get(&create.name) {
            Some(_) if create.if_not_exists => {
                let message = format!("relation \"{}\" already exists, skipping", create.name);
                return Ok(Change::skipped("CREATE VIEW", message));
            }
            Some(old) if create.or_replace && old.kind() == ObjectKind::View => {}
            _ => catalog.check_free(&create.name, &[])?,
        }
        let (columns, reads) = self.bind_plain_view(&catalog, create, text)?;
        check_no_circle(&catalog, &create.name, ObjectKind::View, &reads)?;
        if let Some(old) = catalog.get(&create.name) {
            check_replacement(&catalog, old, &columns)?;
        }
        let next = catalog.with(NewObject {
            name: create.name.clone(),
            text: text.to_owned(),
            definition: Definition::View(Arc::new(create.clone())),
            columns,
            reads,
            properties: None,
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
        self.drop_objects(&names, drop.cascade, tag, notices)
    }

    /// Drops objects of any kind, and with `cascade` what reads them.
    ///
    /// # Errors
    /// 2BP01 naming what reads them.
    pub(super) fn drop_objects(
        &self,
        names: &[String],
        cascade: bool,
        tag: String,
        mut notices: Vec<Notice>,
    ) -> Result<Change, SqlError> {
        let catalog = self.catalog();
        let all = catalog.with_readers(names);
        // The oldest first, as Postgres names them.
        if !cascade && all.iter().any(|object| !names.contains(&object.name)) {
            return Err(still_needed(&catalog, names, &all));
        }
        let mut removals = Vec::new();
        let mut cascades = Vec::new();
        for object in &all {
            match object.kind() {
                ObjectKind::MaterializedView => removals.push(Removal::View(object.name.clone())),
                ObjectKind::Source => removals.push(Removal::Source(object.name.clone())),
                ObjectKind::Table => removals.push(Removal::Table(object.name.clone())),
                ObjectKind::View => {}
            }
            if !names.contains(&object.name) {
                cascades.push(format!("drop cascades to {} {}", noun(object.kind()), object.name));
            }
        }
        // In the order in which they came, and as one notice, as in Postgres.
        cascades.reverse();
        notices.extend(cascade_notice(cascades));
        let next = (!all.is_empty()).then(|| catalog.without(all.iter().map(|object| object.name.as_str())));
        Ok(Change { next, removals, ..Change::nothing(Outcome { notices, ..Outcome::done(tag) }) })
    }

    pub(super) fn bind_plain_view(
        &self,
        catalog: &Arc<Catalog>,
        create: &CreateView,
        text: &str,
    ) -> Result<(Vec<FieldRef>, BTreeSet<String>), SqlError> {
        let relations = DeltaRelations::for_reading(catalog.clone());
        let plan = Binder::new(&self.session_state, &relations).bind_view(&create.query, text, &create.columns)?;
        Ok((plan.schema().fields().iter().cloned().collect(), relations.read()))
    }

    /// Plans anew all that reads a materialized view which `next` has with another definition, and puts it into `next`.
    ///
    /// # Errors
    /// 2BP01 naming what cannot go on as it was.
    fn rebuild_readers(
        &self,
        catalog: &Catalog,
        next: &mut Catalog,
        name: &str,
    ) -> Result<Vec<(String, Dataflow)>, SqlError> {
        let mut dataflows = Vec::new();
        let readers = catalog.with_readers(std::slice::from_ref(&name.to_owned()));
        for reader in readers.iter().rev().filter(|reader| reader.name != name) {
            let broken = |cause: &str| {
                let message = format!("cannot replace materialized view {name} because other objects depend on it");
                SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
                    .detail(format!("{} {}: {cause}", noun(reader.kind()), reader.name))
                    .hint("keep the names and types of the columns it reads, or drop it first")
            };
            let present = Arc::new(next.clone());
            let (columns, reads, properties) = match &reader.definition {
                Definition::MaterializedView(create) => {
                    let planned = plan_view(&self.session_state, &present, create, &reader.text);
                    let planned = planned.map_err(|error| broken(&error.message))?;
                    state::notice(create, &planned).map_err(|error| broken(&error.message))?;
                    let properties = Some(Arc::new(planned.dataflow.properties()));
                    dataflows.push((reader.name.clone(), planned.dataflow));
                    (planned.columns, planned.reads, properties)
                }
                Definition::View(create) => {
                    let bound = self.bind_plain_view(&present, create, &reader.text);
                    let (columns, reads) = bound.map_err(|error| broken(&error.message))?;
                    (columns, reads, None)
                }
                Definition::Source(_) | Definition::Table(_) => continue,
            };
            if let Some(change) = changed_column(&reader.columns, &columns) {
                return Err(broken(&change));
            }
            let (text, definition) = (reader.text.clone(), reader.definition.clone());
            let name = reader.name.clone();
            *next = next.with(NewObject { name, text, definition, columns, reads, properties });
        }
        Ok(dataflows)
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

/// The refusal of DROP, with everything that would have to go as well, each with what it reads, as Postgres lists it.
fn still_needed(catalog: &Catalog, names: &[String], all: &[Arc<Object>]) -> SqlError {
    let describe = |name: &str| catalog.get(name).map_or_else(String::new, |o| format!("{} {name}", noun(o.kind())));
    let depends = |object: &Arc<Object>| {
        let read = all.iter().rev().find(|read| object.reads.contains(&read.name) && names.contains(&read.name));
        // What a plain view stands for is read as well; the view itself is nearer.
        let read = read.or_else(|| all.iter().find(|read| object.reads.contains(&read.name)))?;
        Some(format!("{} depends on {}", describe(&object.name), describe(&read.name)))
    };
    let dependents: Vec<_> =
        all.iter().rev().filter(|object| !names.contains(&object.name)).filter_map(depends).collect();
    let message = match names {
        [name] => format!("cannot drop {} because other objects depend on it", describe(name)),
        _ => "cannot drop desired object(s) because other objects depend on them".into(),
    };
    SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
        .detail(dependents.join("\n"))
        .hint("Use DROP ... CASCADE to drop the dependent objects too.")
}

fn cascade_notice(mut cascades: Vec<String>) -> Option<Notice> {
    if cascades.len() <= 1 {
        return cascades.pop().map(Notice::new);
    }
    let mut notice = Notice::new(format!("drop cascades to {} other objects", cascades.len()));
    notice.message.detail = Some(cascades.join("\n"));
    Some(notice)
}

/// Refuses a definition that reads what reads it.
fn check_no_circle(catalog: &Catalog, name: &str, kind: ObjectKind, reads: &BTreeSet<String>) -> Result<(), SqlError> {
    if !catalog.with_readers(std::slice::from_ref(&name.to_owned())).iter().any(|reader| reads.contains(&reader.name)) {
        return Ok(());
    }
    let message = format!("{} \"{name}\" would read itself", noun(kind));
    Err(SqlError::new(SqlState::INVALID_OBJECT_DEFINITION, message))
}

/// How the first column that differs does so, in words.
fn changed_column(old: &[FieldRef], new: &[FieldRef]) -> Option<String> {
    let differs = |(old, new): (&FieldRef, &FieldRef)| {
        if old.name() != new.name() {
            return Some(format!("column \"{}\" would become \"{}\"", old.name(), new.name()));
        }
        let (was, is) = (sql::types::display(old), sql::types::display(new));
        (was != is).then(|| format!("column \"{}\" would change from {was} to {is}", old.name()))
    };
    let changed = old.iter().zip(new).find_map(differs);
    changed.or_else(|| match (old.get(new.len()), new.get(old.len())) {
        (Some(gone), _) => Some(format!("column \"{}\" would be gone", gone.name())),
        (_, Some(came)) => Some(format!("column \"{}\" would be added", came.name())),
        _ => None,
    })
}

/// Says of a query's ORDER BY that it has no effect on `what`.
pub(super) fn order_by_notice(query: &ast::Query, what: &str) -> Vec<Notice> {
    // With a LIMIT or DISTINCT ON it says which rows there are.
    let distinct_on = match query.body.as_ref() {
        ast::SetExpr::Select(select) => matches!(select.distinct, Some(ast::Distinct::On(_))),
        _ => false,
    };
    let chooses = query.limit_clause.is_some() || query.fetch.is_some() || distinct_on;
    if query.order_by.is_none() || chooses {
        return vec![];
    }
    let mut notice = Notice::new(format!("{what} have no order: its ORDER BY has no effect"));
    notice.message.hint = Some("put the ORDER BY into the SELECT that reads the view".into());
    vec![notice]
}
