//! `now()` in a view: the tick's time.
//!
//! It stands in the plan as a placeholder of its own, which nothing folds and everything may move. Conditions in WHERE that
//! hold a time of the row against it become nodes ([`TemporalMark`]), which the rewrite makes incremental; whatever of it is
//! left is refused, because such an answer would change as a whole with every tick.
//!
//! ```text
//! Filter(v > 0 AND ts > now() - 5 minutes)          Filter(v > 0)
//!   input                                    ==>      TemporalMark(ts after now() - 5 minutes)
//!                                                       input
//! ```

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, ScalarValue, internal_err};
use datafusion::logical_expr::expr::{Between, Cast, Placeholder};
use datafusion::logical_expr::utils::{conjunction, split_conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, Extension, Filter, JoinType, LogicalPlan, Operator, UserDefinedLogicalNodeCore,
    lit,
};
use engine::dataflow::bound::{Bound, TICK_TIME};
use engine::operator::temporal_filter::Comparison;

use super::monotone::{bound_of, is_time};
use super::past::{difference, is_span, plus};
use crate::error::SqlError;
use crate::functions::now;

/// The column that stands for the tick's time while it is looked at what a limit is.
const COLUMN: &str = "now";

/// Puts the tick's time in the place of `now()` and `current_date`.
///
/// # Errors
/// DataFusion's, for a plan it made itself.
pub(super) fn stand_in(plan: LogicalPlan) -> std::result::Result<LogicalPlan, SqlError> {
    put_in(plan, &tick_time())
}

/// Puts a time, µs, in the place of `now()` and `current_date`.
///
/// # Errors
/// DataFusion's, for a plan it made itself.
pub(super) fn at(plan: LogicalPlan, now_micros: i64) -> std::result::Result<LogicalPlan, SqlError> {
    let time = ScalarValue::TimestampMicrosecond(Some(now_micros), None).cast_to(&now::data_type())?;
    put_in(plan, &lit(time))
}

fn put_in(plan: LogicalPlan, time: &Expr) -> std::result::Result<LogicalPlan, SqlError> {
    let put = |expr: Expr| {
        let Expr::ScalarFunction(call) = &expr else { return Ok(Transformed::no(expr)) };
        Ok(match call.func.name() {
            now::NAME => Transformed::yes(time.clone()),
            "current_date" => Transformed::yes(Expr::Cast(Cast::new(Box::new(time.clone()), DataType::Date32))),
            _ => Transformed::no(expr),
        })
    };
    let put = plan.transform_up_with_subqueries(|node| {
        let node = node.map_expressions(|expr| expr.transform_up(put))?;
        if node.transformed { node.map_data(LogicalPlan::recompute_schema) } else { Ok(node) }
    });
    Ok(put?.data)
}

fn tick_time() -> Expr {
    let field = Field::new(COLUMN, now::data_type(), false);
    Expr::Placeholder(Placeholder::new_with_field(TICK_TIME.to_owned(), Some(Arc::new(field))))
}

fn is_tick_time(expr: &Expr) -> bool {
    matches!(expr, Expr::Placeholder(placeholder) if placeholder.id == TICK_TIME)
}

/// True if the tick's time stands in `expr`.
fn has_tick_time(expr: &Expr) -> bool {
    expr.exists(|expr| Ok(is_tick_time(expr))).unwrap_or_default()
}

/// True if the tick's time stands anywhere in the plan.
///
/// # Errors
/// None.
pub(super) fn reads_clock(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found |= has_tick_time(expr);
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    })?;
    Ok(found)
}

/// A time of the row against a limit that only goes forward.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub(super) struct TimeComparison {
    /// The row's time, over the input's columns.
    pub time: Expr,
    /// How it is to be to the limit.
    pub comparison: Comparison,
    /// The limit.
    pub limit: Bound,
    /// The condition as it was written.
    pub text: String,
}

/// Rows while some conditions on the tick's time hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TemporalMark {
    pub input: Arc<LogicalPlan>,
    pub conditions: Vec<TimeComparison>,
}

impl PartialOrd for TemporalMark {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.conditions.partial_cmp(&other.conditions)
    }
}

impl UserDefinedLogicalNodeCore for TemporalMark {
    fn name(&self) -> &str {
        "TemporalFilter"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        self.conditions.iter().map(|condition| condition.time.clone()).collect()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        HashSet::new()
    }

    fn necessary_children_exprs(&self, output: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output.to_vec()])
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let texts: Vec<_> = self.conditions.iter().map(|condition| condition.text.as_str()).collect();
        write!(f, "TemporalFilter: {}", texts.join(" AND "))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let (Some(input), true) = (inputs.pop(), exprs.len() == self.conditions.len()) else {
            return internal_err!("a temporal filter has one input and an expression for each condition");
        };
        let conditions = self.conditions.iter().cloned().zip(exprs);
        let conditions = conditions.map(|(condition, time)| TimeComparison { time, ..condition }).collect();
        Ok(Self { input: Arc::new(input), conditions })
    }
}

/// Puts nodes of their own in place of the conditions on the tick's time.
///
/// # Errors
/// 0A000 where the tick's time is left.
pub(super) fn mark(plan: LogicalPlan) -> std::result::Result<LogicalPlan, SqlError> {
    let mut refused = None;
    let marked = plan.transform_up_with_subqueries(|node| {
        if refused.is_some() {
            return Ok(Transformed::no(node));
        }
        let node = hoisted(node)?;
        match node.data {
            LogicalPlan::Filter(filter) if has_tick_time(&filter.predicate) => match marked(&filter) {
                Ok(marked) => Ok(Transformed::yes(marked)),
                Err(error) => {
                    refused = Some(error);
                    Ok(Transformed::no(LogicalPlan::Filter(filter)))
                }
            },
            data => Ok(Transformed { data, ..node }),
        }
    })?;
    if let Some(error) = refused {
        return Err(error);
    }
    refuse_the_rest(&marked.data)?;
    Ok(marked.data)
}

/// An inner join with its conditions on the tick's time above it.
fn hoisted(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Join(mut join) = node else { return Ok(Transformed::no(node)) };
    if join.join_type != JoinType::Inner || !join.filter.as_ref().is_some_and(has_tick_time) {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    }
    let all = join.filter.take().map(split_conjunction_owned).unwrap_or_default();
    let (timed, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(has_tick_time);
    join.filter = conjunction(rest);
    let joined = Arc::new(LogicalPlan::Join(join));
    Ok(Transformed::yes(match conjunction(timed) {
        Some(predicate) => LogicalPlan::Filter(Filter::try_new(predicate, joined)?),
        None => Arc::unwrap_or_clone(joined),
    }))
}

fn marked(filter: &Filter) -> std::result::Result<LogicalPlan, SqlError> {
    let (timed, rest): (Vec<_>, Vec<_>) =
        split_conjunction(&filter.predicate).into_iter().partition(|expr| has_tick_time(expr));
    let mut conditions = Vec::new();
    for condition in timed {
        let found = comparisons(condition, filter.input.schema());
        let found = found.ok_or_else(|| unsupported(&format!("the condition {}", condition.human_display())))?;
        let named = |(time, comparison, limit)| TimeComparison {
            time,
            comparison,
            limit,
            text: condition.human_display().to_string(),
        };
        conditions.extend(found.into_iter().map(named));
    }
    let below = match conjunction(rest.into_iter().cloned()) {
        Some(predicate) => Arc::new(LogicalPlan::Filter(Filter::try_new(predicate, filter.input.clone())?)),
        None => filter.input.clone(),
    };
    let mark = TemporalMark { input: below, conditions };
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(mark) }))
}

fn unsupported(what: &str) -> SqlError {
    SqlError::unsupported(format!("{what} is not supported in a materialized view"))
        .detail("There now() is the tick's time, so what it stands in changes as time passes.")
        .hint(
            "now() can stand in a condition in WHERE that holds a time of the row against it, joined to others by AND: \
             WHERE ts > now() - INTERVAL '5 minutes'. The interval must be of a fixed length, without months. Anywhere \
             else, use now() in the SELECT that reads the view",
        )
}

fn refuse_the_rest(plan: &LogicalPlan) -> std::result::Result<(), SqlError> {
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            if has_tick_time(expr) {
                found = Some(match node {
                    LogicalPlan::Join(_) => "now() in the condition of an outer join",
                    LogicalPlan::Aggregate(_) => "now() in GROUP BY or an aggregate",
                    LogicalPlan::Window(_) => "now() in OVER",
                    LogicalPlan::Sort(_) => "now() in ORDER BY",
                    _ => "now() among the columns",
                });
                return Ok(TreeNodeRecursion::Stop);
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    found.map_or(Ok(()), |what| Err(unsupported(what)))
}

/// The comparisons with a moving limit that a condition amounts to, if it is of that kind.
fn comparisons(condition: &Expr, schema: &DFSchema) -> Option<Vec<(Expr, Comparison, Bound)>> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => compare(left, *op, right, schema),
        Expr::Between(Between { expr, negated: false, low, high }) => {
            let mut both = compare(expr, Operator::GtEq, low, schema)?;
            both.extend(compare(expr, Operator::LtEq, high, schema)?);
            Some(both)
        }
        _ => None,
    }
}

fn compare(left: &Expr, op: Operator, right: &Expr, schema: &DFSchema) -> Option<Vec<(Expr, Comparison, Bound)>> {
    // A difference against a span is a time against another: now() - ts < s is now() < ts + s.
    if let Some((a, b)) = difference(left)
        && is_span(right)
    {
        return compare(&a, op, &plus(b, right), schema);
    }
    if let Some((a, b)) = difference(right)
        && is_span(left)
    {
        return compare(&plus(b, left), op, &a, schema);
    }
    let compared = match op {
        Operator::Gt => vec![Comparison::After],
        Operator::GtEq => vec![Comparison::AtOrAfter],
        Operator::Lt => vec![Comparison::Before],
        Operator::LtEq => vec![Comparison::AtOrBefore],
        Operator::Eq => vec![Comparison::AtOrAfter, Comparison::AtOrBefore],
        _ => return None,
    };
    let (time, limit, is_turned) = match (has_tick_time(left), has_tick_time(right)) {
        (false, true) => (left, right, false),
        (true, false) => (right, left, true),
        _ => return None,
    };
    // In a difference of times one may have a zone and the other not; what is compared is the instants.
    let same = match (time.get_type(schema).ok()?, limit.get_type(schema).ok()?) {
        (DataType::Timestamp(..), DataType::Timestamp(..)) => true,
        (time, limit) => time == limit && is_time(&time),
    };
    if !same {
        return None;
    }
    let bound = limit_of(limit)?;
    let turned = |comparison: Comparison| if is_turned { comparison.turned() } else { comparison };
    Some(compared.into_iter().map(|comparison| (time.clone(), turned(comparison), bound.clone())).collect())
}

/// The limit as a bound of the tick's time, if it only goes forward and depends on nothing else.
fn limit_of(limit: &Expr) -> Option<Bound> {
    let field = Field::new(COLUMN, now::data_type(), false);
    let schema = DFSchema::from_unqualified_fields(vec![field].into(), Default::default()).ok()?;
    let named = limit.clone().transform_up(|expr| match is_tick_time(&expr) {
        true => Ok(Transformed::yes(Expr::Column(Column::from_name(COLUMN)))),
        false => Ok(Transformed::no(expr)),
    });
    let DataType::Timestamp(_, zone) = now::data_type() else { return None };
    bound_of(&named.ok()?.data, &schema, &[Some(Bound::tick_time(zone))])
}

/// Keeps conditions on the tick's time above an aggregate: below it they would make it hold every row, and take each back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Fence {
    input: Arc<LogicalPlan>,
}

impl PartialOrd for Fence {
    fn partial_cmp(&self, _: &Self) -> Option<std::cmp::Ordering> {
        None
    }
}

impl UserDefinedLogicalNodeCore for Fence {
    fn name(&self) -> &str {
        "Fence"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Fence")
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match inputs.pop() {
            Some(input) => Ok(Self { input: Arc::new(input) }),
            None => internal_err!("a fence has one input"),
        }
    }
}

/// Puts a fence above each aggregate.
///
/// # Errors
/// None.
pub(super) fn fence(plan: LogicalPlan) -> Result<LogicalPlan> {
    let fenced = plan.transform_up_with_subqueries(|node| {
        if !matches!(node, LogicalPlan::Aggregate(_)) {
            return Ok(Transformed::no(node));
        }
        let node = Arc::new(Fence { input: Arc::new(node) });
        Ok(Transformed::yes(LogicalPlan::Extension(Extension { node })))
    })?;
    Ok(fenced.data)
}

/// Takes the fences away.
///
/// # Errors
/// None.
pub(super) fn unfence(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plain = plan.transform_up_with_subqueries(|node| {
        if let LogicalPlan::Extension(extension) = &node
            && let Some(fence) = extension.node.as_any().downcast_ref::<Fence>()
        {
            return Ok(Transformed::yes(fence.input.as_ref().clone()));
        }
        Ok(Transformed::no(node))
    })?;
    Ok(plain.data)
}

/// The mark a plan is, if it is one.
pub(super) fn mark_of(plan: &LogicalPlan) -> Option<&TemporalMark> {
    let LogicalPlan::Extension(extension) = plan else { return None };
    extension.node.as_any().downcast_ref()
}
