//! `round(value [, places])`: of a float to the nearest even number where two are as near, as Postgres rounds double precision.
//!
//! Everything else is DataFusion's: numeric rounds half away from zero in both. There the type of a numeric answer depends on
//! whether the places are a literal, which an optimiser may make them or hide; ours is settled once, when the query is bound.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, FieldRef, Float32Type, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions::math;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// The function's name.
pub const NAME: &str = "round";

/// See the module.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Round {
    datafusion: Arc<ScalarUDF>,
    places: Places,
}

/// What is known of the places when the answer's type is settled.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Places {
    /// Not settled yet.
    Open,
    /// So many: the answer's scale is at most that.
    Are(i32),
    /// They differ by row: the answer has the value's scale.
    Differ,
}

impl Default for Round {
    fn default() -> Self {
        Self { datafusion: math::round(), places: Places::Open }
    }
}

impl Round {
    /// The function for calls with these places.
    pub(crate) fn settled(places: &Expr) -> Self {
        let places = constant(places).map_or(Places::Differ, Places::Are);
        Self { places, ..Self::default() }
    }
}

/// The constant integer that an expression is.
pub(crate) fn constant(expr: &Expr) -> Option<i32> {
    match expr {
        Expr::Literal(value, _) => match value.cast_to(&DataType::Int32) {
            Ok(ScalarValue::Int32(places)) if value.data_type().is_integer() => places,
            _ => None,
        },
        Expr::Negative(of) => constant(of)?.checked_neg(),
        Expr::Cast(cast) if cast.field.data_type().is_integer() => constant(&cast.expr),
        _ => None,
    }
}

impl ScalarUDFImpl for Round {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        self.datafusion.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.datafusion.return_type(arguments)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let settled = match self.places {
            Places::Are(places) if args.arg_fields.len() == 2 => Some(ScalarValue::Int32(Some(places))),
            Places::Differ => None,
            _ => return self.datafusion.return_field_from_args(args),
        };
        let scalar_arguments = &[None, settled.as_ref()];
        self.datafusion.return_field_from_args(ReturnFieldArgs { scalar_arguments, ..args })
    }

    fn simplify(&self, arguments: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.datafusion.simplify(arguments, info)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = args.args.as_slice() else { return self.datafusion.invoke_with_args(args) };
        let rounded: ArrayRef = match value.data_type() {
            DataType::Float64 => {
                let values = value.to_array(args.number_rows)?;
                Arc::new(values.as_primitive::<Float64Type>().unary::<_, Float64Type>(f64::round_ties_even))
            }
            DataType::Float32 => {
                let values = value.to_array(args.number_rows)?;
                Arc::new(values.as_primitive::<Float32Type>().unary::<_, Float32Type>(f32::round_ties_even))
            }
            _ => return self.datafusion.invoke_with_args(args),
        };
        Ok(ColumnarValue::Array(rounded))
    }

    fn evaluate_bounds(&self, inputs: &[&Interval]) -> Result<Interval> {
        self.datafusion.evaluate_bounds(inputs)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.datafusion.output_ordering(inputs)
    }
}
