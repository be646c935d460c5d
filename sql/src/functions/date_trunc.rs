//! `date_trunc(unit, time)`: a timestamp cut to a unit of the calendar.
//!
//! Timestamps in UTC, which is what sources give, are cut in microseconds, as [`date_bin`](super::date_bin) does: DataFusion's
//! function of the same name takes weeks and longer units through nanoseconds and fails outside the years 1677 to 2262,
//! and with it would every view that meets such a row. Everything else is left to that function.

use arrow::datatypes::{DataType, FieldRef, TimeUnit};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions::datetime::date_trunc::DateTruncFunc;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature};

use super::date_bin::{DAY, Stride, bin};

/// See the module.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub struct DateTrunc {
    of_other_times: DateTruncFunc,
}

/// A unit as a stride, and where its stretches begin.
fn stride(unit: &str) -> Option<(Stride, i64)> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "microsecond" => (Stride::Micros(1), 0),
        "millisecond" => (Stride::Micros(1_000), 0),
        "second" => (Stride::Micros(1_000_000), 0),
        "minute" => (Stride::Micros(60_000_000), 0),
        "hour" => (Stride::Micros(3_600_000_000), 0),
        "day" => (Stride::Micros(DAY), 0),
        // 1970-01-05 was a Monday.
        "week" => (Stride::Micros(7 * DAY), 4 * DAY),
        "month" => (Stride::Months(1), 0),
        "quarter" => (Stride::Months(3), 0),
        "year" => (Stride::Months(12), 0),
        _ => return None,
    })
}

fn is_utc_micros(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(TimeUnit::Microsecond, None) => true,
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) => matches!(&**zone, "+00:00" | "+00" | "UTC" | "Z"),
        _ => false,
    }
}

impl ScalarUDFImpl for DateTrunc {
    fn name(&self) -> &str {
        self.of_other_times.name()
    }

    fn aliases(&self) -> &[String] {
        self.of_other_times.aliases()
    }

    fn signature(&self) -> &Signature {
        self.of_other_times.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.of_other_times.return_type(arguments)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.of_other_times.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if let [ColumnarValue::Scalar(unit), time] = args.args.as_slice()
            && let ScalarValue::Utf8(Some(unit))
            | ScalarValue::Utf8View(Some(unit))
            | ScalarValue::LargeUtf8(Some(unit)) = unit
            && let Some((stride, origin)) = stride(unit)
            && is_utc_micros(&time.data_type())
        {
            return bin(time, args.number_rows, stride, origin);
        }
        self.of_other_times.invoke_with_args(args)
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        self.of_other_times.output_ordering(input)
    }
}
