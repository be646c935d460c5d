//! Planning of the nodes that keep rows by key: windows, Top-N, set operations, last rows.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::config::SessionConfig;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};

use super::bound::{Bound, PhysicalBound};
use super::exec::{MakeOperator, OperatorExec};
use super::runtime::OperatorId;
use super::set_operation::{SetOperationMaker, SetOperationNode};
use super::top_n::{TopNMaker, TopNNode};
use super::upsert::{UpsertMaker, UpsertNode};
use super::window::{WindowMaker, WindowNode};

/// The plan of `node` over `inputs`, if it is one of these.
///
/// # Errors
/// `Unsupported` for what an operator cannot hold; DataFusion's planning errors.
pub async fn plan(
    node: &dyn UserDefinedLogicalNode,
    inputs: &[Arc<dyn ExecutionPlan>],
    session: &dyn Session,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let any = node.as_any();
    let found: (OperatorId, Arc<dyn MakeOperator>, Vec<Vec<usize>>, Option<&(usize, Bound)>) =
        if let Some(node) = any.downcast_ref::<TopNNode>() {
            let maker = TopNMaker::new(node)?;
            (node.id, Arc::new(maker), vec![node.keys.clone()], node.monotone_key.as_ref())
        } else if let Some(node) = any.downcast_ref::<WindowNode>() {
            let template = template(&node.template).await?;
            let maker = WindowMaker::try_new(node, template)?;
            (node.id, Arc::new(maker), vec![node.keys.clone()], node.monotone_key.as_ref())
        } else if let Some(node) = any.downcast_ref::<SetOperationNode>() {
            let maker = SetOperationMaker::new(node);
            let keys: Vec<usize> = (0..node.columns()).collect();
            (node.id, Arc::new(maker), vec![keys.clone(), keys], node.monotone_column.as_ref())
        } else if let Some(node) = any.downcast_ref::<UpsertNode>() {
            let maker = UpsertMaker::new(node, inputs[0].schema());
            (node.id, Arc::new(maker), vec![node.keys.clone()], None)
        } else {
            return Ok(None);
        };
    let (id, maker, keys, bound) = found;
    let bound = bound.map(|(_, bound)| PhysicalBound::try_new(bound)).transpose()?;
    // An input of one partition is not dealt out anew, so there is nothing for further partitions to read.
    let single = inputs.iter().all(|input| input.properties().partitioning.partition_count() == 1);
    let partitions = if single { 1 } else { session.config().target_partitions() };
    let schema = Arc::new(node.schema().as_arrow().clone());
    Ok(Some(Arc::new(OperatorExec::new(id, maker, inputs.to_vec(), keys, bound, schema, partitions))))
}

/// The plan that an operator runs over a batch: one partition, nothing optimised away.
async fn template(plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
    let config = SessionConfig::new().with_target_partitions(1);
    let state = SessionStateBuilder::new().with_config(config).with_physical_optimizer_rules(vec![]).build();
    DefaultPhysicalPlanner::default().create_physical_plan(plan, &state).await
}
