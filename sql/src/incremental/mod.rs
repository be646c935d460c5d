//! From a view's logical plan to the incremental one.
//!
//! The plan that comes in is DataFusion's own, bound and type-checked; it is also, as it stands, the batch query whose
//! answer the view must equal at every tick. What goes out has the same nodes where they keep no state (scan, filter,
//! projection, union all, unnest) and ours where they do, or where a row may fail. Whatever has no incremental form is refused by name.
//! A leaf is a source or another materialized view, whose change of the tick is this one's input in the same tick.
//!
//! Each rewritten node carries what its parents need to know: whether its edge can retract, and which of its columns
//! are bounded from below by watermarks.

mod aggregate;
mod asof_join;
mod checked;
mod checked_batch;
mod clock;
mod consolidated;
mod derived_keys;
mod hop;
mod join;
mod keyed_window;
mod last_row;
mod monotone;
mod optimize;
mod over;
mod past;
mod refusal;
mod rewrite;
mod set_operation;
mod subquery;
mod temporal_filter;
mod top_n;
mod window_gate;

pub use checked_batch::checked_batch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{LogicalPlan, TableScan};
use engine::dataflow::Dataflow;
use engine::dataflow::scan::DeltaTable;
use engine::delta;
use engine::operator::state_bound::Growth;

use crate::error::SqlError;
use crate::statement::{Emit, OnError};

/// Makes the dataflow of a view.
///
/// `plan` is bound over [`DeltaTable`]s and not yet optimised; `emit` says when rows appear. The view's columns are the
/// plan's output columns, in order. `on_error` says what becomes of a row on which an expression fails.
///
/// # Errors
/// 0A000 with the node's name and the plan fragment for what cannot be maintained; DataFusion's own planning errors.
pub fn incremental(plan: LogicalPlan, emit: Emit, on_error: OnError) -> Result<Dataflow, SqlError> {
    let plan = clock::stand_in(plan)?;
    refusal::refuse_what_is_not_a_function_of_the_input(&plan)?;
    refusal::refuse_reserved_names(&plan)?;
    subquery::refuse_scalar_subqueries_of_many_rows(&plan)?;
    let plan = optimize::optimize(derived_keys::lift(set_operation::mark(plan)?)?)?;
    let mut node = rewrite::Rewriter::new(emit).rewrite(&plan)?;
    if emit == Emit::OnWindowClose && node.closes && node.weighted {
        return Err(refusal::named("EMIT ON WINDOW CLOSE with rows that can be taken back", &plan)
            .hint("a GROUP BY over a window of the event time makes them final; or let the view emit on update"));
    }
    if emit == Emit::OnWindowClose && !node.closes {
        return Err(SqlError::unsupported("EMIT ON WINDOW CLOSE needs a GROUP BY over a window of the event time")
            .hint("group by window_start and window_end of tumble(…) or hop(…), or by date_trunc(…, event time)"));
    }
    if emit == Emit::OnWindowClose && inputs(&node.plan)?.accepts_late {
        // Whether it closes is known now; what has closed is corrected.
        node = rewrite::Rewriter::correcting().rewrite(&plan)?;
    }
    let fields = node.plan.schema().as_arrow().fields();
    let count = fields.len() - usize::from(node.weighted);
    let schema = Schema::new(fields.iter().take(count).cloned().collect::<Vec<_>>());
    let inputs = inputs(&node.plan)?;
    let mut bounds = node.bounds;
    bounds.truncate(count);
    debug_assert_eq!(node.weighted, delta::is_weighted(node.plan.schema().as_arrow()));
    Ok(Dataflow {
        append_only: !node.weighted,
        consolidated: consolidated::is_consolidated(&node.plan),
        schema: Arc::new(schema),
        bounds,
        closes: node.closes && !node.weighted,
        accepts_late: inputs.accepts_late,
        inputs: inputs.sources,
        relations: inputs.relations,
        sources: inputs.followed,
        plan: checked::check(node.plan, on_error)?,
        diagnose: (on_error == OnError::Exclude).then_some(crate::diagnosis::diagnose),
        // Until the plan is looked at: what is not known to grow for ever is not said to.
        rows: Growth::Present,
        state_bytes_max: None,
        id: 0,
    })
}

/// What a plan reads.
#[derive(Debug, Default)]
struct Inputs {
    /// The columns of each source.
    sources: BTreeMap<String, BTreeSet<String>>,
    /// The maintained relations.
    relations: BTreeSet<String>,
    /// The sources whose event time it follows.
    followed: BTreeSet<String>,
    /// Whether one of them accepts rows for windows that have closed.
    accepts_late: bool,
}

fn inputs(plan: &LogicalPlan) -> Result<Inputs, SqlError> {
    let mut inputs = Inputs::default();
    plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(table) = delta_table(scan)
        {
            inputs.followed.extend(table.properties.sources.iter().cloned());
            inputs.accepts_late |= table.properties.accepts_late;
            if table.properties.maintained {
                inputs.relations.insert(table.relation);
            } else {
                let columns = scan.projected_schema.fields().iter().map(|field| field.name().clone());
                inputs.sources.entry(table.relation).or_default().extend(columns);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(inputs)
}

/// The relation a scan reads, if it is one with a delta.
fn delta_table(scan: &TableScan) -> Option<DeltaTable> {
    let provider = source_as_provider(&scan.source).ok()?;
    (provider.as_ref() as &dyn std::any::Any).downcast_ref::<DeltaTable>().cloned()
}
