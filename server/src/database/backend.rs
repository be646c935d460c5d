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
use engine::time::TickId;
use sql::SqlError;
use sql::statement::{Parsed, Statement};

use super::block::OwnWrites;
use super::catalog_query::Asker;
use super::query::PlannedQuery;
use super::relations::ReadRelations;
use super::{Database, Reading, blocking, degraded, show, state, verify};
use crate::backend::{
    Backend, BlockWrites, Description, EngineSetting, Identity, Outcome, ReadPoint, Request, Role, RowsTag,
    ScramVerifier, StatementResult,
};

/// The one database.
pub(super) const DATABASE: &str = "tidemark";

/// The engine-wide setting of the ticks' pace.
const TICK_INTERVAL: &str = "tick_interval";

/// The engine-wide setting of how long ticks can be read.
const HISTORY_RETENTION: &str = "history_retention";

/// The superuser, who has the password if one is set.
pub(super) const SUPERUSER: &str = "tidemark";

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
        let (reading, asker) = (reading_of(request)?, asker_of(request));
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
        let columns = match self.table(request, &reading).await? {
            Some(batch) => Some(batch.schema().fields().iter().cloned().collect()),
            None => None,
        };
        Ok(Description { parameters: vec![], columns })
    }

    async fn execute(&self, request: &Request<'_>, parameters: Vec<ScalarValue>) -> Result<Outcome, SqlError> {
        let (reading, asker) = (reading_of(request)?, asker_of(request));
        match &request.statement.statement {
            Statement::Query(query) => {
                let planned: PlannedQuery =
                    self.plan_query(query, &request.statement.text, request.parameter_types, &reading, Some(&asker))?;
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
            Statement::Write(write) => self.write(write, request, &asker, parameters, None).await,
            _ => match self.table(request, &reading).await? {
                Some(batch) => Ok(rows_of(batch, tag_of(&request.statement.statement))),
                None => {
                    let statement = state::with_budget(request.statement, request.settings)?;
                    match self.change(statement.as_ref(), request.cancel).await? {
                        Some(outcome) => Ok(outcome),
                        None => Err(SqlError::unsupported("this statement is not supported")),
                    }
                }
            },
        }
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
        self.write(write, request, &asker_of(request), vec![], Some(Arc::new(copied))).await
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

    fn role(&self, name: &str) -> Option<Role> {
        // Until a password is set, whoever reaches the loopback address may do everything under any name.
        (!self.password_required() || name == SUPERUSER).then_some(Role { superuser: true })
    }

    fn password_required(&self) -> bool {
        self.password.is_some()
    }

    fn scram_verifier(&self, role: &str) -> Option<ScramVerifier> {
        self.password.clone().filter(|_| role == SUPERUSER)
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

    async fn set_setting(&self, _identity: &Identity, name: &str, value: Option<&str>) -> Result<bool, SqlError> {
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
    /// The rows of a statement that answers from the catalog and the read point: SHOW, DESCRIBE, EXPLAIN.
    async fn table(&self, request: &Request<'_>, reading: &Reading) -> Result<Option<RecordBatch>, SqlError> {
        Ok(Some(match &request.statement.statement {
            Statement::ShowObjects(objects) => {
                let batches = self.select_at(show::query(*objects), reading).await?;
                let schema = batches[0].schema();
                arrow::compute::concat_batches(&schema, &batches).map_err(Error::from)?
            }
            Statement::Describe { schema, name } => {
                show::describe(schema.as_deref(), name, reading, &ReadRelations::new(reading, &self.engine))?
            }
            Statement::ShowCreate { kind, name } => show::create(*kind, name, reading)?,
            Statement::Explain(explain) => self.explain(explain, &request.statement.text, reading).await?,
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

fn asker_of(request: &Request<'_>) -> Asker {
    Asker { settings: request.settings.clone(), identity: request.identity.clone() }
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
