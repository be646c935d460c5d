//! SUBSCRIBE: a view's rows at one tick, then its changes, as one endless stream of batches.
//!
//! Columns: `tidemark_tick` int8; with PROGRESS `tidemark_progressed` bool; `tidemark_diff` int8; then the view's own.
//! A tick's retractions come before its inserts. A row with `tidemark_progressed` says that every change up to and
//! including its tick has been given; the rest of it is NULL.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use engine::delta::Delta;
use engine::row_error::row_errors_schema;
use engine::tick::subscription::{Ended, Span, Subscription};
use engine::time::TickId;
use engine::view::ViewScan;
use sql::catalog::{Definition, Object};
use sql::statement::{ObjectKind, Subscribe};
use sql::{SqlError, SqlState};

use super::{Database, Reading, blocking};
use crate::backend::Outcome;

/// How often a quiet subscription says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// The columns of a subscription.
///
/// # Errors
/// 42P01 if there is no such view, 42809 if it is something else.
pub(super) fn columns(subscribe: &Subscribe, reading: &Reading) -> Result<Vec<FieldRef>, SqlError> {
    let own = match reading.catalog.view_of_errors(&subscribe.view) {
        Some(_) => row_errors_schema().fields().to_vec(),
        None => view_of(subscribe, reading).map_err(|error| error.at(subscribe.position))?.columns.clone(),
    };
    let mut fields = vec![Arc::new(Field::new("tidemark_tick", DataType::Int64, false))];
    if subscribe.progress {
        fields.push(Arc::new(Field::new("tidemark_progressed", DataType::Boolean, false)));
    }
    fields.push(Arc::new(Field::new("tidemark_diff", DataType::Int64, true)));
    fields.extend(own.iter().map(|field| Arc::new(Field::as_ref(field).clone().with_nullable(true))));
    Ok(fields)
}

fn view_of<'a>(subscribe: &Subscribe, reading: &'a Reading) -> Result<&'a Arc<Object>, SqlError> {
    let name = &subscribe.view;
    let undefined = || SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"));
    let object = reading.catalog.get(name).ok_or_else(undefined)?;
    match &object.definition {
        Definition::MaterializedView(_) | Definition::Table(_) => Ok(object),
        _ => {
            let kind = if object.kind() == ObjectKind::Source { "a source" } else { "a view" };
            let message = format!("\"{name}\" is {kind}, and SUBSCRIBE follows materialized views and tables");
            Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message)
                .hint(format!("Create one over it: CREATE MATERIALIZED VIEW … AS SELECT … FROM {name}.")))
        }
    }
}

impl Database {
    /// Starts a subscription.
    ///
    /// # Errors
    /// As [`columns`]; 22023 for a tick that is not kept.
    pub(super) async fn subscribe(&self, subscribe: &Subscribe, reading: &Reading) -> Result<Outcome, SqlError> {
        let columns = columns(subscribe, reading)?;
        let schema: SchemaRef = Arc::new(Schema::new(columns.clone()));
        let (engine, view) = (self.engine.clone(), subscribe.view.clone());
        let (from, up_to) = (subscribe.as_of.map(TickId), subscribe.up_to.map(TickId));
        let subscription = blocking(move || engine.subscribe(&view, Span { from, until: up_to })).await?;
        let start = subscription.snapshot().tick;
        if let Some(up_to) = up_to.filter(|up_to| *up_to < start) {
            let message = format!("UP TO TICK {up_to} is before tick {start}, where the subscription starts");
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        let rows = subscription.snapshot().view(&subscribe.view).filter(|_| subscribe.snapshot);
        let rows = rows.map(|view| view.rows.scan(None));
        let (schema_of_all, progress) = (schema.clone(), subscribe.progress);
        let state = State { schema: schema_of_all, progress, rows, subscription, told: None, over: false };
        let batches = futures::stream::try_unfold(state, |mut state| async move {
            let next = state.next().await.map_err(|error| DataFusionError::External(Box::new(error)))?;
            Ok(next.map(|batch| (batch, state)))
        });
        let stream: SendableRecordBatchStream = Box::pin(RecordBatchStreamAdapter::new(schema, batches));
        Ok(Outcome::rows(columns, stream))
    }
}

/// A subscription under way.
struct State {
    schema: SchemaRef,
    progress: bool,
    /// The rows at the start that are not given yet.
    rows: Option<ViewScan>,
    subscription: Subscription,
    /// The tick of the last progress row.
    told: Option<TickId>,
    over: bool,
}

impl State {
    async fn next(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        let start = self.subscription.snapshot().tick;
        if let Some(rows) = &mut self.rows {
            match rows.next() {
                Some(batch) => return self.batch(start, &[Delta::inserts(batch?)]).map(Some),
                None => self.rows = None,
            }
        }
        if self.progress && self.told.is_none() {
            return self.tell(start).map(Some);
        }
        loop {
            if self.over {
                return Ok(None);
            }
            let next = self.subscription.next();
            let next = match self.progress {
                false => next.await,
                true => match tokio::time::timeout(PROGRESS_INTERVAL, next).await {
                    Ok(next) => next,
                    Err(_) => match self.subscription.quiet() {
                        Some(tick) if self.told < Some(tick) => return self.tell(tick).map(Some),
                        _ => continue,
                    },
                },
            };
            let changes = next.map_err(ended)?;
            self.over = changes.last;
            if changes.deltas.is_empty() {
                if self.progress && self.told < Some(changes.tick) {
                    return self.tell(changes.tick).map(Some);
                }
                continue;
            }
            let rows = self.batch(changes.tick, &changes.deltas)?;
            if !self.progress {
                return Ok(Some(rows));
            }
            let told = self.tell(changes.tick)?;
            let both = arrow::compute::concat_batches(&self.schema, [&rows, &told]);
            return Ok(Some(both.map_err(engine::Error::from)?));
        }
    }

    /// Changes of one tick, retractions first.
    fn batch(&self, tick: TickId, deltas: &[Delta]) -> Result<RecordBatch, SqlError> {
        let mut batches = Vec::with_capacity(2 * deltas.len());
        for retractions in [true, false] {
            for delta in deltas {
                let chosen = (0..delta.num_rows()).filter(|row| (delta.weight(*row) < 0) == retractions);
                let chosen: UInt32Array = chosen.map(|row| row as u32).collect::<Vec<_>>().into();
                if chosen.is_empty() {
                    continue;
                }
                let weights = chosen.values().iter().map(|row| Some(delta.weight(*row as usize)));
                let columns = delta.rows.columns().iter().map(|column| take(column, &chosen, None));
                let columns = columns.collect::<Result<Vec<_>, _>>().map_err(engine::Error::from)?;
                batches.push(self.assemble(tick, false, weights.collect(), columns)?);
            }
        }
        Ok(arrow::compute::concat_batches(&self.schema, &batches).map_err(engine::Error::from)?)
    }

    /// A progress row.
    fn tell(&mut self, tick: TickId) -> Result<RecordBatch, SqlError> {
        self.told = Some(tick);
        let fields = &self.schema.fields()[3..];
        let columns = fields.iter().map(|field| new_null_array(field.data_type(), 1)).collect();
        self.assemble(tick, true, Int64Array::from(vec![None]), columns)
    }

    fn assemble(
        &self,
        tick: TickId,
        progressed: bool,
        weights: Int64Array,
        columns: Vec<ArrayRef>,
    ) -> Result<RecordBatch, SqlError> {
        let rows = weights.len();
        let tick = i64::try_from(tick.0).unwrap_or(i64::MAX);
        let mut all: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_value(tick, rows))];
        if self.progress {
            all.push(Arc::new(BooleanArray::from(vec![progressed; rows])));
        }
        all.push(Arc::new(weights));
        all.extend(columns);
        Ok(RecordBatch::try_new(self.schema.clone(), all).map_err(engine::Error::from)?)
    }
}

/// Why a subscription ended by itself, as the client hears it.
fn ended(ended: Ended) -> SqlError {
    match ended {
        Ended::Dropped(view) => SqlError::new(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("materialized view \"{view}\" was dropped"),
        ),
        Ended::Replaced(view) => {
            let message = format!("materialized view \"{view}\" was replaced");
            SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message).hint("Subscribe to the new one.")
        }
        Ended::Failed(view, error) => {
            let message = format!("materialized view \"{view}\" has failed");
            SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message).detail(super::system::failure(&error))
        }
        Ended::TooSlow(tick) => {
            let message = "too many changes wait for this subscriber, who does not take them";
            let hint = format!(
                "What was given up to tick {tick} is complete: SUBSCRIBE … AS OF TICK {tick} WITH (SNAPSHOT = false) goes \
                 on from there while history_retention keeps it."
            );
            SqlError::new(SqlState("53400"), message).hint(hint)
        }
        Ended::Stopped => SqlError::new(SqlState("57P01"), "the engine has stopped"),
        Ended::Internal(message) => SqlError::new(SqlState::INTERNAL_ERROR, message),
    }
}
