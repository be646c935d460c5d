//! The rewrite of stateless nodes, and the way down the plan.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{
    Expr, Extension, Filter, LogicalPlan, LogicalPlanBuilder, Projection, SubqueryAlias, TableScan, TableScanBuilder,
    Union, Unnest, lit,
};
use engine::dataflow::bound::Bound;
use engine::dataflow::constant::ConstantNode;
use engine::dataflow::runtime::OperatorId;
use engine::delta::WEIGHT_COLUMN;

use super::monotone::bound_of;
use super::{delta_table, refusal};
use crate::error::SqlError;
use crate::statement::Emit;

/// A rewritten node, and what its parent needs to know.
#[derive(Debug, Clone)]
pub struct Node {
    /// The incremental plan; its last column is the weight if `weighted`.
    pub plan: LogicalPlan,
    /// True if rows can be retracted.
    pub weighted: bool,
    /// For each column but the weight, the lower bound of its future values.
    pub bounds: Vec<Option<Bound>>,
    /// True if every row is final, because a windowed aggregate below emits on close.
    pub closes: bool,
}

/// Rewrites a plan from the leaves up, numbering the stateful nodes in that order.
#[derive(Debug)]
pub struct Rewriter {
    pub(super) emit: Emit,
    /// Whether answers that close are held back until they have, and corrected after.
    pub(super) gates: bool,
    operators: u32,
    /// Aggregates above the node at hand: what is taken back below them is final once their groups are.
    pub(super) aggregates_above: u32,
}

impl Rewriter {
    /// A rewriter for one view.
    pub fn new(emit: Emit) -> Self {
        Self { emit, gates: false, operators: 0, aggregates_above: 0 }
    }

    /// A rewriter for one view that emits on window close and is corrected by rows that come later. To one without them it must
    /// have a plan.
    pub fn correcting() -> Self {
        Self { gates: true, ..Self::new(Emit::OnUpdate) }
    }

    /// The next operator id.
    pub(super) fn next_operator(&mut self) -> OperatorId {
        self.operators += 1;
        OperatorId(self.operators)
    }

    /// How many operators there are so far.
    pub(super) fn operators(&self) -> u32 {
        self.operators
    }

    /// Takes back the operators numbered since there were `operators`.
    pub(super) fn forget_operators(&mut self, operators: u32) {
        self.operators = operators;
    }

    /// Rewrites a node and everything below it.
    ///
    /// # Errors
    /// 0A000 for what has no incremental form.
    pub fn rewrite(&mut self, plan: &LogicalPlan) -> Result<Node, SqlError> {
        refuse_subqueries(plan)?;
        if let Some(node) = self.over(plan)? {
            return Ok(node);
        }
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan, plan),
            LogicalPlan::SubqueryAlias(alias) => self.alias(alias),
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate, plan),
            LogicalPlan::Join(join) => self.join(join, plan),
            // A view's rows have no order; ORDER BY belongs to the SELECT that reads it.
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => self.rewrite(&sort.input),
            LogicalPlan::EmptyRelation(empty) if !empty.produce_one_row => {
                let bounds = vec![None; plan.schema().fields().len()];
                // Of no rows every one is final.
                Ok(Node { plan: plan.clone(), weighted: false, bounds, closes: true })
            }
            LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => Ok(self.constant(plan)),
            other => Err(refusal::refuse(other)),
        }
    }

    fn constant(&mut self, plan: &LogicalPlan) -> Node {
        let (schema, bounds) = (plan.schema().clone(), vec![None; plan.schema().fields().len()]);
        let node = ConstantNode { id: self.next_operator(), rows: Arc::new(plan.clone()), schema };
        let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        Node { plan, weighted: false, bounds, closes: false }
    }

    fn scan(&mut self, scan: &TableScan, plan: &LogicalPlan) -> Result<Node, SqlError> {
        let Some(table) = delta_table(scan) else {
            return Err(refusal::named(&format!("reading \"{}\"", scan.table_name.table()), plan));
        };
        if !table.key.is_empty() {
            return self.last_rows(scan, &table);
        }
        let all = || (0..table.properties.bounds.len()).collect();
        let mut projection: Vec<usize> = scan.projection.clone().unwrap_or_else(all);
        let bounds = projection.iter().map(|column| table.properties.bounds.get(*column).cloned().flatten()).collect();
        let (weighted, closes) = (!table.properties.append_only, table.properties.closes);
        if !weighted {
            return Ok(Node { plan: plan.clone(), weighted, bounds, closes });
        }
        projection.push(table.schema.fields().len());
        let source = provider_as_source(Arc::new(table.as_leaf()));
        let leaf = TableScanBuilder::new(scan.table_name.clone(), source).with_projection(Some(projection)).build()?;
        Ok(Node { plan: LogicalPlan::TableScan(leaf), weighted, bounds, closes })
    }

    fn alias(&mut self, alias: &SubqueryAlias) -> Result<Node, SqlError> {
        let input = self.rewrite(&alias.input)?;
        let plan = LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(input.plan), alias.alias.clone())?);
        Ok(Node { plan, ..input })
    }

    fn projection(&mut self, projection: &Projection) -> Result<Node, SqlError> {
        let input = self.rewrite(&projection.input)?;
        let schema = input.plan.schema().clone();
        let bounds = projection.expr.iter().map(|expr| bound_of(expr, &schema, &input.bounds)).collect();
        let mut exprs = projection.expr.clone();
        exprs.extend(input.weighted.then(|| weight(&schema)));
        let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input.plan))?);
        Ok(Node { plan, bounds, ..input })
    }

    fn filter(&mut self, filter: &Filter) -> Result<Node, SqlError> {
        let input = self.rewrite(&filter.input)?;
        let plan = LogicalPlan::Filter(Filter::try_new(filter.predicate.clone(), Arc::new(input.plan))?);
        Ok(Node { plan, ..input })
    }

    fn union(&mut self, union: &Union) -> Result<Node, SqlError> {
        let inputs = union.inputs.iter().map(|input| self.rewrite(input)).collect::<Result<Vec<_>, _>>()?;
        let weighted = inputs.iter().any(|input| input.weighted);
        let closes = inputs.iter().all(|input| input.closes);
        let least = |column: usize| {
            let mut bounds = inputs.iter().map(|input| input.bounds[column].clone());
            bounds.next()?.and_then(|first| bounds.try_fold(first, |least, bound| Some(least.least(bound?))))
        };
        let bounds = (0..union.schema.fields().len()).map(least).collect();
        let schema = if weighted { with_weight(&union.schema)? } else { union.schema.clone() };
        let weigh = |input: Node| if weighted && !input.weighted { add_weight(input.plan) } else { Ok(input.plan) };
        let inputs = inputs.into_iter().map(|input| Ok(Arc::new(weigh(input)?)));
        let inputs = inputs.collect::<Result<Vec<_>, SqlError>>()?;
        Ok(Node { plan: LogicalPlan::Union(Union { inputs, schema }), weighted, bounds, closes })
    }

    fn unnest(&mut self, unnest: &Unnest) -> Result<Node, SqlError> {
        let input = self.rewrite(&unnest.input)?;
        // Columns keep their places and the weight stays last, so bounds go by the columns each output depends on.
        let depends = |index: &usize| input.bounds.get(*index).cloned().flatten();
        let structs = &unnest.struct_type_columns;
        let bounds = unnest.dependency_indices.iter().map(|i| if structs.contains(i) { None } else { depends(i) });
        let bounds = bounds.collect();
        let plan = LogicalPlanBuilder::from(input.plan)
            .unnest_columns_with_options(unnest.exec_columns.clone(), unnest.options.clone())?
            .build()?;
        Ok(Node { plan, weighted: input.weighted, bounds, closes: input.closes })
    }
}

/// The weight column of a weighted edge.
pub fn weight(schema: &DFSchema) -> Expr {
    let (qualifier, field) = schema.qualified_field(schema.fields().len() - 1);
    Expr::Column(Column::from((qualifier, field)))
}

/// A schema with the weight column added.
///
/// # Errors
/// DataFusion's, if a column already has the weight's name.
pub fn with_weight(schema: &DFSchema) -> Result<DFSchemaRef, SqlError> {
    let mut fields: Vec<_> = schema.iter().map(|(qualifier, field)| (qualifier.cloned(), field.clone())).collect();
    let weighted = engine::delta::weighted(&arrow::datatypes::Schema::empty());
    fields.push((None, weighted.fields()[0].clone()));
    Ok(Arc::new(DFSchema::new_with_metadata(fields, schema.metadata().clone())?))
}

/// An append-only plan with a weight of 1 on every row.
fn add_weight(plan: LogicalPlan) -> Result<LogicalPlan, SqlError> {
    let mut exprs: Vec<_> = plan.schema().iter().map(|column| Expr::Column(Column::from(column))).collect();
    exprs.push(lit(1i64).alias(WEIGHT_COLUMN));
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
}

fn refuse_subqueries(plan: &LogicalPlan) -> Result<(), SqlError> {
    let mut found = false;
    plan.apply_expressions(|expr| {
        expr.apply(|expr| {
            if matches!(expr, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_))
            {
                found = true;
                return Ok(TreeNodeRecursion::Stop);
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    if found { Err(refusal::named("a subquery in an expression", plan)) } else { Ok(()) }
}
