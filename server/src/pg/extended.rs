//! The extended protocol: Parse, Bind, Describe, Execute and Close.
//!
//! A statement's shape is found out once, at Parse. A portal keeps the rows it has left, so an Execute with a row
//! limit goes on where the last one stopped, for as long as the portal's transaction lasts.

use std::sync::Arc;

use sql::{SqlError, SqlState};

use super::connection::Connection;
use super::decode;
use super::encode::Format;
use super::failure::Failure;
use super::frontend::{Bind, Target, violation};
use super::reply;
use super::stream::attend;
use super::wire_type::{UNKNOWN, WireType, parameter_type};
use crate::session::portal::{Portal, PortalState, Prepared, Rows, Started};

impl Connection {
    /// Parse.
    ///
    /// # Errors
    /// 42P05 for a name that is taken, 42601 for more than one statement, and what planning reports.
    pub(super) async fn parse(&mut self, name: &str, text: &str, oids: Vec<u32>) -> Result<(), Failure> {
        self.show_active(text);
        if name.is_empty() {
            self.session.prepared.remove("");
        }
        self.session.prepared.check_free(name)?;
        let mut statements = self.session.backend.parse(text)?;
        let parsed = statements.pop();
        if !statements.is_empty() {
            let message = "cannot insert multiple commands into a prepared statement";
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message).into());
        }
        let types = oids.iter().map(|oid| parameter_type(*oid)).collect::<Result<_, _>>()?;
        let control = self.entry.start_statement(self.session.settings.duration("statement_timeout"));
        let terminate = self.entry.terminate().clone();
        let work = self.session.prepare(parsed, oids, types, control.token());
        let prepared = attend(&mut self.wire, &control, &terminate, true, work).await?;
        self.session.prepared.insert(name, prepared);
        reply::parse_complete(&mut self.wire.out);
        Ok(())
    }

    /// Bind.
    ///
    /// # Errors
    /// 26000, 42P03, 08P01 for counts that do not match, and what is wrong with a parameter.
    pub(super) fn bind(&mut self, bind: Bind) -> Result<(), Failure> {
        let prepared = self.session.prepared.get(&bind.statement)?;
        if prepared.parsed.is_some() {
            self.session.check_not_failed(prepared.command.as_ref())?;
        }
        self.session.transaction.begin_implicit();
        let parameters = self.parameters(&prepared, &bind)?;
        if let Some(columns) = &prepared.description.columns {
            Format::for_columns(&bind.result_formats, columns.len())?;
        }
        let portal = Portal {
            prepared,
            parameters,
            result_formats: bind.result_formats,
            state: PortalState::Ready,
            hold: false,
            persisted: false,
            depth: self.session.transaction.depth(),
        };
        self.session.portals.insert(&bind.portal, portal)?;
        reply::bind_complete(&mut self.wire.out);
        Ok(())
    }

    fn parameters(&self, prepared: &Prepared, bind: &Bind) -> Result<Vec<datafusion::common::ScalarValue>, SqlError> {
        let types = &prepared.description.parameters;
        let (given, expected) = (bind.parameters.len(), types.len());
        if given != expected {
            let name = &bind.statement;
            let message = format!(
                "bind message supplies {given} parameters, but prepared statement \"{name}\" requires {expected}"
            );
            return Err(violation(message));
        }
        let formats = bind.parameter_formats.len();
        if formats > 1 && formats != given {
            return Err(violation(format!("bind message has {formats} parameter formats but {given} parameters")));
        }
        let formats = Format::for_columns(&bind.parameter_formats, given)?;
        let zone = self.session.settings.time_zone();
        let values = bind.parameters.iter().zip(types).zip(formats).enumerate();
        values
            .map(|(index, ((bytes, data_type), format))| {
                let oid = prepared.parameter_oids.get(index).copied().filter(|oid| *oid != UNKNOWN).unwrap_or(0);
                decode::parameter(bytes.as_deref(), format, data_type, oid, zone)
            })
            .collect()
    }

    /// Describe.
    ///
    /// # Errors
    /// 26000, 34000, 25P02.
    pub(super) fn describe(&mut self, target: &Target) -> Result<(), Failure> {
        match target {
            Target::Statement(name) => {
                let prepared = self.session.prepared.get(name)?;
                let columns = prepared.description.columns.as_ref();
                if columns.is_some() {
                    self.session.check_not_failed(prepared.command.as_ref())?;
                }
                reply::parameter_description(&mut self.wire.out, parameter_oids(&prepared));
                match columns {
                    Some(columns) => {
                        reply::row_description(&mut self.wire.out, columns, &vec![Format::Text; columns.len()]);
                    }
                    None => reply::no_data(&mut self.wire.out),
                }
            }
            Target::Portal(name) => {
                let portal = self.session.portals.get(name).ok_or_else(|| no_portal(name))?;
                let columns = match &portal.state {
                    PortalState::Rows(rows) => Some(&rows.columns),
                    _ => portal.prepared.description.columns.as_ref(),
                };
                match columns {
                    Some(columns) => {
                        let formats = Format::for_columns(&portal.result_formats, columns.len())?;
                        reply::row_description(&mut self.wire.out, columns, &formats);
                    }
                    None => reply::no_data(&mut self.wire.out),
                }
            }
        }
        Ok(())
    }

    /// Execute. `rows_max` of 0 or less is no limit.
    ///
    /// # Errors
    /// 34000, 25P02, 0A000 if the result's types changed since Parse, and the statement's own.
    pub(super) async fn execute(&mut self, name: &str, rows_max: i32) -> Result<(), Failure> {
        let mut portal = self.session.portals.remove(name).ok_or_else(|| no_portal(name))?;
        self.session.several = false;
        self.session.transaction.begin_implicit();
        let executed = self.execute_portal(&mut portal, rows_max).await;
        match &executed {
            Ok(()) => {
                // COMMIT, ROLLBACK and DISCARD ALL end the portals of their transaction, their own among them.
                if self.session.transaction.state() != crate::session::transaction::State::Idle {
                    self.session.portals.put_back(name, portal);
                }
            }
            // A portal whose statement failed is gone with it.
            Err(_) => drop(portal),
        }
        executed
    }

    async fn execute_portal(&mut self, portal: &mut Portal, rows_max: i32) -> Result<(), Failure> {
        let prepared = portal.prepared.clone();
        let Some(parsed) = &prepared.parsed else {
            reply::empty_query(&mut self.wire.out);
            return Ok(());
        };
        self.session.check_not_failed(prepared.command.as_ref())?;
        self.entry.show_active(&sql::parser::redacted(&parsed.text));
        let control = self.entry.start_statement(self.session.settings.duration("statement_timeout"));
        if let PortalState::Done { had_rows } = portal.state {
            return match had_rows {
                true => {
                    reply::command_complete(&mut self.wire.out, "SELECT 0");
                    Ok(())
                }
                false => {
                    let message = "portal cannot be run again";
                    Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message).into())
                }
            };
        }
        if matches!(portal.state, PortalState::Ready) {
            let parameters = std::mem::take(&mut portal.parameters);
            match self.start(&prepared, parameters, &control).await? {
                Started::Done(tag) => {
                    portal.state = PortalState::Done { had_rows: false };
                    reply::command_complete(&mut self.wire.out, &tag);
                    return Ok(());
                }
                Started::Copy { source, columns, options } => {
                    portal.state = PortalState::Done { had_rows: false };
                    return self.copy_out(source, &columns, &options, &control).await;
                }
                Started::CopyIn(copy) => {
                    portal.state = PortalState::Done { had_rows: false };
                    return self.copy_in(*copy, &control).await;
                }
                Started::Rows(rows) => {
                    check_shape(&prepared, &rows)?;
                    portal.state = PortalState::Rows(rows);
                }
            }
        }
        let PortalState::Rows(rows) = &mut portal.state else {
            return Err(SqlError::new(SqlState::INTERNAL_ERROR, "a portal without rows").into());
        };
        let formats = match rows.binary {
            true => vec![Format::Binary; rows.columns.len()],
            false => Format::for_columns(&portal.result_formats, rows.columns.len())?,
        };
        let rows_max = u64::try_from(rows_max).ok().filter(|most| *most > 0);
        let streamed = self.stream_rows(rows, &formats, rows_max, &control).await?;
        if streamed.finished || rows_max.is_none() {
            let rows = rows.clone();
            portal.state = PortalState::Done { had_rows: true };
            self.complete(&rows, streamed.rows);
        } else {
            reply::portal_suspended(&mut self.wire.out);
        }
        Ok(())
    }

    /// Close: what is not there is closed already.
    pub(super) fn close(&mut self, target: &Target) {
        match target {
            Target::Statement(name) => {
                self.session.prepared.remove(name);
            }
            Target::Portal(name) => drop(self.session.portals.remove(name)),
        }
        reply::close_complete(&mut self.wire.out);
    }
}

/// The client's own oids where it gave any, the inferred types' elsewhere.
fn parameter_oids(prepared: &Arc<Prepared>) -> Vec<u32> {
    let types = prepared.description.parameters.iter().enumerate();
    types
        .map(|(index, data_type)| match prepared.parameter_oids.get(index) {
            Some(0 | &UNKNOWN) | None => WireType::of_data_type(data_type).oid,
            Some(oid) => *oid,
        })
        .collect()
}

/// What Describe announced must be what comes: a client may have asked once and never again.
fn check_shape(prepared: &Prepared, rows: &Rows) -> Result<(), SqlError> {
    let Some(announced) = &prepared.description.columns else { return Ok(()) };
    let oids = |columns: &[arrow::datatypes::FieldRef]| -> Vec<u32> {
        columns.iter().map(|field| WireType::of(field).oid).collect()
    };
    if oids(announced) == oids(&rows.columns) {
        return Ok(());
    }
    Err(SqlError::unsupported("cached plan must not change result type"))
}

fn no_portal(name: &str) -> SqlError {
    SqlError::new(SqlState("34000"), format!("portal \"{name}\" does not exist"))
}
