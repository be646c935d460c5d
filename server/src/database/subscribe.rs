//! SUBSCRIBE: a view's rows at one tick, then its changes, as one endless stream of batches. A query is followed as a
//! materialized view of it that has no name and goes with the subscription; a row on which it fails ends it.
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
use sql::catalog::{Catalog, Definition, Object};
use sql::statement::{Followed, ObjectKind, Place, Subscribe};
use sql::{SqlError, SqlState};
use tokio_util::sync::CancellationToken;

use super::view::{order_by_notice, plan_followed};
use super::{Database, Reading, blocking};
use crate::backend::Outcome;

/// How often a quiet subscription says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// The columns of a relation that can be followed.
///
/// # Errors
/// 42P01 if there is no such view, 42809 if it is something else.
fn relation_columns(relation: &Place, catalog: &Catalog) -> Result<Vec<FieldRef>, SqlError> {
    match catalog.view_of_errors(&relation.name) {
        Some(_) => Ok(row_errors_schema().fields().to_vec()),
        None => {
            let view = view_of(&relation.name, catalog).map_err(|error| error.at(relation.position))?;
            Ok(view.columns.clone())
        }
    }
}

/// The columns of a subscription to what has the columns `own`.
fn with_changes(subscribe: &Subscribe, own: &[FieldRef]) -> Vec<FieldRef> {
    let mut fields = vec![Arc::new(Field::new("tidemark_tick", DataType::Int64, false))];
    if subscribe.progress {
        fields.push(Arc::new(Field::new("tidemark_progressed", DataType::Boolean, false)));
    }
    fields.push(Arc::new(Field::new("tidemark_diff", DataType::Int64, true)));
    fields.extend(own.iter().map(|field| Arc::new(Field::as_ref(field).clone().with_nullable(true))));
    fields
}

fn view_of<'a>(name: &str, catalog: &'a Catalog) -> Result<&'a Arc<Object>, SqlError> {
    let undefined = || SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"));
    let object = catalog.get(name).ok_or_else(undefined)?;
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
    /// The columns of a subscription. Positions in errors count in `text`, the whole statement.
    ///
    /// # Errors
    /// 42P01 if there is no such view, 42809 if it is something else; of a query, the binder's, and 0A000 for what cannot be
    /// maintained.
    pub(super) fn subscribe_columns(
        &self,
        subscribe: &Subscribe,
        text: &str,
        catalog: &Arc<Catalog>,
    ) -> Result<Vec<FieldRef>, SqlError> {
        let own = match &subscribe.followed {
            Followed::Relation(relation) => relation_columns(relation, catalog)?,
            Followed::Query(query) => plan_followed(&self.session_state, catalog, query, text, None)?.columns,
        };
        Ok(with_changes(subscribe, &own))
    }

    /// Starts a subscription.
    ///
    /// # Errors
    /// As for [`subscribe_columns`](Self::subscribe_columns); 22023 for a tick that is not kept; of a query, what its first
    /// rows report.
    pub(super) async fn subscribe(
        &self,
        subscribe: &Subscribe,
        text: &str,
        reading: &Reading,
        cancel: &CancellationToken,
    ) -> Result<Outcome, SqlError> {
        let engine = self.engine.clone();
        let (from, up_to) = (subscribe.as_of.map(TickId), subscribe.up_to.map(TickId));
        let span = Span { from, until: up_to };
        let mut notices = Vec::new();
        let (own, subscription) = match &subscribe.followed {
            Followed::Relation(relation) => {
                let own = relation_columns(relation, &reading.catalog)?;
                let name = relation.name.clone();
                (own, blocking(move || engine.subscribe(&name, span)).await?)
            }
            Followed::Query(query) => {
                // What it reads must not be replaced between planning and joining.
                let _changing = tokio::select! {
                    changing = self.changing.lock() => changing,
                    () = cancel.cancelled() => {
                        return Err(SqlError::new(SqlState::QUERY_CANCELED, "the statement was cancelled"));
                    }
                };
                let access = reading.access.as_deref();
                let planned = plan_followed(&self.session_state, &self.catalog(), query, text, access)?;
                notices = order_by_notice(query, "the changes of a query");
                // The work stops when nobody waits for it any more, too.
                let (cancel, dataflow) = (cancel.child_token(), planned.dataflow);
                let _stop = cancel.clone().drop_guard();
                let follow = move || engine.subscribe_query(&dataflow, span, &|| cancel.is_cancelled());
                (planned.columns, blocking(follow).await?)
            }
        };
        let columns = with_changes(subscribe, &own);
        let schema: SchemaRef = Arc::new(Schema::new(columns.clone()));
        let start = subscription.snapshot().tick;
        if let Some(up_to) = up_to.filter(|up_to| *up_to < start) {
            let message = format!("UP TO TICK {up_to} is before tick {start}, where the subscription starts");
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        let rows = subscription.rows().filter(|_| subscribe.snapshot).map(|rows| rows.scan(None));
        let (schema_of_all, progress) = (schema.clone(), subscribe.progress);
        let state = State { schema: schema_of_all, progress, rows, subscription, told: None, over: false };
        let batches = futures::stream::try_unfold(state, |mut state| async move {
            let next = state.next().await.map_err(|error| DataFusionError::External(Box::new(error)))?;
            Ok(next.map(|batch| (batch, state)))
        });
        let stream: SendableRecordBatchStream = Box::pin(RecordBatchStreamAdapter::new(schema, batches));
        Ok(Outcome { notices, ..Outcome::rows(columns, stream) })
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
            let changes = next.map_err(|end| ended(end, self.subscription.is_of_query()))?;
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
fn ended(ended: Ended, is_of_query: bool) -> SqlError {
    match ended {
        // The view has no name that anybody knows.
        Ended::Failed(_, error) if is_of_query => {
            SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, super::system::failure(&error))
        }
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
