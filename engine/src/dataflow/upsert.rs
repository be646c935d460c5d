//! The last row of each key in a plan: the node, and what makes its operators.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::DFSchemaRef;
use datafusion::logical_expr::LogicalPlan;

use super::exec::MakeOperator;
use super::operator_node::operator_node;
use super::runtime::OperatorId;
use crate::delta::without_weight;
use crate::operator::Operator;
use crate::operator::state_bound::{Growth, StateBound};
use crate::operator::upsert::{UpsertOperator, UpsertSpec};

/// A source's changes made rows: the leaf of a plan over a source with a primary key.
///
/// Its input is the scan of the source's records, with whether they delete and their places in the log as the last columns.
/// Its output are some of the records' columns, then the weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpsertNode {
    /// Its id within the view.
    pub id: OperatorId,
    /// The scan.
    pub input: Arc<LogicalPlan>,
    /// The input columns that are the key.
    pub keys: Vec<usize>,
    /// The input columns that come out.
    pub output: Vec<usize>,
    /// The output's columns, the weight last.
    pub schema: DFSchemaRef,
}

impl UpsertNode {
    fn text(&self) -> String {
        let name = |key: &usize| self.input.schema().field(*key).name().as_str();
        let keys: Vec<_> = self.keys.iter().map(name).collect();
        format!("by [{}]", keys.join(", "))
    }

    /// True if each row of the output is there once: the key is among its columns.
    pub fn is_set(&self) -> bool {
        self.keys.iter().all(|key| self.output.contains(key))
    }
}

operator_node!(UpsertNode, "LastRow", [input]);

/// Makes the operators of an [`UpsertNode`].
#[derive(Debug)]
pub struct UpsertMaker {
    spec: UpsertSpec,
}

impl UpsertMaker {
    /// The maker for `node`, whose input has the columns `input`.
    pub fn new(node: &UpsertNode, input: SchemaRef) -> Self {
        let schema = without_weight(node.schema.as_arrow());
        Self { spec: UpsertSpec { input, keys: node.keys.clone(), output: node.output.clone(), schema } }
    }
}

impl MakeOperator for UpsertMaker {
    fn make(&self) -> crate::Result<Box<dyn Operator>> {
        Ok(Box::new(UpsertOperator::try_new(self.spec.clone())?))
    }

    fn describe(&self) -> String {
        let names: Vec<_> = self.spec.keys.iter().map(|key| self.spec.input.field(*key).name().as_str()).collect();
        format!("LastRow by=[{}]", names.join(", "))
    }

    fn explain(&self) -> crate::Result<String> {
        Ok(self.spec.explain())
    }

    fn state_bound(&self, _inputs: &[Growth]) -> crate::Result<StateBound> {
        Ok(UpsertOperator::try_new(self.spec.clone())?.state_bound())
    }
}
