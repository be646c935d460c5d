//! Joins in a plan: the logical node, and from it the operator that computes it.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, DFSchemaRef, JoinType, Result};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::create_physical_expr;

use super::bound::Bound;
use super::exec::MakeOperator;
use super::runtime::OperatorId;
use super::state::two;
use crate::delta;
use crate::operator::Operator;
use crate::operator::join::{JoinInput, JoinOperator, JoinSpec, NESTED_ROWS_MAX};
use crate::operator::state_bound::{Growth, StateBound};

/// A join maintained incrementally.
///
/// Its inputs are projections with columns: `key_count` keys, then the time where [`past`](Self::past) has a bound for that
/// input, then the columns that are kept and put out, then the weight where the input can retract. Its output: the left
/// columns, the right ones or both, the mark of a mark join, and the weight where rows can be retracted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinNode {
    /// Its id within the view.
    pub id: OperatorId,
    /// Left and right.
    pub inputs: [Arc<LogicalPlan>; 2],
    /// How many leading columns of each input are keys.
    pub key_count: usize,
    /// The whole condition, as text.
    pub condition: String,
    /// Which rows come out.
    pub kind: JoinType,
    /// True if NULL keys match each other.
    pub nulls_match: bool,
    /// True for NOT IN.
    pub null_aware: bool,
    /// What must also be true of a pair, over columns named by [`pair_column`].
    pub residual: Option<Expr>,
    /// Set if pairs on which the residual fails are left out: the residual as its author knows it.
    pub leaves_out_failures: Option<String>,
    /// Which inputs can retract.
    pub weighted: [bool; 2],
    /// For each input that has a time: rows with one below this match no later change of the other input.
    pub past: [Option<Bound>; 2],
    /// The output's columns.
    pub schema: DFSchemaRef,
}

/// How a [`JoinNode`]'s residual names the kept column `index`, counting those of the left first.
pub fn pair_column(index: usize) -> String {
    format!("pair_{index}")
}

impl JoinNode {
    /// The columns of a pair, as the residual names them.
    ///
    /// # Errors
    /// DataFusion's; there are none.
    pub fn pair_schema(&self) -> Result<DFSchema> {
        let side = |side: usize| {
            let schema = delta::without_weight(self.inputs[side].schema().as_arrow());
            let timed = self.past[side].is_some();
            JoinInput { schema, keys: self.key_count, timed, weighted: self.weighted[side] }
        };
        pair_schema(&[side(0), side(1)])
    }

    /// True if rows that came out can be retracted.
    pub fn retracts(kind: JoinType, weighted: [bool; 2]) -> bool {
        !matches!(kind, JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi) || weighted.contains(&true)
    }
}

impl Hash for JoinNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
        self.inputs.hash(state);
        self.residual.hash(state);
    }
}

impl PartialOrd for JoinNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.id.partial_cmp(&other.id)
    }
}

impl UserDefinedLogicalNodeCore for JoinNode {
    fn name(&self) -> &str {
        "IncrementalJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        self.inputs.iter().map(AsRef::as_ref).collect()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "IncrementalJoin {}: {} on [{}]", self.id, self.kind, self.condition)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let inputs: [LogicalPlan; 2] = inputs
            .try_into()
            .map_err(|_| datafusion::error::DataFusionError::Internal("a join has two inputs".into()))?;
        Ok(Self { inputs: inputs.map(Arc::new), ..self.clone() })
    }
}

/// Makes the join of one plan node.
#[derive(Debug)]
pub struct JoinMaker {
    spec: JoinSpec,
    condition: String,
}

impl JoinMaker {
    /// The maker for `node` over inputs of `schemas`, with the weight column where an input can retract.
    ///
    /// # Errors
    /// `Internal` if the residual does not type-check.
    pub fn try_new(node: &JoinNode, schemas: [SchemaRef; 2]) -> crate::Result<Self> {
        let input = |side: usize| {
            let schema = &schemas[side];
            debug_assert_eq!(delta::is_weighted(schema), node.weighted[side]);
            let (schema, timed) = (delta::without_weight(schema), node.past[side].is_some());
            JoinInput { schema, keys: node.key_count, timed, weighted: node.weighted[side] }
        };
        let inputs = [input(0), input(1)];
        let residual = node.residual.as_ref().map(|residual| physical_residual(residual, &inputs)).transpose()?;
        let spec = JoinSpec {
            kind: node.kind,
            inputs,
            nulls_match: node.nulls_match,
            null_aware: node.null_aware,
            residual,
            leaves_out_failures: node.leaves_out_failures.clone(),
            output: delta::without_weight(node.schema.as_arrow()),
            nested_rows_max: NESTED_ROWS_MAX,
        };
        Ok(Self { spec, condition: node.condition.clone() })
    }

    /// For each input, the columns by which its rows are dealt to partitions; none if one partition must see them all.
    pub fn partition_columns(&self) -> Vec<Vec<usize>> {
        let keys = if self.spec.is_single() { 0 } else { self.spec.inputs[0].keys };
        vec![(0..keys).collect(); 2]
    }
}

fn kept(input: &JoinInput) -> impl Iterator<Item = &arrow::datatypes::FieldRef> {
    input.schema.fields().iter().skip(input.keys + usize::from(input.timed))
}

fn pair_schema(inputs: &[JoinInput; 2]) -> Result<DFSchema> {
    let fields = inputs.iter().flat_map(kept).enumerate();
    let fields = fields.map(|(index, field)| Field::new(pair_column(index), field.data_type().clone(), true));
    DFSchema::try_from(Schema::new(fields.collect::<Vec<_>>()))
}

fn physical_residual(
    residual: &Expr,
    inputs: &[JoinInput; 2],
) -> crate::Result<Arc<dyn datafusion::physical_expr::PhysicalExpr>> {
    let schema = pair_schema(inputs)?;
    Ok(create_physical_expr(residual, &schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())?)
}

impl MakeOperator for JoinMaker {
    fn make(&self) -> crate::Result<Box<dyn Operator>> {
        Ok(Box::new(JoinOperator::try_new(self.spec.clone())?))
    }

    fn describe(&self) -> String {
        let not_in = if self.spec.null_aware { " (NOT IN)" } else { "" };
        format!("{}Join{not_in} on [{}]", self.spec.kind, self.condition)
    }

    fn explain(&self) -> crate::Result<String> {
        let bounded = [0, 1].map(|side: usize| self.spec.inputs[side].timed);
        Ok(JoinOperator::try_new(self.spec.clone())?.explain(bounded))
    }

    fn state_bound(&self, inputs: &[Growth]) -> crate::Result<StateBound> {
        Ok(JoinOperator::try_new(self.spec.clone())?.state_bound(two(inputs)?))
    }
}
