//! Sessions in a plan: a node that gives each row the bounds of its session, and what makes its operators.

use std::sync::Arc;

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
use crate::operator::session::{SessionOperator, SessionSpec};
use crate::operator::state_bound::{Growth, StateBound};

/// Rows with the bounds of their sessions, maintained incrementally.
///
/// Its output: the input's columns, the session's start and end, and the weight unless it emits on close.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionNode {
    /// Its id within the view.
    pub id: OperatorId,
    /// Whose rows are put into sessions.
    pub input: Arc<LogicalPlan>,
    /// The input columns by which sessions are kept apart.
    pub keys: Vec<usize>,
    /// The input column with the time.
    pub time: usize,
    /// How far apart two rows of a session may follow each other, µs.
    pub gap_micros: i64,
    /// True if the input can retract.
    pub input_weighted: bool,
    /// What bounds later rows' time, if anything does.
    pub bound: Option<Bound>,
    /// True if each session is emitted once, when final.
    pub emit_on_close: bool,
    /// The output's columns.
    pub schema: DFSchemaRef,
}

impl SessionNode {
    fn text(&self) -> String {
        emitting(self.describe(), self.emit_on_close)
    }

    fn describe(&self) -> String {
        let schema = self.input.schema();
        let keys: Vec<_> = self.keys.iter().map(|key| schema.field(*key).name().as_str()).collect();
        format!("keys=[{}] time={} gap={}µs", keys.join(", "), schema.field(self.time).name(), self.gap_micros)
    }
}

operator_node!(SessionNode, "IncrementalSession", [input]);

/// Makes the operators of a [`SessionNode`].
#[derive(Debug)]
pub struct SessionMaker {
    spec: SessionSpec,
    description: String,
}

impl SessionMaker {
    /// The maker for `node`.
    ///
    /// # Errors
    /// `Unsupported` for a type the operator cannot hold.
    pub fn new(node: &SessionNode) -> crate::Result<Self> {
        let output = without_weight(node.schema.as_arrow());
        let input = without_weight(node.input.schema().as_arrow());
        let bounds = output.fields().iter().skip(input.fields().len()).cloned().collect::<Vec<_>>();
        let bounds = bounds.try_into().map_err(|_| Error::internal("a session adds two columns"))?;
        let spec = SessionSpec {
            input,
            keys: node.keys.clone(),
            time: node.time,
            gap_micros: node.gap_micros,
            bounds,
            input_weighted: node.input_weighted,
            time_is_bounded: node.bound.is_some(),
            emit: if node.emit_on_close { Emit::OnClose } else { Emit::OnUpdate },
        };
        let maker = Self { spec, description: node.describe() };
        maker.make()?;
        Ok(maker)
    }
}

impl MakeOperator for SessionMaker {
    fn make(&self) -> crate::Result<Box<dyn Operator>> {
        Ok(Box::new(SessionOperator::try_new(self.spec.clone())?))
    }

    fn describe(&self) -> String {
        format!("Session {}", self.description)
    }

    fn explain(&self) -> crate::Result<String> {
        Ok(self.spec.explain())
    }

    fn state_bound(&self, inputs: &[Growth]) -> crate::Result<StateBound> {
        Ok(SessionOperator::try_new(self.spec.clone())?.state_bound(one(inputs)?))
    }
}
