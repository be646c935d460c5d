//! SELECT: bound against a read point, planned by DataFusion, streamed.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::sql::sqlparser::ast;
use engine::time::{Clock, SystemClock};
use sql::binder::{Binder, BoundQuery, Relations};
use sql::statement::{Parsed, Statement};
use sql::{SqlError, SqlState};

use sql::stack::on_big_stack;

use super::catalog_query::Asker;
use super::memory::Allowance;
use super::relations::{NoRelations, ReadRelations};
use super::{Database, Reading};

/// A query ready to run.
#[derive(Debug, Clone)]
pub struct PlannedQuery {
    /// The bound plan, parameters still open.
    pub plan: LogicalPlan,
    /// The result's columns under their wire names.
    pub columns: Vec<FieldRef>,
    /// One type per parameter.
    pub parameters: Vec<DataType>,
    /// How much it may hold while it runs; `None` for what the server does by itself.
    pub(super) allowance: Option<Allowance>,
}

impl Database {
    /// Binds a query at a read point.
    ///
    /// # Errors
    /// The binder's.
    pub(super) fn plan_query(
        &self,
        query: &ast::Query,
        text: &str,
        types: &[Option<DataType>],
        reading: &Reading,
        asker: Option<&Asker>,
    ) -> Result<PlannedQuery, SqlError> {
        let planned = match asker.filter(|_| Self::asks_catalog(query)) {
            Some(asker) => self.plan_catalog_query(query, text, types, reading, asker)?,
            None => bind(&self.session_state, &ReadRelations::new(reading, &self.engine), query, text, types)?,
        };
        let allowance = asker.map(|asker| self.allowance(asker.access.role, &asker.settings));
        Ok(PlannedQuery { allowance, ..planned })
    }

    /// Runs a planned query.
    ///
    /// # Errors
    /// What planning or the first batch reports.
    pub(super) async fn run_query(
        &self,
        planned: &PlannedQuery,
        parameters: Vec<ScalarValue>,
    ) -> Result<SendableRecordBatchStream, SqlError> {
        let plan = match parameters.is_empty() {
            true => planned.plan.clone(),
            false => planned.plan.clone().replace_params_with_values(&ParamValues::from(parameters))?,
        };
        let physical = self.physical(&plan).await?;
        Ok(execute_stream(physical, self.context_of(planned.allowance.as_ref())?)?)
    }

    pub(super) async fn physical_plan(
        &self,
        query: &ast::Query,
        text: &str,
        reading: &Reading,
    ) -> Result<Arc<dyn ExecutionPlan>, SqlError> {
        self.physical(&self.plan_query(query, text, &[], reading, None)?.plan).await
    }

    pub(super) async fn physical(&self, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>, SqlError> {
        self.physical_at(plan, SystemClock.now_micros()).await
    }

    /// A plan's physical form, in which `now()` is `now_micros`.
    pub(super) async fn physical_at(
        &self,
        plan: &LogicalPlan,
        now_micros: i64,
    ) -> Result<Arc<dyn ExecutionPlan>, SqlError> {
        let now = chrono::DateTime::from_timestamp_micros(now_micros);
        let plan = Binder::new(&self.session_state, &NoRelations).optimize(plan, now)?;
        let planner = self.session_state.query_planner();
        Ok(planner.create_physical_plan(&plan, &self.session_state).await?)
    }

    pub(super) fn task_context(&self) -> Arc<TaskContext> {
        self.session_state.task_ctx()
    }

    /// Runs one SELECT at the newest read point, outside any session.
    ///
    /// # Errors
    /// What the statement reports.
    pub async fn select(&self, text: &str) -> Result<Vec<RecordBatch>, SqlError> {
        self.select_at(text, &self.reading()).await
    }

    pub(super) async fn select_at(&self, text: &str, reading: &Reading) -> Result<Vec<RecordBatch>, SqlError> {
        let parsed = sql::parser::parse(text)?.into_iter().next();
        let Some(Parsed { statement: Statement::Query(query), text, .. }) = parsed else {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "expected one SELECT"));
        };
        let planned = self.plan_query(&query, &text, &[], reading, None)?;
        let mut batches = datafusion::physical_plan::common::collect(self.run_query(&planned, vec![]).await?).await?;
        if batches.is_empty() {
            batches.push(RecordBatch::new_empty(Arc::new(planned.plan.schema().as_arrow().clone())));
        }
        Ok(batches)
    }
}

/// Most operators of one plan, those of the views it reads included.
const PLAN_NODES_MAX: usize = 10_000;

/// Refuses a plan that would take long to optimise, however short its text is.
///
/// # Errors
/// 54001.
fn check_size(plan: &LogicalPlan) -> Result<(), SqlError> {
    let mut nodes = 0;
    on_big_stack(|| {
        let counted = plan.apply_with_subqueries(|_| {
            nodes += 1;
            Ok(if nodes > PLAN_NODES_MAX { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        });
        counted.map(drop).map_err(SqlError::from)
    })?;
    if nodes <= PLAN_NODES_MAX {
        return Ok(());
    }
    let message = format!("statement too complex: its plan has more than {PLAN_NODES_MAX} operators");
    Err(SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, message))
}

/// Binds a query with the functions of `state`.
///
/// # Errors
/// The binder's.
pub(super) fn bind(
    state: &SessionState,
    relations: &dyn Relations,
    query: &ast::Query,
    text: &str,
    types: &[Option<DataType>],
) -> Result<PlannedQuery, SqlError> {
    let BoundQuery { plan, output_names, parameters } = Binder::new(state, relations).bind_query(query, text, types)?;
    let parameters = parameters.iter().map(|field| field.data_type().clone()).collect();
    let named =
        |(field, name): (&FieldRef, String)| -> FieldRef { Arc::new(Field::as_ref(field).clone().with_name(name)) };
    let columns = plan.schema().fields().iter().zip(output_names).map(named).collect();
    check_size(&plan)?;
    Ok(PlannedQuery { plan, columns, parameters, allowance: None })
}
