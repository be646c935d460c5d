//! Functions that make as much as an argument says: `repeat`, `lpad`, `rpad`, `array_repeat`, `generate_series`, `range`.
//!
//! What they make is in no operator's account of memory, so each call of one is bounded before it is made: 54000, as
//! PostgreSQL refuses a text that would be too long.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::{cast, kernels::length::length};
use arrow::datatypes::{DataType, FieldRef, Int64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::error::DataFusionError;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use sql::{SqlError, SqlState};

/// Bytes one call, of all rows of a batch, may make.
const BYTES_MAX: f64 = (256 << 20) as f64;

/// How much a function makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Size {
    /// Its text so often.
    Repeat,
    /// So many characters.
    Pad,
    /// Its element so often.
    ArrayRepeat,
    /// As many steps as lie between its bounds.
    Series,
}

const FUNCTIONS: [(&str, Size); 6] = [
    ("repeat", Size::Repeat),
    ("lpad", Size::Pad),
    ("rpad", Size::Pad),
    ("array_repeat", Size::ArrayRepeat),
    ("generate_series", Size::Series),
    ("range", Size::Series),
];

/// Puts bounded functions in the place of these.
///
/// # Errors
/// DataFusion's, which there are none of.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    for (name, size) in FUNCTIONS {
        if let Some(inner) = state.scalar_functions().get(name).cloned() {
            state.register_udf(Arc::new(ScalarUDF::new_from_impl(Bounded { inner, size })))?;
        }
    }
    Ok(())
}

#[derive(Debug)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    size: Size,
}

impl PartialEq for Bounded {
    fn eq(&self, other: &Self) -> bool {
        self.size == other.size && self.inner == other.inner
    }
}

impl Eq for Bounded {}

impl Hash for Bounded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl Bounded {
    /// Bytes that a call makes, roughly.
    fn bytes(&self, args: &ScalarFunctionArgs) -> Result<f64> {
        let rows = args.number_rows;
        let array = |at: usize| args.args.get(at).map(|value| value.to_array(rows)).transpose();
        // A constant call is made once for all rows.
        let is_constant = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if is_constant { rows.min(1) } else { rows };
        let array = |at| Ok::<_, DataFusionError>(array(at)?.map(|array| array.slice(0, rows.min(array.len()))));
        let numbers = |at| array(at)?.map(|array| integers(&array)).transpose();
        let sum = |of: &dyn Fn(usize) -> f64| (0..rows).map(of).sum::<f64>();
        let count = |numbers: &Option<Int64Array>, row: usize| match numbers {
            Some(numbers) if numbers.is_valid(row) => numbers.value(row).max(0) as f64,
            _ => 0.0,
        };
        Ok(match self.size {
            Size::Repeat => {
                let lengths = array(0)?.map(|text| integers(&length(&text)?)).transpose()?;
                let times = numbers(1)?;
                sum(&|row| count(&lengths, row) * count(&times, row))
            }
            Size::Pad => {
                let characters = numbers(1)?;
                sum(&|row| count(&characters, row))
            }
            Size::ArrayRepeat => {
                let element = array(0)?;
                let each = element.map_or(0, |element| element.get_array_memory_size() / element.len().max(1));
                let times = numbers(1)?;
                sum(&|row| count(&times, row) * each.min(1 << 20).max(8) as f64)
            }
            Size::Series => {
                let (first, second, step) = (numbers(0)?, numbers(1)?, numbers(2)?);
                let (start, stop) = if second.is_some() { (first, second) } else { (None, first) };
                let value = |numbers: &Option<Int64Array>, row: usize, default: f64| match numbers {
                    Some(numbers) if numbers.is_valid(row) => numbers.value(row) as f64,
                    _ => default,
                };
                sum(&|row| {
                    let step = value(&step, row, 1.0);
                    // A step of nothing is the function's own to refuse.
                    let steps = (value(&stop, row, 0.0) - value(&start, row, 0.0)) / step;
                    if step == 0.0 { 0.0 } else { steps.max(0.0) * 8.0 }
                })
            }
        })
    }
}

/// Numbers, times and lengths of time as numbers of one unit.
fn integers(array: &ArrayRef) -> Result<Int64Array> {
    let number = match array.data_type() {
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
            let micros = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
            cast(&micros, &DataType::Int64)?
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let lengths = array.as_primitive::<IntervalMonthDayNanoType>();
            let days = |months: i32, days: i32| i64::from(months) * 28 + i64::from(days);
            let micros = lengths.iter().map(|length| {
                length.map(|length| days(length.months, length.days) * 86_400_000_000 + length.nanoseconds / 1000)
            });
            return Ok(micros.collect());
        }
        DataType::Null => return Ok(Int64Array::new_null(array.len())),
        _ => cast(array, &DataType::Int64)?,
    };
    Ok(number.as_primitive::<Int64Type>().clone())
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.inner().return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.inner().return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.inner().coerce_types(types)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.inner.inner().simplify(args, info)
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let inner = self.inner.inner().with_updated_config(config)?;
        Some(ScalarUDF::new_from_impl(Self { inner: Arc::new(inner), size: self.size }))
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.inner().output_ordering(inputs)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.inner().documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if self.bytes(&args)? > BYTES_MAX {
            let message = format!("requested length too large: {} would make more than 256 MiB", self.name());
            let error = SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message);
            return Err(DataFusionError::External(Box::new(error)));
        }
        self.inner.invoke_with_args(args)
    }
}
