//! Aggregates over frames whose rows also leave, for those that cannot take rows back.
//!
//! DataFusion refuses a frame that does not begin at its partition's first row for an aggregate that knows no retraction. Here the
//! rows of the frame are kept, and aggregated anew for each answer: as many steps as the frame has rows.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::expr::{AggregateFunctionParams, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, ReversedUDAF, SetMonotonicity, Signature,
    WindowFunctionDefinition,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr_common::sort_expr::PhysicalSortExpr;

/// Take rows back by themselves unless they are DISTINCT.
const RETRACTING: [&str; 5] = ["count", "sum", "avg", "min", "max"];

/// A window's function, able to let rows leave its frame.
pub(crate) fn retractable(expr: Expr) -> Transformed<Expr> {
    let Expr::WindowFunction(call) = expr else { return Transformed::no(expr) };
    let WindowFunctionDefinition::AggregateUDF(function) = &call.fun else {
        return Transformed::no(Expr::WindowFunction(call));
    };
    let retracts = RETRACTING.contains(&function.name()) && !call.params.distinct;
    let is_known = (function.inner().as_ref() as &dyn std::any::Any).is::<Sliding>();
    if retracts || is_known || call.params.window_frame.start_bound.is_unbounded() {
        return Transformed::no(Expr::WindowFunction(call));
    }
    let sliding = AggregateUDF::from(Sliding { inner: Arc::clone(function) });
    let fun = WindowFunctionDefinition::AggregateUDF(Arc::new(sliding));
    Transformed::yes(Expr::WindowFunction(Box::new(WindowFunction { fun, ..*call })))
}

/// An aggregate under its own name.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Sliding {
    inner: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for Sliding {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arguments)
    }

    fn return_field(&self, arguments: &[FieldRef]) -> Result<FieldRef> {
        self.inner.return_field(arguments)
    }

    fn is_nullable(&self) -> bool {
        self.inner.is_nullable()
    }

    fn schema_name(&self, params: &AggregateFunctionParams) -> Result<String> {
        self.inner.schema_name(params)
    }

    fn window_function_schema_name(&self, params: &WindowFunctionParams) -> Result<String> {
        self.inner.window_function_schema_name(params)
    }

    fn window_function_display_name(&self, params: &WindowFunctionParams) -> Result<String> {
        self.inner.window_function_display_name(params)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.inner.accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        // Some are refused for the types they are given.
        if let Ok(own) = self.inner.create_sliding_accumulator(args.clone())
            && own.supports_retract_batch()
        {
            return Ok(own);
        }
        let call = Call {
            function: Arc::clone(&self.inner),
            return_field: args.return_field,
            schema: args.schema.clone(),
            ignore_nulls: args.ignore_nulls,
            order_bys: args.order_bys.to_vec(),
            is_reversed: args.is_reversed,
            name: args.name.to_owned(),
            is_distinct: args.is_distinct,
            exprs: args.exprs.to_vec(),
            expr_fields: args.expr_fields.to_vec(),
        };
        Ok(Box::new(FrameRows { call, rows: VecDeque::new() }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn with_beneficial_ordering(self: Arc<Self>, ordered: bool) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        let ordered = self.inner.as_ref().clone().with_beneficial_ordering(ordered)?;
        Ok(ordered.map(|inner| Arc::new(Self { inner: Arc::new(inner) }) as Arc<dyn AggregateUDFImpl>))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        None
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::NotSupported
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arguments)
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.inner.default_value(data_type)
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.inner.supports_null_handling_clause()
    }

    fn supports_within_group_clause(&self) -> bool {
        self.inner.supports_within_group_clause()
    }

    fn set_monotonicity(&self, _: &DataType) -> SetMonotonicity {
        SetMonotonicity::NotMonotonic
    }
}

/// How an aggregate is called.
#[derive(Debug)]
struct Call {
    function: Arc<AggregateUDF>,
    return_field: FieldRef,
    schema: Schema,
    ignore_nulls: bool,
    order_bys: Vec<PhysicalSortExpr>,
    is_reversed: bool,
    name: String,
    is_distinct: bool,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    expr_fields: Vec<FieldRef>,
}

impl Call {
    fn accumulator(&self) -> Result<Box<dyn Accumulator>> {
        self.function.accumulator(AccumulatorArgs {
            return_field: Arc::clone(&self.return_field),
            schema: &self.schema,
            ignore_nulls: self.ignore_nulls,
            order_bys: &self.order_bys,
            is_reversed: self.is_reversed,
            name: &self.name,
            is_distinct: self.is_distinct,
            exprs: &self.exprs,
            expr_fields: &self.expr_fields,
        })
    }
}

/// The rows of a frame as they came, none of the batches empty.
#[derive(Debug)]
struct FrameRows {
    call: Call,
    rows: VecDeque<Vec<ArrayRef>>,
}

fn count(batch: &[ArrayRef]) -> usize {
    batch.first().map_or(0, |column| column.len())
}

impl Accumulator for FrameRows {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if count(values) > 0 {
            self.rows.push_back(values.to_vec());
        }
        Ok(())
    }

    /// A frame only moves on, so the oldest rows leave.
    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let mut leaving = count(values);
        while leaving > 0 {
            let Some(oldest) = self.rows.front_mut() else {
                return internal_err!("more rows leave a frame than are in it");
            };
            let held = count(oldest);
            if held <= leaving {
                leaving -= held;
                self.rows.pop_front();
            } else {
                for column in oldest {
                    *column = column.slice(leaving, held - leaving);
                }
                leaving = 0;
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut accumulator = self.call.accumulator()?;
        for batch in &self.rows {
            accumulator.update_batch(batch)?;
        }
        accumulator.evaluate()
    }

    fn size(&self) -> usize {
        let rows = self.rows.iter().flatten().map(|column| column.get_array_memory_size());
        size_of_val(self) + rows.sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        internal_err!("a window's aggregate has no state of its own")
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        internal_err!("a window's aggregate has no state of its own")
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, Int64Array};
    use arrow::datatypes::Field;
    use datafusion::functions_aggregate::bool_and_or::bool_or_udaf;

    use super::*;

    #[test]
    fn rows_leave_in_the_order_they_came() {
        let field: FieldRef = Arc::new(Field::new("b", DataType::Boolean, true));
        let sliding = Sliding { inner: bool_or_udaf() };
        let args = AccumulatorArgs {
            return_field: Arc::clone(&field),
            schema: &Schema::new(vec![Arc::clone(&field)]),
            ignore_nulls: false,
            order_bys: &[],
            is_reversed: false,
            name: "bool_or(b)",
            is_distinct: false,
            exprs: &[],
            expr_fields: &[field],
        };
        let mut frame = sliding.create_sliding_accumulator(args).expect("an accumulator");
        let rows = |values: Vec<Option<bool>>| vec![Arc::new(BooleanArray::from(values)) as ArrayRef];
        frame.update_batch(&rows(vec![Some(true), None])).expect("rows come");
        frame.update_batch(&rows(vec![Some(false)])).expect("rows come");
        assert_eq!(frame.evaluate().expect("an answer"), ScalarValue::Boolean(Some(true)));
        frame.retract_batch(&rows(vec![Some(true)])).expect("a row leaves");
        assert_eq!(frame.evaluate().expect("an answer"), ScalarValue::Boolean(Some(false)));
        frame.retract_batch(&rows(vec![None, Some(false)])).expect("rows leave over two batches");
        assert_eq!(frame.evaluate().expect("an answer"), ScalarValue::Boolean(None));
        let none = vec![Arc::new(Int64Array::from(vec![1])) as ArrayRef];
        assert!(frame.retract_batch(&none).is_err(), "nothing is left to leave");
    }
}
