//! Sums of integers that are errors where they leave their type: DataFusion's own wrap around.
//!
//! ```text
//! Aggregate(sum(x))         Projection(sum(x)::bigint)
//!   input            ==>      Aggregate(sum(x::numeric))
//!                               input
//! ```
//! So only the answer counts, in whatever order the rows came.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, Result, TableReference};
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, LogicalPlan, Projection, Window, WindowFunctionDefinition, cast,
};

/// Wide enough for as many integers as there can be rows.
pub(crate) const EXACT: DataType = DataType::Decimal128(38, 0);

/// One node of a plan with its sums of integers exact; the columns keep their names and types.
///
/// # Errors
/// DataFusion's, for a plan it made itself.
pub(super) fn exact_sums(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match node {
        LogicalPlan::Aggregate(aggregate) => {
            let keys = aggregate.schema.fields().len() - aggregate.aggr_expr.len().min(aggregate.schema.fields().len());
            let (calls, exact) = exact(&aggregate.aggr_expr, aggregate.input.schema(), &aggregate.schema, keys);
            if !exact.contains(&true) {
                return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
            }
            let made = Aggregate::try_new(aggregate.input, aggregate.group_expr, calls)?;
            cast_back(LogicalPlan::Aggregate(made), &aggregate.schema, keys, &exact)
        }
        LogicalPlan::Window(window) => {
            let own = window.input.schema().fields().len();
            let (functions, exact) = exact(&window.window_expr, window.input.schema(), &window.schema, own);
            if !exact.contains(&true) {
                return Ok(Transformed::no(LogicalPlan::Window(window)));
            }
            let made = Window::try_new(functions, window.input)?;
            cast_back(LogicalPlan::Window(made), &window.schema, own, &exact)
        }
        other => Ok(Transformed::no(other)),
    }
}

/// The calls with exact sums, under the names that `output` has from its column `first` on, and which of them were changed.
fn exact(calls: &[Expr], input: &DFSchema, output: &DFSchema, first: usize) -> (Vec<Expr>, Vec<bool>) {
    let names = output.fields().iter().skip(first);
    calls.iter().zip(names).map(|(call, field)| exact_call(call, input, field)).unzip()
}

fn exact_call(call: &Expr, input: &DFSchema, field: &FieldRef) -> (Expr, bool) {
    let is_integer = |args: &[Expr]| {
        let [argument] = args else { return false };
        argument.get_type(input).is_ok_and(|data_type| data_type.is_integer())
    };
    let widened = |args: Vec<Expr>| args.into_iter().map(|argument| cast(argument, EXACT)).collect();
    match call.clone().unalias() {
        Expr::AggregateFunction(mut sum) if sum.func.name() == "sum" && is_integer(&sum.params.args) => {
            sum.params.args = widened(sum.params.args);
            (Expr::AggregateFunction(sum).alias(field.name()), true)
        }
        Expr::WindowFunction(mut sum) if is_sum(&sum.fun) && is_integer(&sum.params.args) => {
            sum.params.args = widened(sum.params.args);
            (Expr::WindowFunction(sum).alias(field.name()), true)
        }
        _ => (call.clone(), false),
    }
}

fn is_sum(function: &WindowFunctionDefinition) -> bool {
    matches!(function, WindowFunctionDefinition::AggregateUDF(function) if function.name() == "sum")
}

fn cast_back(plan: LogicalPlan, schema: &DFSchema, first: usize, exact: &[bool]) -> Result<Transformed<LogicalPlan>> {
    let column = |(place, (qualifier, field)): (usize, (Option<&TableReference>, &FieldRef))| {
        let column = Expr::Column(Column::from(plan.schema().qualified_field(place)));
        match place.checked_sub(first).is_some_and(|call| exact[call]) {
            true => cast(column, field.data_type().clone()).alias_qualified(qualifier.cloned(), field.name()),
            false => column,
        }
    };
    let exprs = schema.iter().enumerate().map(column).collect();
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?)))
}
