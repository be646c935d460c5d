//! Planning of the nodes that keep rows by key: windows, Top-N, set operations, sessions, count windows, last rows, rows while
//! their time lasts; and of rows that are there from the start.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::config::SessionConfig;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};

use super::asof_join::{AsofJoinMaker, AsofJoinNode};
use super::bound::{Bound, PhysicalBound};
use super::constant::{ConstantMaker, ConstantNode};
use super::count_window::{CountWindowMaker, CountWindowNode};
use super::exec::{MakeOperator, OperatorExec};
use super::runtime::OperatorId;
use super::session::{SessionMaker, SessionNode};
use super::set_operation::{SetOperationMaker, SetOperationNode};
use super::temporal_filter::{TemporalFilterMaker, TemporalFilterNode};
use super::top_n::{TopNMaker, TopNNode};
use super::upsert::{UpsertMaker, UpsertNode};
use super::window::{WindowMaker, WindowNode};
use super::window_gate::{WindowGateMaker, WindowGateNode};

/// A node's id, what makes its operators, the columns by which each input is dealt out, what bounds it.
type Found<'a> = (OperatorId, Arc<dyn MakeOperator>, Vec<Vec<usize>>, Option<&'a Bound>);

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
    let is_asof = any.is::<AsofJoinNode>();
    let mut past = [None, None];
    let found: Found<'_> = if let Some(node) = any.downcast_ref::<TopNNode>() {
        let maker = TopNMaker::new(node)?;
        (node.id, Arc::new(maker), vec![node.keys.clone()], node.monotone_key.as_ref().map(|(_, bound)| bound))
    } else if let Some(node) = any.downcast_ref::<WindowNode>() {
        let template = template(&node.template).await?;
        let maker = WindowMaker::try_new(node, template)?;
        (node.id, Arc::new(maker), vec![node.keys.clone()], node.monotone_key.as_ref().map(|(_, bound)| bound))
    } else if let Some(node) = any.downcast_ref::<SetOperationNode>() {
        let maker = SetOperationMaker::new(node);
        let keys: Vec<usize> = (0..node.columns()).collect();
        (node.id, Arc::new(maker), vec![keys.clone(), keys], node.monotone_column.as_ref().map(|(_, bound)| bound))
    } else if let Some(node) = any.downcast_ref::<SessionNode>() {
        (node.id, Arc::new(SessionMaker::new(node)?), vec![node.keys.clone()], node.bound.as_ref())
    } else if let Some(node) = any.downcast_ref::<CountWindowNode>() {
        (node.id, Arc::new(CountWindowMaker::new(node)?), vec![node.keys.clone()], Some(&node.bound))
    } else if let Some(node) = any.downcast_ref::<UpsertNode>() {
        let maker = UpsertMaker::new(node, inputs[0].schema());
        (node.id, Arc::new(maker), vec![node.keys.clone()], None)
    } else if let Some(node) = any.downcast_ref::<TemporalFilterNode>() {
        let maker = TemporalFilterMaker::new(node, &inputs[0].schema())?;
        let columns = maker.partition_columns();
        (node.id, Arc::new(maker), vec![columns], None)
    } else if let Some(node) = any.downcast_ref::<WindowGateNode>() {
        let maker = WindowGateMaker::new(node, &inputs[0].schema());
        (node.id, Arc::new(maker), vec![vec![node.column]], Some(&node.bound))
    } else if let Some(node) = any.downcast_ref::<AsofJoinNode>() {
        let maker = AsofJoinMaker::new(node, [inputs[0].schema(), inputs[1].schema()])?;
        for (past, bound) in past.iter_mut().zip(&node.past) {
            *past = bound.as_ref().map(PhysicalBound::try_new).transpose()?;
        }
        let keys: Vec<usize> = (0..node.key_count).collect();
        (node.id, Arc::new(maker), vec![keys.clone(), keys], None)
    } else if let Some(node) = any.downcast_ref::<ConstantNode>() {
        let rows = collect(template(&node.rows).await?, Arc::default()).await?;
        (node.id, Arc::new(ConstantMaker::new(Arc::new(node.schema.as_arrow().clone()), rows)), vec![], None)
    } else {
        return Ok(None);
    };
    let (id, maker, keys, bound) = found;
    let bound = bound.map(PhysicalBound::try_new).transpose()?;
    // An input of one partition is not dealt out anew, so there is nothing for further partitions to read.
    let count = |input: &Arc<dyn ExecutionPlan>| input.properties().partitioning.partition_count();
    let single = match is_asof {
        // Nor can the other side be, then.
        true => inputs.iter().any(|input| count(input) == 1),
        false => inputs.iter().all(|input| count(input) == 1),
    };
    let partitions = if single { 1 } else { session.config().target_partitions() };
    let schema = Arc::new(node.schema().as_arrow().clone());
    let exec = OperatorExec::new(id, maker, inputs.to_vec(), keys, bound, schema, partitions);
    Ok(Some(Arc::new(exec.with_past(past))))
}

/// The plan that an operator runs over a batch: one partition, nothing optimised away.
async fn template(plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
    let config = SessionConfig::new().with_target_partitions(1);
    let state = SessionStateBuilder::new().with_config(config).with_physical_optimizer_rules(vec![]).build();
    DefaultPhysicalPlanner::default().create_physical_plan(plan, &state).await
}
