//! The one shell around every stateful operator: a DataFusion `ExecutionPlan` that gathers the tick's input, lets the
//! operator step, and yields what it emits.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{Distribution, EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputDistributionRequirements, Partitioning, PlanProperties,
    SendableRecordBatchStream,
};
use futures::{StreamExt, TryStreamExt};

use super::bound::PhysicalBound;
use super::key_group_expr::KeyGroupExpr;
use super::runtime::{OperatorId, TickRuntime};
use crate::delta::Delta;
use crate::error::Error;
use crate::operator::state_bound::{Growth, StateBound};
use crate::operator::{Operator, TickContext};
use crate::row_error::{Failure, RowErrors};

/// Makes the operator of one partition; everything it needs is plain data, so the plan can be encoded.
pub trait MakeOperator: fmt::Debug + Send + Sync {
    /// A new operator without state.
    ///
    /// # Errors
    /// `Unsupported` for a type the operator cannot hold.
    fn make(&self) -> crate::Result<Box<dyn Operator>>;

    /// True if the tick's time alone can change the operators' answer: see [`Operator::due_micros`].
    fn reads_clock(&self) -> bool {
        false
    }

    /// True if the operators want [`TickContext::closing_below`].
    fn reads_closing(&self) -> bool {
        false
    }

    /// What it is, for EXPLAIN: one line with keys and calls.
    fn describe(&self) -> String;

    /// How it is computed, at what cost (delta, touched groups or whole state), and what bounds its state, for EXPLAIN:
    /// one line, then one for each call.
    ///
    /// # Errors
    /// As for [`make`](Self::make).
    fn explain(&self) -> crate::Result<String>;

    /// What the operators keep, where the rows of their inputs grow like `inputs`, one each.
    ///
    /// # Errors
    /// As for [`make`](Self::make).
    fn state_bound(&self, inputs: &[Growth]) -> crate::Result<StateBound>;
}

/// A stateful operator in a physical plan. Holds no state: that is found by (id, partition) at execution.
#[derive(Debug, Clone)]
pub struct OperatorExec {
    id: OperatorId,
    maker: Arc<dyn MakeOperator>,
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    /// For each input, the columns by which its rows are dealt to partitions.
    keys: Vec<Vec<usize>>,
    bound: Option<PhysicalBound>,
    /// For each of two inputs that match each other's rows by time: below this a row is past.
    past: [Option<PhysicalBound>; 2],
    partitions: usize,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl OperatorExec {
    /// An operator over `inputs`; `schema` is the output with the weight column where the edge can retract.
    pub fn new(
        id: OperatorId,
        maker: Arc<dyn MakeOperator>,
        inputs: Vec<Arc<dyn ExecutionPlan>>,
        keys: Vec<Vec<usize>>,
        bound: Option<PhysicalBound>,
        schema: SchemaRef,
        partitions: usize,
    ) -> Self {
        let partitions = if keys.iter().all(Vec::is_empty) { 1 } else { partitions };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        let properties = Arc::new(properties);
        let (past, metrics) = ([None, None], ExecutionPlanMetricsSet::new());
        Self { id, maker, inputs, keys, bound, past, partitions, properties, metrics }
    }

    /// The same with bounds below which rows of its two inputs are past: see [`TickContext::matched_below`].
    #[must_use]
    pub fn with_past(self, past: [Option<PhysicalBound>; 2]) -> Self {
        Self { past, ..self }
    }

    /// Its id within the view.
    pub fn id(&self) -> OperatorId {
        self.id
    }

    /// What makes its operators.
    pub fn maker(&self) -> &Arc<dyn MakeOperator> {
        &self.maker
    }

    /// How many partitions hold its state.
    pub fn partitions(&self) -> usize {
        self.partitions
    }

    /// True if closed windows let it drop state.
    pub fn is_bounded_by_watermark(&self) -> bool {
        self.bound.is_some() || self.past.iter().any(Option::is_some)
    }

    fn input_streams(
        &self,
        partition: usize,
        context: &Arc<TaskContext>,
    ) -> Result<Vec<Vec<SendableRecordBatchStream>>> {
        let open = |input: &Arc<dyn ExecutionPlan>| {
            if self.partitions > 1 {
                return Ok(vec![input.execute(partition, context.clone())?]);
            }
            // A single partition reads its inputs' partitions one after the other, which spares a task and a channel each.
            (0..input.properties().partitioning.partition_count()).map(|p| input.execute(p, context.clone())).collect()
        };
        self.inputs.iter().map(open).collect()
    }
}

impl DisplayAs for OperatorExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Operator {}: {}", self.id, self.maker.describe())
    }
}

impl ExecutionPlan for OperatorExec {
    fn name(&self) -> &str {
        "OperatorExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().collect()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        let distribution = |(keys, input): (&Vec<usize>, &Arc<dyn ExecutionPlan>)| {
            if keys.is_empty() || self.partitions == 1 {
                return Distribution::SinglePartition;
            }
            let schema = input.schema();
            let column = |index: &usize| Arc::new(Column::new(schema.field(*index).name(), *index)) as _;
            let group = KeyGroupExpr::new(keys.iter().map(column).collect());
            Distribution::KeyPartitioned(vec![Arc::new(group)])
        };
        InputDistributionRequirements::new(self.keys.iter().zip(&self.inputs).map(distribution).collect())
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; self.inputs.len()]
    }

    fn replace_children(
        self: Arc<Self>,
        inputs: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        // Nothing of ours depends on the inputs' properties; metrics start anew, as a reset asks for.
        Ok(Arc::new(Self { inputs, metrics: ExecutionPlanMetricsSet::new(), ..self.as_ref().clone() }))
    }

    fn with_new_children(self: Arc<Self>, inputs: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(inputs, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let streams = self.input_streams(partition, &context)?;
        let runtime = context.session_config().get_extension::<TickRuntime>();
        let runtime = runtime.ok_or_else(|| Error::internal("no tick runtime in the task context"))?;
        let operator = runtime.registry.find(self.id, partition, || self.maker.make())?;
        let input = runtime.input()?;
        let closed_below = self.bound.as_ref().map_or(Ok(None), |bound| bound.evaluate(&input.watermarks))?;
        let closing = self.bound.as_ref().filter(|_| self.maker.reads_closing());
        let closing_below = closing.map_or(Ok(None), |bound| bound.evaluate(&input.closing))?;
        let mut matched_below = [None, None];
        for (below, bound) in matched_below.iter_mut().zip(&self.past) {
            *below = bound.as_ref().map_or(Ok(None), |bound| bound.evaluate(&input.watermarks))?;
        }
        let (now_micros, evict) = (input.now_micros, input.evict);
        let tick = TickContext { tick: input.tick, now_micros, closed_below, closing_below, matched_below, evict };
        let (schema, metrics) = (self.schema(), BaselineMetrics::new(&self.metrics, partition));
        let output_schema = schema.clone();
        let (maker, errors) = (self.maker.clone(), context.session_config().get_extension::<RowErrors>());
        let step = async move {
            let mut inputs = Vec::with_capacity(streams.len());
            for partitions in streams {
                inputs.push(gather(partitions).await?);
            }
            let timer = metrics.elapsed_compute().timer();
            let (deltas, failures) = {
                let mut operator = operator.lock();
                (operator.step(inputs, &tick)?, operator.take_failures())
            };
            if let Some(errors) = errors.filter(|_| !failures.is_empty()) {
                let name = maker.describe();
                for Failure { expression, cause, row, weight } in failures {
                    errors.add(&name, &expression, cause.into(), row, weight);
                }
            }
            let batches = deltas.into_iter().map(|delta| delta.into_edge(&schema));
            let batches = batches.collect::<crate::Result<Vec<RecordBatch>>>()?;
            timer.done();
            metrics.record_output(batches.iter().map(RecordBatch::num_rows).sum());
            Ok::<_, datafusion::error::DataFusionError>(futures::stream::iter(batches.into_iter().map(Ok)))
        };
        let stream = futures::stream::once(step).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(output_schema, stream)))
    }
}

/// All deltas of one input, in the order they come.
async fn gather(partitions: Vec<SendableRecordBatchStream>) -> Result<Vec<Delta>> {
    let mut deltas = Vec::new();
    for mut stream in partitions {
        while let Some(batch) = stream.next().await {
            let delta = Delta::from_edge(batch?)?;
            if !delta.is_empty() {
                deltas.push(delta);
            }
        }
    }
    Ok(deltas)
}
