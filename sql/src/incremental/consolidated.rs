//! Which plans make a set and change each row of it at most once a tick.

use datafusion::logical_expr::{Expr, LogicalPlan, Projection};
use engine::dataflow::node::AggregateNode;
use engine::dataflow::temporal_filter::TemporalFilterNode;
use engine::dataflow::upsert::UpsertNode;
use engine::dataflow::window_gate::WindowGateNode;
use engine::delta::is_weighted;

/// True if the plan's answer is a set and what it emits in one tick consolidated: a group aggregate's change, which has
/// each group's old answer and its new one where they differ, or the rows of a source with a primary key, under nodes that keep
/// rows apart.
pub fn is_consolidated(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => is_consolidated(&alias.input),
        LogicalPlan::Filter(filter) => is_consolidated(&filter.input),
        LogicalPlan::Projection(projection) => keeps_every_column(projection) && is_consolidated(&projection.input),
        LogicalPlan::Extension(extension) => {
            let node = extension.node.as_any();
            node.downcast_ref::<AggregateNode>().is_some()
                || node.downcast_ref::<UpsertNode>().is_some_and(UpsertNode::is_set)
                // Of a set it lets some rows be seen, and names each that comes or goes once.
                || node.downcast_ref::<TemporalFilterNode>().is_some_and(|filter| is_consolidated(&filter.input))
                || node.downcast_ref::<WindowGateNode>().is_some_and(|gate| is_consolidated(&gate.input))
        }
        _ => false,
    }
}

/// True if each of the input's columns but the weight is one of the output's: then rows that differ stay different.
fn keeps_every_column(projection: &Projection) -> bool {
    let input = projection.input.schema();
    let count = input.fields().len() - usize::from(is_weighted(input.as_arrow()));
    let kept: std::collections::BTreeSet<usize> =
        projection.expr.iter().filter_map(|expr| column(expr, input)).collect();
    (0..count).all(|index| kept.contains(&index))
}

fn column(expr: &Expr, input: &datafusion::common::DFSchema) -> Option<usize> {
    match expr {
        Expr::Alias(alias) => column(&alias.expr, input),
        Expr::Column(column) => input.maybe_index_of_column(column),
        _ => None,
    }
}
