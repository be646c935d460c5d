//! Changing what exists: every CREATE, DROP and ALTER, one at a time.
//!
//! A change is made in three steps, so that clients, the data directory and the engine agree whenever the process ends:
//!
//! ```text
//! prepare   everything that can fail: find the log, plan the view, read its past. Nobody sees anything of it.
//! keep      the next definitions are written to the data directory, whole. If that fails, what was prepared goes again.
//! make      the engine shows what was prepared, then the catalog does; or the catalog drops it, then the engine.
//!           A new name is known to the engine beside the old one until the catalog has it.
//! ```
//! What a client has seen is kept, then; and what a restart brings back could be made once. A change runs in a task of
//! its own: it comes to its end, or undoes itself, also when the client is gone.

use std::sync::Arc;

use engine::engine::{PreparedSource, StagedView};
use engine::tick::table::RunningTable;
use sql::catalog::Catalog;
use sql::statement::{Parsed, Statement};
use sql::{SqlError, SqlState};
use tokio_util::sync::CancellationToken;

use super::{Database, blocking, definitions};
use crate::backend::{Notice, Outcome};

/// A change that is prepared. Dropped, it leaves no trace.
pub(super) struct Change {
    /// What the client is told.
    pub(super) outcome: Outcome,
    /// What exists afterwards; `None` if nothing changes.
    pub(super) next: Option<Catalog>,
    /// What the engine shows before the catalog does.
    pub(super) addition: Option<Addition>,
    /// What the engine drops after the catalog did, in this order.
    pub(super) removals: Vec<Removal>,
    /// A name of the engine's, and what it becomes.
    pub(super) rename: Option<Renaming>,
    /// At the start: it cannot come back with its state, and has to wait.
    pub(super) put_off: bool,
}

/// Another name in the engine.
#[derive(Clone)]
pub(super) struct Renaming {
    pub(super) from: String,
    pub(super) to: String,
    /// Of the views whose plans name it: their fingerprints from then on.
    pub(super) fingerprints: Vec<(String, String)>,
}

/// What the engine has ready.
pub(super) enum Addition {
    Source(Box<PreparedSource>),
    /// All of them in one tick.
    Views(Vec<StagedView>),
    Table(String, Box<RunningTable>),
    /// What a view or table is indexed by.
    Indexes(String, Vec<Vec<usize>>),
}

/// What the engine is to drop.
pub(super) enum Removal {
    Source(String),
    View(String),
    Table(String),
    /// All of a view's or table's indexes but these.
    Indexes(String, Vec<Vec<usize>>),
}

impl Change {
    /// A change that needs nothing of the engine.
    pub(super) fn new(outcome: Outcome, next: Catalog) -> Self {
        Self { outcome, next: Some(next), addition: None, removals: vec![], rename: None, put_off: false }
    }

    /// At the start: not yet.
    pub(super) fn put_off(tag: &str) -> Self {
        let outcome = Outcome::done(tag);
        Self { outcome, next: None, addition: None, removals: vec![], rename: None, put_off: true }
    }

    /// `IF NOT EXISTS` or `IF EXISTS` with nothing to do.
    pub(super) fn skipped(tag: &str, message: String) -> Self {
        let mut outcome = Outcome::done(tag);
        outcome.notices.push(Notice::new(message));
        Self { outcome, next: None, addition: None, removals: vec![], rename: None, put_off: false }
    }
}

impl Database {
    /// Runs a statement that changes a definition, and keeps the definitions where there is a data directory; `None` if it
    /// is not one. Once begun, the change goes on also if the future is dropped; `cancel` stops it where it can stop.
    ///
    /// # Errors
    /// The statement's. After an error nothing is changed.
    pub async fn change(&self, parsed: &Parsed, cancel: &CancellationToken) -> Result<Option<Outcome>, SqlError> {
        if !is_definition(&parsed.statement) {
            return Ok(None);
        }
        let internal = |message: String| SqlError::new(SqlState::INTERNAL_ERROR, message);
        let this = self.this.upgrade().ok_or_else(|| internal("the database is closed".into()))?;
        let (parsed, cancel) = (parsed.clone(), cancel.clone());
        let changed = tokio::spawn(async move { this.change_to_the_end(&parsed, &cancel).await }).await;
        changed.map_err(|e| internal(format!("the change ended: {e}")))?.map(Some)
    }

    async fn change_to_the_end(&self, parsed: &Parsed, cancel: &CancellationToken) -> Result<Outcome, SqlError> {
        let _changing = tokio::select! {
            changing = self.changing.lock() => changing,
            () = cancel.cancelled() => return Err(SqlError::new(SqlState::QUERY_CANCELED, "the statement was cancelled")),
        };
        let change = self.prepare(parsed, cancel).await?;
        let change = change.ok_or_else(|| SqlError::unsupported("this statement is not supported"))?;
        if let (Some(store), Some(next)) = (&self.store, &change.next)
            && let Err(error) = definitions::write(store, next).await
        {
            // It may have come as far as the new document: the old one is written over it, if that can be.
            if let Err(error) = definitions::write(store, &self.catalog()).await {
                tracing::error!(%error, "the definitions in the data directory may not be those in use");
            }
            let detail = "The definition could not be kept in the data directory, so nothing was changed.";
            return Err(SqlError::from(error).detail(detail).hint("mend the data directory and try again"));
        }
        self.make(change).await
    }

    /// Waits until no definition is being changed.
    pub async fn changes_made(&self) {
        drop(self.changing.lock().await);
    }

    /// Does of a statement what can fail; `None` if it changes no definition. The caller holds the lock `changing`.
    pub(super) async fn prepare(
        &self,
        parsed: &Parsed,
        cancel: &CancellationToken,
    ) -> Result<Option<Change>, SqlError> {
        Ok(Some(match &parsed.statement {
            Statement::CreateSource(create) => self.create_source(create, &parsed.text).await?,
            Statement::CreateMaterializedView(create) => {
                self.create_materialized_view(create, &parsed.text, cancel).await?
            }
            Statement::CreateView(create) => self.create_view(create, &parsed.text)?,
            Statement::CreateTable(create) => self.create_table(create, &parsed.text)?,
            Statement::CreateIndex(create) => self.create_index(create)?,
            Statement::DropIndex(drop) => self.drop_index(drop)?,
            Statement::Drop(drop) => self.drop(drop)?,
            Statement::Rename(rename) => self.rename(rename)?,
            _ => return Ok(None),
        }))
    }

    /// Makes a change that is prepared and kept.
    ///
    /// # Errors
    /// `Unavailable` if the engine has stopped.
    pub(super) async fn make(&self, change: Change) -> Result<Outcome, SqlError> {
        let Change { outcome, next, addition, removals, rename, put_off: _ } = change;
        let engine = self.engine.clone();
        match addition {
            Some(Addition::Source(source)) => blocking(move || engine.add_source(*source)).await?,
            Some(Addition::Table(name, table)) => blocking(move || engine.add_table(&name, *table)).await?,
            Some(Addition::Indexes(name, indexes)) => blocking(move || engine.set_indexes(&name, indexes)).await?,
            Some(Addition::Views(views)) => blocking(move || StagedView::show_all(views)).await?,
            None => {}
        }
        let engine = self.engine.clone();
        if let Some(Renaming { from, to, fingerprints }) = rename.clone() {
            blocking(move || engine.rename(&from, &to, fingerprints)).await?;
        }
        if let Some(next) = next {
            self.catalog.store(Arc::new(next));
        }
        let engine = self.engine.clone();
        blocking(move || {
            if let Some(Renaming { from, .. }) = &rename {
                engine.forget_name(from)?;
            }
            removals.iter().try_for_each(|removal| match removal {
                Removal::Source(name) => engine.drop_source(name),
                Removal::View(name) => engine.drop_view(name),
                Removal::Table(name) => engine.drop_table(name),
                Removal::Indexes(name, left) => engine.set_indexes(name, left.clone()),
            })
        })
        .await?;
        Ok(outcome)
    }
}

fn is_definition(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::CreateSource(_)
            | Statement::CreateMaterializedView(_)
            | Statement::CreateView(_)
            | Statement::CreateTable(_)
            | Statement::CreateIndex(_)
            | Statement::DropIndex(_)
            | Statement::Drop(_)
            | Statement::Rename(_)
    )
}
