//! EXISTS, IN, ANY and ALL as values (PostgreSQL documentation, 9.23), made of EXISTS and scalar subqueries.
//!
//! `x op ANY (q)` is true if it is of a row of `q`, else NULL if it is NULL of one, else false; `x op ALL (q)` is false if
//! it is of a row, else NULL if it is NULL of one, else true. Comparisons are NULL where one side is:
//!
//! ```text
//! x op ANY (SELECT y FROM q)   CASE WHEN EXISTS (q WHERE x op y) THEN true
//!                                   WHEN EXISTS (q WHERE y IS NULL) THEN NULL
//!                                   WHEN x IS NULL AND EXISTS (q) THEN NULL
//!                                   ELSE false END
//! EXISTS (q)                   (SELECT count(*) FROM q) > 0        if q does not look outside
//! x < ANY (SELECT y FROM q)    x < (SELECT max(y) FROM q)          for its first WHEN, then
//! x op ANY (SELECT sum(y) …)   x op (SELECT sum(y) …)              one row is a value
//! ```

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DataFusionError, Diagnostic, ExprSchema, Result, ScalarValue, Span, Spans};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::expr::{Case, Exists, InSubquery, SetComparison};
use datafusion::logical_expr::{
    AggregateUDF, Distinct, Expr, ExprSchemable, FetchType, LogicalPlan, LogicalPlanBuilder, Operator, SkipType,
    Subquery, binary_expr, lit,
};
use datafusion::optimizer::decorrelate::PullUpCorrelatedExpr;

use super::has_subquery;
use crate::SqlError;
use crate::binder::operator::pair;

/// The name of an aggregate made here.
const VALUE: &str = "\u{1}value";

/// EXISTS; in a condition (`joins`), one that becomes a join.
///
/// # Errors
/// 0A000 if it looks outside where it cannot be made a join.
pub(super) fn existence(exists: Exists, joins: bool) -> Result<Expr> {
    let Exists { subquery, negated } = exists;
    let core = core(&subquery.subquery)?;
    let signed = |expr: Expr| if negated { Expr::Not(Box::new(expr)) } else { expr };
    match &core {
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => return Ok(lit(!negated)),
        LogicalPlan::Filter(filter) if is_one_row(&filter.input) => {
            let holds = LogicalPlanBuilder::from(filter.input.as_ref().clone())
                .project([filter.predicate.clone().alias(VALUE)])?
                .build()?;
            return Ok(signed(Expr::IsTrue(Box::new(Expr::ScalarSubquery(subquery_of(holds))))));
        }
        LogicalPlan::Union(union) if !subquery.outer_ref_columns.is_empty() => {
            let each = union.inputs.iter().map(|input| {
                existence(Exists { subquery: subquery_of(input.as_ref().clone()), negated: false }, joins)
            });
            let any = each.collect::<Result<Vec<_>>>()?.into_iter().reduce(Expr::or);
            return Ok(any.map_or(lit(negated), signed));
        }
        _ => {}
    }
    let subquery = subquery_of(core);
    if subquery.outer_ref_columns.is_empty() && !joins {
        return Ok(match negated {
            true => binary_expr(count(&subquery)?, Operator::Eq, lit(0_i64)),
            false => binary_expr(count(&subquery)?, Operator::Gt, lit(0_i64)),
        });
    }
    check(&subquery, None)?;
    Ok(Expr::Exists(Exists { subquery, negated }))
}

/// True if IN, in a condition, may stay for a join.
///
/// # Errors
/// 0A000 if it looks outside where it cannot be made a join.
pub(super) fn joins(list: &InSubquery) -> Result<bool> {
    let plan = &list.subquery.subquery;
    if has_subquery(&list.expr) || is_one_row(plan) || is_filtered_row(plan) {
        return Ok(false);
    }
    let compared = plan.head_output_expr()?.map(|output| binary_expr(list.expr.as_ref().clone(), Operator::Eq, output));
    check(&list.subquery, compared)?;
    Ok(true)
}

/// `x op ANY (subquery)`, `x` over columns of `schema`.
///
/// # Errors
/// 0A000 for what cannot be made a join; literals that cannot be read as what they are compared with.
pub(super) fn any(x: Expr, op: Operator, subquery: Subquery, schema: &DFSchema) -> Result<Expr> {
    let decides = |comparison: Expr| comparison;
    quantified(x, op, &subquery, schema, (true, decides))
}

/// `x op ALL (subquery)`, `x` over columns of `schema`.
///
/// # Errors
/// As for [`any`].
pub(super) fn all(x: Expr, op: Operator, subquery: Subquery, schema: &DFSchema) -> Result<Expr> {
    match op.negate() {
        Some(opposite) => quantified(x, opposite, &subquery, schema, (false, |comparison| comparison)),
        None => quantified(x, op, &subquery, schema, (false, |comparison| Expr::Not(Box::new(comparison)))),
    }
}

/// `decision`, if the comparison as `decides` makes it holds for some row of the subquery, else its opposite; or NULL.
fn quantified(
    x: Expr,
    op: Operator,
    subquery: &Subquery,
    schema: &DFSchema,
    (decision, decides): (bool, fn(Expr) -> Expr),
) -> Result<Expr> {
    let plan = without_order(&subquery.subquery);
    let result = |found: Expr| if decision { found } else { Expr::Not(Box::new(found)) };
    if is_one_row(plan) {
        return Ok(result(decides(binary_expr(x, op, Expr::ScalarSubquery(subquery_of(plan.clone()))))));
    }
    if let Some((row, having)) = filtered_row(plan)? {
        let holds = existence(Exists { subquery: subquery_of(having), negated: false }, false)?;
        let compared = result(decides(binary_expr(x, op, Expr::ScalarSubquery(subquery_of(row)))));
        let when_then_expr = vec![(Box::new(holds), Box::new(compared))];
        return Ok(Expr::Case(Case { expr: None, when_then_expr, else_expr: Some(Box::new(lit(!decision))) }));
    }
    if has_subquery(&x) {
        let hint = "compute the left side in a subquery of FROM, and compare its column";
        return Err(refusal("a subquery on the left of IN, ANY or ALL with another", hint, subquery));
    }
    let y = Expr::Column(Column::from(plan.schema().qualified_field(0)));
    let outside = to_outer(x.clone(), schema)?;
    let (left, right) = pair(op, outside.clone(), y.clone(), plan.schema())?;
    let exists = |condition: Option<Expr>| {
        let rows = LogicalPlanBuilder::from(plan.clone());
        let rows = match condition {
            Some(condition) => rows.filter(condition)?,
            None => rows,
        };
        existence(Exists { subquery: subquery_of(rows.build()?), negated: false }, false)
    };
    let decided = match extreme(op, &right, plan)? {
        Some(extreme) if subquery.outer_ref_columns.is_empty() => {
            let (left, extreme) = pair(op, x.clone(), extreme, schema)?;
            Expr::IsTrue(Box::new(binary_expr(left, op, extreme)))
        }
        _ => exists(Some(decides(binary_expr(left, op, right))))?,
    };
    let null = || Box::new(Expr::Literal(ScalarValue::Boolean(None), None));
    let mut when_then_expr = vec![(Box::new(decided), Box::new(lit(decision)))];
    if y.nullable(plan.schema())? {
        when_then_expr.push((Box::new(exists(Some(y.is_null()))?), null()));
    }
    if x.nullable(schema).unwrap_or(true) {
        when_then_expr.push((Box::new(x.is_null().and(exists(None)?)), null()));
    }
    Ok(Expr::Case(Case { expr: None, when_then_expr, else_expr: Some(Box::new(lit(!decision))) }))
}

/// The one value of the subquery's that decides whether a comparison holds for some row, where there is one: the
/// least or greatest. Which is which is open among floats: NaN.
fn extreme(op: Operator, y: &Expr, plan: &LogicalPlan) -> Result<Option<Expr>> {
    let function = match op {
        Operator::Lt | Operator::LtEq => max_udaf(),
        Operator::Gt | Operator::GtEq => min_udaf(),
        _ => return Ok(None),
    };
    let ordered = match y.get_type(plan.schema())? {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Date32 | DataType::Timestamp(..) => true,
        other => other.is_integer() || other.is_decimal(),
    };
    if !ordered {
        return Ok(None);
    }
    Ok(Some(aggregate(plan, &function, y.clone())?))
}

fn count(subquery: &Subquery) -> Result<Expr> {
    aggregate(&subquery.subquery, &count_udaf(), lit(1_i64))
}

fn aggregate(plan: &LogicalPlan, function: &Arc<AggregateUDF>, of: Expr) -> Result<Expr> {
    let none: Vec<Expr> = Vec::new();
    // Under a name that no column beside the subquery has.
    let value = function.call(vec![of]).alias(VALUE);
    let plan = LogicalPlanBuilder::from(plan.clone()).aggregate(none, [value])?.build()?;
    Ok(Expr::ScalarSubquery(subquery_of(plan)))
}

fn subquery_of(plan: LogicalPlan) -> Subquery {
    let outer_ref_columns = plan.all_out_ref_exprs();
    Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: Spans::new() }
}

/// What is left of a plan if only counts whether it has rows.
fn core(plan: &LogicalPlan) -> Result<LogicalPlan> {
    Ok(match plan {
        LogicalPlan::Projection(projection) => core(&projection.input)?,
        LogicalPlan::SubqueryAlias(alias) => core(&alias.input)?,
        LogicalPlan::Sort(sort) if sort.fetch.is_none_or(|rows| rows > 0) => core(&sort.input)?,
        LogicalPlan::Distinct(Distinct::All(input)) => core(input)?,
        LogicalPlan::Limit(limit)
            if matches!(limit.get_fetch_type()?, FetchType::Literal(rows) if rows != Some(0))
                && matches!(limit.get_skip_type()?, SkipType::Literal(0)) =>
        {
            core(&limit.input)?
        }
        other => other.clone(),
    })
}

fn without_order(plan: &LogicalPlan) -> &LogicalPlan {
    match plan {
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => without_order(&sort.input),
        other => other,
    }
}

/// True if a plan has exactly one row: an aggregate without groups, whatever is computed of it.
fn is_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => is_one_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_one_row(&alias.input),
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => is_one_row(&sort.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        _ => false,
    }
}

/// True if a plan has one row or none: HAVING without groups.
fn is_filtered_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => is_filtered_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_filtered_row(&alias.input),
        LogicalPlan::Filter(filter) => is_one_row(&filter.input) || is_filtered_row(&filter.input),
        _ => false,
    }
}

/// For `SELECT … HAVING` without groups: its row without the HAVING, and the rows that decide whether there is one.
fn filtered_row(plan: &LogicalPlan) -> Result<Option<(LogicalPlan, LogicalPlan)>> {
    if let LogicalPlan::Projection(projection) = plan
        && let LogicalPlan::Filter(filter) = projection.input.as_ref()
        && is_one_row(&filter.input)
    {
        let row = LogicalPlanBuilder::from(filter.input.as_ref().clone()).project(projection.expr.clone())?.build()?;
        return Ok(Some((row, projection.input.as_ref().clone())));
    }
    Ok(None)
}

/// An expression over columns of `schema` as a query inside sees it.
fn to_outer(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let seen = expr.transform_up(|expr| match expr {
        Expr::Column(column) => {
            let field = Arc::clone(schema.field_from_column(&column)?);
            Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(seen.data)
}

/// Refuses a subquery that looks outside where that cannot become a join's condition. What has subqueries of its own is
/// known only once they are joins.
fn check(subquery: &Subquery, compared: Option<Expr>) -> Result<()> {
    let plan = &subquery.subquery;
    if subquery.outer_ref_columns.is_empty() || plan.exists(|node| Ok(node.expressions().iter().any(has_subquery)))? {
        return Ok(());
    }
    let mut cuts = false;
    plan.apply(|node| {
        // Taking the condition out of it would change which rows are cut off.
        cuts |= matches!(node, LogicalPlan::Limit(_)) && !node.all_out_ref_exprs().is_empty();
        Ok(TreeNodeRecursion::Continue)
    })?;
    let mut pull_up =
        PullUpCorrelatedExpr::new().with_exists_sub_query(compared.is_none()).with_in_predicate_opt(compared);
    let pulled = plan.as_ref().clone().rewrite(&mut pull_up);
    if cuts
        || is_filtered_row(plan)
        || !pull_up.can_pull_up
        || !pulled.is_ok_and(|plan| has_compared(&plan.data, &pull_up))
    {
        let hint = "compare them in the subquery's own WHERE, outside of LIMIT, UNION and outer joins";
        return Err(refusal("this use of the outer query's columns in a subquery", hint, subquery));
    }
    Ok(())
}

/// True if what is compared with the outer query comes out of the subquery. A name given to a query inside may hide it.
fn has_compared(plan: &LogicalPlan, pull_up: &PullUpCorrelatedExpr) -> bool {
    let own = || pull_up.correlated_subquery_cols_map.values().flatten();
    let compared = pull_up.join_filters.iter().flat_map(Expr::column_refs);
    compared
        .filter(|column| own().any(|own| own == *column))
        .all(|column| plan.schema().fields().iter().any(|field| *field.name() == column.name))
}

/// The refusal of a subquery in an outer join's condition that looks at both sides.
pub(super) fn refused_join(condition: &Expr) -> DataFusionError {
    let hint = "a subquery in the condition of an outer join can look at one side of it";
    refused("this subquery in the condition of an outer join", hint, std::iter::once(condition))
}

/// The refusal of EXISTS, IN, ANY and ALL in VALUES.
pub(super) fn refused_values<'a>(values: impl Iterator<Item = &'a Expr>) -> DataFusionError {
    refused("EXISTS, IN, ANY or ALL with a subquery in VALUES", "write SELECT … UNION ALL SELECT …", values)
}

fn refused<'a>(what: &str, hint: &str, mut expressions: impl Iterator<Item = &'a Expr>) -> DataFusionError {
    let found = expressions.find_map(|expr| {
        let mut found = None;
        // The closure never fails.
        let _ = expr.apply(|expr| {
            if let Expr::ScalarSubquery(subquery)
            | Expr::Exists(Exists { subquery, .. })
            | Expr::InSubquery(InSubquery { subquery, .. })
            | Expr::SetComparison(SetComparison { subquery, .. }) = expr
            {
                found = found.take().or_else(|| Some(subquery.clone()));
            }
            Ok(TreeNodeRecursion::Continue)
        });
        found
    });
    let plan = || LogicalPlan::default();
    refusal(what, hint, &found.unwrap_or_else(|| subquery_of(plan())))
}

/// The place of the first column of the outer query in a subquery, or else of any.
fn place(plan: &LogicalPlan) -> Option<Span> {
    let (mut outer, mut own) = (None, None);
    // The closures never fail.
    let _ = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                match expr {
                    Expr::OuterReferenceColumn(_, column) => outer = outer.or_else(|| column.spans.first()),
                    Expr::Column(column) => own = own.or_else(|| column.spans.first()),
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    outer.or(own)
}

/// A refusal that points into the subquery.
fn refusal(what: &str, hint: &str, subquery: &Subquery) -> DataFusionError {
    let error = SqlError::unsupported(format!("{what} is not supported")).hint(hint);
    let span = subquery.spans.first().or_else(|| place(&subquery.subquery));
    let diagnostic = Diagnostic::new_error(error.message.clone(), span);
    DataFusionError::External(Box::new(error)).with_diagnostic(diagnostic)
}
