//! What an aggregate is told: its keys, its calls, when it answers and when a group is final.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::bool_and_or::{bool_and_udaf, bool_or_udaf};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::AggregateUDF;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::expressions::{Column, Literal};

use crate::error::{Error, Result};

/// A group aggregate over one input.
#[derive(Debug, Clone)]
pub struct AggregateSpec {
    /// The input's columns, without the weight column.
    pub input: SchemaRef,
    /// The first `keys` input columns are the group keys. With none there is one group, which always exists: then exactly one
    /// partition may run the operator.
    pub keys: usize,
    /// The aggregate calls, in output order.
    pub calls: Vec<AggregateCall>,
    /// Whether the input can retract.
    pub input_weighted: bool,
    /// The output key column (a timestamp or a date) that [`closed_below`](crate::operator::TickContext::closed_below)
    /// speaks of: a group whose value is below it is final. A NULL key is never final.
    pub monotone_key: Option<usize>,
    /// When groups are answered.
    pub emit: Emit,
    /// Set where the input carries slices of hopping windows in place of the windows.
    pub hop: Option<HopSpec>,
    /// Set if a group whose answer cannot be computed goes without one and is told as a failure, instead of failing the operator:
    /// what the output keys are called there.
    pub leaves_out_failures: Option<Vec<String>>,
}

/// When groups are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emit {
    /// At every tick that changes them: the old row is retracted, the new one inserted.
    OnUpdate,
    /// Once, when final, as an insert. Needs a monotone key: below its bound nothing is inserted or retracted any more.
    OnClose,
}

/// Hopping or cumulating windows computed from slices.
///
/// The input column `slice_key` is the event time cut to slices of [`slice_micros`](Self::slice_micros); a finer value is
/// as right but slower. Each row is folded once into its slice, and each slice then into the windows that hold it. Rows whose
/// time is NULL lie in no window.
#[derive(Debug, Clone)]
pub struct HopSpec {
    /// Distance of window starts, µs, above 0; of window ends, where windows cumulate.
    pub slide_micros: i64,
    /// Length of a window, µs, above 0; of the longest, where windows cumulate: then a multiple of the slide.
    pub size_micros: i64,
    /// A window start, µs since the Unix epoch; the others lie whole slides from it, or whole sizes where windows cumulate.
    pub origin_micros: i64,
    /// Whether windows grow by the slide from one start until they are of full size, and begin anew there.
    pub cumulative: bool,
    /// Which input key column (a timestamp) is the slice.
    pub slice_key: usize,
    /// The output keys, in order.
    pub output_keys: Vec<HopKey>,
}

impl HopSpec {
    /// The longest slice that no window start or end divides: what the projection below should cut event time to.
    pub fn slice_micros(&self) -> i64 {
        let (mut a, mut b) = (self.slide_micros, self.size_micros);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    }
}

/// One output key of an aggregate over hopping windows.
#[derive(Debug, Clone)]
pub enum HopKey {
    /// The window's first instant; the field has the slice column's type.
    WindowStart(FieldRef),
    /// The instant after the window's last; the field has the slice column's type.
    WindowEnd(FieldRef),
    /// An input key column other than the slice.
    Column(usize),
}

/// One aggregate call.
#[derive(Debug, Clone)]
pub struct AggregateCall {
    /// The output column.
    pub field: FieldRef,
    /// What is computed.
    pub function: Function,
    /// Input columns that hold the arguments. Not read for [`Function::General`], whose expression names its own.
    pub arguments: Vec<usize>,
    /// A Boolean input column; rows where it is not true are left out.
    pub filter: Option<usize>,
    /// Whether equal arguments count once. Not read for [`Function::General`].
    pub distinct: bool,
}

/// What a call computes.
#[derive(Debug, Clone)]
pub enum Function {
    /// `count(*)`.
    CountStar,
    /// Rows in which no argument is NULL.
    Count,
    /// Sum. Integers and decimals are summed exactly, floats exactly and then rounded once.
    Sum,
    /// Average, from the same sums.
    Avg,
    /// Least value; NaN is the greatest float.
    Min,
    /// Greatest value; NaN is the greatest float.
    Max,
    /// True if no value is false.
    BoolAnd,
    /// True if a value is true.
    BoolOr,
    /// Any DataFusion aggregate over columns of the input.
    General(Arc<AggregateFunctionExpr>),
}

impl AggregateCall {
    /// The call that computes `expr`, by a function of our own where there is one and the arguments are plain columns.
    pub fn from_expr(expr: Arc<AggregateFunctionExpr>, filter: Option<usize>) -> Self {
        let field = expr.field();
        let distinct = expr.is_distinct();
        match Self::own_function(&expr) {
            Some((function, arguments)) => Self { field, function, arguments, filter, distinct },
            None => Self { field, function: Function::General(expr), arguments: Vec::new(), filter, distinct },
        }
    }

    fn own_function(expr: &AggregateFunctionExpr) -> Option<(Function, Vec<usize>)> {
        let arguments = expr.expressions();
        let literal = |e: &Arc<dyn PhysicalExpr>| e.downcast_ref::<Literal>().is_some_and(|l| !l.value().is_null());
        // `count(*)` arrives as a count of a constant.
        if *expr.fun() == *count_udaf() && !expr.is_distinct() && arguments.iter().all(literal) {
            return Some((Function::CountStar, Vec::new()));
        }
        let columns = arguments.iter().map(|e| e.downcast_ref::<Column>().map(Column::index)).collect::<Option<_>>()?;
        let own = [
            (count_udaf(), Function::Count),
            (sum_udaf(), Function::Sum),
            (avg_udaf(), Function::Avg),
            (min_udaf(), Function::Min),
            (max_udaf(), Function::Max),
            (bool_and_udaf(), Function::BoolAnd),
            (bool_or_udaf(), Function::BoolOr),
        ];
        let (_, function) = own.into_iter().find(|(udaf, _)| **udaf == *expr.fun())?;
        Some((function, columns))
    }

    /// The call as DataFusion's own aggregate over `input`, for argument types that have no kernel here.
    pub(super) fn general(&self, input: &SchemaRef) -> Result<Arc<AggregateFunctionExpr>> {
        let Some(udaf) = self.function.udaf() else {
            return match &self.function {
                Function::General(expr) => Ok(Arc::clone(expr)),
                _ => Err(Error::internal("count(*) takes no arguments")),
            };
        };
        let column = |i: &usize| Arc::new(Column::new(input.field(*i).name(), *i)) as Arc<dyn PhysicalExpr>;
        let expr = AggregateExprBuilder::new(udaf, self.arguments.iter().map(column).collect())
            .schema(Arc::clone(input))
            .alias(self.field.name())
            .with_distinct(self.distinct)
            .build()?;
        Ok(Arc::new(expr))
    }
}

impl Function {
    fn udaf(&self) -> Option<Arc<AggregateUDF>> {
        match self {
            Self::CountStar | Self::General(_) => None,
            Self::Count => Some(count_udaf()),
            Self::Sum => Some(sum_udaf()),
            Self::Avg => Some(avg_udaf()),
            Self::Min => Some(min_udaf()),
            Self::Max => Some(max_udaf()),
            Self::BoolAnd => Some(bool_and_udaf()),
            Self::BoolOr => Some(bool_or_udaf()),
        }
    }
}

impl AggregateSpec {
    /// The input columns by whose values rows are dealt to partitions: the keys without the slice, because all slices of a
    /// window have to meet. Rows are dealt by their canonical values ([`crate::state::canonical`]).
    pub fn partition_columns(&self) -> Vec<usize> {
        let slice = self.hop.as_ref().map(|hop| hop.slice_key);
        (0..self.keys).filter(|key| Some(*key) != slice).collect()
    }

    /// The output's columns: keys, then calls.
    pub fn output_schema(&self) -> SchemaRef {
        let calls = self.calls.iter().map(|call| Arc::clone(&call.field));
        Arc::new(Schema::new(self.output_keys().into_iter().chain(calls).collect::<Vec<_>>()))
    }

    /// Fields of the output keys.
    pub(super) fn output_keys(&self) -> Vec<FieldRef> {
        let input = |key: usize| Arc::clone(&self.input.fields()[key]);
        match &self.hop {
            None => (0..self.keys).map(input).collect(),
            Some(hop) => {
                let key = |key: &HopKey| match key {
                    HopKey::WindowStart(field) | HopKey::WindowEnd(field) => Arc::clone(field),
                    HopKey::Column(column) => input(*column),
                };
                hop.output_keys.iter().map(key).collect()
            }
        }
    }

    /// Output keys whose values deal a group to its key group, in the order of [`partition_columns`](Self::partition_columns).
    pub(super) fn partition_keys(&self) -> Vec<usize> {
        let Some(hop) = &self.hop else { return (0..self.keys).collect() };
        let place = |column: usize| hop.output_keys.iter().position(|k| matches!(k, HopKey::Column(c) if *c == column));
        self.partition_columns().into_iter().filter_map(place).collect()
    }

    /// Checks what the types cannot say.
    pub(super) fn check(&self) -> Result<()> {
        let columns = self.input.fields().len();
        let arguments = self.calls.iter().flat_map(|call| call.arguments.iter().chain(&call.filter));
        if self.keys > columns || arguments.into_iter().any(|column| *column >= columns) {
            return Err(Error::internal("an aggregate names a column that its input does not have"));
        }
        let boolean = |filter: usize| *self.input.field(filter).data_type() == DataType::Boolean;
        if !self.calls.iter().filter_map(|call| call.filter).all(boolean) {
            return Err(Error::internal("an aggregate's filter is not Boolean"));
        }
        if let Some(hop) = &self.hop {
            self.check_hop(hop)?;
        }
        let keys = self.output_keys();
        if let Some(key) = self.monotone_key {
            let data_type = keys.get(key).map(|field| field.data_type());
            if !matches!(data_type, Some(DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)) {
                return Err(Error::internal("an aggregate's monotone key is not a timestamp or a date"));
            }
        }
        if self.emit == Emit::OnClose && self.monotone_key.is_none() {
            return Err(Error::internal("emit on close needs a monotone key"));
        }
        Ok(())
    }

    fn check_hop(&self, hop: &HopSpec) -> Result<()> {
        if hop.slide_micros <= 0 || hop.size_micros <= 0 {
            return Err(Error::input("a hopping window's slide and size must be above zero"));
        }
        let tells_ends = hop.output_keys.iter().any(|key| matches!(key, HopKey::WindowEnd(_)));
        let tells_starts = hop.output_keys.iter().any(|key| matches!(key, HopKey::WindowStart(_)));
        if hop.cumulative && (hop.size_micros % hop.slide_micros != 0 || (tells_starts && !tells_ends)) {
            return Err(Error::internal("a cumulating window's size is no multiple of its step, or its end is no key"));
        }
        let slice = (hop.slice_key < self.keys).then(|| self.input.field(hop.slice_key).data_type());
        let Some(slice @ DataType::Timestamp(_, _)) = slice else {
            return Err(Error::internal("a hopping window's slice is not a timestamp key"));
        };
        let fits = |key: &HopKey| match key {
            HopKey::WindowStart(field) | HopKey::WindowEnd(field) => field.data_type() == slice,
            HopKey::Column(column) => *column < self.keys && *column != hop.slice_key,
        };
        if !hop.output_keys.iter().all(fits) || self.partition_keys().len() + 1 != self.keys {
            return Err(Error::internal("a hopping window's output keys do not match its input keys"));
        }
        Ok(())
    }
}

/// How many of a timestamp column's units a microsecond has, or a unit has microseconds: `(per_micro, per_unit)`.
pub(super) fn unit_scale(unit: TimeUnit) -> (i64, i64) {
    match unit {
        TimeUnit::Second => (1, 1_000_000),
        TimeUnit::Millisecond => (1, 1_000),
        TimeUnit::Microsecond => (1, 1),
        TimeUnit::Nanosecond => (1_000, 1),
    }
}
