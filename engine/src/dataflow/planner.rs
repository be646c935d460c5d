//! From a dataflow's logical plan to the physical plan each tick executes.

use std::sync::{Arc, OnceLock};

use arrow::array::{RecordBatch, UInt16Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::config::SessionConfig;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::ensure_requirements::EnsureRequirements;
use datafusion::physical_optimizer::projection_pushdown::ProjectionPushdown;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::Time;
use datafusion::physical_plan::repartition::BatchPartitioner;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use super::aggregate::AggregateMaker;
use super::bound::PhysicalBound;
use super::exec::OperatorExec;
use super::join::{JoinMaker, JoinNode};
use super::node::AggregateNode;
use crate::error::{Error, Result};
use crate::state::key_group::KEY_GROUPS;

/// Plans a dataflow for `parallelism` partitions.
///
/// # Errors
/// `Unsupported` for what DataFusion or an operator cannot plan, with the node's name.
pub fn plan(logical: &LogicalPlan, parallelism: usize) -> Result<Arc<dyn ExecutionPlan>> {
    let mut config = SessionConfig::new().with_target_partitions(parallelism);
    config.options_mut().optimizer.enable_round_robin_repartition = false;
    config.options_mut().optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    let mut rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> = vec![];
    if parallelism > 1 {
        rules.push(Arc::new(EnsureRequirements::new()));
    }
    rules.push(Arc::new(ProjectionPushdown::new()));
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_physical_optimizer_rules(rules)
        .with_query_planner(Arc::new(IncrementalPlanner))
        .build();
    // Planning never waits for anything: our leaves are in memory.
    Ok(futures::executor::block_on(state.query_planner().create_physical_plan(logical, &state))?)
}

/// DataFusion's planner, taught our nodes.
#[derive(Debug)]
struct IncrementalPlanner;

#[async_trait]
impl QueryPlanner for IncrementalPlanner {
    async fn create_physical_plan(
        &self,
        logical: &LogicalPlan,
        state: &dyn Session,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(Self)]);
        planner.create_physical_plan(logical, state).await
    }
}

#[async_trait]
impl ExtensionPlanner for IncrementalPlanner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> datafusion::common::Result<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(join) = node.as_any().downcast_ref::<JoinNode>() {
            return Ok(Some(plan_join(join, physical_inputs, session)?));
        }
        if let Some(exec) = super::checked::plan(node, physical_inputs, session, context)? {
            return Ok(Some(exec));
        }
        if let Some(exec) = super::partitioned::plan(node, physical_inputs, session).await? {
            return Ok(Some(exec));
        }
        let Some(node) = node.as_any().downcast_ref::<AggregateNode>() else { return Ok(None) };
        let maker = AggregateMaker::try_new(node, &physical_inputs[0].schema())?;
        let keys = maker.partition_columns();
        let bound = node.monotone_key.as_ref().map(|(_, bound)| PhysicalBound::try_new(bound)).transpose()?;
        let schema: SchemaRef = Arc::new(node.schema.as_arrow().clone());
        // An input of one partition is not dealt out anew, so there is nothing for further partitions to read.
        let single = physical_inputs.iter().all(|input| input.properties().partitioning.partition_count() == 1);
        let partitions = if single { 1 } else { session.config().target_partitions() };
        let exec = OperatorExec::new(
            node.id,
            Arc::new(maker),
            physical_inputs.to_vec(),
            vec![keys],
            bound,
            schema,
            partitions,
        );
        Ok(Some(Arc::new(exec)))
    }
}

fn plan_join(
    node: &JoinNode,
    inputs: &[Arc<dyn ExecutionPlan>],
    session: &dyn Session,
) -> Result<Arc<dyn ExecutionPlan>> {
    let [left, right] = inputs else { return Err(Error::internal("a join has two inputs")) };
    let maker = JoinMaker::try_new(node, [left.schema(), right.schema()])?;
    let keys = maker.partition_columns();
    let bound = |side: usize| node.past[side].as_ref().map(PhysicalBound::try_new).transpose();
    let past = [bound(0)?, bound(1)?];
    let schema: SchemaRef = Arc::new(node.schema.as_arrow().clone());
    // An input of one partition is not dealt out anew; then the other cannot be either.
    let single = inputs.iter().any(|input| input.properties().partitioning.partition_count() == 1);
    let partitions = if single { 1 } else { session.config().target_partitions() };
    let exec = OperatorExec::new(node.id, Arc::new(maker), inputs.to_vec(), keys, None, schema, partitions);
    Ok(Arc::new(exec.with_past(past)))
}

/// The partition that a hash exchange over the key group sends each key group to.
pub fn key_group_partitions(partitions: usize) -> Vec<usize> {
    static CACHE: OnceLock<parking_lot::Mutex<std::collections::HashMap<usize, Vec<usize>>>> = OnceLock::new();
    let cache = CACHE.get_or_init(Default::default);
    cache.lock().entry(partitions).or_insert_with(|| deal_key_groups(partitions)).clone()
}

fn deal_key_groups(partitions: usize) -> Vec<usize> {
    let schema = Arc::new(Schema::new(vec![Field::new("key_group", DataType::UInt16, false)]));
    let groups = Arc::new(UInt16Array::from_iter_values(0..KEY_GROUPS));
    let batch = RecordBatch::try_new(schema, vec![groups]).expect("one column of its field's type");
    let column = Arc::new(Column::new("key_group", 0));
    let mut partitioner = BatchPartitioner::new_hash_partitioner(vec![column], partitions.max(1), Time::default())
        .expect("at least one partition");
    let mut dealt = vec![0; usize::from(KEY_GROUPS)];
    let place = |partition: usize, batch: RecordBatch| {
        let groups = batch.column(0).as_any().downcast_ref::<UInt16Array>().expect("the column made above");
        groups.values().iter().for_each(|group| dealt[usize::from(*group)] = partition);
        Ok(())
    };
    partitioner.partition(batch, place).expect("UInt16 can be hashed");
    dealt
}
