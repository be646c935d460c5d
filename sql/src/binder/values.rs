//! The columns of VALUES, whose values meet as those of a UNION do.
//!
//! DataFusion's planner gives a column of VALUES one type while it makes it, and casts what has another: a double beside a
//! numeric becomes numeric. So that those casts can be told from the query's own, each value that is more than a constant
//! is wrapped in a call before planning ([`wrap`]); after it the casts and calls are taken off, and the values meet as
//! Postgres has it ([`meet`]).

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl,
    Signature, Volatility,
};
use datafusion::sql::sqlparser::ast::{self, Expr as SqlExpr};

use super::rewrite::call;
use super::settle::alternatives;

/// Wraps the values of more than one row that are no constants.
pub(super) fn wrap(values: &mut ast::Values) {
    if values.rows.len() < 2 {
        return;
    }
    for value in values.rows.iter_mut().flat_map(|row| row.content.iter_mut()) {
        if !is_constant(value) {
            let inner = std::mem::replace(value, SqlExpr::value(ast::Value::Null));
            *value = call(Value::NAME, vec![inner]);
        }
    }
}

fn is_constant(expr: &SqlExpr) -> bool {
    match expr {
        SqlExpr::Value(_) => true,
        SqlExpr::UnaryOp { expr, .. } | SqlExpr::Nested(expr) => is_constant(expr),
        _ => false,
    }
}

/// VALUES whose columns have the types that Postgres gives them.
///
/// # Errors
/// A literal that cannot be read as what the others of its column are.
pub(super) fn meet(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Values(values) = plan else { return Ok(Transformed::no(plan)) };
    let width = values.schema.fields().len();
    let wrapped = (0..width).map(|column| values.values.iter().any(|row| unwrapped(&row[column]).is_some()));
    let wrapped: Vec<bool> = wrapped.collect();
    if !wrapped.contains(&true) {
        return Ok(Transformed::no(LogicalPlan::Values(values)));
    }
    let schema = DFSchema::empty();
    let mut rows = values.values;
    for column in (0..width).filter(|column| wrapped[*column]) {
        let written = rows.iter_mut().map(|row| as_written(std::mem::take(&mut row[column])));
        let met = alternatives(written.collect(), &schema)?;
        for (row, value) in rows.iter_mut().zip(met) {
            row[column] = value;
        }
    }
    LogicalPlanBuilder::values(rows)?.build().map(Transformed::yes)
}

/// What a value is a call around, below the planner's cast.
fn unwrapped(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::ScalarFunction(call) if call.func.name() == Value::NAME => call.args.first(),
        Expr::Cast(cast) if !matches!(cast.expr.as_ref(), Expr::Cast(_)) => unwrapped(&cast.expr),
        _ => None,
    }
}

/// A value without the planner's cast. Of the query's own every one is below a call.
fn as_written(expr: Expr) -> Expr {
    match unwrapped(&expr) {
        Some(inner) => inner.clone(),
        None => match expr {
            Expr::Cast(cast) => *cast.expr,
            // Which type a NULL has is yet to be seen.
            Expr::Literal(value, metadata) if value.is_null() => Expr::Literal(ScalarValue::Null, metadata),
            other => other,
        },
    }
}

/// Its argument.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Value {
    signature: Signature,
}

impl Value {
    const NAME: &str = "value_of_list";
}

impl Default for Value {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Value {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [only] => Ok(only.clone()),
            _ => internal_err!("one value expected"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        match args.arg_fields {
            [only] => Ok(FieldRef::clone(only)),
            _ => internal_err!("one value expected"),
        }
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.pop() {
            Some(value) => Ok(value),
            None => internal_err!("one value expected"),
        }
    }
}
