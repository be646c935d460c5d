//! The rewrite of INTERSECT and EXCEPT.
//!
//! The binder leaves joins that stand for them. They are found before anything is optimised, and a node of their own takes
//! their place until the rewrite makes it incremental.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, TableReference};
use datafusion::logical_expr::{Expr, ExprSchemable, Extension, LogicalPlan, Projection, UserDefinedLogicalNodeCore};
use engine::dataflow::set_operation::SetOperationNode;
use engine::operator::set_operation::SetRule;

use super::monotone::is_time;
use super::refusal;
use super::rewrite::{Node, Rewriter, with_weight};
use crate::binder::one_answer::multiset::{SetOperation, set_operation};
use crate::error::SqlError;
use crate::statement::Emit;

/// A set operation of two inputs with the same columns.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SetOperationMark {
    left: Arc<LogicalPlan>,
    right: Arc<LogicalPlan>,
    rule: SetRule,
    schema: DFSchemaRef,
}

impl PartialOrd for SetOperationMark {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.rule.partial_cmp(&other.rule)
    }
}

impl UserDefinedLogicalNodeCore for SetOperationMark {
    fn name(&self) -> &str {
        "SetOperation"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.rule.name())
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let right = Arc::new(inputs.swap_remove(1));
        let left = Arc::new(inputs.swap_remove(0));
        Ok(Self { left, right, ..self.clone() })
    }
}

/// Puts a node of their own in place of the joins that stand for set operations.
///
/// # Errors
/// DataFusion's, for a plan it made itself.
pub(super) fn mark(plan: LogicalPlan) -> Result<LogicalPlan, SqlError> {
    let marked = plan.transform_up_with_subqueries(|node| match set_operation(&node) {
        Some(found) => Ok(Transformed::yes(marked(found, node.schema())?)),
        None => Ok(Transformed::no(node)),
    })?;
    Ok(marked.data)
}

fn marked(found: SetOperation, schema: &DFSchema) -> Result<LogicalPlan> {
    let SetOperation { intersect, all, left, right, on } = found;
    let rule = match (intersect, all) {
        (true, false) => SetRule::Intersect,
        (true, true) => SetRule::IntersectAll,
        (false, false) => SetRule::Except,
        (false, true) => SetRule::ExceptAll,
    };
    let named = |(n, expr): (usize, Expr)| expr.alias(format!("column_{n}"));
    let (left_columns, right_columns): (Vec<Expr>, Vec<Expr>) = on.into_iter().unzip();
    let left = Projection::try_new(left_columns.into_iter().enumerate().map(named).collect(), left)?;
    let right = Projection::try_new(right_columns.into_iter().enumerate().map(named).collect(), right)?;
    let nullable = |(qualifier, field): (Option<&TableReference>, &FieldRef)| {
        (qualifier.cloned(), Arc::new(field.as_ref().clone().with_nullable(true)))
    };
    let columns =
        Arc::new(DFSchema::new_with_metadata(left.schema.iter().map(nullable).collect(), Default::default())?);
    let mark = SetOperationMark {
        left: Arc::new(LogicalPlan::Projection(left)),
        right: Arc::new(LogicalPlan::Projection(right)),
        rule,
        schema: Arc::clone(&columns),
    };
    // Rows come from the left, so what was widened to be compared fits back into its type.
    let back = |((qualifier, field), n): ((Option<&TableReference>, &FieldRef), usize)| {
        let column = Expr::Column(Column::from_name(format!("column_{n}")));
        Ok(column.cast_to(field.data_type(), columns.as_ref())?.alias_qualified(qualifier.cloned(), field.name()))
    };
    let exprs = schema.iter().zip(0..).map(back).collect::<Result<Vec<_>>>()?;
    let node = LogicalPlan::Extension(Extension { node: Arc::new(mark) });
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(node))?))
}

impl Rewriter {
    pub(super) fn set_operation(&mut self, mark: &SetOperationMark, plan: &LogicalPlan) -> Result<Node, SqlError> {
        if self.emit == Emit::OnWindowClose {
            return Err(refusal::named(&format!("EMIT ON WINDOW CLOSE over {}", mark.rule.name()), plan));
        }
        let left = self.rewrite(&mark.left)?;
        let right = self.rewrite(&mark.right)?;
        let both = left.bounds.iter().zip(&right.bounds);
        let bounds: Vec<_> = both.map(|(left, right)| Some(left.clone()?.least(right.clone()?))).collect();
        let is_monotone = |n: &usize| bounds[*n].is_some() && is_time(mark.schema.field(*n).data_type());
        let monotone = (0..bounds.len()).find(is_monotone);
        let node = SetOperationNode {
            id: self.next_operator(),
            left: Arc::new(left.plan),
            right: Arc::new(right.plan),
            rule: mark.rule,
            monotone_column: monotone.and_then(|n| Some((n, bounds[n].clone()?))),
            schema: with_weight(&mark.schema)?,
        };
        let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        Ok(Node { plan, weighted: true, bounds, closes: false })
    }
}
