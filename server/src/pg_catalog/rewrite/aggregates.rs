//! Subqueries made into aggregates: the array of a query's values, and how many rows it has.
//!
//! In: a subquery that looks outside itself or not. Out: one of exactly one row, which the pass over subqueries can
//! join. `ARRAY(SELECT …)` becomes `array_agg`; an EXISTS or IN in a place where DataFusion takes only values becomes a
//! comparison of a count.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments, OrderByExpr,
    OrderByKind, Query, Select, SelectItem, TableAliasColumnDef, TableWithJoins, Value, VisitMut, VisitorMut,
};

use super::build::{aliased, call, derived, function, ident, number, plain_select, select, table_alias};
use super::scope::{conjunction, function_name, is_plain};

/// Aggregate functions: a subquery of one of these over everything has one row.
const AGGREGATES: [&str; 14] = [
    "count",
    "sum",
    "min",
    "max",
    "avg",
    "array_agg",
    "string_agg",
    "bool_and",
    "bool_or",
    "every",
    "json_agg",
    "jsonb_agg",
    "first_value",
    "last_value",
];

/// True if a SELECT of one value is an aggregate.
pub(super) fn is_aggregate(select: &Select) -> bool {
    let [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] = select.projection.as_slice() else {
        return false;
    };
    struct Aggregate(bool);
    impl VisitorMut for Aggregate {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::Function(function) = expr {
                self.0 |= function.over.is_none() && AGGREGATES.contains(&function_name(function).as_str());
            }
            ControlFlow::Continue(())
        }
    }
    let mut aggregate = Aggregate(false);
    let _ = expr.clone().visit(&mut aggregate);
    aggregate.0
}

/// The query that gives one array of the values of `query`, in its order.
pub(super) fn aggregated(mut query: Query) -> Query {
    let aggregate = |value: Expr, order: Vec<OrderByExpr>| {
        let mut function = function("array_agg", vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(value))]);
        if let FunctionArguments::List(list) = &mut function.args
            && !order.is_empty()
        {
            list.clauses.push(FunctionArgumentClause::OrderBy(order));
        }
        aliased(Expr::Function(function), "array")
    };
    let is_simple = is_plain(&query) && plain_select(&mut query).is_some_and(|select| !is_aggregate(select));
    if !is_simple {
        // The values as one column of a derived table.
        let mut alias = table_alias(ident("values"));
        alias.columns = vec![TableAliasColumnDef { name: ident("value"), data_type: None }];
        let from = TableWithJoins { relation: derived(query, Some(alias)), joins: Vec::new() };
        return select(vec![aggregate(Expr::Identifier(ident("value")), Vec::new())], vec![from]);
    }
    let order = match query.order_by.take().map(|order| order.kind) {
        Some(OrderByKind::Expressions(order)) => order,
        _ => Vec::new(),
    };
    if let Some(select) = plain_select(&mut query)
        && let Some(SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }) =
            select.projection.pop()
    {
        let by_position = |mut by: OrderByExpr| {
            if matches!(&by.expr, Expr::Value(number) if matches!(number.value, Value::Number(..))) {
                by.expr = value.clone();
            }
            by
        };
        let order = order.into_iter().map(by_position).collect();
        select.projection = vec![aggregate(value.clone(), order)];
    }
    query
}

/// Turns the EXISTS and IN of an expression that DataFusion wants to be a value into comparisons of counts.
pub(super) fn without_existence(expr: &mut Expr) {
    let _ = expr.visit(&mut Existence { depth: 0 });
}

struct Existence {
    depth: usize,
}

impl VisitorMut for Existence {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        let (query, negated) = match expr {
            Expr::Exists { subquery, negated } => (std::mem::replace(subquery.as_mut(), empty()), *negated),
            Expr::InSubquery { expr, subquery, negated } => {
                let mut query = std::mem::replace(subquery.as_mut(), empty());
                match with_equality(&mut query, expr) {
                    true => (query, *negated),
                    false => {
                        **subquery = query;
                        return ControlFlow::Continue(());
                    }
                }
            }
            _ => return ControlFlow::Continue(()),
        };
        *expr = Expr::BinaryOp {
            left: Box::new(Expr::Subquery(Box::new(counted(query)))),
            op: if negated { BinaryOperator::Eq } else { BinaryOperator::Gt },
            right: Box::new(number(0)),
        };
        ControlFlow::Continue(())
    }
}

fn empty() -> Query {
    select(Vec::new(), Vec::new())
}

/// The query that counts the rows of `query`.
fn counted(mut query: Query) -> Query {
    let count = aliased(call("count", vec![number(1)]), "count");
    if is_plain(&query) && plain_select(&mut query).is_some_and(|select| !is_aggregate(select)) {
        query.order_by = None;
        if let Some(select) = plain_select(&mut query) {
            select.projection = vec![count];
        }
        return query;
    }
    let from = TableWithJoins { relation: derived(query, Some(table_alias(ident("rows")))), joins: Vec::new() };
    select(vec![count], vec![from])
}

/// Keeps those rows of a plain query whose value equals `value`; false if the query is not plain.
fn with_equality(query: &mut Query, value: &Expr) -> bool {
    if !is_plain(query) {
        return false;
    }
    let Some(select) = plain_select(query).filter(|select| !is_aggregate(select)) else { return false };
    let Some(SelectItem::UnnamedExpr(own) | SelectItem::ExprWithAlias { expr: own, .. }) = select.projection.first()
    else {
        return false;
    };
    let equal = Expr::BinaryOp { left: Box::new(own.clone()), op: BinaryOperator::Eq, right: Box::new(value.clone()) };
    select.selection = conjunction(select.selection.take().into_iter().chain([equal]).collect());
    true
}
