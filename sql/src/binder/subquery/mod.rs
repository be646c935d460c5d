//! Subqueries in expressions, put where they can become joins.
//!
//! In: a plan whose types are not coerced yet, with EXISTS, IN, ANY and ALL wherever SQL allows them. Out: the same rows,
//! where
//! - a condition that keeps the rows for which it holds has its EXISTS and IN left as they are, for semi and anti joins;
//! - any other EXISTS, IN, ANY or ALL is a value of three-valued logic made of EXISTS and scalar subqueries alone
//!   ([`quantified`]), and stands in a projection or a filter: what sorts, groups or aggregates by one reads a column.
//!
//! A projection's EXISTS becomes a mark join later ([`crate::subquery_rules`]).

mod quantified;

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DataFusionError, JoinType, Result};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison, SetQuantifier};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, Join, LogicalPlan, LogicalPlanBuilder, Operator, Projection};

use super::HIDDEN;

/// Puts the subqueries of a plan where they can become joins.
///
/// # Errors
/// 0A000 for a subquery that cannot; what literals beside one cannot be read as.
pub(super) fn place(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut changed = false;
    let placed = plan.transform_up_with_subqueries(|node| {
        let node = match node {
            LogicalPlan::Filter(filter) if has_subquery(&filter.predicate) => self::filter(filter)?,
            LogicalPlan::Projection(projection) if projection.expr.iter().any(has_subquery) => {
                self::projection(projection)?
            }
            LogicalPlan::Join(join) if join.filter.as_ref().is_some_and(has_subquery) => self::join(join)?,
            LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) | LogicalPlan::Sort(_)
                if node.expressions().iter().any(has_subquery) =>
            {
                hoist(node)?
            }
            LogicalPlan::Values(values) if values.values.iter().flatten().any(has_quantified) => {
                return Err(quantified::refused_values(values.values.iter().flatten()));
            }
            other => Transformed::no(other),
        };
        changed |= node.transformed;
        if changed { node.map_data(LogicalPlan::recompute_schema) } else { Ok(node) }
    })?;
    Ok(placed.data)
}

fn has_subquery(expr: &Expr) -> bool {
    // The closure never fails.
    expr.exists(|expr| Ok(is_subquery(expr))).unwrap_or(true)
}

fn has_quantified(expr: &Expr) -> bool {
    let quantified = |expr: &Expr| is_subquery(expr) && !matches!(expr, Expr::ScalarSubquery(_));
    expr.exists(|expr| Ok(quantified(expr))).unwrap_or(true)
}

fn is_subquery(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_))
}

fn projection(projection: Projection) -> Result<Transformed<LogicalPlan>> {
    let node = LogicalPlan::Projection(projection);
    let names = NamePreserver::new(&node);
    let schema = Arc::clone(node.inputs()[0].schema());
    node.map_expressions(|expr| {
        if !has_subquery(&expr) {
            return Ok(Transformed::no(expr));
        }
        let name = names.save(&expr);
        Ok(Transformed::yes(name.restore(value(expr, &schema)?)))
    })
}

fn filter(filter: Filter) -> Result<Transformed<LogicalPlan>> {
    let schema = Arc::clone(filter.input.schema());
    let parts = split_conjunction_owned(filter.predicate).into_iter();
    let parts = parts.map(|part| if has_subquery(&part) { condition(part, &schema, true) } else { Ok(part) });
    let predicate = conjunction(parts.collect::<Result<Vec<_>>>()?);
    let predicate = predicate.ok_or_else(|| DataFusionError::Internal("a filter without a condition".into()))?;
    Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?)))
}

/// A join's condition with subqueries: of an inner join it is a filter above it, of an outer join a column of the side that it
/// looks at.
fn join(join: Join) -> Result<Transformed<LogicalPlan>> {
    let (with, without): (Vec<_>, Vec<_>) =
        join.filter.clone().map(split_conjunction_owned).unwrap_or_default().into_iter().partition(has_subquery);
    if join.join_type == JoinType::Inner {
        let joined = LogicalPlan::Join(Join { filter: conjunction(without), ..join });
        let Some(predicate) = conjunction(with) else { return Ok(Transformed::no(joined)) };
        return filter(Filter::try_new(predicate, Arc::new(joined))?);
    }
    let output = join.schema.columns();
    let (mut left, mut right, mut conditions) = (Vec::new(), Vec::new(), without);
    for (index, part) in with.into_iter().enumerate() {
        let place = Expr::Column(Column::from_name(column(index)));
        let side = match (looks_at(&part, &join.left)?, looks_at(&part, &join.right)?) {
            (_, false) => &mut left,
            (false, true) => &mut right,
            (true, true) => return Err(quantified::refused_join(&part)),
        };
        side.push(part.alias(column(index)));
        conditions.push(place);
    }
    let extended = |side: &Arc<LogicalPlan>, hoisted: Vec<Expr>| {
        if hoisted.is_empty() {
            return Ok(Arc::clone(side));
        }
        let columns = side.schema().columns().into_iter().map(Expr::Column).chain(hoisted);
        let extended = Projection::try_new(columns.collect(), Arc::clone(side))?;
        Ok::<_, DataFusionError>(Arc::new(projection(extended)?.data))
    };
    let made = Join::try_new(
        extended(&join.left, left)?,
        extended(&join.right, right)?,
        join.on,
        conjunction(conditions),
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    let columns = output.into_iter().map(Expr::Column).collect::<Vec<_>>();
    LogicalPlanBuilder::from(LogicalPlan::Join(made)).project(columns)?.build().map(Transformed::yes)
}

/// True if an expression or a subquery in it names a column of a join's side.
fn looks_at(expr: &Expr, side: &LogicalPlan) -> Result<bool> {
    let schema = side.schema();
    let named = |column: &Column| schema.maybe_index_of_column(column).is_some();
    let mut found = false;
    expr.apply(|expr| {
        found |= match expr {
            Expr::Column(column) => named(column),
            Expr::ScalarSubquery(subquery)
            | Expr::Exists(Exists { subquery, .. })
            | Expr::InSubquery(InSubquery { subquery, .. })
            | Expr::SetComparison(SetComparison { subquery, .. }) => subquery
                .outer_ref_columns
                .iter()
                .any(|outer| matches!(outer, Expr::OuterReferenceColumn(_, column) if named(column))),
            _ => false,
        };
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// A node whose subqueries are columns of a projection below it. What it puts out stays.
fn hoist(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let input = node.inputs()[0].clone();
    // ORDER BY may look at columns that the SELECT list below it left out.
    let (input, mut columns) = match input {
        LogicalPlan::Projection(list) if matches!(node, LogicalPlan::Sort(_)) && sees(&list.input, &node)? => {
            (list.input.as_ref().clone(), list.expr)
        }
        input => {
            let columns = input.schema().columns().into_iter().map(Expr::Column).collect();
            (input, columns)
        }
    };
    let output = node.schema().columns();
    let names = NamePreserver::new(&node);
    let mut hoisted: Vec<Expr> = Vec::new();
    let node = node.map_expressions(|expr| {
        let name = names.save(&expr);
        let lower = |expr: Expr| {
            if !is_subquery(&expr) {
                return Ok(Transformed::no(expr));
            }
            let known = hoisted.iter().position(|known| *known == expr);
            let index = known.unwrap_or(hoisted.len());
            if known.is_none() {
                hoisted.push(expr);
            }
            Ok(Transformed::new(Expr::Column(Column::from_name(column(index))), true, TreeNodeRecursion::Jump))
        };
        let lowered = expr.transform_down(lower)?;
        Ok(if lowered.transformed { lowered.update_data(|expr| name.restore(expr)) } else { lowered })
    })?;
    columns.extend(hoisted.into_iter().enumerate().map(|(index, expr)| expr.alias(column(index))));
    let below = Projection::try_new(columns, Arc::new(input))?;
    let below = projection(below)?.data;
    let node = node.data.with_new_exprs(node.data.expressions(), vec![below])?;
    // Sorting and windows let columns through.
    let node = match node {
        LogicalPlan::Aggregate(_) => node,
        node => LogicalPlanBuilder::from(node).project(output.into_iter().map(Expr::Column))?.build()?,
    };
    Ok(Transformed::yes(node))
}

/// True if `plan` has every column that the subqueries of `node` ask for, outside of themselves.
fn sees(plan: &LogicalPlan, node: &LogicalPlan) -> Result<bool> {
    let schema = plan.schema();
    let mut all = true;
    node.apply_expressions(|expr| {
        expr.apply(|expr| {
            let (subquery, compared) = match expr {
                Expr::ScalarSubquery(subquery) | Expr::Exists(Exists { subquery, .. }) => (subquery, None),
                Expr::InSubquery(InSubquery { expr, subquery, .. })
                | Expr::SetComparison(SetComparison { expr, subquery, .. }) => (subquery, Some(expr)),
                _ => return Ok(TreeNodeRecursion::Continue),
            };
            let outer = subquery.outer_ref_columns.iter().filter_map(|expr| match expr {
                Expr::OuterReferenceColumn(_, column) => Some(column),
                _ => None,
            });
            let compared = compared.iter().flat_map(|expr| expr.column_refs());
            all &= outer.chain(compared).all(|column| schema.maybe_index_of_column(column).is_some());
            Ok(TreeNodeRecursion::Jump)
        })
    })?;
    Ok(all)
}

fn column(index: usize) -> String {
    format!("{HIDDEN}subquery{index}")
}

/// A condition of which only counts whether it is true: NULL may as well be false. `top`: it decides alone.
fn condition(expr: Expr, schema: &DFSchema, top: bool) -> Result<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let (left, right) = (condition(*left, schema, false)?, condition(*right, schema, false)?);
            Ok(Expr::BinaryExpr(BinaryExpr { left: Box::new(left), op, right: Box::new(right) }))
        }
        Expr::Not(inner) => match *inner {
            Expr::InSubquery(list) => {
                condition(Expr::InSubquery(InSubquery { negated: !list.negated, ..list }), schema, top)
            }
            Expr::Exists(exists) => Ok(quantified::existence(negated(exists), true)?),
            inner => value(Expr::Not(Box::new(inner)), schema),
        },
        Expr::SetComparison(SetComparison { expr, subquery, op: Operator::Eq, quantifier: SetQuantifier::Any }) => {
            condition(Expr::InSubquery(InSubquery { expr, subquery, negated: false }), schema, top)
        }
        Expr::SetComparison(SetComparison { expr, subquery, op: Operator::NotEq, quantifier: SetQuantifier::All }) => {
            condition(Expr::InSubquery(InSubquery { expr, subquery, negated: true }), schema, top)
        }
        Expr::InSubquery(list) if (top || !list.negated) && quantified::joins(&list)? => Ok(Expr::InSubquery(list)),
        Expr::Exists(exists) => quantified::existence(exists, true),
        other => value(other, schema),
    }
}

fn negated(exists: Exists) -> Exists {
    Exists { negated: !exists.negated, ..exists }
}

/// An expression whose every value counts, NULL included.
fn value(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let made = expr.transform_up(|expr| match expr {
        Expr::Exists(exists) => quantified::existence(exists, false).map(Transformed::yes),
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
            let found = quantified::any(*expr, Operator::Eq, subquery, schema)?;
            Ok(Transformed::yes(if negated { Expr::Not(Box::new(found)) } else { found }))
        }
        Expr::SetComparison(SetComparison { expr, subquery, op, quantifier }) => {
            Ok(Transformed::yes(match quantifier {
                SetQuantifier::Any => quantified::any(*expr, op, subquery, schema)?,
                SetQuantifier::All => quantified::all(*expr, op, subquery, schema)?,
            }))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(made.data)
}
