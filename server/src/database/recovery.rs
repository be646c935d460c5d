//! The start: what an earlier run left comes back through the statements that made it.
//!
//! ```text
//! 1  each definition, oldest first: sources, tables, and views whose state is in the checkpoint. What cannot come back with its
//!    state, or reads what cannot, is put off.
//! 2  ticks begin: sources are read on from the checkpoint's offsets, rows written to tables since come from the log.
//! 3  what was put off is built again from the sources, as when it was made.
//! 4  sources are read up to their ends as of now: no client sees less than one saw before.
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sql::catalog::Catalog;
use sql::{SqlError, SqlState};
use tokio_util::sync::CancellationToken;

use super::definitions::{self, DefinitionText};
use super::{Database, blocking, secrets, with_password};
use crate::roles::access::Access;
use crate::roles::document;

/// How often a broker that is away is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// Where the start is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Definitions come back with their state.
    Restore = 1,
    /// Those without come back anew.
    Rebuild = 2,
    /// The start is over.
    Over = 0,
}

impl Database {
    /// Brings back the definitions of the data directory. The directory itself is left as it is, so a start that fails
    /// half-way loses nothing. `progress` is told in a few words what is being done; `stop` ends a wait for a broker.
    ///
    /// # Errors
    /// The first statement that fails, with its text: a start that cannot bring back what was there is no start.
    pub async fn recover(&self, progress: &(dyn Fn(String) + Sync), stop: &CancellationToken) -> Result<(), SqlError> {
        let Some(store) = &self.store else { return Ok(()) };
        let internal = |message| SqlError::new(SqlState::INTERNAL_ERROR, message);
        let roles = document::read(store).await.map_err(internal)?;
        self.roles.store(Arc::new(with_password(roles, self.password.as_ref())));
        // Sources name them.
        self.secrets.store(Arc::new(secrets::read(store).await.map_err(internal)?));
        let definitions = definitions::read(store).await.map_err(internal)?;
        self.phase.store(Phase::Restore as u8, Ordering::Release);
        let recovered = self.bring_all_back(&definitions, progress, stop).await;
        self.phase.store(Phase::Over as u8, Ordering::Release);
        self.catalog.rcu(|catalog| catalog.with_given_oid(None));
        self.forget_rights_on_nothing();
        recovered
    }

    /// A stop between two documents leaves rights on what never came to be: its oid will be another's.
    fn forget_rights_on_nothing(&self) {
        let (catalog, secrets) = (self.catalog(), self.secrets());
        let mut roles = self.roles().as_ref().clone();
        roles.retain(|securable| secrets.is_there(&catalog, securable));
        self.roles.store(Arc::new(roles));
    }

    /// Where the start is.
    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            1 => Phase::Restore,
            2 => Phase::Rebuild,
            _ => Phase::Over,
        }
    }

    async fn bring_all_back(
        &self,
        definitions: &[DefinitionText],
        progress: &(dyn Fn(String) + Sync),
        stop: &CancellationToken,
    ) -> Result<(), SqlError> {
        let mut put_off = Vec::new();
        for (number, definition) in definitions.iter().enumerate() {
            progress(format!("bringing back {} ({} of {})", definition.name, number + 1, definitions.len()));
            if !self.bring_back(definition).await? {
                put_off.push(definition);
            }
        }
        progress("opening sources".into());
        self.begin(progress, stop).await?;
        self.phase.store(Phase::Rebuild as u8, Ordering::Release);
        for (number, definition) in put_off.iter().enumerate() {
            tracing::info!(name = definition.name, "built again: no checkpoint has the state of this definition");
            progress(format!("building {} again ({} of {})", definition.name, number + 1, put_off.len()));
            self.bring_back(definition).await?;
        }
        self.catch_up(progress, stop).await
    }

    /// False if the definition is put off.
    async fn bring_back(&self, definition: &DefinitionText) -> Result<bool, SqlError> {
        let DefinitionText { name, oid, text } = definition;
        let restoring = self.phase() == Phase::Restore;
        let told = |error: SqlError| {
            let text = text.lines().next().unwrap_or_default();
            error.detail(format!("while bringing back {name}: {text} …"))
        };
        let _changing = self.changing.lock().await;
        let access = Access::of_server(self.roles());
        for parsed in sql::parser::parse(text).map_err(told)? {
            self.catalog.rcu(|catalog| catalog.with_given_oid(Some(*oid)));
            match self.prepare(&parsed, &access, None, &CancellationToken::new()).await {
                Ok(Some(change)) if change.put_off => return Ok(false),
                Ok(Some(change)) => drop(self.make(change).await.map_err(told)?),
                Ok(None) => {}
                // It reads, or is on, what was put off.
                Err(error) if restoring && is_missing(&error) => return Ok(false),
                Err(error) => return Err(told(error)),
            }
        }
        Ok(true)
    }

    /// Lets ticks begin, as soon as every source can be read on.
    async fn begin(&self, progress: &(dyn Fn(String) + Sync), stop: &CancellationToken) -> Result<(), SqlError> {
        loop {
            let engine = self.engine.clone();
            match blocking(move || engine.begin()).await {
                Err(error) if error.state == SqlState::CONNECTION_FAILURE => wait(&error, progress, stop).await?,
                begun => return begun,
            }
        }
    }

    /// Waits until views hold what was in their topics at this start: what clients saw before was no more.
    async fn catch_up(&self, progress: &(dyn Fn(String) + Sync), stop: &CancellationToken) -> Result<(), SqlError> {
        progress("reading sources to their ends".into());
        loop {
            let (engine, cancel) = (self.engine.clone(), stop.clone());
            match blocking(move || engine.flush(&|| cancel.is_cancelled())).await {
                // One that is halted waits for somebody's decision: clients have to be let in to see it.
                Err(error) if error.message.contains("is halted") => {
                    tracing::error!(%error, "the start goes on without this source");
                    return Ok(());
                }
                Err(error) if error.state == SqlState::CONNECTION_FAILURE => wait(&error, progress, stop).await?,
                caught_up => return caught_up,
            }
        }
    }
}

fn is_missing(error: &SqlError) -> bool {
    error.state == SqlState::UNDEFINED_TABLE
}

async fn wait(error: &SqlError, progress: &(dyn Fn(String) + Sync), stop: &CancellationToken) -> Result<(), SqlError> {
    tracing::warn!(%error, "a source cannot be read yet");
    progress(format!("waiting for a source: {}", error.message));
    tokio::select! {
        () = tokio::time::sleep(RETRY) => Ok(()),
        () = stop.cancelled() => Err(SqlError::new(SqlState::QUERY_CANCELED, "the start was stopped")),
    }
}

/// The number an object has or will have.
pub(super) fn oid_of(catalog: &Catalog, name: &str) -> u32 {
    catalog.get(name).map_or(0, |object| object.oid)
}
