//! The rewrite of ASOF joins.
//!
//! ```text
//! AsofJoin(on, times)          IncrementalAsofJoin(k keys)
//!   left                ==>      Projection(keys, time, left's columns [, weight])
//!   right                          left
//!                                Projection(keys, time, right's columns [, weight])
//!                                  right
//! ```

use std::sync::Arc;

use datafusion::logical_expr::{Expr, ExprSchemable, Extension, LogicalPlan};
use engine::dataflow::asof_join::AsofJoinNode;

use super::join::{columns_of, input, same_type};
use super::monotone::{bound_of, is_time};
use super::refusal;
use super::rewrite::{Node, Rewriter, with_weight};
use crate::asof::AsofJoin;
use crate::error::SqlError;
use crate::statement::Emit;

impl Rewriter {
    pub(super) fn asof_join(&mut self, join: &AsofJoin, plan: &LogicalPlan) -> Result<Node, SqlError> {
        if self.emit == Emit::OnWindowClose && self.aggregates_above == 0 {
            return Err(refusal::named("EMIT ON WINDOW CLOSE with an ASOF join", plan).hint(
                "a later right row takes pairs back; a GROUP BY over a window of the left time makes them final",
            ));
        }
        let (left, right) = (self.rewrite(&join.left)?, self.rewrite(&join.right)?);
        let (left_schema, right_schema) = (columns_of(&left)?, columns_of(&right)?);
        let keys = join.on.iter().map(|(l, r)| same_type(l, &left_schema, r, &right_schema));
        let (left_keys, right_keys): (Vec<_>, Vec<_>) = keys.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        let (left_time, right_time) = join.times.clone();
        let timed = is_time(&left_time.get_type(&left_schema)?);
        let bound = |time: &Expr, schema, bounds: &[_]| bound_of(time, schema, bounds).filter(|_| timed);
        let left_bound = bound(&left_time, &left_schema, &left.bounds);
        let right_bound = bound(&right_time, &right_schema, &right.bounds);
        // Looking back, a change on either side reaches left rows from its own time on.
        let reached = left_bound.clone().zip(right_bound.clone()).filter(|_| join.closest.looks_back());
        let time = match left_time.clone().unalias() {
            Expr::Column(column) => left_schema.maybe_index_of_column(&column),
            _ => None,
        };
        let mut bounds = vec![None; left.bounds.len() + right.bounds.len()];
        if let (Some(time), Some((left, right))) = (time, reached) {
            bounds[time] = Some(left.least(right));
        }
        let closes = left.closes || right.closes;
        let node = AsofJoinNode {
            left: Arc::new(input(left, left_keys, Some(left_time))?),
            right: Arc::new(input(right, right_keys, Some(right_time))?),
            key_count: join.on.len(),
            closest: join.closest,
            outer: join.outer,
            condition: join.condition(),
            past: [right_bound, left_bound],
            schema: with_weight(plan.schema())?,
            id: self.next_operator(),
        };
        let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        Ok(Node { plan, weighted: true, bounds, closes })
    }
}
