//! The rewrite of GROUP BY.
//!
//! ```text
//! Aggregate(keys, calls)          IncrementalAggregate(k keys, calls over columns)
//!   input                 ==>       Projection(keys, arguments, filters [, weight])
//!                                     input
//! ```

use std::sync::Arc;

use datafusion::common::DFSchemaRef;
use datafusion::logical_expr::expr::{AggregateFunction, NullTreatment};
use datafusion::logical_expr::{Aggregate, Expr, Extension, LogicalPlan, Projection};
use engine::dataflow::bound::Bound;
use engine::dataflow::node::{AggregateNode, Argument, LogicalCall};
use engine::delta::WEIGHT_COLUMN;

use super::monotone::{bound_of, is_time};
use super::rewrite::{Node, Rewriter, weight, with_weight};
use super::{hop, refusal};
use crate::error::SqlError;
use crate::statement::Emit;

impl Rewriter {
    pub(super) fn aggregate(&mut self, aggregate: &Aggregate, plan: &LogicalPlan) -> Result<Node, SqlError> {
        let operators = self.operators();
        let input = self.below_aggregate(&aggregate.input)?;
        let input_schema = input.plan.schema().clone();
        let bounds: Vec<Option<Bound>> =
            aggregate.group_expr.iter().map(|key| bound_of(key, &input_schema, &input.bounds)).collect();
        let monotone_key = monotone_key(&bounds, &aggregate.schema);
        let close = self.emit == Emit::OnWindowClose;
        if close && monotone_key.is_none() {
            return Err(refusal::named(
                "EMIT ON WINDOW CLOSE over a GROUP BY without a window of the event time",
                plan,
            )
            .hint("group by window_start and window_end of tumble(…) or hop(…), or by date_trunc(…, event time)"));
        }
        // The event time is never NULL, so slices lose no row; over another time a NULL would keep its row, in no window.
        let fused = if input.weighted { None } else { hop::fuse(aggregate, &bounds)? };
        let (input, keys, calls, hop) = match fused {
            None => (input, aggregate.group_expr.clone(), aggregate.aggr_expr.clone(), None),
            Some(fused) => {
                // The nodes below are rewritten again, without the windows: they get the same ids.
                self.forget_operators(operators);
                (self.below_aggregate(&fused.input)?, fused.keys, fused.calls, Some(fused.hop))
            }
        };
        let input_schema = input.plan.schema().clone();
        let mut columns = Columns::default();
        for key in &keys {
            columns.add_key(key);
        }
        let names = aggregate.schema.fields().iter().skip(aggregate.group_expr.len());
        let calls = calls.iter().zip(names);
        let calls = calls.map(|(expr, field)| columns.call(expr, field.name(), plan)).collect::<Result<Vec<_>, _>>()?;
        if input.weighted {
            columns.exprs.push(weight(&input_schema).alias(WEIGHT_COLUMN));
        }
        let projection = LogicalPlan::Projection(Projection::try_new(columns.exprs, Arc::new(input.plan))?);
        let schema = if close { aggregate.schema.clone() } else { with_weight(&aggregate.schema)? };
        let mut all_bounds = bounds;
        if close {
            // Rows appear late, when their group is final: only of the closing key's values will no smaller one come.
            let closing = monotone_key.as_ref().map(|(key, _)| *key);
            all_bounds
                .iter_mut()
                .enumerate()
                .filter(|(key, _)| Some(*key) != closing)
                .for_each(|(_, bound)| *bound = None);
        }
        all_bounds.resize(aggregate.schema.fields().len(), None);
        let closing = monotone_key.as_ref().map(|(key, _)| *key);
        let node = AggregateNode {
            id: self.next_operator(),
            input: Arc::new(projection),
            key_count: keys.len(),
            output_key_count: aggregate.group_expr.len(),
            calls,
            input_weighted: input.weighted,
            monotone_key,
            emit_on_close: close,
            hop,
            leaves_out_failures: false,
            schema,
        };
        let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        self.gated(Node { plan, weighted: !close, bounds: all_bounds, closes: close }, closing)
    }

    fn below_aggregate(&mut self, input: &LogicalPlan) -> Result<Node, SqlError> {
        self.aggregates_above += 1;
        let node = self.rewrite(input);
        self.aggregates_above -= 1;
        node
    }
}

/// The key by whose values groups become final: `window_end` where there is one, else the first that is bounded.
fn monotone_key(bounds: &[Option<Bound>], schema: &DFSchemaRef) -> Option<(usize, Bound)> {
    let bounded = |index: &usize| bounds[*index].is_some() && is_time(schema.field(*index).data_type());
    let candidates: Vec<usize> = (0..bounds.len()).filter(bounded).collect();
    let end = candidates.iter().find(|index| schema.field(**index).name() == "window_end");
    let index = *end.or(candidates.first())?;
    Some((index, bounds[index].clone()?))
}

/// The projection below an aggregate, under construction. Equal expressions share a column, but for the keys, which
/// come first and in order.
#[derive(Debug, Default)]
struct Columns {
    exprs: Vec<Expr>,
    arguments: Vec<(Expr, usize)>,
}

impl Columns {
    fn add_key(&mut self, key: &Expr) {
        let name = format!("key_{}", self.exprs.len());
        self.exprs.push(key.clone().unalias().alias(name));
    }

    fn add(&mut self, expr: &Expr) -> usize {
        let expr = expr.clone().unalias();
        if let Some((_, index)) = self.arguments.iter().find(|(known, _)| *known == expr) {
            return *index;
        }
        let index = self.exprs.len();
        self.exprs.push(expr.clone().alias(format!("argument_{index}")));
        self.arguments.push((expr, index));
        index
    }

    fn call(&mut self, expr: &Expr, name: &str, plan: &LogicalPlan) -> Result<LogicalCall, SqlError> {
        let Expr::AggregateFunction(AggregateFunction { func, params }) = expr.clone().unalias() else {
            return Err(refusal::named(&format!("the aggregate expression {expr}"), plan));
        };
        let argument = |expr: &Expr| Argument {
            column: self.add(expr),
            literal: if let Expr::Literal(value, _) = expr.clone().unalias() { Some(value) } else { None },
        };
        let arguments = params.args.iter().map(argument).collect();
        let filter = params.filter.as_deref().map(|filter| self.add(filter));
        let order_by = params.order_by.iter().map(|sort| (self.add(&sort.expr), sort.asc, sort.nulls_first)).collect();
        Ok(LogicalCall {
            function: func,
            arguments,
            distinct: params.distinct,
            filter,
            order_by,
            ignore_nulls: params.null_treatment == Some(NullTreatment::IgnoreNulls),
            name: name.to_owned(),
        })
    }
}
