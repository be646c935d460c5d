//! Casts that can fail, kept where they are.
//!
//! DataFusion compares `x::smallint > 55` as `x > 55`, and an x out of range passes or not where it is an error. Such a cast of
//! numbers is a function here, which the optimiser leaves alone. A cast that cannot fail is still taken off, so that filters
//! reach the columns below it.

use std::any::Any;
use std::sync::Arc;

use arrow::compute::CastOptions;
use arrow::datatypes::{DataType, FieldRef};
use arrow::util::display::FormatOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, internal_err};
use datafusion::logical_expr::expr::{Between, InList};
use datafusion::logical_expr::{
    BinaryExpr, Cast, ColumnarValue, Expr, ExprSchemable, Filter, LogicalPlan, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::fallible::always_fits;

/// A cast to one type that fails where a value is none of it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct CheckedCast {
    pub to: DataType,
    signature: Signature,
}

impl CheckedCast {
    /// The cast that `expr` is a call of.
    pub fn of(expr: &Expr) -> Option<(&Self, &Expr)> {
        let Expr::ScalarFunction(call) = expr else { return None };
        let cast = (call.func.inner().as_ref() as &dyn Any).downcast_ref::<Self>()?;
        Some((cast, call.args.first()?))
    }
}

impl ScalarUDFImpl for CheckedCast {
    fn name(&self) -> &str {
        "checked_cast"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let [field] = args.arg_fields else { return internal_err!("a cast takes one argument") };
        Ok(Arc::new(field.as_ref().clone().with_data_type(self.to.clone())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        const FAILING: CastOptions<'static> = CastOptions { safe: false, format_options: FormatOptions::new() };
        let [value] = args.args.as_slice() else { return internal_err!("a cast takes one argument") };
        value.cast_to(&self.to, Some(&FAILING))
    }
}

/// True for a comparison with a cast on one of its sides that has to be kept.
pub(super) fn compares_cast(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryExpr(binary) => compares(binary.op) && (is_cast(&binary.left) || is_cast(&binary.right)),
        Expr::InList(list) => is_cast(&list.expr),
        Expr::Between(between) => is_cast(&between.expr),
        _ => false,
    }
}

fn compares(op: Operator) -> bool {
    use Operator as O;
    matches!(op, O::Eq | O::NotEq | O::Lt | O::LtEq | O::Gt | O::GtEq | O::IsDistinctFrom | O::IsNotDistinctFrom)
}

fn is_cast(expr: &Expr) -> bool {
    matches!(expr, Expr::Cast(_))
}

/// The comparison with its casts kept.
pub(super) fn kept(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let keep = |side: Box<Expr>| kept_side(*side, schema).map(|side| Box::new(side.data));
    Ok(Transformed::yes(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            Expr::BinaryExpr(BinaryExpr { left: keep(left)?, op, right: keep(right)? })
        }
        Expr::InList(list) => Expr::InList(InList { expr: keep(list.expr)?, ..list }),
        Expr::Between(between) => Expr::Between(Between { expr: keep(between.expr)?, ..between }),
        other => return Ok(Transformed::no(other)),
    }))
}

/// An optimised plan whose filters keep the casts that give several values one: from `ts::date = '2026-03-01'` DataFusion concludes that ts
/// is midnight, and so the same everywhere, and that what is asked for in the order of ts needs no sort.
///
/// # Errors
/// DataFusion's, for a plan it made itself.
pub(crate) fn keep_merging_casts(plan: LogicalPlan) -> Result<LogicalPlan> {
    let kept = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Filter(Filter { predicate, input, .. }) => {
            let schema = Arc::clone(input.schema());
            let predicate = predicate.transform_up(|expr| match expr {
                Expr::Cast(cast) if merges(&cast, &schema) => Ok(Transformed::yes(checked(cast))),
                other => Ok(Transformed::no(other)),
            })?;
            predicate.map_data(|predicate| Ok(LogicalPlan::Filter(Filter::try_new(predicate, input)?)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(kept.data)
}

/// True for a cast of numbers or times that is not known to give different values different ones.
fn merges(cast: &Cast, schema: &DFSchema) -> bool {
    use DataType as D;
    let to = cast.field.data_type();
    let Ok(from) = cast.expr.get_type(schema) else { return false };
    let concerns = |data_type: &D| data_type.is_numeric() || data_type.is_temporal();
    let keeps_apart = match (&from, to) {
        (from, to) if from == to => true,
        (from, to) if from.is_integer() => {
            let digits = match to {
                D::Float64 => Some(53),
                D::Float32 => Some(24),
                _ => None,
            };
            let bits = from.primitive_width().map_or(64, |bytes| bytes * 8);
            digits.map_or_else(|| always_fits(from, to), |digits| bits <= digits)
        }
        (D::Float32, D::Float64) | (D::Date32, D::Timestamp(..)) => true,
        (D::Timestamp(from, _), D::Timestamp(to, _)) => from <= to,
        (from, to) => from.is_decimal() && to.is_decimal() && always_fits(from, to),
    };
    concerns(&from) && concerns(to) && !keeps_apart
}

/// A chain of casts, those of numbers that can fail kept.
fn kept_side(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_down(|expr| match expr {
        Expr::Cast(cast) => {
            let kept =
                if fails(&cast, schema) { Transformed::yes(checked(cast)) } else { Transformed::no(Expr::Cast(cast)) };
            Ok(kept)
        }
        other => Ok(Transformed::new(other, false, TreeNodeRecursion::Jump)),
    })
}

/// The cast as a function.
fn checked(cast: Cast) -> Expr {
    let signature = Signature::any(1, Volatility::Immutable);
    let checked = CheckedCast { to: cast.field.data_type().clone(), signature };
    ScalarUDF::from(checked).call(vec![*cast.expr])
}

/// True for a cast between numbers, or from text to one, of something that is no constant.
fn fails(cast: &Cast, schema: &DFSchema) -> bool {
    let to = cast.field.data_type();
    let Ok(from) = cast.expr.get_type(schema) else { return false };
    let concerns = |data_type: &DataType| data_type.is_integer() || data_type.is_decimal();
    concerns(to) && !always_fits(&from, to) && !cast.expr.column_refs().is_empty()
}
