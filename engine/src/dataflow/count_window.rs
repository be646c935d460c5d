//! Count windows in a plan: a node that gives each row its window of so many rows, and what makes its operators.

use std::sync::Arc;

use arrow::compute::SortOptions;
use datafusion::common::DFSchemaRef;
use datafusion::logical_expr::LogicalPlan;

use super::bound::Bound;
use super::exec::MakeOperator;
use super::operator_node::{emitting, operator_node};
use super::runtime::OperatorId;
use super::state::one;
use crate::delta::without_weight;
use crate::error::Error;
use crate::operator::Operator;
use crate::operator::aggregate::Emit;
use crate::operator::count_window::{CountWindowOperator, CountWindowSpec};
use crate::operator::state_bound::{Growth, StateBound};

/// Rows with their windows of so many rows, maintained incrementally over append-only input.
///
/// Its output: the input's columns, the times of the window's first and last row, its number, and the weight unless it emits
/// on close.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountWindowNode {
    /// Its id within the view.
    pub id: OperatorId,
    /// Whose rows are counted.
    pub input: Arc<LogicalPlan>,
    /// The input columns by which rows are counted apart.
    pub keys: Vec<usize>,
    /// The input columns by which rows are ordered, ascending, NULL last; the first is the time.
    pub order: Vec<usize>,
    /// How many rows a window has.
    pub rows: i64,
    /// What bounds later rows' time.
    pub bound: Bound,
    /// True if each window is emitted once, when final.
    pub emit_on_close: bool,
    /// The output's columns.
    pub schema: DFSchemaRef,
}

impl CountWindowNode {
    fn text(&self) -> String {
        emitting(self.describe(), self.emit_on_close)
    }

    fn describe(&self) -> String {
        let schema = self.input.schema();
        let names = |columns: &[usize]| {
            columns.iter().map(|column| schema.field(*column).name().as_str()).collect::<Vec<_>>().join(", ")
        };
        format!("keys=[{}] order=[{}] rows={}", names(&self.keys), names(&self.order), self.rows)
    }
}

operator_node!(CountWindowNode, "IncrementalCountWindow", [input]);

/// Makes the operators of a [`CountWindowNode`].
#[derive(Debug)]
pub struct CountWindowMaker {
    spec: CountWindowSpec,
    description: String,
}

impl CountWindowMaker {
    /// The maker for `node`.
    ///
    /// # Errors
    /// `Unsupported` for a type the operator cannot hold.
    pub fn new(node: &CountWindowNode) -> crate::Result<Self> {
        let output = without_weight(node.schema.as_arrow());
        let input = without_weight(node.input.schema().as_arrow());
        let added = output.fields().iter().skip(input.fields().len()).cloned().collect::<Vec<_>>();
        let added = added.try_into().map_err(|_| Error::internal("a count window adds three columns"))?;
        let ascending = SortOptions { descending: false, nulls_first: false };
        let spec = CountWindowSpec {
            input,
            keys: node.keys.clone(),
            order: node.order.iter().map(|column| (*column, ascending)).collect(),
            rows: node.rows,
            added,
            emit: if node.emit_on_close { Emit::OnClose } else { Emit::OnUpdate },
        };
        let maker = Self { spec, description: node.describe() };
        maker.make()?;
        Ok(maker)
    }
}

impl MakeOperator for CountWindowMaker {
    fn make(&self) -> crate::Result<Box<dyn Operator>> {
        Ok(Box::new(CountWindowOperator::try_new(self.spec.clone())?))
    }

    fn describe(&self) -> String {
        format!("CountWindow {}", self.description)
    }

    fn explain(&self) -> crate::Result<String> {
        Ok(self.spec.explain())
    }

    fn state_bound(&self, inputs: &[Growth]) -> crate::Result<StateBound> {
        Ok(CountWindowOperator::try_new(self.spec.clone())?.state_bound(one(inputs)?))
    }
}
