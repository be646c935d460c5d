//! The last row of each key in a plan: the node, and what makes its operators.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{DFSchemaRef, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::exec::MakeOperator;
use super::runtime::OperatorId;
use crate::operator::Operator;
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
    /// True if each row of the output is there once: the key is among its columns.
    pub fn is_set(&self) -> bool {
        self.keys.iter().all(|key| self.output.contains(key))
    }
}

impl Hash for UpsertNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
        self.input.hash(state);
    }
}

impl PartialOrd for UpsertNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.id.partial_cmp(&other.id)
    }
}

impl UserDefinedLogicalNodeCore for UpsertNode {
    fn name(&self) -> &str {
        "LastRow"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let name = |key: &usize| self.input.schema().field(*key).name().as_str();
        let keys: Vec<_> = self.keys.iter().map(name).collect();
        write!(f, "LastRow {}: by [{}]", self.id, keys.join(", "))
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let input = Arc::new(inputs.swap_remove(0));
        Ok(Self { input, ..self.clone() })
    }
}

/// Makes the operators of an [`UpsertNode`].
#[derive(Debug)]
pub struct UpsertMaker {
    spec: UpsertSpec,
}

impl UpsertMaker {
    /// The maker for `node`, whose input has the columns `input`.
    pub fn new(node: &UpsertNode, input: SchemaRef) -> Self {
        let output = node.schema.as_arrow().fields();
        let schema = Arc::new(Schema::new(output.iter().take(node.output.len()).cloned().collect::<Vec<_>>()));
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
}
