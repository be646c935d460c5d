//! A DataFusion plan over one batch, run to its end by the caller's own thread.
//!
//! The plan reads one leaf, whose rows are set before each run. It has one partition, spawns nothing and waits for nothing,
//! so polling it is computing it; an operator that owns one stays a synchronous function of its input.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::execution::TaskContext;
use datafusion::execution::config::SessionConfig;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::ensure_requirements::EnsureRequirements;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, reset_plan_states};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream,
};
use futures::TryStreamExt;
use parking_lot::Mutex;

use crate::error::{Error, Result};

/// A plan over a batch.
#[derive(Debug)]
pub struct BatchPlan {
    plan: Arc<dyn ExecutionPlan>,
    rows: Arc<Mutex<Option<RecordBatch>>>,
    context: Arc<TaskContext>,
}

impl BatchPlan {
    /// The plan `template` with its one [`EmptyExec`] leaf replaced by the rows of each run, and sorted where it needs to be.
    ///
    /// # Errors
    /// `Internal` if there is no such leaf; DataFusion's planning errors.
    pub fn try_new(template: Arc<dyn ExecutionPlan>) -> Result<Self> {
        let rows = Arc::new(Mutex::new(None));
        let leaf = |node: Arc<dyn ExecutionPlan>| {
            Ok(match node.downcast_ref::<EmptyExec>() {
                Some(empty) => {
                    let leaf = RowsExec::new(empty.schema(), Arc::clone(&rows));
                    Transformed::yes(Arc::new(leaf) as Arc<dyn ExecutionPlan>)
                }
                None => Transformed::no(node),
            })
        };
        let plan = template.transform_up(leaf)?;
        if !plan.transformed {
            return Err(Error::internal("a plan over a batch has no leaf for it"));
        }
        // A batch is never cut: the whole of a run is in memory as it is.
        let config = SessionConfig::new().with_target_partitions(1).with_batch_size(1 << 30);
        let plan = EnsureRequirements::new().optimize(plan.data, config.options())?;
        Ok(Self { plan, rows, context: Arc::new(TaskContext::default().with_session_config(config)) })
    }

    /// The plan's answer over `rows`.
    ///
    /// # Errors
    /// What an expression of the plan says of a row.
    pub fn run(&self, rows: RecordBatch) -> Result<Vec<RecordBatch>> {
        *self.rows.lock() = Some(rows);
        let plan = reset_plan_states(Arc::clone(&self.plan))?;
        let stream = plan.execute(0, Arc::clone(&self.context))?;
        // Up to the first error: a stream may repeat it for ever.
        let answer = finish(stream.try_collect::<Vec<_>>());
        *self.rows.lock() = None;
        let answer = answer.ok_or_else(|| Error::internal("a plan over a batch waits for something"))?;
        Ok(answer?)
    }
}

/// Polls of a future that ought to need one.
const POLLS_MAX: usize = 100_000;

/// Polls a future that waits for nothing but itself; `None` if it waits after all.
fn finish<F: Future>(future: F) -> Option<F::Output> {
    // Inside a task of a parallel tick the runtime rations polls; this computation is to go on regardless.
    let mut future = pin!(tokio::task::coop::unconstrained(future));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..POLLS_MAX {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        std::thread::yield_now();
    }
    None
}

/// The leaf of a plan over a batch.
#[derive(Debug)]
struct RowsExec {
    rows: Arc<Mutex<Option<RecordBatch>>>,
    properties: Arc<PlanProperties>,
}

impl RowsExec {
    fn new(schema: SchemaRef, rows: Arc<Mutex<Option<RecordBatch>>>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { rows, properties: Arc::new(properties) }
    }
}

impl DisplayAs for RowsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PartitionRows")
    }
}

impl ExecutionPlan for RowsExec {
    fn name(&self) -> &str {
        "PartitionRows"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> datafusion::common::Result<TreeNodeRecursion>,
    ) -> datafusion::common::Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> datafusion::common::Result<SendableRecordBatchStream> {
        let rows = self.rows.lock().take().ok_or_else(|| Error::internal("a plan over a batch runs without one"))?;
        // The plan may name columns otherwise than the caller.
        let rows = RecordBatch::try_new(self.schema(), rows.columns().to_vec())?;
        let stream = futures::stream::iter([Ok(rows)]);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }
}
