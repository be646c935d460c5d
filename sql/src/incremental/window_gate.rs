//! The rewrite of EMIT ON WINDOW CLOSE where a source accepts rows for windows that have closed.
//!
//! ```text
//! Aggregate(keys, calls)          WindowGate(window_end)
//!   input                  ==>      IncrementalAggregate(keys, calls)
//!                                     input
//! ```
//! What would emit on close emits on update, and a gate above it holds each row back until the closing watermark has passed its
//! window. So state goes as it does in a view that emits on update, and a correction is a change like any other.

use std::sync::Arc;

use datafusion::logical_expr::{Extension, LogicalPlan};
use engine::dataflow::window_gate::WindowGateNode;

use super::rewrite::{Node, Rewriter};
use crate::error::{SqlError, SqlState};

impl Rewriter {
    /// The node, with a gate above it by its bounded `column` where this view has gates.
    ///
    /// # Errors
    /// XX000 where nothing says when rows close, which the plan without gates has refused.
    pub(super) fn gated(&mut self, node: Node, column: Option<usize>) -> Result<Node, SqlError> {
        if !self.gates {
            return Ok(node);
        }
        let Some((column, bound)) = column.and_then(|column| Some((column, node.bounds[column].clone()?))) else {
            return Err(SqlError::new(SqlState::INTERNAL_ERROR, "a window that closes has no bound"));
        };
        // Rows appear late: only of the closing column's values will no smaller one come.
        let mut bounds = vec![None; node.bounds.len()];
        bounds[column] = Some(bound.clone());
        let (id, schema) = (self.next_operator(), node.plan.schema().clone());
        let gate = WindowGateNode { id, input: Arc::new(node.plan), column, bound, schema };
        let plan = LogicalPlan::Extension(Extension { node: Arc::new(gate) });
        Ok(Node { plan, weighted: true, bounds, closes: node.closes })
    }
}
