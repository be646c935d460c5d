//! A view's state before and while it runs: what each operator of its plan keeps, what bounds that, what it takes.
//!
//! In goes a physical plan; through it goes, from the leaves up, how the rows grow that an edge adds up to. A source that
//! appends grows for ever, a table or a source with a key as its rows do; a condition on `now()` ends rows, and an
//! operator with a window ends its own state, though not the rows it has put out. Out come the parts of every operator's state,
//! and the view's own rows as the last.

use std::fmt::Write;
use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;

use super::Dataflow;
use super::exec::OperatorExec;
use super::execution::{Execution, ExecutionConfig};
use super::runtime::OperatorId;
use super::scan::DeltaScanExec;
use crate::error::{Error, Result};
use crate::operator::state_bound::{Growth, StatePart};
use crate::state::size::UnitBytes;
use crate::view::MaterializedView;

/// What one operator keeps.
#[derive(Debug, Clone)]
pub struct OperatorState {
    /// The operator.
    pub id: OperatorId,
    /// What it is: its line in EXPLAIN.
    pub name: String,
    /// Its parts, in the order in which they are counted.
    pub parts: Vec<StatePart>,
}

/// What a view keeps.
#[derive(Debug, Clone)]
pub struct PlanState {
    /// Its operators, from the view down to the sources.
    pub operators: Vec<OperatorState>,
    /// Its rows.
    pub rows: StatePart,
}

impl PlanState {
    /// What the view of a dataflow keeps.
    ///
    /// # Errors
    /// As for [`Execution::try_new`].
    pub fn of(dataflow: &Dataflow) -> Result<Self> {
        let execution = Execution::try_new(dataflow, ExecutionConfig::default())?;
        let mut operators = Vec::new();
        let growth = walk(execution.plan(), &mut operators)?;
        let bytes_each = MaterializedView::row_bytes_each(&dataflow.schema, dataflow.append_only);
        let rows = StatePart::new("a row of the view", "rows of the view", growth, UnitBytes::passing(bytes_each));
        Ok(Self { operators, rows })
    }

    /// The first part of an operator's state, nearest to the view, that provably never shrinks. The view's own rows are what
    /// was asked for, and are not among it.
    pub fn unbounded(&self) -> Option<(&OperatorState, &StatePart)> {
        let parts =
            |operator: &'_ OperatorState| operator.parts.iter().position(|part| part.growth == Growth::Unbounded);
        self.operators.iter().find_map(|operator| Some((operator, &operator.parts[parts(operator)?])))
    }

    /// The bytes of all state as a formula.
    pub fn formula(&self) -> String {
        let mut formula = String::new();
        let parts = self.operators.iter().flat_map(|operator| operator.parts.iter()).chain([&self.rows]);
        for part in parts.filter(|part| part.bytes_each > 0) {
            let joint = if formula.is_empty() { "" } else { " + " };
            let is_sum = part.count.contains(" + ");
            let (open, close) = if is_sum { ("(", ")") } else { ("", "") };
            // A text of our own: writing to it does not fail.
            let _ = write!(formula, "{joint}{} x {open}{}{close}", part.bytes_each, part.count);
        }
        formula
    }
}

/// The growth of the rows that a plan's output adds up to; its operators come behind `operators`, a node before its inputs.
fn walk(plan: &Arc<dyn ExecutionPlan>, operators: &mut Vec<OperatorState>) -> Result<Growth> {
    if let Some(scan) = plan.downcast_ref::<DeltaScanExec>() {
        return Ok(scan.rows());
    }
    let mut below = Vec::new();
    let inputs = plan.children().into_iter().map(|child| walk(child, &mut below)).collect::<Result<Vec<_>>>()?;
    let growth = match plan.downcast_ref::<OperatorExec>() {
        None => inputs.into_iter().max().unwrap_or(Growth::Constant),
        Some(node) => {
            let bound = node.maker().state_bound(&inputs)?;
            operators.push(OperatorState { id: node.id(), name: node.maker().describe(), parts: bound.parts });
            bound.output
        }
    };
    operators.append(&mut below);
    Ok(growth)
}

/// The one input of an operator.
pub(super) fn one(inputs: &[Growth]) -> Result<Growth> {
    exactly(inputs).map(|[one]| one)
}

/// The two inputs of an operator.
pub(super) fn two(inputs: &[Growth]) -> Result<[Growth; 2]> {
    exactly(inputs)
}

fn exactly<const N: usize>(inputs: &[Growth]) -> Result<[Growth; N]> {
    inputs.try_into().map_err(|_| Error::internal("an operator with another number of inputs"))
}
