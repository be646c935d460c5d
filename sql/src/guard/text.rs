//! Expressions as those who wrote them may know them.

use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, ExprSchemable};

use super::casts::CheckedCast;
use super::fallible::always_fits;
use crate::types::display_type;

/// An expression in SQL's words: constants as such, and of the casts those that can fail.
pub(crate) fn text(expr: &Expr, schema: &DFSchema) -> String {
    let named = |text: String| Ok(Transformed::yes(Expr::Column(Column::from_name(text))));
    let worded = expr.clone().transform_up(|expr| match &expr {
        Expr::Literal(value, _) => named(constant(value)),
        Expr::Alias(alias) => Ok(Transformed::yes(alias.expr.as_ref().clone())),
        Expr::Cast(cast) => {
            let (inner, to) = (&cast.expr, cast.field.data_type());
            // What was worded has no type any more; the casts of constants are folded by now.
            match inner.get_type(schema) {
                Ok(from) if !always_fits(&from, to) => named(format!("{}::{}", operand(inner), display_type(to))),
                Ok(_) => Ok(Transformed::yes(inner.as_ref().clone())),
                Err(_) => named(format!("({inner})::{}", display_type(to))),
            }
        }
        _ => match CheckedCast::of(&expr) {
            Some((cast, inner)) => named(format!("{}::{}", operand(inner), display_type(&cast.to))),
            None => Ok(Transformed::no(expr)),
        },
    });
    worded.map_or_else(|_| expr.to_string(), |worded| worded.data.to_string())
}

fn operand(expr: &Expr) -> String {
    if matches!(expr, Expr::BinaryExpr(_)) { format!("({expr})") } else { expr.to_string() }
}

fn constant(value: &ScalarValue) -> String {
    const OPTIONS: FormatOptions<'static> = FormatOptions::new().with_display_error(true);
    if value.is_null() {
        return "NULL".to_owned();
    }
    let shown = value.to_array().ok().and_then(|array| {
        let formatter = ArrayFormatter::try_new(array.as_ref(), &OPTIONS).ok()?;
        Some(formatter.value(0).to_string())
    });
    let shown = shown.unwrap_or_else(|| value.to_string());
    if value.data_type().is_numeric() || matches!(value, ScalarValue::Boolean(_)) {
        shown
    } else {
        format!("'{shown}'")
    }
}
