//! What DataFusion's SQL planner asks about: relations from the catalog, functions from the session's state.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::TableFunctionArgs;
use datafusion::common::TableReference;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DFSchema, DataFusionError, Result};
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::provider_as_source;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner, TypePlanner};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, TableType, WindowUDF,
};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use super::operator::Operators;
use super::{Relation, Relations, plan_view};
use crate::diagnosis;
use crate::types::PostgresTypes;
use crate::window::relation::Windows;
use crate::{SqlError, SqlState};

/// Deepest chain of plain views upon views.
const VIEW_DEPTH_MAX: usize = 32;
/// Most plain views one query may expand to, each use counted.
const VIEW_USES_MAX: usize = 500;

/// The answers for one query.
pub(crate) struct Context<'a> {
    pub state: &'a SessionState,
    pub relations: &'a dyn Relations,
    relation_planners: Vec<Arc<dyn RelationPlanner>>,
    expr_planners: Vec<Arc<dyn ExprPlanner>>,
    /// Views being expanded, outermost first.
    expanding: RefCell<Vec<String>>,
    expanded: Cell<usize>,
}

impl<'a> Context<'a> {
    pub fn new(state: &'a SessionState, relations: &'a dyn Relations) -> Self {
        let mut relation_planners: Vec<Arc<dyn RelationPlanner>> = vec![Arc::new(Windows)];
        relation_planners.extend(state.relation_planners().iter().cloned());
        let mut expr_planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(Operators)];
        expr_planners.extend(state.expr_planners().iter().cloned());
        let (expanding, expanded) = (RefCell::default(), Cell::new(0));
        Self { state, relations, relation_planners, expr_planners, expanding, expanded }
    }

    fn expand(&self, name: &str, query: &str, columns: &[String]) -> Result<Arc<dyn TableSource>, SqlError> {
        if self.expanding.borrow().iter().any(|outer| outer == name) {
            return Err(SqlError::new(
                SqlState::INVALID_OBJECT_DEFINITION,
                format!("infinite recursion detected in view \"{name}\""),
            ));
        }
        self.expanded.set(self.expanded.get() + 1);
        if self.expanding.borrow().len() >= VIEW_DEPTH_MAX || self.expanded.get() > VIEW_USES_MAX {
            return Err(SqlError::new(
                SqlState::STATEMENT_TOO_COMPLEX,
                "statement too complex: too many views upon views",
            ));
        }
        self.expanding.borrow_mut().push(name.to_string());
        self.relations.entering(name);
        let plan = plan_view(self, query, columns);
        self.relations.leaving();
        self.expanding.borrow_mut().pop();
        let plan = plan.map_err(|mut error| {
            // Its position counts in the view's text, which the client did not send.
            error.position = None;
            let inside = format!("While expanding the view \"{name}\".");
            error.detail = Some(error.detail.map_or(inside.clone(), |detail| format!("{detail} {inside}")));
            error
        })?;
        Ok(Arc::new(ExpandedView { schema: Arc::clone(plan.schema().inner()), plan }))
    }
}

/// A plain view's plan, which the planner puts in its place.
struct ExpandedView {
    plan: LogicalPlan,
    schema: SchemaRef,
}

impl TableSource for ExpandedView {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }
}

impl ContextProvider for Context<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match self.relations.relation(name.schema(), name.table()) {
            Some(Relation::Table(provider)) => Ok(provider_as_source(provider)),
            Some(Relation::View { query, columns }) => {
                self.expand(name.table(), &query, &columns).map_err(|error| DataFusionError::External(Box::new(error)))
            }
            Some(Relation::Denied(error)) => Err(DataFusionError::External(Box::new(error))),
            None => Err(DataFusionError::External(Box::new(undefined_table(&name, self.relations)))),
        }
    }

    fn get_table_function_source(&self, name: &str, arguments: Vec<Expr>) -> Result<Arc<dyn TableSource>> {
        let name = name.to_ascii_lowercase();
        // The system's tables can be called like functions, too.
        if arguments.is_empty()
            && let Some(table) = name.strip_prefix("tidemark_")
            && let Some(Relation::Table(provider)) = self.relations.relation(Some("tidemark"), table)
        {
            return Ok(provider_as_source(provider));
        }
        let Some(function) = self.state.table_functions().get(&name) else {
            return Err(DataFusionError::External(Box::new(SqlError::new(
                SqlState::UNDEFINED_FUNCTION,
                format!("table function {name} does not exist"),
            ))));
        };
        let context = SimplifyContext::builder().with_config_options(Arc::clone(self.state.config_options())).build();
        let simplifier = ExprSimplifier::new(context);
        let schema = DFSchema::empty();
        let arguments = arguments
            .into_iter()
            .map(|argument| simplifier.simplify(simplifier.coerce(argument, &schema)?))
            .collect::<Result<Vec<_>>>()?;
        let provider = function.create_table_provider_with_args(TableFunctionArgs::new(&arguments, self.state))?;
        Ok(provider_as_source(provider))
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.expr_planners
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.relation_planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(PostgresTypes))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.state.scalar_functions().get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.state.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.state.higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}

fn undefined_table(name: &TableReference, relations: &dyn Relations) -> SqlError {
    let full = match name.schema() {
        Some(schema) => format!("{schema}.{}", name.table()),
        None => name.table().to_string(),
    };
    let error = SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{full}\" does not exist"));
    let close = relations
        .names()
        .into_iter()
        .map(|known| (diagnosis::likeness(&known, name.table()), known))
        .filter(|(closeness, _)| *closeness >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match close {
        Some((_, known)) => error.hint(format!("Perhaps you meant the relation \"{known}\".")),
        None => error,
    }
}
