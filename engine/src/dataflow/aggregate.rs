//! From an [`AggregateNode`] to the operator that computes it.

use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::{Field, SchemaRef};
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};

use super::exec::MakeOperator;
use super::node::{AggregateNode, HopKey, HopWindows, LogicalCall};
use super::state::one;
use crate::delta;
use crate::error::{Error, Result};
use crate::operator::Operator;
use crate::operator::aggregate::{self, AggregateCall, AggregateOperator, AggregateSpec, Emit, HopSpec};
use crate::operator::state_bound::{Growth, StateBound};

/// Makes the group aggregate of one plan node.
#[derive(Debug)]
pub struct AggregateMaker {
    spec: AggregateSpec,
    names: Vec<String>,
}

impl AggregateMaker {
    /// The maker for `node` over an input of `schema`, with the weight column where the input can retract.
    ///
    /// # Errors
    /// `Unsupported` for arguments the function does not take.
    pub fn try_new(node: &AggregateNode, schema: &SchemaRef) -> Result<Self> {
        let input = delta::without_weight(schema);
        let output = node.schema.as_arrow();
        let calls = node.calls.iter().enumerate().map(|(index, call)| {
            let field = output.field(node.output_key_count + index);
            aggregate_call(call, field, &input)
        });
        let calls = calls.collect::<Result<Vec<_>>>()?;
        let output_keys = output.fields().iter().take(node.output_key_count);
        let names: Vec<String> = output_keys.map(|field| field.name().clone()).collect();
        let hop = node.hop.as_ref().map(|hop| hop_spec(hop, output.fields()));
        let spec = AggregateSpec {
            input,
            keys: node.key_count,
            calls,
            input_weighted: node.input_weighted,
            monotone_key: node.monotone_key.as_ref().map(|(key, _)| *key),
            emit: if node.emit_on_close { Emit::OnClose } else { Emit::OnUpdate },
            hop,
            leaves_out_failures: node.leaves_out_failures.then(|| names.clone()),
        };
        Ok(Self { spec, names })
    }

    /// The input columns by which rows are dealt to partitions.
    pub fn partition_columns(&self) -> Vec<usize> {
        self.spec.partition_columns()
    }
}

fn hop_spec(hop: &HopWindows, output: &arrow::datatypes::Fields) -> HopSpec {
    let key = |(index, key): (usize, &HopKey)| match key {
        HopKey::WindowStart => aggregate::HopKey::WindowStart(output[index].clone()),
        HopKey::WindowEnd => aggregate::HopKey::WindowEnd(output[index].clone()),
        HopKey::Column(column) => aggregate::HopKey::Column(*column),
    };
    HopSpec {
        slide_micros: hop.slide_micros,
        size_micros: hop.size_micros,
        origin_micros: hop.origin_micros,
        cumulative: hop.cumulative,
        slice_key: hop.slice_key,
        output_keys: hop.output_keys.iter().enumerate().map(key).collect(),
    }
}

fn aggregate_call(call: &LogicalCall, output: &Field, input: &SchemaRef) -> Result<AggregateCall> {
    let column = |index: usize| -> Arc<dyn PhysicalExpr> { Arc::new(Column::new(input.field(index).name(), index)) };
    let arguments = call.arguments.iter().map(|argument| match &argument.literal {
        Some(value) => Arc::new(Literal::new(value.clone())) as Arc<dyn PhysicalExpr>,
        None => column(argument.column),
    });
    let sort = |(index, ascending, nulls_first): &(usize, bool, bool)| PhysicalSortExpr {
        expr: column(*index),
        options: SortOptions { descending: !ascending, nulls_first: *nulls_first },
    };
    let expr = AggregateExprBuilder::new(call.function.clone(), arguments.collect())
        .schema(input.clone())
        .alias(&call.name)
        .order_by(call.order_by.iter().map(sort).collect())
        .with_distinct(call.distinct)
        .with_ignore_nulls(call.ignore_nulls)
        .build()?;
    if expr.field().data_type() != output.data_type() {
        let (found, planned) = (expr.field().data_type().clone(), output.data_type());
        return Err(Error::internal(format!("{} gives {found}, but was planned as {planned}", call.name)));
    }
    let mut made = AggregateCall::from_expr(Arc::new(expr), call.filter);
    made.field = Arc::new(output.clone());
    Ok(made)
}

impl MakeOperator for AggregateMaker {
    fn make(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(AggregateOperator::try_new(self.spec.clone())?))
    }

    fn describe(&self) -> String {
        let calls: Vec<_> = self.spec.calls.iter().map(|call| call.field.name().as_str()).collect();
        format!("GroupAggregate keys=[{}] calls=[{}]", self.names.join(", "), calls.join(", "))
    }

    fn explain(&self) -> Result<String> {
        Ok(AggregateOperator::try_new(self.spec.clone())?.explain())
    }

    fn state_bound(&self, inputs: &[Growth]) -> Result<StateBound> {
        Ok(AggregateOperator::try_new(self.spec.clone())?.state_bound(one(inputs)?))
    }
}
