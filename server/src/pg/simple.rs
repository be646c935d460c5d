//! The simple protocol: a query string, its statements one after the other, up to the first error.
//!
//! Each statement is finished and answered before the next one starts.

use std::sync::atomic::Ordering;

use sql::statement::Parsed;

use super::connection::Connection;
use super::encode::Format;
use super::failure::Failure;
use super::reply;
use super::stream::attend;
use crate::backend::RowsTag;
use crate::session::command::Command;
use crate::session::portal::{Prepared, Rows, Started};
use crate::session::registry::StatementControl;

impl Connection {
    /// Runs a query string; ReadyForQuery is the caller's.
    ///
    /// # Errors
    /// The first statement's that fails.
    pub(super) async fn simple_query(&mut self, text: &str) -> Result<(), Failure> {
        self.show_active(text);
        self.session.portals.remove("");
        self.session.prepared.remove("");
        let statements = self.session.backend.parse(text)?;
        if statements.is_empty() {
            reply::empty_query(&mut self.wire.out);
            return Ok(());
        }
        self.session.several = statements.len() > 1;
        for parsed in statements {
            self.run_simple(parsed).await?;
            self.entry.end_statement();
        }
        Ok(())
    }

    async fn run_simple(&mut self, parsed: Parsed) -> Result<(), Failure> {
        let control = self.entry.start_statement(self.session.settings.duration("statement_timeout"));
        let prepared = self.session.undescribed(parsed)?;
        match self.start(&prepared, Vec::new(), &control).await? {
            Started::Done(tag) => reply::command_complete(&mut self.wire.out, &tag),
            Started::Rows(mut rows) => {
                let format = if rows.binary { Format::Binary } else { Format::Text };
                let formats = vec![format; rows.columns.len()];
                if !rows.discard {
                    reply::row_description(&mut self.wire.out, &rows.columns, &formats);
                }
                let streamed = self.stream_rows(&mut rows, &formats, None, &control).await?;
                self.complete(&rows, streamed.rows);
            }
            Started::Copy { source, columns, options } => self.copy_out(source, &columns, &options, &control).await?,
            Started::CopyIn(copy) => self.copy_in(*copy, &control).await?,
        }
        Ok(())
    }

    /// Runs a statement up to its first row.
    ///
    /// # Errors
    /// As [`attend`].
    pub(super) async fn start(
        &mut self,
        prepared: &Prepared,
        parameters: Vec<datafusion::common::ScalarValue>,
        control: &StatementControl,
    ) -> Result<Started, Failure> {
        self.server.sessions.counters().statements.fetch_add(1, Ordering::Relaxed);
        // Written with Debug, so that no line of a log can be forged by a line in a statement.
        let text = prepared.parsed.as_ref().map(|parsed| sql::parser::redacted(&parsed.text));
        tracing::debug!(pid = self.session.identity.pid, statement = ?text, "executing");
        let terminate = self.entry.terminate().clone();
        let work = self.session.start(prepared, parameters, control.token());
        let started = attend(&mut self.wire, control, &terminate, is_droppable(prepared), work).await;
        self.send_notices();
        started
    }

    /// The tag at the end of rows.
    pub(super) fn complete(&mut self, rows: &Rows, count: u64) {
        match rows.tag {
            RowsTag::Counted(word) => reply::command_complete(&mut self.wire.out, &format!("{word} {count}")),
            RowsTag::Plain(word) => reply::command_complete(&mut self.wire.out, word),
        }
    }
}

/// A read may be let go in the middle; what changes something runs to its own end.
fn is_droppable(prepared: &Prepared) -> bool {
    use sql::statement::Statement;
    match (&prepared.parsed, &prepared.command) {
        (_, Some(command)) => !matches!(command, Command::Set { .. } | Command::Reset(_) | Command::Commit { .. }),
        (Some(parsed), None) => {
            use Statement::{Checkpoint, Explain, Flush, Query, Subscribe, Verify, Wait};
            matches!(parsed.statement, Query(_) | Explain(_) | Checkpoint | Flush | Verify(_) | Wait(_) | Subscribe(_))
        }
        (None, None) => true,
    }
}
