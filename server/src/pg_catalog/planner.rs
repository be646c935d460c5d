//! Plans and runs queries over the catalog alone: what a correlated subquery needs, and the tests.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use datafusion::common::TableReference;
use datafusion::common::config::ConfigOptions;
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::provider_as_source;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SessionState, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner};
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF};
use datafusion::physical_plan::collect;
use datafusion::prelude::SessionConfig;

use datafusion::sql::planner::{PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast::{Query, Statement};

use super::PgCatalog;

/// DataFusion's functions, rules and planners, on one partition: catalogs are small.
static STATE: LazyLock<SessionState> = LazyLock::new(|| {
    let config = SessionConfig::new().with_target_partitions(1);
    SessionStateBuilder::new().with_config(config).with_default_features().build()
});

/// Plans a query that [`PgCatalog::rewrite`] has rewritten. `functions` are those it returned, `parameters` the types
/// of `$1`, `$2`, … as far as they are known.
///
/// # Errors
/// Those of planning.
pub(super) fn plan(
    catalog: &PgCatalog,
    functions: &[Arc<ScalarUDF>],
    query: Query,
    parameters: Vec<Option<FieldRef>>,
) -> Result<LogicalPlan> {
    let own = functions.iter().map(|function| (function.name().to_string(), Arc::clone(function))).collect();
    let context = Context { catalog, own };
    let planner = SqlToRel::new(&context);
    let mut planner_context = PlannerContext::new().with_prepare_param_data_types(parameters);
    planner.sql_statement_to_plan_with_context(Statement::Query(Box::new(query)), &mut planner_context)
}

/// Runs a plan.
///
/// # Errors
/// Those of the plan's optimisation and execution.
pub(super) async fn run(plan: &LogicalPlan) -> Result<Vec<RecordBatch>> {
    let physical = STATE.create_physical_plan(plan).await?;
    collect(physical, Arc::new(TaskContext::from(&*STATE))).await
}

struct Context<'a> {
    catalog: &'a PgCatalog,
    own: HashMap<String, Arc<ScalarUDF>>,
}

impl ContextProvider for Context<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        let table = self.catalog.relation(name.schema(), name.table())?;
        let missing = || DataFusionError::Plan(format!("relation \"{name}\" does not exist"));
        table.map(provider_as_source).ok_or_else(missing)
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        STATE.expr_planners()
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        let own = self.own.get(name).cloned();
        own.or_else(|| self.catalog.function(name)).or_else(|| STATE.scalar_functions().get(name).cloned())
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        STATE.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        STATE.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        STATE.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        STATE.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        STATE.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        STATE.higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        STATE.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        STATE.window_functions().keys().cloned().collect()
    }
}
