//! Rows of the view's text in a plan: the node, and what makes its operator.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::DFSchemaRef;
use datafusion::logical_expr::LogicalPlan;

use super::exec::MakeOperator;
use super::operator_node::operator_node;
use super::runtime::OperatorId;
use crate::operator::Operator;
use crate::operator::constant::ConstantOperator;
use crate::operator::state_bound::{Growth, StateBound};

/// VALUES, or the one row without columns of a SELECT without FROM: a leaf whose rows never change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConstantNode {
    /// Its id within the view.
    pub id: OperatorId,
    /// The rows, as a plan without inputs.
    pub rows: Arc<LogicalPlan>,
    /// The output's columns; there is no weight.
    pub schema: DFSchemaRef,
}

impl ConstantNode {
    fn text(&self) -> String {
        self.rows.display().to_string()
    }
}

operator_node!(ConstantNode, "Constant", []);

/// Makes the operator of a [`ConstantNode`].
#[derive(Debug)]
pub struct ConstantMaker {
    schema: SchemaRef,
    rows: Vec<RecordBatch>,
}

impl ConstantMaker {
    /// The maker for these rows of `schema`.
    pub fn new(schema: SchemaRef, rows: Vec<RecordBatch>) -> Self {
        Self { schema, rows }
    }
}

impl MakeOperator for ConstantMaker {
    fn make(&self) -> crate::Result<Box<dyn Operator>> {
        Ok(Box::new(ConstantOperator::new(self.schema.clone(), self.rows.clone())))
    }

    fn describe(&self) -> String {
        let rows: usize = self.rows.iter().map(RecordBatch::num_rows).sum();
        format!("Constant rows={rows}")
    }

    fn explain(&self) -> crate::Result<String> {
        Ok("constant rows: emit once, cost: none, keeps: the rows of the view's text".to_owned())
    }

    fn state_bound(&self, _inputs: &[Growth]) -> crate::Result<StateBound> {
        Ok(ConstantOperator::new(self.schema.clone(), self.rows.clone()).state_bound())
    }
}
