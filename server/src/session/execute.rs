//! Starts statements: the session's own here, the others through the backend.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast;
use sql::statement::{Parsed, Statement, WriteAction};
use sql::write::COPIED;
use sql::{SqlError, SqlState};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::command::{Command, Copied, Count, Declaration};
use super::copy_options::CopyOptions;
use super::portal::{CopyIn, Patience, Portal, PortalState, Prepared, Rows, Started, no_cursor};
use super::rows::{RowSource, sql_error, text_rows};
use super::settings::{Settings, is_known, unrecognized};
use super::transaction::{End, Modes, State, only_in_block};
use super::{Session, placed};
use crate::backend::{Notice, PlanSlot, RoleSetting, RowsTag, StatementResult};
use crate::database::administration_tag;

/// `SHOW TICK`: the tick that reads see.
const TICK: &str = "tick";

impl Session {
    /// Runs a statement up to its first row. The rows, where there are any, stop when `token` fires.
    ///
    /// # Errors
    /// The statement's, with positions counted in the query string.
    pub(crate) async fn start(
        &mut self,
        prepared: &Prepared,
        parameters: Vec<ScalarValue>,
        token: &CancellationToken,
    ) -> Result<Started, SqlError> {
        let Some(parsed) = &prepared.parsed else { return Ok(Started::Done(String::new())) };
        self.check_not_failed(prepared.command.as_ref())?;
        self.transaction.begin_implicit();
        let started = match &prepared.command {
            Some(command) => self.run(command, prepared, parameters, token).await,
            None => self.execute(parsed, &prepared.parameter_types, &prepared.plan, parameters, token).await,
        };
        started.map_err(|error| placed(error, parsed))
    }

    /// Has the backend run a statement.
    async fn execute(
        &mut self,
        statement: &Parsed,
        parameter_types: &[Option<DataType>],
        plan: &PlanSlot,
        parameters: Vec<ScalarValue>,
        token: &CancellationToken,
    ) -> Result<Started, SqlError> {
        let definition = definition_tag(&statement.statement);
        let write = write_tag(&statement.statement);
        self.check_may_write(definition, write)?;
        let reads = matches!(statement.statement, Statement::Query(_) | Statement::Explain(_));
        let as_of = statement.as_of_tick.filter(|_| reads);
        // What a block writes depends on what it sees, from then on.
        let reads = reads || (write.is_some() && self.transaction.state() == State::Block);
        let read_point = match as_of {
            Some(tick) => self.backend.read_point_at(tick)?,
            None => self.transaction.read_point(self.backend.as_ref(), reads)?,
        };
        // The rows' own token: it fires with the statement's, and when the rows are no longer wanted.
        let token = token.child_token();
        let request = self.request(statement, parameter_types, &read_point, &token, plan);
        let outcome = self.backend.execute(&request, parameters).await?;
        match &statement.statement {
            Statement::Flush | Statement::Wait(_) => self.transaction.refresh(),
            Statement::Write(_) => self.wrote(),
            _ if definition.is_some() => self.transaction.defined(),
            _ => {}
        }
        self.notices.extend(outcome.notices);
        Ok(match outcome.result {
            StatementResult::Done { tag } => Started::Done(tag),
            StatementResult::Rows { columns, stream, tag } => {
                let endless = matches!(statement.statement, Statement::Subscribe(_));
                Started::Rows(Rows { endless, ..all_rows(RowSource::new(stream, token), columns, tag) })
            }
        })
    }

    /// Checks that the transaction lets a statement define, or write, something.
    ///
    /// # Errors
    /// 25006.
    fn check_may_write(&self, definition: Option<&str>, write: Option<&str>) -> Result<(), SqlError> {
        if let Some(tag) = definition.or(write).filter(|_| self.transaction.is_read_only()) {
            let message = format!("cannot execute {tag} in a read-only transaction");
            return Err(SqlError::new(SqlState::READ_ONLY_SQL_TRANSACTION, message));
        }
        Ok(())
    }

    /// A statement has written: outside a block at once, and the next read sees it.
    fn wrote(&mut self) {
        if self.transaction.state() != State::Block {
            self.transaction.refresh();
        }
    }

    async fn run(
        &mut self,
        command: &Command,
        prepared: &Prepared,
        parameters: Vec<ScalarValue>,
        token: &CancellationToken,
    ) -> Result<Started, SqlError> {
        let tag = match command {
            Command::Begin { .. }
            | Command::Commit { .. }
            | Command::Rollback { .. }
            | Command::Savepoint(_)
            | Command::Release(_)
            | Command::RollbackTo(_)
            | Command::SetTransaction(_)
            | Command::SetCharacteristics(_) => self.run_transaction(command).await?,
            Command::Set { name, value, local } => {
                self.set(name, value.as_deref(), *local).await?;
                "SET"
            }
            Command::Reset(name) => {
                self.set(name, None, false).await?;
                "RESET"
            }
            Command::ResetAll => {
                self.settings.reset_all();
                "RESET"
            }
            Command::Show(name) => return self.show(name),
            Command::ShowAll => return Ok(self.show_all()),
            Command::Declare(declaration) => {
                self.declare(declaration, prepared, parameters, token).await?;
                "DECLARE CURSOR"
            }
            Command::Fetch { cursor, count, moves, timeout } => return self.fetch(cursor, *count, *moves, *timeout),
            Command::Close(None) => {
                self.portals.clear();
                "CLOSE CURSOR ALL"
            }
            Command::Close(Some(name)) => {
                self.portals.remove(name).ok_or_else(|| no_cursor(name))?;
                "CLOSE CURSOR"
            }
            Command::Prepare { name, types, query } => {
                self.prepared.check_free(name)?;
                let prepared = self.prepare(Some(query.as_ref().clone()), Vec::new(), types.clone(), token).await?;
                self.prepared.insert(name, prepared);
                "PREPARE"
            }
            Command::Execute { name, parameters } => return self.execute_prepared(name, parameters, token).await,
            Command::Deallocate(None) => {
                self.prepared.clear();
                "DEALLOCATE ALL"
            }
            Command::Deallocate(Some(name)) => {
                self.prepared.get(name)?;
                self.prepared.remove(name);
                "DEALLOCATE"
            }
            Command::DiscardAll => {
                if self.transaction.state() == State::Block {
                    let message = "DISCARD ALL cannot run inside a transaction block";
                    return Err(SqlError::new(SqlState("25001"), message));
                }
                self.portals.clear();
                self.prepared.clear();
                self.set(RoleSetting::SessionAuthorization.name(), None, false).await?;
                self.settings.reset_all();
                "DISCARD ALL"
            }
            Command::Copy { source, options } => return self.copy(source, options, token).await,
            Command::CopyIn { table, columns, options } => return self.copy_in(table, columns, options, token).await,
            Command::Nothing(tag) => {
                if matches!(*tag, "LISTEN" | "NOTIFY") {
                    self.notices.push(Notice::new(format!("{tag} is accepted, but notifications are not delivered")));
                }
                tag
            }
        };
        Ok(Started::Done(tag.to_owned()))
    }

    async fn run_transaction(&mut self, command: &Command) -> Result<&'static str, SqlError> {
        match command {
            Command::Begin { modes, tag } => {
                let notice = self.transaction.begin(modes)?;
                self.notices.extend(notice);
                return Ok(tag);
            }
            Command::Commit { chain } => {
                self.commit_writes().await?;
                let ended = self.transaction.commit(*chain)?;
                return Ok(if self.ended(ended) == End::Committed { "COMMIT" } else { "ROLLBACK" });
            }
            Command::Rollback { chain } => {
                let ended = self.transaction.rollback(*chain)?;
                self.ended(ended);
                return Ok("ROLLBACK");
            }
            Command::Savepoint(name) => {
                self.transaction.savepoint(name.clone())?;
                return Ok("SAVEPOINT");
            }
            Command::Release(name) => {
                self.transaction.release(name)?;
                return Ok("RELEASE");
            }
            Command::RollbackTo(name) => {
                let depth = self.transaction.rollback_to(name)?;
                self.portals.rollback_to(depth);
                return Ok("ROLLBACK");
            }
            Command::SetTransaction(modes) if self.transaction.state() == State::Block => {
                self.transaction.set_modes(modes)?;
            }
            Command::SetTransaction(_) => {
                let message = "SET TRANSACTION can only be used in transaction blocks";
                self.notices.push(Notice::warning(SqlState("25P01"), message));
            }
            Command::SetCharacteristics(Modes { isolation, read_only }) => {
                if let Some(isolation) = isolation {
                    self.settings.set("default_transaction_isolation", isolation, false)?;
                }
                if let Some(read_only) = read_only {
                    let value = if *read_only { "on" } else { "off" };
                    self.settings.set("default_transaction_read_only", value, false)?;
                }
            }
            _ => {}
        }
        Ok("SET")
    }

    /// Makes what a block has written everybody's. A block that cannot is over, as after ROLLBACK.
    async fn commit_writes(&mut self) -> Result<(), SqlError> {
        let writes = match self.transaction.writes() {
            Some(writes) if self.transaction.state() == State::Block && !writes.is_empty() => writes.clone(),
            _ => return Ok(()),
        };
        let committed = self.backend.commit(&writes).await;
        if committed.is_err() {
            let ended = self.transaction.rollback(false)?;
            self.ended(ended);
        }
        committed
    }

    fn ended(&mut self, (end, notice): (End, Option<Notice>)) -> End {
        self.portals.end(end);
        self.notices.extend(notice);
        end
    }

    async fn set(&mut self, name: &str, value: Option<&str>, local: bool) -> Result<(), SqlError> {
        if local && !matches!(self.transaction.state(), State::Block) {
            let message = "SET LOCAL can only be used in transaction blocks";
            self.notices.push(Notice::warning(SqlState("25P01"), message));
        }
        if let Some(setting) = RoleSetting::named(name) {
            return self.backend.act_as(&self.identity, &self.settings, setting, value, local);
        }
        if !is_known(name) {
            let known = self.backend.set_setting((&self.identity, &self.settings), name, value).await?;
            return if known { Ok(()) } else { Err(unrecognized(name)) };
        }
        let of_transaction = name.to_ascii_lowercase().starts_with("transaction_");
        match value {
            Some(value) => self.settings.set(name, value, local || of_transaction).map(drop),
            None => self.settings.reset(name),
        }
    }

    fn show(&mut self, name: &str) -> Result<Started, SqlError> {
        if name == TICK {
            // What it names is what the transaction's reads see.
            let read_point = self.transaction.read_point(self.backend.as_ref(), true)?;
            return Ok(shown(&[TICK], &[vec![read_point.tick.to_string()]]));
        }
        let value = self.settings.value(name).or_else(|| self.backend.show_setting(&name.to_ascii_lowercase()));
        let value = value.ok_or_else(|| unrecognized(name))?;
        Ok(shown(&[&Settings::canonical_name(name)], &[vec![value]]))
    }

    fn show_all(&self) -> Started {
        let own = self.settings.all().into_iter().map(|s| vec![s.name, s.value, s.description]);
        let engine = self.backend.show_settings().into_iter().map(|s| vec![s.name, s.value, s.description]);
        let mut rows: Vec<_> = own.chain(engine).collect();
        rows.sort_by_key(|row| row[0].to_ascii_lowercase());
        shown(&["name", "setting", "description"], &rows)
    }

    /// The columns of an open cursor.
    pub(super) fn cursor_columns(&self, name: &str) -> Option<Vec<FieldRef>> {
        let portal = self.portals.get(name)?;
        match &portal.state {
            PortalState::Rows(rows) => Some(rows.columns.clone()),
            _ => portal.prepared.description.columns.clone(),
        }
    }

    async fn declare(
        &mut self,
        declaration: &Declaration,
        prepared: &Prepared,
        parameters: Vec<ScalarValue>,
        token: &CancellationToken,
    ) -> Result<(), SqlError> {
        let Declaration { name, binary, hold, query } = declaration;
        if !hold && self.transaction.state() != State::Block && !self.several {
            return Err(only_in_block("DECLARE CURSOR"));
        }
        if self.portals.get(name).is_some() {
            return Err(SqlError::new(SqlState("42P03"), format!("cursor \"{name}\" already exists")));
        }
        let plan = PlanSlot::default();
        let started = self.execute(query, &prepared.parameter_types, &plan, parameters, token).await;
        let rows = match started.map_err(|error| SqlError { position: None, ..error })? {
            Started::Rows(rows) => Rows { binary: *binary, ..rows },
            _ => return Err(SqlError::new(SqlState("42P11"), "a cursor needs a statement that returns rows")),
        };
        let description = crate::backend::Description { parameters: Vec::new(), columns: Some(rows.columns.clone()) };
        let portal = Portal {
            prepared: Arc::new(Prepared { parsed: Some(query.as_ref().clone()), description, ..Prepared::default() }),
            parameters: Vec::new(),
            result_formats: vec![i16::from(*binary)],
            state: PortalState::Rows(rows),
            hold: *hold,
            persisted: false,
            depth: self.transaction.depth(),
        };
        self.portals.insert(name, portal)
    }

    fn fetch(&self, cursor: &str, count: Count, moves: bool, timeout: Option<Duration>) -> Result<Started, SqlError> {
        let portal = self.portals.get(cursor).ok_or_else(|| no_cursor(cursor))?;
        let PortalState::Rows(rows) = &portal.state else {
            let message = format!("portal \"{cursor}\" cannot be run");
            return Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
        };
        let (skip, limit) = match count {
            Count::Rows(rows) => (0, Some(rows)),
            Count::Relative(skip) => (skip, Some(1)),
            Count::All => (0, None),
        };
        let tag = RowsTag::Counted(if moves { "MOVE" } else { "FETCH" });
        let patience = match timeout {
            Some(timeout) => Patience::Until(tokio::time::Instant::now() + timeout),
            None if rows.endless => Patience::First,
            None => Patience::All,
        };
        Ok(Started::Rows(Rows { tag, limit, skip, discard: moves, patience, ..rows.clone() }))
    }

    async fn execute_prepared(
        &mut self,
        name: &str,
        arguments: &[ast::Expr],
        token: &CancellationToken,
    ) -> Result<Started, SqlError> {
        let prepared = self.prepared.get(name)?;
        let (Some(parsed), None) = (&prepared.parsed, &prepared.command) else {
            return Err(SqlError::unsupported("EXECUTE runs queries only"));
        };
        let types = &prepared.description.parameters;
        if types.len() != arguments.len() {
            let message = format!("wrong number of parameters for prepared statement \"{name}\"");
            let detail = format!("Expected {} parameters but got {}.", types.len(), arguments.len());
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message).detail(detail));
        }
        let parameters = self.evaluate(arguments, types, token).await?;
        let started = self.execute(parsed, &prepared.parameter_types, &prepared.plan, parameters, token).await;
        started.map_err(|error| SqlError { position: None, ..error })
    }

    /// The values of constant expressions, as values of `types`.
    async fn evaluate(
        &mut self,
        arguments: &[ast::Expr],
        types: &[DataType],
        token: &CancellationToken,
    ) -> Result<Vec<ScalarValue>, SqlError> {
        if arguments.is_empty() {
            return Ok(Vec::new());
        }
        let list: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        let statement = self.parse_one(&format!("SELECT {}", list.join(", ")))?;
        let started = self.execute(&statement, &[], &PlanSlot::default(), Vec::new(), token).await;
        let Started::Rows(rows) = started.map_err(|error| SqlError { position: None, ..error })? else {
            return Err(SqlError::new(SqlState::INTERNAL_ERROR, "a SELECT without rows"));
        };
        let batch = rows.source.lock().await.next(1).await?;
        let batch = batch.ok_or_else(|| SqlError::new(SqlState::INTERNAL_ERROR, "a SELECT without a row"))?;
        let values = batch.columns().iter().zip(types).map(|(column, data_type)| {
            let value = ScalarValue::try_from_array(column, 0)?;
            // A numeric keeps its own scale: the parameter's is only a place to put it.
            let exact = value.data_type().is_decimal() && data_type.is_decimal();
            if exact { Ok(value) } else { value.cast_to(data_type) }
        });
        values.collect::<Result<_, _>>().map_err(sql_error)
    }

    async fn copy(
        &mut self,
        source: &Copied,
        options: &CopyOptions,
        token: &CancellationToken,
    ) -> Result<Started, SqlError> {
        let statement = match source {
            Copied::Subscription(subscribe) => subscribe.as_ref().clone(),
            Copied::Source(ast::CopySource::Query(query)) => super::command::of_query(query),
            Copied::Source(ast::CopySource::Table { table_name, columns }) => {
                let list: Vec<_> = columns.iter().map(ToString::to_string).collect();
                let list = if list.is_empty() { "*".to_owned() } else { list.join(", ") };
                self.parse_one(&format!("SELECT {list} FROM {table_name}"))?
            }
        };
        let started = self.execute(&statement, &[], &PlanSlot::default(), Vec::new(), token).await;
        match started.map_err(|error| SqlError { position: None, ..error })? {
            Started::Rows(Rows { source, columns, .. }) => {
                let source = Arc::into_inner(source).expect("the rows were just made and nobody else has them");
                Ok(Started::Copy { source: source.into_inner(), columns, options: options.clone() })
            }
            _ => Err(SqlError::unsupported("COPY needs a query that returns rows")),
        }
    }

    /// Finds what the rows of a COPY … FROM STDIN are to be.
    async fn copy_in(
        &mut self,
        table: &ast::ObjectName,
        columns: &[ast::Ident],
        options: &CopyOptions,
        token: &CancellationToken,
    ) -> Result<Started, SqlError> {
        self.check_may_write(None, Some("COPY FROM"))?;
        let unplaced = |error: SqlError| SqlError { position: None, ..error };
        let list: Vec<_> = columns.iter().map(ToString::to_string).collect();
        let into = if list.is_empty() { String::new() } else { format!(" ({})", list.join(", ")) };
        let list = if list.is_empty() { "*".to_owned() } else { list.join(", ") };
        // That it is a table, and these are columns of it, is said by an INSERT.
        let probe = self.parse_one(&format!("INSERT INTO {table}{into} SELECT {list} FROM {table}"))?;
        self.describe(&probe, &[], token, &PlanSlot::default()).await.map_err(unplaced)?;
        let rows = self.parse_one(&format!("SELECT {list} FROM {table}"))?;
        let described = self.describe(&rows, &[], token, &PlanSlot::default()).await.map_err(unplaced)?;
        let insert = self.parse_one(&format!("INSERT INTO {table}{into} SELECT * FROM \"{COPIED}\""))?;
        let (columns, options, table) = (described.columns.unwrap_or_default(), options.clone(), table.to_string());
        Ok(Started::CopyIn(Box::new(CopyIn { table, columns, options, insert })))
    }

    /// Inserts the rows of a COPY, all or none.
    ///
    /// # Errors
    /// As the INSERT's.
    pub(crate) async fn insert_copied(
        &mut self,
        insert: &Parsed,
        rows: Vec<RecordBatch>,
        schema: SchemaRef,
        token: &CancellationToken,
    ) -> Result<(), SqlError> {
        let in_block = self.transaction.state() == State::Block;
        let read_point = self.transaction.read_point(self.backend.as_ref(), in_block)?;
        let plan = PlanSlot::default();
        let request = self.request(insert, &[], &read_point, token, &plan);
        let inserted = self.backend.insert_copied(&request, rows, schema).await;
        let outcome = inserted.map_err(|error| SqlError { position: None, ..error })?;
        self.wrote();
        self.notices.extend(outcome.notices);
        Ok(())
    }

    fn parse_one(&self, text: &str) -> Result<Parsed, SqlError> {
        let mut statements = self.backend.parse(text).map_err(|error| SqlError { position: None, ..error })?;
        match statements.pop() {
            Some(statement) if statements.is_empty() => Ok(statement),
            _ => Err(SqlError::new(SqlState::SYNTAX_ERROR, "one statement was expected")),
        }
    }
}

fn shown(names: &[&str], rows: &[Vec<String>]) -> Started {
    let (columns, stream) = text_rows(names, rows);
    Started::Rows(all_rows(RowSource::new(stream, CancellationToken::new()), columns, RowsTag::Plain("SHOW")))
}

fn all_rows(source: RowSource, columns: Vec<FieldRef>, tag: RowsTag) -> Rows {
    let source = Arc::new(Mutex::new(source));
    let (endless, patience) = (false, Patience::All);
    Rows { source, columns, tag, limit: None, skip: 0, discard: false, binary: false, endless, patience }
}

/// The tag of a statement that creates, drops or renames something.
fn definition_tag(statement: &Statement) -> Option<&'static str> {
    use sql::statement::ObjectKind;
    Some(match statement {
        Statement::CreateSource(_) => "CREATE SOURCE",
        Statement::CreateMaterializedView(_) => "CREATE MATERIALIZED VIEW",
        Statement::CreateView(_) => "CREATE VIEW",
        Statement::CreateTable(_) => "CREATE TABLE",
        Statement::CreateIndex(_) => "CREATE INDEX",
        Statement::DropIndex(_) => "DROP INDEX",
        Statement::Drop(drop) => match drop.kind {
            ObjectKind::Source => "DROP SOURCE",
            ObjectKind::MaterializedView => "DROP MATERIALIZED VIEW",
            ObjectKind::View => "DROP VIEW",
            ObjectKind::Table => "DROP TABLE",
        },
        Statement::Rename(rename) => match rename.kind {
            ObjectKind::Source => "ALTER SOURCE",
            ObjectKind::MaterializedView => "ALTER MATERIALIZED VIEW",
            ObjectKind::View => "ALTER VIEW",
            ObjectKind::Table => "ALTER TABLE",
        },
        Statement::Administer(administration) => administration_tag(administration),
        _ => return None,
    })
}

/// The name of a statement that changes a table's rows.
fn write_tag(statement: &Statement) -> Option<&'static str> {
    let Statement::Write(write) = statement else { return None };
    Some(match write.action {
        WriteAction::Insert { .. } => "INSERT",
        WriteAction::Update { .. } => "UPDATE",
        WriteAction::Delete { .. } => "DELETE",
        WriteAction::Truncate => "TRUNCATE TABLE",
    })
}
