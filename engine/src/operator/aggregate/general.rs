//! DataFusion's aggregates, as both general ways of computing them see them.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use datafusion::functions_aggregate::all_default_aggregate_functions;
use datafusion::logical_expr::{AggregateUDF, GroupsAccumulator};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::{GroupsAccumulatorAdapter, PhysicalExpr};

use crate::error::Result;

/// DataFusion's functions whose states merge, in any order, to the state of all rows: up to rounding for the moments, up to
/// the sketch's own error for the approximate ones.
static MERGEABLE: LazyLock<Vec<Arc<AggregateUDF>>> = LazyLock::new(|| {
    const NAMES: [&str; 29] = [
        "approx_distinct",
        "approx_median",
        "approx_percentile_cont",
        "approx_percentile_cont_with_weight",
        "avg",
        "bit_and",
        "bit_or",
        "bit_xor",
        "bool_and",
        "bool_or",
        "corr",
        "count",
        "covar_pop",
        "covar_samp",
        "max",
        "median",
        "min",
        "percentile_cont",
        "regr_avgx",
        "regr_avgy",
        "regr_count",
        "regr_intercept",
        "regr_r2",
        "regr_slope",
        "stddev",
        "stddev_pop",
        "sum",
        "var",
        "var_pop",
    ];
    let mut functions = all_default_aggregate_functions();
    functions.retain(|udaf| NAMES.contains(&udaf.name()) || udaf.name().starts_with("regr_s"));
    functions
});

/// Whether the stored state of `expr` can stand for the rows it was made from. A function that is not known to allow it keeps
/// its rows.
pub(super) fn states_merge(expr: &AggregateFunctionExpr) -> bool {
    !expr.is_distinct() && expr.order_bys().is_empty() && MERGEABLE.iter().any(|udaf| **udaf == *expr.fun())
}

/// A fresh accumulator, of the kind DataFusion's batch plan takes: one for all groups if there are keys.
pub(super) fn accumulator(expr: &Arc<AggregateFunctionExpr>, has_keys: bool) -> Result<Box<dyn GroupsAccumulator>> {
    if has_keys && expr.groups_accumulator_supported() {
        return Ok(expr.create_groups_accumulator()?);
    }
    let expr = Arc::clone(expr);
    Ok(Box::new(GroupsAccumulatorAdapter::new(move || expr.create_accumulator())))
}

/// Where an argument of an accumulator comes from.
#[derive(Debug)]
enum Argument {
    /// A kept column.
    Kept(usize),
    /// The same value for every row.
    Constant(Arc<dyn PhysicalExpr>),
}

/// The columns that have to be kept to run an aggregate again: its ORDER BY first, then its other arguments, each once.
#[derive(Debug)]
pub(super) struct KeptColumns {
    exprs: Vec<(Arc<dyn PhysicalExpr>, SortOptions)>,
    arguments: Vec<Argument>,
    order_by: usize,
}

impl KeptColumns {
    /// The kept columns of `expr`.
    pub fn new(expr: &AggregateFunctionExpr) -> Self {
        let mut exprs: Vec<_> = Vec::new();
        for sort in expr.order_bys() {
            exprs.push((Arc::clone(&sort.expr), sort.options));
        }
        let order_by = exprs.len();
        let mut arguments = Vec::new();
        for argument in expr.expressions() {
            let kept = exprs.iter().position(|(kept, _)| kept.eq(&argument));
            arguments.push(match kept {
                Some(kept) => Argument::Kept(kept),
                None if argument.downcast_ref::<Literal>().is_some() => Argument::Constant(argument),
                None => {
                    exprs.push((argument, SortOptions::default()));
                    Argument::Kept(exprs.len() - 1)
                }
            });
        }
        Self { exprs, arguments, order_by }
    }

    /// Types and sort options of the kept columns of rows of `input`.
    pub fn types(&self, input: &SchemaRef) -> Result<Vec<(arrow::datatypes::DataType, SortOptions)>> {
        self.exprs.iter().map(|(expr, options)| Ok((expr.data_type(input)?, *options))).collect()
    }

    /// The kept columns of `rows`.
    pub fn evaluate(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.exprs.iter().map(|(expr, _)| evaluate(expr, rows)).collect()
    }

    /// What the accumulator is fed for `kept` columns, all of one length: arguments, then ORDER BY.
    pub fn arguments(&self, kept: &[ArrayRef], rows: usize) -> Result<Vec<ArrayRef>> {
        let argument = |argument: &Argument| match argument {
            Argument::Kept(column) => Ok(Arc::clone(&kept[*column])),
            Argument::Constant(expr) => {
                let value = expr.downcast_ref::<Literal>().expect("constants are literals").value();
                Ok(value.to_array_of_size(rows)?)
            }
        };
        let arguments = self.arguments.iter().map(argument);
        arguments.chain(kept[..self.order_by].iter().map(|column| Ok(Arc::clone(column)))).collect()
    }
}

/// The column that `expr` makes of `rows`.
pub(super) fn evaluate(expr: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<ArrayRef> {
    Ok(expr.evaluate(rows)?.into_array(rows.num_rows())?)
}
