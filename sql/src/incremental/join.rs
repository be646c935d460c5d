//! The rewrite of joins, and of what the optimiser has turned into joins: subqueries, INTERSECT, EXCEPT.
//!
//! ```text
//! Join(kind, on, filter)           IncrementalJoin(kind, k keys [, residual])
//!   left                    ==>      Projection(keys [, time], left's columns [, weight])
//!   right                              left
//!                                    Projection(keys [, time], right's columns [, weight])
//!                                      right
//! ```

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, NullEquality, ScalarValue};
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Expr, ExprSchemable, Extension, Join, LogicalPlan, Projection, lit};
use engine::dataflow::bound::Bound;
use engine::dataflow::join::{JoinNode, pair_column};

use super::past::Matching;
use super::refusal;
use super::rewrite::{Node, Rewriter, weight, with_weight};
use crate::error::SqlError;
use crate::guard::text;
use crate::statement::Emit;

impl Rewriter {
    pub(super) fn join(&mut self, join: &Join, plan: &LogicalPlan) -> Result<Node, SqlError> {
        let (left, right) = (self.rewrite(&join.left)?, self.rewrite(&join.right)?);
        let weighted = [left.weighted, right.weighted];
        let retracts = JoinNode::retracts(join.join_type, weighted);
        if self.emit == Emit::OnWindowClose && retracts && self.aggregates_above == 0 {
            return Err(refusal::named("EMIT ON WINDOW CLOSE with a join that can take rows back", plan)
                .hint("inner joins, IN and EXISTS only add rows; the others can emit on update"));
        }
        if join.null_aware && (join.on.len() != 1 || join.filter.is_some()) {
            return Err(refusal::named("this NOT IN", plan));
        }
        let (left_schema, right_schema) = (columns_of(&left)?, columns_of(&right)?);
        let keys = join.on.iter().map(|(l, r)| same_type(l, &left_schema, r, &right_schema));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let conditions = join.filter.iter().flat_map(split_conjunction).filter(|expr| **expr != lit(true));
        let filter = conjunction(conditions.cloned());
        let leaves_out_failures = filter.as_ref().map(|filter| {
            let pairs = left_schema.join(&right_schema);
            pairs.map_or_else(|_| filter.to_string(), |pairs| text(filter, &pairs))
        });
        let residual = filter.as_ref().map(|filter| over_pairs(filter, &left_schema, &right_schema)).transpose()?;
        let sides = [(&left_schema, left.bounds.as_slice()), (&right_schema, right.bounds.as_slice())];
        let matching = Matching::of(&keys, filter.as_ref(), sides);
        let past = match (join.null_aware, &residual, keeps_pairs_only(join)) {
            (true, _, _) => [None, None],
            // Whether a row matches is known by its key: one time for both sides, that of the key.
            (_, None, false) => matching.past_keys(),
            _ => matching.past_rows(),
        };
        // NOT IN: a single NULL on the right takes back rows of any age.
        let bounds = match join.null_aware {
            true => vec![None; join.schema.fields().len()],
            false => output_bounds(join, &matching, sides),
        };
        let closes = left.closes || right.closes;
        let equalities = keys.iter().map(|(l, r)| format!("{} = {}", l.human_display(), r.human_display()));
        let others = filter.iter().map(|filter| filter.human_display().to_string());
        let condition = equalities.chain(others).collect::<Vec<_>>().join(" AND ");
        let (left_keys, right_keys): (Vec<_>, Vec<_>) = keys.into_iter().unzip();
        let [left_past, right_past] = past;
        let (left_time, left_past) = left_past.unzip();
        let (right_time, right_past) = right_past.unzip();
        let inputs = [Arc::new(input(left, left_keys, left_time)?), Arc::new(input(right, right_keys, right_time)?)];
        let node = JoinNode {
            id: self.next_operator(),
            inputs,
            key_count: join.on.len(),
            condition,
            kind: join.join_type,
            nulls_match: join.null_equality == NullEquality::NullEqualsNull,
            null_aware: join.null_aware,
            residual,
            leaves_out_failures,
            weighted,
            past: [left_past, right_past],
            schema: if retracts { with_weight(&join.schema)? } else { join.schema.clone() },
        };
        let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        Ok(Node { plan, weighted: retracts, bounds, closes })
    }
}

/// True if only pairs come out, so that rows can be dropped one by one.
fn keeps_pairs_only(join: &Join) -> bool {
    join.join_type == datafusion::common::JoinType::Inner
}

/// The columns of a node, without the weight.
pub(super) fn columns_of(node: &Node) -> Result<DFSchema, SqlError> {
    let schema = node.plan.schema();
    let count = schema.fields().len() - usize::from(node.weighted);
    let fields = schema.iter().take(count).map(|(qualifier, field)| (qualifier.cloned(), field.clone()));
    Ok(DFSchema::new_with_metadata(fields.collect(), schema.metadata().clone())?)
}

/// Both sides of an equality in one type.
pub(super) fn same_type(
    left: &Expr,
    left_schema: &DFSchema,
    right: &Expr,
    right_schema: &DFSchema,
) -> Result<(Expr, Expr), SqlError> {
    let (l, r) = (left.get_type(left_schema)?, right.get_type(right_schema)?);
    if l == r {
        return Ok((left.clone(), right.clone()));
    }
    let common = comparison_coercion(&l, &r)
        .ok_or_else(|| SqlError::unsupported(format!("cannot compare {l} with {r} in a join")))?;
    Ok((left.clone().cast_to(&common, left_schema)?, right.clone().cast_to(&common, right_schema)?))
}

/// A condition over the kept columns of both sides, by place.
fn over_pairs(filter: &Expr, left: &DFSchema, right: &DFSchema) -> Result<Expr, SqlError> {
    let place = |column: &Column| {
        let right = || right.maybe_index_of_column(column).map(|index| left.fields().len() + index);
        left.maybe_index_of_column(column).or_else(right)
    };
    let by_place = |expr: Expr| {
        let Expr::Column(column) = &expr else { return Ok(Transformed::no(expr)) };
        let Some(place) = place(column) else {
            return datafusion::common::plan_err!("a join's condition names {column}, which neither side has");
        };
        Ok(Transformed::yes(Expr::Column(Column::from_name(pair_column(place)))))
    };
    let filter = filter.clone().transform_up(by_place)?.data;
    // A condition that is NULL is not true.
    let is_null = matches!(&filter, Expr::Literal(value, _) if value.is_null());
    Ok(if is_null { lit(ScalarValue::Boolean(Some(false))) } else { filter })
}

/// The projection below one side.
pub(super) fn input(node: Node, keys: Vec<Expr>, time: Option<Expr>) -> Result<LogicalPlan, SqlError> {
    let schema = node.plan.schema().clone();
    let count = schema.fields().len() - usize::from(node.weighted);
    let name = |(index, key): (usize, Expr)| key.unalias().alias(format!("__join_key_{index}"));
    let mut exprs: Vec<Expr> = keys.into_iter().enumerate().map(name).collect();
    exprs.extend(time.map(|time| time.unalias().alias("__join_time")));
    exprs.extend((0..count).map(|index| Expr::Column(Column::from(schema.qualified_field(index)))));
    exprs.extend(node.weighted.then(|| weight(&schema)));
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(node.plan))?))
}

/// The bounds of the columns that come out. A row that is kept comes out again when the other side changes, so a column is
/// bounded only where the other side's bound, through the condition, reaches it too.
fn output_bounds(join: &Join, matching: &Matching, sides: [(&DFSchema, &[Option<Bound>]); 2]) -> Vec<Option<Bound>> {
    let side = |side: usize| {
        let (schema, bounds) = sides[side];
        (0..schema.fields().len())
            .map(|column| Some(bounds[column].clone()?.least(matching.reached(side, column)?)))
            .collect::<Vec<_>>()
    };
    use datafusion::common::JoinType as J;
    match join.join_type {
        J::Inner | J::Left | J::Right | J::Full => [side(0), side(1)].concat(),
        J::LeftSemi | J::LeftAnti => side(0),
        J::RightSemi | J::RightAnti => side(1),
        J::LeftMark => [side(0), vec![None]].concat(),
        J::RightMark => [side(1), vec![None]].concat(),
    }
}
