//! Filters and projections whose expressions can fail on a row: the row is left out, the rest goes on.
//!
//! A batch is evaluated whole, at the cost of a plain filter or projection. Only if that fails is it halved, and halved
//! again, down to the rows that fail alone. Those go into the execution's [`RowErrors`]; the others go on. A retraction
//! of a row fails as its insert did, so what goes on is the answer over the rows that do not fail.
//!
//! A filter takes its conditions one after the other, each over the rows that the ones before let through: what stands
//! behind a guard is not evaluated on the rows that the guard keeps away.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{Int64Type, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchemaRef, Result};
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, create_physical_expr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream,
};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use futures::{StreamExt, TryStreamExt};

use crate::delta;
use crate::error::Error;
use crate::row_error::{RowErrors, is_of_a_row, row_json};

/// What a [`CheckedNode`] does with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd)]
pub enum Step {
    /// Lets it through if all expressions are true.
    Filter,
    /// Makes one of the expressions' values.
    Projection,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Filter => "Filter",
            Self::Projection => "Projection",
        }
    }
}

/// A filter or projection that leaves out the rows on which it fails. A weight column is one of the expressions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CheckedNode {
    /// Which of the two.
    pub step: Step,
    /// The expressions, and each as its author knows it.
    pub exprs: Vec<(Expr, String)>,
    /// What it is applied to.
    pub input: Arc<LogicalPlan>,
    /// The output's columns.
    pub schema: DFSchemaRef,
}

impl PartialOrd for CheckedNode {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.step.partial_cmp(&other.step)
    }
}

impl UserDefinedLogicalNodeCore for CheckedNode {
    fn name(&self) -> &str {
        "Checked"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Checked{}: {}", self.step.name(), join(self.exprs.iter().map(|(_, text)| text.as_str())))
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        Ok(Self { input: Arc::new(inputs.swap_remove(0)), ..self.clone() })
    }
}

fn join<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.collect::<Vec<_>>().join(", ")
}

/// Plans [`CheckedNode`]s in any DataFusion plan.
#[derive(Debug)]
pub struct CheckedPlanner;

#[async_trait]
impl ExtensionPlanner for CheckedPlanner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        plan(node, inputs, session, context)
    }
}

/// The plan of `node` over its input, if it is checked.
///
/// # Errors
/// DataFusion's planning errors.
pub(super) fn plan(
    node: &dyn UserDefinedLogicalNode,
    inputs: &[Arc<dyn ExecutionPlan>],
    session: &dyn Session,
    context: &PhysicalPlanningContext,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(node) = node.as_any().downcast_ref::<CheckedNode>() else { return Ok(None) };
    let [input] = inputs else { return Err(Error::internal("a checked node has one input").into()) };
    let compile = |(expr, text): &(Expr, String)| {
        let expr = create_physical_expr(expr, node.input.schema(), session.execution_props(), context)?;
        Ok((expr, text.clone()))
    };
    let exprs = node.exprs.iter().map(compile).collect::<Result<Vec<_>>>()?;
    let schema = match node.step {
        Step::Filter => input.schema(),
        Step::Projection => Arc::new(node.schema.as_arrow().clone()),
    };
    let checked = Arc::new(Checked { step: node.step, exprs, schema });
    Ok(Some(Arc::new(CheckedExec::new(checked, Arc::clone(input)))))
}

/// The expressions at work.
#[derive(Debug)]
struct Checked {
    step: Step,
    exprs: Vec<(Arc<dyn PhysicalExpr>, String)>,
    schema: SchemaRef,
}

/// Which expression failed, and why.
type Failed = (usize, DataFusionError);

impl Checked {
    /// The answer over `rows`, if no row fails.
    fn evaluate(&self, rows: &RecordBatch) -> Result<RecordBatch, Failed> {
        match self.step {
            Step::Filter => self.filter(rows),
            Step::Projection => self.project(rows),
        }
    }

    fn filter(&self, rows: &RecordBatch) -> Result<RecordBatch, Failed> {
        let mut left = rows.clone();
        for (index, (expr, _)) in self.exprs.iter().enumerate() {
            if left.num_rows() == 0 {
                break;
            }
            let failed = |error| (index, error);
            let selected = expr.evaluate(&left).and_then(|value| value.into_array(left.num_rows())).map_err(failed)?;
            let selected = selected.as_boolean_opt();
            let selected = selected.ok_or_else(|| failed(Error::internal("a filter that is not Boolean").into()))?;
            if selected.null_count() > 0 || selected.has_false() {
                left = filter_record_batch(&left, selected).map_err(|error| failed(error.into()))?;
            }
        }
        Ok(left)
    }

    fn project(&self, rows: &RecordBatch) -> Result<RecordBatch, Failed> {
        let evaluate = |(index, (expr, _)): (usize, &(Arc<dyn PhysicalExpr>, String))| {
            let value = expr.evaluate(rows).and_then(|value| value.into_array(rows.num_rows()));
            value.map_err(|error| (index, error))
        };
        let columns = self.exprs.iter().enumerate().map(evaluate).collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let made = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options);
        made.map_err(|error| (0, Error::internal("a projection does not fit its columns").with_source(error).into()))
    }

    /// The answer over the rows that do not fail; those that do go to `errors`.
    fn checked(&self, rows: &RecordBatch, errors: Option<&RowErrors>) -> Result<RecordBatch> {
        match self.evaluate(rows) {
            Ok(answer) => Ok(answer),
            Err((_, error)) if !is_of_a_row(&error) => Err(error),
            Err(failed) => {
                let mut answers = Vec::new();
                self.isolate(rows, failed, errors, &mut answers)?;
                Ok(concat_batches(&self.schema, &answers)?)
            }
        }
    }

    fn isolate(
        &self,
        rows: &RecordBatch,
        (index, error): Failed,
        errors: Option<&RowErrors>,
        answers: &mut Vec<RecordBatch>,
    ) -> Result<()> {
        if rows.num_rows() <= 1 {
            if let Some(errors) = errors {
                errors.add(self.step.name(), &self.exprs[index].1, error, row_json(rows, 0), weight(rows));
            }
            return Ok(());
        }
        let half = rows.num_rows() / 2;
        for part in [rows.slice(0, half), rows.slice(half, rows.num_rows() - half)] {
            match self.evaluate(&part) {
                Ok(answer) => answers.push(answer),
                Err((_, error)) if !is_of_a_row(&error) => return Err(error),
                Err(failed) => self.isolate(&part, failed, errors, answers)?,
            }
        }
        Ok(())
    }
}

/// The weight of a batch's only row.
fn weight(rows: &RecordBatch) -> i64 {
    let column = delta::is_weighted(&rows.schema()).then(|| rows.column(rows.num_columns() - 1));
    column.and_then(|column| column.as_primitive_opt::<Int64Type>()).map_or(1, |weights| weights.value(0))
}

/// A checked node in a physical plan.
#[derive(Debug)]
pub struct CheckedExec {
    checked: Arc<Checked>,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl CheckedExec {
    fn new(checked: Arc<Checked>, input: Arc<dyn ExecutionPlan>) -> Self {
        let partitions = input.properties().partitioning.partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&checked.schema)),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { checked, input, properties: Arc::new(properties), metrics: ExecutionPlanMetricsSet::new() }
    }
}

impl DisplayAs for CheckedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self.checked.exprs.iter().map(|(_, text)| text.as_str());
        write!(f, "Checked{}: {}", self.checked.step.name(), join(texts))
    }
}

impl ExecutionPlan for CheckedExec {
    fn name(&self) -> &str {
        "CheckedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for (expr, _) in &self.checked.exprs {
            if visit(expr)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn with_new_children(self: Arc<Self>, mut inputs: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(Arc::clone(&self.checked), inputs.swap_remove(0))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let errors = context.session_config().get_extension::<RowErrors>();
        let checked = Arc::clone(&self.checked);
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let answer = move |rows: RecordBatch| {
            let timer = metrics.elapsed_compute().timer();
            let answer = checked.checked(&rows, errors.as_deref());
            timer.done();
            if let Ok(answer) = &answer {
                metrics.record_output(answer.num_rows());
            }
            answer
        };
        let stream = self.input.execute(partition, context)?;
        // A stream may repeat its error for ever: nothing is asked of it afterwards.
        let stream = stream.map(move |rows| rows.and_then(&answer)).try_filter(|rows| {
            let is_empty = rows.num_rows() == 0;
            async move { !is_empty }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.checked.schema), stream)))
    }
}
