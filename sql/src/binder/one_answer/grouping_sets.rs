//! GROUPING SETS, ROLLUP and CUBE as one aggregate over rows that are there once for each set.
//!
//! ```text
//! Aggregate(sets of keys; calls)       Projection(keys, grouping id, calls)
//!   input                        ==>     Aggregate(keys or NULL, grouping id; calls)
//!                                          Unnest(grouping ids)
//!                                            Projection(input, [id of each set])
//!                                              input
//! ```
//! A key that every set has is left as it is, so that a window among the keys still closes. The set without keys has a row even
//! where there is no input, so it is an aggregate of its own, put beside the others by UNION ALL.
//!
//! DataFusion's own expansion takes a key for constant when its input is, though the sets without it make it NULL, and then counts
//! groups twice (<https://github.com/apache/datafusion/issues/24421>); and it has no row for the set without keys over no input.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::functions_aggregate::count::count;
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{
    Aggregate, Expr, GroupingSet, LogicalPlan, LogicalPlanBuilder, Projection, Union, lit, when,
};

use crate::binder::HIDDEN;

/// A set of keys, with its id.
type Set<'a> = (Vec<&'a Expr>, ScalarValue);

/// The aggregate over expanded rows, or the same one if it has no grouping sets.
///
/// # Errors
/// DataFusion's, for a plan it made itself.
pub(super) fn expand(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let [Expr::GroupingSet(sets)] = aggregate.group_expr.as_slice() else {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    };
    let keys = grouping_set_to_exprlist(&aggregate.group_expr)?;
    let sets = enumerate(sets);
    let id_type = aggregate.schema.field(keys.len()).data_type();
    let ids = ids(&sets, &keys).into_iter().map(|id| ScalarValue::UInt64(Some(id)).cast_to(id_type));
    let sets = sets.into_iter().zip(ids).map(|(set, id)| Ok((set, id?))).collect::<Result<Vec<Set<'_>>>>()?;
    let (keyed, total): (Vec<Set<'_>>, Vec<Set<'_>>) = sets.into_iter().partition(|(set, _)| !set.is_empty());
    let mut plans = Vec::new();
    if !keyed.is_empty() {
        plans.push(Arc::new(by_keys(&aggregate, &keys, &keyed)?));
    }
    for (_, id) in total {
        plans.push(Arc::new(of_all(&aggregate, keys.len(), id)?));
    }
    let all = match plans.len() {
        1 => plans.remove(0),
        _ => Arc::new(LogicalPlan::Union(Union::try_new(plans)?)),
    };
    let named = all.schema().columns().into_iter().zip(aggregate.schema.iter());
    let named = named
        .map(|(column, (qualifier, field))| Expr::Column(column).alias_qualified(qualifier.cloned(), field.name()));
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(named.collect(), all)?)))
}

/// One aggregate for all sets that have keys.
fn by_keys(aggregate: &Aggregate, keys: &[&Expr], sets: &[Set<'_>]) -> Result<LogicalPlan> {
    let values: Vec<ScalarValue> = sets.iter().map(|(_, id)| id.clone()).collect();
    let name = format!("{HIDDEN}grouping");
    let list = ScalarValue::List(ScalarValue::new_list_nullable(&values, &values[0].data_type()));
    let mut projected: Vec<Expr> = aggregate.input.schema().columns().into_iter().map(Expr::Column).collect();
    projected.push(lit(list).alias(&name));
    let expanded = LogicalPlanBuilder::from(Arc::clone(&aggregate.input))
        .project(projected)?
        .unnest_column(Column::from_name(&name))?
        .build()?;
    let id = Expr::Column(Column::from_name(&name));
    let mut group = Vec::with_capacity(keys.len() + 1);
    for (n, key) in keys.iter().enumerate() {
        let with_key = sets.iter().filter(|(set, _)| set.contains(key));
        let with_key: Vec<Expr> = with_key.map(|(_, id)| lit(id.clone())).collect();
        let key = (*key).clone().unalias();
        let masked = match with_key.len() {
            all if all == sets.len() => key,
            _ => when(id.clone().in_list(with_key, false), key).end()?,
        };
        group.push(masked.alias(format!("{HIDDEN}group_{n}")));
    }
    group.push(id);
    let made = Aggregate::try_new(Arc::new(expanded), group, aggregate.aggr_expr.clone())?;
    let columns = made.schema.columns().into_iter().map(Expr::Column).collect();
    numbered(columns, made)
}

/// The aggregate of the set without keys.
fn of_all(aggregate: &Aggregate, keys: usize, id: ScalarValue) -> Result<LogicalPlan> {
    let nulls = aggregate.schema.fields().iter().take(keys).map(|field| ScalarValue::try_from(field.data_type()));
    let mut columns = nulls.map(|null| Ok(lit(null?))).collect::<Result<Vec<Expr>>>()?;
    columns.push(lit(id));
    if aggregate.aggr_expr.is_empty() {
        // One row with nothing computed: an aggregate has to compute something.
        let made = Aggregate::try_new(Arc::clone(&aggregate.input), vec![], vec![count(lit(1i64))])?;
        return numbered(columns, made);
    }
    let made = Aggregate::try_new(Arc::clone(&aggregate.input), vec![], aggregate.aggr_expr.clone())?;
    columns.extend(made.schema.columns().into_iter().map(Expr::Column));
    numbered(columns, made)
}

/// `columns` of `made`, named by their places: a union has names without tables.
fn numbered(columns: Vec<Expr>, made: Aggregate) -> Result<LogicalPlan> {
    let named = columns.into_iter().enumerate().map(|(n, column)| column.alias(format!("{HIDDEN}column_{n}")));
    let projection = Projection::try_new(named.collect(), Arc::new(LogicalPlan::Aggregate(made)))?;
    Ok(LogicalPlan::Projection(projection))
}

/// The sets that ROLLUP, CUBE and GROUPING SETS stand for.
fn enumerate(sets: &GroupingSet) -> Vec<Vec<&Expr>> {
    match sets {
        GroupingSet::Rollup(keys) => (0..=keys.len()).map(|length| keys[..length].iter().collect()).collect(),
        GroupingSet::Cube(keys) => {
            let chosen = |mask: usize| keys.iter().enumerate().filter(move |(n, _)| mask & (1 << n) != 0);
            (0..1usize << keys.len()).map(|mask| chosen(mask).map(|(_, key)| key).collect()).collect()
        }
        GroupingSet::GroupingSets(sets) => sets.iter().map(|set| set.iter().collect()).collect(),
    }
}

/// Each set's id: a bit for every key it leaves out, the last key's lowest; above them, which repetition of the set it is.
fn ids(sets: &[Vec<&Expr>], keys: &[&Expr]) -> Vec<u64> {
    let mut seen: HashMap<u64, u64> = HashMap::new();
    let mask = |set: &Vec<&Expr>| keys.iter().fold(0u64, |mask, key| (mask << 1) | u64::from(!set.contains(key)));
    sets.iter()
        .map(|set| {
            let mask = mask(set);
            let repetition = seen.entry(mask).or_default();
            let id = if *repetition == 0 { mask } else { mask | (*repetition << keys.len()) };
            *repetition += 1;
            id
        })
        .collect()
}
