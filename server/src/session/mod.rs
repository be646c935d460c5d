//! One client's session: everything between two statements that belongs to the client and not to the data.
//!
//! Knows nothing of sockets or message formats. `Session::prepare` takes a statement in, `Session::start` runs it:
//! statements about the session itself (`command`) here, all others by the [`Backend`]. What comes out is a tag or
//! rows to be pulled.

pub(crate) mod command;
pub(crate) mod copy_options;
mod execute;
pub(crate) mod portal;
pub mod registry;
pub(crate) mod rows;
mod setting_list;
mod setting_value;
pub mod settings;
pub mod time_zone;
pub(crate) mod transaction;

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use sql::SqlError;
use sql::statement::Parsed;
use tokio_util::sync::CancellationToken;

use self::command::{Command, command};
use self::portal::{Portals, Prepared, PreparedStatements};
use self::rows::text_rows;
use self::settings::Settings;
use self::transaction::{State, Transaction, aborted};
use crate::backend::{Backend, Description, Identity, Notice, PlanSlot, ReadPoint, Request};

/// One client's session.
pub(crate) struct Session {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) identity: Identity,
    pub(crate) settings: Settings,
    pub(crate) transaction: Transaction,
    pub(crate) prepared: PreparedStatements,
    pub(crate) portals: Portals,
    /// The query string that runs holds several statements.
    pub(crate) several: bool,
    notices: Vec<Notice>,
}

impl Session {
    /// A session for `identity`, whose settings hold what the startup packet asked for.
    pub(crate) fn new(backend: Arc<dyn Backend>, identity: Identity, settings: Settings) -> Self {
        Self {
            backend,
            identity,
            transaction: Transaction::new(settings.clone()),
            settings,
            prepared: PreparedStatements::default(),
            portals: Portals::default(),
            several: false,
            notices: Vec::new(),
        }
    }

    /// The notices since they were last taken.
    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// A statement of a query string, ready to start; its shape is found out when it runs.
    ///
    /// # Errors
    /// 0A000 and the like for what no session can do.
    pub(crate) fn undescribed(&self, parsed: Parsed) -> Result<Prepared, SqlError> {
        let command = command(&parsed).map_err(|error| placed(error, &parsed))?;
        Ok(Prepared { parsed: Some(parsed), command, ..Prepared::default() })
    }

    /// A statement with its parameters' types and its columns: what Parse makes.
    ///
    /// # Errors
    /// What planning it reports; 25P02 in a failed block.
    pub(crate) async fn prepare(
        &mut self,
        parsed: Option<Parsed>,
        parameter_oids: Vec<u32>,
        parameter_types: Vec<Option<DataType>>,
        token: &CancellationToken,
    ) -> Result<Prepared, SqlError> {
        let Some(parsed) = parsed else {
            let parameters = given(&parameter_types);
            let description = Description { parameters, columns: None };
            return Ok(Prepared { parameter_oids, parameter_types, description, ..Prepared::default() });
        };
        let command = command(&parsed).map_err(|error| placed(error, &parsed))?;
        self.check_not_failed(command.as_ref())?;
        self.transaction.begin_implicit();
        let plan = PlanSlot::default();
        let described = match &command {
            Some(Command::Declare(declaration)) => {
                let inner = self.describe(&declaration.query, &parameter_types, token, &plan).await;
                inner.map(|inner| Description { columns: None, ..inner })
            }
            Some(command) => Ok(Description { parameters: given(&parameter_types), columns: self.columns_of(command) }),
            None => self.describe(&parsed, &parameter_types, token, &plan).await,
        };
        let mut description = described.map_err(|error| placed(error, &parsed))?;
        // A parameter the statement never mentions still has the type the client gave it.
        let surplus = parameter_types.len().saturating_sub(description.parameters.len());
        let first = parameter_types.len() - surplus;
        description.parameters.extend(given(&parameter_types[first..]));
        Ok(Prepared { parsed: Some(parsed), command, parameter_oids, parameter_types, description, plan })
    }

    async fn describe(
        &mut self,
        statement: &Parsed,
        parameter_types: &[Option<DataType>],
        token: &CancellationToken,
        plan: &PlanSlot,
    ) -> Result<Description, SqlError> {
        let read_point = self.transaction.read_point(self.backend.as_ref(), false)?;
        let request = self.request(statement, parameter_types, &read_point, token, plan);
        self.backend.describe(&request).await
    }

    /// A statement for the backend, as part of this session and its transaction.
    pub(crate) fn request<'a>(
        &'a self,
        statement: &'a Parsed,
        parameter_types: &'a [Option<DataType>],
        read_point: &'a ReadPoint,
        cancel: &'a CancellationToken,
        plan: &'a PlanSlot,
    ) -> Request<'a> {
        let (settings, block, identity) = (&self.settings, self.transaction.writes(), &self.identity);
        Request { statement, parameter_types, settings, read_point, cancel, block, identity, plan }
    }

    /// The columns of what the session answers itself.
    fn columns_of(&self, command: &Command) -> Option<Vec<FieldRef>> {
        match command {
            Command::Show(name) => Some(text_rows(&[&Settings::canonical_name(name)], &[]).0),
            Command::ShowAll => Some(text_rows(&["name", "setting", "description"], &[]).0),
            Command::Fetch { cursor, moves: false, .. } => self.cursor_columns(cursor),
            Command::Execute { name, .. } => self.prepared.get(name).ok()?.description.columns.clone(),
            _ => None,
        }
    }

    /// Refuses everything but the end of a failed block.
    ///
    /// # Errors
    /// 25P02.
    pub(crate) fn check_not_failed(&self, command: Option<&Command>) -> Result<(), SqlError> {
        let ends = matches!(command, Some(Command::Commit { .. } | Command::Rollback { .. } | Command::RollbackTo(_)));
        if self.transaction.state() == State::Failed && !ends { Err(aborted()) } else { Ok(()) }
    }

    /// A statement failed: a block waits for its end.
    pub(crate) fn fail(&mut self) {
        self.transaction.fail();
    }

    /// The query string, or the pipeline, is over.
    pub(crate) fn end_implicit(&mut self, failed: bool) {
        if let Some((end, notice)) = self.transaction.end_implicit(failed) {
            self.portals.end(end);
            self.notices.extend(notice);
        }
    }
}

/// The types the client gave; text where it gave none.
fn given(types: &[Option<DataType>]) -> Vec<DataType> {
    types.iter().map(|data_type| data_type.clone().unwrap_or(DataType::Utf8)).collect()
}

/// Counts an error's position in the query string instead of in the statement.
pub(crate) fn placed(mut error: SqlError, parsed: &Parsed) -> SqlError {
    error.position = error.position.map(|position| position + parsed.offset);
    error
}
