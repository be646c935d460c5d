//! Window gates in a plan: a node that holds rows back until their window has closed, and what makes its operators.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::DFSchemaRef;
use datafusion::logical_expr::LogicalPlan;

use super::bound::Bound;
use super::exec::MakeOperator;
use super::operator_node::operator_node;
use super::runtime::OperatorId;
use super::state::one;
use crate::delta::without_weight;
use crate::error::Result;
use crate::operator::Operator;
use crate::operator::state_bound::{Growth, StateBound};
use crate::operator::window_gate::{WindowGateOperator, WindowGateSpec};

/// The input's rows whose window has closed, maintained incrementally. Its output: the input's columns, and the weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowGateNode {
    /// Its id within the view.
    pub id: OperatorId,
    /// Whose rows it holds back.
    pub input: Arc<LogicalPlan>,
    /// The input column by which windows close.
    pub column: usize,
    /// The bound of that column's later values, by the watermark or the closing one.
    pub bound: Bound,
    /// The output's columns.
    pub schema: DFSchemaRef,
}

impl WindowGateNode {
    fn text(&self) -> String {
        self.schema.field(self.column).name().clone()
    }
}

operator_node!(WindowGateNode, "WindowGate", [input]);

/// Makes the operators of a [`WindowGateNode`].
#[derive(Debug)]
pub struct WindowGateMaker {
    spec: WindowGateSpec,
}

impl WindowGateMaker {
    /// The maker for `node` over an input of `schema`.
    pub fn new(node: &WindowGateNode, schema: &SchemaRef) -> Self {
        Self { spec: WindowGateSpec { input: without_weight(schema), column: node.column } }
    }
}

impl MakeOperator for WindowGateMaker {
    fn make(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(WindowGateOperator::try_new(self.spec.clone())?))
    }

    fn reads_closing(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        format!("WindowGate [{}]", self.spec.input.field(self.spec.column).name())
    }

    fn explain(&self) -> Result<String> {
        Ok(self.spec.explain())
    }

    fn state_bound(&self, inputs: &[Growth]) -> Result<StateBound> {
        Ok(WindowGateOperator::try_new(self.spec.clone())?.state_bound(one(inputs)?))
    }
}
