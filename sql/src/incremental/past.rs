//! When a row of a join can match nothing that is still to come.
//!
//! A condition `l >= r`, with `l` over the left columns and `r` over the right ones, says: once no later right row has an `r`
//! below some bound, a left row whose `l` is below it matches no later right row. So **left** rows are past by the **right**
//! side's watermark and right rows, by `l <= r`, by the left one's; an equality does both. What a join puts out late carries
//! left columns that are no older than that.

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{Between, ScalarFunction};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable, Operator};
use engine::dataflow::bound::Bound;

use super::monotone::{bound_of, is_interval, is_time};
use crate::functions::interval::IntervalLength;

/// One side: its columns, and the bounds of their later values.
type Side<'a> = (&'a DFSchema, &'a [Option<Bound>]);

/// A condition between an expression of the left and one of the right, both times of one type.
#[derive(Debug, Clone)]
struct Comparison {
    left: Expr,
    right: Expr,
    /// Left is at least right; left is at most right. Both for an equality.
    at_least: bool,
    at_most: bool,
}

/// The bounds of a comparison's sides.
#[derive(Debug)]
struct Bounded {
    comparison: Comparison,
    left: Option<Bound>,
    right: Option<Bound>,
    is_key: bool,
}

/// A join's conditions on time.
#[derive(Debug)]
pub struct Matching {
    all: Vec<Bounded>,
    /// For each side, the column names in order.
    columns: [Vec<datafusion::common::Column>; 2],
}

/// A time of a side's rows, and the bound below which they match no later row of the other.
pub type Past = Option<(Expr, Bound)>;

impl Matching {
    /// The conditions on time among a join's keys and its other conditions.
    pub fn of(keys: &[(Expr, Expr)], filter: Option<&Expr>, sides: [Side<'_>; 2]) -> Self {
        let [left, right] = sides;
        let mut all = Vec::new();
        let equal = |(left, right): &(Expr, Expr)| Comparison {
            left: left.clone(),
            right: right.clone(),
            at_least: true,
            at_most: true,
        };
        let keys = keys.iter().map(equal).map(|comparison| (comparison, true));
        let others = filter.into_iter().flat_map(split_conjunction);
        let others = others.flat_map(|condition| comparisons(condition, sides)).map(|comparison| (comparison, false));
        for (comparison, is_key) in keys.chain(others) {
            let types = (comparison.left.get_type(left.0), comparison.right.get_type(right.0));
            let (Ok(l), Ok(r)) = types else { continue };
            if is_time(&l) && l == r {
                let left = bound_of(&comparison.left, left.0, left.1);
                let right = bound_of(&comparison.right, right.0, right.1);
                all.push(Bounded { comparison, left, right, is_key });
            }
        }
        let names = |schema: &DFSchema| schema.iter().map(datafusion::common::Column::from).collect();
        Self { all, columns: [names(left.0), names(right.0)] }
    }

    /// For joins that drop rows one by one: when rows of either side are past.
    pub fn past_rows(&self) -> [Past; 2] {
        let left = |c: &Bounded| Some((c.comparison.left.clone(), c.right.clone().filter(|_| c.comparison.at_least)?));
        let right = |c: &Bounded| Some((c.comparison.right.clone(), c.left.clone().filter(|_| c.comparison.at_most)?));
        [self.all.iter().find_map(left), self.all.iter().find_map(right)]
    }

    /// For joins that drop keys whole: the first key that both sides bound.
    pub fn past_keys(&self) -> [Past; 2] {
        let both = |c: &Bounded| {
            let (left, right) = (c.left.clone()?, c.right.clone()?);
            c.is_key.then(|| [Some((c.comparison.left.clone(), right)), Some((c.comparison.right.clone(), left))])
        };
        self.all.iter().find_map(both).unwrap_or_default()
    }

    /// The least value of a column in a kept row that a later change of the other side can match.
    pub fn reached(&self, side: usize, column: usize) -> Option<Bound> {
        let column = &self.columns[side][column];
        self.all.iter().find_map(|c| match side {
            0 => inverse(&c.comparison.left, column, c.right.clone().filter(|_| c.comparison.at_least)?),
            _ => inverse(&c.comparison.right, column, c.left.clone().filter(|_| c.comparison.at_most)?),
        })
    }
}

/// What `expr >= bound` says of `column`, if `expr` is the column, moved or cut down.
fn inverse(expr: &Expr, column: &datafusion::common::Column, bound: Bound) -> Option<Bound> {
    let moved = |bound: &Bound, op: Operator, by: &Expr| {
        let shift = |value: Expr| Expr::BinaryExpr(BinaryExpr::new(Box::new(value), op, Box::new(by.clone())));
        bound.map(|value| Ok::<_, std::convert::Infallible>(shift(value))).ok()
    };
    match expr {
        Expr::Alias(alias) => inverse(&alias.expr, column, bound),
        Expr::Column(found) => (found == column).then_some(bound),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus, right }) if is_interval(right) => {
            inverse(left, column, moved(&bound, Operator::Minus, right)?)
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus, right }) if is_interval(left) => {
            inverse(right, column, moved(&bound, Operator::Minus, left)?)
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right }) if is_interval(right) => {
            inverse(left, column, moved(&bound, Operator::Plus, right)?)
        }
        // What is cut down is no greater than what it was cut from.
        Expr::ScalarFunction(ScalarFunction { func, args }) if matches!(func.name(), "date_trunc" | "date_bin") => {
            inverse(args.get(1)?, column, bound)
        }
        _ => None,
    }
}

/// The comparisons between the sides that a condition amounts to.
fn comparisons(condition: &Expr, sides: [Side<'_>; 2]) -> Vec<Comparison> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => compare(left, *op, right, sides).into_iter().collect(),
        Expr::Between(Between { expr, negated: false, low, high }) => {
            let above = compare(expr, Operator::GtEq, low, sides);
            above.into_iter().chain(compare(expr, Operator::LtEq, high, sides)).collect()
        }
        _ => Vec::new(),
    }
}

fn compare(left: &Expr, op: Operator, right: &Expr, sides: [Side<'_>; 2]) -> Option<Comparison> {
    let (at_least, at_most) = match op {
        Operator::Gt | Operator::GtEq => (true, false),
        Operator::Lt | Operator::LtEq => (false, true),
        Operator::Eq => (true, true),
        _ => return None,
    };
    if let Some((a, b)) = difference(left)
        && is_span(right)
    {
        return compare(&a, op, &plus(b, right), sides);
    }
    if let Some((a, b)) = difference(right)
        && is_span(left)
    {
        return compare(&plus(b, left), op, &a, sides);
    }
    let of = |expr: &Expr, side: usize| {
        let columns = expr.column_refs();
        !columns.is_empty() && columns.iter().all(|column| sides[side].0.maybe_index_of_column(column).is_some())
    };
    if of(left, 0) && of(right, 1) {
        return Some(Comparison { left: left.clone(), right: right.clone(), at_least, at_most });
    }
    let turned = of(left, 1) && of(right, 0);
    turned.then(|| Comparison { left: right.clone(), right: left.clone(), at_least: at_most, at_most: at_least })
}

/// `left + right`.
pub(super) fn plus(left: Expr, right: &Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), Operator::Plus, Box::new(right.clone())))
}

/// The two times of `a - b`, be it cast to another kind of span.
pub(super) fn difference(expr: &Expr) -> Option<(Expr, Expr)> {
    match expr {
        Expr::Cast(Cast { expr, field })
            if matches!(field.data_type(), DataType::Interval(_) | DataType::Duration(_)) =>
        {
            difference(expr)
        }
        // What is compared is its length, which is all it is.
        Expr::ScalarFunction(call) if call.func.name() == IntervalLength::NAME => difference(call.args.first()?),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right }) if !is_interval(right) => {
            Some((left.as_ref().clone(), right.as_ref().clone()))
        }
        _ => None,
    }
}

/// True for a constant span of a fixed length. Days are none: compared as a span, a day is more than any number of hours.
pub(super) fn is_span(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(span)), _) => span.months == 0 && span.days == 0,
        Expr::Literal(ScalarValue::IntervalDayTime(Some(span)), _) => span.days == 0,
        _ => is_interval(expr),
    }
}
