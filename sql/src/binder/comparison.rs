//! Comparisons Postgres would refuse.
//!
//! DataFusion compares a number with a text by converting every text, and fails at the first that is no number: in a view
//! maintained for months, one record would end it. Postgres has no such operator, so neither do we. Only literals and
//! parameters take the type of what stands beside them.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, Diagnostic, Location, Span, Spans};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Operator};

use crate::diagnosis::NO_OPERATOR;
use crate::types::display_type;
use crate::{SqlError, SqlState};

/// Checks every comparison of a plan whose types are not coerced yet.
///
/// # Errors
/// 42883, as Postgres words it.
pub(crate) fn check(plan: &LogicalPlan) -> Result<(), DataFusionError> {
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(_) = node {
            return Ok(TreeNodeRecursion::Continue);
        }
        let schema = merge_schema(&node.inputs());
        if let LogicalPlan::Join(join) = node {
            for (left, right) in &join.on {
                pair(left, "=", right, &schema)?;
            }
        }
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                match expr {
                    Expr::BinaryExpr(binary) if compares(binary.op) => {
                        pair(&binary.left, &binary.op.to_string(), &binary.right, &schema)?;
                    }
                    Expr::InList(list) => {
                        for item in &list.list {
                            pair(&list.expr, "=", item, &schema)?;
                        }
                    }
                    Expr::Between(between) => {
                        pair(&between.expr, ">=", &between.low, &schema)?;
                        pair(&between.expr, "<=", &between.high, &schema)?;
                    }
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })
    .map(|_| ())
}

fn compares(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}

fn pair(left: &Expr, operator: &str, right: &Expr, schema: &DFSchema) -> Result<(), DataFusionError> {
    if is_flexible(left) || is_flexible(right) {
        return Ok(());
    }
    // What has no type yet is told by the analyzer.
    let (Ok(left_type), Ok(right_type)) = (left.get_type(schema), right.get_type(schema)) else { return Ok(()) };
    match (class(&left_type), class(&right_type)) {
        (Some(a), Some(b)) if a != b => {
            let types = (display_type(&left_type), display_type(&right_type));
            let message = format!("operator does not exist: {} {operator} {}", types.0, types.1);
            let error = SqlError::new(SqlState::UNDEFINED_FUNCTION, message).hint(NO_OPERATOR);
            let diagnostic = Diagnostic::new_error(error.message.clone(), span(left, right));
            Err(DataFusionError::External(Box::new(error)).with_diagnostic(diagnostic))
        }
        _ => Ok(()),
    }
}

/// From the first column of `left` to the last of `right`, or to the text's end; from a column of `right` if there is no other.
fn span(left: &Expr, right: &Expr) -> Option<Span> {
    let spans = |expr: &Expr| {
        let mut spans = Vec::new();
        // The closure never fails.
        let _ = expr.apply(|expr| {
            spans.extend(expr.spans().and_then(Spans::first));
            Ok(TreeNodeRecursion::Continue)
        });
        spans
    };
    let (left, right) = (spans(left), spans(right));
    let end = right.last().map_or(Location { line: u64::MAX, column: 0 }, |last| last.end);
    let first = left.first().or(right.first())?;
    Some(Span { start: first.start, end })
}

/// True for what takes the type of its neighbour.
fn is_flexible(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => value.is_null() || class(&value.data_type()) == Some(Class::Text),
        Expr::Placeholder(_) => true,
        Expr::Alias(alias) => is_flexible(&alias.expr),
        _ => false,
    }
}

#[derive(PartialEq)]
enum Class {
    Boolean,
    Number,
    Text,
    Date,
    Time,
    Interval,
    Bytes,
    List,
    Row,
}

/// Types within one class can be compared; `None` is left to DataFusion.
fn class(data_type: &DataType) -> Option<Class> {
    Some(match data_type {
        DataType::Boolean => Class::Boolean,
        data_type if data_type.is_numeric() => Class::Number,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Class::Text,
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => Class::Date,
        DataType::Time32(_) | DataType::Time64(_) => Class::Time,
        DataType::Interval(_) | DataType::Duration(_) => Class::Interval,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => Class::Bytes,
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => Class::List,
        DataType::Struct(_) => Class::Row,
        DataType::Dictionary(_, of) => return class(of),
        _ => return None,
    })
}
