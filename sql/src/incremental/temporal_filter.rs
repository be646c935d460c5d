//! The rewrite of conditions on the tick's time.
//!
//! ```text
//! TemporalMark(time, limit)          IncrementalTemporalFilter(time, limit)
//!   input                     ==>      [Projection(input, times that are no columns)]
//!                                        input
//! ```

use std::sync::Arc;

use datafusion::logical_expr::{Expr, Extension, LogicalPlan};
use engine::dataflow::temporal_filter::{TemporalFilterNode, TimeCondition};

use super::clock::TemporalMark;
use super::over::{with_columns, without_columns, without_weight};
use super::refusal;
use super::rewrite::{Node, Rewriter, with_weight};
use crate::error::SqlError;
use crate::statement::Emit;

impl Rewriter {
    pub(super) fn temporal_filter(&mut self, mark: &TemporalMark, plan: &LogicalPlan) -> Result<Node, SqlError> {
        if self.emit == Emit::OnWindowClose {
            return Err(refusal::named("EMIT ON WINDOW CLOSE over a condition on now()", plan)
                .hint("rows that go as time passes are never final: let the view emit on update"));
        }
        let input = self.rewrite(&mark.input)?;
        let width = input.bounds.len();
        let times: Vec<Expr> = mark.conditions.iter().map(|condition| condition.time.clone()).collect();
        let (input, places) = with_columns(input, &times)?;
        let extra = width..input.bounds.len();
        let conditions = mark.conditions.iter().zip(places).map(|(condition, column)| {
            let (comparison, limit) = (condition.comparison, condition.limit.clone());
            TimeCondition { column, comparison, limit }
        });
        let mut texts: Vec<&str> = mark.conditions.iter().map(|condition| condition.text.as_str()).collect();
        texts.dedup();
        let node = TemporalFilterNode {
            id: self.next_operator(),
            conditions: conditions.collect(),
            condition: texts.join(" AND "),
            schema: with_weight(without_weight(&input)?.as_ref())?,
            input: Arc::new(input.plan),
        };
        // Rows go, and come, long after the watermark has passed them.
        let bounds = vec![None; input.bounds.len()];
        let made = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        without_columns(Node { plan: made, weighted: true, bounds, closes: input.closes }, extra)
    }
}
