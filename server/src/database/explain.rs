//! `EXPLAIN`: of a view, its incremental plan with each operator's cost class and state bound; of a query, DataFusion's
//! plan. `EXPLAIN (STATE)`: of either, what is kept to maintain it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use engine::dataflow::Dataflow;
use engine::dataflow::exec::OperatorExec;
use engine::dataflow::execution::{Execution, ExecutionConfig};
use engine::row_error::errors_name;
use sql::SqlError;
use sql::binder::visible_text;
use sql::catalog::Definition;
use sql::statement::{CreateMaterializedView, Emit, Explain, ExplainTarget, ObjectKind, OnError};

use super::catalog_query::Asker;
use super::show::text_table;
use super::state::Running;
use super::view::{plan_view, plan_view_as};
use super::{Database, Reading, state};

impl Database {
    /// The one column `QUERY PLAN`, a line a row; with FORMAT JSON one row.
    pub(super) async fn explain(
        &self,
        explain: &Explain,
        text: &str,
        (reading, asker): (&Reading, Option<&Asker>),
    ) -> Result<RecordBatch, SqlError> {
        if explain.state {
            return self.explain_state(&explain.target, text, reading);
        }
        let lines = match &explain.target {
            ExplainTarget::Query(query) => self.explain_query(query, text, explain, (reading, asker)).await?,
            ExplainTarget::CreateMaterializedView(create) => {
                let access = reading.access.as_deref();
                let planned = plan_view_as(&self.session_state, &reading.catalog, create, text, access)?;
                explain_dataflow(&planned.dataflow, explain.verbose)?
            }
            ExplainTarget::MaterializedView(name) => {
                let object = reading.catalog.expect(name, ObjectKind::MaterializedView)?;
                let Definition::MaterializedView(create) = &object.definition else { return Ok(text_table(&[])) };
                let planned = plan_view(&self.session_state, &reading.catalog, create, &object.text)?;
                let mut lines = explain_dataflow(&planned.dataflow, explain.verbose)?;
                if let Some(view) = reading.snapshot.view(name) {
                    let (rows, state) = (view.num_rows(), view.state_bytes);
                    lines.push(format!("Now: {rows} rows, {} bytes of rows, {state} bytes of state", view.view_bytes));
                }
                lines
            }
        };
        // Names and literals as the query wrote them.
        let lines: Vec<String> = lines.iter().map(|line| visible_text(line)).collect();
        Ok(query_plan(if explain.json { vec![json(&lines)] } else { lines }))
    }

    /// What the view keeps, or what would be kept to maintain the query.
    fn explain_state(&self, target: &ExplainTarget, text: &str, reading: &Reading) -> Result<RecordBatch, SqlError> {
        let plan = |create, text, access| {
            Ok::<_, SqlError>(plan_view_as(&self.session_state, &reading.catalog, create, text, access)?.state)
        };
        // A view that is there was made with its owner's rights.
        let own = reading.access.as_deref();
        match target {
            ExplainTarget::Query(query) => {
                let create = CreateMaterializedView {
                    name: String::new(),
                    columns: vec![],
                    or_replace: false,
                    if_not_exists: false,
                    query: query.clone(),
                    query_text: String::new(),
                    emit: Emit::default(),
                    on_error: OnError::default(),
                    max_state: None,
                };
                Ok(state::explain(&plan(&create, text, own)?, None, None))
            }
            ExplainTarget::CreateMaterializedView(create) => {
                Ok(state::explain(&plan(create, text, own)?, None, create.max_state))
            }
            ExplainTarget::MaterializedView(name) => {
                let object = reading.catalog.expect(name, ObjectKind::MaterializedView)?;
                let Definition::MaterializedView(create) = &object.definition else { return Ok(state::columns()) };
                let plan = plan(create, &object.text, None)?;
                let errors = reading.snapshot.errors.get(&errors_name(name)).map(AsRef::as_ref);
                let running = reading.snapshot.view(name).map(|view| Running { view, errors });
                Ok(state::explain(&plan, running.as_ref(), create.max_state))
            }
        }
    }

    /// What [`explain`](Self::explain) gives, without its rows: nothing runs, but a query that cannot be bound fails.
    pub(super) fn explain_description(
        &self,
        explain: &Explain,
        text: &str,
        reading: &Reading,
    ) -> Result<RecordBatch, SqlError> {
        if let ExplainTarget::Query(query) = &explain.target
            && !explain.state
        {
            self.plan_query(query, text, &[], reading, None)?;
        }
        Ok(if explain.state { state::columns() } else { query_plan(vec![]) })
    }

    async fn explain_query(
        &self,
        query: &datafusion::sql::sqlparser::ast::Query,
        text: &str,
        explain: &Explain,
        (reading, asker): (&Reading, Option<&Asker>),
    ) -> Result<Vec<String>, SqlError> {
        let physical = self.physical_plan(query, text, reading).await?;
        if explain.analyze {
            let allowance = asker.map(|asker| self.allowance(asker.access.role, &asker.settings));
            let context = self.context_of(allowance.as_ref())?;
            let batches = datafusion::physical_plan::collect(physical.clone(), context).await?;
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            let text = datafusion::physical_plan::display::DisplayableExecutionPlan::with_metrics(physical.as_ref());
            let mut lines: Vec<String> = text.indent(explain.verbose).to_string().lines().map(str::to_owned).collect();
            lines.push(format!("Rows: {rows}"));
            return Ok(lines);
        }
        Ok(displayable(physical.as_ref()).indent(explain.verbose).to_string().lines().map(str::to_owned).collect())
    }
}

fn query_plan(lines: Vec<String>) -> RecordBatch {
    text_table(&[("QUERY PLAN", lines.into_iter().map(Some).collect())])
}

fn explain_dataflow(dataflow: &Dataflow, verbose: bool) -> Result<Vec<String>, SqlError> {
    let execution = Execution::try_new(dataflow, ExecutionConfig::default())?;
    let mut lines = vec![format!(
        "Incremental plan: {}, {} stateful operator(s)",
        if dataflow.append_only { "append-only" } else { "rows may be retracted" },
        execution.operators().len(),
    )];
    describe(execution.plan(), 0, &mut lines)?;
    if verbose {
        lines.push("Logical plan:".into());
        lines.extend(dataflow.plan.display_indent_schema().to_string().lines().map(|line| format!("  {line}")));
    }
    Ok(lines)
}

/// A node and its inputs, indented; a stateful node with what it costs and keeps below it.
fn describe(plan: &Arc<dyn ExecutionPlan>, depth: usize, lines: &mut Vec<String>) -> Result<(), SqlError> {
    let indent = "  ".repeat(depth);
    let text = displayable(plan.as_ref()).one_line().to_string();
    match plan.downcast_ref::<OperatorExec>() {
        None => lines.push(format!("{indent}-> {}   [cost: delta, state: none]", text.trim_end())),
        Some(operator) => {
            lines.push(format!("{indent}-> {}", text.trim_end()));
            lines.extend(operator.maker().explain()?.lines().map(|line| format!("{indent}     {line}")));
        }
    }
    for child in plan.children() {
        describe(child, depth + 1, lines)?;
    }
    Ok(())
}

fn json(lines: &[String]) -> String {
    let quoted: Vec<_> =
        lines.iter().map(|line| format!("\"{}\"", line.replace('\\', "\\\\").replace('"', "\\\""))).collect();
    format!("[{{\"Plan\": [{}]}}]", quoted.join(", "))
}
