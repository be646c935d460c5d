//! The incremental plan of a view: what `sql` ends by making and the tick begins by running.
//!
//! A [`Dataflow`] is a DataFusion logical plan whose leaves are [`scan::DeltaTable`]s (sources, or other views) and whose stateful nodes are ours
//! ([`node::AggregateNode`], [`join::JoinNode`], [`window::WindowNode`], [`top_n::TopNNode`],
//! [`set_operation::SetOperationNode`], [`session::SessionNode`], [`count_window::CountWindowNode`],
//! [`upsert::UpsertNode`], [`temporal_filter::TemporalFilterNode`], [`window_gate::WindowGateNode`], [`asof_join::AsofJoinNode`],
//! [`constant::ConstantNode`]); its stateless ones are DataFusion's, or [`checked::CheckedNode`]s where they can fail
//! on a row. DataFusion's physical planner turns it, once, into an `ExecutionPlan`
//! ([`planner::plan`]); each tick executes that plan over the tick's deltas ([`execution::Execution::step`]). A stateful
//! plan node never holds state: it finds its operator in the [`runtime::Registry`] by (operator id, partition), so the
//! plan can be encoded and sent elsewhere.
//!
//! ```text
//! DeltaScan(bids) ── Filter ── Projection ── Operator(aggregate #1) ── Projection ──> the view's delta
//!      ^ the tick's batches                       ^ arrangement (#1, partition)
//! ```
//!
//! Edges that can retract end with the column [`crate::delta::WEIGHT_COLUMN`].

pub mod aggregate;
pub mod asof_join;
pub mod bound;
pub mod checked;
pub mod constant;
pub mod count_window;
pub mod exec;
pub mod execution;
mod fingerprint;
pub mod join;
pub mod key_group_expr;
pub mod node;
mod operator_node;
pub mod partitioned;
pub mod planner;
pub mod relation;
pub mod runtime;
pub mod scan;
pub mod session;
pub mod set_operation;
pub mod state;
pub mod temporal_filter;
pub mod top_n;
pub mod upsert;
pub mod window;
pub mod window_gate;

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::LogicalPlan;

use self::bound::Bound;
use self::relation::RelationProperties;
use crate::operator::state_bound::Growth;
use crate::row_error::Diagnose;

/// A view's incremental plan.
#[derive(Debug, Clone)]
pub struct Dataflow {
    /// The view's number in the catalog, which it keeps for good; 0 for one that no checkpoint holds.
    pub id: u32,
    /// The plan; if `append_only` is false its last column is the weight.
    pub plan: LogicalPlan,
    /// The view's columns, without the weight.
    pub schema: SchemaRef,
    /// True if no row of the view is ever retracted.
    pub append_only: bool,
    /// True if the view is a set, and a tick's change of it consolidated: it names each row once, retracts what the view
    /// holds and inserts what it does not.
    pub consolidated: bool,
    /// For each of the view's columns, the lower bound of what later ticks insert or retract there.
    pub bounds: Vec<Option<Bound>>,
    /// True if every row is final when it appears, because windows emit on close.
    pub closes: bool,
    /// True if a source behind it accepts rows for windows that have closed.
    pub accepts_late: bool,
    /// The columns read of each source, by source name: what its decoder must materialise.
    pub inputs: BTreeMap<String, BTreeSet<String>>,
    /// The maintained relations read: other views.
    pub relations: BTreeSet<String>,
    /// All sources whose event time this view's follows: those it reads, and those behind the relations it reads.
    pub sources: BTreeSet<String>,
    /// Set if rows on which an expression fails are left out and kept as errors, which it then names; otherwise such a row
    /// fails the view.
    pub diagnose: Option<Diagnose>,
    /// How the number of its rows grows.
    pub rows: Growth,
    /// How many bytes its state and its rows may take.
    pub state_bytes_max: Option<usize>,
}

impl Dataflow {
    /// What a plan over this view may build on.
    pub fn properties(&self) -> RelationProperties {
        RelationProperties {
            maintained: true,
            append_only: self.append_only,
            bounds: self.bounds.clone(),
            closes: self.closes,
            accepts_late: self.accepts_late,
            sources: self.sources.clone(),
            rows: self.rows,
        }
    }
}
