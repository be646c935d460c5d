//! Which expressions can fail on a row, as far as can be told without looking at one.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable, Operator};

/// Functions that have a value for every argument. What is missing here is merely taken for one that may fail.
const INFALLIBLE: [&str; 30] = [
    "bit_length",
    "btrim",
    "ceil",
    "char_length",
    "character_length",
    "coalesce",
    "concat",
    "concat_ws",
    "date_part",
    "ends_with",
    "epoch",
    "floor",
    "get_field",
    "greatest",
    "interval_seconds",
    "least",
    "length",
    "lower",
    "ltrim",
    "make_array",
    "named_struct",
    "nullif",
    "octet_length",
    "replace",
    "reverse",
    "rtrim",
    "starts_with",
    "strpos",
    "struct",
    "upper",
];

/// True if `expr`, over columns of `schema`, may fail on some row.
pub(crate) fn can_fail(expr: &Expr, schema: &DFSchema) -> bool {
    let mut found = false;
    let look = |expr: &Expr| {
        found |= fails_itself(expr, schema);
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    };
    expr.apply(look).is_err() || found
}

/// True if `expr` may fail though what it is made of does not.
fn fails_itself(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::BinaryExpr(binary) => operator_fails(binary, schema),
        Expr::Negative(value) => !value.get_type(schema).is_ok_and(|data_type| data_type.is_floating()),
        Expr::Cast(cast) => cast_fails(cast, schema),
        Expr::ScalarFunction(call) => !INFALLIBLE.contains(&call.func.name()),
        Expr::SimilarTo(_) | Expr::HigherOrderFunction(_) => true,
        _ => false,
    }
}

fn operator_fails(binary: &BinaryExpr, schema: &DFSchema) -> bool {
    use Operator as O;
    let floats = || binary.right.get_type(schema).is_ok_and(|data_type| data_type.is_floating());
    match binary.op {
        O::Plus | O::Minus | O::Multiply => !floats(),
        O::Divide | O::Modulo => !is_safe_divisor(&binary.right) && !floats(),
        O::RegexMatch | O::RegexIMatch | O::RegexNotMatch | O::RegexNotIMatch => true,
        O::Arrow | O::LongArrow | O::HashArrow | O::HashLongArrow | O::AtArrow | O::ArrowAt => true,
        _ => false,
    }
}

/// True for a constant integer that divides every integer of its type.
fn is_safe_divisor(expr: &Expr) -> bool {
    let Expr::Literal(value, _) = expr else { return false };
    match value {
        ScalarValue::Int16(Some(value)) => !matches!(value, 0 | -1),
        ScalarValue::Int32(Some(value)) => !matches!(value, 0 | -1),
        ScalarValue::Int64(Some(value)) => !matches!(value, 0 | -1),
        ScalarValue::UInt64(Some(value)) => *value != 0,
        _ => false,
    }
}

fn cast_fails(cast: &Cast, schema: &DFSchema) -> bool {
    let Ok(from) = cast.expr.get_type(schema) else { return true };
    !always_fits(&from, cast.field.data_type())
}

/// True if every value of `from` is one of `to`.
pub(super) fn always_fits(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    if from == to {
        return true;
    }
    match (from, to) {
        (T::Null, _) => true,
        (from, T::Utf8 | T::Utf8View | T::LargeUtf8) => !from.is_nested() && !matches!(from, T::Binary | T::BinaryView),
        (T::Boolean, to) => to.is_integer(),
        (from, T::Float64) => from.is_integer() || from.is_decimal() || from.is_floating(),
        (from, T::Float32) => from.is_integer(),
        (from, T::Boolean) => from.is_integer(),
        (T::Timestamp(TimeUnit::Microsecond, _), T::Timestamp(TimeUnit::Microsecond, zone)) => {
            zone.as_deref().is_none_or(|zone| matches!(zone, "+00:00" | "UTC"))
        }
        (T::Decimal128(digits, scale), T::Decimal128(to_digits, to_scale)) => {
            let before = |digits: &u8, scale: &i8| i16::from(*digits) - i16::from(*scale);
            to_scale >= scale && before(to_digits, to_scale) >= before(digits, scale)
        }
        (from, T::Decimal128(digits, scale)) if from.is_integer() => {
            integer_digits(from).is_some_and(|needed| i16::from(*digits) - i16::from(*scale) >= needed)
        }
        (from, to) if from.is_integer() && to.is_integer() => match (integer_range(from), integer_range(to)) {
            (Some((least, greatest)), Some((to_least, to_greatest))) => least >= to_least && greatest <= to_greatest,
            _ => false,
        },
        _ => false,
    }
}

fn integer_range(data_type: &DataType) -> Option<(i128, i128)> {
    Some(match data_type {
        DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::Int64 => (i64::MIN.into(), i64::MAX.into()),
        DataType::UInt8 => (0, u8::MAX.into()),
        DataType::UInt16 => (0, u16::MAX.into()),
        DataType::UInt32 => (0, u32::MAX.into()),
        DataType::UInt64 => (0, u64::MAX.into()),
        _ => return None,
    })
}

fn integer_digits(data_type: &DataType) -> Option<i16> {
    integer_range(data_type).map(|(_, greatest)| i16::try_from(greatest.to_string().len()).unwrap_or(i16::MAX))
}
