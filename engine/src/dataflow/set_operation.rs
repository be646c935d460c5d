//! INTERSECT and EXCEPT in a plan: the node, and what makes its operators.

use std::sync::Arc;

use datafusion::common::DFSchemaRef;
use datafusion::logical_expr::LogicalPlan;

use super::bound::Bound;
use super::exec::MakeOperator;
use super::operator_node::operator_node;
use super::runtime::OperatorId;
use super::state::two;
use crate::delta;
use crate::operator::Operator;
use crate::operator::set_operation::{SetOperationOperator, SetOperationSpec, SetRule};
use crate::operator::state_bound::{Growth, StateBound};

/// A set operation over two inputs with the same columns, maintained incrementally.
///
/// Either input may carry a weight. The output always does: what comes on one side can take away what came on the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetOperationNode {
    /// Its id within the view.
    pub id: OperatorId,
    /// The left input.
    pub left: Arc<LogicalPlan>,
    /// The right input.
    pub right: Arc<LogicalPlan>,
    /// Which rows are in the answer.
    pub rule: SetRule,
    /// A column bounded on both sides, with the bound that makes its values final.
    pub monotone_column: Option<(usize, Bound)>,
    /// The output's columns, the weight last.
    pub schema: DFSchemaRef,
}

impl SetOperationNode {
    fn text(&self) -> String {
        self.rule.name().to_owned()
    }

    /// Columns of each side, without the weight.
    pub fn columns(&self) -> usize {
        self.schema.fields().len() - 1
    }
}

operator_node!(SetOperationNode, "IncrementalSetOperation", [left, right]);

/// Makes the operators of a [`SetOperationNode`].
#[derive(Debug)]
pub struct SetOperationMaker {
    spec: SetOperationSpec,
}

impl SetOperationMaker {
    /// The maker for `node`.
    pub fn new(node: &SetOperationNode) -> Self {
        let schema = node.schema.as_arrow();
        debug_assert!(delta::is_weighted(schema));
        Self {
            spec: SetOperationSpec {
                input: delta::without_weight(schema),
                rule: node.rule,
                monotone_column: node.monotone_column.as_ref().map(|(column, _)| *column),
            },
        }
    }
}

impl MakeOperator for SetOperationMaker {
    fn make(&self) -> crate::Result<Box<dyn Operator>> {
        Ok(Box::new(SetOperationOperator::try_new(self.spec.clone())?))
    }

    fn describe(&self) -> String {
        format!("SetOperation {}", self.spec.rule.name())
    }

    fn explain(&self) -> crate::Result<String> {
        Ok(self.spec.explain())
    }

    fn state_bound(&self, inputs: &[Growth]) -> crate::Result<StateBound> {
        Ok(SetOperationOperator::try_new(self.spec.clone())?.state_bound(two(inputs)?))
    }
}
