//! The condition on time of an ASOF join, marked where the planner would not know it.
//!
//! sqlparser's tree has a join of its own for them. It becomes a plain join, and the condition on time the argument of a
//! function that no query can write; the typed plan still has it.

use arrow::datatypes::DataType;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, JoinConstraint, JoinOperator, Select, Spanned, Value, ValueWithSpan,
};

use super::version;
use crate::SqlError;
use crate::binder::{Relations, call};
use crate::error::Located;
use crate::parser::asof::{INNER, LEFT};

/// The function's name.
const NAME: &str = "\u{1}asof";

/// True of whatever it is; never called.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mark {
    signature: Signature,
}

impl Default for Mark {
    fn default() -> Self {
        Self { signature: Signature::exact(vec![DataType::Boolean], Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Mark {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("the condition of an ASOF join was left in a plan")
    }
}

/// The condition on time in a marked one.
pub(super) fn marked(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::ScalarFunction(call) if call.func.name() == NAME => call.args.first(),
        _ => None,
    }
}

/// The condition on time, marked.
pub(super) fn mark(condition: ast::Expr) -> ast::Expr {
    call(NAME, vec![condition])
}

/// Makes plain joins of a SELECT's ASOF joins and of its joins with versions. `ctes` are the names that WITH gives here.
///
/// # Errors
/// 0A000 for USING, and for a condition without a comparison by time or with several; see [`version::rewrite`].
pub(crate) fn rewrite(
    select: &mut Select,
    relations: &dyn Relations,
    ctes: &[String],
) -> std::result::Result<(), Located> {
    version::rewrite(select, relations, ctes)?;
    for join in select.from.iter_mut().flat_map(|from| &mut from.joins) {
        let JoinOperator::AsOf { match_condition, constraint } = &join.join_operator else { continue };
        let kind = match match_condition {
            ast::Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(kind), .. }) => Some(kind.as_str()),
            _ => None,
        };
        let refuse = |what: &str| {
            let error = SqlError::unsupported(format!("ASOF JOIN {what} is not supported"))
                .hint("write ASOF [LEFT] JOIN b ON a.key = b.key AND a.time >= b.time");
            Err(Located::new(error, match_condition.span()))
        };
        let on = match constraint {
            JoinConstraint::On(on) => Some(on.clone()),
            JoinConstraint::None => None,
            _ => return refuse("with USING"),
        };
        // Snowflake's keeps left rows that have no right one.
        let (condition, outer) = match (kind, on) {
            (Some(kind @ (INNER | LEFT)), Some(on)) => {
                let mut parts = Vec::new();
                conjuncts(on, &mut parts);
                let times = parts.iter().filter(|part| is_inequality(part)).count();
                if times != 1 {
                    return refuse(if times == 0 {
                        "without a comparison by time"
                    } else {
                        "with several comparisons"
                    });
                }
                let parts = parts.into_iter().map(|part| if is_inequality(&part) { mark(part) } else { part });
                (parts.reduce(and), kind == LEFT)
            }
            (_, on) => (on.into_iter().chain([mark(match_condition.clone())]).reduce(and), true),
        };
        let Some(condition) = condition else { continue };
        let constraint = JoinConstraint::On(condition);
        join.join_operator = if outer { JoinOperator::LeftOuter(constraint) } else { JoinOperator::Inner(constraint) };
    }
    Ok(())
}

fn and(left: ast::Expr, right: ast::Expr) -> ast::Expr {
    ast::Expr::BinaryOp { left: Box::new(left), op: BinaryOperator::And, right: Box::new(right) }
}

fn conjuncts(expr: ast::Expr, parts: &mut Vec<ast::Expr>) {
    let mut rest = vec![expr];
    while let Some(expr) = rest.pop() {
        match expr {
            ast::Expr::BinaryOp { left, op: BinaryOperator::And, right } => rest.extend([*right, *left]),
            ast::Expr::Nested(inner) => rest.push(*inner),
            other => parts.push(other),
        }
    }
}

fn is_inequality(expr: &ast::Expr) -> bool {
    use BinaryOperator::{Gt, GtEq, Lt, LtEq};
    matches!(expr, ast::Expr::BinaryOp { op: Gt | GtEq | Lt | LtEq, .. })
}
