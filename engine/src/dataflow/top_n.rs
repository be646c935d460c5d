//! Top-N in a plan: a node that keeps the first rows of groups, and what makes its operators.

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
use crate::operator::Operator;
use crate::operator::aggregate::Emit;
use crate::operator::state_bound::{Growth, StateBound};
use crate::operator::top_n::{Rank, TopNOperator, TopNSpec};

/// The first rows of each group, maintained incrementally.
///
/// Its output: the input's columns, the rank where it is shown, and the weight unless it emits on close.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopNNode {
    /// Its id within the view.
    pub id: OperatorId,
    /// Whose rows are ranked.
    pub input: Arc<LogicalPlan>,
    /// The group's input columns.
    pub keys: Vec<usize>,
    /// The order: input column, ascending, nulls first.
    pub order: Vec<(usize, bool, bool)>,
    /// How rows are numbered.
    pub rank: Rank,
    /// The first rank wanted, from 1.
    pub from: u64,
    /// The last rank wanted.
    pub to: Option<u64>,
    /// True if the rank is a column of the output.
    pub rank_shown: bool,
    /// True if the input can retract.
    pub input_weighted: bool,
    /// The key that is monotone in event time, with the bound that makes its values final.
    pub monotone_key: Option<(usize, Bound)>,
    /// True if each group is emitted once, when final.
    pub emit_on_close: bool,
    /// The output's columns.
    pub schema: DFSchemaRef,
}

impl TopNNode {
    fn text(&self) -> String {
        emitting(self.describe(), self.emit_on_close)
    }

    fn describe(&self) -> String {
        let schema = self.input.schema();
        let name = |column: &usize| schema.field(*column).name().as_str();
        let order = |(column, ascending, _): &(usize, bool, bool)| {
            format!("{}{}", name(column), if *ascending { "" } else { " desc" })
        };
        let keys: Vec<_> = self.keys.iter().map(name).collect();
        let order: Vec<_> = self.order.iter().map(order).collect();
        let to = self.to.map_or_else(String::new, |to| to.to_string());
        let (rank, from) = (self.rank.name(), self.from);
        format!("keys=[{}] order=[{}] {rank}={from}..{to}", keys.join(", "), order.join(", "))
    }
}

operator_node!(TopNNode, "IncrementalTopN", [input]);

/// Makes the operators of a [`TopNNode`].
#[derive(Debug)]
pub struct TopNMaker {
    spec: TopNSpec,
    description: String,
}

impl TopNMaker {
    /// The maker for `node`.
    ///
    /// # Errors
    /// `Unsupported` for a type the operator cannot hold.
    pub fn new(node: &TopNNode) -> crate::Result<Self> {
        let sort = |(column, ascending, nulls_first): &(usize, bool, bool)| {
            (*column, SortOptions { descending: !ascending, nulls_first: *nulls_first })
        };
        let output = without_weight(node.schema.as_arrow());
        let spec = TopNSpec {
            input: without_weight(node.input.schema().as_arrow()),
            keys: node.keys.clone(),
            order: node.order.iter().map(sort).collect(),
            rank: node.rank,
            from: node.from,
            to: node.to,
            rank_column: node.rank_shown.then(|| output.fields().last().cloned()).flatten(),
            input_weighted: node.input_weighted,
            monotone_key: node.monotone_key.as_ref().map(|(key, _)| *key),
            emit: if node.emit_on_close { Emit::OnClose } else { Emit::OnUpdate },
        };
        let maker = Self { spec, description: node.describe() };
        maker.make()?;
        Ok(maker)
    }
}

impl MakeOperator for TopNMaker {
    fn make(&self) -> crate::Result<Box<dyn Operator>> {
        Ok(Box::new(TopNOperator::try_new(self.spec.clone())?))
    }

    fn describe(&self) -> String {
        format!("TopN {}", self.description)
    }

    fn explain(&self) -> crate::Result<String> {
        Ok(TopNOperator::try_new(self.spec.clone())?.explain())
    }

    fn state_bound(&self, inputs: &[Growth]) -> crate::Result<StateBound> {
        Ok(TopNOperator::try_new(self.spec.clone())?.state_bound(one(inputs)?))
    }
}
