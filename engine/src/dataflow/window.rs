//! OVER in a plan: a node that computes functions over partitions, and what makes its operators.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchemaRef, Result, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;

use super::bound::Bound;
use super::exec::MakeOperator;
use super::operator_node::{emitting, operator_node};
use super::runtime::OperatorId;
use super::state::one;
use crate::delta::without_weight;
use crate::error::ErrorKind;
use crate::operator::Operator;
use crate::operator::aggregate::Emit;
use crate::operator::partition_wise::{BatchPlan, PartitionWiseOperator, PartitionWiseSpec};
use crate::operator::state_bound::{Growth, StateBound};

/// Window functions maintained by computing touched partitions again.
///
/// Its output is the template's: the input's columns, then the functions'; then the weight unless it emits on close.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowNode {
    /// Its id within the view.
    pub id: OperatorId,
    /// Whose rows are partitioned.
    pub input: Arc<LogicalPlan>,
    /// The input columns that every PARTITION BY of the template has.
    pub keys: Vec<usize>,
    /// The batch plan of the functions; its one leaf is an empty relation with the input's columns but the weight.
    pub template: Arc<LogicalPlan>,
    /// True if the input can retract.
    pub input_weighted: bool,
    /// The key that is monotone in event time, with the bound that makes its values final.
    pub monotone_key: Option<(usize, Bound)>,
    /// True if each partition is emitted once, when final.
    pub emit_on_close: bool,
    /// Whether partitions on which a function fails are left out.
    pub leaves_out_failures: bool,
    /// The output's columns.
    pub schema: DFSchemaRef,
}

impl WindowNode {
    fn text(&self) -> String {
        emitting(format!("[{}]", self.functions().join(", ")), self.emit_on_close)
    }

    /// The functions, as text, those computed first in front.
    pub fn functions(&self) -> Vec<String> {
        let mut functions = Vec::new();
        // One that was changed keeps its name.
        let known = |expr: &Expr| match expr {
            Expr::Alias(alias) => alias.name.clone(),
            other => other.to_string(),
        };
        let collect = |node: &LogicalPlan| {
            if let LogicalPlan::Window(window) = node {
                functions.splice(0..0, window.window_expr.iter().map(known));
            }
            Ok(TreeNodeRecursion::Continue)
        };
        self.template.apply(collect).expect("the closure does not fail");
        functions
    }
}

operator_node!(WindowNode, "IncrementalWindow", [input]);

/// Makes the operators of a [`WindowNode`].
#[derive(Debug)]
pub struct WindowMaker {
    spec: PartitionWiseSpec,
    template: Arc<dyn ExecutionPlan>,
}

impl WindowMaker {
    /// The maker for `node`, whose template is planned as `template`.
    ///
    /// # Errors
    /// `Unsupported` for a type the operator cannot hold.
    pub fn try_new(node: &WindowNode, template: Arc<dyn ExecutionPlan>) -> crate::Result<Self> {
        let spec = PartitionWiseSpec {
            input: without_weight(node.input.schema().as_arrow()),
            output: without_weight(node.schema.as_arrow()),
            keys: node.keys.clone(),
            input_weighted: node.input_weighted,
            monotone_key: node.monotone_key.as_ref().map(|(key, _)| *key),
            emit: if node.emit_on_close { Emit::OnClose } else { Emit::OnUpdate },
            computes: node.functions(),
            leaves_out_failures: node.leaves_out_failures,
        };
        let maker = Self { spec, template };
        maker.make()?;
        maker.try_one_row()?;
        Ok(maker)
    }

    /// Runs the template over one row. Whether a function can do its frame is known to DataFusion only when it is run.
    fn try_one_row(&self) -> crate::Result<()> {
        let values = self.spec.input.fields().iter().map(|field| {
            let value = match field.is_nullable() {
                true => ScalarValue::try_from(field.data_type())?,
                false => ScalarValue::new_default(field.data_type())?,
            };
            value.to_array()
        });
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        let row =
            RecordBatch::try_new_with_options(Arc::clone(&self.spec.input), values.collect::<Result<_>>()?, &options)?;
        // What one row of nothing fails on otherwise, other rows may not.
        match BatchPlan::try_new(Arc::clone(&self.template))?.run(row) {
            Err(error) if error.kind() == ErrorKind::Unsupported => Err(error),
            _ => Ok(()),
        }
    }
}

impl MakeOperator for WindowMaker {
    fn make(&self) -> crate::Result<Box<dyn Operator>> {
        let plan = BatchPlan::try_new(Arc::clone(&self.template))?;
        Ok(Box::new(PartitionWiseOperator::try_new(self.spec.clone(), plan)?))
    }

    fn describe(&self) -> String {
        let keys: Vec<_> = self.spec.keys.iter().map(|key| self.spec.input.field(*key).name().as_str()).collect();
        format!("Window keys=[{}] functions={}", keys.join(", "), self.spec.computes.len())
    }

    fn explain(&self) -> crate::Result<String> {
        Ok(self.spec.explain())
    }

    fn state_bound(&self, inputs: &[Growth]) -> crate::Result<StateBound> {
        let plan = BatchPlan::try_new(Arc::clone(&self.template))?;
        Ok(PartitionWiseOperator::try_new(self.spec.clone(), plan)?.state_bound(one(inputs)?))
    }
}
