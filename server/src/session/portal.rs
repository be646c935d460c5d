//! Portals: statements with their parameters bound, and the rows they have left. A cursor is one.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::ScalarValue;
use sql::statement::Parsed;
use sql::{SqlError, SqlState};
use tokio::sync::Mutex;

use super::command::Command;
use super::copy_options::CopyOptions;
use super::rows::RowSource;
use super::transaction::End;
use crate::backend::{Description, PlanSlot, RowsTag};

/// Prepared statements, and portals, one session may hold.
const NAMES_MAX: usize = 1000;

/// A prepared statement.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// The statement; `None` is an empty query string.
    pub parsed: Option<Parsed>,
    /// What the session does by itself for it.
    pub command: Option<Command>,
    /// The oids the client gave its parameters; may be fewer than there are parameters.
    pub parameter_oids: Vec<u32>,
    /// The types of those oids.
    pub parameter_types: Vec<Option<DataType>>,
    /// Its shape.
    pub description: Description,
    /// What the backend keeps of it.
    pub plan: PlanSlot,
}

/// A portal.
pub(crate) struct Portal {
    /// What it runs.
    pub prepared: Arc<Prepared>,
    /// With what.
    pub parameters: Vec<ScalarValue>,
    /// The result format codes of its Bind.
    pub result_formats: Vec<i16>,
    /// How far it got.
    pub state: PortalState,
    /// Survives the end of its transaction.
    pub hold: bool,
    /// Has survived one.
    pub persisted: bool,
    /// How many savepoints there were when it was made.
    pub depth: usize,
}

/// How far a portal got.
pub(crate) enum PortalState {
    /// Bound, not started.
    Ready,
    /// Started; rows may be left.
    Rows(Rows),
    /// Run to its end; a statement with rows gives none more.
    Done { had_rows: bool },
}

/// Rows under way to the client.
#[derive(Clone)]
pub(crate) struct Rows {
    /// Shared between a cursor and the FETCH that reads it.
    pub source: Arc<Mutex<RowSource>>,
    /// The columns under their wire names.
    pub columns: Vec<FieldRef>,
    /// The tag at the end.
    pub tag: RowsTag,
    /// How many rows FETCH still gives; `None` is all.
    pub limit: Option<u64>,
    /// How many are passed over first.
    pub skip: u64,
    /// MOVE: the rows are counted and not sent.
    pub discard: bool,
    /// A binary cursor: all columns in binary, whatever was asked.
    pub binary: bool,
    /// More rows may come at any time, and nobody knows when.
    pub endless: bool,
    /// When to stop waiting for rows.
    pub patience: Patience,
}

/// How long the rows of a statement are waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    /// Until the last.
    All,
    /// Until there are any; what is there then is all.
    First,
    /// Until then.
    Until(tokio::time::Instant),
}

/// What starting a statement gave.
pub(crate) enum Started {
    /// It is over; this is its tag.
    Done(String),
    /// Rows follow.
    Rows(Rows),
    /// Rows follow as COPY data.
    Copy { source: RowSource, columns: Vec<FieldRef>, options: CopyOptions },
    /// The client is to send rows as COPY data.
    CopyIn(Box<CopyIn>),
}

/// Rows that a client sends for a table.
#[derive(Debug)]
pub(crate) struct CopyIn {
    /// The table, as errors name it.
    pub table: String,
    /// The columns that the rows have, with the table's names and types.
    pub columns: Vec<FieldRef>,
    pub options: CopyOptions,
    /// The INSERT of [`COPIED`](sql::write::COPIED) that takes them.
    pub insert: Parsed,
}

/// The portals of a session, by name; the unnamed one is "".
#[derive(Default)]
pub(crate) struct Portals(HashMap<String, Portal>);

impl Portals {
    /// The portal of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&Portal> {
        self.0.get(name)
    }

    /// Adds a portal; the unnamed one may be replaced.
    ///
    /// # Errors
    /// 42P03 if the name is taken, 53400 if there are too many.
    pub(crate) fn insert(&mut self, name: &str, portal: Portal) -> Result<(), SqlError> {
        if !name.is_empty() && self.0.contains_key(name) {
            return Err(SqlError::new(SqlState("42P03"), format!("cursor \"{name}\" already exists")));
        }
        if self.0.len() >= NAMES_MAX {
            return Err(too_many("cursors"));
        }
        self.0.insert(name.to_owned(), portal);
        Ok(())
    }

    /// Takes a portal out, to run it or to be rid of it.
    pub(crate) fn remove(&mut self, name: &str) -> Option<Portal> {
        self.0.remove(name)
    }

    /// Puts a portal back that was taken out to run it.
    pub(crate) fn put_back(&mut self, name: &str, portal: Portal) {
        self.0.insert(name.to_owned(), portal);
    }

    /// CLOSE ALL.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The transaction ended: only held portals stay, and of these a rollback takes the ones made in it.
    pub(crate) fn end(&mut self, end: End) {
        self.0.retain(|_, portal| portal.persisted || (portal.hold && end == End::Committed));
        self.0.values_mut().for_each(|portal| portal.persisted = true);
    }

    /// A savepoint was returned to: what was made after it goes.
    pub(crate) fn rollback_to(&mut self, depth: usize) {
        self.0.retain(|_, portal| portal.persisted || portal.depth < depth);
    }
}

/// The prepared statements of a session, by name; the unnamed one is "".
#[derive(Default)]
pub(crate) struct PreparedStatements(HashMap<String, Arc<Prepared>>);

impl PreparedStatements {
    /// The statement of that name.
    ///
    /// # Errors
    /// 26000.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<Prepared>, SqlError> {
        self.0.get(name).cloned().ok_or_else(|| {
            let message = match name {
                "" => "unnamed prepared statement does not exist".to_owned(),
                name => format!("prepared statement \"{name}\" does not exist"),
            };
            SqlError::new(SqlState("26000"), message)
        })
    }

    /// Fails if a statement of that name cannot be added.
    ///
    /// # Errors
    /// 42P05 if the name is taken, 53400 if there are too many.
    pub(crate) fn check_free(&self, name: &str) -> Result<(), SqlError> {
        if !name.is_empty() && self.0.contains_key(name) {
            return Err(SqlError::new(SqlState("42P05"), format!("prepared statement \"{name}\" already exists")));
        }
        if self.0.len() >= NAMES_MAX { Err(too_many("prepared statements")) } else { Ok(()) }
    }

    /// Adds a statement; the unnamed one is replaced.
    pub(crate) fn insert(&mut self, name: &str, prepared: Prepared) {
        self.0.insert(name.to_owned(), Arc::new(prepared));
    }

    /// Forgets a statement; false if there was none.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

fn too_many(what: &str) -> SqlError {
    SqlError::new(SqlState("53400"), format!("too many {what}")).detail(format!("A session holds at most {NAMES_MAX}."))
}

/// What a portal that is not there is called.
pub(crate) fn no_cursor(name: &str) -> SqlError {
    SqlError::new(SqlState("34000"), format!("cursor \"{name}\" does not exist"))
}
