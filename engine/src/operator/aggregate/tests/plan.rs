//! From SQL text to an operator: DataFusion plans the query, the test takes the aggregate out of the plan.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::oracle::{block_on, table};
use crate::delta::Delta;
use crate::operator::aggregate::{AggregateCall, AggregateSpec, Emit};

/// An aggregate over a projection of table `t`.
pub struct Planned {
    pub spec: AggregateSpec,
    projection: Vec<Arc<dyn PhysicalExpr>>,
}

impl Planned {
    /// The aggregate of `SELECT keys, calls FROM t GROUP BY keys`. Calls are planned one by one, since DataFusion refuses
    /// calls with different orders in one plan.
    pub fn new(keys: &str, calls: &[&str], schema: &SchemaRef, weighted: bool) -> Self {
        let plans: Vec<_> = calls.iter().map(|call| plan(&select(keys, &[call]), schema)).collect();
        let aggregates: Vec<_> = plans.iter().map(|p| lowest_aggregate(p).expect("an aggregate")).collect();
        let mut projection = Projection { schema: Arc::clone(schema), exprs: Vec::new(), fields: Vec::new() };
        let keys = aggregates[0].group_expr().expr();
        keys.iter().for_each(|(expr, name)| drop(projection.add(expr, name)));
        let lowered: Vec<_> = aggregates.iter().map(|aggregate| projection.lower(aggregate)).collect();
        let input: SchemaRef = Arc::new(Schema::new(projection.fields));
        let calls = lowered.into_iter().map(|call| AggregateCall::from_expr(rebuild(&call, &input), call.filter));
        let spec = AggregateSpec {
            leaves_out_failures: None,
            calls: calls.collect(),
            input,
            keys: keys.len(),
            input_weighted: weighted,
            monotone_key: None,
            emit: Emit::OnUpdate,
            hop: None,
        };
        Self { spec, projection: projection.exprs }
    }

    /// The aggregate's input for rows of `t`.
    pub fn project(&self, delta: &Delta) -> Delta {
        let columns = self.projection.iter().map(|expr| {
            let value = expr.evaluate(&delta.rows).expect("a projection");
            value.into_array(delta.rows.num_rows()).expect("a column")
        });
        let columns: Vec<_> = columns.collect();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(delta.rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.spec.input), columns, &options);
        Delta { rows: rows.expect("a projection"), weights: delta.weights.clone() }
    }
}

/// The query in words.
pub fn select(keys: &str, calls: &[&str]) -> String {
    let calls = calls.join(", ");
    if keys.is_empty() {
        format!("SELECT {calls} FROM t")
    } else {
        format!("SELECT {keys}, {calls} FROM t GROUP BY {keys}")
    }
}

fn lowest_aggregate(plan: &Arc<dyn ExecutionPlan>) -> Option<&AggregateExec> {
    let below = plan.children().into_iter().find_map(lowest_aggregate);
    below.or_else(|| plan.downcast_ref::<AggregateExec>())
}

fn plan(sql: &str, schema: &SchemaRef) -> Arc<dyn ExecutionPlan> {
    let state = SessionStateBuilder::new()
        .with_config(SessionConfig::new().with_target_partitions(1))
        .with_default_features()
        .with_optimizer_rules(Vec::new())
        .with_physical_optimizer_rules(Vec::new())
        .build();
    let context = SessionContext::new_with_state(state);
    context.register_table("t", table(RecordBatch::new_empty(Arc::clone(schema)))).expect("a fresh name");
    let plan = block_on(async { context.sql(sql).await?.create_physical_plan().await });
    plan.unwrap_or_else(|e| panic!("{sql}: {e}"))
}

/// The columns below the aggregate.
struct Projection {
    schema: SchemaRef,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    fields: Vec<Field>,
}

/// A call over those columns.
struct Lowered {
    expr: Arc<AggregateFunctionExpr>,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    order_by: Vec<PhysicalSortExpr>,
    filter: Option<usize>,
}

impl Projection {
    fn add(&mut self, expr: &Arc<dyn PhysicalExpr>, name: &str) -> Arc<Column> {
        if let Some(index) = self.exprs.iter().position(|known| known == expr) {
            return Arc::new(Column::new(self.fields[index].name(), index));
        }
        let data_type = expr.data_type(&self.schema).expect("typed");
        self.fields.push(Field::new(name, data_type, expr.nullable(&self.schema).expect("typed")));
        self.exprs.push(Arc::clone(expr));
        Arc::new(Column::new(name, self.exprs.len() - 1))
    }

    fn lower(&mut self, aggregate: &AggregateExec) -> Lowered {
        let (expr, filter) = (Arc::clone(&aggregate.aggr_expr()[0]), aggregate.filter_expr()[0].clone());
        let mut argument = |argument: &Arc<dyn PhysicalExpr>| match argument.downcast_ref::<Literal>() {
            Some(_) => Arc::clone(argument),
            None => self.add(argument, &format!("{}.{argument}", expr.name())) as Arc<dyn PhysicalExpr>,
        };
        let arguments = expr.expressions().iter().map(&mut argument).collect();
        let sort = |sort: &PhysicalSortExpr| PhysicalSortExpr { expr: argument(&sort.expr), options: sort.options };
        let order_by = expr.order_bys().iter().map(sort).collect();
        let filter = filter.map(|filter| self.add(&filter, &format!("{}.filter", expr.name())).index());
        Lowered { expr, arguments, order_by, filter }
    }
}

fn rebuild(call: &Lowered, input: &SchemaRef) -> Arc<AggregateFunctionExpr> {
    let rebuilt = AggregateExprBuilder::new(Arc::new(call.expr.fun().clone()), call.arguments.clone())
        .schema(Arc::clone(input))
        .alias(call.expr.name())
        .order_by(call.order_by.clone())
        .with_distinct(call.expr.is_distinct())
        .with_ignore_nulls(call.expr.ignore_nulls())
        .build();
    Arc::new(rebuilt.expect("an aggregate over columns"))
}
