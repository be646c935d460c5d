//! DISTINCT ON as the first row of each group.
//!
//! ```text
//! DistinctOn(on; select; order)       Projection(select)
//!   input                      ==>      Sort(order)
//!                                         Filter(row_number = 1)
//!                                           Window(row_number() OVER (PARTITION BY on ORDER BY order, the other columns))
//!                                             input
//! ```

use std::sync::Arc;

use datafusion::common::{Column, Result};
use datafusion::functions_window::row_number::row_number_udwf;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{DistinctOn, Expr, Filter, LogicalPlan, Projection, Sort, Window, WindowFrame, lit};

use super::ties;
use crate::binder::HIDDEN;

/// The plan that keeps the first row of each group.
pub(super) fn first_rows(on: DistinctOn) -> Result<LogicalPlan> {
    let DistinctOn { on_expr, select_expr, sort_expr, input, schema } = on;
    let order = sort_expr.unwrap_or_default();
    let mut number = WindowFunction::new(row_number_udwf(), Vec::new());
    number.params.window_frame = WindowFrame::new((!order.is_empty()).then_some(false));
    number.params.partition_by = on_expr;
    number.params.order_by = order.clone();
    let name = format!("{HIDDEN}row_number");
    let number = Expr::WindowFunction(Box::new(number)).alias(&name);
    let window = LogicalPlan::Window(Window::try_new(vec![number], input)?);
    let first = Expr::Column(Column::from_name(&name)).eq(lit(1u64));
    let mut plan = LogicalPlan::Filter(Filter::try_new(first, Arc::new(window))?);
    if !order.is_empty() {
        plan = LogicalPlan::Sort(Sort { expr: order, input: Arc::new(plan), fetch: None });
    }
    let named = select_expr.into_iter().zip(schema.iter());
    let named = named.map(|(expr, (qualifier, field))| match &expr {
        Expr::Column(column) if column.relation.as_ref() == qualifier && column.name == *field.name() => expr,
        _ => expr.unalias().alias_qualified(qualifier.cloned(), field.name()),
    });
    Ok(ties::of_windows(Projection::try_new(named.collect(), Arc::new(plan))?)?.data)
}
