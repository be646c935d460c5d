//! Sessions in a plan: a node that gives each row the bounds of its session, and what makes its operators.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::common::{DFSchemaRef, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::bound::Bound;
use super::exec::MakeOperator;
use super::runtime::OperatorId;
use super::top_n::without_weight;
use crate::error::Error;
use crate::operator::Operator;
use crate::operator::aggregate::Emit;
use crate::operator::session::{SessionOperator, SessionSpec};

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
    fn describe(&self) -> String {
        let schema = self.input.schema();
        let keys: Vec<_> = self.keys.iter().map(|key| schema.field(*key).name().as_str()).collect();
        format!("keys=[{}] time={} gap={}µs", keys.join(", "), schema.field(self.time).name(), self.gap_micros)
    }
}

impl Hash for SessionNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
        self.input.hash(state);
    }
}

impl PartialOrd for SessionNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.id.partial_cmp(&other.id)
    }
}

impl UserDefinedLogicalNodeCore for SessionNode {
    fn name(&self) -> &str {
        "IncrementalSession"
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
        write!(f, "IncrementalSession {}: {}", self.id, self.describe())?;
        if self.emit_on_close { f.write_str(", emit on close") } else { Ok(()) }
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let input = Arc::new(inputs.swap_remove(0));
        Ok(Self { input, ..self.clone() })
    }
}

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
        let output = without_weight(&node.schema, !node.emit_on_close)?;
        let input = without_weight(node.input.schema(), node.input_weighted)?;
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
}
