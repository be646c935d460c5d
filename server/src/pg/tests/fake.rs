//! A backend over a plain DataFusion session, with tables that are slow, endless or broken on purpose.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::{ColumnarValue, LogicalPlan, Volatility, create_udf};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as DataFusionStatement;
use datafusion::sql::sqlparser::ast;
use futures::StreamExt;
use parking_lot::Mutex;
use sql::statement::{Parsed, Statement};
use sql::{SqlError, SqlState};

use crate::backend::*;
use crate::session::rows::sql_error;

/// The backend.
pub(super) struct Fake {
    context: SessionContext,
    tick: AtomicU64,
    pub(super) verifier: Mutex<Option<ScramVerifier>>,
    interval: Mutex<String>,
    audit: Audit,
    /// Streams of `slow` that were let go before their end.
    pub(super) dropped: Arc<AtomicUsize>,
    /// The rows of every COPY … FROM STDIN.
    pub(super) copied: Mutex<Vec<RecordBatch>>,
    /// Definitions that were told to stop, and did so in their own way.
    pub(super) undone: AtomicUsize,
}

impl Fake {
    pub(super) fn new() -> Arc<Self> {
        let context = SessionContext::new();
        Arc::new(Self {
            context,
            tick: AtomicU64::new(1),
            verifier: Mutex::new(None),
            interval: Mutex::new("100ms".into()),
            audit: Audit::default(),
            dropped: Arc::default(),
            copied: Mutex::default(),
            undone: AtomicUsize::new(0),
        })
    }

    /// A new tick is published.
    pub(super) fn advance(&self) {
        self.tick.fetch_add(1, Ordering::SeqCst);
    }

    /// DataFusion's session, with the functions that look at the request.
    fn state(&self, request: &Request<'_>) -> SessionState {
        let context = SessionContext::new_with_state(self.context.state());
        let tick = i64::try_from(request.read_point.tick).expect("few ticks");
        context.register_udf(create_udf(
            "current_tick",
            vec![],
            DataType::Int64,
            Volatility::Stable,
            Arc::new(move |_| Ok(ColumnarValue::Scalar(ScalarValue::from(tick)))),
        ));
        let settings = request.settings.clone();
        context.register_udf(create_udf(
            "set_config",
            vec![DataType::Utf8, DataType::Utf8, DataType::Boolean],
            DataType::Utf8,
            Volatility::Volatile,
            Arc::new(move |values| {
                let text = |value: &ColumnarValue| match value {
                    ColumnarValue::Scalar(value) => value.to_string(),
                    ColumnarValue::Array(_) => String::new(),
                };
                let local = text(&values[2]) == "true";
                let set = settings.set(&text(&values[0]), &text(&values[1]), local);
                let set = set.map_err(|error| DataFusionError::External(Box::new(error)))?;
                Ok(ColumnarValue::Scalar(ScalarValue::from(set.as_str())))
            }),
        ));
        context.register_udf(create_udf(
            "panic",
            vec![DataType::Int64],
            DataType::Int64,
            Volatility::Volatile,
            Arc::new(|_| panic!("asked to panic")),
        ));
        context.state()
    }

    async fn plan(&self, request: &Request<'_>, query: &ast::Query) -> Result<(SessionState, LogicalPlan), SqlError> {
        let state = self.state(request);
        let statement = DataFusionStatement::Statement(Box::new(ast::Statement::Query(Box::new(query.clone()))));
        let plan = state.statement_to_plan(statement).await.map_err(plan_error)?;
        Ok((state, plan))
    }

    /// `SELECT … FROM slow`: a row every so often, as its name says.
    fn slow(&self, query: &ast::Query) -> Option<SendableRecordBatchStream> {
        let text = query.to_string();
        let argument = text.split_once("slow(")?.1.split_once(')')?.0.to_owned();
        let (rows, millis) = argument.split_once(',')?;
        let rows: i64 = rows.trim().parse().ok()?;
        let pause = Duration::from_millis(millis.trim().parse().ok()?);
        let schema = slow_schema();
        let batch = {
            let schema = schema.clone();
            move |row: i64| {
                let columns: Vec<Arc<dyn arrow::array::Array>> = vec![Arc::new(Int64Array::from(vec![row]))];
                RecordBatch::try_new(schema.clone(), columns).map_err(DataFusionError::from)
            }
        };
        let guard = CountDrop { dropped: self.dropped.clone(), finished: false };
        let stream = futures::stream::unfold((0, guard), move |(row, mut guard)| {
            let batch = batch.clone();
            async move {
                if row == rows {
                    guard.finish();
                    return None;
                }
                if row > 0 || pause > Duration::from_secs(1) {
                    tokio::time::sleep(pause).await;
                }
                Some((batch(row + 1), (row + 1, guard)))
            }
        });
        Some(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

struct CountDrop {
    dropped: Arc<AtomicUsize>,
    finished: bool,
}

impl CountDrop {
    fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for CountDrop {
    fn drop(&mut self) {
        if !self.finished {
            self.dropped.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn slow_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("row", DataType::Int64, false)]))
}

/// What planning reports, with the states clients branch on.
fn plan_error(error: DataFusionError) -> SqlError {
    let text = error.strip_backtrace();
    let state = match &text {
        text if text.contains("table '") && text.contains("not found") => SqlState::UNDEFINED_TABLE,
        text if text.contains("No field named") => SqlState::UNDEFINED_COLUMN,
        _ => return sql_error(error),
    };
    SqlError::new(state, text).at(15)
}

#[async_trait]
impl Backend for Fake {
    fn parse(&self, text: &str) -> Result<Vec<Parsed>, SqlError> {
        sql::parser::parse(text)
    }

    fn read_point(&self) -> ReadPoint {
        ReadPoint { tick: self.tick.load(Ordering::SeqCst), state: Arc::new(()) }
    }

    fn read_point_at(&self, tick: u64) -> Result<ReadPoint, SqlError> {
        Ok(ReadPoint { tick, state: Arc::new(()) })
    }

    async fn describe(&self, request: &Request<'_>) -> Result<Description, SqlError> {
        let query = match &request.statement.statement {
            Statement::Query(query) => query,
            Statement::Explain(_) => return Ok(Description { parameters: vec![], columns: Some(explain_columns()) }),
            _ => return Ok(Description::default()),
        };
        if self.slow(query).is_some() {
            let columns = slow_schema().fields().iter().cloned().collect();
            return Ok(Description { parameters: vec![], columns: Some(columns) });
        }
        let (_, plan) = self.plan(request, query).await?;
        let inferred = plan.get_parameter_types().map_err(plan_error)?;
        let parameters: Vec<DataType> = (0..inferred.len())
            .map(|index| {
                let given = request.parameter_types.get(index).cloned().flatten();
                let inferred = inferred.get(&format!("${}", index + 1)).cloned().flatten();
                given.or(inferred).filter(|t| *t != DataType::Null).unwrap_or(DataType::Utf8)
            })
            .collect();
        let nulls = parameters.iter().map(ScalarValue::try_from).collect::<Result<Vec<_>, _>>().map_err(plan_error)?;
        let plan = if nulls.is_empty() { plan } else { plan.with_param_values(nulls).map_err(plan_error)? };
        Ok(Description { parameters, columns: Some(plan.schema().fields().iter().cloned().collect()) })
    }

    fn with_writes(&self, point: ReadPoint, _: &BlockWrites) -> ReadPoint {
        point
    }

    async fn commit(&self, _: &BlockWrites) -> Result<(), SqlError> {
        Ok(())
    }

    async fn insert_copied(
        &self,
        _request: &Request<'_>,
        rows: Vec<RecordBatch>,
        _schema: SchemaRef,
    ) -> Result<Outcome, SqlError> {
        self.copied.lock().extend(rows);
        Ok(Outcome::done("INSERT"))
    }

    async fn execute(&self, request: &Request<'_>, parameters: Vec<ScalarValue>) -> Result<Outcome, SqlError> {
        match &request.statement.statement {
            Statement::Query(query) => {
                if let Some(stream) = self.slow(query) {
                    return Ok(Outcome::rows(slow_schema().fields().iter().cloned().collect(), stream));
                }
                if query.to_string().contains("slow_planning") {
                    tokio::time::sleep(Duration::from_secs(600)).await;
                }
                let (state, plan) = self.plan(request, query).await?;
                let plan = if parameters.is_empty() {
                    plan
                } else {
                    plan.with_param_values(parameters).map_err(plan_error)?
                };
                let frame = datafusion::dataframe::DataFrame::new(state, plan);
                let columns = frame.schema().fields().iter().cloned().collect();
                let stream = frame.execute_stream().await.map_err(sql_error)?;
                let cancel = request.cancel.clone();
                let schema = stream.schema();
                // As a backend does that minds the token itself.
                let stream = stream.take_until(async move { cancel.cancelled().await });
                Ok(Outcome::rows(columns, Box::pin(RecordBatchStreamAdapter::new(schema, stream))))
            }
            Statement::Explain(_) => {
                let schema = Arc::new(Schema::new(explain_columns()));
                let plan = StringArray::from(vec!["a plan", "of two lines"]);
                let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(plan)]).map_err(DataFusionError::from);
                let stream = RecordBatchStreamAdapter::new(schema, futures::stream::iter([batch]));
                let result = StatementResult::Rows {
                    columns: explain_columns(),
                    stream: Box::pin(stream),
                    tag: RowsTag::Plain("EXPLAIN"),
                };
                Ok(Outcome { notices: vec![], result })
            }
            Statement::CreateView(view) if view.name == "slow_view" => {
                request.cancel.cancelled().await;
                self.undone.fetch_add(1, Ordering::SeqCst);
                Err(SqlError::new(SqlState::INTERNAL_ERROR, "interrupted"))
            }
            Statement::CreateView(view) => {
                let sql = format!("CREATE OR REPLACE VIEW {} AS {}", view.name, view.query);
                self.context.sql(&sql).await.map_err(plan_error)?;
                self.advance();
                let mut outcome = Outcome::done("CREATE VIEW");
                if view.if_not_exists {
                    outcome.notices.push(Notice::new(format!("relation \"{}\" already exists, skipping", view.name)));
                }
                Ok(outcome)
            }
            other => Err(SqlError::unsupported(format!("{other:?}"))),
        }
    }

    fn database_exists(&self, name: &str) -> bool {
        name == "tidemark"
    }

    fn login(&self, user: &str) -> Result<Login, SqlError> {
        if user == "nobody" {
            return Err(SqlError::new(SqlState("28000"), "role \"nobody\" does not exist"));
        }
        let settings = match user {
            "zoned" => vec![("timezone".into(), "Asia/Tokyo".into()), ("no_such".into(), "1".into())],
            _ => vec![],
        };
        Ok(Login { role: 10, superuser: user == "tide", connection_limit: -1, settings })
    }

    fn password_required(&self) -> bool {
        self.verifier.lock().is_some()
    }

    fn scram_verifier(&self, role: &str) -> Option<ScramVerifier> {
        self.verifier.lock().clone().filter(|_| role == "tide")
    }

    fn mock_secret(&self) -> [u8; 32] {
        [7; 32]
    }

    fn scram_iterations(&self) -> u32 {
        crate::pg::verifier::ITERATIONS
    }

    fn act_as(
        &self,
        identity: &Identity,
        settings: &Settings,
        setting: RoleSetting,
        role: Option<&str>,
        local: bool,
    ) -> Result<(), SqlError> {
        match role {
            Some("missing") => Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "role \"missing\" does not exist")),
            Some(role) if role != "none" && role != &*identity.user => {
                Err(SqlError::new(SqlState("42501"), format!("permission denied to set role \"{role}\"")))
            }
            role => {
                settings.put(setting.name(), role, local);
                Ok(())
            }
        }
    }

    fn audit(&self) -> &Audit {
        &self.audit
    }

    fn show_setting(&self, name: &str) -> Option<String> {
        (name == "tick_interval").then(|| self.interval.lock().clone())
    }

    fn show_settings(&self) -> Vec<EngineSetting> {
        let value = self.interval.lock().clone();
        vec![EngineSetting { name: "tick_interval".into(), value, description: "How long a tick lasts.".into() }]
    }

    async fn set_setting(&self, _: (&Identity, &Settings), name: &str, value: Option<&str>) -> Result<bool, SqlError> {
        if name != "tick_interval" {
            return Ok(false);
        }
        *self.interval.lock() = value.unwrap_or("100ms").to_owned();
        Ok(true)
    }
}

fn explain_columns() -> Vec<FieldRef> {
    vec![Arc::new(Field::new("QUERY PLAN", DataType::Utf8, false))]
}

/// Panics of a statement are part of the tests; their traces would only hide real ones.
pub(super) fn quiet_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<&str>() != Some(&"asked to panic") {
            before(info);
        }
    }));
}
