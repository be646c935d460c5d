//! `sign(value)`: -1, 0 or 1; numeric of a numeric, else double precision. DataFusion knows it as `signum`, of floats alone.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

/// See the module.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Sign {
    signature: Signature,
}

impl Default for Sign {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Sign {
    fn name(&self) -> &str {
        "sign"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match arguments {
            [decimal @ DataType::Decimal128(..)] => Ok(vec![decimal.clone()]),
            [number] if number.is_numeric() || number.is_null() => Ok(vec![DataType::Float64]),
            [other] => plan_err!("Function 'sign' expects a number but received {other}"),
            _ => plan_err!("Function 'sign' expects 1 argument but received {}", arguments.len()),
        }
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(match arguments {
            [DataType::Decimal128(..)] => DataType::Decimal128(1, 0),
            _ => DataType::Float64,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = args.args.as_slice() else {
            return exec_err!("sign takes one number");
        };
        let values = value.to_array(args.number_rows)?;
        let signs: ArrayRef = match values.data_type() {
            DataType::Decimal128(..) => {
                let signs: Decimal128Array = values.as_primitive::<Decimal128Type>().unary(i128::signum);
                Arc::new(signs.with_precision_and_scale(1, 0)?)
            }
            _ => Arc::new(values.as_primitive::<Float64Type>().unary::<_, Float64Type>(sign)),
        };
        Ok(ColumnarValue::Array(signs))
    }
}

/// Of zero and NaN, whichever their sign, themselves.
fn sign(value: f64) -> f64 {
    if value > 0.0 {
        1.0
    } else if value < 0.0 {
        -1.0
    } else {
        value
    }
}
