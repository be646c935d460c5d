//! INTERSECT and EXCEPT in a plan: the node, and what makes its operators.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::common::{DFSchemaRef, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::bound::Bound;
use super::exec::MakeOperator;
use super::runtime::OperatorId;
use crate::delta;
use crate::operator::Operator;
use crate::operator::set_operation::{SetOperationOperator, SetOperationSpec, SetRule};

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
    /// Columns of each side, without the weight.
    pub fn columns(&self) -> usize {
        self.schema.fields().len() - 1
    }
}

impl Hash for SetOperationNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
        self.left.hash(state);
        self.right.hash(state);
    }
}

impl PartialOrd for SetOperationNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.id.partial_cmp(&other.id)
    }
}

impl UserDefinedLogicalNodeCore for SetOperationNode {
    fn name(&self) -> &str {
        "IncrementalSetOperation"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "IncrementalSetOperation {}: {}", self.id, self.rule.name())
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let right = Arc::new(inputs.swap_remove(1));
        let left = Arc::new(inputs.swap_remove(0));
        Ok(Self { left, right, ..self.clone() })
    }
}

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
        let columns = schema.fields().iter().take(node.columns()).cloned().collect::<Vec<_>>();
        Self {
            spec: SetOperationSpec {
                input: Arc::new(arrow::datatypes::Schema::new(columns)),
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
}
