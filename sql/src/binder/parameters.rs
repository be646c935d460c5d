//! Types of `$1`, `$2`, …: declared, said by a cast or LIMIT, or found by the planner from what stands beside.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::sql::sqlparser::ast::{Expr, LimitClause, Query, Spanned, Value, ValueWithSpan, Visit, Visitor};

use crate::error::Located;
use crate::{SqlError, SqlState, types};

/// Most parameters of a statement: the protocol counts them in 16 bits.
const PARAMETERS_MAX: usize = 65_535;

/// The types of a query's parameters as far as its text says, `$1` first; `declared` ones stand as they are.
///
/// # Errors
/// 42P02 for `$0`, for a number too big, and for a placeholder that is no number.
pub(crate) fn declared(query: &Query, declared: &[Option<DataType>]) -> Result<Vec<Option<FieldRef>>, Located> {
    let mut parameters: Vec<Option<FieldRef>> = declared.iter().map(|data_type| data_type.clone().map(field)).collect();
    let mut finder = Finder { parameters: &mut parameters };
    match query.visit(&mut finder) {
        ControlFlow::Continue(()) => Ok(parameters),
        ControlFlow::Break(error) => Err(error),
    }
}

/// A parameter's field.
pub(crate) fn field(data_type: DataType) -> FieldRef {
    Arc::new(Field::new("", data_type, true))
}

/// The place of `$n` in the list.
pub(crate) fn index(placeholder: &str) -> Option<usize> {
    let number: usize = placeholder.strip_prefix('$')?.parse().ok()?;
    (number <= PARAMETERS_MAX).then_some(number.checked_sub(1)?)
}

struct Finder<'p> {
    parameters: &'p mut Vec<Option<FieldRef>>,
}

impl Finder<'_> {
    /// Notes that `expr` has this type, if it is a parameter of unknown type.
    fn note(&mut self, expr: &Expr, of: impl FnOnce() -> Option<FieldRef>) {
        if let Expr::Value(ValueWithSpan { value: Value::Placeholder(name), .. }) = expr
            && let Some(index) = index(name)
        {
            self.grow(index);
            if self.parameters[index].is_none() {
                self.parameters[index] = of();
            }
        }
    }

    fn grow(&mut self, index: usize) {
        if self.parameters.len() <= index {
            self.parameters.resize(index + 1, None);
        }
    }
}

impl Visitor for Finder<'_> {
    type Break = Located;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Located> {
        if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &query.limit_clause {
            for expr in limit.iter().chain(offset.as_ref().map(|offset| &offset.value)) {
                self.note(expr, || Some(field(DataType::Int64)));
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Located> {
        match expr {
            // An array that nothing else is known of is one of texts, as drivers send lists of strings.
            Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => {
                self.note(right, || Some(field(DataType::List(Arc::new(Field::new("item", DataType::Utf8View, true))))))
            }
            Expr::Cast { expr, data_type, .. } => self.note(expr, || types::field(data_type).ok()),
            Expr::Value(ValueWithSpan { value: Value::Placeholder(name), .. }) => match index(name) {
                Some(index) => self.grow(index),
                None => {
                    let message = format!("there is no parameter {name}");
                    return ControlFlow::Break(Located::new(
                        SqlError::new(SqlState::UNDEFINED_PARAMETER, message),
                        expr.span(),
                    ));
                }
            },
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
