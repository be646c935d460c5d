//! Names to a logical plan.
//!
//! In: a query's tree and text, the catalog ([`Relations`]), the session's state with its functions. Out: a
//! [`BoundQuery`]: DataFusion's plan with every name resolved and every type settled, the names its columns have on the
//! wire, and the types of its parameters. On the way the tree is put right where Postgres means something else
//! (`rewrite`), DataFusion's planner asks for relations and functions (`context`), what SQL leaves open is settled
//! (`one_answer`), and whatever goes wrong is told as Postgres tells it, with its place in the text ([`crate::diagnosis`]).
//!
//! Planning runs on a big stack: DataFusion's recursion is as deep as the query.

mod comparison;
mod context;
mod literal;
mod names;
pub(crate) mod one_answer;
mod operator;
mod parameters;
mod rewrite;
mod row;
mod settle;
mod subquery;
pub(crate) mod values;

pub use rewrite::{visible, visible_text};

pub(crate) use names::column_name;
pub(crate) use parameters::index as parameter_index;
pub(crate) use rewrite::{HIDDEN, call};

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use chrono::{DateTime, Utc};
use datafusion::catalog::TableProvider;
use datafusion::common::DataFusionError;
use datafusion::common::alias::AliasGenerator;
use datafusion::common::config::ConfigOptions;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::{Optimizer, OptimizerConfig};
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast::{self, SelectItem, SetExpr};

use self::context::Context;
use crate::asof;
use crate::diagnosis::{self, Text};
use crate::guard;
use crate::parser::parse_query;
use crate::stack::on_big_stack;
use crate::subquery_rules::{CorrelatedNotIn, MarkSubqueries};
use crate::window::keyed;
use crate::{SqlError, SqlState};

/// The name of a column that has none.
pub(crate) const UNNAMED: &str = "?column?";

/// What a name in FROM stands for.
#[derive(Clone)]
pub enum Relation {
    /// A source, a materialized view, a catalog table.
    Table(Arc<dyn TableProvider>),
    /// A plain view: its query takes its place.
    View {
        /// The query's text.
        query: String,
        /// Column names, where the definition gives them; else empty.
        columns: Vec<String>,
    },
    /// It is there, and who asks may not read it.
    Denied(SqlError),
}

/// The catalog as the binder sees it: one consistent reading for one statement.
pub trait Relations: Sync {
    /// The relation `schema.name`; without a schema, as the search path finds it.
    fn relation(&self, schema: Option<&str>, name: &str) -> Option<Relation>;

    /// The column of the relation `schema.name` that says from when each of its rows counts: see
    /// [`Object::version_time`](crate::catalog::Object::version_time).
    ///
    /// # Errors
    /// 0A000 where there is none.
    fn version_time(&self, _schema: Option<&str>, name: &str) -> Result<String, SqlError> {
        Err(asof::version::no_versions(&format!("the relation \"{name}\"")))
    }

    /// What is asked for from here on, until [`leaving`](Self::leaving), stands in the query of the plain view `view`.
    fn entering(&self, _view: &str) {}

    /// The query of the view entered last is at its end.
    fn leaving(&self) {}

    /// The names a user could have meant, for hints.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Binds queries against one reading of the catalog.
pub struct Binder<'a> {
    state: &'a SessionState,
    relations: &'a dyn Relations,
    strict: bool,
}

/// A query with every name resolved.
///
/// Its plan is as deep as the query. Dropping it is safe on any thread's stack, cloning it is not: share it, or clone it
/// on a big stack ([`on_big_stack`]).
#[derive(Debug, Clone)]
pub struct BoundQuery {
    /// The plan, types coerced, not optimised. `now()` is still a function. Column names may carry a hidden suffix
    /// ([`visible`]) where the query names two columns alike.
    pub plan: LogicalPlan,
    /// The columns' names as a client sees them; they may repeat.
    pub output_names: Vec<String>,
    /// The parameters, `$1` first. One that nothing says anything about is text.
    pub parameters: Vec<FieldRef>,
}

impl<'a> Binder<'a> {
    /// A binder with the functions of `state` (see [`crate::functions::session_state`]).
    pub fn new(state: &'a SessionState, relations: &'a dyn Relations) -> Self {
        Self { state, relations, strict: true }
    }

    /// Lets values of different kinds be compared, as DataFusion does: for the system catalogs' queries, whose columns
    /// have types Postgres converts between.
    #[must_use]
    pub fn lenient(self) -> Self {
        Self { strict: false, ..self }
    }

    /// Binds `query`, whose spans count in `text`. `parameters` are the declared types of `$1`, `$2`, …; others are inferred.
    ///
    /// # Errors
    /// 42P01, 42703, 42883, 42803, 42804, 42702, 42P02, 0A000, … with the position in `text`.
    pub fn bind_query(
        &self,
        query: &ast::Query,
        text: &str,
        parameters: &[Option<DataType>],
    ) -> Result<BoundQuery, SqlError> {
        on_big_stack(|| {
            let text = Text::new(text);
            self.bind(query, parameters).map_err(|error| diagnosis::sql_error(error, Some(&text)))
        })
    }

    /// Binds a view's body: the plan's columns are named as the view's are, by `columns` as far as they go and else by
    /// the query.
    ///
    /// # Errors
    /// As for [`bind_query`](Self::bind_query); 42701 for two columns of one name, 42601 for more names than columns,
    /// 42P02 for a parameter.
    pub fn bind_view(&self, query: &ast::Query, text: &str, columns: &[String]) -> Result<LogicalPlan, SqlError> {
        let bound = self.bind_query(query, text, &[])?;
        if !bound.parameters.is_empty() {
            return Err(SqlError::new(SqlState::UNDEFINED_PARAMETER, "there is no parameter $1"));
        }
        on_big_stack(|| bound.named(columns))
    }

    /// Optimises a bound plan, for a batch to execute. With `now`, `now()` is that time from here on; without, it stays a function.
    ///
    /// # Errors
    /// What constant folding runs into, such as 22012; 0A000 for subqueries that cannot be planned.
    pub fn optimize(&self, plan: &LogicalPlan, now: Option<DateTime<Utc>>) -> Result<LogicalPlan, SqlError> {
        on_big_stack(|| {
            let config = At { state: self.state, now };
            keyed::expand(plan.clone())
                .and_then(asof::expand)
                .and_then(guard::before_optimizing)
                .and_then(|plan| optimizer(self.state).optimize(plan, &config, |_, _| {}))
                .and_then(guard::guard_plan)
                .and_then(guard::keep_merging_casts)
                .map_err(|error| diagnosis::sql_error(error, None))
        })
    }

    fn bind(&self, query: &ast::Query, declared: &[Option<DataType>]) -> Result<BoundQuery, DataFusionError> {
        let context = Context::new(self.state, self.relations);
        let mut parameters = parameters::declared(query, declared)?;
        let mut plan = match plan(&context, query, parameters.clone()) {
            // Some functions cannot do with a type unknown.
            Err(_) if parameters.iter().any(Option::is_none) => {
                for parameter in &mut parameters {
                    parameter.get_or_insert_with(|| parameters::field(DataType::Utf8View));
                }
                plan(&context, query, parameters.clone())?
            }
            outcome => outcome?,
        };
        // A second pass tells the planner what the first one found, and that the rest is text.
        if parameters.iter().any(Option::is_none) {
            for (name, found) in plan.get_parameter_fields()? {
                if let (Some(index), Some(found)) = (parameters::index(&name), found)
                    && let Some(parameter @ None) = parameters.get_mut(index)
                {
                    *parameter = Some(parameters::field(found.data_type().clone()));
                }
            }
            for parameter in &mut parameters {
                parameter.get_or_insert_with(|| parameters::field(DataType::Utf8View));
            }
            plan = self::plan(&context, query, parameters.clone())?;
        }
        let plan = settle::settle(subquery::place(plan)?)?;
        if self.strict {
            comparison::check(&plan)?;
        }
        let plan = self.state.analyzer().execute_and_check(plan, self.state.config_options(), |_, _| {})?;
        let plan = one_answer::give(asof::mark(plan)?)?;
        let output_names = output_names(query, &plan);
        Ok(BoundQuery { plan, output_names, parameters: parameters.into_iter().flatten().collect() })
    }
}

impl BoundQuery {
    /// The plan with its columns named: by `columns` as far as they go, else as [`output_names`](Self::output_names).
    ///
    /// # Errors
    /// 42701 for two columns of one name, 42601 for more names than columns.
    pub fn named(&self, columns: &[String]) -> Result<LogicalPlan, SqlError> {
        if columns.len() > self.output_names.len() {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "too many column names were specified"));
        }
        let names: Vec<&String> = columns.iter().chain(&self.output_names[columns.len()..]).collect();
        for (n, name) in names.iter().enumerate() {
            if names[..n].contains(name) {
                return Err(SqlError::new(
                    SqlState::DUPLICATE_COLUMN,
                    format!("column \"{name}\" specified more than once"),
                )
                .hint("Name the columns: CREATE … VIEW name (a, b, …) AS …, or SELECT … AS …."));
            }
        }
        rename(self.plan.clone(), &names).map_err(|error| diagnosis::sql_error(error, None))
    }
}

/// The plan with unqualified columns of these names.
fn rename(plan: LogicalPlan, names: &[&String]) -> Result<LogicalPlan, DataFusionError> {
    let columns = plan.schema().columns();
    if columns.iter().zip(names).all(|(column, name)| column.name == **name && column.relation.is_none()) {
        return Ok(plan);
    }
    let renamed = columns.into_iter().zip(names).map(|(column, name)| Expr::Column(column).alias(name.as_str()));
    LogicalPlanBuilder::from(plan).project(renamed.collect::<Vec<_>>())?.build()
}

/// Plans a query, its columns' names made to differ where they have to.
fn plan(
    context: &Context<'_>,
    query: &ast::Query,
    parameters: Vec<Option<FieldRef>>,
) -> Result<LogicalPlan, DataFusionError> {
    let attempt = |beside_wildcards: bool| {
        let mut query = query.clone();
        rewrite::rewrite(&mut query, context.relations, beside_wildcards)?;
        let mut planner_context = PlannerContext::new().with_prepare_param_data_types(parameters.clone());
        SqlToRel::new(context)
            .sql_statement_to_plan_with_context(ast::Statement::Query(Box::new(query)), &mut planner_context)
    };
    match attempt(false) {
        Err(error) if diagnosis::is_duplicate_name(&error) => attempt(true).map_err(|_| error),
        outcome => outcome,
    }
}

/// A plain view's plan, its columns named.
pub(crate) fn plan_view(context: &Context<'_>, query: &str, columns: &[String]) -> Result<LogicalPlan, SqlError> {
    let tree = parse_query(query)?;
    let plan = plan(context, &tree, Vec::new()).map_err(|error| diagnosis::sql_error(error, None))?;
    let output_names = output_names(&tree, &plan);
    BoundQuery { plan, output_names, parameters: Vec::new() }.named(columns)
}

/// The names a client sees. The plan knows them, except of a field of a structure, which the tree names.
fn output_names(query: &ast::Query, plan: &LogicalPlan) -> Vec<String> {
    let mut names: Vec<String> = plan.schema().fields().iter().map(|field| visible(field.name()).to_string()).collect();
    let mut body = query.body.as_ref();
    loop {
        body = match body {
            SetExpr::SetOperation { left, .. } => left,
            SetExpr::Query(query) => query.body.as_ref(),
            _ => break,
        };
    }
    if let SetExpr::Select(select) = body {
        let named = |item: &SelectItem| match item {
            SelectItem::UnnamedExpr(expr @ ast::Expr::CompoundIdentifier(_)) => column_name(expr),
            _ => None,
        };
        let is_wildcard =
            |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
        // Items before the first wildcard count from the front, those behind the last from the back.
        for (n, item) in select.projection.iter().take_while(|item| !is_wildcard(item)).enumerate() {
            if let (Some(name), Some(slot)) = (named(item), names.get_mut(n)) {
                *slot = name;
            }
        }
        for (n, item) in select.projection.iter().rev().take_while(|item| !is_wildcard(item)).enumerate() {
            let at = names.len().checked_sub(n + 1);
            if let (Some(name), Some(slot)) = (named(item), at.and_then(|at| names.get_mut(at))) {
                *slot = name;
            }
        }
    }
    names
}

/// The optimiser's settings with a time of our choosing.
struct At<'a> {
    state: &'a SessionState,
    now: Option<DateTime<Utc>>,
}

impl OptimizerConfig for At<'_> {
    fn query_execution_start_time(&self) -> Option<DateTime<Utc>> {
        self.now
    }

    fn alias_generator(&self) -> &Arc<AliasGenerator> {
        self.state.alias_generator()
    }

    fn options(&self) -> Arc<ConfigOptions> {
        OptimizerConfig::options(self.state)
    }

    fn function_registry(&self) -> Option<&dyn FunctionRegistry> {
        Some(self.state)
    }
}

#[cfg(test)]
pub(crate) mod tests;

/// The state's optimizer, taught to put conditions that cannot fail first before it shares what expressions have in common,
/// and to make joins of EXISTS in projections.
fn optimizer(state: &SessionState) -> Optimizer {
    let mut rules = state.optimizer().rules.clone();
    let shared = rules.iter().position(|rule| rule.name() == "common_sub_expression_eliminate");
    rules.insert(shared.unwrap_or(rules.len()), Arc::new(guard::InfallibleFirst));
    let joins = rules.iter().position(|rule| rule.name() == "decorrelate_predicate_subquery");
    let joins = joins.unwrap_or(0);
    rules.insert(joins, Arc::new(MarkSubqueries));
    rules.insert(joins + 2, Arc::new(CorrelatedNotIn));
    Optimizer::with_rules(rules)
}
