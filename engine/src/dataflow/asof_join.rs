//! ASOF joins in a plan: the logical node, and what makes its operators.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::DFSchemaRef;
use datafusion::logical_expr::LogicalPlan;

use super::bound::Bound;
use super::exec::MakeOperator;
use super::operator_node::operator_node;
use super::runtime::OperatorId;
use super::state::two;
use crate::delta::without_weight;
use crate::operator::Operator;
use crate::operator::asof_join::{AsofJoinOperator, AsofJoinSpec, Closest};
use crate::operator::state_bound::{Growth, StateBound};

/// An ASOF join maintained incrementally.
///
/// Its inputs are projections with columns: `key_count` keys, the time, the columns that are put out, the weight where the
/// input can retract. Its output: the left columns, the right ones, the weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsofJoinNode {
    /// Its id within the view.
    pub id: OperatorId,
    /// Whose rows come out.
    pub left: Arc<LogicalPlan>,
    /// Where the closest row is looked for.
    pub right: Arc<LogicalPlan>,
    /// How many leading columns of each input are keys.
    pub key_count: usize,
    /// Which right row is the closest.
    pub closest: Closest,
    /// Whether left rows without a right one come out.
    pub outer: bool,
    /// The condition as text.
    pub condition: String,
    /// What bounds the later times of the right and of the left rows: by it the rows of the other side are past.
    pub past: [Option<Bound>; 2],
    /// The output's columns.
    pub schema: DFSchemaRef,
}

impl AsofJoinNode {
    fn text(&self) -> String {
        let kind = if self.outer { "Left" } else { "Inner" };
        format!("{kind} on [{}]", self.condition)
    }
}

operator_node!(AsofJoinNode, "IncrementalAsofJoin", [left, right]);

/// Makes the operators of an [`AsofJoinNode`].
#[derive(Debug)]
pub struct AsofJoinMaker {
    spec: AsofJoinSpec,
    description: String,
    is_bounded: bool,
}

impl AsofJoinMaker {
    /// The maker for `node` over inputs of `schemas`.
    ///
    /// # Errors
    /// `Unsupported` for a type the operator cannot hold.
    pub fn new(node: &AsofJoinNode, schemas: [SchemaRef; 2]) -> crate::Result<Self> {
        let spec = AsofJoinSpec {
            inputs: schemas.map(|schema| without_weight(&schema)),
            keys: node.key_count,
            closest: node.closest,
            outer: node.outer,
            output: without_weight(node.schema.as_arrow()),
        };
        let is_bounded = node.past.iter().all(Option::is_some);
        let maker = Self { spec, description: node.text(), is_bounded };
        maker.make()?;
        Ok(maker)
    }
}

impl MakeOperator for AsofJoinMaker {
    fn make(&self) -> crate::Result<Box<dyn Operator>> {
        Ok(Box::new(AsofJoinOperator::try_new(self.spec.clone())?))
    }

    fn describe(&self) -> String {
        format!("AsofJoin {}", self.description)
    }

    fn explain(&self) -> crate::Result<String> {
        Ok(self.spec.explain(self.is_bounded))
    }

    fn state_bound(&self, inputs: &[Growth]) -> crate::Result<StateBound> {
        let operator = AsofJoinOperator::try_new(self.spec.clone())?;
        Ok(operator.state_bound(two(inputs)?, self.is_bounded))
    }
}
