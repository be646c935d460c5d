//! The logical rules that make sense for a plan that runs every tick. Among them those that turn subqueries into joins.
//!
//! Left out on purpose: rules that use statistics (a stream has none), that push limits, and that turn one DISTINCT
//! aggregate into two stacked ones (ours keeps distinct values itself and would have to retract between the two).

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion::optimizer::decorrelate_lateral_join::DecorrelateLateralJoin;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion::optimizer::eliminate_filter::EliminateFilter;
use datafusion::optimizer::eliminate_outer_join::EliminateOuterJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::optimize_unions::OptimizeUnions;
use datafusion::optimizer::propagate_empty_relation::PropagateEmptyRelation;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::rewrite_set_comparison::RewriteSetComparison;
use datafusion::optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{Analyzer, Optimizer, OptimizerContext, OptimizerRule};

use super::clock;
use super::over::orders_rows;
use crate::error::SqlError;
use crate::guard::{InfallibleFirst, before_optimizing};
use crate::push_down_filter::PushDownFilterToKeys;
use crate::subquery_rules::{CorrelatedNotIn, MarkSubqueries};

/// Type-checks and simplifies a view's plan.
///
/// # Errors
/// DataFusion's planning errors.
pub fn optimize(plan: LogicalPlan) -> Result<LogicalPlan, SqlError> {
    let mut options = ConfigOptions::default();
    options.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    let plan = before_optimizing(Analyzer::new().execute_and_check(plan, &options, |_, _| {})?)?;
    let context = OptimizerContext::new_with_config_options(Arc::new(options));
    // Of two windows where the lower puts the rows of the upper in order, both have to say the order in the same words.
    let common = !plan.exists(|node| Ok(matches!(node, LogicalPlan::Filter(filter) if orders_rows(filter))))?;
    let is_common = |rule: &Rule| rule.name() == CommonSubexprEliminate::new().name();
    let rules = || rules().into_iter().filter(|rule| common || !is_common(rule)).collect::<Vec<_>>();
    let run = |rules: Vec<Rule>, plan| Optimizer::with_rules(rules).optimize(plan, &context, |_, _| {});
    if !clock::reads_clock(&plan)? {
        return Ok(run(rules(), plan)?);
    }
    // Conditions on the tick's time go to where their rows come from, and become nodes of their own before common
    // expressions and columns nobody needs are taken out.
    let first =
        rules().into_iter().take_while(|rule| !is_common(rule) && rule.name() != OptimizeProjections::new().name());
    let plan = clock::unfence(run(first.collect(), clock::fence(plan)?)?)?;
    let plan = clock::mark(plan)?;
    Ok(run(rules(), plan)?)
}

type Rule = Arc<dyn OptimizerRule + Send + Sync>;

/// The rules, in their order.
fn rules() -> Vec<Rule> {
    vec![
        Arc::new(RewriteSetComparison::new()),
        Arc::new(OptimizeUnions::new()),
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(MarkSubqueries),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(CorrelatedNotIn),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(DecorrelateLateralJoin::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(EliminateFilter::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(PropagateEmptyRelation::new()),
        Arc::new(EliminateOuterJoin::new()),
        Arc::new(PushDownFilterToKeys::default()),
        Arc::new(InfallibleFirst),
        Arc::new(CommonSubexprEliminate::new()),
        Arc::new(OptimizeProjections::new()),
    ]
}
