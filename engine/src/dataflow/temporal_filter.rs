//! Temporal filters in a plan: a node that lets rows be seen while their time lasts, and what makes its operators.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::DFSchemaRef;
use datafusion::logical_expr::LogicalPlan;

use super::bound::{Bound, PhysicalBound, TICK_TIME};
use super::exec::MakeOperator;
use super::operator_node::operator_node;
use super::runtime::OperatorId;
use super::state::one;
use crate::delta::without_weight;
use crate::error::{Error, Result};
use crate::operator::Operator;
use crate::operator::state_bound::{Growth, StateBound};
use crate::operator::temporal_filter::{Comparison, Condition, Limit, TemporalFilterOperator, TemporalFilterSpec};
use crate::time::Watermark;

/// A time of the row against a limit that moves with the tick's time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub struct TimeCondition {
    /// The input column with the time.
    pub column: usize,
    /// How it is to be to the limit.
    pub comparison: Comparison,
    /// The limit: a bound whose only term is of [`TICK_TIME`].
    pub limit: Bound,
}

/// The input's rows while they meet all conditions, maintained incrementally. Its output: the input's columns, and the weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemporalFilterNode {
    /// Its id within the view.
    pub id: OperatorId,
    /// Whose rows it lets be seen.
    pub input: Arc<LogicalPlan>,
    /// At least one.
    pub conditions: Vec<TimeCondition>,
    /// The conditions as text.
    pub condition: String,
    /// The output's columns.
    pub schema: DFSchemaRef,
}

impl TemporalFilterNode {
    fn text(&self) -> String {
        self.condition.clone()
    }
}

operator_node!(TemporalFilterNode, "IncrementalTemporalFilter", [input]);

impl Limit for PhysicalBound {
    fn at(&self, now_micros: i64) -> Result<i64> {
        let now = HashMap::from([(TICK_TIME.to_owned(), Watermark(now_micros))]);
        self.evaluate(&now)?.ok_or_else(|| Error::data("a limit that is reckoned from now() is out of range"))
    }
}

/// Makes the operators of a [`TemporalFilterNode`].
#[derive(Debug)]
pub struct TemporalFilterMaker {
    spec: TemporalFilterSpec,
    condition: String,
}

impl TemporalFilterMaker {
    /// The maker for `node` over an input of `schema`.
    ///
    /// # Errors
    /// `Internal` if a limit does not type-check.
    pub fn new(node: &TemporalFilterNode, schema: &SchemaRef) -> Result<Self> {
        let condition = |condition: &TimeCondition| {
            let limit: Arc<dyn Limit> = Arc::new(PhysicalBound::try_new(&condition.limit)?);
            Ok(Condition { column: condition.column, comparison: condition.comparison, limit })
        };
        let conditions = node.conditions.iter().map(condition).collect::<Result<_>>()?;
        let spec = TemporalFilterSpec { input: without_weight(schema), conditions };
        Ok(Self { spec, condition: node.condition.clone() })
    }

    /// The columns by which rows are dealt to partitions.
    pub fn partition_columns(&self) -> Vec<usize> {
        self.spec.partition_columns()
    }
}

impl MakeOperator for TemporalFilterMaker {
    fn make(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(TemporalFilterOperator::try_new(self.spec.clone())?))
    }

    fn reads_clock(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        format!("TemporalFilter [{}]", self.condition)
    }

    fn explain(&self) -> Result<String> {
        Ok(self.spec.explain())
    }

    fn state_bound(&self, inputs: &[Growth]) -> Result<StateBound> {
        Ok(TemporalFilterOperator::try_new(self.spec.clone())?.state_bound(one(inputs)?))
    }
}
