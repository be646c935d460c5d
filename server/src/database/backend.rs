//! The database as the front door sees it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, SchemaRef};
use async_trait::async_trait;
use datafusion::common::ScalarValue;
use datafusion::datasource::MemTable;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use engine::Error;
use engine::tick::history::Retention;
use engine::tick::interval::TickInterval;
use engine::time::{Clock, SystemClock, TickId};
use sql::administration::Privilege;
use sql::statement::{Parsed, Statement};
use sql::{SqlError, SqlState};

use super::authorize::while_writing;
use super::block::OwnWrites;
use super::catalog_query::Asker;
use super::query::PlannedQuery;
use super::relations::ReadRelations;
use super::role::tag as administration_tag;
use super::{Database, Reading, blocking, degraded, show, state, verify};
use crate::audit::Audit;
use crate::backend::{
    Backend, BlockWrites, Description, EngineSetting, Identity, Login, Outcome, ReadPoint, Request, RoleSetting,
    RowsTag, ScramVerifier, Settings, StatementResult,
};
use crate::roles::{INSUFFICIENT_PRIVILEGE, SUPERUSER, Securable, forbidden};

/// The one database.
pub(super) const DATABASE: &str = "tidemark";

/// The engine-wide setting of the ticks' pace.
const TICK_INTERVAL: &str = "tick_interval";

/// The engine-wide setting of how long ticks can be read.
const HISTORY_RETENTION: &str = "history_retention";

#[async_trait]
impl Backend for Database {
    fn parse(&self, text: &str) -> Result<Vec<Parsed>, SqlError> {
        sql::parser::parse(text)
    }

    fn read_point(&self) -> ReadPoint {
        self.newest()
    }

    fn read_point_at(&self, tick: u64) -> Result<ReadPoint, SqlError> {
        let snapshot = self.engine.snapshot_at(TickId(tick))?;
        let reading = self.reading();
        if reading.snapshot.tick == snapshot.tick {
            return Ok(ReadPoint { tick, state: Arc::new(reading) });
        }
        Ok(ReadPoint { tick, state: Arc::new(Reading { snapshot, earlier: true, ..reading }) })
    }

    async fn describe(&self, request: &Request<'_>) -> Result<Description, SqlError> {
        // What a statement gives is no secret, as in Postgres: rights are checked when it runs.
        let (reading, asker) = (reading_of(request)?, self.asker_of(request)?);
        if let Statement::Query(query) = &request.statement.statement {
            let planned =
                self.plan_query(query, &request.statement.text, request.parameter_types, &reading, Some(&asker))?;
            let description =
                Description { parameters: planned.parameters.clone(), columns: Some(planned.columns.clone()) };
            return Ok(description);
        }
        if let Statement::Explain(explain) = &request.statement.statement {
            // What EXPLAIN ANALYZE says is found by running; its columns are known without.
            let batch = self.explain_description(explain, &request.statement.text, &reading)?;
            let columns = Some(batch.schema().fields().iter().cloned().collect());
            return Ok(Description { parameters: vec![], columns });
        }
        if let Statement::Subscribe(subscribe) = &request.statement.statement {
            let columns = self.subscribe_columns(subscribe, &request.statement.text, &reading.catalog)?;
            return Ok(Description { parameters: vec![], columns: Some(columns) });
        }
        if let Statement::Verify(verify) = &request.statement.statement {
            return Ok(Description { parameters: vec![], columns: Some(verify::columns(verify, &reading)?) });
        }
        if let Statement::Write(write) = &request.statement.statement {
            return self.describe_write(write, request, &reading, &asker);
        }
        let columns = match self.table(request, &reading, None).await? {
            Some(batch) => Some(batch.schema().fields().iter().cloned().collect()),
            None => None,
        };
        Ok(Description { parameters: vec![], columns })
    }

    async fn execute(&self, request: &Request<'_>, parameters: Vec<ScalarValue>) -> Result<Outcome, SqlError> {
        let asker = self.asker_of(request)?;
        let outcome = self.execute_as(request, &asker, parameters).await;
        self.tell(request, &asker, outcome.as_ref().map(drop));
        outcome
    }

    async fn insert_copied(
        &self,
        request: &Request<'_>,
        rows: Vec<RecordBatch>,
        schema: SchemaRef,
    ) -> Result<Outcome, SqlError> {
        let Statement::Write(write) = &request.statement.statement else {
            return Err(Error::internal("copied rows without an INSERT").into());
        };
        let copied = MemTable::try_new(schema, vec![rows])?;
        let asker = self.asker_of(request)?;
        let written = match self.authorize(&request.statement.statement, &asker.access, &self.catalog()) {
            Ok(()) => {
                let asker = Asker { access: while_writing(write, &asker.access), ..asker.clone() };
                self.write(write, request, &asker, vec![], Some(Arc::new(copied))).await
            }
            Err(refused) => Err(refused),
        };
        self.tell(request, &asker, written.as_ref().map(drop));
        written
    }

    fn with_writes(&self, point: ReadPoint, writes: &BlockWrites) -> ReadPoint {
        match (point.state.clone().downcast::<Reading>(), writes.get::<OwnWrites>()) {
            (Ok(reading), Some(own)) => {
                ReadPoint { state: Arc::new(Reading { own, ..reading.as_ref().clone() }), ..point }
            }
            _ => point,
        }
    }

    async fn commit(&self, writes: &BlockWrites) -> Result<(), SqlError> {
        match writes.get::<OwnWrites>() {
            Some(own) => self.commit_block(&own).await,
            None => Ok(()),
        }
    }

    fn database_exists(&self, name: &str) -> bool {
        name == DATABASE
    }

    fn login(&self, user: &str) -> Result<Login, SqlError> {
        let roles = self.roles();
        let refused = |message: String| Err(SqlError::new(SqlState("28000"), message));
        let role = match roles.named(user) {
            Some(role) if !role.login => return refused(format!("role \"{user}\" is not permitted to log in")),
            Some(role) => role,
            // Until a password is set, whoever reaches the loopback address may do everything under any name.
            None if !roles.password_required() => roles.expect(SUPERUSER)?,
            None => return refused(format!("role \"{user}\" does not exist")),
        };
        let owner = roles.owner(Securable::Database);
        if !roles.held(role.oid, Securable::Database, owner).0.contains(Privilege::Connect) {
            return Err(forbidden(format!("permission denied for database \"{DATABASE}\""))
                .detail("User does not have CONNECT privilege."));
        }
        let settings = role.settings.clone().into_iter().collect();
        let (superuser, connection_limit) = (role.superuser, role.connection_limit);
        Ok(Login { role: role.oid, superuser, connection_limit, settings })
    }

    fn password_required(&self) -> bool {
        self.roles().password_required()
    }

    fn scram_verifier(&self, role: &str) -> Option<ScramVerifier> {
        let roles = self.roles();
        let role = roles.named(role)?;
        let now = SystemClock.now_micros();
        role.verifier.clone().filter(|_| role.valid_until.is_none_or(|until| now < until))
    }

    fn mock_secret(&self) -> [u8; 32] {
        self.roles().mock_secret
    }

    fn scram_iterations(&self) -> u32 {
        self.scram_iterations
    }

    fn act_as(
        &self,
        identity: &Identity,
        settings: &Settings,
        setting: RoleSetting,
        role: Option<&str>,
        local: bool,
    ) -> Result<(), SqlError> {
        let roles = self.roles();
        let existing = |name: &str| {
            let missing =
                || SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("role \"{name}\" does not exist"));
            roles.named(name).map(|role| role.oid).ok_or_else(missing)
        };
        let own = |name: &str| name == &*identity.user;
        match (setting, role.filter(|role| !(setting == RoleSetting::Role && role.eq_ignore_ascii_case("none")))) {
            (RoleSetting::Role, None) => settings.put(setting.name(), role.map(|_| "none"), local),
            (RoleSetting::Role, Some(name)) => {
                let session_user = settings.value(RoleSetting::SessionAuthorization.name()).unwrap_or_default();
                let session_role = if own(&session_user) { identity.role } else { existing(&session_user)? };
                if name != session_user && !roles.may_become(session_role, existing(name)?) {
                    return Err(forbidden(format!("permission denied to set role \"{name}\"")));
                }
                settings.put(setting.name(), Some(name), local);
            }
            (RoleSetting::SessionAuthorization, name) => {
                if let Some(name) = name.filter(|name| !own(name)) {
                    existing(name)?;
                    if !roles.is_superuser(identity.role) {
                        return Err(forbidden("permission denied to set session authorization"));
                    }
                }
                settings.put(setting.name(), name, local);
                settings.put(RoleSetting::Role.name(), Some("none"), local);
            }
        }
        let superuser = self.access(identity, settings).is_ok_and(|access| access.is_superuser());
        settings.put("is_superuser", Some(if superuser { "on" } else { "off" }), local);
        Ok(())
    }

    fn audit(&self) -> &Audit {
        &self.audit
    }

    fn show_setting(&self, name: &str) -> Option<String> {
        self.show_settings().into_iter().find(|setting| setting.name == name).map(|setting| setting.value)
    }

    fn show_settings(&self) -> Vec<EngineSetting> {
        let setting = |name: &str, value: String, description: &str| EngineSetting {
            name: name.into(),
            value,
            description: description.into(),
        };
        vec![
            setting(
                TICK_INTERVAL,
                self.engine.tick_interval().to_string(),
                "The pace of ticks: adaptive, or an interval of at least 5ms.",
            ),
            setting(
                HISTORY_RETENTION,
                self.engine.history_retention().to_string(),
                "How long AS OF TICK can read a tick after it was published: a time, or off.",
            ),
        ]
    }

    async fn set_setting(
        &self,
        (identity, settings): (&Identity, &Settings),
        name: &str,
        value: Option<&str>,
    ) -> Result<bool, SqlError> {
        if self.show_setting(name).is_some() {
            Self::authorize_setting(&self.access(identity, settings)?, name)?;
        }
        match name {
            TICK_INTERVAL => {
                let interval = value.map_or_else(|| Ok(self.configured_interval), str::parse::<TickInterval>)?;
                self.engine.set_tick_interval(interval)?;
            }
            HISTORY_RETENTION => {
                let retention = value.map_or_else(|| Ok(self.configured_retention), str::parse::<Retention>)?;
                self.engine.set_history_retention(retention);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl Database {
    /// Runs a statement that `asker` may run.
    async fn execute_as(
        &self,
        request: &Request<'_>,
        asker: &Asker,
        parameters: Vec<ScalarValue>,
    ) -> Result<Outcome, SqlError> {
        let reading = reading_of(request)?.seen_by(asker);
        self.authorize(&request.statement.statement, &asker.access, &reading.catalog)?;
        match &request.statement.statement {
            Statement::Query(query) => {
                let planned: PlannedQuery =
                    self.plan_query(query, &request.statement.text, request.parameter_types, &reading, Some(asker))?;
                let notices = degraded::notices(&planned.plan, &reading)?;
                let stream = self.run_query(&planned, parameters).await?;
                let outcome = Outcome::rows(planned.columns, stream);
                Ok(Outcome { notices, ..outcome })
            }
            Statement::Flush => {
                let (engine, cancel) = (self.engine.clone(), request.cancel.clone());
                blocking(move || engine.flush(&|| cancel.is_cancelled())).await?;
                Ok(Outcome::done("FLUSH"))
            }
            Statement::Checkpoint => {
                let engine = self.engine.clone();
                blocking(move || engine.checkpoint()).await?;
                Ok(Outcome::done("CHECKPOINT"))
            }
            Statement::Subscribe(subscribe) => {
                self.subscribe(subscribe, &request.statement.text, &reading, request.cancel).await
            }
            Statement::Verify(verify) => self.verify(verify).await,
            Statement::Wait(wait) => self.wait(wait, &reading).await,
            Statement::Write(write) => {
                let asker = Asker { access: while_writing(write, &asker.access), ..asker.clone() };
                self.write(write, request, &asker, parameters, None).await
            }
            _ => match self.table(request, &reading, Some(asker)).await? {
                Some(batch) => Ok(rows_of(batch, tag_of(&request.statement.statement))),
                None => {
                    let statement = state::with_budget(request.statement, request.settings)?;
                    match self.change_as(&asker.access, statement.as_ref(), request.cancel).await? {
                        Some(outcome) => Ok(outcome),
                        None => Err(SqlError::unsupported("this statement is not supported")),
                    }
                }
            },
        }
    }

    /// Who asks, and what it may do.
    fn asker_of(&self, request: &Request<'_>) -> Result<Asker, SqlError> {
        let (settings, identity) = (request.settings.clone(), request.identity.clone());
        let access = Arc::new(self.access(&identity, &settings)?);
        Ok(Asker { settings, identity, access })
    }

    /// Writes to the audit log what changed a definition or a right, or was refused for want of one.
    fn tell(&self, request: &Request<'_>, asker: &Asker, result: Result<(), &SqlError>) {
        let statement = &request.statement.statement;
        let refused = result.is_err_and(|error| error.state == INSUFFICIENT_PRIVILEGE);
        let Some((action, objects)) = audited(statement, refused) else { return };
        let role = asker.access.roles.name_of(asker.access.role);
        self.audit.statement(&asker.identity, &role, (action, &objects), result);
    }

    /// The rows of a statement that answers from the catalog and the read point: SHOW, DESCRIBE, EXPLAIN.
    async fn table(
        &self,
        request: &Request<'_>,
        reading: &Reading,
        asker: Option<&Asker>,
    ) -> Result<Option<RecordBatch>, SqlError> {
        Ok(Some(match &request.statement.statement {
            Statement::ShowObjects(objects) => {
                let batches = self.select_at(show::query(*objects), reading).await?;
                let schema = batches[0].schema();
                arrow::compute::concat_batches(&schema, &batches).map_err(Error::from)?
            }
            Statement::Describe { schema, name } => {
                show::describe(schema.as_deref(), name, reading, &ReadRelations::new(reading, &self.engine))?
            }
            Statement::ShowCreate { kind, name } => {
                let secrets = self.secrets();
                let is_hidden = |name: &str| secrets.get(name).is_some_and(|entry| entry.of_source);
                show::create(*kind, name, reading, &is_hidden)?
            }
            Statement::Explain(explain) => self.explain(explain, &request.statement.text, (reading, asker)).await?,
            _ => return Ok(None),
        }))
    }
}

fn reading_of(request: &Request<'_>) -> Result<Arc<Reading>, SqlError> {
    reading_at(request.read_point)
}

pub(super) fn reading_at(read_point: &ReadPoint) -> Result<Arc<Reading>, SqlError> {
    let reading = read_point.state.clone().downcast::<Reading>();
    reading.map_err(|_| Error::internal("a read point of another database").into())
}

/// What of a statement stands in the audit log: its kind, and what it is about. Of what neither defines nor administers
/// something, only a refusal does.
fn audited(statement: &Statement, refused: bool) -> Option<(&'static str, Vec<String>)> {
    let of = |name: &String| vec![name.clone()];
    Some(match statement {
        Statement::Administer(administration) => (administration_tag(administration), administration.objects()),
        Statement::CreateSource(create) => ("CREATE SOURCE", of(&create.name)),
        Statement::CreateMaterializedView(create) => ("CREATE MATERIALIZED VIEW", of(&create.name)),
        Statement::CreateView(create) => ("CREATE VIEW", of(&create.name)),
        Statement::CreateTable(create) => ("CREATE TABLE", of(&create.name)),
        Statement::CreateIndex(create) => ("CREATE INDEX", of(&create.relation.name)),
        Statement::DropIndex(drop) => ("DROP INDEX", drop.names.clone()),
        Statement::Drop(drop) => ("DROP", drop.names.clone()),
        Statement::Rename(rename) => ("ALTER RENAME", vec![rename.name.clone(), rename.new_name.clone()]),
        _ if !refused => return None,
        Statement::Write(write) => ("WRITE", of(&write.table.name)),
        Statement::Query(_) => ("SELECT", vec![]),
        Statement::Explain(_) => ("EXPLAIN", vec![]),
        Statement::Subscribe(_) => ("SUBSCRIBE", vec![]),
        Statement::Verify(verify) => ("VERIFY", of(&verify.view)),
        Statement::ShowCreate { name, .. } => ("SHOW CREATE", of(name)),
        _ => ("OTHER", vec![]),
    })
}

fn tag_of(statement: &Statement) -> RowsTag {
    match statement {
        Statement::Explain(_) => RowsTag::Plain("EXPLAIN"),
        Statement::Describe { .. } => RowsTag::Plain("DESCRIBE"),
        _ => RowsTag::Plain("SHOW"),
    }
}

fn rows_of(batch: RecordBatch, tag: RowsTag) -> Outcome {
    let schema = batch.schema();
    let columns: Vec<FieldRef> = schema.fields().iter().cloned().collect();
    let stream = Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter([Ok(batch)])));
    Outcome { notices: vec![], result: StatementResult::Rows { columns, stream, tag } }
}
