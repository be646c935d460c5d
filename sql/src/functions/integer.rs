//! Sums, differences and products of integers that are errors where they leave their type, as in Postgres. DataFusion's own
//! operators wrap around.

use std::any::Any;
use std::hash::Hash;

use arrow::array::{Array, ArrayRef, Datum, Scalar};
use arrow::compute::kernels::numeric;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::types::display_type;
use crate::{SqlError, SqlState};

/// One of the three over integers of one type.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Arithmetic {
    op: Operator,
    data_type: DataType,
    signature: Signature,
}

impl Arithmetic {
    fn new(op: Operator, data_type: DataType) -> Self {
        let signature = Signature::exact(vec![data_type.clone(), data_type.clone()], Volatility::Immutable);
        Self { op, data_type, signature }
    }

    /// What stands for `binary`, if that is such an operation.
    pub fn of(binary: &BinaryExpr, schema: &DFSchema) -> Option<ScalarUDF> {
        if !matches!(binary.op, Operator::Plus | Operator::Minus | Operator::Multiply) {
            return None;
        }
        // The right side is the short one of a chain.
        let right = type_of(&binary.right, schema)?;
        (type_of(&binary.left, schema)? == right).then(|| ScalarUDF::from(Self::new(binary.op, right)))
    }

    /// What stands for the negation of `value`, a difference from zero, if that is an integer.
    pub fn negation(value: &Expr, schema: &DFSchema) -> Option<(ScalarUDF, Expr)> {
        let data_type = type_of(value, schema)?;
        let zero = ScalarValue::new_zero(&data_type).ok()?;
        Some((ScalarUDF::from(Self::new(Operator::Minus, data_type)), Expr::Literal(zero, None)))
    }

    fn kernel(&self) -> fn(&dyn Datum, &dyn Datum) -> Result<ArrayRef, ArrowError> {
        match self.op {
            Operator::Plus => numeric::add,
            Operator::Minus => numeric::sub,
            _ => numeric::mul,
        }
    }

    fn out_of_range(&self) -> DataFusionError {
        let message = format!("{} out of range", display_type(&self.data_type));
        DataFusionError::External(Box::new(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message)))
    }
}

/// The type of an integer expression.
fn type_of(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    if let Expr::ScalarFunction(call) = expr
        && let Some(known) = (call.func.inner().as_ref() as &dyn Any).downcast_ref::<Arithmetic>()
    {
        return Some(known.data_type.clone());
    }
    expr.get_type(schema).ok().filter(DataType::is_integer)
}

/// A constant integer and the range of its type.
pub(crate) fn of_literal(value: &ScalarValue) -> Option<(i128, (i128, i128))> {
    let number = match value {
        ScalarValue::Int16(value) => value.map(i128::from),
        ScalarValue::Int32(value) => value.map(i128::from),
        ScalarValue::Int64(value) => value.map(i128::from),
        _ => None,
    };
    Some((number?, range_of(&value.data_type())?))
}

/// The least and the greatest integer of one of SQL's types.
pub(crate) fn range_of(data_type: &DataType) -> Option<(i128, i128)> {
    Some(match data_type {
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::Int64 => (i64::MIN.into(), i64::MAX.into()),
        _ => return None,
    })
}

/// What two constants of one type come to, if that is of the type, too. Of other operators than these three nothing is known,
/// nor of constants of two types.
pub(crate) fn apply(
    op: Operator,
    (left, range): (i128, (i128, i128)),
    (right, of_right): (i128, (i128, i128)),
) -> Option<i128> {
    let value = match op {
        Operator::Plus => left + right,
        Operator::Minus => left - right,
        Operator::Multiply => left * right,
        _ => return None,
    };
    (range == of_right && (range.0..=range.1).contains(&value)).then_some(value)
}

impl ScalarUDFImpl for Arithmetic {
    fn name(&self) -> &str {
        match self.op {
            Operator::Plus => "integer_add",
            Operator::Minus => "integer_subtract",
            _ => "integer_multiply",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.data_type.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let failed = |error: ArrowError| match error {
            ArrowError::ArithmeticOverflow(_) => self.out_of_range(),
            other => other.into(),
        };
        let scalar = |value: &ScalarValue| Ok::<_, DataFusionError>(Scalar::new(value.to_array()?));
        let kernel = self.kernel();
        let [left, right] = args.args.as_slice() else {
            return datafusion::common::internal_err!("{} takes two arguments", self.name());
        };
        let array = match (left, right) {
            (ColumnarValue::Array(left), ColumnarValue::Array(right)) => kernel(left, right),
            (ColumnarValue::Array(left), ColumnarValue::Scalar(right)) => kernel(left, &scalar(right)?),
            (ColumnarValue::Scalar(left), ColumnarValue::Array(right)) => kernel(&scalar(left)?, right),
            (ColumnarValue::Scalar(left), ColumnarValue::Scalar(right)) => {
                let value = kernel(&left.to_array()?, &right.to_array()?).map_err(failed)?;
                return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&value as &dyn Array, 0)?));
            }
        };
        array.map(ColumnarValue::Array).map_err(failed)
    }
}
